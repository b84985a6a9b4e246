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

/// Runs `sluice <args>` to its end.
pub fn sluice<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> TestCommandOutput {
    let output = Command::new(binary()).args(args).stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|error| panic!("sluice: {error}"));
    TestCommandOutput {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}
