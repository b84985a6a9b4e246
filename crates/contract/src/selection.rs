//! The contracts that a worker serves, chosen by patterns such as `shop/*`.

use crate::contract::Contract;
use crate::contracts::ContractSet;
use crate::finding::nearest;

/// Patterns of contracts, each `<domain>/<topic folder>`; `*` stands for any characters of one of the two names.
/// Without a pattern every contract is selected.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ContractSelection {
    patterns: Vec<String>,
}

/// A pattern that selects nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SelectionMistake {
    /// Place of the pattern in the list, from 0.
    pub index: usize,
    /// The mistake.
    pub message: String,
    /// The way to mend it.
    pub hint: String,
}

impl ContractSelection {
    /// Returns the selection of these patterns.
    pub fn new(patterns: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self { patterns: patterns.into_iter().map(Into::into).collect() }
    }

    /// Returns the patterns in order, each once: two lists that select the same by the same patterns are equal.
    pub fn patterns(&self) -> Vec<String> {
        let mut patterns = self.patterns.clone();
        patterns.sort();
        patterns.dedup();
        patterns
    }

    /// Tells whether the contract is selected.
    pub fn covers(&self, contract: &Contract) -> bool {
        let name = contract.folder_name();
        self.patterns.is_empty() || self.patterns.iter().any(|pattern| covers_name(pattern, &name))
    }

    /// Returns a mistake for each pattern that selects no contract.
    pub fn check(&self, contracts: &ContractSet) -> Vec<SelectionMistake> {
        let names: Vec<String> = contracts.iter().map(Contract::folder_name).collect();
        let unmatched = self
            .patterns
            .iter()
            .enumerate()
            .filter(|(_, pattern)| !names.iter().any(|name| covers_name(pattern, name)));
        unmatched
            .map(|(index, pattern)| SelectionMistake {
                index,
                message: format!("`{pattern}` is no contract's <domain>/<topic folder>"),
                hint: hint_for(pattern, contracts, &names),
            })
            .collect()
    }
}

/// Returns the hint for a pattern that selects nothing.
fn hint_for(pattern: &str, contracts: &ContractSet, names: &[String]) -> String {
    // A domain without a slash, or a contract's id, is a likely slip.
    if contracts.iter().any(|contract| contract.domain == pattern) {
        return format!("did you mean `{pattern}/*`?");
    }
    if let Some(contract) = contracts.iter().find(|contract| contract.id == pattern) {
        return format!("did you mean `{}`?", contract.folder_name());
    }

    // A slip of the pen, in a whole name or in the domain before `/*`.
    let domains: Vec<String> = contracts.iter().map(|contract| format!("{}/*", contract.domain)).collect();
    let known = names.iter().chain(&domains).map(String::as_str);
    match nearest(pattern, known) {
        Some(name) => format!("did you mean `{name}`?"),
        None => format!("the contracts are {}", listed(names)),
    }
}

/// Returns the first names of a list, and the number of the others.
fn listed(names: &[String]) -> String {
    const SHOWN: usize = 8;
    let shown = names.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// Tells whether a pattern covers `<domain>/<topic folder>`.
fn covers_name(pattern: &str, name: &str) -> bool {
    match (pattern.split_once('/'), name.split_once('/')) {
        (Some((domain, topic)), Some((domain_name, topic_name))) => {
            covers_word(domain, domain_name) && covers_word(topic, topic_name)
        }
        // A folder without a parent has no domain.
        (None, None) => covers_word(pattern, name),
        (Some(_), None) | (None, Some(_)) => false,
    }
}

/// Tells whether a pattern covers one name; `*` stands for any characters.
fn covers_word(pattern: &str, word: &str) -> bool {
    let Some((before, after)) = pattern.split_once('*') else { return pattern == word };
    let Some(rest) = word.strip_prefix(before) else { return false };
    // The star takes as many characters as the rest of the pattern needs.
    rest.char_indices().map(|(at, _)| at).chain([rest.len()]).any(|at| covers_word(after, &rest[at..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stays_within_one_name() {
        for (pattern, name, covered) in [
            ("shop/order", "shop/order", true),
            ("shop/*", "shop/order", true),
            ("*/order", "shop/order", true),
            ("s*p/o*r", "shop/order", true),
            ("*/*", "shop/order", true),
            ("shop", "shop/order", false),
            ("*", "shop/order", false),
            ("shop/ord", "shop/order", false),
            ("shop/*s", "shop/order", false),
            ("SHOP/*", "shop/order", false),
        ] {
            assert_eq!(covers_name(pattern, name), covered, "{pattern}");
        }
    }

    #[test]
    fn two_lists_of_the_same_patterns_are_the_same_selection() {
        let selection = |patterns: &[&str]| ContractSelection::new(patterns.iter().copied()).patterns();
        assert_eq!(selection(&["b/*", "a/*", "b/*"]), selection(&["a/*", "b/*"]));
    }
}
