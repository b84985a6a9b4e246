//! The way from one page to the next, as an operator writes it.

use schemars::JsonSchema;
use serde::Deserialize;

use super::RawPath;

/// The way from one page to the next.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum RawPagination {
    /// There is only one page.
    #[default]
    None,
    /// The page holds the URL of the next one. If it is null, empty or missing, the page is the last. A relative URL
    /// is resolved against that of the page.
    NextUrl {
        /// Path to the URL in the page, for example `meta.next` or `'@odata.nextLink'`.
        at: RawPath,
        /// Path to a boolean in the page that tells whether more pages follow, for example `meta.has_more`. It is
        /// believed, also on a page without records.
        #[serde(default)]
        more_at: Option<RawPath>,
        /// Or the path to a boolean that is true on the last page, for example `isLast`.
        #[serde(default)]
        last_at: Option<RawPath>,
        /// True if a run in which no page has these paths is no mistake.
        #[serde(default)]
        optional: bool,
    },
    /// The `Link` header holds the URL of the next page (RFC 8288, rel="next").
    LinkHeader {},
    /// Pages are numbered. The first page without records is the last, unless the page tells whether more follow.
    Page {
        /// Query parameter that takes the number; `page` by default.
        #[serde(default)]
        parameter: Option<String>,
        /// Or the path in the POST body that takes it, for example `page.after`.
        #[serde(default)]
        field: Option<String>,
        /// Or the request header that takes it.
        #[serde(default)]
        to_header: Option<String>,
        /// Number of the first page; 1 by default.
        #[serde(default = "one")]
        first: u64,
        /// Path to a boolean in the page that tells whether more pages follow, for example `meta.has_more`. It is
        /// believed, also on a page without records.
        #[serde(default)]
        more_at: Option<RawPath>,
        /// Or the path to a boolean that is true on the last page, for example `isLast`.
        #[serde(default)]
        last_at: Option<RawPath>,
        /// True if a run in which no page has these paths is no mistake.
        #[serde(default)]
        optional: bool,
    },
    /// Pages begin at a number of records. The first page without records is the last, unless the page tells whether
    /// more follow.
    Offset {
        /// Query parameter that takes the number of records; `offset` by default.
        #[serde(default)]
        parameter: Option<String>,
        /// Or the path in the POST body that takes it, for example `page.after`.
        #[serde(default)]
        field: Option<String>,
        /// Or the request header that takes it.
        #[serde(default)]
        to_header: Option<String>,
        /// Number by which the offset grows; the number of the page's records by default. An API whose pages are cut
        /// before they are filtered needs it.
        #[serde(default)]
        step: Option<u64>,
        /// Path to a boolean in the page that tells whether more pages follow, for example `meta.has_more`. It is
        /// believed, also on a page without records.
        #[serde(default)]
        more_at: Option<RawPath>,
        /// Or the path to a boolean that is true on the last page, for example `isLast`.
        #[serde(default)]
        last_at: Option<RawPath>,
        /// True if a run in which no page has these paths is no mistake.
        #[serde(default)]
        optional: bool,
    },
    /// The page holds a token for the next one. If it is null, empty or missing, the page is the last.
    Cursor {
        /// Path to the token in the page, for example `meta.cursor`.
        #[serde(default)]
        at: Option<RawPath>,
        /// Or the path to it in the page's last record, for example `id`. Such an API also tells whether more pages
        /// follow.
        #[serde(default)]
        last_record: Option<RawPath>,
        /// Query parameter that takes the token; `cursor` by default.
        #[serde(default)]
        parameter: Option<String>,
        /// Or the path in the POST body that takes it, for example `page.after`.
        #[serde(default)]
        field: Option<String>,
        /// Or the request header that takes it.
        #[serde(default)]
        to_header: Option<String>,
        /// Path to a boolean in the page that tells whether more pages follow, for example `meta.has_more`. It is
        /// believed, also on a page without records.
        #[serde(default)]
        more_at: Option<RawPath>,
        /// Or the path to a boolean that is true on the last page, for example `isLast`.
        #[serde(default)]
        last_at: Option<RawPath>,
        /// True if a run in which no page has these paths is no mistake.
        #[serde(default)]
        optional: bool,
    },
    /// A response header holds a token for the next page. If it is empty or missing, the page is the last.
    TokenHeader {
        /// Name of the response header.
        header: String,
        /// Query parameter that takes the token; `cursor` by default.
        #[serde(default)]
        parameter: Option<String>,
        /// Or the path in the POST body that takes it, for example `page.after`.
        #[serde(default)]
        field: Option<String>,
        /// Or the request header that takes it.
        #[serde(default)]
        to_header: Option<String>,
    },
}

const fn one() -> u64 {
    1
}
