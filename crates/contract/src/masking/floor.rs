//! Floors: masks that change nothing are refused for every leaf, and masks that hide too little are refused
//! for leaves that are tagged or restricted.
//!
//! The house's floors are the least. A company raises them in `sluice/policy.yaml`, and cannot lower them.

use sluice_wire::{LeafKind, LeafType, LogicalType};

use super::{DateStep, GeneraliseRule, MaskOperation, PartialRule};
use crate::finding::FindingReport;
use crate::section::{ContractSection, SectionPlace};
use crate::yaml::YamlNode;

/// Characters of the shortest text that a contract is taken to have if it gives no `minLength`.
const SHORTEST_TEXT: usize = 7;
/// Seconds of a day.
const DAY: i64 = 86_400;
/// A step of fractions below this one changes digits that no measurement has.
const FINEST_FRACTION: f64 = 1e-6;

/// The least that a mask of a tagged or restricted leaf hides.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MaskingFloors {
    /// Characters of a text that `partial` hides. At least half of the text is hidden in any case.
    pub hidden_characters: usize,
    /// The step of dates, in seconds.
    pub date_seconds: i64,
    /// The step of times and timestamps, in seconds.
    pub time_seconds: i64,
    /// The step of whole numbers, and the width of their buckets.
    pub integer: f64,
    /// The step of fractions, and the width of their buckets.
    pub fraction: f64,
    /// The distance of a grid, in degrees.
    pub degrees: f64,
}

impl Default for MaskingFloors {
    /// Returns the house's floors: 4 characters, 28 days, 15 minutes, 5, 1, and a hundredth of a degree (about
    /// 1.1 km).
    fn default() -> Self {
        Self {
            hidden_characters: 4,
            date_seconds: 28 * DAY,
            time_seconds: 15 * 60,
            integer: 5.0,
            fraction: 1.0,
            degrees: 0.01,
        }
    }
}

impl MaskingFloors {
    /// Reads a company's floors: `{partial: {hidden: 6}, generalise: {date: 1y, time: 1h, integer: 10,
    /// fraction: 5, degrees: 0.1}}`. A floor below the house's is reported, and the house's stays.
    pub(crate) fn read(document: &YamlNode, report: &mut FindingReport<'_>) -> Self {
        let mut floors = Self::default();
        let place = |path: &str| SectionPlace::Key(path.to_owned());
        let Some(all) = ContractSection::open(document, place("floors"), &["floors"], report) else {
            return floors;
        };
        let Some(node) = all.get("floors") else { return floors };
        let Some(section) = ContractSection::open(node, place("floors"), &["partial", "generalise"], report)
        else {
            return floors;
        };

        // Texts.
        if let Some(node) = section.get("partial")
            && let Some(partial) = ContractSection::open(node, place("floors.partial"), &["hidden"], report)
        {
            let least = i64::try_from(floors.hidden_characters).unwrap_or(i64::MAX);
            if let Some(hidden) = partial.whole("hidden", least, 256, report) {
                floors.hidden_characters = usize::try_from(hidden).unwrap_or(usize::MAX);
            }
        }

        // Times, numbers and places.
        let known = ["date", "time", "integer", "fraction", "degrees"];
        if let Some(node) = section.get("generalise")
            && let Some(steps) = ContractSection::open(node, place("floors.generalise"), &known, report)
        {
            for (key, floor) in [("date", &mut floors.date_seconds), ("time", &mut floors.time_seconds)] {
                match steps.text(key, report).map(DateStep::parse) {
                    Some(Ok(step)) if step.least_seconds() >= *floor => *floor = step.least_seconds(),
                    Some(Ok(_)) => {
                        let message = "is below the house's own floor, which cannot be lowered";
                        steps.refuse(key, steps.line(), message, None, report);
                    }
                    Some(Err(why)) => steps.refuse(key, steps.line(), why, None, report),
                    None => {}
                }
            }
            let numbers = [
                ("integer", &mut floors.integer),
                ("fraction", &mut floors.fraction),
                ("degrees", &mut floors.degrees),
            ];
            for (key, floor) in numbers {
                match steps.get(key).and_then(|_| steps.positive(key, report)) {
                    Some(number) if number >= *floor => *floor = number,
                    Some(_) => {
                        let message = "is below the house's own floor, which cannot be lowered";
                        steps.refuse(key, steps.line(), message, None, report);
                    }
                    None => {}
                }
            }
        }
        floors
    }

    /// Returns the reason why an operation changes nothing, or hides too little of a sensitive leaf, and a
    /// way to mend it. `shortest` is the least length of a text, if the contract gives one.
    pub(crate) fn refuse(
        &self,
        op: &MaskOperation,
        leaf: &LeafType,
        is_sensitive: bool,
        shortest: Option<usize>,
    ) -> Option<(String, String)> {
        match op {
            MaskOperation::Partial(partial) if is_sensitive => self.partial(*partial, shortest),
            MaskOperation::Generalise(rule) => {
                changes_nothing(rule, leaf).or_else(|| self.generalise(rule, leaf).filter(|_| is_sensitive))
            }
            _ => None,
        }
    }

