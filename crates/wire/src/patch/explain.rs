//! A patch in words, so that a person sees what will happen to every leaf.

use std::fmt::Write;

use super::decide::PatchDecision;
use crate::program::op::WalkProgram;

/// A table of leaves and their fate, then the instructions.
pub(super) fn explain(decided: &PatchDecision, program: &WalkProgram) -> String {
    let mut text = String::new();
    let path_width = decided.lines.iter().map(|(path, ..)| path.chars().count()).max().unwrap_or(0);
    let type_width = decided.lines.iter().map(|(_, kind, _)| kind.chars().count()).max().unwrap_or(0);
    for (path, kind, fate) in &decided.lines {
        // Writing to a String does not fail.
        let _ = writeln!(text, "{path:path_width$}  {kind:type_width$}  {fate}");
    }
    let _ = writeln!(text, "\nprogram:");
    for (place, op) in program.ops.iter().enumerate() {
        let _ = writeln!(text, "{place:5}  {op:?}");
    }
    if !program.targets.is_empty() {
        let _ = writeln!(text, "targets: {:?}", program.targets);
    }
    text
}
