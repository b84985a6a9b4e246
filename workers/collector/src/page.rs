//! One page of JSON, read as it arrives: records are cut out of the stream one at a time, together with the few values
//! that lead to the next page. No value tree is built and no page is kept; memory holds one record.
//!
//! ```text
//!  chunks ──► UTF-8 ──► grammar of the envelope ──┬─ on the way to a path ──► descend
//!                       (a stack of open          ├─ the records' array ────► each element: its bytes, whole
//!                        objects and arrays)      ├─ a wanted value ────────► kept as text
//!                                                 └─ anything else ─────────► walked over, not kept
//! ```
//!
//! The envelope is checked against the JSON grammar (RFC 8259) here. Inside a record only strings and brackets are
//! followed, to find its end; whoever takes the record reads it as JSON.

mod cutter;
mod kept;
mod paths;

pub(crate) use cutter::{PageCutter, PageElement};
pub(crate) use paths::{PagePaths, PathError};

/// A page that is not what the configuration says. Never quotes the page.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PageError {
    #[error("not JSON (at byte {0})")]
    NotJson(u64),
    #[error("not UTF-8 (before byte {0})")]
    NotText(u64),
    #[error("JSON that ends too early (after {0} bytes)")]
    Truncated(u64),
    #[error("nested more than {0} levels deep around its records")]
    TooDeep(usize),
    #[error("without `{0}`")]
    Missing(String),
    #[error("wrong at `{0}`: a key stands there twice")]
    Twice(String),
    #[error("wrong at `{0}`: neither an array nor an object")]
    NotRecords(String),
    #[error("wrong on the way to `{0}`: not an object")]
    NotObject(String),
    #[error("wrong at `{0}`: neither a short text, nor a number, a boolean or null")]
    NotToken(String),
    #[error("not the same as before: the first {0} records, published already, have changed")]
    Changed(u64),
}
