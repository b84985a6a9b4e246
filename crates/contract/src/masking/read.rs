//! Reading a masking operation from the contract file.

use super::{DateStep, GeneraliseRule, MaskOperation, PartialRule, PseudonymRule, RedactConstant};
use crate::finding::{FindingReport, did_you_mean};
use crate::section::{ContractSection, SectionPlace, number};
use crate::yaml::{YamlContent, YamlNode};

/// Every operation, for hints.
const OPS: [&str; 7] = ["keep", "drop", "null", "redact", "partial", "hmac", "generalise"];
/// Operations that are designed but not built. They are refused, and never replaced by another one.
const LATER: [&str; 3] = ["encrypt", "fpe", "scan"];
/// The operation that a draft gives every leaf. It stands for a decision that is still missing.
const UNDECIDED: &str = "decide";
/// Characters of the longest output of `partial`.
const LENGTH_MAX: i64 = 256;

/// Reads `{op: …, …}` for the leaf at `path`. `None` if it has a mistake, which is then reported.
pub(crate) fn read(node: &YamlNode, path: &str, report: &mut FindingReport<'_>) -> Option<MaskOperation> {
    // The name of the operation.
    let place = SectionPlace::Leaf { path: path.to_owned(), label: "masking" };
    let named = match node.get("op").map(|op| &op.content) {
        // `op: null` without quotes is YAML's null. It can have no other meaning here.
        Some(YamlContent::Null) => "null",
        Some(YamlContent::Text(text)) => text,
        _ => {
            report.add(node.line, path, "masking has no `op`", Some(format!("one of {}", OPS.join(", "))));
            return None;
        }
    };

    // The keys that the operation knows, or a message for an operation that cannot be used.
    let known: &[&str] = match named {
        "keep" | "drop" | "null" => &["op"],
        "redact" => &["op", "with"],
        "partial" => &["op", "keepFirst", "keepLast", "length", "fill"],
        "hmac" => &["op", "key", "domain", "epoch"],
        "generalise" => &["op", "date", "number", "geo", "degrees"],
        UNDECIDED => {
            let hint = format!("one of {}", OPS.join(", "));
            report.add(node.line, path, "no decision about this leaf yet", Some(hint));
            return None;
        }
        later if LATER.contains(&later) => {
            let hint = format!("until it is: {}", OPS.join(", "));
            report.add(
                node.line,
                path,
                format!("masking operation `{later}` is not available yet"),
                Some(hint),
            );
            return None;
        }
        other => {
            let hint = did_you_mean(other, OPS).unwrap_or_else(|| format!("one of {}", OPS.join(", ")));
            report.add(node.line, path, format!("unknown masking operation `{other}`"), Some(hint));
            return None;
        }
    };

    // The settings of the operation.
    let section = ContractSection::open(node, place, known, report)?;
    match named {
        "keep" => Some(MaskOperation::Keep),
        "drop" => Some(MaskOperation::Drop),
        "null" => Some(MaskOperation::Null),
        "redact" => redact(&section, report).map(MaskOperation::Redact),
        "partial" => partial(&section, report).map(MaskOperation::Partial),
        "hmac" => hmac(&section, report).map(MaskOperation::Hmac),
        _ => generalise(&section, report).map(MaskOperation::Generalise),
    }
}

/// Reads the constant of `redact`.
fn redact(section: &ContractSection<'_>, report: &mut FindingReport<'_>) -> Option<RedactConstant> {
    let Some(with) = section.get("with") else {
        return Some(RedactConstant::Text(RedactConstant::DEFAULT.to_owned()));
    };
    match &with.content {
        YamlContent::Text(text) => Some(RedactConstant::Text(text.clone())),
        YamlContent::Boolean(value) => Some(RedactConstant::Boolean(*value)),
        YamlContent::Integer(_) | YamlContent::Number(_) => number(with).map(RedactConstant::Number),
        YamlContent::Null | YamlContent::List(_) | YamlContent::Map(_) => {
            section.refuse("with", with.line, "expected a text, a number or a boolean", None, report);
            None
        }
    }
}

/// Reads the numbers and the filling of `partial`.
fn partial(section: &ContractSection<'_>, report: &mut FindingReport<'_>) -> Option<PartialRule> {
    // The numbers. A missing one is `Some(None)`, a wrong one ends the reading.
    let mut size = |key: &str, least: i64| match section.get(key) {
        None => Some(None),
        Some(_) => section.whole(key, least, LENGTH_MAX, report).map(|n| Some(n.unsigned_abs() as usize)),
    };
    let (keep_first, keep_last, length) = (size("keepFirst", 0)?, size("keepLast", 0)?, size("length", 1)?);

    // At least one end is shown, or the operation is a redaction.
    let line = section.line();
    let shown = keep_first.unwrap_or(0) + keep_last.unwrap_or(0);
    if keep_first.is_none() && keep_last.is_none() {
        section.refuse("keepFirst", line, "`keepFirst` or `keepLast` is missing", None, report);
        return None;
    }

    // At least one character is hidden.
    let length = length.unwrap_or(shown + PartialRule::FILLING);
    if length <= shown {
        let message = format!("expected more than the {shown} characters shown");
        section.refuse("length", line, message, None, report);
        return None;
    }

    // The filling.
    let fill = match section.get("fill") {
        None => '*',
        Some(_) => {
            let text = section.text("fill", report)?;
            let mut chars = text.chars();
            match (chars.next(), chars.next()) {
                (Some(fill), None) => fill,
                _ => {
                    section.refuse("fill", line, "expected one character", None, report);
                    return None;
                }
            }
        }
    };

    // The coverage raises the last one for a tagged or restricted leaf.
    let (keep_first, keep_last) = (keep_first.unwrap_or(0), keep_last.unwrap_or(0));
    Some(PartialRule { keep_first, keep_last, length, fill, hidden_min: 0 })
}

