//! From files to contracts: one contract per folder, all findings at once.

use std::collections::BTreeMap;

use sluice_wire::{DatumPatch, DatumSchema, PatchError};

use crate::contract::Contract;
use crate::coverage::{self, RecordPart, SchemaSide};
use crate::finding::{ContractFinding, FindingList, FindingReport, did_you_mean};
use crate::key::{self, KeySchema, RecordKey};
use crate::odcs;
use crate::policy::ShapePolicy;
use crate::references;
use crate::selection::ContractSelection;
use crate::settings;
use crate::yaml::{self, YamlNode};

/// Name of the file that makes a folder a contract.
pub const CONTRACT_FILE: &str = "contract.odcs.yaml";
/// Name of the value's schema beside it.
pub const VALUE_FILE: &str = "value.avsc";
/// Name of the key's schema.
pub const KEY_FILE: &str = "key.avsc";
/// Folder of the fleet's own schemas, and the folder of the fact among them.
const FLEET: &str = "sluice";
const FACT: &str = "fact";

/// All contracts of a fleet, checked one by one and against each other.
#[derive(Debug, Clone)]
pub struct ContractSet {
    /// By folder, in order.
    contracts: Vec<Contract>,
    fact: Option<DatumSchema>,
}

impl ContractSet {
    /// Reads contracts from pairs of path and text, in any order. The paths end in
    /// `<domain>/<topic>/<one of the three file names>`. Other files are ignored, unless their names are so
    /// similar that they look like a mistake.
    ///
    /// # Errors
    /// Returns every mistake in every file, each with file, line and hint.
    pub fn parse(files: &[(String, String)]) -> Result<Self, FindingList> {
        // Sort the files into their folders.
        let mut findings = Vec::new();
        let mut folders: BTreeMap<&str, ContractFolder<'_>> = BTreeMap::new();
        for (path, text) in files {
            // Some editors begin a file with a byte order mark.
            let text = text.strip_prefix('\u{feff}').unwrap_or(text);
            let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
            let entry = folders.entry(folder).or_default();
            match name {
                CONTRACT_FILE => entry.contract = Some((path, text)),
                VALUE_FILE => entry.value = Some((path, text)),
                KEY_FILE => entry.key = Some((path, text)),
                other => {
                    // A contract's file under a wrong name would be missing without any message.
                    let near = did_you_mean(other, [CONTRACT_FILE, VALUE_FILE, KEY_FILE]);
                    let alike = other.ends_with(".odcs.yaml") || other.ends_with(".avsc");
                    if near.is_some() || alike {
                        let hint = "a contract's folder holds value.avsc, key.avsc and contract.odcs.yaml; \
                                    types are written out in the schema that uses them";
                        let hint = near.or_else(|| Some(hint.to_owned()));
                        FindingReport::new(path, &mut findings).add(
                            None,
                            "",
                            "not a file of a contract",
                            hint,
                        );
                    }
                }
            }
        }

        // Read each folder by itself. The fact's schema is the only one without a contract.
        let mut contracts = Vec::new();
        let mut fact = None;
        for (folder, files) in &folders {
            if files.contract.is_none() && last_two(folder) == (FLEET, FACT) {
                fact = files.value.and_then(|(path, text)| schema(path, text, &mut findings));
            } else {
                contracts.extend(read(folder, files, &mut findings));
            }
        }

        // Compare the contracts with each other.
        references::across(&contracts, fact.as_ref(), &mut findings);
        if contracts.is_empty() && findings.is_empty() {
            let message = format!("no {CONTRACT_FILE} among the files");
            let hint = Some("schemas/<domain>/<topic>/; `sluice contract new` drafts one".to_owned());
            FindingReport::new("", &mut findings).add(None, "", message, hint);
        }

        // Two checks can find the same mistake.
        if findings.is_empty() {
            return Ok(Self { contracts, fact });
        }
        findings.sort();
        findings.dedup();
        Err(FindingList(findings))
    }

    /// Returns the selected contracts alone. The fact's schema stays.
    pub fn select(&self, selection: &ContractSelection) -> Self {
        let selected = self.contracts.iter().filter(|contract| selection.covers(contract));
        Self { contracts: selected.cloned().collect(), fact: self.fact.clone() }
    }

    /// Returns every contract, in the order of the folders.
    pub fn iter(&self) -> impl Iterator<Item = &Contract> {
        self.contracts.iter()
    }

    /// Returns the contracts that are applied and served, in the order of the folders: all but the drafts.
    pub fn served(&self) -> impl Iterator<Item = &Contract> {
        self.iter().filter(|contract| !contract.is_draft())
    }

    /// Returns the contracts with `status: draft`, in the order of the folders. They are checked like all
    /// others.
    pub fn drafts(&self) -> impl Iterator<Item = &Contract> {
        self.iter().filter(|contract| contract.is_draft())
    }

