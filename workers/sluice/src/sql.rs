//! `sluice sql`: a query over the lake's tables and the contracts' views.

use anyhow::Context as _;
use sluice_govern::LeakProof;
use sluice_runtime::config::ConfigErrors;
use sluice_warehouse::{self, QueryError, QueryFormat, WarehouseView};

use crate::cli::{SqlArgs, SqlOutput};
use crate::exit::{CommandFinding, CommandResult};
use crate::output::StandardOutput;

/// Answers the query and prints the answer on standard output.
pub(crate) fn sql(args: &SqlArgs) -> CommandResult {
    // Two threads: the warehouse works on two partitions at a time.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("starting tokio")?;

    let asked = match runtime.block_on(sluice_warehouse::query(&args.lake, &args.sql)) {
        // Contracts are read only if the query names something that is not a table. A broken contract does
        // not keep anyone from a query over tables.
        Err(QueryError::NoTable { .. }) if args.schemas.is_dir() => {
            let views = views(args)?;
            runtime.block_on(sluice_warehouse::query_with_views(&args.lake, &views, &args.sql))
        }
        asked => asked,
    };

    // The answer, or the error of the query.
    let format = match args.output {
        SqlOutput::Table => QueryFormat::Table,
        SqlOutput::Json => QueryFormat::Json,
        SqlOutput::Csv => QueryFormat::Csv,
    };
    sluice_warehouse::print(&asked?, format, &mut StandardOutput).context("printing the answer")?;
    Ok(CommandFinding::Nothing)
}

/// Reads the views of the contracts' folder.
///
/// # Errors
/// Fails if a contract or a view is broken, and if the leak proof finds a way without a masking step.
fn views(args: &SqlArgs) -> Result<Vec<WarehouseView>, ConfigErrors> {
    let (contracts, views) = crate::contract::load_with_views(&args.schemas)?;
    let mut errors = ConfigErrors::default();

    // A view that leaks is not answered, even if this query does not read it.
    for leak in LeakProof::of(&contracts, &views).leaks {
        let way = format!("{}: expected a masking step on this way", leak.path.join(" -> "));
        errors.add(format!("{}:{}", leak.file, leak.line), way, Some(leak.hint));
    }
    let of = |view: &sluice_govern::SqlView| WarehouseView { name: view.name.clone(), sql: view.sql.clone() };
    errors.or(views.iter().map(of).collect())
}
