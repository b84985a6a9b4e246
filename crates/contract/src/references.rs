//! The check of references: paths that the settings of a contract name must exist among its leaves, and two
//! contracts must not share a name.

use std::collections::BTreeMap;

use sluice_wire::{DatumSchema, LeafKind, LogicalType};

use crate::contract::{Contract, ContractFacts, ContractField, WarehouseMode, dead_letter_topic, sql_name};
use crate::finding::{ContractFinding, FindingReport, did_you_mean};
use crate::key;
use crate::masking::{MaskOperation, PseudonymRule};
use crate::odcs;
use crate::settings::{ContractSettings, KeySetting};
use crate::yaml::YamlNode;

/// Checks every path that the settings name against the leaves.
pub(crate) fn within(
    document: &YamlNode,
    settings: &ContractSettings<'_>,
    fields: &[ContractField],
    report: &mut FindingReport<'_>,
) {
    // The keys.
    let mut check = ReferenceCheck { document, fields, report };
    if let KeySetting::Leaf(path) = settings.record_key {
        check.record_key(path);
    }
    if let Some(path) = settings.time.event_time {
        check.instant("eventTime", "eventTime", path);
    }
    if let Some(path) = settings.subject_key {
        check.leaf("subjectKey", "subjectKey", path);
    }

    // The warehouse's columns.
    let warehouse = &settings.warehouse;
    if let WarehouseMode::Upsert(key) = &warehouse.mode {
        key.iter().for_each(|path| check.column("warehouse", "warehouse.key", path));
    }
    warehouse.cluster.iter().for_each(|path| check.column("warehouse", "warehouse.cluster", path));
    if let Some(partition) = &warehouse.partition {
        check.time("warehouse", "warehouse.partition.field", &partition.field);
    }

    // The facts.
    if let Some(facts) = &settings.facts {
        check.facts(facts);
    }
}

/// Checks every name against those of the other contracts: ids, topics and the keys of domains. `fact` is the
/// schema of the fleet's facts.
pub(crate) fn across(
    contracts: &[Contract],
    fact: Option<&DatumSchema>,
    findings: &mut Vec<ContractFinding>,
) {
    // The names so far, each with the contract that has it.
    let mut ids: BTreeMap<&str, &Contract> = BTreeMap::new();
    let mut topics: BTreeMap<String, (String, &Contract)> = BTreeMap::new();
    let mut domains = PseudonymDomains::default();
    for contract in contracts {
        // The id.
        let file = contract.file();
        let mut report = FindingReport::new(&file, findings);
        if let Some(other) = ids.insert(&contract.id, contract) {
            let message = format!("the id `{}` is used by {}, too", contract.id, other.folder);
            report.add(
                contract.line("id"),
                "id",
                message,
                Some("give each contract an id of its own".to_owned()),
            );
        }

        // The topics, each with its dead-letter topic. Raw, masked and facts topic of one contract must
        // differ, too.
        let facts = contract.facts.as_ref();
        let own = [
            ("schema.0.physicalName", Some(&contract.raw_topic)),
            ("customProperties.maskedTopic", Some(&contract.masked_topic)),
            ("customProperties.facts.topic", facts.map(|facts| &facts.topic)),
        ];
        for (place, topic) in own.into_iter().filter_map(|(place, topic)| topic.map(|topic| (place, topic))) {
            for topic in [topic.clone(), dead_letter_topic(topic)] {
                // Kafka's metrics do not tell `a.b` from `a_b`, and tables do not tell case or separators.
                let table = sql_name(&topic);
                if let Some((other, user)) = topics.get(&table) {
                    let message = match *other == topic {
                        true => format!("the topic `{topic}` is used by {}, too", user.folder),
                        false => format!(
                            "the topics `{topic}` and `{other}` (of {}) have one table name, `{table}`",
                            user.folder
                        ),
                    };
                    let hint = Some("give each contract topics of its own".to_owned());
                    report.add(contract.line(place), place, message, hint);
                }
                topics.insert(table, (topic, contract));
            }
        }

        // The normaliser writes facts with the fleet's own schema.
        if facts.is_some() && fact.is_none() {
            let message = "facts need the fleet's own schema";
            let hint = Some("add sluice/fact/value.avsc".to_owned());
            let place = "customProperties.facts";
            report.add(contract.line(place), place, message, hint);
        }

        // The domains of pseudonyms: of the value, of the key and of headers.
        let of_value = contract.fields.iter().map(|field| (field.leaf.path.clone(), &field.op));
        let of_key =
            contract.record_key.fields().iter().map(|field| (key::place(&field.leaf.path), &field.op));
        let of_bare =
            contract.record_key.bare().map(|key| ("customProperties.recordKey".to_owned(), &key.op));
        let headers = contract.headers.iter();
        let of_headers =
            headers.map(|header| (format!("customProperties.headers.allow.{}", header.name), &header.op));
        for (place, op) in of_value.chain(of_key).chain(of_bare).chain(of_headers) {
            if let MaskOperation::Hmac(pseudonym) = op {
                domains.check(pseudonym, contract, place, &mut report);
            }
        }
    }
}

