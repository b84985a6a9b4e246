//! `sluice up`: the local stack, until Ctrl-C.

use anyhow::Context as _;
use sluice_runtime::shutdown;
use sluice_stack::{ServerStack, StackProgress, StackStartStep};

use crate::cli::UpArgs;
use crate::exit::{CommandFinding, CommandResult};

/// Starts the servers, prints their addresses and stops them at Ctrl-C or SIGTERM.
pub(crate) fn up(args: &UpArgs) -> CommandResult {
    // The start-up report goes to standard error, the addresses to standard output.
    let mut builder = ServerStack::builder()
        .kafka(usize::from(args.kafka))
        .registry()
        .mariadb()
        .postgres()
        .on_progress(|StackProgress { server, step }| match step {
            StackStartStep::Starting => eprintln!("{server:<10} starting"),
            StackStartStep::Ready(time) => eprintln!("{server:<10} ready after {:.1} s", time.as_secs_f64()),
        });
    if let Some(dir) = &args.dir {
        builder = builder.root(dir);
    }
    let stack = builder.start()?;

    // The database URLs have passwords that were made for this stack alone, on loopback. Its user needs them.
    println!("brokers   {}", stack.brokers());
    println!("registry  {}", stack.registry_url());
    println!("mariadb   {}", stack.mariadb_url());
    println!("postgres  {}", stack.postgres_url());
    println!("data      {}", stack.root().display());
    eprintln!(
        "Ctrl-C stops the servers{}",
        if args.dir.is_some() { "; their data stays" } else { " and removes their data" }
    );

    // Nothing else runs here: the servers are processes of their own.
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting tokio")?;
    runtime.block_on(async {
        shutdown::signal_token().context("installing signal handlers")?.cancelled().await;
        anyhow::Ok(())
    })?;
    stack.stop()?;
    Ok(CommandFinding::Nothing)
}
