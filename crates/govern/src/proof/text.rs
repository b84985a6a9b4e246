//! The proof as text for a terminal.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::{LeakProof, ProofPlace, ProofStep};

/// Returns the text of [`LeakProof::text`].
pub(super) fn text(proof: &LeakProof) -> String {
    // The leaves, grouped by topic: the nodes of one topic follow each other.
    let mut text = String::new();
    let mut topic = "";
    let mut leaves = 0;
    let after = proof.after();
    for (number, node) in proof.leaves() {
        leaves += 1;
        // Writing to a String does not fail.
        if node.name != topic {
            topic = &node.name;
            let _ = writeln!(text, "{topic}");
        }
        let mut labels = node.tags.clone();
        labels.push(node.classification.clone());
        let _ = writeln!(text, "  {} [{}]", node.leaf, labels.join(", "));
        ProofTextWriter { proof, after: &after, seen: BTreeSet::from([number]), text: &mut text }
            .ways(number, 2);
    }

    // The leaks, then the verdict in the last line, where a log shows it.
    for leak in &proof.leaks {
        let _ = writeln!(text, "leak: {leak}");
    }
    let masked = proof.edges.iter().filter(|edge| matches!(edge.step, ProofStep::Masked(_))).count();
    let _ = match proof.leaks.len() {
        0 => writeln!(
            text,
            "proven: {leaves} tagged or restricted leaves, {masked} masking steps; every way to an open place has one"
        ),
        leaks => writeln!(text, "not proven: {leaks} ways without a masking step"),
    };
    text
}

/// Writes the tree of one leaf.
struct ProofTextWriter<'p> {
    proof: &'p LeakProof,
    after: &'p [Vec<usize>],
    /// Nodes that the tree shows already. Each is written out once.
    seen: BTreeSet<usize>,
    text: &'p mut String,
}

impl ProofTextWriter<'_> {
    /// Writes the ways that begin at a node, two blanks deeper for each step.
    fn ways(&mut self, from: usize, depth: usize) {
        let proof = self.proof;
        for edge in self.after.get(from).into_iter().flatten().filter_map(|edge| proof.edges.get(*edge)) {
            let indent = "  ".repeat(depth);
            // An edge without a target is a drop.
            let Some((to, node)) = edge.to.and_then(|to| Some((to, proof.nodes.get(to)?))) else {
                let _ = writeln!(self.text, "{indent}{} -> nothing leaves", edge.step);
                continue;
            };

            // A node that was written out before only gets a reference, unless it has no ways of its own.
            let restricted = if node.place.is_open() { "" } else { " (restricted)" };
            let again = !self.seen.insert(to);
            let goes_on = self.after.get(to).is_some_and(|edges| !edges.is_empty());
            let above = if again && goes_on { " (as above)" } else { "" };

            // Every table, view and fact follows unchanged from its source: there the words `as it is` are
            // left out.
            let shown = node.shown();
            let _ = match (&edge.step, node.place) {
                (ProofStep::AsIs, ProofPlace::Table | ProofPlace::View | ProofPlace::FactsTopic) => {
                    writeln!(self.text, "{indent}-> {shown}{above}")
                }
                (step, _) => writeln!(self.text, "{indent}{step} -> {shown}{restricted}{above}"),
            };
            if !again {
                self.ways(to, depth + 1);
            }
        }
    }
}
