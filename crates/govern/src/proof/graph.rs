//! Builds nodes, edges and leaks from contracts and views.

use std::collections::{BTreeMap, BTreeSet};

use super::{KEY, LeakProof, ProofEdge, ProofLeak, ProofNode, ProofPlace, ProofStep, ROWS};
use crate::lineage::ColumnOrigin;
use crate::views::{SqlView, SqlViewSet};
use sluice_contract::contract::{Contract, ContractField, sql_name};
use sluice_contract::contracts::ContractSet;
use sluice_contract::key;
use sluice_contract::masking::MaskOperation;

/// The columns of the facts' table whose values come from a record.
const FACT_VALUE: &str = "value";
const FACT_ENTITY: &str = "entity";
const FACT_TIME: &str = "event_time";

/// Builds the proof.
pub(super) fn build(contracts: &ContractSet, views: &SqlViewSet) -> LeakProof {
    let mut building = ProofBuilder {
        proof: LeakProof::default(),
        places: BTreeMap::new(),
        edges: BTreeSet::new(),
        raw: BTreeMap::new(),
    };

    // The ways that the contracts make: from each sensitive leaf to topics, facts and tables.
    for contract in contracts.iter() {
        building.raw.insert(sql_name(&contract.raw_topic), contract);
        for field in contract.fields.iter().filter(|field| is_sensitive(field)) {
            building.leaf(contract, field);
        }
        for field in contract.record_key.fields().iter().filter(|field| is_sensitive(field)) {
            building.key_leaf(contract, field);
        }
    }

    // The ways that the views make. A view comes after the views that it reads, because its edges begin at
    // theirs.
    let mut waiting: Vec<&SqlView> = views.iter().collect();
    let mut known: BTreeSet<&str> = BTreeSet::new();
    while !waiting.is_empty() {
        let names: BTreeSet<&str> = waiting.iter().map(|view| view.name.as_str()).collect();
        let is_ready =
            |view: &&SqlView| view.reads().all(|read| known.contains(read) || !names.contains(read));
        let (ready, rest): (Vec<_>, Vec<_>) = waiting.into_iter().partition(is_ready);
        if ready.is_empty() {
            break; // A circle. `SqlViewSet::parse` refuses such views.
        }
        for view in ready {
            building.view(view);
            known.insert(&view.name);
        }
        waiting = rest;
    }
    building.leaks(contracts, views)
}

/// Returns true if the field must be masked before it reaches an open location.
fn is_sensitive(field: &ContractField) -> bool {
    !field.tags.is_empty() || field.classification == "restricted"
}

/// Returns the step that a masking operation makes.
fn step(op: &MaskOperation) -> ProofStep {
    match op {
        MaskOperation::Keep => ProofStep::AsIs,
        op => ProofStep::Masked(op.to_string()),
    }
}

/// A proof that is being built.
struct ProofBuilder<'c> {
    proof: LeakProof,
    /// Location, name and leaf of each node → its index.
    places: BTreeMap<(ProofPlace, String, String), usize>,
    /// Source, target, and true if the source decides rows: keeps each edge single.
    edges: BTreeSet<(usize, Option<usize>, bool)>,
    /// Contracts by the SQL name of the table that their raw topic would have.
    raw: BTreeMap<String, &'c Contract>,
}

