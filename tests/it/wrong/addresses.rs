//! Neighbours that are away, refuse, or are something else: 75 if a retry can help, 64 if an address or a credential has
//! to be mended.

use sluice_tests::contract::TestContract;

use super::{WrongUsage, assert_none, changed, folder, job, mistakes, stand_in, wrong};

#[test]
fn a_kafka_that_does_not_answer_is_described() {
    assert_none(&mistakes(kafka(&folder("brokers"))));
}

#[test]
fn a_registry_that_does_not_answer_is_described() {
    assert_none(&mistakes(registry(&folder("registry"))));
}

#[test]
fn databases_and_apis_that_do_not_answer_are_described() {
    assert_none(&mistakes(others(&folder("others"))));
}

const PAGE: &str = "<html><body>Welcome</body></html>";

pub(super) fn kafka(contract: &TestContract) -> Vec<WrongUsage> {
    let tls = stand_in::unknown_authority(contract.dir());
    let page = stand_in::http("200 OK", "text/html", PAGE);
    let hole = stand_in::black_hole();
    let ssl = "properties: {security.protocol: SSL}";
    let broker = &contract.servers.brokers;

    // Name, `kafka` section, exit code, place, action.
    let rows = [
        ("closed", format!("brokers: \"{}\"", stand_in::CLOSED), 75, "Connection refused", "start Kafka"),
        ("silent", format!("brokers: \"{hole}\""), 75, hole.as_str(), "start Kafka"),
        (
            "unknown",
            "brokers: \"no.such.host.invalid:9092\"".to_owned(),
            64,
            "no.such.host.invalid",
            "check the host",
        ),
        ("a page", format!("brokers: \"{page}\""), 64, page.as_str(), "check the port"),
        (
            "an unknown authority",
            format!("brokers: \"{tls}\", {ssl}"),
            64,
            "no authority that is trusted",
            "ssl.ca.location",
        ),
        (
            "plain text for TLS",
            format!("brokers: \"{broker}\", {ssl}"),
            64,
            "SSL handshake failed",
            "security.protocol",
        ),
    ];
    let usages = rows.iter().enumerate().map(|(nth, (name, section, code, place, action))| {
        let file = format!("kafka-{nth}.yaml");
        changed(contract, &file, "apply.yaml", &format!("brokers: \"{broker}\""), section);
        let name = format!("Kafka: {name}");
        wrong(contract.dir(), &name, &format!("plan -c @{file}"), *code, place, action)
    });
    let mut usages: Vec<_> = usages.collect();

    // Every command that asks Kafka describes it in the same way.
    let row = |name, args| wrong(contract.dir(), name, args, 75, "Connection refused", "start Kafka");
    changed(contract, "away.yaml", "masker.yaml", broker, stand_in::CLOSED);
    let topic = contract.raw();
    usages.extend([
        row("apply without Kafka", "apply -c @kafka-0.yaml"),
        row("verify without Kafka", "verify -c @kafka-0.yaml"),
        row("conservation without Kafka", "verify -c @kafka-0.yaml --conservation"),
        row("letters without Kafka", "dead-letters ls -c @kafka-0.yaml"),
        row(
            "a letter without Kafka",
            &format!("dead-letters show -c @kafka-0.yaml --partition 0 --offset 0 --topic {topic}"),
        ),
        row("letters again without Kafka", "dead-letters replay --worker masker -c @away.yaml"),
        row("replay without Kafka", &format!("replay --worker masker -c @away.yaml --topic {topic}")),
    ]);
    usages
}

pub(super) fn registry(contract: &TestContract) -> Vec<WrongUsage> {
    let tls = format!("https://{}", stand_in::unknown_authority(contract.dir()));
    let answers = |status, kind, body| format!("http://{}", stand_in::http(status, kind, body));
    let hole = format!("http://{}", stand_in::black_hole());
    let code = "{\"error_code\": 50001, \"message\": \"no leader\"}";
    let rows = [
        ("closed", format!("http://{}", stand_in::CLOSED), 75, "127.0.0.1:9", "registry.url"),
        ("silent", hole, 75, "no answer in time", "registry.url"),
        ("unknown", "http://no.such.host.invalid".to_owned(), 64, "no.such.host.invalid", "registry.url"),
        ("401", answers("401 Unauthorized", "application/json", "{}"), 64, "401", "registry.token"),
        ("403", answers("403 Forbidden", "application/json", "{}"), 64, "403", "registry.token"),
        ("a wrong path", answers("404 Not Found", "text/html", PAGE), 64, "404", "registry.url"),
        ("a page", answers("200 OK", "text/html", PAGE), 64, "200", "check registry.url"),
        (
            "trouble of its own",
            answers("500 Internal Server Error", "application/json", code),
            75,
            "500",
            "try again",
        ),
        ("an unknown authority", tls, 64, "certificate", "registry."),
        ("no URL", "registry".to_owned(), 64, "registry.url", "http"),
    ];
    let usages = rows.iter().enumerate().map(|(nth, (name, url, code, place, action))| {
        let file = format!("registry-{nth}.yaml");
        changed(
            contract,
            &file,
            "apply.yaml",
            &format!("url: \"{}\"", contract.servers.registry),
            &format!("url: \"{url}\""),
        );
        wrong(contract.dir(), &format!("registry: {name}"), &format!("plan -c @{file}"), *code, place, action)
    });
    let mut usages: Vec<_> = usages.collect();
    let args = format!("contract new --topic {} --subject no-such-value -c @apply.yaml", contract.raw());
    usages.push(wrong(
        contract.dir(),
        "a subject that nobody has",
        &args,
        64,
        "no-such-value",
        "<topic>-value",
    ));
    usages
}

pub(super) fn others(contract: &TestContract) -> Vec<WrongUsage> {
    let answers = |status| format!("http://{}", stand_in::http(status, "text/html", PAGE));
    let api = |name: &str, url: &str| drop(contract.write(name, &job(contract, url)));
    api("closed.yaml", "http://127.0.0.1:9");
    api("refused.yaml", &answers("401 Unauthorized"));
    api("unknown.yaml", "http://no.such.host.invalid");

    contract.write("nohost", "postgres://user:hunter2@no.such.host.invalid/ids");
    contract.write("scheme", "oracle://user:hunter2@127.0.0.1/ids");
    changed(contract, "nohost.yaml", "job.yaml", "/database}", "/nohost}");
    changed(contract, "scheme.yaml", "job.yaml", "/database}", "/scheme}");

    let row = |name, args, code, place, action| wrong(contract.dir(), name, args, code, place, action);
    vec![
        row("an API that is away", "collector try -c @closed.yaml --id a", 75, "127.0.0.1", "api.base_url"),
        row(
            "an API without a host",
            "collector try -c @unknown.yaml --id a",
            64,
            "no.such.host.invalid",
            "check the host",
        ),
        row("an API that refuses", "collector try -c @refused.yaml --id a", 64, "401", "api.auth"),
        row(
            "a database that is away",
            "collector status -c @job.yaml",
            75,
            "127.0.0.1:9",
            "check database.url",
        ),
        row(
            "a database without a host",
            "collector dead -c @nohost.yaml",
            64,
            "no.such.host.invalid",
            "check the host",
        ),
        row(
            "a database of another kind",
            "collector status -c @scheme.yaml",
            64,
            "database.url",
            "postgres://",
        ),
        row(
            "tables without a database",
            "collector migrate -c @job.yaml",
            75,
            "127.0.0.1:9",
            "start the database",
        ),
    ]
}
