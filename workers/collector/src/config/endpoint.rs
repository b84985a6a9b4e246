//! The checks of an endpoint: its request, its pages, its rules.

use std::collections::BTreeMap;
use std::time::Duration;

use reqwest::header::HeaderName;
use serde_json::Value;
use sluice_runtime::config::ConfigErrors;

use super::raw::{RawCondition, RawConditionAction, RawEndpoint, RawMethod, RawPath, RawStatusRule};
use crate::page::{PagePath, PagePaths, PathError};
use crate::pagination::{EndpointPagination, TokenPlace};
use crate::process::PageReaderSettings;
use crate::request::{BodyTemplate, RequestTemplate};
use crate::template::TextTemplate;
use crate::verdict::{ConditionAction, ConditionTest, PageCondition, PageRules, SIGNS};

/// One resource that is requested for every id.
pub(crate) struct ApiEndpoint {
    pub(crate) name: String,
    pub(crate) request: RequestTemplate,
    pub(crate) pagination: EndpointPagination,
    pub(crate) look: PageReaderSettings,
    /// True if the last of the values that are looked for in a page is the total.
    pub(crate) says_total: bool,
    /// The value of `{since}` in an id's first run.
    pub(crate) start: Option<String>,
    pub(crate) topic: String,
    pub(crate) on_status: BTreeMap<u16, RawStatusRule>,
    /// The rules by which pages are judged.
    pub(crate) rules: PageRules,
}

/// Checks all endpoints. The list is complete if no error was added. `max_record` is in bytes of JSON.
pub(super) fn check(raw: &[RawEndpoint], max_record: usize, errors: &mut ConfigErrors) -> Vec<ApiEndpoint> {
    if raw.is_empty() {
        let hint = "a job asks at least one endpoint for every id".to_owned();
        errors.add("endpoints", "expected at least one endpoint", Some(hint));
    }

    let mut sound = Vec::new();
    for (nth, endpoint) in raw.iter().enumerate() {
        let at = |key: &str| format!("endpoints[{nth}].{key}");

        // The name identifies the endpoint in checkpoints: two endpoints of one name would share their
        // positions.
        super::check_name(&at("name"), &endpoint.name, errors);
        if raw[..nth].iter().any(|earlier| earlier.name == endpoint.name) {
            errors.add(at("name"), "expected a name that no earlier endpoint has", None);
        }
        super::check_name(&at("topic"), &endpoint.topic, errors);

        // The request.
        let pagination = match EndpointPagination::new(&endpoint.pagination) {
            Ok(pagination) => pagination,
            Err(found) => {
                for error in found {
                    errors.add(at(&format!("pagination.{}", error.key)), error.why, None);
                }
                continue;
            }
        };
        let request = check_request(endpoint, &pagination, &at, errors);

        // The values that are looked for in a page. The total is the last token: see `says_total`.
        let mut path = |key: &str, raw: &RawPath| match raw.parse() {
            Ok(path) => Some(path),
            Err(why) => {
                errors.add(at(key), why, Some("for example data, result.items or edges[*].node".into()));
                None
            }
        };
        let records = path("record_path", &endpoint.record_path);
        let total = endpoint.total_at.as_ref().and_then(|raw| path("total_at", raw));
        let incremental = endpoint.incremental.as_ref().and_then(|rule| path("incremental.at", &rule.at));
        let mut tokens = pagination.wanted().to_vec();
        tokens.extend(total);
        let found = check_conditions(&endpoint.when, &at, errors);
        let looks = records.zip(found).and_then(|(records, (probes, conditions))| {
            let record_path = records.to_string();
            match PagePaths::compile(records, tokens, probes) {
                Ok(paths) => Some((paths, conditions, record_path)),
                Err(PathError { path, why }) => {
                    errors.add(at("record_path"), format!("path `{path}`: {why}"), None);
                    None
                }
            }
        });

        // Fields that the job adds.
        let mut added = Vec::new();
        for (field, text) in &endpoint.fields {
            match TextTemplate::text(text) {
                Ok(template) if !template.has_since() => added.push((field.clone(), template)),
                Ok(_) => errors.add(at(&format!("fields.{field}")), "expected no `{since}` here", None),
                Err(error) => errors.add(at(&format!("fields.{field}")), error.to_string(), None),
            }
        }

        // The status rules. Keys of YAML maps are texts here.
        let mut on_status = BTreeMap::new();
        for (status, rule) in &endpoint.on_status {
            match status.parse::<u16>() {
                Ok(code) if (100..600).contains(&code) => {
                    on_status.insert(code, *rule);
                }
                _ => errors.add(
                    at(&format!("on_status.{status}")),
                    "expected an HTTP status from 100 to 599",
                    None,
                ),
            }
        }

        // An unsound endpoint has added its errors and is left out.
        if let (Some(request), Some((mut paths, conditions, record_path))) = (request, looks) {
            let mut signs = SIGNS.map(|sign| paths.add_probe(PagePath::of_keys(&[sign.to_owned()])));
            if signs[0].is_none() {
                // A condition looks into `errors`. In GraphQL every error has a message.
                let message = PagePath::parse("errors[0].message").ok();
                signs[0] = message.and_then(|path| paths.add_probe(path));
            }
            let graphql = matches!(&endpoint.body, Some(Value::Object(body)) if body.get("query").is_some_and(Value::is_string));
            let look = PageReaderSettings {
                paths,
                max_record,
                incremental,
                future: endpoint.incremental.as_ref().is_some_and(|rule| rule.future),
                last_record: pagination.last_record().cloned(),
                added,
            };
            sound.push(ApiEndpoint {
                name: endpoint.name.clone(),
                request,
                pagination,
                look,
                says_total: endpoint.total_at.is_some(),
                start: endpoint.incremental.as_ref().and_then(|rule| rule.start.clone()),
                topic: endpoint.topic.clone(),
                on_status,
                rules: PageRules { conditions, signs, graphql, record_path },
            });
        }
    }
    sound
}

