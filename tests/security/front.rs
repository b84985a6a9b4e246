//! A strict stand-in for a hosted registry: TLS and Basic credentials in front of the real one.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::http::{Request, Response, StatusCode};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::server::TlsStream;

use crate::fleet::stack;

/// The user that the front knows. At Confluent Cloud it is an API key.
pub(crate) const USER: &str = "API7KEY";
/// The user's password.
pub(crate) const PASSWORD: &str = "opensesame";

/// The front. It ends when it is dropped.
pub(crate) struct RegistryFront {
    pub(crate) url: String,
    _runtime: tokio::runtime::Runtime,
}

/// Where requests go.
#[derive(Clone)]
struct FrontState {
    origin: String,
    client: reqwest::Client,
}

/// Accepts connections that speak TLS.
struct TlsListener {
    listener: TcpListener,
    acceptor: TlsAcceptor,
}

impl axum::serve::Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            // A client that does not trust the certificate breaks off: the next one is waited for.
            if let Ok((stream, from)) = self.listener.accept().await
                && let Ok(stream) = self.acceptor.accept(stream).await
            {
                return (stream, from);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

/// Hands a request with the right credentials on, and refuses every other.
async fn pass(State(front): State<FrontState>, request: Request<Body>) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let known = format!("Basic {}", STANDARD.encode(format!("{USER}:{PASSWORD}")));
    if parts.headers.get("authorization").is_none_or(|given| given.as_bytes() != known.as_bytes()) {
        let answer = Response::builder().status(StatusCode::UNAUTHORIZED);
        return answer.body(Body::from(r#"{"error_code":401,"message":"Unauthorized"}"#)).unwrap();
    }

    let body = to_bytes(body, 1 << 20).await.unwrap();
    let mut onward = front.client.request(parts.method, format!("{}{}", front.origin, parts.uri)).body(body);
    if let Some(kind) = parts.headers.get("content-type") {
        onward = onward.header("content-type", kind);
    }
    let answer = onward.send().await.unwrap();
    let status = answer.status();
    Response::builder().status(status).body(Body::from(answer.bytes().await.unwrap())).unwrap()
}

impl RegistryFront {
    /// Starts a front with this certificate and key.
    pub(crate) fn start([certificate, key]: [PathBuf; 2]) -> Self {
        let certificates =
            CertificateDer::pem_file_iter(certificate).unwrap().collect::<Result<Vec<_>, _>>().unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(certificates, PrivateKeyDer::from_pem_file(key).unwrap())
            .unwrap();

        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let port = runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let port = listener.local_addr().unwrap().port();
            let front = FrontState {
                origin: stack().registry_url().trim_end_matches("/apis/ccompat/v7").to_owned(),
                client: reqwest::Client::new(),
            };
            let app = Router::new().fallback(pass).with_state(front);
            let listener = TlsListener { listener, acceptor: TlsAcceptor::from(Arc::new(config)) };
            tokio::spawn(async move { axum::serve(listener, app).await });
            port
        });
        Self { url: format!("https://localhost:{port}/apis/ccompat/v7"), _runtime: runtime }
    }
}
