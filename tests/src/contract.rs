//! A contract for one test: its own topics, a masking key, and the files that a user would write.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::{TestServers, binary};

/// The value schema of every test contract: an id that is masked, a number that is kept, a note that is
/// dropped.
pub const SCHEMA: &str = r#"{"type":"record","name":"Event","namespace":"it","fields":[
 {"name":"id","type":"string","confluent:tags":["PII"]},
 {"name":"n","type":"long"},
 {"name":"note","type":"string","confluent:tags":["PII"]}]}"#;

/// A folder with a contract and all files that a worker's configuration names.
pub struct TestContract {
    dir: TempDir,
    /// Unique among the tests of a run.
    pub name: String,
    /// Addresses of Kafka and the registry.
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
        let contract = Self { dir, name: name.to_owned(), servers };
        contract.write_also(name);
        contract.write("key", &format!("{}\n", base64_of_32_bytes()));
        contract.write("apply.yaml", &contract.common());
        contract
    }

    /// Writes another contract into the same folder. Its topics are `it.<name>.v1` and `it.<name>.masked.v1`.
    pub fn write_also(&self, name: &str) {
        let folder = self.file("schemas/it").join(name);
        std::fs::create_dir_all(&folder).unwrap_or_else(|error| panic!("{error}"));
        self.write(&format!("schemas/it/{name}/value.avsc"), SCHEMA);
        self.write(&format!("schemas/it/{name}/contract.odcs.yaml"), &odcs(name));
    }

    /// Returns the path of a file in the contract's folder.
    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Returns the contract's folder.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Writes a file into the folder and returns its path.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.file(name);
        std::fs::write(&path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        path
    }

    /// Returns the name of the producer's topic.
    pub fn raw(&self) -> String {
        format!("it.{}.v1", self.name)
    }

    /// Returns the name of the masked topic.
    pub fn masked(&self) -> String {
        format!("it.{}.masked.v1", self.name)
    }

    /// Returns the sections that every configuration has.
    pub fn common(&self) -> String {
        format!(
            "kafka: {{brokers: \"{}\"}}\nregistry: {{url: \"{}\"}}\nschemas: {}\n",
            self.servers.brokers,
            self.servers.registry,
            self.file("schemas").display()
        )
    }

    /// Writes a masker's configuration for the process `instance`.
    pub fn masker(&self, instance: &str) -> PathBuf {
        let text = format!(
            "{}admin: {{listen: \"127.0.0.1:0\"}}\ngroup: {}\ninstance: {instance}\ncommit_ms: 100\nkeys: {{pseudonym: {{1: {{file: {}}}}}}}\n",
            self.common(),
            self.name,
            self.file("key").display()
        );
        self.write(&format!("{instance}.yaml"), &text)
    }

    /// Writes a sink's configuration with the stores archive and Delta.
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

/// Returns the contract's ODCS file.
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

/// Returns a masking key: 32 bytes, the same in every run. They are not one repeated byte, which would be
/// refused.
fn base64_of_32_bytes() -> &'static str {
    "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
}
