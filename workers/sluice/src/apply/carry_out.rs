//! Carries a plan out, batch by batch.

use std::io::IsTerminal as _;

use anyhow::Context as _;
use indicatif::{ProgressBar, ProgressStyle};
use sluice_govern::plan::{ContractPlan, together};

use crate::cli::CommandFormat;
use crate::world::ContractServers;

/// Carries out all changes of the plan, in its order, and waits until the brokers show the new topics. In the
/// form of text it prints each change that is done.
///
/// # Errors
/// Fails with the server's reason and the change that it concerns. The earlier changes are done.
pub(super) async fn carry_out(
    servers: &ContractServers,
    plan: &ContractPlan,
    output: CommandFormat,
) -> anyhow::Result<()> {
    let bar = bar(plan.changes.len() as u64);
    let mut left = &plan.changes[..];
    while let Some(change) = left.first() {
        let done = servers.carry_out(left).await.with_context(|| {
            let on = "(the earlier changes are done; run `sluice apply` again to continue)";
            match together(left) {
                1 => format!("{change} {on}"),
                more => format!("{change}, and {} more like it {on}", more - 1),
            }
        })?;
        let (done, rest) = left.split_at(done);
        left = rest;
        bar.inc(done.len() as u64);
        if output == CommandFormat::Text {
            bar.suspend(|| done.iter().for_each(|change| println!("done: {change}")));
        }
    }

    // Workers that start now must see the new topics.
    servers
        .shown(&plan.changes)
        .await
        .context("all changes are made, but the brokers do not show the new topics yet")?;
    bar.finish_and_clear();
    Ok(())
}

/// Returns a progress bar over the changes. It is hidden if standard error is not a terminal.
fn bar(length: u64) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} changes")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(length).with_style(style)
}
