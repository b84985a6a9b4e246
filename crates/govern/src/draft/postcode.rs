//! Postcodes of several countries, recognised by their form.

/// The number of texts that have the form of a country's postcodes.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct PostcodeCounts {
    british: usize,
    canadian: usize,
    dutch: usize,
    five_digits: usize,
}

/// The country of all texts of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PostcodeCountry {
    British,
    Canadian,
    Dutch,
    /// Used by many countries, and by many numbers that are no postcodes.
    FiveDigits,
}

impl PostcodeCounts {
    /// Adds one text.
    pub(super) fn see(&mut self, text: &str) {
        let form = form(text);
        self.british += usize::from(is_british(&form));
        self.canadian += usize::from(form == "A9A9A9");
        self.dutch += usize::from(form == "9999AA");
        // American codes can have four more digits.
        self.five_digits += usize::from(form == "99999" || form == "99999-9999");
    }

    /// Adds the counts of another field.
    pub(super) fn merge(&mut self, other: Self) {
        self.british += other.british;
        self.canadian += other.canadian;
        self.dutch += other.dutch;
        self.five_digits += other.five_digits;
    }

    /// Returns the country that all of `seen` texts fit.
    pub(super) fn country(&self, seen: usize) -> Option<PostcodeCountry> {
        match seen {
            0 => None,
            _ if self.british == seen => Some(PostcodeCountry::British),
            _ if self.canadian == seen => Some(PostcodeCountry::Canadian),
            _ if self.dutch == seen => Some(PostcodeCountry::Dutch),
            _ if self.five_digits == seen => Some(PostcodeCountry::FiveDigits),
            _ => None,
        }
    }
}

impl PostcodeCountry {
    /// Returns true if the form alone shows that the texts are postcodes, whatever the field's name is.
    pub(super) fn is_certain(self) -> bool {
        self != Self::FiveDigits
    }

    /// Returns the comment for the author.
    pub(super) const fn comment(self) -> &'static str {
        match self {
            Self::British => "British postcodes? {op: generalise, geo: outward}",
            Self::Canadian => "Canadian postcodes? {op: partial, keepFirst: 3, length: 6}, or drop",
            Self::Dutch => "Dutch postcodes? {op: partial, keepFirst: 2, length: 6}, or drop",
            Self::FiveDigits => {
                "postcodes of five digits (US, DE, FR, ES, IT)? {op: partial, keepFirst: 2, length: 5}, or drop"
            }
        }
    }
}

/// Returns the form of a text: `A` for each letter, `9` for each digit, without blanks.
fn form(text: &str) -> String {
    // A longer text is no postcode.
    if text.len() > 12 {
        return String::new();
    }
    let form = |letter: char| match letter {
        'a'..='z' | 'A'..='Z' => 'A',
        '0'..='9' => '9',
        other => other,
    };
    text.chars().filter(|letter| *letter != ' ').map(form).collect()
}

/// Returns true for the form of a British postcode: an outward code of two to four characters, and an inward
/// code of a digit and two letters. Source: BS 7666.
fn is_british(form: &str) -> bool {
    ["A99AA", "A999AA", "AA99AA", "AA999AA", "A9A9AA", "AA9A9AA"].contains(&form)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn country(texts: &[&str]) -> Option<PostcodeCountry> {
        let mut counts = PostcodeCounts::default();
        texts.iter().for_each(|text| counts.see(text));
        counts.country(texts.len())
    }

    #[test]
    fn a_country_is_recognised_if_every_text_fits_it() {
        use PostcodeCountry::{British, Canadian, Dutch, FiveDigits};
        assert_eq!(country(&["SW1A 1AA", "M1 1AE", "EC1A1BB", "dn55 1pt"]), Some(British));
        assert_eq!(country(&["K1A 0B1", "H0H0H0"]), Some(Canadian));
        assert_eq!(country(&["1012 AB", "9999zz"]), Some(Dutch));
        assert_eq!(country(&["10115", "94103-1234"]), Some(FiveDigits));
        assert_eq!(country(&["SW1A 1AA", "10115"]), None);
        assert_eq!(country(&["somewhere"]), None);
        assert_eq!(country(&[]), None);
    }
}