/// Reads key, domain and epoch of `hmac`.
fn hmac(section: &ContractSection<'_>, report: &mut FindingReport<'_>) -> Option<PseudonymRule> {
    let key = section.required_text("key", report);
    let domain = section.required_text("domain", report);
    let epoch = match section.get("epoch") {
        None => Some(None),
        Some(_) => section.whole("epoch", 0, u32::MAX.into(), report).map(|n| u32::try_from(n).ok()),
    };
    // All three are read before the first missing one ends the reading, to report all mistakes.
    let (key, domain, epoch) = (key?, domain?, epoch?);
    if domain.contains('\0') {
        section.refuse(
            "domain",
            section.line(),
            "a domain cannot contain a NUL, because a NUL ends it in the hash",
            None,
            report,
        );
        return None;
    }
    if domain.trim() != domain {
        let message = "a domain cannot begin or end with a blank";
        section.refuse("domain", section.line(), message, None, report);
        return None;
    }
    Some(PseudonymRule { key: key.to_owned(), domain: domain.to_owned(), epoch })
}

/// Reads the rule of `generalise`.
fn generalise(section: &ContractSection<'_>, report: &mut FindingReport<'_>) -> Option<GeneraliseRule> {
    // Exactly one way.
    let ways: Vec<&str> =
        ["date", "number", "geo"].into_iter().filter(|key| section.get(key).is_some()).collect();
    let line = section.line();
    let [way] = ways[..] else {
        let hint = Some("date: 30m, number: 50, number: [18, 65], geo: outward or geo: grid".to_owned());
        let message = "expected exactly one of date, number, geo";
        section.refuse("op", line, message, hint, report);
        return None;
    };

    // `degrees` is a setting of one way only.
    if way != "geo" && section.get("degrees").is_some() {
        section.refuse("degrees", line, "`degrees` needs `geo: grid`", None, report);
        return None;
    }

    // The way's own value. A list of numbers is a list of buckets.
    match way {
        "date" => {
            let text = section.text("date", report)?;
            DateStep::parse(text)
                .map_err(|why| section.refuse("date", line, why, None, report))
                .ok()
                .map(GeneraliseRule::Date)
        }
        "number" => match section.get("number").map(|node| &node.content) {
            Some(YamlContent::List(_)) => buckets(section, report).map(GeneraliseRule::Buckets),
            _ => section.positive("number", report).map(GeneraliseRule::Step),
        },
        _ => geo(section, report),
    }
}

/// Reads the bounds of buckets: at least one, ascending.
fn buckets(section: &ContractSection<'_>, report: &mut FindingReport<'_>) -> Option<Vec<f64>> {
    let node = section.get("number")?;
    let bounds: Option<Vec<f64>> = node.items().iter().map(number).collect();
    match bounds {
        Some(bounds) if !bounds.is_empty() && bounds.windows(2).all(|pair| pair[0] < pair[1]) => Some(bounds),
        _ => {
            section.refuse("number", node.line, "expected a list of ascending numbers", None, report);
            None
        }
    }
}

/// Reads the way to generalise a place: outward code or grid.
fn geo(section: &ContractSection<'_>, report: &mut FindingReport<'_>) -> Option<GeneraliseRule> {
    let line = section.line();
    match section.text("geo", report)? {
        // A postcode has no distance.
        "outward" if section.get("degrees").is_none() => Some(GeneraliseRule::Outward),
        "outward" => {
            section.refuse("degrees", line, "`degrees` needs `geo: grid`", None, report);
            None
        }

        // A grid without a distance has no sensible default: it depends on the data.
        "grid" => match section.get("degrees") {
            None => {
                let hint = Some("0.1 is about 11 km from north to south".to_owned());
                section.refuse("degrees", line, "`degrees` is missing", hint, report);
                None
            }
            Some(_) => section.positive("degrees", report).map(GeneraliseRule::Grid),
        },

        other => {
            let hint = did_you_mean(other, ["outward", "grid"]);
            section.refuse(
                "geo",
                line,
                format!("expected `outward` or `grid`, found `{other}`"),
                hint,
                report,
            );
            None
        }
    }
}
