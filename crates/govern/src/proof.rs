//! The leak proof: every way of every tagged or restricted leaf, and the masking step on it.
//!
//! ```text
//!  raw topic ──masking──► masked topic ──► table ──► view ──► view
//!      │                      └──────────► facts ──► table ──► view
//!      └──as it is──► dead letters, key        (restricted: their readers may read the raw topic)
//! ```
//!
//! A node is a leaf at a location (topic, table or view). An edge is the step between two nodes. A leak is a
//! way from a raw leaf to an open location without a masking step. Contracts alone cannot leak, because
//! leaking contracts are refused earlier. A view can. A view that reads a raw topic's table is a leak with
//! any column: an analyst who may count rows or filter by a value can find the value.
//!
//! The proof rests on three assumptions: the masker carries out the policy (its own tests check that), a sink
//! lands masked and facts topics (its default), and all views are in the contracts' folder.

mod graph;
mod html;
mod text;

use std::collections::{HashMap, VecDeque};

use serde::Serialize;

use crate::html::below_the_contracts_folder;
use crate::views::SqlViewSet;
use sluice_contract::contracts::ContractSet;

/// Every way of every sensitive leaf.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct LeakProof {
    /// Leaves at proof locations.
    pub nodes: Vec<ProofNode>,
    /// Steps between nodes.
    pub edges: Vec<ProofEdge>,
    /// Ways without a masking step; empty if the proof holds.
    pub leaks: Vec<ProofLeak>,
}

/// A leaf at a proof location.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ProofNode {
    /// The kind of the location.
    pub place: ProofPlace,
    /// Name of the topic, table or view.
    pub name: String,
    /// Path of the leaf in it; `(key)` for the record's key, `(rows)` for the choice of rows.
    pub leaf: String,
    /// Tags of the leaf in a raw topic; empty at other locations.
    pub tags: Vec<String>,
    /// Classification of the leaf in a raw topic; empty at other locations.
    pub classification: String,
}

/// The kind of a proof location.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProofPlace {
    /// The producer's topic.
    RawTopic,
    /// Dead letters of the raw topic.
    DeadLetter,
    /// The table of a raw topic. It exists only if a sink is configured to land raw topics, and no view may
    /// read it.
    RawTable,
    /// The masked topic.
    MaskedTopic,
    /// The facts topic.
    FactsTopic,
    /// The table of a masked or a facts topic.
    Table,
    /// A view.
    View,
}

/// The step of a leaf from one node to the next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ProofEdge {
    /// Index in the proof's nodes.
    pub from: usize,
    /// Index in the proof's nodes; `None` if the leaf ends here.
    pub to: Option<usize>,
    /// The step.
    pub step: ProofStep,
}

/// The treatment of a leaf in one step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "step", content = "how")]
pub enum ProofStep {
    /// A masking operation, as text, for example `hmac: key pseudonym, domain tailnum`.
    Masked(String),
    /// The leaf goes on unchanged.
    AsIs,
    /// The leaf decides the choice of rows: a filter, a join, a group.
    Decides,
}

/// A way to an open location without a masking step.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct ProofLeak {
    /// Id of the contract whose leaf leaks.
    pub contract: String,
    /// The file to mend.
    pub file: String,
    /// Line in it.
    pub line: u32,
    /// The leaf's way: `topic leaf`, `table t.leaf`, `view v.column`.
    pub path: Vec<String>,
    /// The action that mends it.
    pub hint: String,
}

impl LeakProof {
    /// Builds the proof for these contracts and views.
    pub fn of(contracts: &ContractSet, views: &SqlViewSet) -> Self {
        graph::build(contracts, views)
    }

    /// Returns true if no way to an open location lacks a masking step.
    pub fn holds(&self) -> bool {
        self.leaks.is_empty()
    }

    /// Returns the same proof with the files of its leaks as they are named below the contracts' folder.
    fn below_the_contracts_folder(&self) -> Self {
        let mut proof = self.clone();
        proof.leaks.iter_mut().for_each(|leak| leak.file = below_the_contracts_folder(&leak.file).to_owned());
        proof
    }

