//! The leak proof: every way that a tagged or restricted leaf takes, and the masking step on it.
//!
//! ```text
//!  raw topic ──masking──► masked topic ──► table ──► view ──► view
//!      │                      └──────────► facts ──► table ──► view
//!      └──as it is──► dead letters, key        (restricted: whoever reads them may read the raw topic)
//! ```
//!
//! Nodes are leaves at places, edges what happens between them. A leak is a way from a raw leaf to a place that is open
//! with no masking step on it. From the contracts alone there is none, for they are refused earlier; a view can make
//! one. A view that reads a raw topic's table is a leak whatever it selects: what an analyst may count or filter by, he
//! may find out.
//!
//! What the proof rests on: the masker does what the policy says (its own tests), a sink lands masked and facts topics
//! (what it does unless told otherwise), and views are those in the contracts' folder.

mod graph;
mod html;
mod text;

use std::collections::{HashMap, VecDeque};

use serde::Serialize;

use crate::views::SqlViewSet;
use sluice_contract::contracts::ContractSet;

/// Every way of every sensitive leaf.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct LeakProof {
    /// Leaves at places.
    pub nodes: Vec<ProofNode>,
    /// What happens between them.
    pub edges: Vec<ProofEdge>,
    /// Ways without a masking step; empty if it is proven that there is none.
    pub leaks: Vec<ProofLeak>,
}

/// A leaf at a place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ProofNode {
    /// What kind of place.
    pub place: ProofPlace,
    /// Its topic, table or view.
    pub name: String,
    /// Path of the leaf in it; `(key)` for the record's key, `(rows)` for which rows there are.
    pub leaf: String,
    /// Tags of the raw leaf; none elsewhere.
    pub tags: Vec<String>,
    /// Classification of the raw leaf; empty elsewhere.
    pub classification: String,
}

/// What kind of place a leaf is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProofPlace {
    /// The producer's topic.
    RawTopic,
    /// Dead letters of the raw topic.
    DeadLetter,
    /// The table of a raw topic; there is none unless a sink is told to make one, and no view may read it.
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

/// What happens to a leaf between two places.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ProofEdge {
    /// Place in the proof's nodes.
    pub from: usize,
    /// Place in the proof's nodes; `None` where the leaf ends.
    pub to: Option<usize>,
    /// What happens.
    pub step: ProofStep,
}

/// What happens to a leaf on the way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "step", content = "how")]
pub enum ProofStep {
    /// A masking operation, in words.
    Masked(String),
    /// It goes on as it is.
    AsIs,
    /// It decides which rows there are: a filter, a join, a group.
    Decides,
}

/// A way out without a masking step.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct ProofLeak {
    /// The file to mend.
    pub file: String,
    /// Line in it.
    pub line: u32,
    /// The leaf's way: `topic leaf`, `table t.leaf`, `view v.column`.
    pub path: Vec<String>,
    /// What would mend it.
    pub hint: String,
}

impl LeakProof {
    /// The proof for these contracts and views.
    pub fn of(contracts: &ContractSet, views: &SqlViewSet) -> Self {
        graph::build(contracts, views)
    }

    /// There is no way out without a masking step.
    pub fn holds(&self) -> bool {
        self.leaks.is_empty()
    }

    /// Sensitive leaves of raw topics.
    pub fn leaves(&self) -> impl Iterator<Item = (usize, &ProofNode)> {
        self.nodes
            .iter()
            .enumerate()
            .filter(|(_, node)| node.place == ProofPlace::RawTopic && node.is_sensitive())
    }

    /// As text: per leaf a tree of its ways, then the leaks, then one line that sums up.
    pub fn text(&self) -> String {
        text::text(self)
    }

    /// As one page that needs nothing else: the graph, the leaks, the text.
    pub fn html(&self) -> String {
        html::page(self)
    }

    /// Places in `edges` of what leaves each node.
    fn after(&self) -> Vec<Vec<usize>> {
        let mut after = vec![Vec::new(); self.nodes.len()];
        for (number, edge) in self.edges.iter().enumerate() {
            after[edge.from].push(number);
        }
        after
    }

    /// Every open node that a leaf reaches as it is, each with the shortest way to it.
    fn unmasked(&self, from: usize, after: &[Vec<usize>]) -> Vec<Vec<usize>> {
        let mut ways = Vec::new();
        // A leaf reaches few of all nodes.
        let mut came: HashMap<usize, usize> = HashMap::new();
        let mut next = VecDeque::from([from]);
        while let Some(at) = next.pop_front() {
            for edge in after.get(at).into_iter().flatten().filter_map(|edge| self.edges.get(*edge)) {
                let Some(to) = edge.to else { continue };
                if matches!(edge.step, ProofStep::Masked(_)) || to == from || came.contains_key(&to) {
                    continue;
                }
                came.insert(to, at);
                next.push_back(to);
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
/// Which rows there are, as a leaf.
const ROWS: &str = "(rows)";

impl ProofNode {
    fn is_sensitive(&self) -> bool {
        !self.tags.is_empty() || self.classification == "restricted"
    }

    /// `table t.leaf`
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
    /// May every role of the contract read it?
    pub const fn is_open(self) -> bool {
        match self {
            Self::MaskedTopic | Self::FactsTopic | Self::Table | Self::View => true,
            Self::RawTopic | Self::DeadLetter | Self::RawTable => false,
        }
    }

    const fn is_topic(self) -> bool {
        matches!(self, Self::RawTopic | Self::DeadLetter | Self::MaskedTopic | Self::FactsTopic)
    }

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
        let Self { file, line, path, hint } = self;
        write!(f, "{file}:{line}: {}: no masking step on this way ({hint})", path.join(" -> "))
    }
}
