//! From one page to the next: a pure decision on what the page and its headers held.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use crate::config::RawPagination;

/// How pages follow one another.
#[derive(Debug, Clone)]
pub(crate) struct Pagination {
    kind: RawPagination,
}

/// What of a request changes from page to page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ask<'t> {
    /// The endpoint's path as it is.
    Plain,
    /// The path and a query parameter.
    Query(&'t str, String),
    /// A URL that the API gave; may be relative to the last one.
    Url(&'t str),
}

/// What there is to decide on.
pub(crate) struct Seen<'a> {
    /// Values at [`Pagination::wanted`], in that order.
    pub(crate) values: &'a [Option<String>],
    /// All `Link` headers.
    pub(crate) links: &'a [String],
    /// Records in the page, rejected ones too.
    pub(crate) records: u64,
    /// The token that asked for this page.
    pub(crate) token: Option<&'a str>,
}

/// Where it goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Next {
    /// That was the last page.
    End,
    /// With this token.
    Token(String),
    /// A token cannot be read.
    Broken(&'static str),
}

/// Remembers, by hash, everything an id's pages were asked with, and the last page's content.
#[derive(Debug, Default)]
pub(crate) struct LoopGuard {
    tokens: HashSet<u64>,
    last_page: Option<u64>,
}

impl Pagination {
    pub(crate) fn new(kind: &RawPagination) -> Self {
        Self { kind: kind.clone() }
    }

    /// Paths in the page whose values decide.
    pub(crate) fn wanted(&self) -> Vec<&str> {
        match &self.kind {
            RawPagination::None | RawPagination::LinkHeader {} => Vec::new(),
            RawPagination::NextUrl { at } | RawPagination::Cursor { at, .. } => vec![at],
            RawPagination::Page { more_at, .. } | RawPagination::Offset { more_at, .. } => {
                more_at.as_deref().into_iter().collect()
            }
        }
    }

    /// What to ask for with a token; `None` is the first page.
    pub(crate) fn ask<'t>(&'t self, token: Option<&'t str>) -> Ask<'t> {
        match (&self.kind, token) {
            (RawPagination::Page { parameter, first, .. }, token) => {
                Ask::Query(parameter, token.map_or_else(|| first.to_string(), str::to_owned))
            }
            (_, None) | (RawPagination::None, _) => Ask::Plain,
            (RawPagination::NextUrl { .. } | RawPagination::LinkHeader {}, Some(url)) => Ask::Url(url),
            (
                RawPagination::Offset { parameter, .. } | RawPagination::Cursor { parameter, .. },
                Some(token),
            ) => Ask::Query(parameter, token.to_owned()),
        }
    }

    /// Where it goes on after a page. A short page is not taken for the end: APIs filter after they cut pages.
    pub(crate) fn next(&self, seen: &Seen<'_>) -> Next {
        let value = seen.values.first().and_then(Option::as_deref);
        match &self.kind {
            RawPagination::None => Next::End,
            RawPagination::NextUrl { .. } | RawPagination::Cursor { .. } => match value {
                // Some APIs say `false` or `0` where they mean nothing.
                None | Some("" | "false") => Next::End,
                Some(token) => Next::Token(token.to_owned()),
            },
            RawPagination::LinkHeader {} => {
                seen.links.iter().find_map(|link| next_link(link)).map_or(Next::End, Next::Token)
            }
            RawPagination::Page { first, more_at, .. } => {
                counted(seen, value, more_at.is_some(), *first, |page| page.checked_add(1))
            }
            RawPagination::Offset { more_at, .. } => {
                counted(seen, value, more_at.is_some(), 0, |offset| offset.checked_add(seen.records))
            }
        }
    }

    /// Do tokens come from the API? Those that we count ourselves never repeat, the API's answers may.
    pub(crate) const fn counts(&self) -> bool {
        matches!(self.kind, RawPagination::Page { .. } | RawPagination::Offset { .. })
    }
}

fn counted(
    seen: &Seen<'_>,
    more: Option<&str>,
    says: bool,
    first: u64,
    step: impl FnOnce(u64) -> Option<u64>,
) -> Next {
    let more = match (says, more) {
        (true, Some("true" | "1")) => true,
        (true, Some("false" | "0") | None) => false,
        (true, Some(_)) => return Next::Broken("`more_at` is not a boolean"),
        (false, _) => true,
    };
    if !more || seen.records == 0 {
        return Next::End;
    }
    match seen.token.map_or(Some(first), |token| token.parse().ok()).and_then(step) {
        Some(next) => Next::Token(next.to_string()),
        None => Next::Broken("the page number is not a number"),
    }
}

