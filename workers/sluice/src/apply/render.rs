//! A plan as text and as JSON.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};
use serde_json::{Value, json};
use sluice_delta::plan::TablePlan;
use sluice_govern::plan::{ChangeEffect, ContractPlan};

use super::look::FleetInspection;

/// Headings, and the four kinds of lines.
const HEADING: Style = Style::new().bold();
const CREATE: Style = AnsiColor::Green.on_default();
const CHANGE: Style = AnsiColor::Yellow.on_default();
const REMOVE: Style = AnsiColor::Red.on_default();
const REFUSED: Style = AnsiColor::Red.on_default().bold();

/// The names of topics that a warning lists.
const LISTED: usize = 3;

/// Lines by the id of their contract; those under `None` are about things that all contracts share.
type LineGroups<'i> = BTreeMap<Option<&'i str>, Vec<String>>;

/// Returns the plan as text, with colours: contract by contract, then the things that all contracts share,
/// then one line with the numbers.
pub(super) fn text(inspection: &FleetInspection) -> String {
    let mut out = String::new();
    let mut groups = grouped(inspection);

    // A contract without a line is left out: the plan of five hundred contracts is about the changed ones.
    for contract in inspection.contracts.iter() {
        if let Some(lines) = groups.remove(&Some(contract.id.as_str())) {
            let heading = format!("contract {} ({})", contract.id, contract.file());
            write_group(&mut out, &heading, &lines);
        }
    }
    for (_, lines) in groups {
        write_group(&mut out, "shared by all contracts", &lines);
    }

    // Notes, and the numbers.
    write_notes(&mut out, inspection);
    let _ = match inspection.plan.is_empty() {
        true => writeln!(out, "{}", nothing_to_do(inspection)),
        false => writeln!(out, "{HEADING}{}{HEADING:#}", inspection.plan.summary()),
    };
    out
}

/// Returns the end of `apply` as text: the permissions that stay, the notes, and the number of changes.
pub(super) fn applied(inspection: &FleetInspection) -> String {
    let mut out = String::new();
    for acl in &inspection.plan.extra_acls {
        let _ = writeln!(out, "{}", not_asked_for(acl));
    }
    write_notes(&mut out, inspection);
    let _ = match inspection.plan.changes.len() {
        0 => writeln!(out, "{}", nothing_to_do(inspection)),
        1 => writeln!(out, "1 change was made"),
        count => writeln!(out, "{count} changes were made"),
    };
    out
}

/// Returns the warnings of a plan, each as one line.
pub(super) fn warnings(plan: &ContractPlan) -> Vec<String> {
    let topics = &plan.one_copy;
    if topics.is_empty() {
        return Vec::new();
    }
    let mut names = topics.iter().take(LISTED).cloned().collect::<Vec<_>>().join(", ");
    if topics.len() > LISTED {
        let _ = write!(names, " and {} more", topics.len() - LISTED);
    }
    let (count, verb) = if topics.len() == 1 { ("1 topic", "has") } else { ("topics", "have") };
    let count = if topics.len() == 1 { count.to_owned() } else { format!("{} {count}", topics.len()) };
    vec![format!(
        "{count} {verb} one copy, and a broken disk loses their records: {names} (new topics get `replication` \
         copies; with three of them `apply` sets min.insync.replicas 2)"
    )]
}

/// Returns the plan as JSON. `docs/plan.md` describes it.
pub(super) fn json(inspection: &FleetInspection) -> serde_json::Result<Value> {
    let FleetInspection { plan, contracts, owners, .. } = inspection;
    let contract = |ids: Vec<&str>| json!(owner(inspection, ids));

    // Each change with its contract and its effect.
    let mut changes = Vec::new();
    for change in &plan.changes {
        let mut value = serde_json::to_value(change)?;
        if let Some(object) = value.as_object_mut() {
            object.insert("contract".into(), contract(owners.of_change(change)));
            object.insert("effect".into(), serde_json::to_value(change.effect())?);
        }
        changes.push(value);
    }

    // Each refusal with its contract. One whose setting has no line in a contract has no file, line and hint.
    let mut refusals = Vec::new();
    for refusal in &plan.refusals {
        let mut value = serde_json::to_value(refusal)?;
        if let Some(object) = value.as_object_mut() {
            object.insert("contract".into(), contract(owners.of_refusal(refusal)));
            object.insert("message".into(), refusal.to_string().into());
            if let Some((file, line)) = refusal.place(contracts) {
                object.insert("file".into(), file.into());
                object.insert("line".into(), line.into());
                object.insert("hint".into(), refusal.hint().into());
            }
        }
        refusals.push(value);
    }

    // The lists above replace the plan's own. The rest is added.
    let drafts = inspection
        .drafts()
        .map(|draft| json!({"contract": draft.id, "file": draft.file(), "line": draft.line("status")}));
    let mut whole = serde_json::to_value(plan)?;
    if let Some(object) = whole.as_object_mut() {
        object.insert("summary".into(), serde_json::to_value(plan.summary())?);
        object.insert("changes".into(), Value::Array(changes));
        object.insert("refusals".into(), Value::Array(refusals));
        object.insert("tables".into(), json!(inspection.tables));
        object.insert("drafts".into(), drafts.collect());
        object.insert("left_out".into(), inspection.left_out.into());
    }
    Ok(whole)
}

