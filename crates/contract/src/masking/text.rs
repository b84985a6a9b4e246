//! Operations on a text that is no leaf of a datum: a header, or a record's key.

use std::borrow::Cow;

use sluice_wire::{LeafAction, LeafFn, LeafKind, LeafType, LeafValue, LeafWriter};

use super::{KeyRing, MaskOperation, MaskingError, PseudonymFn};

/// An operation with its key, ready for texts.
pub struct TextMask(TextMaskKind);

/// The effect of an operation on a text.
enum TextMaskKind {
    Keep,
    Null,
    /// Bytes of any kind have a pseudonym.
    Pseudonym(PseudonymFn),
    Replace(std::sync::Arc<dyn LeafFn>),
}

impl TextMask {
    /// Prepares an operation. `place` names the header or key in messages.
    ///
    /// # Errors
    /// The masking key is missing, or the operation makes no text of a text.
    pub(crate) fn new(op: &MaskOperation, place: &str, keys: &KeyRing) -> Result<Self, MaskingError> {
        if let MaskOperation::Hmac(rule) = op {
            let primed = PseudonymFn::new(rule, keys)
                .map_err(|source| MaskingError::Key { path: place.to_owned(), source })?;
            return Ok(Self(TextMaskKind::Pseudonym(primed)));
        }
        Ok(Self(match op.action(place, &LeafType::plain(LeafKind::String), keys)? {
            LeafAction::Keep => TextMaskKind::Keep,
            // A dropped header or key has no mask: its owner leaves it out.
            LeafAction::Null | LeafAction::Drop => TextMaskKind::Null,
            LeafAction::Replace(function) => TextMaskKind::Replace(function),
        }))
    }

    /// Appends the masked form of a text to `out`. Returns false if it has none, so that it is null.
    ///
    /// # Errors
    /// The expectation that the text does not meet. `out` stays as it was.
    pub fn apply(&self, text: &[u8], out: &mut Vec<u8>) -> Result<bool, Cow<'static, str>> {
        match &self.0 {
            TextMaskKind::Keep => out.extend_from_slice(text),
            TextMaskKind::Null => return Ok(false),
            TextMaskKind::Pseudonym(pseudonym) => pseudonym.append(text, out)?,
            TextMaskKind::Replace(function) => {
                // The function writes an Avro string: a length, then the text.
                let text = std::str::from_utf8(text).map_err(|_| Cow::from("a text in UTF-8"))?;
                let mut encoded = Vec::new();
                function.apply(LeafValue::String(text), &mut LeafWriter::new(&mut encoded))?;
                let length = encoded.iter().position(|byte| byte & 0x80 == 0).map_or(0, |last| last + 1);
                out.extend_from_slice(encoded.get(length..).unwrap_or_default());
            }
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::masking::{PartialRule, RedactConstant};

    #[test]
    fn a_text_is_masked_without_avros_length() {
        let long = "x".repeat(200);
        for (op, expected) in [
            (MaskOperation::Keep, Some("Ada".to_owned())),
            (MaskOperation::Null, None),
            (MaskOperation::Redact(RedactConstant::Text(long.clone())), Some(long.clone())),
            (
                MaskOperation::Partial(PartialRule {
                    keep_first: 1,
                    keep_last: 0,
                    length: 4,
                    fill: '*',
                    hidden_min: 0,
                }),
                Some("A***".to_owned()),
            ),
        ] {
            let mask = TextMask::new(&op, "h", &KeyRing::new()).unwrap();
            let mut out = Vec::new();
            let has_text = mask.apply(b"Ada", &mut out).unwrap();
            assert_eq!(has_text.then(|| String::from_utf8(out).unwrap()), expected, "{op}");
        }
    }
}
