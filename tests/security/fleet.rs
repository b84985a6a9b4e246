//! One guarded broker and a registry for all tests of this binary; for each test a contract of its own.

use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::{OnceLock, RwLock};

use sluice_core::AclRule;
use sluice_govern::plan::{AclPrincipals, DesiredState, MemberSeat};
use sluice_kafka::admin::KafkaAdmin;
use sluice_runtime::config::{KafkaSection, SecretReference};
use sluice_stack::{BrokerGuard, ServerStack};
use sluice_tests::clients::{TestRecordSender, schema_of};
use sluice_tests::{TestServers, binary};
use tempfile::TempDir;

const USERS: [&str; 15] = [
    "collector",
    "masker",
    "normaliser",
    "sink",
    "apply",
    "verify",
    "analysts",
    "sec-raw-readers",
    "operators",
    "needs-collector",
    "needs-masker",
    "needs-normaliser",
    "needs-sink",
    "masker-left",
    "masker-right",
];

const SCHEMA: &str = r#"{"type":"record","name":"Event","namespace":"sec","fields":[
 {"name":"id","type":"string","confluent:tags":["PII"]},
 {"name":"at","type":{"type":"long","logicalType":"timestamp-millis"}},
 {"name":"n","type":"long"},
 {"name":"note","type":"string","confluent:tags":["PII"]}]}"#;

/// Held by a test that removes permissions of the topics that all fleets share, and by one whose principals need them.
pub(crate) static SHARED_PERMISSIONS: std::sync::Mutex<()> = std::sync::Mutex::new(());

/// The stack; it lives as long as the process.
pub(crate) fn stack() -> &'static ServerStack {
    static STACK: OnceLock<ServerStack> = OnceLock::new();
    STACK.get_or_init(|| {
        let started = ServerStack::builder().kafka(1).guarded(&USERS).registry().postgres().start();
        started.unwrap_or_else(|error| panic!("the stack does not start: {error}"))
    })
}

pub(crate) fn guard() -> &'static BrokerGuard {
    stack().guard().unwrap()
}

/// Super users' way in.
pub(crate) fn servers() -> TestServers {
    TestServers { brokers: stack().brokers().to_owned(), registry: stack().registry_url().to_owned() }
}

/// A principal's section `kafka`, by SCRAM.
pub(crate) fn scram(user: &str) -> String {
    format!(
        "kafka: {{brokers: \"{}\", properties: {{security.protocol: SASL_PLAINTEXT, sasl.mechanism: SCRAM-SHA-512, \
         sasl.username: {user}}}, secrets: {{sasl.password: {{file: {}}}}}}}",
        guard().scram(),
        guard().password().display()
    )
}

/// The super user's.
pub(crate) fn plain() -> String {
    format!("kafka: {{brokers: \"{}\"}}", stack().brokers())
}

/// Held for writing by a test that takes a permission away on what all fleets share: an `apply` beside it would give it
/// back.
pub(crate) static SHARED: RwLock<()> = RwLock::new(());

/// A contract with facts and four roles, and everything that its workers are configured with.
pub(crate) struct SecurityFleet {
    dir: TempDir,
    pub(crate) name: String,
    /// The section `registry`.
    pub(crate) registry: String,
}