/// Returns the lines of all changes, refusals and tables by their contracts.
fn grouped(inspection: &FleetInspection) -> LineGroups<'_> {
    let FleetInspection { plan, contracts, owners, tables, .. } = inspection;
    let mut groups = LineGroups::new();
    let mut add = |ids: Vec<&'_ str>, line: String| {
        // The id is looked up again, because the list of ids does not live long enough.
        let id = owner(inspection, ids).and_then(|id| contracts.iter().find(|contract| contract.id == id));
        groups.entry(id.map(|contract| contract.id.as_str())).or_default().push(line);
    };

    // The changes and refusals of `apply`.
    for change in &plan.changes {
        let (mark, style) = match change.effect() {
            ChangeEffect::Create => ("+", CREATE),
            ChangeEffect::Change => ("~", CHANGE),
            ChangeEffect::Remove => ("-", REMOVE),
        };
        add(owners.of_change(change), format!("{style}{mark}{style:#} {change}"));
    }
    for refusal in &plan.refusals {
        add(owners.of_refusal(refusal), format!("{REFUSED}! refused:{REFUSED:#} {refusal}"));
        if let Some((file, line)) = refusal.place(contracts) {
            add(owners.of_refusal(refusal), format!("    {file}:{line}: {}", refusal.hint()));
        }
    }

    // Permissions that stay, and the sink's tables.
    for acl in &plan.extra_acls {
        add(owners.of_acl(acl), format!("{CHANGE}?{CHANGE:#} {}", not_asked_for(acl)));
    }
    for table in tables {
        table_lines(table).into_iter().for_each(|line| add(owners.of_topic(&table.topic), line));
    }
    groups
}

/// Returns the lines about a table. Tables are the sink's work: `apply` does not change them.
fn table_lines(table: &TablePlan) -> Vec<String> {
    let mut lines = Vec::new();
    if !table.ddl.is_empty() {
        lines.push("the sink will:".to_owned());
        lines.extend(table.ddl.lines().map(|line| format!("    {line}")));
    }
    let lossy = table.lossy.iter();
    lines.extend(lossy.map(|lossy| format!("table of {}: `{}`: {}", table.topic, lossy.path, lossy.what)));
    lines
}

/// Returns the first chosen contract among these ids; `None` if the thing is shared by all contracts.
fn owner<'a>(inspection: &FleetInspection, ids: Vec<&'a str>) -> Option<&'a str> {
    ids.into_iter().find(|id| inspection.is_chosen(id))
}

/// Writes a heading and its lines, and a blank line behind them.
fn write_group(out: &mut String, heading: &str, lines: &[String]) {
    let _ = writeln!(out, "{HEADING}{heading}{HEADING:#}");
    for line in lines {
        let _ = writeln!(out, "  {line}");
    }
    out.push('\n');
}

/// Writes the drafts, and the number of things that `--only` leaves out.
fn write_notes(out: &mut String, inspection: &FleetInspection) {
    for draft in inspection.drafts() {
        let (id, file, line) = (&draft.id, draft.file(), draft.line("status"));
        let _ = writeln!(
            out,
            "contract {id} is a draft and is not applied; set `status: active` to apply it ({file}:{line})"
        );
    }
    if inspection.left_out > 0 {
        let count = inspection.left_out;
        let _ = writeln!(
            out,
            "left out by --only: {count} changes and refusals of other contracts and of the fleet"
        );
    }
}

/// Returns the line for a plan without a change.
fn nothing_to_do(inspection: &FleetInspection) -> &'static str {
    match inspection.only.is_empty() {
        true => "nothing to do: the world is as the contracts have it",
        false => "nothing to do for the chosen contracts",
    }
}

/// Returns the line about a permission that no contract or worker asks for.
fn not_asked_for(acl: &sluice_core::AclRule) -> String {
    format!("no contract and no worker asks for the permission: {acl} (`apply --allow` removes it)")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
