//! Mistakes in configuration files: keys, types, forms, and sections that are one of several.

use sluice_tests::contract::TestContract;

use super::{WrongUsage, assert_none, changed, folder, mistakes, wrong};

#[test]
fn a_wrong_setting_is_named_with_file_line_and_expectation() {
    assert_none(&mistakes(settings(&folder("settings"))));
}

#[test]
fn a_section_that_is_one_of_several_is_described_as_the_one_that_was_meant() {
    assert_none(&mistakes(sections(&folder("sections"))));
}

/// Rows whose file is another one with a change. Each has a name, a command with its file, the change, and the message.
type ChangedRow<'r> = (&'r str, &'r str, &'r str, &'r str, &'r str, &'r str);

/// Writes the file of each row and returns the usages.
fn changed_rows(contract: &TestContract, rows: &[ChangedRow<'_>]) -> Vec<WrongUsage> {
    let usages = rows.iter().enumerate().map(|(nth, (name, command, from, to, place, action))| {
        let (command, of) = command.rsplit_once(' ').unwrap();
        let file = format!("{}-{nth}-{of}", if command.starts_with("run") { "run" } else { "do" });
        changed(contract, &file, of, from, to);
        wrong(contract.dir(), name, &format!("{command} @{file}"), 64, place, action)
    });
    usages.collect()
}

pub(super) fn settings(contract: &TestContract) -> Vec<WrongUsage> {
    let masker = "run masker -c masker.yaml";
    let sink = "run sink -c sink.yaml";
    let job = "collector check -c job.yaml";
    let broker = format!("brokers: \"{}\"", contract.servers.brokers);
    let key = format!("{{file: {}}}", contract.file("key").display());
    changed_rows(
        contract,
        &[
            (
                "an unknown key",
                "plan -c apply.yaml",
                "kafka:",
                "colour: red\nkafka:",
                ":1: colour",
                "known keys:",
            ),
            ("a key with a typing mistake", masker, "brokers:", "broker:", ":1: kafka.broker", "`brokers`"),
            ("a key that is missing", masker, "url:", "urls:", ":2: registry.urls", "`url`"),
            (
                "a number for a text",
                "plan -c apply.yaml",
                "schemas: ",
                "schemas: 5 #",
                ":3: schemas",
                "expected a text",
            ),
            ("a text for a map", masker, "kafka: {", "kafka: h #{", ":1: kafka", "expected a map"),
            (
                "a list for a text",
                masker,
                "group: ",
                "group: [a] #",
                "group",
                "expected a text, found a list",
            ),
            ("no lane", masker, "commit_ms: 100", "lanes: 0", "lanes", "expected at least 1"),
            ("too many lanes", masker, "commit_ms: 100", "lanes: 65", "lanes", "expected at most 64"),
            (
                "a text for a number",
                masker,
                "commit_ms: 100",
                "lanes: many",
                "lanes",
                "expected a whole number",
            ),
            (
                "a duration that is none",
                masker,
                "commit_ms: 100",
                "commit_ms: soon",
                "commit_ms",
                "such as 250ms",
            ),
            (
                "a duration that is too long",
                masker,
                "commit_ms: 100",
                "commit_ms: 1h",
                "commit_ms",
                "at most 5000",
            ),
            ("an amount that is none", masker, "commit_ms: 100", "memory: lots", "memory", "such as 192MiB"),
            ("an unknown unit", masker, "commit_ms: 100", "memory: 12XB", "memory", "such as 192MiB"),
            (
                "a promise that would break",
                masker,
                "brokers:",
                "properties: {acks: 1}, brokers:",
                "acks",
                "exactly once",
            ),
            (
                "a secret in the open",
                masker,
                "brokers:",
                "properties: {sasl.password: x}, brokers:",
                "kafka.properties.sasl.password",
                "kafka.secrets",
            ),
            (
                "an unknown property",
                "plan -c apply.yaml",
                "brokers:",
                "properties: {lingerms: 5}, brokers:",
                "lingerms",
                "kafka.properties",
            ),
            (
                "a property with a wrong value",
                "plan -c apply.yaml",
                "brokers:",
                "properties: {security.protocol: TLS}, brokers:",
                "security.protocol",
                "kafka.properties",
            ),
            (
                "a list of properties",
                masker,
                "brokers:",
                "properties: [a], brokers:",
                "kafka.properties",
                "a map",
            ),
            ("no brokers", "plan -c apply.yaml", &broker, "brokers: \"\"", "kafka.brokers", "host:port"),
            (
                "no copy",
                "plan -c apply.yaml",
                "schemas:",
                "replication: 0\nschemas:",
                ":3: replication",
                "at least 1",
            ),
            (
                "everybody",
                "plan -c apply.yaml",
                "schemas:",
                "access: {roles: {a: [\"User:*\"]}}\nschemas:",
                "access.roles.a[0]",
                "User:analyst",
            ),
            (
                "a worker without a seat",
                "plan -c apply.yaml",
                "schemas:",
                "access: {workers: {maskr: {}}}\nschemas:",
                "access.workers.maskr",
                "`masker`",
            ),
            (
                "a folder that is not there",
                "plan -c apply.yaml",
                "schemas: ",
                "schemas: /no",
                "schemas",
                "<domain>",
            ),
            ("a sink without a group", sink, "group: ", "group: \"\" #", "group", "for example `lake`"),
            ("a topic that is none", sink, "flush_seconds: 1", "topics: [a/b]", "topics[0]", "use letters"),
            (
                "an endless flush",
                sink,
                "flush_seconds: 1",
                "flush_seconds: 0",
                "flush_seconds",
                "10 is the default",
            ),
            (
                "a batch above the memory",
                sink,
                "flush_seconds: 1",
                "batch_bytes: 1GB",
                "batch_bytes",
                "raise `memory`",
            ),
            ("an address that is none", masker, "127.0.0.1:0", "nowhere", "admin.listen", "host:port"),
            (
                "an address in use",
                masker,
                "127.0.0.1:0",
                &contract.servers.brokers,
                "admin.listen",
                "another port",
            ),
            ("a key of no contract", masker, "pseudonym:", "other:", "pseudonym", "under `keys`"),
            (
                "a secret that is not set",
                masker,
                &key,
                "{env: SLUICE_NONE}",
                "keys.pseudonym.1",
                "set SLUICE_NONE",
            ),
            ("a job's name with a blank", job, "job: wrong", "job: a b", "job", "1 to 100 of"),
            ("a table that is none", job, "table: ids", "table: \"i;d\"", "database.table", "plain name"),
            ("a database in no file", job, "{file: ", "{file: /no", "database.url", "cannot be read"),
            ("an API that is no URL", job, "http://127.0.0.1:9", "127.0.0.1", "api.base_url", "http"),
            ("a path without an id", job, "/v1/{id}", "/v1", "endpoints[0].path", "{id}"),
        ],
    )
}

pub(super) fn sections(contract: &TestContract) -> Vec<WrongUsage> {
    let sink = "run sink -c sink.yaml";
    let masker = "run masker -c masker.yaml";
    let job = "collector check -c job.yaml";
    changed_rows(
        contract,
        &[
            (
                "a store with a typing mistake",
                sink,
                "archive:",
                "archve:",
                "stores[0].archve",
                "did you mean `archive`?",
            ),
            (
                "a store that does not exist",
                sink,
                "archive:",
                "oracle:",
                "stores[0]",
                "one of `archive: …`, `delta: …`",
            ),
            ("a store without its path", sink, "{path: ", "{} #", "stores[0].archive", "`path` is missing"),
            (
                "a store's key with a typing mistake",
                sink,
                "{path: ",
                "{pth: ",
                "stores[0].archive.pth",
                "`path`",
            ),
            (
                "a store's wrong type",
                sink,
                "{path: ",
                "{path: 5} #",
                "stores[0].archive.path",
                "expected a text",
            ),
            (
                "a codec that does not exist",
                sink,
                "{path: ",
                "{codec: zip, path: ",
                "archive.codec",
                "zstandard, deflate",
            ),
            (
                "a text in the place of a store",
                sink,
                "archive: ",
                "archive #",
                "stores[0]",
                "one of `archive: …`",
            ),
            (
                "two stores in one",
                sink,
                "\n  - delta",
                ", delta: {path: d}}\n  - delta",
                "sink.yaml",
                "mend the file",
            ),
            (
                "a store in a bucket",
                sink,
                "{path: ",
                "{path: s3://bucket/a} #",
                "stores[0].archive.path",
                "a folder",
            ),
            (
                "a store of an unknown scheme",
                sink,
                "{path: ",
                "{path: ftp://h/a} #",
                "archive.path",
                "scheme `ftp`",
            ),
            (
                "a lake in a bucket",
                "plan -c apply.yaml",
                "schemas:",
                "lake: gs://bucket/a\nschemas:",
                "lake",
                "a folder",
            ),
            (
                "a secret in the open",
                masker,
                "url:",
                "token: hunter2, url:",
                "registry.token",
                "`env: …`, `file: …`",
            ),
            (
                "a secret of two kinds",
                masker,
                "url:",
                "token: {env: A, file: b}, url:",
                "registry.token",
                "expected one kind, found env and file",
            ),
            (
                "a secret of an unknown kind",
                masker,
                "url:",
                "token: {path: b}, url:",
                "registry.token",
                "`env: …`",
            ),
            (
                "a pagination that does not exist",
                job,
                "path: \"/v1",
                "pagination: {kind: pages}, path: \"/v1",
                "endpoints[0].pagination.kind",
                "did you mean `page`?",
            ),
            (
                "a pagination without a kind",
                job,
                "path: \"/v1",
                "pagination: {size: 5}, path: \"/v1",
                "endpoints[0].pagination",
                "`kind` is missing",
            ),
            (
                "a login with a typing mistake",
                job,
                "base_url:",
                "auth: {baerer: {env: A}}, base_url:",
                "api.auth.baerer",
                "did you mean `bearer`?",
            ),
            (
                "a login that lacks its password",
                job,
                "base_url:",
                "auth: {basic: {user: a}}, base_url:",
                "api.auth.basic",
                "`password` is missing",
            ),
            (
                "a mode that does not exist",
                job,
                "job: wrong",
                "job: wrong\nmode: exactly",
                "mode",
                "transactional, idempotent",
            ),
        ],
    )
}
