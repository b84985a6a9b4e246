//! A TCP proxy before Kafka's brokers that knows where a request begins and ends, and which it is.
//!
//! ```text
//! client ──► front port ──► request frames ──► broker's own listener for the proxy
//!        ◄──            ◄── response frames ◄──
//! ```
//!
//! The brokers advertise the front ports to whoever comes in through the proxy, so no client gets past it. A request
//! frame is `length i32 | api key i16 | api version i16 | correlation id i32 | client id string | …`, a response
//! `length i32 | correlation id i32 | …` (<https://kafka.apache.org/protocol>). What happens to a frame is decided by a
//! [`ProxyPlan`]; frames of different clients are told apart by their client id.

use std::collections::HashMap;
use std::net::{Ipv4Addr, TcpListener as StdListener};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;

/// Kafka's numbers of the requests that plans speak of.
pub mod api {
    /// Produce.
    pub const PRODUCE: i16 = 0;
    /// FindCoordinator.
    pub const FIND_COORDINATOR: i16 = 10;
    /// InitProducerId.
    pub const INIT_PRODUCER_ID: i16 = 22;
    /// AddOffsetsToTxn.
    pub const ADD_OFFSETS_TO_TXN: i16 = 25;
    /// EndTxn.
    pub const END_TXN: i16 = 26;
    /// TxnOffsetCommit.
    pub const TXN_OFFSET_COMMIT: i16 = 28;
}

/// How long a released request's answer is waited for.
const ANSWER: Duration = Duration::from_secs(5);
/// A frame longer than this is no Kafka frame of ours.
const LARGEST: usize = 128 << 20;

/// What is known of a request; its response is known by it too.
#[derive(Debug, Clone)]
pub struct ProxyRequest {
    /// Which request: see [`api`].
    pub api: i16,
    /// What the client calls itself.
    pub client: String,
    /// The connection, counted from the proxy's start.
    pub connection: u64,
    /// The last byte of an EndTxn says whether it commits.
    pub last_byte: u8,
}

/// Which way a frame goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyDirection {
    /// From the client.
    Request,
    /// From the broker.
    Response,
}

/// What happens to a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyAction {
    /// It goes on.
    Pass,
    /// It goes on later; what comes behind it on the connection waits too.
    Delay(Duration),
    /// A request is kept with the broker's end of its connection; the client's end is closed.
    Hold,
    /// What was held goes to the broker first, its answer is waited for, then this frame goes on.
    Release,
    /// It is thrown away, and both ends are closed.
    Cut,
    /// It is thrown away; the connection stays open, and nothing is heard of it.
    Swallow,
}

/// Decides about every frame, in the order in which they are met.
pub type ProxyPlan = Box<dyn FnMut(ProxyDirection, &ProxyRequest) -> ProxyAction + Send>;

/// The proxy; it ends when this is dropped.
pub struct KafkaProxy {
    runtime: Runtime,
    ports: Vec<u16>,
    listeners: Mutex<Vec<StdListener>>,
    shared: Arc<ProxyState>,
}

#[derive(Default)]
struct ProxyState {
    plans: Mutex<HashMap<String, ProxyPlan>>,
    held: Mutex<Vec<HeldProxyRequest>>,
    /// Error codes with which brokers answered what was held and released, by client.
    released: Mutex<HashMap<String, Vec<i16>>>,
    connections: std::sync::atomic::AtomicU64,
}

struct HeldProxyRequest {
    client: String,
    frame: Vec<u8>,
    from_broker: ProxyFrameReader,
    to_broker: OwnedWriteHalf,
}

impl KafkaProxy {
    /// A proxy for so many brokers. It listens, and takes nobody in before [`KafkaProxy::open`].
    ///
    /// # Errors
    /// The system has no port or no thread left.
    pub fn new(brokers: usize) -> std::io::Result<Self> {
        let listeners = (0..brokers)
            .map(|_| StdListener::bind((Ipv4Addr::LOCALHOST, 0)))
            .collect::<std::io::Result<Vec<_>>>()?;
        let ports = listeners
            .iter()
            .map(|listener| listener.local_addr().map(|address| address.port()))
            .collect::<std::io::Result<_>>()?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        Ok(Self { runtime, ports, listeners: Mutex::new(listeners), shared: Arc::default() })
    }

