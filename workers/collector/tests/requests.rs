//! Every kind of pagination and of credentials, against an API that insists on them.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod double;

use axum::http::{Method, StatusCode};
use axum::response::IntoResponse;
use double::{ApiDoubleRequest, counts, job, json, page, serve, taped, tried};
use serde_json::Value;
use sluice_collector::AnswerTape;

/// Three pages of two flights each.
fn three(at: u64) -> std::ops::Range<u64> {
    at * 2..(at * 2 + 2).min(6).max(at * 2)
}

async fn six_flights(url: &str, endpoint: &str) {
    let found = tried(job(url, endpoint, "", "")).await.unwrap();
    assert_eq!(found.stopped, None, "{endpoint}");
    assert_eq!(counts(&found).iter().sum::<u64>(), 6, "{endpoint}: {found:?}");
    assert!(found.drifts.is_empty());
}

#[tokio::test]
async fn every_pagination_comes_to_its_end() {
    let url = serve(|asked| json(page(three(asked.number("page", 1) - 1), ""))).await;
    six_flights(&url, "    pagination: {kind: page}").await;
    let url = serve(|asked| json(page(three(asked.number("p", 0)), r#""more":true"#))).await;
    six_flights(&url, "    pagination: {kind: page, parameter: p, first: 0}").await;
    let url = serve(|asked| {
        let at = asked.number("offset", 0);
        json(page(at..(at + 2).min(6), &format!(r#""meta":{{"more":{}}}"#, at + 2 < 6)))
    })
    .await;
    six_flights(&url, "    pagination: {kind: offset, more_at: meta.more}").await;
    let cursor =
        |asked: &ApiDoubleRequest| asked.query.get("cursor").map_or(0, |text| text[1..].parse().unwrap());
    let url = serve(move |asked| {
        let at: u64 = cursor(&asked);
        let next = if at < 2 { format!("\"c{}\"", at + 1) } else { "null".into() };
        json(page(three(at), &format!(r#""next":{next}"#)))
    })
    .await;
    six_flights(&url, "    pagination: {kind: cursor, at: next}").await;
    let url = serve(|asked| {
        let at = asked.number("p", 0);
        let mut answer = json(page(three(at), ""));
        let link = format!("</v1/N1?p=0>; rel=\"first\", </v1/N1?p={}>; rel=\"next\"", at + 1);
        if at < 2 {
            answer.headers_mut().insert("link", link.parse().unwrap());
        }
        answer
    })
    .await;
    six_flights(&url, "    pagination: {kind: link_header}").await;
    let url = serve(|asked| {
        let at: u64 = asked.header("x-after").map_or(0, |text| text.parse().unwrap());
        let mut answer = json(page(three(at), ""));
        if at < 2 {
            answer.headers_mut().insert("x-next", (at + 1).to_string().parse().unwrap());
        }
        answer
    })
    .await;
    six_flights(&url, "    pagination: {kind: token_header, header: x-next, to_header: x-after}").await;
}

#[tokio::test]
async fn a_cursor_goes_into_the_body_of_a_post() {
    let url = serve(|asked| {
        assert_eq!((asked.method, asked.path.as_str()), (Method::POST, "/search"));
        let body: Value = serde_json::from_slice(&asked.body).unwrap();
        assert_eq!((&body["filter"]["tail"], &body["page"]["size"]), (&"N1".into(), &2.into()));
        let at = body["page"]["after"].as_str().map_or(0, |text| text[1..].parse().unwrap());
        let next = if at < 2 { format!("\"c{}\"", at + 1) } else { "null".into() };
        json(page(three(at), &format!(r#""next":{next}"#)))
    })
    .await;
    let endpoint = "    path: /search\n    method: post\n    body: {filter: {tail: \"{id}\"}, page: {size: 2}}\n    \
                    pagination: {kind: cursor, at: next, field: page.after}";
    six_flights(&url, endpoint).await;
}

#[tokio::test]
async fn templates_fill_query_and_headers() {
    let url = serve(|asked| {
        assert_eq!(asked.query["of"], "tail:N1");
        assert!(!asked.query.contains_key("since"), "there was no run before");
        assert_eq!(asked.header("x-tail"), Some("N1"));
        json(page(0..6, ""))
    })
    .await;
    let endpoint = "    query: {of: \"tail:{id}\", since: \"{since}\"}\n    headers: {x-tail: \"{id}\"}\n    \
                    incremental: {at: time_hour}";
    six_flights(&url, endpoint).await;
}

#[tokio::test]
async fn statuses_mean_what_the_endpoint_says() {
    for (status, rule, stops) in [
        (StatusCode::NOT_FOUND, "none", None),
        (StatusCode::NOT_FOUND, "dead", Some("404")),
        (StatusCode::GONE, "", Some("410")),
        (StatusCode::IM_A_TEAPOT, "retry", Some("418")),
        (StatusCode::NO_CONTENT, "", None),
        (StatusCode::INTERNAL_SERVER_ERROR, "", Some("500")),
    ] {
        let url = serve(move |_| status.into_response()).await;
        let rule = if rule.is_empty() {
            String::new()
        } else {
            format!("    on_status: {{\"{}\": {rule}}}", status.as_u16())
        };
        let found = tried(job(&url, &rule, "", "")).await.unwrap();
        match stops {
            None => assert_eq!(found.stopped, None, "{status}"),
            Some(word) => assert!(found.stopped.unwrap().contains(word), "{status}"),
        }
    }
    let url = serve(|_| StatusCode::FORBIDDEN.into_response()).await;
    assert!(tried(job(&url, "", "", "")).await.unwrap_err().to_string().contains("403"));
}

#[tokio::test]
async fn fixed_credentials_of_every_kind() {
    for (auth, header, value) in [
        ("bearer: SECRET", "authorization", "Bearer s3cret"),
        ("basic: {user: me, password: SECRET}", "authorization", "Basic bWU6czNjcmV0"),
        ("header: {name: X-Key, value: SECRET}", "x-key", "s3cret"),
    ] {
        let url = serve(move |asked| match asked.header(header) == Some(value) {
            true => json(page(0..6, "")),
            false => StatusCode::UNAUTHORIZED.into_response(),
        })
        .await;
        let found = tried(job(&url, "", &format!("  auth: {{{auth}}}"), "")).await.unwrap();
        assert_eq!(counts(&found), [6], "{auth}");
    }
    let url = serve(|asked| {
        assert_eq!(asked.query["key"], "s3cret");
        json(page(0..6, ""))
    })
    .await;
    let found = tried(job(&url, "", "  auth: {query: {name: key, value: SECRET}}", "")).await.unwrap();
    assert_eq!(counts(&found), [6]);
    assert!(!format!("{found:?}").contains("s3cret"));
}

#[tokio::test]
async fn oauth_tokens_are_fetched_and_fetched_again_when_refused() {
    let url = serve(|asked| {
        if asked.path == "/token" {
            assert_eq!(asked.header("authorization"), Some("Basic bWU6czNjcmV0"));
            let form: std::collections::HashMap<_, _> =
                url::form_urlencoded::parse(&asked.body).into_owned().collect();
            assert_eq!((form["grant_type"].as_str(), form["scope"].as_str()), ("client_credentials", "read"));
            return json(format!(
                r#"{{"access_token":"t{}","token_type":"bearer","expires_in":3600}}"#,
                asked.nth
            ));
        }
        // The first token is taken back after two pages.
        let refused = asked.nth >= 3 && asked.header("authorization") == Some("Bearer t0");
        if refused || asked.header("authorization").is_none() {
            return StatusCode::UNAUTHORIZED.into_response();
        }
        json(page(three(asked.number("page", 1) - 1), ""))
    })
    .await;
    let auth = format!(
        "  auth: {{oauth2: {{token_url: \"{url}/token\", client_id: me, client_secret: SECRET, scope: read}}}}"
    );
    let found = tried(job(&url, "    pagination: {kind: page}", &auth, "")).await.unwrap();
    assert_eq!((counts(&found), found.stopped), (vec![2, 2, 2, 0], None));
    let url = serve(|_| StatusCode::UNAUTHORIZED.into_response()).await;
    let auth =
        format!("  auth: {{oauth2: {{token_url: \"{url}/token\", client_id: me, client_secret: SECRET}}}}");
    let fault = tried(job(&url, "", &auth, "")).await.unwrap_err().to_string();
    assert!(fault.contains("401") && !fault.contains("s3cret"), "{fault}");
}

#[tokio::test]
async fn signed_requests_are_signed_as_said() {
    let url = serve(|asked| {
        use hmac::{Hmac, KeyInit as _, Mac as _};
        let time = asked.header("x-timestamp").unwrap();
        let mut mac = Hmac::<sha2::Sha256>::new_from_slice(b"s3cret").unwrap();
        mac.update(format!("GET {}?{} {time}", asked.path, asked.raw_query).as_bytes());
        let expected = format!("v1 {}", hex::encode(mac.finalize().into_bytes()));
        assert_eq!(asked.header("x-sig"), Some(expected.as_str()));
        json(page(three(asked.number("page", 1) - 1), ""))
    })
    .await;
    let auth = "  auth: {hmac: {secret: SECRET, header: x-sig, prefix: \"v1 \", sign: \"{method} {path}?{query} {timestamp}\"}}";
    let found = tried(job(&url, "    pagination: {kind: page}", auth, "")).await.unwrap();
    assert_eq!(counts(&found), [2, 2, 2, 0]);
}

#[tokio::test]
async fn answers_are_recorded_and_played_without_the_api() {
    let folder = tempfile::tempdir().unwrap();
    let url = serve(|asked| json(page(three(asked.number("page", 1) - 1), ""))).await;
    let auth = "  auth: {query: {name: key, value: SECRET}}";
    let endpoint = "    pagination: {kind: page}";
    let record = Some(AnswerTape::Record(folder.path().to_owned()));
    let recorded = taped(job(&url, endpoint, auth, ""), record).await.unwrap();
    assert_eq!(counts(&recorded), [2, 2, 2, 0]);
    for file in std::fs::read_dir(folder.path()).unwrap() {
        let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
        assert!(!text.contains("s3cret"), "{text}");
    }
    // Another host, where nobody listens.
    let replay = || Some(AnswerTape::Replay(folder.path().to_owned()));
    let replayed = taped(job("http://127.0.0.1:9", endpoint, auth, ""), replay()).await.unwrap();
    assert_eq!(counts(&replayed), counts(&recorded));
    assert_eq!(replayed.pages[0].samples, recorded.pages[0].samples);
    let other = taped(job("http://127.0.0.1:9", "    pagination: {kind: offset}", auth, ""), replay()).await;
    assert!(other.unwrap().stopped.unwrap().contains("no recording of GET /v1/N1"));
}