impl ProofBuilder<'_> {
    /// Returns the index of a node, which is added if it is new.
    fn node(&mut self, place: ProofPlace, name: &str, leaf: &str) -> usize {
        let key = (place, name.to_owned(), leaf.to_owned());
        if let Some(known) = self.places.get(&key) {
            return *known;
        }
        let number = self.proof.nodes.len();
        self.proof.nodes.push(ProofNode {
            place,
            name: name.to_owned(),
            leaf: leaf.to_owned(),
            tags: Vec::new(),
            classification: String::new(),
        });
        self.places.insert(key, number);
        number
    }

    /// Returns the node of a leaf of the raw topic's value.
    fn raw_leaf(&mut self, contract: &Contract, field: &ContractField) -> usize {
        self.raw(contract, field, &field.leaf.path)
    }

    /// Returns the node of a raw leaf under the given path, with the field's tags and classification.
    fn raw(&mut self, contract: &Contract, field: &ContractField, leaf: &str) -> usize {
        let number = self.node(ProofPlace::RawTopic, &contract.raw_topic, leaf);
        if let Some(node) = self.proof.nodes.get_mut(number) {
            node.tags.clone_from(&field.tags);
            node.classification.clone_from(&field.classification);
        }
        number
    }

    /// Adds an edge, unless the proof has it already.
    fn edge(&mut self, from: usize, to: Option<usize>, step: ProofStep) {
        if self.edges.insert((from, to, step == ProofStep::Decides)) {
            self.proof.edges.push(ProofEdge { from, to, step });
        }
    }

    /// Adds the ways of one sensitive leaf of the value, as far as the contract leads them.
    fn leaf(&mut self, contract: &Contract, field: &ContractField) {
        // Dead letters hold the raw record.
        let path = field.leaf.path.as_str();
        let raw = self.raw_leaf(contract, field);
        let letters = self.node(ProofPlace::DeadLetter, &contract.raw_dead_letter(), path);
        self.edge(raw, Some(letters), ProofStep::AsIs);

        // The leaf may also be the record's key, which has the same masking.
        let step = || step(&field.op);
        if contract.record_key.leaf() == Some(path) {
            let key = self.node(ProofPlace::RawTopic, &contract.raw_topic, KEY);
            self.edge(raw, Some(key), ProofStep::AsIs);
            let masked = self.node(ProofPlace::MaskedTopic, &contract.masked_topic, KEY);
            self.edge(key, Some(masked), step());
        }

        // A dropped leaf ends here. Every other leaf is in the masked topic and in its table.
        if field.op == MaskOperation::Drop {
            self.edge(raw, None, step());
            return;
        }
        let masked = self.node(ProofPlace::MaskedTopic, &contract.masked_topic, path);
        self.edge(raw, Some(masked), step());
        let table = self.node(ProofPlace::Table, &sql_name(&contract.masked_topic), path);
        self.edge(masked, Some(table), ProofStep::AsIs);

        // A fact can hold the leaf as its value, in its entity (and so in its key) and as its time.
        let Some(facts) = &contract.facts else { return };
        let mut into = Vec::new();
        if facts.attributes.iter().any(|attribute| attribute == path) {
            into.push(FACT_VALUE);
        }
        if facts.entity.iter().any(|entity| entity == path) {
            into.extend([FACT_ENTITY, KEY]);
        }
        if facts.time == path {
            into.push(FACT_TIME);
        }

        // No sink lands keys, so that a fact's key is in no table.
        for column in into {
            let fact = self.node(ProofPlace::FactsTopic, &facts.topic, column);
            self.edge(masked, Some(fact), ProofStep::AsIs);
            if column != KEY {
                let table = self.node(ProofPlace::Table, &sql_name(&facts.topic), column);
                self.edge(fact, Some(table), ProofStep::AsIs);
            }
        }
    }

    /// Adds the ways of one sensitive leaf of a key that has a schema of its own. No sink lands keys.
    fn key_leaf(&mut self, contract: &Contract, field: &ContractField) {
        let leaf = key::place(&field.leaf.path);
        let raw = self.raw(contract, field, &leaf);
        let letters = self.node(ProofPlace::DeadLetter, &contract.raw_dead_letter(), &leaf);
        self.edge(raw, Some(letters), ProofStep::AsIs);
        let masked = self.node(ProofPlace::MaskedTopic, &contract.masked_topic, &leaf);
        self.edge(raw, Some(masked), step(&field.op));
    }

    /// Adds the ways into one view. All nodes that it reads must be there.
    fn view(&mut self, view: &SqlView) {
        // Columns hold values unchanged. An expression counts as unchanged too: SQL is not a masking
        // operation.
        for (column, origins) in &view.lineage.columns {
            for origin in origins {
                if let Some(from) = self.origin(origin) {
                    let to = self.node(ProofPlace::View, &view.name, column);
                    self.edge(from, Some(to), ProofStep::AsIs);
                }
            }
        }

        // Filters, joins and groups show values by the rows that they let through.
        for origin in &view.lineage.decides {
            if let Some(from) = self.origin(origin) {
                let to = self.node(ProofPlace::View, &view.name, ROWS);
                self.edge(from, Some(to), ProofStep::Decides);
            }
        }

        // The rows of a view depend on the rows of the views that it reads.
        for read in &view.lineage.reads {
            let rows = (ProofPlace::View, read.clone(), ROWS.to_owned());
            if let Some(from) = self.places.get(&rows).copied() {
                let to = self.node(ProofPlace::View, &view.name, ROWS);
                self.edge(from, Some(to), ProofStep::Decides);
            }
            // A view that only counts the rows of a raw table reads it too.
            if let Some(contract) = self.raw.get(read).copied() {
                let topic = self.node(ProofPlace::RawTopic, &contract.raw_topic, ROWS);
                let table = self.node(ProofPlace::RawTable, read, ROWS);
                let to = self.node(ProofPlace::View, &view.name, ROWS);
                self.edge(topic, Some(table), ProofStep::AsIs);
                self.edge(table, Some(to), ProofStep::Decides);
            }
        }
    }

    /// Returns the node from which a column comes; `None` if it comes from no sensitive leaf.
    fn origin(&mut self, origin: &ColumnOrigin) -> Option<usize> {
        let ColumnOrigin { relation, leaf } = origin;
        if let Some(contract) = self.raw.get(relation).copied() {
            // A raw topic is restricted as a whole, so that every leaf of it counts, with any classification.
            let field = contract.field(leaf)?;
            let raw = self.raw_leaf(contract, field);
            let table = self.node(ProofPlace::RawTable, relation, leaf);
            self.edge(raw, Some(table), ProofStep::AsIs);
            return Some(table);
        }

        // Masked tables and views have nodes only for sensitive leaves.
        [ProofPlace::Table, ProofPlace::View]
            .into_iter()
            .find_map(|place| self.places.get(&(place, relation.clone(), leaf.clone())).copied())
    }

    /// Searches the leaks and returns the finished proof.
    fn leaks(mut self, contracts: &ContractSet, views: &SqlViewSet) -> LeakProof {
        let proof = &self.proof;
        let after = proof.after();
        let mut leaks = BTreeSet::new();
        for (number, node) in proof.nodes.iter().enumerate() {
            if node.place != ProofPlace::RawTopic {
                continue;
            }
            let contract = contracts.by_raw_topic(&node.name);

            // A key without a schema is reached from its leaf, and would be reported twice.
            if (node.leaf == KEY && !node.is_sensitive())
                || (node.leaf == ROWS && self.has_raw_column(&node.name))
            {
                continue;
            }

            // Each way is a leak of its own, with the file to mend.
            for way in proof.unmasked(number, &after) {
                let place = contract.and_then(|contract| at_fault(proof, &way, contract, views));
                let (file, line, hint) = place.unwrap_or_default();
                let path =
                    way.iter().filter_map(|node| proof.nodes.get(*node)).map(ProofNode::shown).collect();
                let contract = contract.map(|contract| contract.id.clone()).unwrap_or_default();
                leaks.insert(ProofLeak { contract, file, line, path, hint });
            }
        }
        self.proof.leaks = leaks.into_iter().collect();
        self.proof
    }

    /// Returns true if a leaf of this raw topic goes into a table. The leak of that leaf is the better
    /// message, and a second one for the table's rows is not needed.
    fn has_raw_column(&self, topic: &str) -> bool {
        let table = sql_name(topic);
        self.places
            .keys()
            .any(|(place, name, leaf)| *place == ProofPlace::RawTable && *name == table && leaf != ROWS)
    }
}

/// Returns file, line and hint: those of the first view on the way, or of the contract if the way has no
/// view.
fn at_fault(
    proof: &LeakProof,
    way: &[usize],
    contract: &Contract,
    views: &SqlViewSet,
) -> Option<(String, u32, String)> {
    let first =
        way.iter().filter_map(|node| proof.nodes.get(*node)).find(|node| node.place == ProofPlace::View);

    // Without a view the contract itself lets the leaf through.
    let Some(first) = first else {
        let leaf = way.first().and_then(|node| proof.nodes.get(*node)).map_or("", |node| node.leaf.as_str());
        return Some((contract.file(), contract.line(leaf), "mask the leaf".to_owned()));
    };

    // The first line of the view that names the raw table, in either spelling.
    let view = views.iter().find(|view| view.name == first.name)?;
    let names = [sql_name(&contract.raw_topic), contract.raw_topic.clone()];
    let line = view.sql.lines().position(|line| {
        let line = line.to_ascii_lowercase();
        names.iter().any(|name| line.contains(&name.to_ascii_lowercase()))
    });
    let line = line.and_then(|line| u32::try_from(line + 1).ok()).unwrap_or(1);
    Some((view.file.clone(), line, format!("select from {}", sql_name(&contract.masked_topic))))
}