/// Checks the conditions on the body. Returns their paths and the conditions, or adds errors.
fn check_conditions(
    raw: &[RawCondition],
    at: &dyn Fn(&str) -> String,
    errors: &mut ConfigErrors,
) -> Option<(Vec<PagePath>, Vec<PageCondition>)> {
    let (mut paths, mut conditions): (Vec<PagePath>, Vec<PageCondition>) = (Vec::new(), Vec::new());
    let before = errors.0.len();
    for (nth, condition) in raw.iter().enumerate() {
        let key = |key: &str| at(&format!("when[{nth}].{key}"));
        let path = match condition.at.parse() {
            Ok(path) if !path.is_root() => path,
            Ok(_) => {
                errors.add(key("at"), "expected at least one key", None);
                continue;
            }
            Err(why) => {
                errors.add(key("at"), why, None);
                continue;
            }
        };

        // Values are compared as they are spelled in the page.
        let text = |value: &Value| match value {
            Value::String(text) => Some(text.clone()),
            Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
            Value::Null | Value::Array(_) | Value::Object(_) => None,
        };
        let test = match (&condition.is, condition.missing) {
            (Some(_), true) => {
                errors.add(key("missing"), "cannot be combined with `is`", None);
                continue;
            }
            (None, true) => ConditionTest::Missing,
            (None, false) => ConditionTest::Present,
            (Some(value), false) => {
                let values = match value {
                    Value::Array(values) => values.iter().map(text).collect::<Option<Vec<_>>>(),
                    value => text(value).map(|text| vec![text]),
                };
                let Some(values) = values.filter(|values| !values.is_empty()) else {
                    errors.add(key("is"), "expected a text, a number or a boolean, or a list of them", None);
                    continue;
                };
                ConditionTest::Is(values)
            }
        };
        if condition.seconds.is_some() && condition.then != RawConditionAction::Wait {
            errors.add(key("seconds"), "expected `then: wait` beside it", None);
        }
        let action = match condition.then {
            RawConditionAction::Retry => ConditionAction::Retry,
            RawConditionAction::Wait => {
                ConditionAction::Wait(Duration::from_secs(condition.seconds.unwrap_or(60)))
            }
            RawConditionAction::Dead => ConditionAction::Dead,
            RawConditionAction::None => ConditionAction::None,
            RawConditionAction::Fail => ConditionAction::Fail,
        };

        // Two conditions on one path share its probe.
        let probe = paths.iter().position(|known| *known == path).unwrap_or_else(|| {
            paths.push(path.clone());
            paths.len() - 1
        });
        conditions.push(PageCondition { path: path.to_string(), probe, test, action });
    }
    (errors.0.len() == before).then_some((paths, conditions))
}

