//! Mistakes in the command line, and in the files that it names.

use sluice_tests::contract::TestContract;

use super::{WrongUsage, assert_none, folder, mistakes, wrong};

#[test]
fn a_wrong_command_line_is_answered_with_the_right_one() {
    assert_none(&mistakes(command_line(&folder("commands"))));
}

#[test]
fn a_file_that_cannot_be_used_is_named_with_the_reason() {
    assert_none(&mistakes(files(&folder("files"))));
}

pub(super) fn command_line(contract: &TestContract) -> Vec<WrongUsage> {
    let row = |name, args, place, action| wrong(contract.dir(), name, args, 64, place, action);
    vec![
        row("a command with a typing mistake", "aply", "'aply'", "'apply'"),
        row("a worker with a typing mistake", "run maskr -c @masker.yaml", "'maskr'", "'masker'"),
        row("an option with a typing mistake", "plan --confg @apply.yaml", "'--confg'", "'--config'"),
        row("an option that is missing", "plan", "not provided", "--config <FILE>"),
        row("an option without its value", "plan -c", "--config <FILE>", "none was supplied"),
        row(
            "a form that does not exist",
            "verify -c @apply.yaml --drift=yes",
            "--drift",
            "Usage: sluice verify",
        ),
        row("a worker that does not exist", "config-schema maskers", "'maskers'", "'masker'"),
        row("a shell that does not exist", "completions tcsh", "'tcsh'", "bash"),
        row("a number out of range", "up --kafka 9", "'--kafka <KAFKA>'", "1..=3"),
        row("a sample of nothing", "verify -c @apply.yaml --sample 0", "'--sample <SAMPLE>'", "1..=1000000"),
        row(
            "an option without its companion",
            "verify -c @apply.yaml --deep",
            "not provided",
            "--conservation",
        ),
        row(
            "options that exclude each other",
            "verify -c @apply.yaml --drift --conservation",
            "cannot be used with",
            "Usage: sluice verify",
        ),
        row(
            "a worker that cannot be replayed",
            "replay --worker sink -c @sink.yaml --topic a",
            "'sink'",
            "masker, normaliser",
        ),
        row(
            "an offset without its partition",
            "replay --worker masker -c @masker.yaml --topic a --from 1",
            "not provided",
            "--partition",
        ),
        row(
            "an offset that is no number",
            "dead-letters show --offset ten",
            "'--offset <OFFSET>'",
            "invalid digit",
        ),
        row("neither an id nor all", "collector retry -c @job.yaml", "not provided", "--id <ID>"),
        row(
            "neither samples nor a subject",
            "contract new --topic a.b.v1",
            "not provided",
            "--samples <FILE>",
        ),
        row("no command of a group", "wire", "Usage: sluice wire", "<COMMAND>"),
        row(
            "a lake in a bucket",
            "sql --lake s3://bucket/lake SELECT",
            "'--lake <DIR>'",
            "a folder of this machine",
        ),
        row(
            "a site in a bucket",
            "catalogue --out gs://bucket/site",
            "'--out <DIR>'",
            "a folder of this machine",
        ),
        row(
            "a folder of an unknown kind",
            "up --dir ftp://host/x",
            "'--dir <DIR>'",
            "scheme `ftp` is unknown",
        ),
    ]
}

pub(super) fn files(contract: &TestContract) -> Vec<WrongUsage> {
    contract.write("empty.yaml", "");
    contract.write("list.yaml", "- a\n- b\n");
    contract.write("open.yaml", "kafka: {brokers: \"h:1\"\nregistry: x\n");
    contract.write("twice.yaml", "schemas: a\nschemas: b\n");
    contract.write("policy.json", "{");
    contract.write("short.key", "c2hvcnQ=\n");
    contract.write("broken.avsc", "{\"type\": \"record\"}");
    contract.write("records.jsonl", "{\"id\": 1}\n{\"id\": \n");
    contract.write("none.json", "{}");
    std::fs::write(contract.file("latin.yaml"), b"kafka: \xe9\n").unwrap();

    let row = |name, args, place, action| wrong(contract.dir(), name, args, 64, place, action);
    vec![
        row("no such file", "plan -c @missing.yaml", "missing.yaml", "give a YAML file with -c"),
        row("a folder in the place of a file", "plan -c @schemas", "schemas", "give a YAML file with -c"),
        row("a file that is no text", "plan -c @latin.yaml", "latin.yaml", "UTF-8"),
        row("an empty file", "plan -c @empty.yaml", "empty.yaml", "sluice config-schema"),
        row("a list in the place of a map", "plan -c @list.yaml", "list.yaml", "sluice config-schema"),
        row("YAML that does not end", "plan -c @open.yaml", "open.yaml:2", "mend the file at this line"),
        row("a key twice", "apply -c @twice.yaml", "twice.yaml:2", "mend the file at this line"),
        row(
            "a job that does not exist",
            "collector check -c @no.yaml",
            "no.yaml",
            "give a YAML file with -c",
        ),
        row(
            "a worker's file that does not exist",
            "run sink -c @no.yaml",
            "no.yaml",
            "give a YAML file with -c",
        ),
        row("no folder of contracts", "contract test --schemas @no", "no", "`schemas` names the folder"),
        row(
            "a site of no contracts",
            "catalogue --schemas @no --out @site",
            "no",
            "`schemas` names the folder",
        ),
        row(
            "a file in the place of the site",
            "catalogue --schemas @schemas --out @text",
            "text",
            "remove it",
        ),
        row(
            "a site that cannot be made",
            "catalogue --schemas @schemas --out /sys/site",
            "/sys/site",
            "another path",
        ),
        row("a page in no folder", "plan -c @apply.yaml --proof-html @no/x.html", "x.html", "give the path"),
        row("no samples", "contract new --topic a.b.v1 --samples @no", "no", "give the path"),
        row(
            "broken samples",
            "contract new --topic a.b.v1 --samples @records.jsonl",
            "line 3",
            "mend the samples",
        ),
        row(
            "a contract that nobody has",
            "contract test nobody --schemas @schemas",
            "nobody",
            "contracts: files",
        ),
        row("no policy", "wire patch --policy @no.json", "no.json", "give the path"),
        row("a policy that is no JSON", "wire patch --policy @policy.json", "policy.json", "expected JSON"),
        row("a key without an epoch", "wire patch --policy @none.json --key a=b", "--key", "NAME:EPOCH=FILE"),
        row(
            "a key in no file",
            "wire patch --policy @none.json --key a:1=@no.key",
            "no.key",
            "cannot be read",
        ),
        row(
            "a key that is short",
            "wire patch --policy @none.json --key a:1=@short.key",
            "keys.a.1",
            "head -c 32",
        ),
        row("no schema", "wire explain @no.avsc @none.json", "no.avsc", "give the path"),
        row("a schema that is none", "wire explain @broken.avsc @none.json", "broken.avsc", "mend"),
        row("no lake", "sql --lake @no SELECT", "no", "folder of the Delta tables"),
        row("a lake that is a file", "sql --lake @text SELECT", "text", "folder of the Delta tables"),
        row("no answers to replay", "collector try -c @job.yaml --id a --replay @no", "no", "--record"),
    ]
}
