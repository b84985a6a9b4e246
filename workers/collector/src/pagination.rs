//! The way from one page to the next: a pure decision from the page's values and headers.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use crate::config::RawPagination;
use crate::process::PartMark;

/// The pagination of one endpoint.
#[derive(Debug, Clone)]
pub(crate) struct EndpointPagination {
    kind: PaginationStyle,
}

/// The styles of pagination. [`RawPagination`] describes them.
#[derive(Debug, Clone)]
enum PaginationStyle {
    None,
    NextUrl { at: String },
    LinkHeader,
    Page { place: TokenPlace, first: u64, more_at: Option<String> },
    Offset { place: TokenPlace, more_at: Option<String> },
    Cursor { place: TokenPlace, at: String },
    TokenHeader { place: TokenPlace, header: String },
}

/// The token target: the part of a request that takes the page token.
#[derive(Debug, Clone)]
pub(crate) enum TokenPlace {
    /// A query parameter.
    Query(String),
    /// A dotted path in the POST body.
    Field(String),
    /// A request header.
    Header(String),
}

/// The part of a request that changes from page to page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PageSelector<'t> {
    /// The endpoint's path as it is.
    Plain,
    /// The path and a query parameter.
    Query(&'t str, String),
    /// A field of the POST body, by its dotted path.
    Field(&'t str, serde_json::Value),
    /// A request header.
    Header(&'t str, String),
    /// A URL that the API gave. It may be relative to the last one.
    Url(&'t str),
}

/// The facts about a page on which the pagination decides.
pub(crate) struct PaginationInput<'a> {
    /// The values at [`EndpointPagination::wanted`], in that order.
    pub(crate) values: &'a [Option<String>],
    /// All `Link` headers.
    pub(crate) links: &'a [String],
    /// The response header at [`EndpointPagination::header`].
    pub(crate) header: Option<&'a str>,
    /// The number of records in the page, rejected ones included.
    pub(crate) records: u64,
    /// The page token with which this page was requested.
    pub(crate) token: Option<&'a str>,
}

/// The pagination's decision after a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NextPage {
    /// This was the last page.
    End,
    /// The next page has this token.
    Token(String),
    /// A value of the page cannot be understood, for this reason.
    Broken(&'static str),
}

/// Remembers, by hash, the tokens of all pages of an id, and the last page's content.
#[derive(Debug, Default)]
pub(crate) struct LoopGuard {
    tokens: HashSet<u64>,
    last_page: Option<PartMark>,
}

impl EndpointPagination {
    /// Makes the pagination of an endpoint. If more than one token target is named, the body comes before the
    /// header, and the header before the query.
    pub(crate) fn new(raw: &RawPagination) -> Self {
        // The token target. Without any the token goes into the usual query parameter.
        let place = |usual: &str,
                     parameter: &Option<String>,
                     field: &Option<String>,
                     header: &Option<String>| {
            match (field, header) {
                (Some(field), _) => TokenPlace::Field(field.clone()),
                (None, Some(header)) => TokenPlace::Header(header.clone()),
                (None, None) => TokenPlace::Query(parameter.clone().unwrap_or_else(|| usual.to_owned())),
            }
        };

        // Style by style.
        let kind = match raw {
            RawPagination::None => PaginationStyle::None,
            RawPagination::NextUrl { at } => PaginationStyle::NextUrl { at: at.clone() },
            RawPagination::LinkHeader {} => PaginationStyle::LinkHeader,
            RawPagination::Page { parameter, field, to_header, first, more_at } => PaginationStyle::Page {
                place: place("page", parameter, field, to_header),
                first: *first,
                more_at: more_at.clone(),
            },
            RawPagination::Offset { parameter, field, to_header, more_at } => PaginationStyle::Offset {
                place: place("offset", parameter, field, to_header),
                more_at: more_at.clone(),
            },
            RawPagination::Cursor { at, parameter, field, to_header } => PaginationStyle::Cursor {
                place: place("cursor", parameter, field, to_header),
                at: at.clone(),
            },
            RawPagination::TokenHeader { header, parameter, field, to_header } => {
                PaginationStyle::TokenHeader {
                    place: place("cursor", parameter, field, to_header),
                    header: header.clone(),
                }
            }
        };
        Self { kind }
    }

    /// Returns the paths in the page whose values decide.
    pub(crate) fn wanted(&self) -> Vec<&str> {
        match &self.kind {
            PaginationStyle::None | PaginationStyle::LinkHeader | PaginationStyle::TokenHeader { .. } => {
                Vec::new()
            }
            PaginationStyle::NextUrl { at } | PaginationStyle::Cursor { at, .. } => vec![at],
            PaginationStyle::Page { more_at, .. } | PaginationStyle::Offset { more_at, .. } => {
                more_at.as_deref().into_iter().collect()
            }
        }
    }

    /// Returns the response header whose value decides.
    pub(crate) fn header(&self) -> Option<&str> {
        match &self.kind {
            PaginationStyle::TokenHeader { header, .. } => Some(header),
            _ => None,
        }
    }

    /// Returns the token target. `None`: the pagination follows URLs, or there is only one page.
    pub(crate) fn place(&self) -> Option<&TokenPlace> {
        match &self.kind {
            PaginationStyle::Page { place, .. }
            | PaginationStyle::Offset { place, .. }
            | PaginationStyle::Cursor { place, .. }
            | PaginationStyle::TokenHeader { place, .. } => Some(place),
            PaginationStyle::None | PaginationStyle::NextUrl { .. } | PaginationStyle::LinkHeader => None,
        }
    }

    /// Returns the selector of the page with this token; `None` is the first page.
    pub(crate) fn ask<'t>(&'t self, token: Option<&'t str>) -> PageSelector<'t> {
        match (&self.kind, token) {
            // Numbered pages have a number from the first page on.
            (PaginationStyle::Page { place, first, .. }, token) => {
                put(place, token.map_or_else(|| first.to_string(), str::to_owned), true)
            }
            (_, None) | (PaginationStyle::None, _) => PageSelector::Plain,
            (PaginationStyle::NextUrl { .. } | PaginationStyle::LinkHeader, Some(url)) => {
                PageSelector::Url(url)
            }
            (PaginationStyle::Offset { place, .. }, Some(token)) => put(place, token.to_owned(), true),
            (
                PaginationStyle::Cursor { place, .. } | PaginationStyle::TokenHeader { place, .. },
                Some(token),
            ) => put(place, token.to_owned(), false),
        }
    }

    /// Decides how to go on after a page. A short page is not the end: APIs filter after they have cut pages.
    pub(crate) fn next(&self, seen: &PaginationInput<'_>) -> NextPage {
        let value = seen.values.first().and_then(Option::as_deref);
        match &self.kind {
            PaginationStyle::None => NextPage::End,

            // The API names the next page, in the page or in a header.
            PaginationStyle::NextUrl { .. } | PaginationStyle::Cursor { .. } => match value {
                // Some APIs send `false` where they mean null.
                None | Some("" | "false") => NextPage::End,
                Some(token) => NextPage::Token(token.to_owned()),
            },
            PaginationStyle::TokenHeader { .. } => match seen.header.map(str::trim) {
                None | Some("") => NextPage::End,
                Some(token) => NextPage::Token(token.to_owned()),
            },
            PaginationStyle::LinkHeader => {
                seen.links.iter().find_map(|link| next_link(link)).map_or(NextPage::End, NextPage::Token)
            }

            // We count, and the page only tells whether more follow.
            PaginationStyle::Page { first, more_at, .. } => {
                count_on(seen, value, more_at.is_some(), *first, |page| page.checked_add(1))
            }
            // The offset counts rejected records too, because the API counts them.
            PaginationStyle::Offset { more_at, .. } => {
                count_on(seen, value, more_at.is_some(), 0, |offset| offset.checked_add(seen.records))
            }
        }
    }

    /// Tells whether we count the tokens ourselves. Such tokens never repeat, but the API's answers may.
    pub(crate) const fn counts(&self) -> bool {
        matches!(self.kind, PaginationStyle::Page { .. } | PaginationStyle::Offset { .. })
    }
}

/// Puts the page token into its target. `number`: a body takes the token as a JSON number if it is one.
fn put(place: &TokenPlace, token: String, number: bool) -> PageSelector<'_> {
    match place {
        TokenPlace::Field(field) => {
            let value = token.parse::<u64>().ok().filter(|_| number);
            PageSelector::Field(field, value.map_or_else(|| token.into(), Into::into))
        }
        TokenPlace::Header(header) => PageSelector::Header(header, token),
        TokenPlace::Query(parameter) => PageSelector::Query(parameter, token),
    }
}

/// Decides for tokens that we count ourselves. `more` is the value at `more_at` if `has_more_at`; `first` is
/// the number of the first page, and `step` makes the next number.
fn count_on(
    seen: &PaginationInput<'_>,
    more: Option<&str>,
    has_more_at: bool,
    first: u64,
    step: impl FnOnce(u64) -> Option<u64>,
) -> NextPage {
    // Without a `more_at` only an empty page is the end. With one a missing value means false.
    let more = match (has_more_at, more) {
        (true, Some("true" | "1")) => true,
        (true, Some("false" | "0") | None) => false,
        (true, Some(_)) => return NextPage::Broken("the page's value at `more_at`: expected a boolean"),
        (false, _) => true,
    };
    if !more || seen.records == 0 {
        return NextPage::End;
    }
    match seen.token.map_or(Some(first), |token| token.parse().ok()).and_then(step) {
        Some(next) => NextPage::Token(next.to_string()),
        None => NextPage::Broken("the page token: expected a whole number below 2^64"),
    }
}

/// Returns the target of `rel="next"` in one `Link` header (RFC 8288).
fn next_link(header: &str) -> Option<String> {
    let mut rest = header;
    while let Some((_, after)) = rest.split_once('<') {
        let (target, behind) = after.split_once('>')?;
        // The parameters end at the next `<`. A comma is no end: targets may hold commas, inside the
        // brackets.
        let parameters = behind.split('<').next().unwrap_or(behind);
        let is_next = parameters.split(';').any(|parameter| {
            let Some((name, value)) = parameter.split_once('=') else { return false };
            let value = value.trim().trim_end_matches(',').trim().trim_matches('"');
            // A link may have several relations, for example `rel="last next"`.
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
    /// Notes a page token, and tells whether it was used before.
    pub(crate) fn repeats_token(&mut self, token: &str) -> bool {
        !self.tokens.insert(hash(token.as_bytes()))
    }

    /// Notes a page, and tells whether it holds the same records as the one before. An API that repeats a
    /// full last page for ever looks like that, whatever it puts around the records.
    pub(crate) fn repeats_page(&mut self, page: &PartMark) -> bool {
        // Empty pages are all alike and lead on by their tokens.
        page.records > 0 && self.last_page.replace(page.clone()).as_ref() == Some(page)
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
    use serde_json::json;

    fn pagination(json: serde_json::Value) -> EndpointPagination {
        EndpointPagination::new(&serde_json::from_value(json).unwrap())
    }

    fn seen<'a>(values: &'a [Option<String>], records: u64, token: Option<&'a str>) -> PaginationInput<'a> {
        PaginationInput { values, links: &[], header: None, records, token }
    }

    #[test]
    fn a_next_url_leads_on_until_there_is_none() {
        let pagination = pagination(json!({"kind": "next_url", "at": "meta.next"}));
        assert_eq!(pagination.wanted(), ["meta.next"]);
        assert_eq!(pagination.ask(None), PageSelector::Plain);
        let next = pagination.next(&seen(&[Some("/p?2".into())], 1, None));
        assert_eq!(next, NextPage::Token("/p?2".into()));
        assert_eq!(pagination.ask(Some("/p?2")), PageSelector::Url("/p?2"));
        for end in [None, Some(String::new())] {
            assert_eq!(pagination.next(&seen(&[end], 5, None)), NextPage::End);
        }
        // An empty page with a next one is not the end.
        assert_eq!(pagination.next(&seen(&[Some("x".into())], 0, None)), NextPage::Token("x".into()));
    }

    #[test]
    fn page_numbers_end_with_an_empty_page_not_a_short_one() {
        let pagination = pagination(json!({"kind": "page"}));
        assert_eq!(pagination.ask(None), PageSelector::Query("page", "1".into()));
        assert_eq!(pagination.next(&seen(&[], 3, None)), NextPage::Token("2".into()));
        assert_eq!(pagination.next(&seen(&[], 1, Some("7"))), NextPage::Token("8".into()));
        assert_eq!(pagination.next(&seen(&[], 0, Some("8"))), NextPage::End);
        assert!(matches!(pagination.next(&seen(&[], 1, Some("x"))), NextPage::Broken(_)));
    }

    #[test]
    fn has_more_is_believed_when_false() {
        let pagination = pagination(json!({"kind": "offset", "more_at": "more"}));
        assert_eq!(
            pagination.next(&seen(&[Some("true".into())], 50, Some("100"))),
            NextPage::Token("150".into())
        );
        assert_eq!(pagination.next(&seen(&[Some("false".into())], 50, None)), NextPage::End);
        assert_eq!(pagination.next(&seen(&[None], 50, None)), NextPage::End);
    }

    #[test]
    fn link_headers() {
        let pagination = pagination(json!({"kind": "link_header"}));
        let next = |link: &str| {
            let links = [link.to_owned()];
            pagination.next(&PaginationInput {
                values: &[],
                links: &links,
                header: None,
                records: 1,
                token: None,
            })
        };
        let both = r#"<https://h/a,b?p=1>; rel="prev", <https://h/a,b?p=3>; title="x"; rel="last next""#;
        assert_eq!(next(both), NextPage::Token("https://h/a,b?p=3".into()));
        assert_eq!(next("</p2>; rel=next"), NextPage::Token("/p2".into()));
        assert_eq!(next(r#"</p2>; rel="prev""#), NextPage::End);
        assert_eq!(next("<broken"), NextPage::End);
    }

    #[test]
    fn tokens_go_where_the_api_wants_them() {
        let cursor = |place: serde_json::Value| {
            let mut json = json!({"kind": "cursor", "at": "next"});
            json.as_object_mut().unwrap().extend(place.as_object().unwrap().clone());
            pagination(json)
        };
        assert_eq!(cursor(json!({})).ask(Some("7")), PageSelector::Query("cursor", "7".into()));
        assert_eq!(
            cursor(json!({"parameter": "after"})).ask(Some("7")),
            PageSelector::Query("after", "7".into())
        );
        let field = cursor(json!({"field": "page.after"}));
        assert_eq!(field.ask(Some("7")), PageSelector::Field("page.after", "7".into()));
        let header = cursor(json!({"to_header": "x-after"}));
        assert_eq!(header.ask(Some("7")), PageSelector::Header("x-after", "7".into()));
        let offset = pagination(json!({"kind": "offset", "field": "from"}));
        assert_eq!(offset.ask(Some("50")), PageSelector::Field("from", 50.into()));
        let pagination = pagination(json!({"kind": "token_header", "header": "x-next"}));
        let next = |header| {
            pagination.next(&PaginationInput { values: &[], links: &[], header, records: 1, token: None })
        };
        assert_eq!(
            (next(Some("t")), next(Some("")), next(None)),
            (NextPage::Token("t".into()), NextPage::End, NextPage::End)
        );
    }

    #[test]
    fn loops_are_seen() {
        let mut guard = LoopGuard::default();
        assert!(!guard.repeats_token("a") && !guard.repeats_token("b") && guard.repeats_token("a"));
        let page = |records, hash: &str| PartMark { records, hash: hash.into() };
        let mut repeats = |records, hash| guard.repeats_page(&page(records, hash));
        assert!(!repeats(1, "a") && !repeats(1, "b") && repeats(1, "b"));
        assert!(!repeats(0, "") && !repeats(0, ""), "empty pages are all alike");
    }
}
