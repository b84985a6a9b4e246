//! What an operator sees while it works: a bar on a terminal, a line every ten seconds elsewhere.

use std::io::IsTerminal as _;
use std::sync::Arc;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use sluice_lease::JobClaims;
use tokio::task::JoinHandle;

use crate::tally::CollectorCounters;

/// Ends the display.
pub(crate) struct CollectorDisplay {
    teller: JoinHandle<()>,
    bar: Option<ProgressBar>,
}

impl CollectorDisplay {
    pub(crate) fn finish(self) {
        self.teller.abort();
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}

/// Begins to show `counters`.
pub(crate) async fn show(
    claims: &JobClaims,
    counters: Arc<CollectorCounters>,
    wanted: bool,
) -> CollectorDisplay {
    let bar = (wanted && std::io::stderr().is_terminal()).then(|| ProgressBar::new(0));
    if let Some(bar) = &bar {
        // Counted once: with replicas the bar of each shows its own part of the whole.
        let open = claims.status().await.map(|counts| {
            counts
                .iter()
                .filter(|count| matches!(count.state.as_str(), "due" | "claimed"))
                .map(|count| count.ids)
                .sum()
        });
        bar.set_length(open.map_or(0, |open: i64| u64::try_from(open).unwrap_or(0)));
        if let Ok(style) =
            ProgressStyle::with_template("{bar:30} {pos}/{len} ids  {msg}  {elapsed} (eta {eta})")
        {
            bar.set_style(style);
        }
    }
    let teller = tokio::spawn(tell(counters, bar.clone()));
    CollectorDisplay { teller, bar }
}

async fn tell(counters: Arc<CollectorCounters>, bar: Option<ProgressBar>) {
    let mut every = tokio::time::interval(Duration::from_millis(if bar.is_some() { 200 } else { 10_000 }));
    every.tick().await;
    loop {
        every.tick().await;
        let now = counters.summary();
        match &bar {
            Some(bar) => {
                bar.set_position(now.done + now.dead);
                bar.set_message(format!(
                    "{} pages  {} records  {} rejects",
                    now.pages, now.records, now.rejects
                ));
            }
            None => tracing::info!("{now}"),
        }
    }
}
