//! Remarks that follow from the samples: comments beside leaves, and lines for the author's terminal. They
//! name fields, never a value and never a key of a map.

use std::collections::BTreeMap;

use super::hint;
use super::postcode::PostcodeCountry;

/// Comments by the path of their leaf.
pub(super) type DraftNotes = BTreeMap<String, String>;

/// The smallest scale of a suggested decimal: cents.
const CENTS: usize = 2;
/// The largest scale of a suggested decimal. More digits come from computing, not from money.
const FINEST: usize = 6;

/// Everything that the samples suggest.
#[derive(Debug, Default)]
pub(super) struct DraftRemarks {
    /// The comments beside leaves.
    pub(super) notes: DraftNotes,
    /// The lines for the terminal, in the order of the fields.
    pub(super) lines: Vec<String>,
}

impl DraftRemarks {
    /// Asks whether a number with digits behind the point is money.
    pub(super) fn money(&mut self, path: &str, decimals: usize) {
        let note = money_comment(decimals);
        self.lines.push(format!("`{path}`: {note}"));
        self.notes.insert(path.to_owned(), note);
    }

    /// Asks for the unit of whole numbers that look like money.
    pub(super) fn money_in_whole_units(&mut self, path: &str) {
        let note = "money in whole units or in cents? write the unit into the field's doc".to_owned();
        self.lines.push(format!("`{path}`: {note}"));
        self.notes.insert(path.to_owned(), note);
    }

    /// Notes the country of a field's postcodes, or that a field that is named so has none of them.
    pub(super) fn postcodes(&mut self, path: &str, country: Option<PostcodeCountry>) {
        let is_named = hint::is_postcode(path);
        let note = match country {
            Some(country) if is_named || country.is_certain() => country.comment(),
            _ if is_named => {
                "postcodes of several countries, or of one that is not known here: {op: generalise, geo: outward} \
                 takes British ones alone; drop, or {op: partial, keepFirst: 2, length: 5}"
            }
            _ => return,
        };
        self.lines.push(format!("`{path}`: {note}"));
        self.notes.insert(path.to_owned(), note.to_owned());
    }

    /// Notes that objects became a map.
    pub(super) fn map(&mut self, path: &str, keys: usize, objects: usize) {
        let times = if objects == 1 { "1 object".to_owned() } else { format!("{objects} objects") };
        self.lines.push(format!(
            "`{path}` is a map: {times} had {keys} unlike keys; they may be personal and are not shown"
        ));
        let note =
            "keys may name somebody: {op: hmac, key: pseudonym, domain: …}, or drop the map as a whole";
        self.notes.insert(format!("{path}{{key}}"), note.to_owned());
    }
}

/// Returns the question about a floating-point number that looks like money.
pub(super) fn money_comment(decimals: usize) -> String {
    let scale = decimals.clamp(CENTS, FINEST);
    format!(
        "money? a double rounds; exact in value.avsc: {{\"type\": \"bytes\", \"logicalType\": \"decimal\", \
         \"precision\": 18, \"scale\": {scale}}}"
    )
}
