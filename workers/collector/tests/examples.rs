//! The jobs in `examples/collector`, each against a stand-in that behaves as the API's documentation says: pages, limits
//! and errors.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod double;

use std::sync::Mutex;
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use double::{ApiDoubleRequest, counts, json, serve};
use serde_json::{Value, json as value};
use sluice_collector::operate::{TrialOptions, TrialReport, try_id};
use sluice_collector::{CollectorConfig, RawCollectorConfig};
use sluice_core::Fault;
use sluice_runtime::config::parse;

/// Tries one id with an example's job, at another address and with other secrets.
async fn try_example(name: &str, id: &str, base: &str, url: &str) -> Result<TrialReport, Fault> {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    let text = std::fs::read_to_string(format!("{root}/examples/collector/{name}/job.yaml")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let (secret, database) =
        (file("secret", "s3cret"), file("database", "postgres://nobody@127.0.0.1:9/none"));

    // The addresses, and the secrets as files: a test cannot set variables.
    assert!(text.contains(base), "{base}");
    let mut text = text.replace(base, url).replace("https://login.microsoftonline.com", url);
    text = text.replace("schemas: examples/", &format!("schemas: {root}/examples/"));
    text = text.replace("{env: DATABASE_URL}", &format!("{{file: \"{database}\"}}"));
    while let Some((before, after)) = text.split_once("{env: ") {
        let (_, behind) = after.split_once('}').unwrap();
        text = format!("{before}{{file: \"{secret}\"}}{behind}");
    }
    text.push_str("retry: {attempts: 4, base_ms: 20, cap_ms: 100}\n");
    let config = parse::<RawCollectorConfig>(&text, name).and_then(CollectorConfig::check);
    let config = config.unwrap_or_else(|errors| panic!("{name}: {errors}"));
    let trial = TrialOptions { pages: 100, samples: 100, tape: None };
    tokio::time::timeout(Duration::from_secs(60), try_id(config, id, trial)).await.expect("a trial ends")
}

fn whole(found: &TrialReport, pages: &[u64]) {
    assert_eq!((counts(found), &found.stopped), (pages.to_vec(), &None), "{found:?}");
    assert!(found.drifts.is_empty() && found.pages.iter().all(|page| page.rejects.is_empty()), "{found:?}");
}

fn samples(found: &TrialReport) -> Vec<&Value> {
    found.pages.iter().flat_map(|page| &page.samples).collect()
}

fn status(code: u16, headers: &[(&'static str, String)], body: Value) -> Response {
    let mut answer = (StatusCode::from_u16(code).unwrap(), axum::Json(body)).into_response();
    for (name, text) in headers {
        answer.headers_mut().insert(*name, text.parse().unwrap());
    }
    answer
}

fn bearer(asked: &ApiDoubleRequest) -> bool {
    asked.header("authorization") == Some("Bearer s3cret")
}

/// Holds requests back after a refusal, and panics at one that comes too early.
#[derive(Default)]
struct Patience(Mutex<Option<Instant>>);

impl Patience {
    fn ask_for(&self, wait: Duration) {
        *self.0.lock().unwrap() = Some(Instant::now() + wait);
    }

    fn check(&self) {
        let until = *self.0.lock().unwrap();
        assert!(until.is_none_or(|until| Instant::now() >= until), "it came too early");
    }
}

#[tokio::test]
async fn github() {
    let patience = Patience::default();
    let issue = |n: u64| value!({"id": n, "number": n, "title": "x", "state": "open", "updated_at": "2024-01-31T05:15:00Z", "user": {}});
    let url = serve(move |asked| {
        assert!(bearer(&asked) && asked.header("accept") == Some("application/vnd.github+json"));
        assert!(!asked.query.contains_key("since"), "there was no run before");
        patience.check();
        let at = asked.number("page", 1);
        match asked.nth {
            // A secondary limit, then a primary one.
            1 => {
                patience.ask_for(Duration::from_secs(1));
                return status(
                    403,
                    &[("retry-after", "1".into())],
                    value!({"message": "secondary rate limit"}),
                );
            }
            2 => {
                let reset =
                    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() + 1;
                let headers =
                    [("x-ratelimit-remaining", "0".into()), ("x-ratelimit-reset", reset.to_string())];
                return status(429, &headers, value!({"message": "API rate limit exceeded"}));
            }
            _ => {}
        }
        let host = asked.header("host").unwrap();
        let link = format!(
            "<http://{host}/repositories/9/issues?page={}>; rel=\"next\", <http://{host}/x>; rel=\"last\"",
            at + 1
        );
        let headers = [("link", link)];
        let issues: Vec<Value> = (at * 2..at * 2 + 2).map(issue).collect();
        status(200, if at < 3 { &headers[..] } else { &[] }, issues.into())
    })
    .await;
    let found = try_example("github", "9", "https://api.github.com", &url).await.unwrap();
    whole(&found, &[2, 2, 2]);
    assert!(samples(&found).iter().all(|issue| issue["repository"] == "9"));
    // A repository that is gone, and one that the token may not read.
    let url = serve(|_| status(404, &[], value!({"message": "Not Found"}))).await;
    assert_eq!(counts(&try_example("github", "9", "https://api.github.com", &url).await.unwrap()), [0]);
    let url =
        serve(|_| status(403, &[("x-ratelimit-remaining", "4999".into())], value!({"message": "x"}))).await;
    assert!(
        try_example("github", "9", "https://api.github.com", &url)
            .await
            .unwrap_err()
            .to_string()
            .contains("on_status")
    );
}

#[tokio::test]
async fn stripe() {
    let url = serve(|asked| {
        assert!(bearer(&asked) && asked.query["customer"] == "cus_1" && asked.path == "/v1/invoices");
        if asked.nth == 1 {
            return status(429, &[], value!({"error": {"type": "invalid_request_error", "code": "rate_limit"}}));
        }
        let from: u64 = asked.query.get("starting_after").map_or(0, |id| id["in_".len()..].parse::<u64>().unwrap() + 1);
        let invoice = |n: u64| value!({"id": format!("in_{n}"), "customer": "cus_1", "amount_due": 500, "currency": "eur", "created": 1_706_678_100});
        let data: Vec<Value> = (from..from + 2).map(invoice).collect();
        json(value!({"object": "list", "url": "/v1/invoices", "has_more": from + 2 < 6, "data": data}).to_string())
    })
    .await;
    whole(&try_example("stripe", "cus_1", "https://api.stripe.com", &url).await.unwrap(), &[2, 2, 2]);
    let url = serve(|_| json(value!({"object": "list", "has_more": false, "data": []}).to_string())).await;
    whole(&try_example("stripe", "cus_1", "https://api.stripe.com", &url).await.unwrap(), &[0]);
}

#[tokio::test]
async fn jira() {
    let patience = Patience::default();
    let url = serve(move |asked| {
        assert_eq!(asked.header("authorization"), Some("Basic cm9ib3RAZXhhbXBsZS5vcmc6czNjcmV0"));
        patience.check();
        let body: Value = serde_json::from_slice(&asked.body).unwrap();
        assert_eq!(body["jql"], "project = 'OPS' ORDER BY created ASC");
        if asked.nth == 1 {
            patience.ask_for(Duration::from_secs(1));
            let headers = [("retry-after", "1".into()), ("x-ratelimit-reset", "2024-01-31T05:15Z".into())];
            return status(429, &headers, value!({"errorMessages": ["Rate limit exceeded"]}));
        }
        let at: u64 = body["nextPageToken"].as_str().map_or(0, |token| token.parse().unwrap());
        let issue =
            |n: u64| value!({"id": n.to_string(), "key": format!("OPS-{n}"), "fields": {"summary": "x"}});
        let issues: Vec<Value> = (at * 2..at * 2 + 2).map(issue).collect();
        let mut page = value!({"issues": issues, "isLast": at == 2});
        if at < 2 {
            page["nextPageToken"] = (at + 1).to_string().into();
        }
        json(page.to_string())
    })
    .await;
    let found = try_example("jira", "OPS", "https://example.atlassian.net", &url).await.unwrap();
    whole(&found, &[2, 2, 2]);
    assert!(samples(&found).iter().all(|ticket| ticket["project"] == "OPS"));
    let url = serve(|_| json(value!({"issues": [], "isLast": true}).to_string())).await;
    whole(&try_example("jira", "OPS", "https://example.atlassian.net", &url).await.unwrap(), &[0]);
}

#[tokio::test]
async fn microsoft_graph() {
    let patience = Patience::default();
    let url = serve(move |asked| {
        if asked.path.ends_with("/oauth2/v2.0/token") {
            // Version 1 of the endpoint writes the seconds as text.
            return json(value!({"token_type": "Bearer", "expires_in": "3599", "access_token": "t"}).to_string());
        }
        assert_eq!(asked.header("authorization"), Some("Bearer t"));
        patience.check();
        if asked.nth == 2 {
            patience.ask_for(Duration::from_secs(1));
            return status(503, &[("retry-after", "1".into())], value!({"error": {"code": "serviceNotAvailable"}}));
        }
        let at = asked.number("$skip", 0);
        let message = |n: u64| value!({"@odata.etag": "x", "id": n.to_string(), "subject": null, "receivedDateTime": "2024-01-31T05:15:00Z"});
        let messages: Vec<Value> = (at..at + 2).map(message).collect();
        let mut page = value!({"@odata.context": "x", "value": messages});
        if at < 4 {
            let host = asked.header("host").unwrap();
            page["@odata.nextLink"] = format!("http://{host}/v1.0/users/u1/messages?$skip={}", at + 2).into();
        }
        json(page.to_string())
    })
    .await;
    let found = try_example("microsoft-graph", "u1", "https://graph.microsoft.com", &url).await.unwrap();
    whole(&found, &[2, 2, 2]);
    assert!(samples(&found).iter().all(|message| message["user"] == "u1"));
}

#[tokio::test]
async fn slack() {
    let patience = Patience::default();
    let url = serve(move |asked| {
        assert!(bearer(&asked) && asked.query["channel"] == "C1");
        patience.check();
        if asked.nth == 1 {
            patience.ask_for(Duration::from_secs(1));
            return status(429, &[("retry-after", "1".into())], value!({"ok": false, "error": "ratelimited"}));
        }
        let at: u64 = asked.query.get("cursor").map_or(0, |cursor| cursor.parse().unwrap());
        let message = |n: u64| value!({"type": "message", "ts": format!("{n}.0"), "text": "x"});
        let messages: Vec<Value> = (at * 2..at * 2 + 2).map(message).collect();
        let next = if at < 2 { (at + 1).to_string() } else { String::new() };
        json(value!({"ok": true, "messages": messages, "has_more": at < 2, "response_metadata": {"next_cursor": next}}).to_string())
    })
    .await;
    let found = try_example("slack", "C1", "https://slack.com", &url).await.unwrap();
    whole(&found, &[2, 2, 2]);
    assert!(samples(&found).iter().all(|message| message["channel"] == "C1"));
    // Errors with status 200.
    let error = async |word: &'static str| {
        let url = serve(move |_| json(value!({"ok": false, "error": word}).to_string())).await;
        try_example("slack", "C1", "https://slack.com", &url).await
    };
    assert!(error("channel_not_found").await.unwrap().stopped.unwrap().contains("`error` holds"));
    assert!(error("internal_error").await.unwrap().stopped.unwrap().contains("`ok` holds"));
    assert!(error("token_revoked").await.unwrap_err().to_string().contains("`error` holds"));
}

#[tokio::test]
async fn graphql() {
    let url = serve(|asked| {
        let body: Value = serde_json::from_slice(&asked.body).unwrap();
        assert!(bearer(&asked) && body["query"].is_string() && body["variables"]["name"] == "R1");
        if asked.nth == 1 {
            // A part of the data beside an error is no page.
            let page = value!({"data": {"node": {"stargazers": {"edges": [null], "pageInfo": {"hasNextPage": false, "endCursor": null}}}},
                "errors": [{"type": "INTERNAL", "path": ["node"], "message": "x"}]});
            return json(page.to_string());
        }
        let at: u64 = body["variables"]["after"].as_str().map_or(0, |cursor| cursor.parse().unwrap());
        let edges: Vec<Value> = (at * 2..at * 2 + 2).map(|n| value!({"node": {"login": format!("u{n}")}})).collect();
        let info = value!({"hasNextPage": at < 2, "endCursor": (at + 1).to_string()});
        json(value!({"data": {"node": {"stargazers": {"edges": edges, "pageInfo": info}}}}).to_string())
    })
    .await;
    let found = try_example("graphql", "R1", "https://api.github.com", &url).await.unwrap();
    whole(&found, &[2, 2, 2]);
    assert!(samples(&found).iter().all(|star| star["repository"] == "R1"));
    let url = serve(|_| {
        json(value!({"data": {"node": null}, "errors": [{"type": "NOT_FOUND", "message": "x"}]}).to_string())
    })
    .await;
    let found = try_example("graphql", "R1", "https://api.github.com", &url).await.unwrap();
    assert!(found.stopped.unwrap().contains("`errors[0].type` holds"));
}
