//! Readers that have gone, and disks that are full: a quiet end, or an error that says so.

use std::fs::File;
use std::process::{Command, Stdio};

use sluice_tests::binary;

use super::folder;

/// Commands that print, with their exit codes.
const PRINTING: [(&str, i32); 9] = [
    ("--help", 0),
    ("config-schema collector", 0),
    ("completions bash", 0),
    ("contract test --schemas @schemas", 0),
    ("contract --help", 0),
    ("plan --proof -c @apply.yaml", 0),
    ("plan --proof -c @apply.yaml --output json", 0),
    ("collector migrate -c @job.yaml --print", 0),
    ("plan -c @missing.yaml --output json", 64),
];

#[test]
fn a_reader_that_has_gone_is_a_quiet_end_with_the_same_exit_code() {
    let contract = folder("pipes");
    for (args, code) in PRINTING {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = command(&contract, args).stdout(writer).stderr(Stdio::piped()).output().unwrap();
        let err = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), &*err), (Some(code), ""), "sluice {args}");
    }
}

#[test]
fn closed_standard_error_changes_no_exit_code() {
    let contract = folder("errors");
    for (args, code) in [("plan -c @missing.yaml", 64), ("aply", 64)] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = command(&contract, args).stdout(Stdio::piped()).stderr(writer).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "sluice {args}");
    }
}

#[test]
fn a_full_disk_behind_standard_output_is_an_error() {
    let contract = folder("full");
    for (args, _) in PRINTING.into_iter().filter(|(_, code)| *code == 0) {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let output = command(&contract, args).stdout(full).stderr(Stdio::piped()).output().unwrap();
        let err = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(64), "sluice {args}: {err}");
        assert!(
            err.contains("writing standard output: No space left") && err.contains("make room"),
            "{args}: {err}"
        );
        assert!(!err.contains("panicked"), "{args}: {err}");
    }
}

/// Returns a command with the folder's files in its arguments.
fn command(contract: &sluice_tests::contract::TestContract, args: &str) -> Command {
    let mut command = Command::new(binary());
    command.args(args.split(' ').map(|arg| match arg.strip_prefix('@') {
        Some(file) => contract.file(file).display().to_string(),
        None => arg.to_owned(),
    }));
    command.stdin(Stdio::null());
    command
}
