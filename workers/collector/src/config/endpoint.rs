//! The checks of an endpoint: its request, its pages, its rules.

use std::collections::BTreeMap;

use reqwest::header::HeaderName;
use serde_json::Value;
use sluice_runtime::config::ConfigErrors;

use super::raw::{RawEndpoint, RawMethod, RawStatusRule};
use crate::page::{PagePaths, PathError};
use crate::pagination::{EndpointPagination, TokenPlace};
use crate::process::PageReaderSettings;
use crate::request::{BodyTemplate, RequestTemplate};
use crate::template::TextTemplate;

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

        // The request, and the values that are looked for in a page. The total comes last: see `says_total`.
        let pagination = EndpointPagination::new(&endpoint.pagination);
        let request = check_request(endpoint, &pagination, &at, errors);
        let mut wanted = pagination.wanted();
        wanted.extend(endpoint.total_at.as_deref());
        let paths = match PagePaths::compile(&endpoint.record_path, &wanted) {
            Ok(paths) => Some(paths),
            Err(PathError { path, why }) => {
                errors.add(at("record_path"), format!("path `{path}`: {why}"), None);
                None
            }
        };
        let incremental = endpoint.incremental.as_ref();
        if incremental.is_some_and(|rule| rule.at.split('.').any(str::is_empty)) {
            let hint = "for example updated_at or meta.updated_at".to_owned();
            errors.add(at("incremental.at"), "expected a key on both sides of every dot", Some(hint));
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
        if let (Some(request), Some(paths)) = (request, paths) {
            let look = PageReaderSettings {
                paths,
                max_record,
                incremental: incremental.map(|rule| rule.at.clone()),
            };
            sound.push(ApiEndpoint {
                name: endpoint.name.clone(),
                request,
                pagination,
                look,
                says_total: endpoint.total_at.is_some(),
                start: incremental.and_then(|rule| rule.start.clone()),
                topic: endpoint.topic.clone(),
                on_status,
            });
        }
    }
    sound
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