    /// Its ports, one per broker.
    pub fn ports(&self) -> &[u16] {
        &self.ports
    }

    /// Bootstrap servers for clients that are to go through it.
    pub fn brokers(&self) -> String {
        self.ports.iter().map(|port| format!("127.0.0.1:{port}")).collect::<Vec<_>>().join(",")
    }

    /// Takes clients in; broker `i` listens on `behind[i]`.
    ///
    /// # Errors
    /// A listener cannot be handed to tokio.
    pub fn open(&self, behind: &[u16]) -> std::io::Result<()> {
        for (listener, &port) in locked(&self.listeners).drain(..).zip(behind) {
            listener.set_nonblocking(true)?;
            let guard = self.runtime.enter();
            let listener = TcpListener::from_std(listener)?;
            drop(guard);
            let shared = Arc::clone(&self.shared);
            self.runtime.spawn(async move {
                while let Ok((client, _)) = listener.accept().await {
                    let shared = Arc::clone(&shared);
                    tokio::spawn(async move {
                        // A connection that breaks is what the clients are here for.
                        let _ = pump(client, port, &shared).await;
                    });
                }
            });
        }
        Ok(())
    }

    /// From now on `plan` decides about the frames of the clients that call themselves `client`.
    pub fn plan(
        &self,
        client: &str,
        plan: impl FnMut(ProxyDirection, &ProxyRequest) -> ProxyAction + Send + 'static,
    ) {
        locked(&self.shared.plans).insert(client.to_owned(), Box::new(plan));
    }

    /// Lets the client's frames pass again.
    pub fn clear(&self, client: &str) {
        locked(&self.shared.plans).remove(client);
    }

