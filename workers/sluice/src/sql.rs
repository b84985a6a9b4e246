//! `sluice sql`.

use anyhow::Context as _;

use crate::cli::{SqlArgs, SqlOutput};
use crate::exit::{Ended, Found};

pub(crate) fn sql(args: &SqlArgs) -> Ended {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().context("starting tokio")?;
    let batches = runtime.block_on(sluice_sink::warehouse::query(&args.lake, &args.sql))?;
    let text = match args.output {
        SqlOutput::Table => sluice_sink::warehouse::table(&batches)?,
        SqlOutput::Json => sluice_sink::warehouse::json(&batches)?,
        SqlOutput::Csv => sluice_sink::warehouse::csv(&batches)?,
    };
    println!("{}", text.trim_end());
    Ok(Found::Nothing)
}
