//! `sluice sql`.

use anyhow::Context as _;
use sluice_contract::Proof;
use sluice_runtime::config::ConfigErrors;
use sluice_runtime::contracts;
use sluice_sink::warehouse::{self, Format, QueryError, View};

use crate::cli::{SqlArgs, SqlOutput};
use crate::exit::{Ended, Found};

pub(crate) fn sql(args: &SqlArgs) -> Ended {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("starting tokio")?;
    let asked = match runtime.block_on(warehouse::query(&args.lake, &args.sql)) {
        // Contracts are read only if the query names something that is no table: a broken one is in nobody's way.
        Err(QueryError::NoTable { .. }) if args.schemas.is_dir() => {
            let views = views(args)?;
            runtime.block_on(warehouse::query_with_views(&args.lake, &views, &args.sql))
        }
        asked => asked,
    };
    let format = match args.output {
        SqlOutput::Table => Format::Table,
        SqlOutput::Json => Format::Json,
        SqlOutput::Csv => Format::Csv,
    };
    warehouse::print(&asked?, format, &mut std::io::stdout().lock()).context("printing the answer")?;
    Ok(Found::Nothing)
}

/// The views beside the contracts, all of which are proven not to leak.
fn views(args: &SqlArgs) -> Result<Vec<View>, ConfigErrors> {
    let (contracts, views) = contracts::load_with_views(&args.schemas)?;
    let mut errors = ConfigErrors::default();
    for leak in Proof::of(&contracts, &views).leaks {
        let way = format!("{}: no masking step on this way", leak.path.join(" -> "));
        errors.add(format!("{}:{}", leak.file, leak.line), way, Some(leak.hint));
    }
    let of = |view: &sluice_contract::SqlView| View { name: view.name.clone(), sql: view.sql.clone() };
    errors.or(views.iter().map(of).collect())
}