    /// The error codes with which brokers answered the client's released requests.
    pub fn released(&self, client: &str) -> Vec<i16> {
        locked(&self.shared.released).get(client).cloned().unwrap_or_default()
    }
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl ProxyState {
    fn decide(&self, way: ProxyDirection, request: &ProxyRequest) -> ProxyAction {
        locked(&self.plans).get_mut(&request.client).map_or(ProxyAction::Pass, |plan| plan(way, request))
    }

    /// Sends on what is held for `client`, and waits for the answers.
    async fn release(&self, client: &str) {
        let mine: Vec<HeldProxyRequest> = {
            let mut held = locked(&self.held);
            let (mine, others): (Vec<HeldProxyRequest>, Vec<HeldProxyRequest>) =
                held.drain(..).partition(|held| held.client == client);
            *held = others;
            mine
        };
        for mut held in mine {
            let sent = held.to_broker.write_all(&held.frame).await;
            let answer = tokio::time::timeout(ANSWER, held.from_broker.next()).await;
            // EndTxn, versions 0 to 2: correlation id i32, throttle time i32, error code i16.
            let code = match (sent, answer) {
                (Ok(()), Ok(Ok(Some(frame)))) => {
                    frame.get(12..14).map_or(i16::MIN, |code| i16::from_be_bytes([code[0], code[1]]))
                }
                _ => i16::MIN,
            };
            locked(&self.released).entry(client.to_owned()).or_default().push(code);
        }
    }
}

/// Carries frames both ways until one end closes or the plan says so.
async fn pump(client: TcpStream, port: u16, shared: &ProxyState) -> std::io::Result<()> {
    let connection = shared.connections.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let broker = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
    client.set_nodelay(true)?;
    broker.set_nodelay(true)?;
    let (from_client, mut to_client) = client.into_split();
    let (from_broker, mut to_broker) = broker.into_split();
    let (mut from_client, mut from_broker) =
        (ProxyFrameReader::new(from_client), ProxyFrameReader::new(from_broker));
    let mut open: HashMap<i32, ProxyRequest> = HashMap::new();
    loop {
        let (way, frame) = tokio::select! {
            frame = from_client.next() => (ProxyDirection::Request, frame?),
            frame = from_broker.next() => (ProxyDirection::Response, frame?),
        };
        let Some(frame) = frame else { return Ok(()) };
        let request = match way {
            ProxyDirection::Request => match header(&frame, connection) {
                Some((correlation, request)) => {
                    open.insert(correlation, request.clone());
                    Some(request)
                }
                None => None,
            },
            ProxyDirection::Response => {
                frame.get(4..8).and_then(|id| open.remove(&i32::from_be_bytes([id[0], id[1], id[2], id[3]])))
            }
        };
        let act = request.as_ref().map_or(ProxyAction::Pass, |request| shared.decide(way, request));
        match act {
            ProxyAction::Pass => {}
            ProxyAction::Delay(time) => tokio::time::sleep(time).await,
            ProxyAction::Release => {
                if let Some(request) = &request {
                    shared.release(&request.client).await;
                }
            }
            ProxyAction::Hold => {
                let client = request.map(|request| request.client).unwrap_or_default();
                locked(&shared.held).push(HeldProxyRequest { client, frame, from_broker, to_broker });
                return Ok(()); // the client's halves are dropped here: cut
            }
            ProxyAction::Cut => return Ok(()),
            ProxyAction::Swallow => continue,
        }
        match way {
            ProxyDirection::Request => to_broker.write_all(&frame).await?,
            ProxyDirection::Response => to_client.write_all(&frame).await?,
        }
    }
}

/// Correlation id and what a plan may look at.
fn header(frame: &[u8], connection: u64) -> Option<(i32, ProxyRequest)> {
    let api = i16::from_be_bytes([*frame.get(4)?, *frame.get(5)?]);
    let id = frame.get(8..12)?;
    let length = i16::from_be_bytes([*frame.get(12)?, *frame.get(13)?]);
    let client = frame.get(14..14 + usize::try_from(length).unwrap_or(0))?;
    let request = ProxyRequest {
        api,
        client: String::from_utf8_lossy(client).into_owned(),
        connection,
        last_byte: *frame.last()?,
    };
    Some((i32::from_be_bytes([id[0], id[1], id[2], id[3]]), request))
}

/// Cuts a stream into frames; a read that is given up loses nothing.
struct ProxyFrameReader {
    stream: OwnedReadHalf,
    buffer: Vec<u8>,
}

impl ProxyFrameReader {
    fn new(stream: OwnedReadHalf) -> Self {
        Self { stream, buffer: Vec::with_capacity(64 << 10) }
    }

    /// The next frame with its length; `None` at the end of the stream.
    async fn next(&mut self) -> std::io::Result<Option<Vec<u8>>> {
        loop {
            if let Some(size) = self.buffer.first_chunk::<4>() {
                let size = usize::try_from(i32::from_be_bytes(*size)).unwrap_or(LARGEST) + 4;
                if size > LARGEST {
                    return Err(std::io::Error::other("no Kafka frame"));
                }
                if self.buffer.len() >= size {
                    let rest = self.buffer.split_off(size);
                    return Ok(Some(std::mem::replace(&mut self.buffer, rest)));
                }
            }
            self.buffer.reserve(64 << 10);
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Ok(None);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_requests_header_is_read() {
        let mut frame = vec![0, 0, 0, 14, 0, 26, 0, 1, 0, 0, 0, 9, 0, 3];
        frame.extend(b"row\x01");
        let (correlation, request) = header(&frame, 5).unwrap();
        assert_eq!((correlation, request.api, request.client.as_str()), (9, api::END_TXN, "row"));
        assert_eq!((request.last_byte, request.connection), (1, 5));
        assert!(header(&frame[..12], 5).is_none());
    }
}
