//! Contracts that are refused, and queries that are wrong: exit code 1.

use sluice_tests::contract::TestContract;

use super::{WrongUsage, assert_none, changed, folder, mistakes, wrong};

#[test]
fn a_contract_is_refused_with_file_line_and_action() {
    assert_none(&mistakes(contracts(&folder("refused"))));
}

#[test]
fn a_wrong_query_is_the_askers_to_mend() {
    assert_none(&mistakes(queries(&folder("queries"))));
}

/// Writes a copy of the contract's folder with one change, and a file for `plan` that names the copy.
fn with_change(contract: &TestContract, nth: usize, file: &str, from: &str, to: &str) -> String {
    let name = &contract.name;
    let (own, copy) = (format!("schemas/it/{name}"), format!("broken-{nth}"));
    std::fs::create_dir_all(contract.file(&format!("{copy}/it/{name}"))).unwrap();
    for kept in ["value.avsc", "contract.odcs.yaml"] {
        let text = std::fs::read_to_string(contract.file(&format!("{own}/{kept}"))).unwrap();
        contract.write(&format!("{copy}/it/{name}/{kept}"), &text);
    }
    changed(contract, &format!("{copy}/it/{name}/{file}"), &format!("{own}/{file}"), from, to);
    let plan = format!("{copy}.yaml");
    changed(contract, &plan, "apply.yaml", "/schemas\n", &format!("/{copy}\n"));
    plan
}

pub(super) fn contracts(contract: &TestContract) -> Vec<WrongUsage> {
    let odcs = "contract.odcs.yaml";
    let changes = [
        ("a tagged leaf that is kept", odcs, "{op: drop}", "{op: keep}", "contract.odcs.yaml:", "note"),
        (
            "a leaf without a masking",
            odcs,
            "value: {op: keep}",
            "value: {op: decide}",
            "contract.odcs.yaml:",
            "keep",
        ),
        (
            "an operation with a typing mistake",
            odcs,
            "{op: drop}",
            "{op: dorp}",
            "contract.odcs.yaml:",
            "`drop`",
        ),
        ("an operation without its key", odcs, "key: pseudonym, ", "", "contract.odcs.yaml:", "key"),
        ("a retention without a unit", odcs, "unit: d", "unit: fortnight", "contract.odcs.yaml:", "unit"),
        ("a leaf that the schema lacks", odcs, "name: \"n\"", "name: \"m\"", "contract.odcs.yaml:", "m"),
        ("a schema that is no JSON", "value.avsc", "{\"type\":\"record\"", "{type", "value.avsc:", "JSON"),
        ("a type that does not exist", "value.avsc", "\"long\"", "\"longs\"", "value.avsc:", "longs"),
        (
            "a key that is dropped",
            odcs,
            "recordKey, value: id",
            "recordKey, value: note",
            "contract.odcs.yaml:",
            "note",
        ),
    ];
    let usages = changes.iter().enumerate().map(|(nth, (name, file, from, to, place, action))| {
        let plan = with_change(contract, nth, file, from, to);
        wrong(contract.dir(), name, &format!("plan -c @{plan}"), 1, place, action)
    });

    // A worker and the other commands refuse the same contract with the same code.
    let masker = |nth: usize| {
        let file = format!("masker-{nth}.yaml");
        changed(contract, &file, "masker.yaml", "/schemas\n", &format!("/broken-{nth}\n"));
        wrong(contract.dir(), "a worker", &format!("run masker -c @{file}"), 1, "contract.odcs.yaml:", "note")
    };
    let mut usages: Vec<_> = usages.collect();
    usages.push(masker(0));
    let row = |name, args, place, action| wrong(contract.dir(), name, args, 1, place, action);
    usages.extend([
        row("apply", "apply -c @broken-0.yaml", "contract.odcs.yaml:", "note"),
        row("the proof", "plan --proof -c @broken-0.yaml", "contract.odcs.yaml:", "note"),
        row("a site", "catalogue --schemas @broken-0 --out @site", "contract.odcs.yaml:", "note"),
    ]);
    usages
}

pub(super) fn queries(contract: &TestContract) -> Vec<WrongUsage> {
    std::fs::create_dir_all(contract.file("lake")).unwrap();
    let row = |name, sql: &str, place, action| {
        let mut usage = wrong(contract.dir(), name, "sql --schemas @schemas --lake @lake", 1, place, action);
        usage.args.push(sql.to_owned());
        usage
    };
    vec![
        row("a word with a typing mistake", "SELEC 1", "SELEC", "an SQL statement"),
        row("a table that does not exist", "SELECT a FROM nowhere", "nowhere", "no tables yet"),
        row("a column that does not exist", "SELECT a", "there is no column", "`a`"),
        row("a function that does not exist", "SELECT summ(1)", "summ", "did you mean 'sum'"),
        row("a query that breaks off", "SELECT 1 FROM", "Expected: identifier", "found: EOF"),
        row("no statement", " ", "SQL", "are answered"),
    ]
}
