//! Logs: plain text on a terminal, JSON lines otherwise. They never hold a record's value.

mod cut;

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::fmt::format::FmtSpan;

use cut::{LineForm, ShortLineMaker};

/// The filter without `RUST_LOG`: libraries at WARN, our own crates at INFO. A library's progress messages
/// would hide the worker's: they were 97 % of a sink's log.
const QUIET: &str = "warn,sluice=info";

/// Starts logging to standard error. `RUST_LOG` replaces the default filter (libraries WARN, ours INFO). A
/// line has at most 500 characters.
pub fn init() {
    let asked = std::env::var("RUST_LOG").unwrap_or_default();
    let (filter, mistake) = match parse_filter(&asked) {
        Ok(filter) => (filter, None),
        Err(mistake) => (EnvFilter::new(QUIET), Some(mistake)),
    };

    // Standard output belongs to the results of commands.
    // A span is shown when it closes, with its busy and idle time, at the level that RUST_LOG sets for it.
    let is_terminal = std::io::stderr().is_terminal();
    let form = if is_terminal { LineForm::Text } else { LineForm::Json };
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_span_events(FmtSpan::CLOSE)
        .with_writer(ShortLineMaker::new(form, std::io::stderr));

    // A second call fails and leaves the first logger in place. That happens in tests.
    let _ = if is_terminal { builder.compact().try_init() } else { builder.json().try_init() };
    if let Some(mistake) = mistake {
        tracing::warn!(%mistake, "RUST_LOG is not a filter; `{QUIET}` is used");
    }
}

/// Returns the filter of `RUST_LOG`; the default if it is empty.
///
/// # Errors
/// Fails if the text is no list of directives.
fn parse_filter(asked: &str) -> Result<EnvFilter, ParseError> {
    match asked.trim() {
        "" => EnvFilter::builder().parse(QUIET),
        asked => EnvFilter::builder().parse(asked),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;

    /// A log in memory.
    #[derive(Clone, Default)]
    struct MemoryLog(Arc<Mutex<Vec<u8>>>);

    impl Write for MemoryLog {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// Returns the log of `work` under a filter.
    fn logged(asked: &str, form: LineForm, work: impl FnOnce()) -> String {
        let log = MemoryLog::default();
        let sink = log.clone();
        let builder = tracing_subscriber::fmt()
            .with_env_filter(parse_filter(asked).unwrap())
            .with_writer(ShortLineMaker::new(form, move || sink.clone()));
        match form {
            LineForm::Text => {
                tracing::subscriber::with_default(builder.compact().with_ansi(false).finish(), work)
            }
            LineForm::Json => tracing::subscriber::with_default(builder.json().finish(), work),
        }
        let bytes = log.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    fn talk() {
        tracing::info!(target: "deltalake_core::kernel", "a library's progress");
        tracing::warn!(target: "deltalake_core::kernel", "a library's warning");
        tracing::info!(target: "librdkafka", "a client's progress");
        tracing::info!(target: "sluice_sink::run", "our progress");
        tracing::debug!(target: "sluice_sink::run", "our detail");
    }

    #[test]
    fn by_default_libraries_are_at_warn_and_our_crates_at_info() {
        for asked in ["", "  "] {
            let log = logged(asked, LineForm::Text, talk);
            assert!(log.contains("our progress") && log.contains("a library's warning"), "{log}");
            assert!(!log.contains("'s progress") && !log.contains("our detail"), "{log}");
        }
    }

    #[test]
    fn rust_log_replaces_the_default() {
        let log = logged("warn,deltalake_core=info,sluice_sink=debug", LineForm::Text, talk);
        assert!(log.contains("a library's progress") && log.contains("our detail"), "{log}");
        assert!(!log.contains("a client's progress"), "{log}");
        assert!(parse_filter("sluice==info").is_err());
    }

    #[test]
    fn a_long_line_is_cut_and_a_json_line_stays_json() {
        let long = "ä".repeat(3000);
        for form in [LineForm::Text, LineForm::Json] {
            let log = logged(
                "",
                form,
                || tracing::warn!(target: "sluice", why = %long, other = %long, "it failed"),
            );
            for line in log.lines() {
                assert!(line.chars().count() <= 500, "{} characters", line.chars().count());
            }
            assert!(log.contains("it failed") && log.contains("more characters"), "{log}");
            if form == LineForm::Json {
                let line: serde_json::Value = serde_json::from_str(log.trim()).unwrap();
                assert_eq!(line["level"], "WARN");
                assert!(line["fields"]["why"].as_str().unwrap().starts_with("ää"), "{line}");
            }
        }
    }
}