/// The target of `rel="next"` in one `Link` header (RFC 8288).
fn next_link(header: &str) -> Option<String> {
    let mut rest = header;
    while let Some((_, after)) = rest.split_once('<') {
        let (target, behind) = after.split_once('>')?;
        // Parameters go on to the next `<` that follows a comma; targets with commas are inside the brackets.
        let parameters = behind.split('<').next().unwrap_or(behind);
        let is_next = parameters.split(';').any(|parameter| {
            let Some((name, value)) = parameter.split_once('=') else { return false };
            let value = value.trim().trim_end_matches(',').trim().trim_matches('"');
            name.trim().eq_ignore_ascii_case("rel")
                && value.split_ascii_whitespace().any(|rel| rel.eq_ignore_ascii_case("next"))
        });
        if is_next {
            return Some(target.trim().to_owned());
        }
        rest = behind;
    }
    None
}

impl LoopGuard {
    /// Has this token been used before?
    pub(crate) fn repeats_token(&mut self, token: &str) -> bool {
        !self.tokens.insert(hash(token.as_bytes()))
    }

    /// Is this page, byte for byte, the one before? A full last page that repeats for ever looks like that.
    pub(crate) fn repeats_page(&mut self, body: &[u8]) -> bool {
        let now = hash(body);
        self.last_page.replace(now) == Some(now)
    }
}

fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen<'a>(values: &'a [Option<String>], records: u64, token: Option<&'a str>) -> Seen<'a> {
        Seen { values, links: &[], records, token }
    }

    #[test]
    fn a_next_url_leads_on_until_there_is_none() {
        let pagination = Pagination::new(&RawPagination::NextUrl { at: "meta.next".into() });
        assert_eq!(pagination.wanted(), ["meta.next"]);
        assert_eq!(pagination.ask(None), Ask::Plain);
        let next = pagination.next(&seen(&[Some("/p?2".into())], 1, None));
        assert_eq!(next, Next::Token("/p?2".into()));
        assert_eq!(pagination.ask(Some("/p?2")), Ask::Url("/p?2"));
        for end in [None, Some(String::new())] {
            assert_eq!(pagination.next(&seen(&[end], 5, None)), Next::End);
        }
        // An empty page with a next one is not the end.
        assert_eq!(pagination.next(&seen(&[Some("x".into())], 0, None)), Next::Token("x".into()));
    }

    #[test]
    fn page_numbers_end_with_an_empty_page_not_a_short_one() {
        let kind = RawPagination::Page { parameter: "page".into(), first: 1, more_at: None };
        let pagination = Pagination::new(&kind);
        assert_eq!(pagination.ask(None), Ask::Query("page", "1".into()));
        assert_eq!(pagination.next(&seen(&[], 3, None)), Next::Token("2".into()));
        assert_eq!(pagination.next(&seen(&[], 1, Some("7"))), Next::Token("8".into()));
        assert_eq!(pagination.next(&seen(&[], 0, Some("8"))), Next::End);
        assert!(matches!(pagination.next(&seen(&[], 1, Some("x"))), Next::Broken(_)));
    }

    #[test]
    fn has_more_is_believed_when_false() {
        let kind = RawPagination::Offset { parameter: "offset".into(), more_at: Some("more".into()) };
        let pagination = Pagination::new(&kind);
        assert_eq!(
            pagination.next(&seen(&[Some("true".into())], 50, Some("100"))),
            Next::Token("150".into())
        );
        assert_eq!(pagination.next(&seen(&[Some("false".into())], 50, None)), Next::End);
        assert_eq!(pagination.next(&seen(&[None], 50, None)), Next::End);
    }

    #[test]
    fn link_headers() {
        let pagination = Pagination::new(&RawPagination::LinkHeader {});
        let next = |link: &str| {
            let links = [link.to_owned()];
            pagination.next(&Seen { values: &[], links: &links, records: 1, token: None })
        };
        let both = r#"<https://h/a,b?p=1>; rel="prev", <https://h/a,b?p=3>; title="x"; rel="last next""#;
        assert_eq!(next(both), Next::Token("https://h/a,b?p=3".into()));
        assert_eq!(next("</p2>; rel=next"), Next::Token("/p2".into()));
        assert_eq!(next(r#"</p2>; rel="prev""#), Next::End);
        assert_eq!(next("<broken"), Next::End);
    }

    #[test]
    fn loops_are_seen() {
        let mut guard = LoopGuard::default();
        assert!(!guard.repeats_token("a") && !guard.repeats_token("b") && guard.repeats_token("a"));
        assert!(!guard.repeats_page(b"[1]") && !guard.repeats_page(b"[2]") && guard.repeats_page(b"[2]"));
    }
}
