//! One page of JSON, read as it arrives. Records are cut out of the stream one at a time, together with the
//! few values that lead to the next page. No value tree is built and no page is kept: memory holds one
//! record.
//!
//! ```text
//!  chunks ──► UTF-8 ──► grammar of the envelope ──┬─ on the way to a path ──► descend
//!                       (a stack of open          ├─ the records' array ────► each element: its bytes, whole
//!                        objects and arrays)      ├─ a wanted value ────────► kept as text
//!                                                 └─ anything else ─────────► walked over, not kept
//! ```
//!
//! The envelope is checked against the JSON grammar (RFC 8259) here. Inside a record only strings and
//! brackets are followed, to find its end. The caller that takes the record reads it as JSON.

mod cutter;
mod kept;
mod paths;

pub(crate) use cutter::{PageCutter, PageElement, PageValues};
pub(crate) use paths::{PagePath, PagePaths, PathError, PathSet};

/// The reason why a page does not match the configuration. It never quotes the page.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PageError {
    #[error("expected JSON, but byte {0} does not fit")]
    NotJson(u64),
    #[error("expected UTF-8, but a byte before byte {0} does not fit")]
    NotText(u64),
    #[error("the JSON ends too early, after {0} bytes")]
    Truncated(u64),
    #[error("expected at most {0} levels of nesting around the records")]
    TooDeep(usize),
    #[error("`{0}`: expected the key once, but it occurs twice")]
    Twice(String),
    #[error("`{0}`: expected an array or an object (`record_path`)")]
    NotRecords(String),
    #[error("the way to `{0}`: expected an object at every level")]
    NotObject(String),
    #[error("`{0}`: expected a short text, a number, a boolean or null")]
    NotToken(String),
    #[error("the first {0} records were published and have changed: expected the same ones again")]
    Changed(u64),
}
