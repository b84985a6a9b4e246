//! A worker as a child process: started, asked, told, killed.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use sluice_stack::process;

use crate::{binary, eventually};

/// A running `sluice run …`; killed when dropped.
pub struct TestWorkerProcess {
    child: Child,
    log: PathBuf,
}

impl TestWorkerProcess {
    /// Starts `sluice run <kind> -c <config>`; its log is beside the configuration.
    pub fn start(kind: &str, config: &Path) -> Self {
        Self::start_with(kind, config, &[])
    }

    /// The same with more in its environment.
    pub fn start_with(kind: &str, config: &Path, environment: &[(&str, &str)]) -> Self {
        Self::start_program(&binary(), kind, config, environment)
    }

    /// The same of a `sluice` that was built in another way.
    pub fn start_program(program: &Path, kind: &str, config: &Path, environment: &[(&str, &str)]) -> Self {
        static STARTS: AtomicUsize = AtomicUsize::new(0);
        let log = config.with_extension(format!("{}.log", STARTS.fetch_add(1, Ordering::Relaxed)));
        let file = std::fs::File::create(&log).unwrap_or_else(|error| panic!("{}: {error}", log.display()));
        let mut command = process::guarded(program);
        command.args(["run", kind, "-c"]).arg(config).stdin(Stdio::null()).stdout(Stdio::null()).stderr(file);
        command.envs(environment.iter().copied());
        let child = process::spawn(command).unwrap_or_else(|error| panic!("sluice run {kind}: {error}"));
        Self { child, log }
    }

    /// Everything it has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Where its admin pages are, once it has said so.
    pub fn admin(&self) -> String {
        eventually("the admin pages' address in the log", Duration::from_secs(20), || {
            self.log()
                .lines()
                .filter_map(|line| serde_json::from_str::<Value>(line).ok())
                .find(|line| line["fields"]["message"] == "admin pages")
                .and_then(|line| line["fields"]["address"].as_str().map(str::to_owned))
        })
    }

    /// Status code and body of one of its admin pages.
    pub fn page(&self, path: &str) -> (u16, String) {
        let url = format!("http://{}{path}", self.admin());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.unwrap_or_else(|error| panic!("tokio: {error}"));
        runtime.block_on(async {
            let answer = reqwest::get(&url).await.unwrap_or_else(|error| panic!("{url}: {error}"));
            (answer.status().as_u16(), answer.text().await.unwrap_or_default())
        })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Has it ended? With its status, if so.
    pub fn has_ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Its peak resident memory in bytes, as the kernel counts it, its program's pages included; 0 once it has ended.
    pub fn peak_bytes(&self) -> u64 {
        self.status_bytes("VmHWM:")
    }

    /// What it has allocated and holds now, in bytes; without the pages of its program, which in a debug build are
    /// many, and shared.
    pub fn own_bytes(&self) -> u64 {
        self.status_bytes("RssAnon:")
    }

    fn status_bytes(&self, name: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        line.split_whitespace().next().and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) * 1024
    }

    /// How many file descriptors it has open; 0 once it has ended.
    pub fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.pid())).map_or(0, Iterator::count)
    }

    /// Is it stopped, by a signal?
    pub fn is_stopped(&self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap_or_default();
        stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T'))
    }

    /// SIGKILL, and its end.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Sends a signal by name (`STOP`, `CONT`, `TERM`).
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status();
        assert!(status.is_ok_and(|status| status.success()), "kill -s {name}");
    }

    /// SIGTERM, and its end within `patience`.
    pub fn end(&mut self, patience: Duration) -> ExitStatus {
        self.signal("TERM");
        self.ended(patience)
    }

    /// Its end within `patience`.
    pub fn ended(&mut self, patience: Duration) -> ExitStatus {
        let ended = process::wait_until(&mut self.child, Instant::now() + patience);
        match ended {
            Ok(Some(status)) => status,
            other => panic!("not ended within {patience:?}: {other:?}\n{}", self.log()),
        }
    }
}

impl Drop for TestWorkerProcess {
    fn drop(&mut self) {
        self.kill();
    }
}
