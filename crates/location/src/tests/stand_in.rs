//! A server that creates, refuses and removes objects, as far as the probe needs S3's and GCS's protocols.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// A request for an object, and its outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct BucketRequest {
    /// Path of the object below the server, without escapes.
    pub(super) path: String,
    /// `created`, `replaced`, `refused`, `removed` or `unknown`.
    pub(super) outcome: &'static str,
}

/// The names of the objects, and all requests.
#[derive(Default)]
struct BucketState {
    names: BTreeSet<String>,
    requests: Vec<BucketRequest>,
}

/// The server. Its threads end with the test's process.
pub(super) struct BucketServer {
    address: SocketAddr,
    state: Arc<Mutex<BucketState>>,
}

impl BucketServer {
    /// Starts a server on a free port. One that is not `strict` ignores the condition of a put.
    pub(super) fn start(strict: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(BucketState::default()));
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let state = Arc::clone(&shared);
                std::thread::spawn(move || serve(stream.unwrap(), strict, &state));
            }
        });
        Self { address, state }
    }

    /// Returns the base URL.
    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Returns all requests so far.
    pub(super) fn requests(&self) -> Vec<BucketRequest> {
        self.state.lock().unwrap().requests.clone()
    }
}

/// Answers the requests of a connection until its client closes it.
fn serve(stream: TcpStream, strict: bool, state: &Mutex<BucketState>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut writer = stream;
    loop {
        // The first line and the headers. S3 and GCS have different headers for the same condition.
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or_default() == 0 {
            return;
        }
        let mut words = line.split_whitespace().map(str::to_owned);
        let (method, path) = (words.next().unwrap(), words.next().unwrap());
        let (mut length, mut only_new) = (0, false);
        loop {
            let mut header = String::new();
            reader.read_line(&mut header).unwrap();
            let Some((name, value)) = header.trim().split_once(':') else { break };
            match (name.to_ascii_lowercase().as_str(), value.trim()) {
                ("content-length", value) => length = value.parse().unwrap(),
                ("if-none-match", "*") | ("x-goog-if-generation-match", "0") => only_new = true,
                _ => {}
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();

        // The object's name. S3 removes objects with a POST to the bucket, whose body names them.
        let body = String::from_utf8(body).unwrap();
        let key = body.split_once("<Key>").and_then(|(_, rest)| rest.split_once("</Key>"));
        let path = match (path.strip_suffix("?delete"), key) {
            (Some(bucket), Some((key, _))) => format!("{bucket}/{key}"),
            _ => path.replace("%2F", "/").replace("%2E", ".").replace("%2D", "-"),
        };

        let mut state = state.lock().unwrap();
        let exists = state.names.contains(&path);
        let (status, outcome) = match method.as_str() {
            "PUT" if exists && strict && only_new => (412, "refused"),
            "PUT" => {
                state.names.insert(path.clone());
                (200, if exists { "replaced" } else { "created" })
            }
            "DELETE" | "POST" if state.names.remove(&path) => (200, "removed"),
            _ => (404, "unknown"),
        };
        state.requests.push(BucketRequest { path, outcome });
        drop(state);

        // The body that S3 sends for removed objects; the other answers are read without theirs.
        let body = if method == "POST" { "<DeleteResult></DeleteResult>" } else { "" };
        let head = format!("HTTP/1.1 {status} Answer\r\nETag: \"1\"\r\nx-goog-generation: 1\r\n");
        write!(writer, "{head}Content-Length: {}\r\n\r\n{body}", body.len()).unwrap();
    }
}