    /// Compares the shown characters with the shortest text.
    fn partial(&self, partial: PartialRule, shortest: Option<usize>) -> Option<(String, String)> {
        let text = shortest.unwrap_or(SHORTEST_TEXT);
        let shown = partial.keep_first + partial.keep_last;
        let hidden = text.saturating_sub(shown);
        if hidden >= shown && hidden >= self.hidden_characters.min(text) {
            return None;
        }
        let most = (text / 2).min(text.saturating_sub(self.hidden_characters));
        let given = match shortest {
            Some(_) => "by its `minLength`",
            None => "unless `logicalTypeOptions: {minLength: …}` says more",
        };
        let message = format!(
            "`partial` shows {shown} characters of a text that can have {text} ({given}): a tagged or restricted \
             leaf hides at least half of them, and at least {}",
            self.hidden_characters
        );
        Some((message, format!("show at most {most} characters, or use hmac, redact or drop")))
    }

    /// Compares a step with the floor of its kind.
    fn generalise(&self, rule: &GeneraliseRule, leaf: &LeafType) -> Option<(String, String)> {
        let is_fraction = !matches!(leaf.kind, LeafKind::Int | LeafKind::Long);
        let number = if is_fraction { self.fraction } else { self.integer };
        let (is_below, floor) = match rule {
            GeneraliseRule::Date(step) => {
                let is_date = leaf.logical == Some(LogicalType::Date);
                let floor = if is_date { self.date_seconds } else { self.time_seconds };
                (step.least_seconds() < floor, shown_seconds(floor))
            }
            GeneraliseRule::Step(step) => (*step < number, number.to_string()),
            GeneraliseRule::Buckets(bounds) => (narrowest(bounds) < number, format!("a width of {number}")),
            GeneraliseRule::Grid(degrees) => (*degrees < self.degrees, format!("{} degrees", self.degrees)),
            GeneraliseRule::Outward => return None,
        };
        is_below.then(|| {
            let message = format!(
                "`generalise` hides too little: the least for a tagged or restricted leaf of this type is {floor}"
            );
            (message, "use a larger step, or hmac, null or drop".to_owned())
        })
    }
}

/// Returns the reason if a rule leaves every value as it is, or as good as that.
fn changes_nothing(rule: &GeneraliseRule, leaf: &LeafType) -> Option<(String, String)> {
    let is_identity = match (rule, leaf.kind, leaf.logical) {
        (GeneraliseRule::Date(step), _, Some(LogicalType::Date)) => step.least_seconds() <= DAY,
        (GeneraliseRule::Step(step), LeafKind::Int | LeafKind::Long, None) => *step <= 1.0,
        // The last digit of a decimal.
        (GeneraliseRule::Step(step), _, Some(LogicalType::Decimal { scale, .. })) => {
            step * 10f64.powi(i32::try_from(scale).unwrap_or(i32::MAX)) < 1.5
        }
        (GeneraliseRule::Buckets(bounds), LeafKind::Int | LeafKind::Long, None) => {
            bounds.len() > 1 && widest(bounds) <= 1.0
        }
        (GeneraliseRule::Step(step) | GeneraliseRule::Grid(step), _, None) => *step < FINEST_FRACTION,
        (GeneraliseRule::Buckets(bounds), _, None) => bounds.len() > 1 && widest(bounds) < FINEST_FRACTION,
        _ => false,
    };
    is_identity.then(|| {
        let message = "`generalise` with this step leaves the value as it is".to_owned();
        (message, "use a larger step, or `keep` if the leaf may be open".to_owned())
    })
}

/// Returns the width of the narrowest bucket between two bounds; infinite if there is none.
fn narrowest(bounds: &[f64]) -> f64 {
    bounds.windows(2).map(|pair| pair[1] - pair[0]).fold(f64::INFINITY, f64::min)
}

/// Returns the width of the widest bucket between two bounds.
fn widest(bounds: &[f64]) -> f64 {
    bounds.windows(2).map(|pair| pair[1] - pair[0]).fold(0.0, f64::max)
}