/// The domains of pseudonyms so far, each with its first use. A domain exists for joins, which need one
/// spelling, one key and one epoch for all of its leaves.
#[derive(Default)]
struct PseudonymDomains<'c> {
    /// By the domain's name without case and separators.
    first: BTreeMap<String, (&'c PseudonymRule, &'c Contract)>,
}

impl<'c> PseudonymDomains<'c> {
    /// Compares one pseudonym with the first one of its domain.
    fn check(
        &mut self,
        rule: &'c PseudonymRule,
        contract: &'c Contract,
        place: String,
        report: &mut FindingReport<'_>,
    ) {
        let plain = |c: &char| c.is_alphanumeric();
        let plain: String = rule.domain.chars().filter(plain).collect::<String>().to_lowercase();
        let (first, other) = *self.first.entry(plain).or_insert((rule, contract));

        // A name of separators alone has nothing to compare.
        let epoch = |epoch: Option<u32>| epoch.map_or("the latest".to_owned(), |epoch| epoch.to_string());
        let (message, hint) = if first.domain != rule.domain {
            let message = format!(
                "the domain `{}` differs from `{}` in {} by case, blanks or separators only: joins would fail",
                rule.domain, first.domain, other.folder
            );
            (message, "use one spelling for a domain")
        } else if first.key != rule.key {
            let message = format!(
                "the domain `{}` has the key `{}` here and `{}` in {}: joins would fail",
                rule.domain, rule.key, first.key, other.folder
            );
            (message, "use one key for all leaves of a domain")
        } else if first.epoch != rule.epoch {
            let message = format!(
                "the domain `{}` has the epoch {} here and {} in {}: joins would fail",
                rule.domain,
                epoch(rule.epoch),
                epoch(first.epoch),
                other.folder
            );
            (message, "use one epoch for all leaves of a domain")
        } else {
            return;
        };
        report.add(contract.line(&place), place, message, Some(hint.to_owned()));
    }
}

/// The check of one contract's paths.
struct ReferenceCheck<'a, 'r, 'f> {
    document: &'a YamlNode,
    fields: &'a [ContractField],
    report: &'r mut FindingReport<'f>,
}

impl<'a> ReferenceCheck<'a, '_, '_> {
    /// Reports a mistake in a custom property. `place` is the path of the setting from `customProperties` on.
    fn refuse(&mut self, property: &str, place: &str, message: String, hint: Option<String>) {
        // The line of the nearest node: a key that is missing has none of its own.
        let keys = place.split('.').skip(1);
        let line = odcs::custom(self.document, property).map(|node| node.descend(keys).line);
        self.report.add(line, format!("customProperties.{place}"), message, hint);
    }

