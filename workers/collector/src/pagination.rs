//! The way from one page to the next: a pure decision from the page's values and headers.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use crate::config::{RawPagination, RawPath};
use crate::link_header::{LinkError, next_link};
use crate::page::PagePath;
use crate::process::PartMark;

/// The pagination of one endpoint.
#[derive(Debug, Clone)]
pub(crate) struct EndpointPagination {
    kind: PaginationStyle,
    /// Paths in the page whose values decide: the token's first, then that of the boolean.
    wanted: Vec<PagePath>,
    /// Whether a token is among them.
    has_token: bool,
    /// Whether a boolean is among them, and its meaning.
    more: Option<MoreSign>,
    /// Path of the token in the last record.
    last_record: Option<PagePath>,
}

/// A path of the pagination that is none: its key and the reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PaginationError {
    pub(crate) key: &'static str,
    pub(crate) why: String,
}

/// The styles of pagination. [`RawPagination`] describes them.
#[derive(Debug, Clone)]
enum PaginationStyle {
    None,
    NextUrl,
    LinkHeader,
    Page { place: TokenPlace, first: u64 },
    Offset { place: TokenPlace, step: Option<u64> },
    Cursor { place: TokenPlace, source: CursorSource },
    TokenHeader { place: TokenPlace, header: String },
}

/// The place of a cursor in a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CursorSource {
    /// Beside the records.
    Page,
    /// In the last record.
    LastRecord,
}

/// The meaning of the boolean that tells whether more pages follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum MoreSign {
    /// True: more pages follow.
    More,
    /// True: this is the last page.
    Last,
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
    /// The token in the last record, at [`EndpointPagination::last_record`].
    pub(crate) last_value: Option<&'a str>,
    /// All `Link` headers.
    pub(crate) links: &'a [Vec<u8>],
    /// The response header at [`EndpointPagination::header`].
    pub(crate) header: Option<&'a [u8]>,
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

/// The paths of a pagination while it is made.
#[derive(Default)]
struct PaginationPaths {
    wanted: Vec<PagePath>,
    has_token: bool,
    more: Option<MoreSign>,
    last_record: Option<PagePath>,
    errors: Vec<PaginationError>,
}

impl PaginationPaths {
    /// Parses a path, or adds its error.
    fn parse(&mut self, key: &'static str, raw: &RawPath) -> Option<PagePath> {
        raw.parse().map_err(|why| self.errors.push(PaginationError { key, why })).ok()
    }

    /// Looks for a token.
    fn want_token(&mut self, raw: &RawPath, optional: bool) {
        let path = self.parse("at", raw);
        self.wanted.extend(path.map(|path| path.or_optional(optional)));
        self.has_token = true;
    }

    /// Looks for the boolean that tells whether more pages follow. `more_at` comes before `last_at`.
    fn want_sign(&mut self, more_at: &Option<RawPath>, last_at: &Option<RawPath>, optional: bool) {
        let (key, raw, sign) = match (more_at, last_at) {
            (Some(raw), _) => ("more_at", raw, MoreSign::More),
            (None, Some(raw)) => ("last_at", raw, MoreSign::Last),
            (None, None) => return,
        };
        let path = self.parse(key, raw);
        self.wanted.extend(path.map(|path| path.or_optional(optional)));
        self.more = Some(sign);
    }
}

