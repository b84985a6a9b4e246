//! A table of odd servers on raw sockets: every byte of an answer is the test's own. Each row says what must come of it.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod double;

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use double::{counts, flight, job, page, tried};
use flate2::Compression;
use flate2::write::GzEncoder;

/// A request as it came.
struct OddRequest {
    nth: u64,
    path: String,
    query: String,
}

impl OddRequest {
    fn number(&self, name: &str, otherwise: u64) -> u64 {
        let pair = self.query.split('&').find_map(|pair| pair.strip_prefix(&format!("{name}=")));
        pair.map_or(otherwise, |text| text.parse().unwrap())
    }
}

type OddAnswer = Box<dyn Fn(&OddRequest) -> Vec<u8> + Send + Sync>;

enum Outcome {
    /// Records by page, and nothing stops the id.
    Pages(&'static [u64]),
    /// Records and dead letters of the only page.
    Letters(u64, usize),
    /// The id stops, and the reason holds this text.
    Stops(&'static str),
    /// The worker would end, and the reason holds this text.
    Ends(&'static str),
}

struct OddServer {
    name: String,
    endpoint: &'static str,
    answer: OddAnswer,
    outcome: Outcome,
}

fn odd(
    name: impl Into<String>,
    endpoint: &'static str,
    outcome: Outcome,
    answer: impl Fn(&OddRequest) -> Vec<u8> + Send + Sync + 'static,
) -> OddServer {
    OddServer { name: name.into(), endpoint, answer: Box::new(answer), outcome }
}

/// An answer with its length. `headers` are lines that end with CRLF.
fn answer(status: &str, headers: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\n{headers}Content-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

fn fine(body: impl AsRef<[u8]>) -> Vec<u8> {
    answer("200 OK", "", body)
}

/// Serves until the process ends; a connection is one request.
fn serve(answer: OddAnswer) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (answer, count) = (Arc::new(answer), Arc::new(AtomicU64::new(0)));
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (answer, count) = (Arc::clone(&answer), Arc::clone(&count));
            std::thread::spawn(move || one(stream, &answer, &count));
        }
    });
    url
}

fn one(mut stream: TcpStream, answer: &OddAnswer, count: &AtomicU64) {
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut head = Vec::new();
    let mut byte = [0; 1];
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            _ => return,
        }
    }
    let head = String::from_utf8_lossy(&head);
    let target = head.split(' ').nth(1).unwrap_or_default().to_owned();
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let nth = count.fetch_add(1, Ordering::SeqCst);
    let request = OddRequest { nth, path: path.to_owned(), query: query.to_owned() };
    // The other side may be gone already.
    let _ = stream.write_all(&answer(&request));
    let _ = stream.flush();
    let _ = stream.shutdown(std::net::Shutdown::Write);
    while matches!(stream.read(&mut byte), Ok(1)) {}
}

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

fn two() -> String {
    page(0..2, "")
}

