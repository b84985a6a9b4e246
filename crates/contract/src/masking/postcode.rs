//! UK postcodes: the outward part (`SW1A` of `SW1A 1AA`), a district of some thousand households.
//!
//! Source: the formats A9, A99, AA9, AA99, A9A, AA9A + 9AA of BS 7666-2. `GIR 0AA` is the only one outside of
//! them.

/// Characters of the longest outward code.
const OUTWARD_MAX: usize = 4;

/// An outward code, in upper case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OutwardCode {
    letters: [u8; OUTWARD_MAX],
    length: usize,
}

impl OutwardCode {
    /// Returns the outward code of a full postcode, with or without spaces, in any case, or of an outward
    /// code alone. `None` for any other text: a text that is not understood does not pass.
    pub(crate) fn of(text: &str) -> Option<Self> {
        // Without spaces, in upper case. A longer text than any postcode ends here.
        let mut code = [0u8; OUTWARD_MAX + 3];
        let mut length = 0;
        for byte in text.bytes().filter(|byte| *byte != b' ') {
            *code.get_mut(length)? = byte.to_ascii_uppercase();
            length += 1;
        }

        // A full postcode ends in a digit and two letters.
        let code = &code[..length];
        let full = code.split_last_chunk::<3>().filter(|(head, inward)| {
            let inward_fits = inward[0].is_ascii_digit() && inward[1..].iter().all(u8::is_ascii_uppercase);
            inward_fits && (is_outward(head) || (*head == b"GIR" && *inward == b"0AA"))
        });

        // Otherwise the text must be an outward code by itself.
        let head = match full {
            Some((head, _)) => head,
            None if is_outward(code) => code,
            None => return None,
        };
        let mut letters = [0u8; OUTWARD_MAX];
        letters.get_mut(..head.len())?.copy_from_slice(head);
        Some(Self { letters, length: head.len() })
    }

    /// Returns the code as text.
    pub(crate) fn as_str(&self) -> &str {
        let text = std::str::from_utf8(&self.letters[..self.length]);
        debug_assert!(text.is_ok(), "an outward code has only ASCII letters and digits");
        text.unwrap_or_default()
    }
}

/// Returns true if the bytes have the form of an outward code: one or two letters, a digit, and at most one
/// more character.
fn is_outward(code: &[u8]) -> bool {
    let letters = code.iter().take_while(|byte| byte.is_ascii_uppercase()).count();
    let rest = &code[letters.min(code.len())..];
    if !(1..=2).contains(&letters) || code.len() > OUTWARD_MAX {
        return false;
    }
    match rest {
        [first] => first.is_ascii_digit(),
        [first, second] => first.is_ascii_digit() && second.is_ascii_alphanumeric(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_outward_part_of_every_format() {
        let cases = [
            ("M1 1AE", "M1"),
            ("B33 8TH", "B33"),
            ("CR2 6XH", "CR2"),
            ("DN55 1PT", "DN55"),
            ("W1A 0AX", "W1A"),
            ("EC1A 1BB", "EC1A"),
            ("ec1a1bb", "EC1A"),
            (" sw1a  1aa ", "SW1A"),
            ("SW1A", "SW1A"),
            ("N1", "N1"),
            ("GIR 0AA", "GIR"),
        ];
        for (full, outward) in cases {
            assert_eq!(
                OutwardCode::of(full).map(|code| code.as_str().to_owned()).as_deref(),
                Some(outward),
                "{full}"
            );
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for wrong in
            ["", " ", "SW1A 1AAA", "12345", "SW", "1AA", "ÄB1 1AA", "SWX1 1AA", "SW1A 1A1", "N1 1AA x", "GIR"]
        {
            assert_eq!(OutwardCode::of(wrong), None, "{wrong}");
        }
    }
}