impl EndpointPagination {
    /// Makes the pagination of an endpoint. If more than one token target is named, the body comes before the
    /// header, and the header before the query.
    ///
    /// # Errors
    /// Every path that is none.
    pub(crate) fn new(raw: &RawPagination) -> Result<Self, Vec<PaginationError>> {
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

        // The paths. Each is named by its key if it is none.
        let mut paths = PaginationPaths::default();

        // Style by style.
        let kind = match raw {
            RawPagination::None => PaginationStyle::None,
            RawPagination::NextUrl { at, more_at, last_at, optional } => {
                paths.want_token(at, *optional);
                paths.want_sign(more_at, last_at, *optional);
                PaginationStyle::NextUrl
            }
            RawPagination::LinkHeader {} => PaginationStyle::LinkHeader,
            RawPagination::Page { parameter, field, to_header, first, more_at, last_at, optional } => {
                paths.want_sign(more_at, last_at, *optional);
                PaginationStyle::Page { place: place("page", parameter, field, to_header), first: *first }
            }
            RawPagination::Offset { parameter, field, to_header, step, more_at, last_at, optional } => {
                paths.want_sign(more_at, last_at, *optional);
                PaginationStyle::Offset { place: place("offset", parameter, field, to_header), step: *step }
            }
            RawPagination::Cursor {
                at,
                last_record,
                parameter,
                field,
                to_header,
                more_at,
                last_at,
                optional,
            } => {
                let source = match (at, last_record) {
                    (Some(at), _) => {
                        paths.want_token(at, *optional);
                        CursorSource::Page
                    }
                    (None, Some(record)) => {
                        paths.last_record = paths.parse("last_record", record);
                        CursorSource::LastRecord
                    }
                    (None, None) => {
                        let why =
                            "expected `at` (a path in the page) or `last_record` (a path in its last record)";
                        paths.errors.push(PaginationError { key: "at", why: why.to_owned() });
                        CursorSource::Page
                    }
                };
                paths.want_sign(more_at, last_at, *optional);
                PaginationStyle::Cursor { place: place("cursor", parameter, field, to_header), source }
            }
            RawPagination::TokenHeader { header, parameter, field, to_header } => {
                PaginationStyle::TokenHeader {
                    place: place("cursor", parameter, field, to_header),
                    header: header.clone(),
                }
            }
        };
        let PaginationPaths { wanted, has_token, more, last_record, errors } = paths;
        match errors.is_empty() {
            true => Ok(Self { kind, wanted, has_token, more, last_record }),
            false => Err(errors),
        }
    }

    /// Returns the paths in the page whose values decide.
    pub(crate) fn wanted(&self) -> &[PagePath] {
        &self.wanted
    }

    /// Returns the path in the last record whose value decides.
    pub(crate) const fn last_record(&self) -> Option<&PagePath> {
        self.last_record.as_ref()
    }

