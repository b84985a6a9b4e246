//! `sluice sql`.

use anyhow::Context as _;
use sluice_sink::warehouse::{self, Format};

use crate::cli::{SqlArgs, SqlOutput};
use crate::exit::{Ended, Found};

pub(crate) fn sql(args: &SqlArgs) -> Ended {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("starting tokio")?;
    let batches = runtime.block_on(warehouse::query(&args.lake, &args.sql))?;
    let format = match args.output {
        SqlOutput::Table => Format::Table,
        SqlOutput::Json => Format::Json,
        SqlOutput::Csv => Format::Csv,
    };
    warehouse::print(&batches, format, &mut std::io::stdout().lock()).context("printing the answer")?;
    Ok(Found::Nothing)
}
