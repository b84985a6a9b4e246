//! Suggestions for a leaf: a comment and tags. A suggestion is never a decision.

/// The tag of a value that names or describes a person.
const PII: &str = "PII";
/// The tag of a value that points to a person together with others.
pub(super) const QUASI: &str = "QUASI";

/// A suggestion that follows from a word in a leaf's name.
pub(super) struct LeafHint {
    /// The words, each also as two words of a name: `postcode` matches `post_code`.
    words: &'static [&'static str],
    /// The comment for the author.
    pub(super) comment: &'static str,
    /// The tag that the leaf gets; empty if the name alone says too little.
    pub(super) tag: &'static str,
}

/// The suggestions, in the order in which they are tried.
const HINTS: [LeafHint; 10] = [
    LeafHint {
        words: &["email", "mail"],
        comment: "an e-mail address? drop, or {op: hmac, key: pseudonym, domain: email}",
        tag: PII,
    },
    LeafHint {
        words: &["phone", "mobile", "tel", "telephone"],
        comment: "a telephone number? {op: partial, keepLast: 2, length: 8}, or drop",
        tag: PII,
    },
    LeafHint {
        words: &["postcode", "zip", "zipcode", "postalcode"],
        comment: "a postcode? {op: generalise, geo: outward} knows British ones alone; others: drop, or keep the \
                  first characters with partial",
        tag: QUASI,
    },
    LeafHint {
        words: &["birth", "born", "dob", "birthday", "birthdate"],
        comment: "a date of birth? {op: generalise, date: 1y}",
        tag: QUASI,
    },
    LeafHint {
        words: &["latitude", "longitude", "lat", "lon", "lng"],
        comment: "a coordinate? {op: generalise, geo: grid, degrees: 0.1}",
        tag: QUASI,
    },
    LeafHint {
        words: &["name", "surname", "firstname", "lastname", "forename"],
        comment: "a name? drop, or redact",
        tag: PII,
    },
    LeafHint { words: &["address", "street", "ip"], comment: "an address? drop", tag: PII },
    LeafHint {
        words: &["account", "customer", "member", "user", "person", "iban", "ssn", "passport"],
        comment: "names somebody? {op: hmac, key: pseudonym, domain: …}",
        tag: PII,
    },
    LeafHint {
        words: &["id", "key", "number"],
        comment: "names somebody or something? {op: hmac, key: pseudonym, domain: …}",
        tag: "",
    },
    LeafHint {
        words: &["comment", "note", "text", "description", "message"],
        comment: "free text? drop",
        tag: PII,
    },
];

/// Words for sums of money.
const MONEY: [&str; 26] = [
    "price", "amount", "cost", "costs", "fee", "fees", "total", "subtotal", "balance", "salary", "wage",
    "revenue", "payment", "paid", "tax", "vat", "discount", "charge", "refund", "deposit", "turnover",
    "fare", "rent", "eur", "gbp", "usd",
];

/// Returns the suggestion for the last name of a path, if a word of it has one.
pub(super) fn of_name(path: &str) -> Option<&'static LeafHint> {
    let words = words(path);
    HINTS.iter().find(|hint| hint.words.iter().any(|word| words.iter().any(|is| is == word)))
}

/// Returns true if the path's last name is that of a postcode.
pub(super) fn is_postcode(path: &str) -> bool {
    of_name(path).is_some_and(|hint| hint.words.contains(&"postcode"))
}

/// Returns true if a word of the path's last name means money.
pub(super) fn is_money(path: &str) -> bool {
    words(path).iter().any(|word| MONEY.contains(&word.as_str()))
}

/// Returns the words of the path's last name in lower case, and each two neighbours as one word.
fn words(path: &str) -> Vec<String> {
    // Values of a map and items of an array have the name of the field.
    let path = path.trim_end_matches("[]").trim_end_matches("{}").trim_end_matches("{key}");
    let name = path.rsplit(['.', '<']).next().unwrap_or(path);

    // A new word begins behind every other character, and at a capital letter behind a small one.
    let mut words: Vec<String> = vec![String::new()];
    let mut former_small = false;
    for letter in name.chars() {
        let begins = letter.is_ascii_uppercase() && former_small;
        if begins || !letter.is_ascii_alphanumeric() {
            words.push(String::new());
        }
        if let (true, Some(word)) = (letter.is_ascii_alphanumeric(), words.last_mut()) {
            word.push(letter.to_ascii_lowercase());
        }
        former_small = letter.is_ascii_lowercase();
    }
    words.retain(|word| !word.is_empty());

    let pairs: Vec<String> = words.windows(2).map(<[String]>::concat).collect();
    words.extend(pairs);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_word_by_word_in_every_spelling() {
        let tag = |path: &str| of_name(path).map(|hint| hint.tag);
        for path in
            ["postcode", "post_code", "postCode", "home.post-code", "addresses[].postcode", "PostCode"]
        {
            assert_eq!(tag(path), Some(QUASI), "{path}");
        }
        for path in ["email", "e_mail", "firstName", "customer_id", "comment[]"] {
            assert_eq!(tag(path), Some(PII), "{path}");
        }
        // A word inside another word is none.
        for path in ["shipped", "filename_extension2x", "platform", "costume"] {
            assert!(tag(path).is_none_or(str::is_empty) && !is_money(path), "{path}");
        }
        for path in ["price", "unitPrice", "total_amount", "order.vat", "amount_eur"] {
            assert!(is_money(path), "{path}");
        }
    }
}
