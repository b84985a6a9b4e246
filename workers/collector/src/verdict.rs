//! The judgement of a page that came with a good status: is it a page, or an error in its clothes? Pure.
//!
//! The job's conditions come first (`when`). Without one that holds, some signs are taken for an error: the keys in
//! which APIs put errors, beside records that are missing or null. GraphQL's `errors` count whatever stands beside
//! them, because `null` in a record is then an error and no value.

use std::time::Duration;

use crate::page::PageValues;

/// The paths that are looked at without being configured, in this order.
pub(crate) const SIGNS: [&str; 4] = ["errors", "error", "ok", "success"];

/// The facts about a page on which it is judged.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct PageFacts {
    pub(crate) values: PageValues,
    /// True if the page is one object, which is an error and no record.
    pub(crate) is_error: bool,
    /// The number of records in the page.
    pub(crate) records: u64,
}

/// What a condition asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ConditionAction {
    /// The request is repeated; after the attempts the id is put off.
    Retry,
    /// Everyone waits, for the time that the answer's headers name or for this time.
    Wait(Duration),
    /// The id is dead.
    Dead,
    /// There are no records; the endpoint is complete for this id.
    None,
    /// The worker ends.
    Fail,
}

/// A condition on a page's body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PageCondition {
    /// The path, for messages.
    pub(crate) path: String,
    /// Its index among the probes.
    pub(crate) probe: usize,
    pub(crate) test: ConditionTest,
    pub(crate) action: ConditionAction,
}

/// The test of a condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ConditionTest {
    /// The value is one of these.
    Is(Vec<String>),
    /// The value is there, and is neither null nor false, empty or zero.
    Present,
    /// The value is missing or null.
    Missing,
}

/// The rules by which an endpoint's pages are judged.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct PageRules {
    pub(crate) conditions: Vec<PageCondition>,
    /// The indices of [`SIGNS`] among the probes. `None`: another path of the endpoint leads there.
    pub(crate) signs: [Option<usize>; 4],
    /// True for a GraphQL request.
    pub(crate) graphql: bool,
    /// Path of the records.
    pub(crate) record_path: String,
}

/// The judgement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PageVerdict {
    /// It is a page.
    Page,
    /// A condition holds.
    Condition(ConditionAction, String),
    /// It is an error that may pass.
    Error(String),
}

/// The shape of an object that is a whole page.
pub(crate) struct RecordShape {
    /// True if a key in which APIs put errors says that there is one.
    signed: bool,
    /// True if it has at least one field of the schema.
    fits: bool,
}

impl RecordShape {
    /// Looks at the values of a page's one record. `fields` are the names of the schema's fields.
    pub(crate) fn of(values: &PageValues, fields: &[String]) -> Self {
        // The signs are the last of the probes. A sign that is missing there is one that the job looks at itself.
        let signed =
            values.keys.iter().any(|key| SIGNS[..2].contains(&key.as_str())) || are_error_keys(&values.keys);
        Self { signed, fits: values.keys.iter().any(|key| fields.contains(key)) }
    }

    /// Tells whether the object is an error and no record.
    pub(crate) const fn is_error(&self) -> bool {
        self.signed && !self.fits
    }
}

impl PageRules {
    /// Judges a page.
    pub(crate) fn judge(&self, facts: &PageFacts) -> PageVerdict {
        let value = |probe: usize| facts.values.probes.get(probe).and_then(Option::as_deref);

        // The job's own conditions, in their order.
        for condition in &self.conditions {
            let found = value(condition.probe);
            let holds = match &condition.test {
                ConditionTest::Is(values) => {
                    found.is_some_and(|found| values.iter().any(|value| value == found))
                }
                ConditionTest::Present => found.is_some_and(is_something),
                ConditionTest::Missing => found.is_none(),
            };
            if holds {
                let why = format!("the condition on `{}` holds (`when`)", condition.path);
                return PageVerdict::Condition(condition.action, why);
            }
        }

        // Signs of an error.
        let sign = |nth: usize| self.signs.get(nth).copied().flatten().and_then(value);
        let nothing = !facts.values.has_records() || facts.values.null_records;
        if sign(0).is_some_and(is_something) && (nothing || self.graphql) {
            return PageVerdict::Error(self.error("errors"));
        }
        if facts.is_error {
            return PageVerdict::Error("the page is an error and no record".to_owned());
        }
        if !nothing || facts.records > 0 {
            return PageVerdict::Page;
        }
        if sign(1).is_some_and(is_something) {
            return PageVerdict::Error(self.error("error"));
        }
        for nth in [2, 3] {
            if sign(nth) == Some("false") {
                return PageVerdict::Error(self.error(SIGNS[nth]));
            }
        }
        if !facts.values.has_records() && are_error_keys(&facts.values.keys) {
            return PageVerdict::Error(format!(
                "the page has no `{}`, and its keys are those of an error message",
                self.record_path
            ));
        }
        PageVerdict::Page
    }

    /// Returns the reason for a sign.
    fn error(&self, sign: &str) -> String {
        format!(
            "the page is an error: it has `{sign}` and no records at `{}`; `when` of the endpoint can give it another \
             meaning",
            self.record_path
        )
    }
}