    /// Returns the contract of a raw topic.
    pub fn by_raw_topic(&self, topic: &str) -> Option<&Contract> {
        self.contracts.iter().find(|contract| contract.raw_topic == topic)
    }

    /// Returns the contract of a masked topic.
    pub fn by_masked_topic(&self, topic: &str) -> Option<&Contract> {
        self.contracts.iter().find(|contract| contract.masked_topic == topic)
    }

    /// Returns the contract of a facts topic.
    pub fn by_facts_topic(&self, topic: &str) -> Option<&Contract> {
        self.contracts
            .iter()
            .find(|contract| contract.facts.as_ref().is_some_and(|facts| facts.topic == topic))
    }

    /// Returns the schema of the fleet's facts. It exists whenever a contract has facts.
    pub fn fact(&self) -> Option<&DatumSchema> {
        self.fact.as_ref()
    }
}

/// The files of one folder, each with path and text.
#[derive(Default)]
struct ContractFolder<'a> {
    contract: Option<(&'a str, &'a str)>,
    value: Option<(&'a str, &'a str)>,
    key: Option<(&'a str, &'a str)>,
}

/// Returns the last two names of a folder's path: domain and topic. Missing names are empty.
fn last_two(folder: &str) -> (&str, &str) {
    let mut names = folder.rsplit('/');
    let last = names.next().unwrap_or_default();
    (names.next().unwrap_or_default(), last)
}

/// Reads an Avro schema. A mistake becomes a finding, with the line if the file is not even JSON.
fn schema(file: &str, text: &str, findings: &mut Vec<ContractFinding>) -> Option<DatumSchema> {
    match DatumSchema::parse(text) {
        Ok(schema) => Some(schema),
        Err(error) => {
            // The Avro parser knows no lines. The JSON parser knows them, but only for mistakes of the JSON.
            let line = serde_json::from_str::<serde_json::Value>(text)
                .err()
                .and_then(|error| u32::try_from(error.line()).ok());
            let hint = match line {
                Some(_) => "expected an Avro schema as JSON",
                None => "expected a complete Avro schema: each type is written out where it is first used",
            };
            FindingReport::new(file, findings).add(line, "", error.to_string(), Some(hint.to_owned()));
            None
        }
    }
}

/// Reads the contract of one folder. `None` if there is any mistake; all mistakes become findings.
fn read(folder: &str, files: &ContractFolder<'_>, findings: &mut Vec<ContractFinding>) -> Option<Contract> {
    // Read the two schemas.
    let before = findings.len();
    let value =
        files.value.and_then(|(path, text)| schema(path, text, findings).map(|schema| (path, text, schema)));
    let key_schema = files.key.and_then(|(path, text)| schema(path, text, findings));

    // A folder needs a contract file: a schema alone is a topic that nothing covers.
    let Some((file, text)) = files.contract else {
        if let Some((path, _)) = files.value.or(files.key) {
            let message = format!("no {CONTRACT_FILE} beside it: a topic without a contract is not carried");
            let hint = Some("`sluice contract new` drafts one".to_owned());
            FindingReport::new(path, findings).add(None, "", message, hint);
        }
        return None;
    };
    let mut report = FindingReport::new(file, findings);
    if files.value.is_none() {
        let hint = Some("put the value's Avro schema there".to_owned());
        report.add(None, "", format!("no {VALUE_FILE} beside it"), hint);
    }

    // Read the contract file. The settings are checked even if the schemas are broken, to find all mistakes
    // at once.
    let document = match yaml::read(text) {
        Ok(document) => document,
        Err((line, message)) => {
            report.add(line, "", message, None);
            return None;
        }
    };
    odcs::check(&document, &mut report);
    let settings = settings::read(&document, &mut report);

    // The folder above the contract's own has the name of the domain. A folder without a parent has no such
    // name.
    let domain_folder = last_two(folder).0;
    if let Some(settings) =
        settings.as_ref().filter(|s| !domain_folder.is_empty() && s.domain != domain_folder)
    {
        let message = format!("the domain is `{}`, but the folder is `{domain_folder}`", settings.domain);
        let hint = Some("give the domain and the folder above the contract's own the same name".to_owned());
        report.add(document.get("domain").map(|node| node.line), "domain", message, hint);
    }

    // Compare the value's schema with the contract's properties. Without valid settings the value's object is
    // the first one that is not the key's.
    let (value_file, value_text, value) = value?;
    let object = match &settings {
        Some(settings) => settings.object,
        None => document.get("schema")?.items().iter().find(|object| !settings::is_key(object))?,
    };
    let side = SchemaSide { part: RecordPart::Value, file: value_file, text: value_text, schema: &value };
    let covered = coverage::check(&side, object, &mut report);
    if let Some(settings) = &settings {
        references::within(&document, settings, &covered.fields, &mut report);
    }

    // The same for the key, if it has a schema.
    let key_object = document.get("schema")?.items().iter().find(|object| settings::is_key(object));
    let key = key::check(files.key, key_schema.as_ref(), key_object, file, findings);
    let settings = settings?;
    if findings.len() > before {
        // The compiler of the walk would only report the same mistakes again, without a line.
        return None;
    }

    // Derive the masked schemas of key and value.
    let mut lines = lines(&document, object, &covered);
    let record_key = match (key, key_schema) {
        (Some(covered), Some(schema)) => {
            let masked = masked(&schema, &covered, file, &covered.lines, findings)?;
            lines.extend(covered.lines.iter().map(|(path, line)| (key::place(path), *line)));
            RecordKey::Schema(Box::new(KeySchema { schema, fields: covered.fields, masked }))
        }
        _ => {
            // `settings` has no leaf only if the file has an object for the key, and that one needs a
            // `key.avsc`.
            debug_assert!(
                settings.record_key.is_some(),
                "an object for the key without a schema is a finding"
            );
            RecordKey::Leaf(settings.record_key?.to_owned())
        }
    };
    let masked = masked(&value, &covered, file, &lines, findings)?;

    // No guesses from here on: all that is missing is a default or was reported.
    Some(Contract {
        id: settings.id.to_owned(),
        version: settings.version.to_owned(),
        status: settings.status.to_owned(),
        domain: settings.domain.to_owned(),
        description: settings.description.map(str::to_owned),
        owner: settings.owner,
        folder: folder.to_owned(),
        raw_topic: settings.raw_topic.to_owned(),
        masked_topic: settings.masked_topic.to_owned(),
        partitions: settings.partitions,
        retention: settings.retention,
        cleanup: settings.cleanup,
        topic_config: settings.topic_config,
        compatibility: settings.compatibility,
        value,
        record_key,
        subject_key: settings.subject_key.map(str::to_owned),
        headers: settings.headers,
        fields: covered.fields,
        facts: settings.facts,
        warehouse: settings.warehouse,
        roles: settings.roles,
        subtrees: covered.subtrees,
        masked,
        lines,
    })
}