/// How an answer is carried.
fn carriers() -> Vec<OddServer> {
    let chunked = |size: usize, extension: &'static str, trailer: &'static str| {
        move |_: &OddRequest| {
            let mut out =
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n".to_vec();
            for chunk in two().as_bytes().chunks(size) {
                out.extend_from_slice(format!("{:x}{extension}\r\n", chunk.len()).as_bytes());
                out.extend_from_slice(chunk);
                out.extend_from_slice(b"\r\n");
            }
            out.extend_from_slice(format!("0\r\n{trailer}\r\n").as_bytes());
            out
        }
    };
    let raw = |head: &'static str| move |_: &OddRequest| [head.as_bytes(), two().as_bytes()].concat();
    let both = Outcome::Pages(&[2]);
    let mut all = vec![
        odd("chunks of one byte", "", Outcome::Pages(&[2]), chunked(1, "", "")),
        odd("chunks of seven bytes", "", Outcome::Pages(&[2]), chunked(7, "", "")),
        odd("one chunk", "", Outcome::Pages(&[2]), chunked(1 << 20, "", "")),
        odd("chunk extensions", "", Outcome::Pages(&[2]), chunked(50, ";name=value", "")),
        odd("trailers", "", Outcome::Pages(&[2]), chunked(50, "", "X-Sum: 1\r\n")),
        odd("HTTP/1.0 until the connection ends", "", Outcome::Pages(&[2]), raw("HTTP/1.0 200 OK\r\n\r\n")),
        odd("no length, HTTP/1.1", "", both, raw("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")),
        odd("no reason phrase", "", Outcome::Pages(&[2]), raw("HTTP/1.1 200\r\nConnection: close\r\n\r\n")),
        odd(
            "no content type",
            "",
            Outcome::Pages(&[2]),
            raw("HTTP/1.1 200 OK\r\nConnection: close\r\nX:\r\n\r\n"),
        ),
        odd("a hint first", "", Outcome::Pages(&[2]), |_| {
            [b"HTTP/1.1 103 Early Hints\r\nLink: </x>; rel=preload\r\n\r\n".to_vec(), fine(two())].concat()
        }),
        odd("continue first", "", Outcome::Pages(&[2]), |_| {
            [b"HTTP/1.1 100 Continue\r\n\r\n".to_vec(), fine(two())].concat()
        }),
        odd("more bytes than the length says", "", Outcome::Pages(&[2]), |_| {
            [fine(two()), b"rest".to_vec()].concat()
        }),
        odd("fewer bytes than the length says", "", Outcome::Stops("broke off"), |_| {
            let mut whole = fine(two());
            whole.truncate(whole.len() - 9);
            whole
        }),
        odd("a chunk that breaks off", "", Outcome::Stops("broke off"), |_| {
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n{\"data\":[".to_vec()
        }),
        odd("a chunk size that is none", "", Outcome::Stops("broke off"), |_| {
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n".to_vec()
        }),
        odd("no HTTP at all", "", Outcome::Stops("broke off"), |_| b"SSH-2.0-OpenSSH_9.2\r\n".to_vec()),
        odd("nothing at all", "", Outcome::Stops("broke off"), |_| Vec::new()),
        odd("half a head", "", Outcome::Stops("broke off"), |_| b"HTTP/1.1 200 OK\r\nContent-Le".to_vec()),
        odd("broken off twice, then whole", "", Outcome::Pages(&[2]), |asked| {
            let mut whole = fine(two());
            if asked.nth < 2 {
                whole.truncate(whole.len() / 2);
            }
            whole
        }),
        odd("an empty body without a length", "", Outcome::Stops("ends too early"), |_| {
            b"HTTP/1.0 200 OK\r\n\r\n".to_vec()
        }),
        odd("an empty body with its length", "", Outcome::Pages(&[0]), |_| fine("")),
        odd("an empty chunked body", "", Outcome::Pages(&[0]), |_| {
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n0\r\n\r\n".to_vec()
        }),
        odd("blanks for a body", "", Outcome::Stops("ends too early"), |_| fine(" \r\n")),
    ];

    // Codings, by their names.
    for name in ["gzip", "GZIP", "x-gzip", "Gzip", " gzip "] {
        all.push(odd(format!("coding {name}"), "", Outcome::Pages(&[2]), move |_| {
            answer("200 OK", &format!("Content-Encoding: {name}\r\n"), gzip(two().as_bytes()))
        }));
    }
    for name in ["identity", "utf-8", "UTF-8", "none", "binary", "8bit"] {
        all.push(odd(format!("coding {name}"), "", Outcome::Pages(&[2]), move |_| {
            answer("200 OK", &format!("Content-Encoding: {name}\r\n"), two())
        }));
    }
    for name in ["br", "deflate", "zstd", "compress", "gzip, gzip"] {
        all.push(odd(format!("coding {name}"), "", Outcome::Stops("encoded as"), move |_| {
            answer("200 OK", &format!("Content-Encoding: {name}\r\n"), two())
        }));
    }
    all.extend([
        odd("two members", "", Outcome::Pages(&[2]), |_| {
            let body = two();
            let members = [gzip(&body.as_bytes()[..20]), gzip(&body.as_bytes()[20..])].concat();
            answer("200 OK", "Content-Encoding: gzip\r\n", members)
        }),
        odd("a hundred members", "", Outcome::Pages(&[2]), |_| {
            let members: Vec<u8> = two().as_bytes().chunks(10).flat_map(gzip).collect();
            answer("200 OK", "Content-Encoding: gzip\r\n", members)
        }),
        odd("said to be gzip, but plain", "", Outcome::Pages(&[2]), |_| {
            answer("200 OK", "Content-Encoding: gzip\r\n", two())
        }),
        odd("gzip that breaks off", "", Outcome::Stops("decompressed"), |_| {
            let packed = gzip(two().as_bytes());
            answer("200 OK", "Content-Encoding: gzip\r\n", &packed[..packed.len() - 4])
        }),
        odd("zeros behind the last member", "", Outcome::Pages(&[2]), |_| {
            answer("200 OK", "Content-Encoding: gzip\r\n", [gzip(two().as_bytes()), vec![0; 100]].concat())
        }),
    ]);
    all
}

/// What is around the records.
fn envelopes() -> Vec<OddServer> {
    let body =
        |name: &'static str, outcome: Outcome, body: String| odd(name, "", outcome, move |_| fine(&body));
    let one = flight(1);
    let mut all = vec![
        body("a byte order mark", Outcome::Pages(&[2]), format!("\u{feff}{}", two())),
        body("blanks around", Outcome::Pages(&[2]), format!("\r\n\t {} \n\n", two())),
        body("an escaped key", Outcome::Pages(&[1]), format!(r#"{{"d\u0061ta":[{one}]}}"#)),
        body("the key twice", Outcome::Stops("occurs twice"), format!(r#"{{"data":[{one}],"data":[]}}"#)),
        body("one object", Outcome::Pages(&[1]), format!(r#"{{"data":{one}}}"#)),
        body("null records", Outcome::Pages(&[0]), r#"{"data":null}"#.into()),
        body("no records", Outcome::Pages(&[0]), r#"{"data":[]}"#.into()),
        body("no key", Outcome::Pages(&[0]), r#"{"kind":"list","etag":"x"}"#.into()),
        body("an empty object", Outcome::Pages(&[0]), "{}".into()),
        body("text for records", Outcome::Stops("expected an array or an object"), r#"{"data":"x"}"#.into()),
        body(
            "a number for records",
            Outcome::Stops("expected an array or an object"),
            r#"{"data":7}"#.into(),
        ),
        body("a bare NaN beside them", Outcome::Pages(&[1]), format!(r#"{{"took":NaN,"data":[{one}]}}"#)),
        body("a comma too many", Outcome::Stops("expected JSON"), format!(r#"{{"data":[{one},]}}"#)),
        body("a comma too few", Outcome::Stops("expected JSON"), format!(r#"{{"data":[{one} {one}]}}"#)),
        body("the wrong bracket", Outcome::Stops("expected JSON"), format!(r#"{{"data":[{one}}}"#)),
        body("two documents", Outcome::Stops("expected JSON"), format!("{}{}", two(), two())),
        body("a comment", Outcome::Stops("expected JSON"), format!("/* x */{}", two())),
        body("JSONP", Outcome::Stops("expected JSON"), format!("callback({});", two())),
        body("a guard against scripts", Outcome::Stops("expected JSON"), format!(")]}}',\n{}", two())),
        body("single quotes", Outcome::Stops("expected JSON"), "{'data':[]}".into()),
        body("a list", Outcome::Stops("expected JSON"), format!("[{one}]")),
        body("a text", Outcome::Stops("expected JSON"), r#""data""#.into()),
        body("null", Outcome::Pages(&[0]), "null".into()),
        body("HTML", Outcome::Stops("expected JSON"), "<!doctype html><title>Sign in</title>".into()),
        body("XML", Outcome::Stops("expected JSON"), "<?xml version=\"1.0\"?><error/>".into()),
        body("half a page", Outcome::Stops("ends too early"), r#"{"data":[{"year":20"#.into()),
        odd("Latin-1", "", Outcome::Stops("expected UTF-8"), |_| fine(b"{\"data\":[\"\xe9\"]}")),
        odd("UTF-16", "", Outcome::Stops("expected JSON"), |_| {
            fine("{\"data\":[]}".encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>())
        }),
        odd("a key with a dot", "    record_path: \"'a.b'\"", Outcome::Pages(&[1]), |_| {
            fine(format!(r#"{{"a.b":[{}]}}"#, flight(1)))
        }),
        odd("records in groups", "    record_path: groups[*].items", Outcome::Pages(&[3]), |_| {
            let (one, two, three) = (flight(1), flight(2), flight(3));
            fine(format!(r#"{{"groups":[{{"items":[{one},{two}]}},{{}},{{"items":[{three}]}}]}}"#))
        }),
        odd("the second element", "    record_path: \"$.lists[1]\"", Outcome::Pages(&[1]), |_| {
            fine(format!(r#"{{"lists":[[1,2],[{}]]}}"#, flight(1)))
        }),
        odd("the page itself", "    record_path: \"\"", Outcome::Pages(&[2]), |_| {
            fine(format!("[{},{}]", flight(1), flight(2)))
        }),
    ];

    // Records that are none cost themselves.
    for (name, bad) in [
        ("a bare NaN", "NaN"),
        ("an object with NaN", r#"{"year":NaN}"#),
        ("Infinity", r#"{"year":-Infinity}"#),
        ("undefined", r#"{"year":undefined}"#),
        ("Python's None", r#"{"year":None}"#),
        ("a tab in a text", "{\"carrier\":\"a\tb\"}"),
        ("a comma too many in a record", r#"{"year":1,}"#),
        ("a number beyond every double", r#"{"year":1e999}"#),
        ("half a surrogate", r#"{"carrier":"\ud800"}"#),
        ("a text", r#""text""#),
        ("null for a record", "null"),
        ("a list for a record", "[1,[2]]"),
    ] {
        let body = format!(r#"{{"data":[{},{bad},{}]}}"#, flight(1), flight(2));
        all.push(odd(format!("record: {name}"), "", Outcome::Letters(2, 1), move |_| fine(&body)));
    }
    all
}

/// Statuses, and errors in good answers.
fn statuses() -> Vec<OddServer> {
    let mut all = Vec::new();
    for code in [
        400, 402, 404, 405, 406, 409, 410, 411, 413, 414, 415, 417, 418, 421, 422, 423, 424, 426, 428, 431,
        451, 499,
    ] {
        all.push(odd(format!("status {code}"), "", Outcome::Stops("the API answered"), move |_| {
            answer(&format!("{code} X"), "", "{}")
        }));
    }
    for code in [408, 425, 429, 500, 501, 502, 503, 504, 520, 529, 599] {
        all.push(odd(format!("status {code} once"), "", Outcome::Pages(&[2]), move |asked| {
            match asked.nth {
                0 => answer(&format!("{code} X"), "", "<html>"),
                _ => fine(two()),
            }
        }));
    }
    for code in [201, 202, 203, 206] {
        all.push(odd(format!("status {code}"), "", Outcome::Pages(&[2]), move |_| {
            answer(&format!("{code} X"), "", two())
        }));
    }
    all.extend([
        odd("status 204", "", Outcome::Pages(&[0]), |_| {
            b"HTTP/1.1 204 X\r\nConnection: close\r\n\r\n".to_vec()
        }),
        odd("status 401", "", Outcome::Ends("401"), |_| answer("401 X", "", "{}")),
        odd("status 403", "", Outcome::Ends("403"), |_| answer("403 X", "", "{}")),
        odd("403 that is too fast", "", Outcome::Pages(&[2]), |asked| match asked.nth {
            0 => answer("403 X", "Retry-After: 0\r\n", "{}"),
            _ => fine(two()),
        }),
        odd("403 with nothing left", "", Outcome::Pages(&[2]), |asked| match asked.nth {
            0 => answer("403 X", "x-ratelimit-remaining: 0\r\nx-ratelimit-reset: 0.1\r\n", "{}"),
            _ => fine(two()),
        }),
        odd("status 304", "", Outcome::Stops("304"), |_| {
            b"HTTP/1.1 304 X\r\nConnection: close\r\n\r\n".to_vec()
        }),
        odd(
            "a condition: wait",
            "    when: [{at: code, is: busy, then: wait, seconds: 0}]",
            Outcome::Pages(&[2]),
            |asked| fine(if asked.nth == 0 { r#"{"code":"busy"}"#.to_owned() } else { two() }),
        ),
        odd(
            "a condition: none",
            "    when: [{at: code, is: [7, 8], then: none}]",
            Outcome::Pages(&[0]),
            |_| fine(r#"{"code":8}"#),
        ),
        odd(
            "a condition: dead",
            "    when: [{at: error, then: dead}]",
            Outcome::Stops("`error` holds"),
            |_| fine(r#"{"error":{"a":1}}"#),
        ),
        odd(
            "a condition: fail",
            "    when: [{at: ok, is: false, then: fail}]",
            Outcome::Ends("`ok` holds"),
            |_| fine(r#"{"ok":false}"#),
        ),
    ]);

    for body in [
        r#"{"data":null,"errors":[{"message":"x"}]}"#,
        r#"{"errors":[{"message":"x"}]}"#,
        r#"{"error":"x"}"#,
        r#"{"error":{"code":1}}"#,
        r#"{"ok":false,"error":"ratelimited"}"#,
        r#"{"success":false}"#,
        r#"{"message":"Internal server error"}"#,
        r#"{"code":500,"message":"x"}"#,
        r#"{"type":"about:blank","title":"x","status":500,"detail":"y"}"#,
        r#"{"data":null,"success":false}"#,
    ] {
        all.push(odd(format!("an error in 200: {body}"), "", Outcome::Stops("error"), move |_| fine(body)));
    }
    for body in [
        r#"{"data":[],"errors":[{"message":"a part of it"}]}"#,
        r#"{"data":[],"error":null}"#,
        r#"{"data":null,"error":""}"#,
        r#"{"data":null,"errors":[]}"#,
        r#"{"ok":true}"#,
        r#"{"success":true,"data":[]}"#,
        r#"{"message":"welcome","version":3}"#,
    ] {
        all.push(odd(format!("no error: {body}"), "", Outcome::Pages(&[0]), move |_| fine(body)));
    }
    all
}

/// The way to the next page.
fn ways() -> Vec<OddServer> {
    const LINK: &str = "    pagination: {kind: link_header}";
    const URL: &str = "    pagination: {kind: next_url, at: next}";
    const MORE: &str = "    pagination: {kind: page, more_at: more}";
    let mut all = Vec::new();

    // Link headers.
    for (name, link) in [
        ("plain", r#"</v1/N1?p=N>; rel="next""#),
        ("no quotes", "</v1/N1?p=N>; rel=next"),
        ("single quotes", "</v1/N1?p=N>; rel='next'"),
        ("blanks", r#"</v1/N1?p=N> ;  rel = "next" "#),
        ("two relations", r#"</v1/N1?p=N>; rel="last next""#),
        ("upper case", r#"</v1/N1?p=N>; REL="NEXT""#),
        ("other links around", r#"</a>; rel="first", </v1/N1?p=N>; rel="next", </b>; rel="last""#),
        ("a title that lies", r#"</a>; rel="first"; title="x; rel=next", </v1/N1?p=N>; rel="next""#),
        ("a comma in a URL", r#"</a,b?c=1,2>; rel="prev", </v1/N1?p=N>; rel="next""#),
        ("an anchor of another", r#"</a>; rel="next"; anchor="/b", </v1/N1?p=N>; rel="next""#),
        ("UTF-8", r#"</v1/N1?q=Zürich&p=N>; rel="next""#),
        ("a relative URL", r#"<N1?p=N>; rel="next""#),
        ("only a query", r#"<?p=N>; rel="next""#),
    ] {
        all.push(odd(format!("link: {name}"), LINK, Outcome::Pages(&[1, 1, 1]), move |asked| {
            let at = asked.number("p", 1);
            let link = format!("Link: {}\r\n", link.replace("p=N", &format!("p={}", at + 1)));
            answer("200 OK", if at < 3 { &link } else { "" }, page([at], ""))
        }));
    }
    for (name, link) in [
        ("no brackets", "/v1/N1?p=2; rel=next"),
        ("an open bracket", "</v1/N1?p=2"),
        ("an open quote", "</p>; rel=\"next"),
    ] {
        all.push(odd(format!("link: {name}"), LINK, Outcome::Stops("RFC 8288"), move |_| {
            answer("200 OK", &format!("Link: {link}\r\n"), page([1], ""))
        }));
    }

    // Next URLs.
    for (name, next) in [
        ("absolute path", "/v1/N1?p=N"),
        ("relative", "N1?p=N"),
        ("only a query", "?p=N"),
        ("dots", "../v1/./N1?p=N"),
        ("blanks in it", "/v1/N1?q=a b&p=N"),
        ("UTF-8", "/v1/N1?q=é&p=N"),
    ] {
        all.push(odd(format!("next: {name}"), URL, Outcome::Pages(&[1, 1, 1]), move |asked| {
            let at = asked.number("p", 1);
            let next = format!(r#""next":"{}""#, next.replace("p=N", &format!("p={}", at + 1)));
            fine(page([at], if at < 3 { &next } else { r#""next":null"# }))
        }));
    }
    for (name, next) in [("false", "false"), ("an empty text", "\"\""), ("null", "null")] {
        let body = page([1], &format!(r#""next":{next}"#));
        all.push(odd(format!("next: {name}"), URL, Outcome::Pages(&[1]), move |_| fine(&body)));
    }
    for (name, next, why) in [
        ("an object", "{}", "expected a short text"),
        ("a file", "\"file:///etc/passwd\"", "http or https"),
        ("no URL", "\"http://[\"", "http or https"),
        ("itself", "\"/v1/N1\"", "the same page"),
    ] {
        let body = page([1], &format!(r#""next":{next}"#));
        let outcome = if name == "itself" { Outcome::Stops("") } else { Outcome::Stops(why) };
        all.push(odd(format!("next: {name}"), URL, outcome, move |_| fine(&body)));
    }

    // Whether more pages follow.
    for (name, sizes, outcome) in [
        ("an empty page in the middle", [1, 0, 2], Outcome::Pages(&[1, 0, 2])),
        ("an empty page first", [0, 0, 2], Outcome::Pages(&[0, 0, 2])),
        ("an empty page last", [2, 1, 0], Outcome::Pages(&[2, 1, 0])),
    ] {
        all.push(odd(format!("more: {name}"), MORE, outcome, move |asked| {
            let at = asked.number("page", 1);
            let from = at * 10;
            fine(page(from..from + sizes[at as usize - 1], &format!(r#""more":{}"#, at < 3)))
        }));
    }
    for value in ["1", "\"true\"", "true"] {
        all.push(odd(format!("more: {value}"), MORE, Outcome::Pages(&[1, 1]), move |asked| {
            let at = asked.number("page", 1);
            fine(page([at], &format!(r#""more":{}"#, if at < 2 { value } else { "false" })))
        }));
    }

    // Redirects.
    for status in [301, 302, 303, 307, 308] {
        for location in ["/moved/N1", "../moved/N1"] {
            all.push(odd(
                format!("{status} to {location}"),
                "",
                Outcome::Pages(&[2]),
                move |asked| match asked.path.as_str() {
                    "/moved/N1" => fine(two()),
                    _ => answer(&format!("{status} X"), &format!("Location: {location}\r\n"), ""),
                },
            ));
        }
        all.push(odd(format!("{status} to nowhere"), "", Outcome::Stops("Location"), move |_| {
            answer(&format!("{status} X"), "", "")
        }));
    }
    all.push(odd(
        "a next page relative to the page after a redirect",
        URL,
        Outcome::Pages(&[1, 1]),
        |asked| match (asked.path.as_str(), asked.number("p", 1)) {
            ("/v1/N1", _) => answer("302 X", "Location: /moved/here/N1\r\n", ""),
            ("/moved/here/N1", 1) => fine(page([1], r#""next":"N1?p=2""#)),
            ("/moved/here/N1", _) => fine(page([2], r#""next":null"#)),
            _ => answer("404 X", "", ""),
        },
    ));

    // Waits, in headers of every kind; all short.
    for headers in [
        "Retry-After: 0.2\r\n",
        "retry-after-ms: 200\r\n",
        "x-ms-retry-after-ms: 200\r\n",
        "RateLimit: limit=9, remaining=0, reset=0.2\r\n",
        "RateLimit: \"default\";r=0;t=0.2\r\n",
        "X-RateLimit-Reset-After: 0.2\r\n",
        "x-ratelimit-remaining-requests: 0\r\nx-ratelimit-reset-requests: 200ms\r\n",
    ] {
        let at = std::sync::Mutex::new(None);
        all.push(odd(format!("429 with {headers:?}"), "", Outcome::Pages(&[0]), move |asked| {
            let mut at = at.lock().unwrap();
            if asked.nth == 0 {
                *at = Some(std::time::Instant::now());
                return answer("429 X", headers, "{}");
            }
            let early = at.is_none_or(|at: std::time::Instant| at.elapsed() < Duration::from_millis(200));
            if early { answer("400 too early", "", "{}") } else { fine(page(0..0, "")) }
        }));
    }
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_odd_server_has_the_outcome_of_its_row() {
    let servers: Vec<OddServer> =
        [carriers(), envelopes(), statuses(), ways()].into_iter().flatten().collect();
    assert!(servers.len() >= 120, "{} servers", servers.len());
    eprintln!("{} servers", servers.len());

    let mut wrong = Vec::new();
    let mut tasks = tokio::task::JoinSet::new();
    for OddServer { name, endpoint, answer, outcome } in servers {
        let url = serve(answer);
        // Eight at a time.
        while tasks.len() >= 8 {
            wrong.extend::<Option<String>>(tasks.join_next().await.unwrap().unwrap());
        }
        tasks.spawn(async move {
            let found = tried(job(&url, endpoint, "  timeout_seconds: 10", "")).await;
            let right = match (&outcome, &found) {
                (Outcome::Pages(pages), Ok(found)) => found.stopped.is_none() && counts(found) == *pages,
                (Outcome::Letters(records, letters), Ok(found)) => {
                    found.stopped.is_none()
                        && matches!(&found.pages[..], [page] if page.records == *records && page.rejects.len() == *letters)
                }
                (Outcome::Stops(why), Ok(found)) => {
                    found.stopped.as_ref().is_some_and(|stopped| stopped.contains(why))
                }
                (Outcome::Ends(why), Err(fault)) => fault.to_string().contains(why),
                _ => false,
            };
            (!right).then(|| format!("{name}: {found:?}"))
        });
    }
    while let Some(joined) = tasks.join_next().await {
        wrong.extend(joined.unwrap());
    }
    assert!(wrong.is_empty(), "{} rows:\n{}", wrong.len(), wrong.join("\n"));
}
