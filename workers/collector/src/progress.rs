//! The operator's display while the collector works: a bar on a terminal, a log line every ten seconds
//! elsewhere.

use std::io::IsTerminal as _;
use std::sync::Arc;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use sluice_lease::JobClaims;
use tokio::task::JoinHandle;

use crate::tally::CollectorCounters;

/// A running display.
pub(crate) struct CollectorDisplay {
    reporter: JoinHandle<()>,
    bar: Option<ProgressBar>,
}

impl CollectorDisplay {
    /// Ends the display and removes the bar.
    pub(crate) fn finish(self) {
        self.reporter.abort();
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}

/// Begins to show `counters`. A bar is shown only if it is `wanted` and standard error is a terminal.
pub(crate) async fn show(
    claims: &JobClaims,
    counters: Arc<CollectorCounters>,
    wanted: bool,
) -> CollectorDisplay {
    let bar = (wanted && std::io::stderr().is_terminal()).then(|| ProgressBar::new(0));
    if let Some(bar) = &bar {
        // Counted once, at the beginning. With replicas, the bar of each shows its own part of the whole.
        let open = claims.status().await.map(|counts| {
            counts
                .iter()
                .filter(|count| matches!(count.state.as_str(), "due" | "claimed"))
                .map(|count| count.ids)
                .sum()
        });
        // Without a count the bar shows no total; the collector works all the same.
        bar.set_length(open.map_or(0, |open: i64| u64::try_from(open).unwrap_or(0)));

        if let Ok(style) =
            ProgressStyle::with_template("{bar:30} {pos}/{len} ids  {msg}  {elapsed} (eta {eta})")
        {
            bar.set_style(style);
        }
    }

    let reporter = tokio::spawn(report_counters(counters, bar.clone()));
    CollectorDisplay { reporter, bar }
}

/// Reports the counters until the task is aborted.
async fn report_counters(counters: Arc<CollectorCounters>, bar: Option<ProgressBar>) {
    let mut every = tokio::time::interval(Duration::from_millis(if bar.is_some() { 200 } else { 10_000 }));
    // The first tick comes at once, before there is anything to report.
    every.tick().await;
    loop {
        every.tick().await;
        counters.write_letters();
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
