//! Shows the progress of a run: bars on a terminal, otherwise a line every few seconds.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::report::thousands;

/// Time between two lines of progress if there is no terminal.
const EVERY: Duration = Duration::from_secs(5);

/// Shows progress and news on standard error.
pub(crate) struct DemoDisplay {
    began: Instant,
    bars: Option<MultiProgress>,
    rows: Vec<(String, ProgressBar)>,
    told: Instant,
}

impl DemoDisplay {
    pub(crate) fn new() -> Self {
        let bars = std::io::stderr().is_terminal().then(MultiProgress::new);
        Self { began: Instant::now(), bars, rows: Vec::new(), told: Instant::now() }
    }

    /// Shows one line of news.
    pub(crate) fn say(&self, news: &str) {
        let line = format!("[{:>5.1} s] {news}", self.began.elapsed().as_secs_f64());
        match &self.bars {
            Some(bars) => bars.suspend(|| eprintln!("{line}")),
            None => eprintln!("{line}"),
        }
    }

    /// Shows the progress of every stage: its name, the records done, and their total.
    pub(crate) fn progress(&mut self, stages: &[(&str, i64, i64)]) {
        match &self.bars {
            Some(bars) => {
                for (name, done, total) in stages {
                    let index = self.rows.iter().position(|(known, _)| known == name).unwrap_or_else(|| {
                        let bar = bars
                            .add(ProgressBar::new(0).with_style(style()).with_message((*name).to_owned()));
                        self.rows.push(((*name).to_owned(), bar));
                        self.rows.len() - 1
                    });
                    if let Some((_, bar)) = self.rows.get(index) {
                        bar.set_length(u64::try_from(*total).unwrap_or(0));
                        bar.set_position(u64::try_from(*done.min(total)).unwrap_or(0));
                    }
                }
            }
            None if self.told.elapsed() >= EVERY => {
                self.told = Instant::now();
                let parts = stages.iter().map(|(name, done, total)| {
                    format!("{name} {} of {}", thousands(*done.min(total)), thousands(*total))
                });
                self.say(&parts.collect::<Vec<_>>().join(", "));
            }
            None => {}
        }
    }

    /// Removes the bars.
    pub(crate) fn finish(&mut self) {
        for (_, bar) in self.rows.drain(..) {
            bar.finish_and_clear();
        }
    }
}

fn style() -> ProgressStyle {
    ProgressStyle::with_template("{msg:<12} {bar:40} {human_pos:>10} of {human_len:<10} {per_sec:>14}")
        .unwrap_or_else(|_| ProgressStyle::default_bar())
}