/// Checks path, query, headers and body of an endpoint's request. `at` makes the path of a key for errors.
fn check_request(
    raw: &RawEndpoint,
    pagination: &EndpointPagination,
    at: &dyn Fn(&str) -> String,
    errors: &mut ConfigErrors,
) -> Option<RequestTemplate> {
    // The path.
    let path = match TextTemplate::path(&raw.path) {
        Ok(path) => Some(path),
        Err(error) => {
            let hint = "for example /v1/things/{id}/parts".to_owned();
            errors.add(at("path"), error.to_string(), Some(hint));
            None
        }
    };

    // The query and the headers: both map names to templates.
    let texts = |key: &str, texts: &BTreeMap<String, String>, errors: &mut ConfigErrors| {
        let mut sound = Vec::new();
        for (name, text) in texts {
            match TextTemplate::text(text) {
                Ok(template) => sound.push((name.clone(), template)),
                Err(error) => errors.add(at(&format!("{key}.{name}")), error.to_string(), None),
            }
        }
        sound
    };
    let query = texts("query", &raw.query, errors);
    let mut headers = Vec::new();
    for (name, template) in texts("headers", &raw.headers, errors) {
        match HeaderName::from_bytes(name.as_bytes()) {
            Ok(name) => headers.push((name, template)),
            Err(_) => errors.add(at(&format!("headers.{name}")), "expected a header name", None),
        }
    }

    // The body. A POST without one sends `{}`, because the page token may go into it.
    let body = match (raw.method, &raw.body) {
        (RawMethod::Get, Some(_)) => {
            errors.add(
                at("body"),
                "expected no body, because the method is get",
                Some("method: post".into()),
            );
            None
        }
        (RawMethod::Get, None) => None,
        (RawMethod::Post, body) => {
            let empty = Value::Object(serde_json::Map::new());
            match BodyTemplate::parse(body.as_ref().unwrap_or(&empty), "body") {
                Ok(body) => Some(body),
                Err((place, why)) => {
                    errors.add(at(&place), why, None);
                    None
                }
            }
        }
    };

    // The part of the request that takes the page token must exist.
    match pagination.place() {
        Some(TokenPlace::Field(_)) if raw.method == RawMethod::Get => {
            let hint = "method: post, or a query `parameter` instead of a `field`".to_owned();
            errors.add(at("pagination.field"), "expected a request with a body", Some(hint));
        }
        Some(TokenPlace::Header(name)) if HeaderName::from_bytes(name.as_bytes()).is_err() => {
            errors.add(at("pagination.to_header"), "expected a header name", None);
        }
        _ => {}
    }

    // A request without the id is almost certainly a mistake, and an expensive one.
    let request = RequestTemplate { path: path?, query, headers, body };
    if !request.has_id() {
        let hint = "for example /v1/things/{id}/parts; or {id} in query, headers or body".to_owned();
        errors.add(at("path"), "expected `{id}`: without it every id sends the same request", Some(hint));
    }
    Some(request)
}