    /// Returns the sensitive leaves of raw topics, each with its index in `nodes`.
    pub fn leaves(&self) -> impl Iterator<Item = (usize, &ProofNode)> {
        self.nodes
            .iter()
            .enumerate()
            .filter(|(_, node)| node.place == ProofPlace::RawTopic && node.is_sensitive())
    }

    /// Returns the proof as text: a tree of the ways of each leaf, then the leaks, then one line with the
    /// verdict.
    pub fn text(&self) -> String {
        text::text(self)
    }

    /// Returns the proof as one HTML page without outside resources: the graph, the leaks, the text.
    pub fn html(&self) -> String {
        html::page(self)
    }

    /// Returns the indexes in `edges` of the edges that leave each node.
    fn after(&self) -> Vec<Vec<usize>> {
        let mut after = vec![Vec::new(); self.nodes.len()];
        for (number, edge) in self.edges.iter().enumerate() {
            after[edge.from].push(number);
        }
        after
    }

    /// Returns the shortest way to every open node that a leaf reaches unmasked. A way is a list of node
    /// indexes.
    fn unmasked(&self, from: usize, after: &[Vec<usize>]) -> Vec<Vec<usize>> {
        // A breadth-first search: the first way to a node is the shortest. `came` maps each node to its
        // predecessor, in a map because a leaf reaches few of all nodes.
        let mut ways = Vec::new();
        let mut came: HashMap<usize, usize> = HashMap::new();
        let mut next = VecDeque::from([from]);
        while let Some(at) = next.pop_front() {
            for edge in after.get(at).into_iter().flatten().filter_map(|edge| self.edges.get(*edge)) {
                // A masking step ends the search on this way: everything behind it is masked.
                let Some(to) = edge.to else { continue };
                if matches!(edge.step, ProofStep::Masked(_)) || to == from || came.contains_key(&to) {
                    continue;
                }
                came.insert(to, at);
                next.push_back(to);

                // An open node: its way is found by going back over the predecessors.
                if self.nodes[to].place.is_open() {
                    let mut way: Vec<usize> = std::iter::successors(Some(to), |at| came.get(at).copied())
                        .take(self.nodes.len())
                        .collect();
                    way.reverse();
                    ways.push(way);
                }
            }
        }
        ways
    }
}

/// The record's key as a leaf.
const KEY: &str = "(key)";
/// The choice of rows as a leaf.
const ROWS: &str = "(rows)";

impl ProofNode {
    /// Returns true if the leaf must be masked before it reaches an open location.
    fn is_sensitive(&self) -> bool {
        !self.tags.is_empty() || self.classification == "restricted"
    }

    /// Returns the node as text, for example `table t.leaf` or `topic leaf`.
    fn shown(&self) -> String {
        let Self { place, name, leaf, .. } = self;
        let dot = if place.is_topic() { " " } else { "." };
        match place.word() {
            "" => format!("{name}{dot}{leaf}"),
            word => format!("{word} {name}{dot}{leaf}"),
        }
    }
}

impl ProofPlace {
    /// Returns true if every role of the contract may read the location.
    pub const fn is_open(self) -> bool {
        match self {
            Self::MaskedTopic | Self::FactsTopic | Self::Table | Self::View => true,
            Self::RawTopic | Self::DeadLetter | Self::RawTable => false,
        }
    }

    /// Returns true if the location is a topic.
    const fn is_topic(self) -> bool {
        matches!(self, Self::RawTopic | Self::DeadLetter | Self::MaskedTopic | Self::FactsTopic)
    }

    /// Returns the word before the location's name; empty for topics.
    const fn word(self) -> &'static str {
        match self {
            Self::RawTopic | Self::DeadLetter | Self::MaskedTopic | Self::FactsTopic => "",
            Self::RawTable | Self::Table => "table",
            Self::View => "view",
        }
    }
}

impl std::fmt::Display for ProofStep {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Masked(how) => how,
            Self::AsIs => "as it is",
            Self::Decides => "decides rows",
        })
    }
}

impl std::fmt::Display for ProofLeak {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { file, line, path, hint, .. } = self;
        write!(f, "{file}:{line}: {}: no masking step on this way ({hint})", path.join(" -> "))
    }
}
