//! Partial masking: some characters at the ends, and filling between them up to a fixed length.

use std::borrow::Cow;

use serde_json::{Value, json};
use sluice_wire::{LeafFn, LeafKind, LeafType, LeafValue, LeafWriter};

/// The parts of a text that are shown. The output always has `length` characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartialRule {
    /// Number of characters that are shown from the start.
    pub keep_first: usize,
    /// Number of characters that are shown from the end.
    pub keep_last: usize,
    /// Number of characters of the output, more than are shown.
    pub length: usize,
    /// The character in place of all others.
    pub fill: char,
    /// Number of characters that are hidden of every text, beside at least half of it. Above zero for a
    /// tagged or restricted leaf, and zero for any other one.
    pub hidden_min: usize,
}

impl PartialRule {
    /// Characters of filling if the contract gives no length.
    pub const FILLING: usize = 4;

    /// Returns the pieces of the output, in order. A text that would be shown whole, or of which too little
    /// would be hidden, is not shown at all.
    fn pieces<'t>(self, text: &'t str, filling: &'t str) -> [&'t str; 3] {
        // A text with no character to hide.
        let shown = self.keep_first + self.keep_last;
        let least = match self.hidden_min {
            0 => shown + 1,
            hidden => (shown + hidden).max(2 * shown),
        };
        if text.chars().nth(least - 1).is_none() {
            return ["", filling, ""];
        }

        // Cut at characters, not at bytes.
        let head = text.char_indices().nth(self.keep_first).map_or(text.len(), |(at, _)| at);
        let tail = match self.keep_last {
            0 => text.len(),
            last => text.char_indices().nth_back(last - 1).map_or(0, |(at, _)| at),
        };
        let filled = self.length.saturating_sub(shown) * self.fill.len_utf8();
        [&text[..head], &filling[..filled], &text[tail..]]
    }

    /// Returns the type of the masked leaf, which is a string.
    ///
    /// # Errors
    /// The leaf is no string.
    pub(crate) fn output(self, input: &LeafType) -> Result<Value, String> {
        match input.kind {
            LeafKind::String => Ok(json!("string")),
            _ => Err("partial needs a string".to_owned()),
        }
    }

    /// Returns the filling for a text of which no character is shown, which is the longest.
    fn filling(self) -> String {
        std::iter::repeat_n(self.fill, self.length).collect()
    }
}

/// [`PartialRule`] with its filling, which is made once.
pub(crate) struct PartialFn {
    partial: PartialRule,
    filling: String,
}

impl PartialFn {
    /// Returns the function for a rule.
    pub(crate) fn new(partial: PartialRule) -> Self {
        Self { partial, filling: partial.filling() }
    }
}

impl LeafFn for PartialFn {
    fn output(&self, input: &LeafType) -> Result<Value, String> {
        self.partial.output(input)
    }

    fn apply(&self, leaf: LeafValue<'_>, out: &mut LeafWriter<'_>) -> Result<(), Cow<'static, str>> {
        let LeafValue::String(text) = leaf else { return Err("a string".into()) };
        let [head, filling, tail] = self.partial.pieces(text, &self.filling);
        out.string_parts(&[head.as_bytes(), filling.as_bytes(), tail.as_bytes()]);
        Ok(())
    }

    fn name(&self) -> &str {
        "partial"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(keep_first: usize, keep_last: usize, length: usize, fill: char, text: &str) -> String {
        let partial = PartialRule { keep_first, keep_last, length, fill, hidden_min: 0 };
        partial.pieces(text, &partial.filling()).concat()
    }

    #[test]
    fn the_length_is_always_the_same() {
        for text in ["", "A", "A320", "A3201", "A320-214", "EMB-145XR and more", "ÄÖÜß€𝄞 text"] {
            for (first, last) in [(4, 0), (0, 4), (2, 2), (0, 0)] {
                assert_eq!(masked(first, last, 8, '*', text).chars().count(), 8, "{text}");
                assert_eq!(masked(first, last, 8, '•', text).chars().count(), 8, "{text}");
            }
        }
    }

    #[test]
    fn ends_are_shown_and_a_short_text_is_not() {
        assert_eq!(masked(4, 0, 8, '*', "A320-214"), "A320****");
        assert_eq!(masked(0, 2, 6, '*', "07700900123"), "****23");
        assert_eq!(masked(1, 1, 5, '•', "Ärzte"), "Ä•••e");
        assert_eq!(masked(4, 0, 8, '*', "A320"), "********");
        assert_eq!(masked(2, 2, 6, '*', "abc"), "******");
    }

    #[test]
    fn a_guarded_text_hides_half_of_it_and_the_least_number() {
        let guarded = |keep_first: usize, text: &str| {
            let partial = PartialRule { keep_first, keep_last: 0, length: 8, fill: '*', hidden_min: 4 };
            partial.pieces(text, &partial.filling()).concat()
        };
        assert_eq!(guarded(3, "737-824"), "737*****");
        assert_eq!(guarded(3, "A320-2"), "********");
        assert_eq!(guarded(5, "123456789"), "********");
        assert_eq!(guarded(5, "1234567890"), "12345***");
    }
}
