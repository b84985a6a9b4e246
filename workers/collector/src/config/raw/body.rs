//! Paths in a body, and conditions on it, as an operator writes them.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use crate::page::PagePath;

/// A path in a page or record: `meta.next`, `items[0].id`, `edges[*].node`, `'key.with.dots'`; JSONPath's `$` and
/// brackets are read too.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum RawPath {
    /// The path as text.
    Text(String),
    /// The keys as a list, each taken as it is.
    Keys(Vec<String>),
    /// The path, and whether it may be missing.
    Named {
        /// The path as text.
        path: String,
        /// True if a run in which no page has this path is no mistake.
        #[serde(default)]
        optional: bool,
    },
}

/// A condition on the body of an answer.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawCondition {
    /// Path in the body, for example `error.code`. Without `is` and `missing`, the condition holds if the value is
    /// there and is neither null nor false, empty or zero.
    pub at: RawPath,
    /// The condition holds if the value is this one, or one of these.
    #[serde(default)]
    pub is: Option<Value>,
    /// The condition holds if the value is missing or null.
    #[serde(default)]
    pub missing: bool,
    /// The meaning of the answer then: `retry`, `wait`, `dead`, `none` or `fail`.
    pub then: RawConditionAction,
    /// Seconds to wait for `wait`, if the answer's headers name no time; 60 by default.
    #[serde(default)]
    pub seconds: Option<u64>,
}

/// The meaning of an answer whose condition holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RawConditionAction {
    /// The request is repeated.
    Retry,
    /// The API asks everyone to wait. This is no attempt.
    Wait,
    /// The id is dead.
    Dead,
    /// There are no records; the endpoint is complete for this id.
    None,
    /// The worker ends.
    Fail,
}

impl Default for RawPath {
    fn default() -> Self {
        Self::Text(String::new())
    }
}

impl RawPath {
    /// Returns the path.
    ///
    /// # Errors
    /// The reason why it is none, with its text.
    pub(crate) fn parse(&self) -> Result<PagePath, String> {
        let parse = |text: &str| PagePath::parse(text).map_err(|why| format!("path `{text}`: {why}"));
        match self {
            Self::Text(text) => parse(text),
            Self::Keys(keys) if keys.iter().any(String::is_empty) => Err("expected no empty key".to_owned()),
            Self::Keys(keys) => Ok(PagePath::of_keys(keys)),
            Self::Named { path, optional } => parse(path).map(|path| path.or_optional(*optional)),
        }
    }
}
