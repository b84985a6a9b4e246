//! Some characters at the ends, the rest filled up to a length that is always the same.

use std::borrow::Cow;

use serde_json::{Value, json};
use sluice_wire::{LeafFn, LeafKind, LeafType, LeafValue, LeafWriter};

/// How much of a text is shown. The output always has `length` characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartialRule {
    /// Characters shown from the start.
    pub keep_first: usize,
    /// Characters shown from the end.
    pub keep_last: usize,
    /// Characters of the output, more than are shown.
    pub length: usize,
    /// What stands in for the rest.
    pub fill: char,
}

impl PartialRule {
    /// How many characters of filling there are unless the contract says the length.
    pub const FILLING: usize = 4;

    /// The pieces of the output, in order. A text that would be shown whole is not shown at all.
    fn pieces<'t>(self, text: &'t str, filling: &'t str) -> [&'t str; 3] {
        let shown = self.keep_first + self.keep_last;
        if text.chars().nth(shown).is_none() {
            return ["", filling, ""];
        }
        let head = text.char_indices().nth(self.keep_first).map_or(text.len(), |(at, _)| at);
        let tail = match self.keep_last {
            0 => text.len(),
            last => text.char_indices().nth_back(last - 1).map_or(0, |(at, _)| at),
        };
        let filled = self.length.saturating_sub(shown) * self.fill.len_utf8();
        [&text[..head], &filling[..filled], &text[tail..]]
    }

    pub(crate) fn output(self, input: &LeafType) -> Result<Value, String> {
        match input.kind {
            LeafKind::String => Ok(json!("string")),
            _ => Err("partial needs a string".to_owned()),
        }
    }

    /// As much filling as any output can need.
    fn filling(self) -> String {
        std::iter::repeat_n(self.fill, self.length).collect()
    }
}

/// [`PartialRule`] with its filling written out once.
pub(crate) struct PartialFn {
    partial: PartialRule,
    filling: String,
}

impl PartialFn {
    pub(crate) fn new(partial: PartialRule) -> Self {
        Self { partial, filling: partial.filling() }
    }
}

impl LeafFn for PartialFn {
    fn output(&self, input: &LeafType) -> Result<Value, String> {
        self.partial.output(input)
    }

    fn apply(&self, leaf: LeafValue<'_>, out: &mut LeafWriter<'_>) -> Result<(), Cow<'static, str>> {
        let LeafValue::String(text) = leaf else { return Err("partial needs a string".into()) };
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
        let partial = PartialRule { keep_first, keep_last, length, fill };
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
}
