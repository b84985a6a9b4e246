//! What APIs do to those who ask them. Each trap is survived and said plainly.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod double;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use double::{counts, flight, job, json, page, serve, tried};

const BY_PAGE: &str = "    pagination: {kind: page}";
const BY_URL: &str = "    pagination: {kind: next_url, at: next}";

fn stopped(found: &sluice_collector::operate::TrialReport) -> &str {
    found.stopped.as_deref().expect("it stops and says why")
}

#[tokio::test]
async fn an_api_that_loops() {
    let url = serve(|asked| {
        let at = asked.number("p", 0);
        json(page([at], &format!(r#""next":"/v1/N1?p={}""#, (at + 1) % 4)))
    })
    .await;
    let found = tried(job(&url, BY_URL, "", "")).await.unwrap();
    assert_eq!(counts(&found), [1, 1, 1, 1]);
    assert!(stopped(&found).contains("leads back to an earlier page"), "{found:?}");
}

#[tokio::test]
async fn an_api_with_tokens_without_end() {
    // As a row of the database can hold them, and longer.
    for (length, pages) in [(30_000, 4), (62_000, 0)] {
        let url = serve(move |asked| {
            let at = asked.number("p", 0);
            let next = format!(r#""next":"/v1/N1?p={}&long={}""#, at + 1, "x".repeat(length));
            json(page([at], if at < 3 { &next } else { r#""next":null"# }))
        })
        .await;
        let found = tried(job(&url, BY_URL, "", "")).await.unwrap();
        assert_eq!(counts(&found).len(), pages);
        if pages == 0 {
            assert!(
                stopped(&found).contains("page 0: the position behind it is too long to store"),
                "{found:?}"
            );
        }
    }
}

#[tokio::test]
async fn a_full_last_page_that_repeats_for_ever() {
    let url = serve(|asked| {
        let at = asked.number("page", 1).min(3);
        // It even says another number around the same records.
        json(page(at * 10..at * 10 + 5, &format!(r#""number":{}"#, asked.nth)))
    })
    .await;
    let found = tried(job(&url, BY_PAGE, "", "")).await.unwrap();
    assert_eq!(counts(&found), [5, 5, 5]);
    assert!(stopped(&found).contains("the page before it again"), "{found:?}");
}

#[tokio::test]
async fn a_short_page_is_not_the_end() {
    let sizes = [5, 2, 0, 5];
    let url = serve(move |asked| {
        let at = asked.number("p", 0);
        let next = if at < 3 { format!(r#""next":"/v1/N1?p={}""#, at + 1) } else { r#""next":null"#.into() };
        json(page(at * 10..at * 10 + sizes[at as usize], &next))
    })
    .await;
    assert_eq!(counts(&tried(job(&url, BY_URL, "", "")).await.unwrap()), [5, 2, 0, 5]);
    let url = serve(move |asked| {
        let at = asked.number("page", 1);
        json(page(at * 10..at * 10 + [0, 5, 2, 5, 0, 5][at as usize], ""))
    })
    .await;
    assert_eq!(counts(&tried(job(&url, BY_PAGE, "", "")).await.unwrap()), [5, 2, 5, 0], "an empty one is");
}

#[tokio::test]
async fn an_api_that_grows_shrinks_or_lies_about_totals() {
    let endpoint = "    pagination: {kind: offset}\n    total_at: total";
    // A row comes in at the front behind the first page: its last record is seen again.
    let url = serve(|asked| {
        let offset = asked.number("offset", 0);
        let (shift, total) = if asked.nth == 0 { (0, 10) } else { (1, 11) };
        let from = offset - shift.min(offset);
        json(page(from..(from + 5).min(10), &format!(r#""total":{total}"#)))
    })
    .await;
    let found = tried(job(&url, endpoint, "", "")).await.unwrap();
    let drifts = found.drifts.join("; ");
    assert!(
        drifts.contains("10 records in all, now 11") && drifts.contains("1 records were in the page before"),
        "{drifts}"
    );
    // Rows go.
    let url = serve(|asked| {
        let offset = asked.number("offset", 0);
        let total = 10 - asked.nth.min(3);
        json(page(offset..(offset + 5).min(total), &format!(r#""total":{total}"#)))
    })
    .await;
    let drifts = tried(job(&url, endpoint, "", "")).await.unwrap().drifts.join("; ");
    assert!(drifts.contains("now 9"), "{drifts}");
    // Never true.
    let url = serve(|asked| {
        let offset = asked.number("offset", 0);
        json(page(offset..(offset + 5).min(7), r#""total":1000"#))
    })
    .await;
    let found = tried(job(&url, endpoint, "", "")).await.unwrap();
    assert_eq!(counts(&found), [5, 2, 0]);
    assert!(found.drifts[0].contains("1000 records in all, but 7 came"), "{:?}", found.drifts);
}

#[tokio::test]
async fn an_api_that_sends_html() {
    let url =
        serve(|_| ([("content-type", "text/html")], "<html>please log in</html>").into_response()).await;
    let found = tried(job(&url, "", "", "")).await.unwrap();
    assert!(stopped(&found).contains("an HTML page: expected JSON"), "{found:?}");
    assert!(!stopped(&found).contains("log in"), "pages are not quoted");
}

#[tokio::test]
async fn half_a_page_is_no_page() {
    let whole = page(0..40, r#""next":null"#);
    let half = whole[..whole.len() / 2].to_owned();
    let url = serve(move |asked| json(if asked.nth < 2 { half.clone() } else { whole.clone() })).await;
    let found = tried(job(&url, BY_URL, "", "")).await.unwrap();
    assert_eq!((counts(&found), &found.stopped), (vec![40], &None), "the third answer is whole");
    let half = page(0..40, "")[..2_000].to_owned();
    let url = serve(move |_| json(half.clone())).await;
    let found = tried(job(&url, BY_URL, "", "")).await.unwrap();
    assert_eq!(counts(&found), [0; 0], "nothing of it was handed over");
    assert!(stopped(&found).contains("JSON ends too early"), "{found:?}");
}

#[tokio::test]
async fn an_answer_that_breaks_off() {
    let url = serve(|asked| {
        let body = page(0..40, "");
        let bytes = Bytes::from(body.clone());
        if asked.nth > 0 {
            return json(body);
        }
        let pieces = vec![Ok(bytes.slice(..500)), Err(std::io::Error::other("cut"))];
        Body::from_stream(tokio_stream(pieces)).into_response()
    })
    .await;
    assert_eq!(counts(&tried(job(&url, "", "", "")).await.unwrap()), [40]);
}

#[tokio::test]
async fn an_api_with_another_encoding_than_it_says() {
    let body: Vec<u8> = b"{\"data\":[{\"carrier\":\"Caf\xe9\"}]}".to_vec();
    let url =
        serve(move |_| ([("content-type", "application/json; charset=utf-8")], body.clone()).into_response())
            .await;
    assert!(stopped(&tried(job(&url, "", "", "")).await.unwrap()).contains("expected UTF-8"));
}

#[tokio::test]
async fn an_api_that_compresses_as_nobody_asked() {
    for encoding in ["br", "deflate", "zstd"] {
        let url = serve(move |asked| {
            assert_eq!(asked.header("accept-encoding"), Some("gzip"), "only what can be read is asked for");
            ([("content-type", "application/json"), ("content-encoding", encoding)], vec![27u8, 3, 0])
                .into_response()
        })
        .await;
        let found = tried(job(&url, "", "", "")).await.unwrap();
        assert!(stopped(&found).contains(&format!("encoded as `{encoding}`")), "{found:?}");
    }
}

/// Records without end, from a generator; `most` of them.
fn endless(most: u64) -> Response {
    let block: Bytes = std::iter::repeat_n(flight(7) + ",", 200).collect::<String>().into();
    let head = std::iter::once(Bytes::from_static(b"{\"data\":["));
    let tail = std::iter::once(Bytes::from(flight(8) + "]}"));
    let body = head.chain((0..most / 200).map(move |_| block.clone())).chain(tail);
    Body::from_stream(tokio_stream(body.map(Ok))).into_response()
}

fn tokio_stream<I>(pieces: I) -> impl futures::Stream<Item = Result<Bytes, std::io::Error>>
where
    I: IntoIterator<Item = Result<Bytes, std::io::Error>>,
{
    futures::stream::iter(pieces)
}

fn peak_resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
    line.split_ascii_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
}

#[tokio::test]
async fn a_page_of_gigabytes_is_given_up_at_its_limit_in_bounded_memory() {
    let url = serve(|_| endless(u64::MAX)).await;
    let before = peak_resident();
    let found = tried(job(&url, "", "  max_page: 48MiB", "")).await.unwrap();
    assert!(stopped(&found).contains(&format!("more than {} bytes", 48 << 20)), "{:?}", found.stopped);
    let grown = peak_resident() - before;
    assert!(grown < 40 << 20, "{grown} bytes for a page of 48 MiB");
}

#[tokio::test]
async fn a_large_page_is_handed_over_in_parts() {
    let url = serve(|_| endless(200_000)).await;
    let found = tried(job(&url, "", "", "")).await.unwrap();
    assert_eq!(found.stopped, None);
    let counts = counts(&found);
    assert!(counts.len() > 2, "{counts:?}");
    assert_eq!(counts.iter().sum::<u64>(), 200_001);
    assert!(found.pages.iter().all(|page| page.page == 0));
}

#[tokio::test]
async fn an_api_that_says_nothing_for_minutes() {
    let url = serve(|asked| {
        let silent = futures::stream::pending::<Result<Bytes, std::io::Error>>();
        if asked.nth == 0 {
            // Half a page, then silence.
            let start = futures::stream::iter([Ok(Bytes::from_static(b"{\"data\":["))]);
            return Body::from_stream(futures::StreamExt::chain(start, silent)).into_response();
        }
        Body::from_stream(silent).into_response()
    })
    .await;
    let before = Instant::now();
    let found = tried(job(&url, "", "  timeout_seconds: 1", "")).await.unwrap();
    assert!(stopped(&found).contains("did not come within the timeouts"), "{found:?}");
    assert!(before.elapsed() < Duration::from_secs(20));
}

#[tokio::test]
async fn an_api_that_drips_is_given_up_as_a_whole() {
    let url = serve(|_| {
        let drip = futures::stream::unfold((), |()| async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            Some((Ok::<_, std::io::Error>(Bytes::from_static(b" ")), ()))
        });
        Body::from_stream(drip).into_response()
    })
    .await;
    let found = tried(job(&url, "", "  longest_answer_seconds: 1", "")).await.unwrap();
    assert!(stopped(&found).contains("did not come within the timeouts"), "{found:?}");
}

#[tokio::test]
async fn credentials_do_not_follow_elsewhere() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let saw = Arc::clone(&seen);
    let elsewhere = serve(move |asked| {
        let text = format!("{:?} {} {:?}", asked.headers, asked.raw_query, asked.body);
        saw.lock().unwrap().push(text);
        json(page([asked.nth], r#""next":null"#))
    })
    .await;
    for auth in [
        "bearer: SECRET",
        "basic: {user: s3cret, password: SECRET}",
        "header: {name: x-key, value: SECRET}",
        "query: {name: key, value: SECRET}",
        "hmac: {secret: SECRET}",
    ] {
        let target = elsewhere.clone();
        let redirects = serve(move |asked| {
            assert!(asked.headers.contains_key("x-own"));
            (StatusCode::TEMPORARY_REDIRECT, [("location", format!("{target}{}", asked.path))])
                .into_response()
        })
        .await;
        let target = elsewhere.clone();
        let leads = serve(move |_| json(page([1], &format!(r#""next":"{target}/next""#)))).await;
        for url in [redirects, leads] {
            let api = format!("  auth: {{{auth}}}\n  headers: {{x-own: s3cret}}");
            let found = tried(job(&url, BY_URL, &api, "")).await.unwrap();
            assert_eq!(found.stopped, None);
            assert!(!format!("{found:?}").contains("s3cret"));
        }
    }
    let seen = seen.lock().unwrap();
    assert_eq!(seen.len(), 10, "every job got there");
    for asked in seen.iter() {
        let told = ["s3cret", "authorization", "x-signature", "x-own", "czNjcmV0"];
        assert!(!told.iter().any(|secret| asked.contains(secret)), "{asked}");
    }
}

#[tokio::test]
async fn redirects_without_end_or_to_nowhere() {
    let url = serve(|asked| (StatusCode::FOUND, [("location", asked.path)]).into_response()).await;
    assert!(stopped(&tried(job(&url, "", "", "")).await.unwrap()).contains("redirects in a row"));
    let url = serve(|_| (StatusCode::FOUND, [("location", "file:///etc/passwd")]).into_response()).await;
    assert!(stopped(&tried(job(&url, "", "", "")).await.unwrap()).contains("without a usable Location"));
}

#[tokio::test]
async fn an_api_that_never_ends() {
    let url = serve(|asked| json(page([asked.nth], &format!(r#""next":"/v1/N1?p={}""#, asked.nth)))).await;
    let found = tried(job(&url, BY_URL, "", "rate: {max_pages: 20}")).await.unwrap();
    assert_eq!(counts(&found).len(), 19);
    assert!(stopped(&found).contains("expected at most 20 pages"), "{found:?}");
}

#[tokio::test]
async fn retry_after_is_never_undercut_in_any_form() {
    let date = || httpdate::fmt_http_date(std::time::SystemTime::now() + Duration::from_secs(2));
    let cases: [(Box<dyn Fn() -> String + Send + Sync>, u64); 5] = [
        (Box::new(|| "1".into()), 1_000),
        (Box::new(|| "0.4".into()), 400),
        (Box::new(date), 1_000),
        (Box::new(|| "NaN".into()), 0),
        (Box::new(|| "-5".into()), 0),
    ];
    for (header, least) in cases {
        let refused = Arc::new(Mutex::new(None));
        let at = Arc::clone(&refused);
        let url = serve(move |asked| {
            if asked.nth == 0 {
                let answer = (StatusCode::TOO_MANY_REQUESTS, [("retry-after", header())]).into_response();
                *at.lock().unwrap() = Some(Instant::now());
                return answer;
            }
            let waited = at.lock().unwrap().unwrap().elapsed();
            json(page([], &format!(r#""next":null,"waited":{}"#, waited.as_millis())))
        })
        .await;
        let before = Instant::now();
        let found = tried(job(&url, BY_URL, "", "")).await.unwrap();
        assert_eq!(found.stopped, None);
        let waited = before.elapsed();
        assert!(waited >= Duration::from_millis(least), "{waited:?} for {least} ms");
        assert!(waited < Duration::from_millis(least + 4_000), "{waited:?} for {least} ms");
    }
    // Longer than anybody waits with the id in hand.
    let url = serve(|_| (StatusCode::TOO_MANY_REQUESTS, [("retry-after", "1e15")]).into_response()).await;
    assert!(stopped(&tried(job(&url, "", "", "")).await.unwrap()).contains("429"));
}
