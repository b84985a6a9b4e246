//! Row 11: a registry that is ill, cut off, wrong, hostile or silent. An outage is not poison.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::time::Duration;

use sluice_fault::cluster::world;
use sluice_fault::reading;
use sluice_fault::trial::{FaultTrial, PATIENCE, WorkerPeak};
use sluice_tests::{TestServers, eventually};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// How the stand-in answers a question for a schema by its id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RegistryMood {
    /// As the real one.
    Well,
    /// 500.
    Ill,
    /// Closes the connection without a word.
    Down,
    /// A schema of something else.
    Wrong,
    /// No JSON.
    Html,
    /// A schema nested a hundred thousand deep.
    Deep,
    /// A name of 64 MB.
    Huge,
    /// Nothing, for ever.
    Silent,
}

const MOODS: [RegistryMood; 8] = [
    RegistryMood::Well,
    RegistryMood::Ill,
    RegistryMood::Down,
    RegistryMood::Wrong,
    RegistryMood::Html,
    RegistryMood::Deep,
    RegistryMood::Huge,
    RegistryMood::Silent,
];

/// Stands before the real registry.
struct RegistryStandIn {
    origin: String,
    mood: AtomicU8,
    asked: AtomicUsize,
}

impl RegistryStandIn {
    fn is(&self, mood: RegistryMood) {
        self.asked.store(0, Ordering::SeqCst);
        self.mood.store(mood as u8, Ordering::SeqCst);
    }

    /// One request per connection: the head, then whatever the mood is.
    async fn serve(&self, mut client: TcpStream) -> std::io::Result<()> {
        let mut request = Vec::new();
        let end = loop {
            if client.read_buf(&mut request).await? == 0 {
                return Ok(());
            }
            if let Some(end) = request.windows(4).position(|window| window == b"\r\n\r\n") {
                break end;
            }
        };
        let head = String::from_utf8_lossy(&request[..end]).into_owned();
        let mood = MOODS[usize::from(self.mood.load(Ordering::SeqCst))];
        if mood == RegistryMood::Well || !head.contains("/schemas/ids/") {
            let mut origin = TcpStream::connect(&self.origin).await?;
            let line = request.iter().position(|byte| *byte == b'\n').unwrap_or(0) + 1;
            let forwarded = [&request[..line], b"Connection: close\r\n", &request[line..]].concat();
            origin.write_all(&forwarded).await?;
            tokio::io::copy_bidirectional(&mut client, &mut origin).await?;
            return Ok(());
        }
        self.asked.fetch_add(1, Ordering::SeqCst);
        let schema = |text: String| ("200 OK", serde_json::json!({ "schema": text }).to_string());
        let (status, body) = match mood {
            RegistryMood::Well | RegistryMood::Down => return Ok(()),
            RegistryMood::Ill => {
                ("500 Internal Server Error", r#"{"error_code":50001,"message":"ill"}"#.to_owned())
            }
            RegistryMood::Wrong => {
                schema(r#"{"type":"record","name":"Other","fields":[{"name":"x","type":"int"}]}"#.to_owned())
            }
            RegistryMood::Html => ("200 OK", "<html>not a registry</html>".to_owned()),
            RegistryMood::Deep => {
                let depth = 100_000;
                schema([&r#"{"type":"array","items":"#.repeat(depth), "\"int\"", &"}".repeat(depth)].concat())
            }
            RegistryMood::Huge => {
                schema([r#"{"type":"record","name":""#, &"x".repeat(64 << 20), r#"","fields":[]}"#].concat())
            }
            RegistryMood::Silent => return std::future::pending().await,
        };
        let head =
            format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
        client.write_all(head.as_bytes()).await?;
        client.write_all(body.as_bytes()).await
    }
}

#[test]
#[ignore = "make fault"]
fn whatever_the_registry_answers_nothing_is_skipped_and_nothing_is_dead_lettered() {
    let direct = &world().direct;
    let (origin, path) = direct.registry.split_once("/apis").unwrap();
    let gate = Arc::new(RegistryStandIn {
        origin: origin.trim_start_matches("http://").to_owned(),
        mood: AtomicU8::new(0),
        asked: AtomicUsize::new(0),
    });
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let gated = TestServers {
        brokers: direct.brokers.clone(),
        registry: format!("http://{}/apis{path}", listener.local_addr().unwrap()),
    };
    let served = Arc::clone(&gate);
    runtime.spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let gate = Arc::clone(&served);
            tokio::spawn(async move { gate.serve(client).await });
        }
    });
    let trial = FaultTrial::new("r11registry", &gated, direct);
    let mut masked = 0;
    for mood in MOODS.into_iter().filter(|mood| *mood != RegistryMood::Well) {
        gate.is(mood);
        trial.feed.send(300);
        trial.feed.flush();
        // A new process: what an earlier one has learned it keeps.
        let mut masker = trial.masker("one", &[]);
        let questions = if mood == RegistryMood::Silent { 1 } else { 2 };
        eventually("the masker asks", PATIENCE, || {
            assert!(masker.has_ended().is_none(), "{mood:?} ended it:\n{}", masker.log());
            (gate.asked.load(Ordering::SeqCst) >= questions).then_some(())
        });
        eventually("it is not ready", PATIENCE, || (masker.page("/readyz").0 == 503).then_some(()));
        assert_eq!(reading::count(direct, &trial.contract.masked()), masked, "{mood:?}");
        let letters = reading::count(direct, &format!("{}.dead-letter", trial.contract.raw()));
        assert_eq!(letters, 0, "{mood:?} is not poison");
        let mut peak = WorkerPeak::default();
        peak.look(&masker);
        assert!(peak.bytes < 512 << 20, "{mood:?}: {peak:?}");
        gate.is(RegistryMood::Well);
        let recovery = trial.settled();
        masked = reading::count(direct, &trial.contract.masked());
        println!("{mood:?}: {recovery:.1?} until caught up, {peak:?}");
        assert!(masker.end(Duration::from_secs(60)).success(), "{mood:?}: {}", masker.log());
    }
    let counts = trial.holds();
    trial.tell(&format!("{counts:?}"));
}