/// Returns the lines of the leaves, and of the settings that are compared with other contracts or with the
/// world.
fn lines(document: &YamlNode, object: &YamlNode, covered: &coverage::LeafCoverage) -> BTreeMap<String, u32> {
    // The leaves.
    let mut lines = covered.lines.clone();
    let mut note = |place: &str, node: Option<&YamlNode>| {
        if let Some(node) = node {
            lines.insert(place.to_owned(), node.line);
        }
    };

    // The settings. Paths are those that the findings use.
    note("id", document.get("id"));
    note("status", document.get("status"));
    note("schema.0.physicalName", object.get("physicalName"));
    for name in ["maskedTopic", "facts", "recordKey", "compatibility", "topic"] {
        note(&format!("customProperties.{name}"), odcs::custom(document, name));
    }
    let facts = odcs::custom(document, "facts").and_then(|facts| facts.get("topic"));
    note("customProperties.facts.topic", facts);
    let slas = document.get("slaProperties").map(YamlNode::items).unwrap_or_default();
    note("slaProperties.retention", slas.iter().find(|sla| sla.text_at("property") == Some("retention")));
    lines
}

/// Returns the derived schema. An operation that the walk over bytes cannot do becomes a finding, too.
fn masked(
    value: &DatumSchema,
    covered: &coverage::LeafCoverage,
    file: &str,
    lines: &BTreeMap<String, u32>,
    findings: &mut Vec<ContractFinding>,
) -> Option<DatumSchema> {
    // Compile the walk without keys: the derived schema depends on the operations alone.
    let line = |path: &str| lines.get(path).copied().unwrap_or(1);
    let policy = ShapePolicy::new(&covered.fields, &covered.subtrees);
    match DatumPatch::compile(value, &policy) {
        Ok(patch) => Some(patch.derived().clone()),

        // Turn the compiler's errors into findings at the lines of the leaves.
        Err(error) => {
            let mut report = FindingReport::new(file, findings);
            match error {
                PatchError::Uncovered(paths) => {
                    for path in paths {
                        let hint = Some("add its masking".to_owned());
                        report.add(line(&path), path, "a leaf without a policy", hint);
                    }
                }
                PatchError::Unsupported { path, why } => {
                    report.add(line(&path), path, why, Some("use another masking operation".to_owned()));
                }
                PatchError::Schema(error) => {
                    report.add(
                        1,
                        "",
                        error.to_string(),
                        Some("check the schema beside the contract".to_owned()),
                    );
                }
            }
            None
        }
    }
}
