//! Servers that answer wrongly, on loopback, as long as the process lives.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use sluice_stack::process;
use sluice_tests::eventually;

/// A port on which nothing listens: discard has no server here.
pub(super) const CLOSED: &str = "127.0.0.1:9";

/// Starts a server that gives every request the same answer. Returns `host:port`.
pub(super) fn http(status: &'static str, kind: &'static str, body: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            // The request is read up to its head, or up to what a client of another protocol sends.
            let _ = stream.set_read_timeout(Some(Duration::from_millis(200)));
            let mut head = [0_u8; 4096];
            let _ = stream.read(&mut head);
            let _ = write!(
                stream,
                "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            );
        }
    });
    address
}

/// Starts a server that takes connections and never answers. Returns `host:port`.
pub(super) fn black_hole() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    // The kernel takes the connections into the backlog. They are never accepted.
    Box::leak(Box::new(listener));
    address
}

/// Starts a TLS server whose certificate no authority has signed. Returns `host:port`.
pub(super) fn unknown_authority(dir: &Path) -> String {
    let (key, certificate) = (dir.join("tls.key"), dir.join("tls.crt"));
    let mut make = Command::new("openssl");
    make.args([
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-days",
        "2",
    ]);
    make.args(["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout"]);
    let made = make.arg(&key).arg("-out").arg(&certificate).stderr(Stdio::null()).status().unwrap();
    assert!(made.success(), "openssl makes a certificate");

    // A free port, which another process could take before openssl does: the test would then fail with a clear name.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut serve = process::guarded("openssl");
    serve.args(["s_server", "-quiet", "-www", "-accept"]).arg(format!("127.0.0.1:{port}"));
    serve.arg("-key").arg(&key).arg("-cert").arg(&certificate);
    serve.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let server = process::spawn(serve).unwrap();
    Box::leak(Box::new(server));
    let address = format!("127.0.0.1:{port}");
    eventually("the TLS server listens", Duration::from_secs(10), || {
        std::net::TcpStream::connect(&address).ok().map(drop)
    });
    address
}
