//! Maskers that serve a part of the contracts: each masks only its own, and a contract that moves from one to another
//! loses nothing and repeats nothing.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use sluice_tests::clients::{self, TestRecordSender, committed, count, event};
use sluice_tests::command::sluice;
use sluice_tests::contract::TestContract;
use sluice_tests::worker::TestWorkerProcess;
use sluice_tests::{eventually, servers};

use crate::delivery::number;

const WAIT: Duration = Duration::from_secs(90);

/// Two contracts in one folder, applied.
struct ContractPair {
    contract: TestContract,
    names: [String; 2],
}

impl ContractPair {
    fn applied(name: &str) -> Self {
        let names = [format!("{name}left"), format!("{name}right")];
        let contract = TestContract::written(&names[0], servers());
        contract.write_also(&names[1]);
        let output = sluice(["apply", "-c", &contract.file("apply.yaml").display().to_string()]);
        assert_eq!(output.code, 0, "{output:?}");
        Self { contract, names }
    }

    fn raw(&self, side: usize) -> String {
        format!("it.{}.v1", self.names[side])
    }

    fn masked(&self, side: usize) -> String {
        format!("it.{}.masked.v1", self.names[side])
    }

    /// A masker of one group that serves these patterns.
    fn masker(&self, file: &str, instance: &str, patterns: &[&str]) -> PathBuf {
        let written = std::fs::read_to_string(self.contract.masker(instance)).unwrap();
        // A star in front would be an alias of YAML without quotes.
        self.contract.write(file, &format!("{written}contracts: [\"{}\"]\n", patterns.join("\", \"")))
    }

    fn feed(&self, side: usize, from: i64, count: i64) {
        let servers = &self.contract.servers;
        let (id, _) = clients::schema_of(servers, &format!("{}-value", self.raw(side)));
        let sender = TestRecordSender::new(servers, &self.raw(side));
        for n in from..from + count {
            let key = format!("N{:05}", n % 97);
            sender.send(Some(key.as_bytes()), Some(&event(id, &key, n, "a note about somebody")));
        }
        sender.flush();
    }

    fn waits_for(&self, side: usize, records: usize) {
        eventually("every record masked", WAIT, || {
            (count(&self.contract.servers, &self.masked(side)) >= records).then_some(())
        });
    }

    /// Each number once, and each source position once.
    fn once(&self, side: usize, records: usize) {
        let found = committed(&self.contract.servers, &self.masked(side));
        let numbers: BTreeSet<i64> = found.iter().map(number).collect();
        let sources: BTreeSet<_> = found.iter().map(|record| &record.headers["sluice.source"]).collect();
        assert_eq!((found.len(), numbers.len(), sources.len()), (records, records, records), "lost or twice");
    }
}

#[test]
fn two_maskers_with_disjoint_parts_mask_only_theirs_even_under_one_instance_name() {
    let pair = ContractPair::applied("own");
    let [left, right] = [format!("it/{}", pair.names[0]), format!("*/{}", pair.names[1])];
    let mut maskers = [
        TestWorkerProcess::start("masker", &pair.masker("left.yaml", "one", &[&left])),
        TestWorkerProcess::start("masker", &pair.masker("right.yaml", "one", &[&right])),
    ];
    pair.feed(0, 0, 2_000);
    pair.feed(1, 0, 3_000);
    pair.waits_for(0, 2_000);
    pair.waits_for(1, 3_000);

    // Figures and pages of each are about its own contract.
    for (side, masker) in maskers.iter().enumerate() {
        let figures = masker.page("/metrics").1;
        assert!(figures.contains(&format!("topic=\"{}\"", pair.raw(side))), "{figures}");
        assert!(!figures.contains(&pair.raw(1 - side)), "{figures}");
        let status: serde_json::Value = serde_json::from_str(&masker.page("/status").1).unwrap();
        let status = status.to_string();
        assert!(status.contains(&pair.names[side]) && !status.contains(&pair.names[1 - side]), "{status}");
    }

    // A second one of the left part shares its work, and the right part goes on.
    let mut second = TestWorkerProcess::start("masker", &pair.masker("second.yaml", "two", &[&left]));
    eventually("a ready masker", WAIT, || (second.page("/readyz").0 == 200).then_some(()));
    pair.feed(0, 2_000, 2_000);
    pair.feed(1, 3_000, 2_000);
    pair.waits_for(0, 4_000);
    pair.waits_for(1, 5_000);
    assert!(second.end(Duration::from_secs(20)).success(), "{}", second.log());
    for masker in &mut maskers {
        assert!(masker.end(Duration::from_secs(20)).success(), "{}", masker.log());
    }
    pair.once(0, 4_000);
    pair.once(1, 5_000);
}

#[test]
fn a_contract_that_moves_to_another_masker_loses_and_repeats_nothing() {
    let pair = ContractPair::applied("moved");
    let [left, right] = [format!("it/{}", pair.names[0]), format!("it/{}", pair.names[1])];
    let mut from = TestWorkerProcess::start("masker", &pair.masker("from.yaml", "from", &[&left]));
    let mut to = TestWorkerProcess::start("masker", &pair.masker("to.yaml", "to", &[&right]));
    pair.feed(0, 0, 5_000);
    pair.feed(1, 0, 1_000);
    pair.waits_for(0, 1);

    // The masker that takes the contract over starts anew with it, while the other one still works.
    assert!(to.end(Duration::from_secs(20)).success(), "{}", to.log());
    let both = pair.masker("both.yaml", "to", &[&left, &right]);
    let mut to = TestWorkerProcess::start("masker", &both);
    pair.feed(0, 5_000, 5_000);
    eventually("a ready masker", WAIT, || (to.page("/readyz").0 == 200).then_some(()));

    // Then the other one is gone, without a farewell.
    from.kill();
    pair.feed(0, 10_000, 5_000);
    pair.waits_for(0, 15_000);
    pair.waits_for(1, 1_000);
    assert!(to.end(Duration::from_secs(20)).success(), "{}", to.log());
    pair.once(0, 15_000);
    pair.once(1, 1_000);

    // The receipts know the group's one history.
    let config = pair.contract.write(
        "verify.yaml",
        &format!("{}access: {{workers: {{masker: {{group: {}}}}}}}\n", pair.contract.common(), pair.names[0]),
    );
    let verified = sluice(["verify", "--conservation", "-c", &config.display().to_string()]);
    // Other tests' groups are on the same servers, and may be at work.
    let rows: Vec<&str> = verified.out.lines().filter(|line| line.starts_with(&pair.names[0])).collect();
    assert!(!rows.is_empty() && rows.iter().all(|row| row.trim_end().ends_with("yes")), "{verified:?}");
}

#[test]
fn a_part_that_is_no_contract_is_refused_with_the_nearest_name() {
    let pair = ContractPair::applied("slip");
    for (pattern, hint) in [
        ("it/slipleft_", "did you mean `it/slipleft`?"),
        ("it", "did you mean `it/*`?"),
        ("slipright", "did you mean `it/slipright`?"),
        ("elsewhere/nothing", "the contracts are it/slipleft, it/slipright"),
    ] {
        let config = pair.masker("slip.yaml", "one", &[pattern]);
        let output = sluice(["run", "masker", "-c", &config.display().to_string()]);
        assert_eq!(output.code, 64, "{output:?}");
        assert!(output.err.contains("contracts[0]") && output.err.contains(hint), "{output:?}");
    }
}
