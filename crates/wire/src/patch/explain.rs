//! Prints a patch as text that shows the action for every leaf.

use std::fmt::Write;

use super::decide::PatchDecision;
use crate::program::op::WalkProgram;

/// Prints a table of leaves and their actions, then the instructions.
pub(super) fn explain(decided: &PatchDecision, program: &WalkProgram) -> String {
    let mut text = String::new();
    // The columns are as wide as their widest cells.
    let path_width = decided.lines.iter().map(|(path, ..)| path.chars().count()).max().unwrap_or(0);
    let type_width = decided.lines.iter().map(|(_, kind, _)| kind.chars().count()).max().unwrap_or(0);
    for (path, kind, fate) in &decided.lines {
        // Writing to a String does not fail.
        let _ = writeln!(text, "{path:path_width$}  {kind:type_width$}  {fate}");
    }

    // The program, with the targets of its unions.
    let _ = writeln!(text, "\nprogram:");
    for (place, op) in program.ops.iter().enumerate() {
        let _ = writeln!(text, "{place:5}  {op:?}");
    }
    if !program.targets.is_empty() {
        let _ = writeln!(text, "targets: {:?}", program.targets);
    }
    text
}