/// Returns a number of seconds in the largest unit that divides it.
fn shown_seconds(seconds: i64) -> String {
    DateStep::Seconds(seconds).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml;

    fn refused(op: GeneraliseRule, kind: LeafKind, logical: Option<LogicalType>, is_sensitive: bool) -> bool {
        let leaf = LeafType { logical, ..LeafType::plain(kind) };
        MaskingFloors::default().refuse(&MaskOperation::Generalise(op), &leaf, is_sensitive, None).is_some()
    }

    #[test]
    fn identity_is_refused_for_every_leaf() {
        let date = |text: &str| GeneraliseRule::Date(DateStep::parse(text).unwrap());
        let decimal = Some(LogicalType::Decimal { precision: 12, scale: 2 });
        for (rule, kind, logical, is_identity) in [
            (date("1d"), LeafKind::Int, Some(LogicalType::Date), true),
            (date("24h"), LeafKind::Int, Some(LogicalType::Date), true),
            (date("86400s"), LeafKind::Int, Some(LogicalType::Date), true),
            (date("2d"), LeafKind::Int, Some(LogicalType::Date), false),
            (GeneraliseRule::Step(1.0), LeafKind::Long, None, true),
            (GeneraliseRule::Step(2.0), LeafKind::Int, None, false),
            (GeneraliseRule::Step(0.01), LeafKind::Bytes, decimal, true),
            (GeneraliseRule::Step(0.02), LeafKind::Bytes, decimal, false),
            (GeneraliseRule::Step(1e-9), LeafKind::Double, None, true),
            (GeneraliseRule::Grid(1e-7), LeafKind::Float, None, true),
            (GeneraliseRule::Buckets(vec![0.0, 1.0, 2.0]), LeafKind::Int, None, true),
            (GeneraliseRule::Buckets(vec![0.0, 1.0, 9.0]), LeafKind::Int, None, false),
            (GeneraliseRule::Buckets(vec![18.0]), LeafKind::Int, None, false),
        ] {
            assert_eq!(refused(rule.clone(), kind, logical, false), is_identity, "{rule:?}");
        }
    }

    #[test]
    fn a_sensitive_leaf_has_a_floor_for_every_kind_of_step() {
        let date = |text: &str| GeneraliseRule::Date(DateStep::parse(text).unwrap());
        let (day, instant) = (Some(LogicalType::Date), Some(LogicalType::TimestampMillis));
        for (rule, kind, logical, is_low) in [
            (date("27d"), LeafKind::Int, day, true),
            (date("1mo"), LeafKind::Int, day, false),
            (date("4w"), LeafKind::Int, day, false),
            (date("1s"), LeafKind::Long, instant, true),
            (date("14m"), LeafKind::Long, instant, true),
            (date("15m"), LeafKind::Long, instant, false),
            (GeneraliseRule::Step(2.0), LeafKind::Int, None, true),
            (GeneraliseRule::Step(5.0), LeafKind::Long, None, false),
            (GeneraliseRule::Step(0.5), LeafKind::Double, None, true),
            (GeneraliseRule::Buckets(vec![0.0, 1.0, 99.0]), LeafKind::Int, None, true),
            (GeneraliseRule::Buckets(vec![18.0, 65.0]), LeafKind::Int, None, false),
            (GeneraliseRule::Grid(0.001), LeafKind::Double, None, true),
            (GeneraliseRule::Grid(0.1), LeafKind::Double, None, false),
            (GeneraliseRule::Outward, LeafKind::String, None, false),
        ] {
            assert_eq!(refused(rule.clone(), kind, logical, true), is_low, "{rule:?}");
        }
    }

    #[test]
    fn a_partial_text_shows_less_than_half_of_the_shortest_one() {
        let refused = |keep_first, keep_last, shortest, is_sensitive| {
            let partial = PartialRule { keep_first, keep_last, length: 64, fill: '*', hidden_min: 0 };
            let leaf = LeafType::plain(LeafKind::String);
            let floors = MaskingFloors::default();
            floors.refuse(&MaskOperation::Partial(partial), &leaf, is_sensitive, shortest).is_some()
        };
        assert!(refused(10, 0, None, true) && refused(2, 2, None, true) && refused(0, 20, None, true));
        assert!(!refused(3, 0, None, true) && !refused(0, 2, None, true) && !refused(0, 0, Some(1), true));
        assert!(!refused(4, 0, Some(8), true) && refused(4, 0, Some(7), true));
        assert!(refused(5, 5, Some(10), true) && !refused(3, 2, Some(10), true));
        assert!(!refused(10, 0, None, false));
    }

    #[test]
    fn a_company_raises_the_floors_and_never_lowers_them() {
        let read = |text: &str| {
            let mut findings = vec![];
            let floors = MaskingFloors::read(
                &yaml::read(text).unwrap(),
                &mut FindingReport::new("sluice/policy.yaml", &mut findings),
            );
            (floors, findings.len())
        };
        let (floors, count) = read(
            "floors: {partial: {hidden: 6}, generalise: {date: 1y, time: 1h, integer: 10, degrees: 0.1}}",
        );
        assert_eq!(count, 0);
        assert_eq!(
            (floors.hidden_characters, floors.date_seconds, floors.time_seconds),
            (6, 336 * DAY, 3600)
        );
        let (floors, count) =
            read("floors: {partial: {hidden: 1}, generalise: {date: 1d, degrees: 0.0001, tme: 1h}}");
        assert_eq!((floors, count), (MaskingFloors::default(), 4));
    }
}