impl SecurityFleet {
    pub(crate) fn written(name: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let fleet =
            Self { dir, name: name.to_owned(), registry: format!("{{url: \"{}\"}}", stack().registry_url()) };
        let repository = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../schemas/sluice/fact/value.avsc");
        fleet.write("schemas/sluice/fact/value.avsc", &std::fs::read_to_string(repository).unwrap());
        fleet.write_also(name);
        fleet.write("key", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n");
        fleet
    }

    /// Writes another contract into the same folder.
    pub(crate) fn write_also(&self, name: &str) {
        self.write(&format!("schemas/sec/{name}/value.avsc"), SCHEMA);
        self.write(&format!("schemas/sec/{name}/contract.odcs.yaml"), &odcs(name));
    }

    /// Written, and applied by a super user.
    pub(crate) fn applied(name: &str) -> Self {
        let fleet = Self::written(name);
        let output = fleet.sluice("apply", &plain());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        fleet
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.file(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }

    pub(crate) fn raw(&self) -> String {
        format!("sec.{}.v1", self.name)
    }

    pub(crate) fn masked(&self) -> String {
        format!("sec.{}.masked.v1", self.name)
    }

    pub(crate) fn facts(&self) -> String {
        format!("sec.{}.facts.v1", self.name)
    }

    pub(crate) fn common(&self, kafka: &str) -> String {
        let schemas = self.file("schemas");
        format!("{kafka}\nregistry: {}\nschemas: {}\n", self.registry, schemas.display())
    }

    /// The file for `plan`, `apply` and `verify`: each worker's group is this test's own.
    pub(crate) fn apply_file(&self, kafka: &str) -> PathBuf {
        let seat = |worker: &str| {
            // Both in every test: what one asks for on the topic that all share is no drift to another.
            format!(
                "{worker}: {{group: {}, principals: [\"User:{worker}\", \"User:needs-{worker}\"]}}",
                self.group(worker)
            )
        };
        let seats = ["collector", "masker", "normaliser", "sink"].map(seat).join(", ");
        self.write("apply.yaml", &format!("{}access: {{workers: {{{seats}}}}}\n", self.common(kafka)))
    }

    /// Who runs a worker: the test that takes permissions away does so from a principal that nobody else is.
    pub(crate) fn user<'a>(&'a self, worker: &'a str) -> &'a str {
        if self.name.strip_prefix("needs-") == Some(worker) { &self.name } else { worker }
    }

    pub(crate) fn group(&self, worker: &str) -> String {
        format!("{}-{worker}", self.name)
    }

    /// Runs a command of the binary over this contract.
    pub(crate) fn sluice(&self, command: &str, kafka: &str) -> Output {
        let file = self.apply_file(kafka);
        let _shared = SHARED.read().unwrap();
        Command::new(binary()).args([command, "--output", "json", "-c"]).arg(file).output().unwrap()
    }

    /// A worker's configuration.
    pub(crate) fn worker(&self, kind: &str, kafka: &str) -> PathBuf {
        let more = match kind {
            "masker" => {
                format!(
                    "commit_ms: 50\ninstance: one\nkeys: {{pseudonym: {{1: {{file: {}}}}}}}\n",
                    self.file("key").display()
                )
            }
            "normaliser" => "commit_ms: 50\ninstance: one\n".to_owned(),
            _ => format!(
                "flush_seconds: 1\nstores: [{{archive: {{path: {}}}}}]\n",
                self.file("archive").display()
            ),
        };
        let text = format!(
            "{}admin: {{listen: \"127.0.0.1:0\"}}\ngroup: {}\n{more}",
            self.common(kafka),
            self.group(kind)
        );
        self.write(&format!("{kind}.yaml"), &text)
    }

    /// Sends `count` events to the raw topic, as a super user.
    pub(crate) fn feed(&self, from: i64, count: i64) {
        let (id, _) = schema_of(&servers(), &format!("{}-value", self.raw()));
        let sender = TestRecordSender::new(&servers(), &self.raw());
        for n in from..from + count {
            let key = format!("person-{n:05}");
            sender.send(Some(key.as_bytes()), Some(&event(id, &key, n)));
        }
        sender.flush();
    }

    /// The permissions of a worker, as the contract asks for them.
    pub(crate) fn acls(&self, principal: &str) -> Vec<AclRule> {
        let contracts = sluice_runtime::contracts::load(&self.file("schemas")).unwrap();
        let mut principals = AclPrincipals::default();
        let workers =
            [sluice_collector::ACCESS, sluice_masker::ACCESS, sluice_normaliser::ACCESS, sluice_sink::ACCESS];
        for worker in workers {
            let group = self.group(worker.name);
            let who = vec![format!("User:{}", worker.name), format!("User:needs-{}", worker.name)];
            principals
                .members
                .insert(worker.name.to_owned(), MemberSeat { group, principals: who, shares: vec![] });
        }
        let desired = DesiredState::with(&contracts, &workers, &principals);
        desired.acls.into_iter().filter(|acl| acl.principal == format!("User:{principal}")).collect()
    }
}

/// The super user's administration.
pub(crate) fn admin() -> KafkaAdmin {
    let brokers = stack().brokers().to_owned();
    let none = std::collections::BTreeMap::<String, SecretReference>::new();
    KafkaAdmin::new(&KafkaSection { brokers, properties: std::collections::BTreeMap::new(), secrets: none })
        .unwrap()
}

/// One event, framed, written by hand.
pub(crate) fn event(schema_id: u32, id: &str, n: i64) -> Vec<u8> {
    let mut out = vec![0];
    out.extend_from_slice(&schema_id.to_be_bytes());
    for text in [Some(id), None, None, Some("a note about somebody")] {
        match text {
            Some(text) => {
                out.push(u8::try_from(text.len() * 2).unwrap());
                out.extend_from_slice(text.as_bytes());
            }
            None => long(n, &mut out),
        }
    }
    out
}

fn long(value: i64, out: &mut Vec<u8>) {
    let mut rest = value.cast_unsigned() << 1;
    while rest >= 0x80 {
        out.push((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

fn odcs(name: &str) -> String {
    let leaf = |field: &str, kind: &str, op: &str, tags: &str| {
        format!(
            "      - {{name: \"{field}\", logicalType: {kind}, required: true, classification: internal{tags}, \
             customProperties: [{{property: masking, value: {op}}}]}}\n"
        )
    };
    let role = |role: &str, view: &str| {
        format!("  - {{role: {role}, access: read, customProperties: [{{property: view, value: {view}}}]}}\n")
    };
    format!(
        "apiVersion: v3.1.0\nkind: DataContract\nid: {name}\nversion: 1.0.0\nstatus: active\ndomain: sec\n\
         team: {{name: sec, members: [{{username: owner@example.org, role: Owner}}]}}\n\
         slaProperties: [{{property: retention, value: 7, unit: d}}]\n\
         roles:\n{}{}  - {{role: operators, access: operate}}\n\
         customProperties:\n  - {{property: maskedTopic, value: sec.{name}.masked.v1}}\n  - {{property: recordKey, value: id}}\n\
         \x20 - {{property: topic, value: {{partitions: 1}}}}\n\
         \x20 - {{property: warehouse, value: {{mode: append}}}}\n\
         \x20 - {{property: facts, value: {{topic: sec.{name}.facts.v1, entityType: thing, entity: [id], time: at, attributes: [\"n\"]}}}}\n\
         schema:\n  - name: event\n    physicalName: sec.{name}.v1\n    physicalType: topic\n    logicalType: object\n    properties:\n{}{}{}{}",
        role("sec-raw-readers", "raw"),
        role("analysts", "masked"),
        leaf("id", "string", "{op: hmac, key: pseudonym, domain: sec}", ", tags: [PII]"),
        leaf("at", "timestamp", "{op: keep}", ""),
        leaf("n", "integer", "{op: keep}", ""),
        leaf("note", "string", "{op: drop}", ", tags: [PII]"),
    )
}
