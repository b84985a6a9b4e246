//! Runs one command of the binary to its end.

use std::ffi::OsStr;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::binary;

/// Exit code and output of a command.
#[derive(Debug)]
pub struct TestCommandOutput {
    /// Exit code.
    pub code: i32,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl TestCommandOutput {
    /// Parses standard output as one JSON document.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// Runs `sluice <args>` to its end, or ends it after 40 s: the exit code is then 124.
pub fn sluice_within_patience<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> TestCommandOutput {
    let mut command = Command::new("timeout");
    command.arg("40").arg(binary()).args(args);
    output_of(command)
}

/// Runs `sluice <args>` to its end.
pub fn sluice<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> TestCommandOutput {
    let mut command = Command::new(binary());
    command.args(args);
    output_of(command)
}

/// Runs a command to its end, without input.
fn output_of(mut command: Command) -> TestCommandOutput {
    let output = command.stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|error| panic!("sluice: {error}"));
    TestCommandOutput {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}
