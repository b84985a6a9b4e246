//! Logs: plain text on a terminal, JSON lines otherwise. They never hold a record's value.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::FmtSpan;

/// Starts logging to standard error. `RUST_LOG` chooses the level (default `info`).
pub fn init() {
    // The libraries' own progress messages would hide the worker's.
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| {
        EnvFilter::new("info,datafusion=warn,deltalake=warn,deltalake_core=warn,librdkafka=warn")
    });
    // Standard output belongs to the results of commands.
    // A span is shown when it closes, with its busy and idle time, at the level that RUST_LOG sets for it.
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_span_events(FmtSpan::CLOSE)
        .with_writer(std::io::stderr);

    // A second call fails and leaves the first logger in place. That happens in tests.
    let _ = if std::io::stderr().is_terminal() {
        builder.compact().try_init()
    } else {
        builder.json().try_init()
    };
}