    /// Returns the leaf at a path. `None` if there is no such leaf, which is then reported.
    fn leaf(&mut self, property: &str, place: &str, path: &str) -> Option<&'a ContractField> {
        let fields = self.fields;
        let found = fields.iter().find(|field| field.leaf.path == path);
        // Without any covered leaf the coverage has reported the cause already.
        if found.is_none() && !fields.is_empty() {
            let hint = did_you_mean(path, fields.iter().map(|field| field.leaf.path.as_str()));
            self.refuse(property, place, format!("`{path}` is not a leaf of the value"), hint);
        }
        found
    }

    /// Checks the leaf whose text is the Kafka key.
    fn record_key(&mut self, path: &str) {
        let Some(field) = self.leaf("recordKey", "recordKey", path) else { return };
        // A record has exactly one key, with a text that identifies it, before and after masking.
        let message = match (&field.op, field.leaf.leaf.kind) {
            _ if field.leaf.nullable => {
                Some("it may be null, and a record without a key cannot be ordered or compacted")
            }
            _ if repeated(path) => Some("it is inside an array, a map or a union"),
            (
                MaskOperation::Keep | MaskOperation::Hmac(_),
                LeafKind::String | LeafKind::Int | LeafKind::Long,
            ) => None,
            (MaskOperation::Keep | MaskOperation::Hmac(_), _) => Some("expected a string, an int or a long"),
            _ => Some("expected `keep` or `hmac`: any other masking could make two keys equal"),
        };
        if let Some(message) = message {
            self.refuse("recordKey", "recordKey", format!("`{path}`: {message}"), None);
        }
    }

    /// Checks a leaf that is a column of the masked table.
    fn column(&mut self, property: &str, place: &str, path: &str) {
        let Some(field) = self.leaf(property, place, path) else { return };
        let message = match &field.op {
            MaskOperation::Drop | MaskOperation::Null => {
                Some(format!("`{path}` has no value in masked records: its masking is `{}`", field.op.name()))
            }
            _ if repeated(path) => Some(format!("`{path}` is inside an array, a map or a union")),
            _ => None,
        };
        if let Some(message) = message {
            self.refuse(property, place, message, None);
        }
    }

    /// Checks a leaf of masked records that holds a date or a timestamp.
    fn time(&mut self, property: &str, place: &str, path: &str) {
        // A missing or dropped leaf is reported once, as a column.
        let before = self.fields.iter().find(|field| field.leaf.path == path);
        self.column(property, place, path);
        let Some(field) = before else { return };

        // Neither its type nor its masking may take the time away.
        let stays = matches!(field.op, MaskOperation::Keep | MaskOperation::Generalise(_));
        let is_gone = matches!(field.op, MaskOperation::Drop | MaskOperation::Null);
        if !is_instant(field) || (!stays && !is_gone) {
            self.refuse(property, place, format!("`{path}`: expected a date or a timestamp"), None);
        }
    }

    /// Checks a leaf of raw records that holds a date or a timestamp, with any masking.
    fn instant(&mut self, property: &str, place: &str, path: &str) {
        let Some(field) = self.leaf(property, place, path) else { return };
        if !is_instant(field) {
            self.refuse(property, place, format!("`{path}`: expected a date or a timestamp"), None);
        } else if repeated(path) {
            let message = format!("`{path}` is inside an array, a map or a union");
            self.refuse(property, place, message, None);
        }
    }

    /// Checks the leaves that the facts are made of.
    fn facts(&mut self, facts: &ContractFacts) {
        // Every fact has a time and an entity.
        self.time("facts", "facts.time", &facts.time);
        let needed = facts.entity.iter().map(|path| ("facts.entity", path));
        for (place, path) in needed.chain([("facts.time", &facts.time)]) {
            if place == "facts.entity" {
                self.column("facts", place, path);
            }
            let field = self.fields.iter().find(|field| field.leaf.path == *path);
            if field.is_some_and(|field| field.leaf.nullable) {
                self.refuse(
                    "facts",
                    place,
                    format!("`{path}` may be null, but every fact needs an entity and a time"),
                    None,
                );
            }
        }

        // An attribute may be null: then the record has no such fact.
        for path in &facts.attributes {
            self.column("facts", "facts.attributes", path);
        }
    }
}

/// Returns true if the leaf holds a date or a timestamp.
fn is_instant(field: &ContractField) -> bool {
    matches!(
        field.leaf.leaf.logical,
        Some(
            LogicalType::Date
                | LogicalType::TimestampMillis
                | LogicalType::TimestampMicros
                | LogicalType::TimestampNanos
                | LogicalType::LocalTimestampMillis
                | LogicalType::LocalTimestampMicros
                | LogicalType::LocalTimestampNanos
        )
    )
}

/// Returns true if the path is inside an array, a map or a union, which may hold it several times or not at
/// all.
fn repeated(path: &str) -> bool {
    path.contains(['[', '{', '<'])
}