/// Tells whether a value is neither false nor empty nor zero.
fn is_something(value: &str) -> bool {
    !matches!(value, "" | "false" | "0" | "[]" | "{}")
}

/// Tells whether an object with these keys is an error message, for example of RFC 9457.
fn are_error_keys(keys: &[String]) -> bool {
    const TEXTS: [&str; 6] = ["message", "detail", "title", "error", "fault", "exception"];
    const OTHERS: [&str; 22] = [
        "code",
        "status",
        "statusCode",
        "status_code",
        "type",
        "instance",
        "errors",
        "error_description",
        "error_code",
        "errorCode",
        "errorMessage",
        "error_message",
        "requestId",
        "request_id",
        "traceId",
        "timestamp",
        "path",
        "details",
        "documentation_url",
        "ok",
        "success",
        "reason",
    ];
    let is = |key: &str, list: &[&str]| list.contains(&key);
    keys.iter().any(|key| is(key, &TEXTS)) && keys.iter().all(|key| is(key, &TEXTS) || is(key, &OTHERS))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::{PageCutter, PagePath, PagePaths};

    fn rules(conditions: &[(&str, ConditionTest, ConditionAction)]) -> (PageRules, PagePaths) {
        let path = |text: &str| PagePath::parse(text).unwrap();
        let probes = conditions.iter().map(|(at, ..)| path(at)).collect();
        let mut paths = PagePaths::compile(path("data.items"), Vec::new(), probes).unwrap();
        let conditions = conditions.iter().enumerate().map(|(probe, (at, test, action))| PageCondition {
            path: (*at).to_owned(),
            probe,
            test: test.clone(),
            action: *action,
        });
        let conditions = conditions.collect();
        let signs = SIGNS.map(|sign| paths.add_probe(path(sign)));
        let rules = PageRules { conditions, signs, graphql: false, record_path: "data.items".into() };
        (rules, paths)
    }

    fn judged(rules: &(PageRules, PagePaths), body: &str) -> PageVerdict {
        let mut cutter = PageCutter::new(&rules.1, 1_000);
        let mut records = 0;
        cutter
            .feed(body.as_bytes(), |_| {
                records += 1;
                Ok(())
            })
            .unwrap();
        let facts = PageFacts { values: cutter.finish().unwrap(), is_error: false, records };
        rules.0.judge(&facts)
    }

    #[test]
    fn an_error_in_a_good_answer_is_seen_and_an_empty_page_is_not_one() {
        let rules = rules(&[]);
        for error in [
            r#"{"data":{"items":null},"errors":[{"message":"internal"}]}"#,
            r#"{"data":null,"errors":[{}]}"#,
            r#"{"error":"slow down"}"#,
            r#"{"error":{"code":5},"data":{}}"#,
            r#"{"ok":false}"#,
            r#"{"success":false,"data":{"items":null}}"#,
            r#"{"message":"internal","code":17}"#,
            r#"{"type":"about:blank","title":"x","status":500}"#,
        ] {
            assert!(matches!(judged(&rules, error), PageVerdict::Error(_)), "{error}");
        }
        for page in [
            r#"{"kind":"calendar#events","etag":"x"}"#,
            r#"{"data":{"items":[]},"errors":[]}"#,
            r#"{"data":{"items":[1]},"errors":[{"message":"one of them"}]}"#,
            r#"{"data":{"items":null},"error":null}"#,
            r#"{"data":{},"error":""}"#,
            r#"{"ok":true}"#,
            r"{}",
        ] {
            assert_eq!(judged(&rules, page), PageVerdict::Page, "{page}");
        }
    }

    #[test]
    fn graphql_errors_count_beside_records() {
        let mut rules = rules(&[]);
        rules.0.graphql = true;
        let body = r#"{"data":{"items":[null]},"errors":[{"message":"one of them"}]}"#;
        assert!(matches!(judged(&rules, body), PageVerdict::Error(_)));
    }

    #[test]
    fn conditions_come_first_in_their_order() {
        let wait = ConditionAction::Wait(Duration::from_secs(7));
        let rules = rules(&[
            ("error.code", ConditionTest::Is(vec!["17".into(), "busy".into()]), wait),
            ("error.kind", ConditionTest::Present, ConditionAction::Dead),
            ("state", ConditionTest::Missing, ConditionAction::None),
        ]);
        let action = |body: &str| match judged(&rules, body) {
            PageVerdict::Condition(action, _) => Some(action),
            PageVerdict::Page | PageVerdict::Error(_) => None,
        };
        assert_eq!(action(r#"{"error":{"code":17,"kind":"x"}}"#), Some(wait));
        assert_eq!(action(r#"{"error":{"kind":{"a":1}},"state":"x"}"#), Some(ConditionAction::Dead));
        assert_eq!(action(r#"{"error":{"kind":[]}}"#), Some(ConditionAction::None));
        assert_eq!(action(r#"{"state":1,"data":{"items":[]}}"#), None);
    }
}