    /// Tells whether the token of a next page is a URL.
    pub(crate) const fn follows_urls(&self) -> bool {
        matches!(self.kind, PaginationStyle::NextUrl | PaginationStyle::LinkHeader)
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
            PaginationStyle::None | PaginationStyle::NextUrl | PaginationStyle::LinkHeader => None,
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
            (PaginationStyle::NextUrl | PaginationStyle::LinkHeader, Some(url)) => PageSelector::Url(url),
            (PaginationStyle::Offset { place, .. }, Some(token)) => put(place, token.to_owned(), true),
            (
                PaginationStyle::Cursor { place, .. } | PaginationStyle::TokenHeader { place, .. },
                Some(token),
            ) => put(place, token.to_owned(), false),
        }
    }

    /// Decides how to go on after a page. A short page is not the end: APIs filter after they have cut pages. Where
    /// the API tells whether more follow, it is believed, also behind a page without records.
    pub(crate) fn next(&self, seen: &PaginationInput<'_>) -> NextPage {
        let token = seen.values.first().filter(|_| self.has_token).and_then(Option::as_deref);
        let more = match self.more(seen) {
            Ok(more) => more,
            Err(why) => return NextPage::Broken(why),
        };
        match &self.kind {
            PaginationStyle::None => NextPage::End,

            // The API names the next page, in the page or in a header.
            _ if more == Some(false) => NextPage::End,
            PaginationStyle::NextUrl | PaginationStyle::Cursor { source: CursorSource::Page, .. } => {
                match (token, more) {
                    // Some APIs send `false` where they mean null.
                    (None | Some("" | "false"), None | Some(false)) => NextPage::End,
                    (None | Some("" | "false"), Some(true)) => NextPage::Broken(
                        "the page tells that more follow: expected the token of the next page in it",
                    ),
                    (Some(token), _) => NextPage::Token(token.to_owned()),
                }
            }
            PaginationStyle::Cursor { source: CursorSource::LastRecord, .. } => match (seen.last_value, more)
            {
                (Some(token), _) if seen.records > 0 => NextPage::Token(token.to_owned()),
                (_, Some(true)) => NextPage::Broken(
                    "the page tells that more follow: expected a last record with the next token",
                ),
                (None, None | Some(false)) if seen.records > 0 => NextPage::Broken(
                    "the last record: expected the token of the next page in it (`last_record`)",
                ),
                _ => NextPage::End,
            },
            PaginationStyle::TokenHeader { .. } => match seen.header.map(std::str::from_utf8) {
                None => NextPage::End,
                Some(Ok(token)) => match token.trim() {
                    "" => NextPage::End,
                    token => NextPage::Token(token.to_owned()),
                },
                Some(Err(_)) => NextPage::Broken("the header with the next page's token: expected UTF-8"),
            },
            PaginationStyle::LinkHeader => {
                // A header that cannot be read is not the end of the pages.
                let found =
                    seen.links.iter().map(|link| next_link(link)).find(|next| !matches!(next, Ok(None)));
                match found {
                    None | Some(Ok(None)) => NextPage::End,
                    Some(Ok(Some(next))) => NextPage::Token(next),
                    Some(Err(LinkError)) => NextPage::Broken(
                        "the header `Link`: expected links as in RFC 8288, for example `</p?page=2>; rel=\"next\"`",
                    ),
                }
            }

            // We count, and the page only tells whether more follow.
            PaginationStyle::Page { first, .. } => count_on(seen, more, *first, |page| page.checked_add(1)),
            // The offset counts rejected records too, because the API counts them.
            PaginationStyle::Offset { step, .. } => {
                let step = step.unwrap_or(seen.records);
                if step == 0 && more == Some(true) {
                    return NextPage::Broken(
                        "a page without records tells that more follow: expected `pagination.step`, the number of \
                         records by which the offset grows",
                    );
                }
                count_on(seen, more, 0, |offset| offset.checked_add(step))
            }
        }
    }

    /// Returns what the page tells about more pages; `None` if it tells nothing.
    fn more(&self, seen: &PaginationInput<'_>) -> Result<Option<bool>, &'static str> {
        let Some(sign) = self.more else { return Ok(None) };
        let value = seen.values.get(usize::from(self.has_token)).and_then(Option::as_deref);
        let truth = match value {
            Some("true" | "1") => true,
            Some("false" | "0") => false,
            // A missing value tells nothing: the other signs of the end count.
            None => return Ok(None),
            Some(_) => return Err("the page's value at `more_at` or `last_at`: expected a boolean"),
        };
        Ok(Some(truth == (sign == MoreSign::More)))
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

/// Decides for tokens that we count ourselves. `more` is what the page tells; `first` is the number of the first page,
/// and `step` makes the next number.
fn count_on(
    seen: &PaginationInput<'_>,
    more: Option<bool>,
    first: u64,
    step: impl FnOnce(u64) -> Option<u64>,
) -> NextPage {
    // If the page does not tell, an empty page is the end.
    if !more.unwrap_or(seen.records > 0) {
        return NextPage::End;
    }
    match seen.token.map_or(Some(first), |token| token.parse().ok()).and_then(step) {
        Some(next) => NextPage::Token(next.to_string()),
        None => NextPage::Broken("the page token: expected a whole number below 2^64"),
    }
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
        EndpointPagination::new(&serde_json::from_value(json).unwrap()).unwrap()
    }

    fn seen<'a>(values: &'a [Option<String>], records: u64, token: Option<&'a str>) -> PaginationInput<'a> {
        PaginationInput { values, last_value: None, links: &[], header: None, records, token }
    }

    #[test]
    fn a_next_url_leads_on_until_there_is_none() {
        let pagination = pagination(json!({"kind": "next_url", "at": "meta.next"}));
        assert_eq!(pagination.wanted(), [PagePath::parse("meta.next").unwrap()]);
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
    fn what_the_page_tells_about_more_pages_is_believed() {
        let offset = pagination(json!({"kind": "offset", "more_at": "more"}));
        let more = |text: &str| [Some(text.to_owned())];
        assert_eq!(offset.next(&seen(&more("true"), 50, Some("100"))), NextPage::Token("150".into()));
        assert_eq!(offset.next(&seen(&more("false"), 50, None)), NextPage::End);
        assert_eq!(offset.next(&seen(&[None], 50, None)), NextPage::Token("50".into()), "it tells nothing");
        assert_eq!(offset.next(&seen(&[None], 0, None)), NextPage::End);
        assert!(matches!(offset.next(&seen(&more("maybe"), 1, None)), NextPage::Broken(_)));

        // A page that the API has filtered to nothing.
        assert!(matches!(offset.next(&seen(&more("true"), 0, Some("100"))), NextPage::Broken(_)));
        let stepping = pagination(json!({"kind": "offset", "more_at": "more", "step": 20}));
        assert_eq!(stepping.next(&seen(&more("true"), 0, Some("100"))), NextPage::Token("120".into()));
        let page = pagination(json!({"kind": "page", "more_at": "more"}));
        assert_eq!(page.next(&seen(&more("true"), 0, Some("2"))), NextPage::Token("3".into()));

        // The other way round, and beside a cursor that the last page has too.
        let last = pagination(json!({"kind": "page", "last_at": "isLast"}));
        assert_eq!(last.next(&seen(&more("true"), 5, None)), NextPage::End);
        assert_eq!(last.next(&seen(&more("false"), 0, None)), NextPage::Token("2".into()));
        let cursor = pagination(json!({"kind": "cursor", "at": "endCursor", "more_at": "hasNextPage"}));
        let values = |more: &str| [Some("c".to_owned()), Some(more.to_owned())];
        assert_eq!(cursor.next(&seen(&values("false"), 5, None)), NextPage::End);
        assert_eq!(cursor.next(&seen(&values("true"), 5, None)), NextPage::Token("c".into()));
        assert!(matches!(cursor.next(&seen(&[None, Some("true".into())], 5, None)), NextPage::Broken(_)));
    }

    #[test]
    fn a_cursor_is_in_the_last_record() {
        let pagination = pagination(json!({"kind": "cursor", "last_record": "id", "more_at": "has_more"}));
        let next = |more: &str, last_value, records| {
            let values = [Some(more.to_owned())];
            pagination.next(&PaginationInput {
                values: &values,
                last_value,
                links: &[],
                header: None,
                records,
                token: None,
            })
        };
        assert_eq!(next("true", Some("x_9"), 3), NextPage::Token("x_9".into()));
        assert_eq!(next("false", Some("x_9"), 3), NextPage::End);
        assert!(matches!(next("true", None, 3), NextPage::Broken(_)));
        assert!(
            matches!(next("true", Some("x_9"), 0), NextPage::Broken(_)),
            "it would be that of an earlier page"
        );
    }

    #[test]
    fn a_link_header_that_cannot_be_read_is_not_the_end() {
        let pagination = pagination(json!({"kind": "link_header"}));
        let next = |links: &[&str]| {
            let links: Vec<Vec<u8>> = links.iter().map(|link| link.as_bytes().to_vec()).collect();
            pagination.next(&PaginationInput {
                values: &[],
                last_value: None,
                links: &links,
                header: None,
                records: 1,
                token: None,
            })
        };
        assert_eq!(next(&["</p0>; rel=prev", "</p2>; rel=next"]), NextPage::Token("/p2".into()));
        assert_eq!(next(&["</p0>; rel=prev"]), NextPage::End);
        assert_eq!(next(&[]), NextPage::End);
        assert!(matches!(next(&["<broken"]), NextPage::Broken(_)));
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
            let header: Option<&str> = header;
            let header = header.map(str::as_bytes);
            pagination.next(&PaginationInput {
                values: &[],
                last_value: None,
                links: &[],
                header,
                records: 1,
                token: None,
            })
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
