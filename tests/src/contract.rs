//! A contract for one test: topics of its own, a key, the files of a user.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::{TestServers, binary};

/// The value schema of every test contract: an id that is masked, a number that is kept, a note that is dropped.
pub const SCHEMA: &str = r#"{"type":"record","name":"Event","namespace":"it","fields":[
 {"name":"id","type":"string","confluent:tags":["PII"]},
 {"name":"n","type":"long"},
 {"name":"note","type":"string","confluent:tags":["PII"]}]}"#;

/// A folder with a contract that was applied, and everything a worker's configuration names.
pub struct TestContract {
    dir: TempDir,
    /// Unique among the tests of a run.
    pub name: String,
    /// Where Kafka and the registry are.
    pub servers: TestServers,
}

impl TestContract {
    /// Writes the contract's files and runs `sluice apply`.
    pub fn applied(name: &str, servers: TestServers) -> Self {
        let contract = Self::written(name, servers);
        let output = Command::new(binary()).args(["apply", "-c"]).arg(contract.file("apply.yaml")).output();
        let output = output.unwrap_or_else(|error| panic!("sluice apply: {error}"));
        assert!(output.status.success(), "sluice apply: {}", String::from_utf8_lossy(&output.stderr));
        contract
    }

    /// Writes the contract's files only.
    pub fn written(name: &str, servers: TestServers) -> Self {
        let dir = tempfile::tempdir().unwrap_or_else(|error| panic!("a temporary folder: {error}"));
        let folder = dir.path().join("schemas/it").join(name);
        std::fs::create_dir_all(&folder).unwrap_or_else(|error| panic!("{error}"));
        let contract = Self { dir, name: name.to_owned(), servers };
        contract.write(&format!("schemas/it/{name}/value.avsc"), SCHEMA);
        contract.write(&format!("schemas/it/{name}/contract.odcs.yaml"), &odcs(name));
        contract.write("key", &format!("{}\n", base64_of_32_bytes()));
        contract.write("apply.yaml", &contract.common());
        contract
    }

    /// Path of a file in the contract's folder.
    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The contract's folder.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Writes a file into the folder.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.file(name);
        std::fs::write(&path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        path
    }

    /// The producer's topic.
    pub fn raw(&self) -> String {
        format!("it.{}.v1", self.name)
    }

    /// The masked topic.
    pub fn masked(&self) -> String {
        format!("it.{}.masked.v1", self.name)
    }

    /// The sections that every configuration has.
    pub fn common(&self) -> String {
        format!(
            "kafka: {{brokers: \"{}\"}}\nregistry: {{url: \"{}\"}}\nschemas: {}\n",
            self.servers.brokers,
            self.servers.registry,
            self.file("schemas").display()
        )
    }

    /// A masker's configuration, for the process `instance`.
    pub fn masker(&self, instance: &str) -> PathBuf {
        let text = format!(
            "{}admin: {{listen: \"127.0.0.1:0\"}}\ngroup: {}\ninstance: {instance}\ncommit_ms: 100\nkeys: {{pseudonym: {{1: {{file: {}}}}}}}\n",
            self.common(),
            self.name,
            self.file("key").display()
        );
        self.write(&format!("{instance}.yaml"), &text)
    }

    /// A sink's configuration: archive and Delta.
    pub fn sink(&self, instance: &str) -> PathBuf {
        let text = format!(
            "{}admin: {{listen: \"127.0.0.1:0\"}}\ngroup: {}-sink\nflush_seconds: 1\nstores:\n  - archive: {{path: {}}}\n  - delta: {{path: {}}}\n",
            self.common(),
            self.name,
            self.file("archive").display(),
            self.file("lake").display()
        );
        self.write(&format!("{instance}.yaml"), &text)
    }
}

fn odcs(name: &str) -> String {
    let masked = |field: &str, kind: &str, op: &str, tags: &str| {
        format!(
            "      - {{name: \"{field}\", logicalType: {kind}, required: true, classification: internal{tags}, customProperties: [{{property: masking, value: {op}}}]}}\n"
        )
    };
    format!(
        "apiVersion: v3.1.0\nkind: DataContract\nid: {name}\nversion: 1.0.0\nstatus: active\ndomain: it\n\
         team: {{name: it, members: [{{username: owner@example.org, role: Owner}}]}}\n\
         slaProperties: [{{property: retention, value: 7, unit: d}}]\n\
         customProperties:\n  - {{property: maskedTopic, value: it.{name}.masked.v1}}\n  - {{property: recordKey, value: id}}\n\
         \x20 - {{property: warehouse, value: {{mode: append}}}}\n\
         schema:\n  - name: event\n    physicalName: it.{name}.v1\n    physicalType: topic\n    logicalType: object\n    properties:\n{}{}{}",
        masked("id", "string", "{op: hmac, key: pseudonym, domain: it}", ", tags: [PII]"),
        masked("n", "integer", "{op: keep}", ""),
        masked("note", "string", "{op: drop}", ", tags: [PII]"),
    )
}

/// Any 32 bytes that are not one byte repeated; the same in every run.
fn base64_of_32_bytes() -> &'static str {
    "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
}
