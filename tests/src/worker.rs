//! A worker as a child process: tests start it, read its pages, send it signals and kill it.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use sluice_stack::process;

use crate::{binary, eventually};

/// A running `sluice run …`. It is killed when it is dropped.
pub struct TestWorkerProcess {
    child: Child,
    log: PathBuf,
}

impl TestWorkerProcess {
    /// Starts `sluice run <kind> -c <config>`. Its log is a file beside the configuration.
    pub fn start(kind: &str, config: &Path) -> Self {
        Self::start_with(kind, config, &[])
    }

    /// Does the same with additional environment variables.
    pub fn start_with(kind: &str, config: &Path, environment: &[(&str, &str)]) -> Self {
        Self::start_program(&binary(), kind, config, environment)
    }

    /// Does the same with another build of `sluice`.
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

    /// Returns its whole log.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits until the log names the address of its admin pages and returns it.
    pub fn admin(&self) -> String {
        eventually("the admin pages' address in the log", Duration::from_secs(20), || {
            self.log()
                .lines()
                .filter_map(|line| serde_json::from_str::<Value>(line).ok())
                .find(|line| line["fields"]["message"] == "admin pages")
                .and_then(|line| line["fields"]["address"].as_str().map(str::to_owned))
        })
    }

    /// Returns the status code and the body of one of its admin pages.
    pub fn page(&self, path: &str) -> (u16, String) {
        let url = format!("http://{}{path}", self.admin());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.unwrap_or_else(|error| panic!("tokio: {error}"));
        runtime.block_on(async {
            let answer = reqwest::get(&url).await.unwrap_or_else(|error| panic!("{url}: {error}"));
            (answer.status().as_u16(), answer.text().await.unwrap_or_default())
        })
    }

    /// Returns its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Returns its exit status if it has ended.
    pub fn has_ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Returns its peak resident memory in bytes (`VmHWM` of proc(5)), the program's own pages included. It
    /// is 0 once the worker has ended.
    pub fn peak_bytes(&self) -> u64 {
        self.status_bytes("VmHWM:")
    }

    /// Returns the memory that it has allocated and holds now, in bytes (`RssAnon` of proc(5)). The program's
    /// own pages are not counted: a debug build has many, and they are shared.
    pub fn own_bytes(&self) -> u64 {
        self.status_bytes("RssAnon:")
    }

    /// Returns a figure of `/proc/<pid>/status` in bytes. The file has kB.
    fn status_bytes(&self, name: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        line.split_whitespace().next().and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) * 1024
    }

    /// Returns the number of its open file descriptors. It is 0 once the worker has ended.
    pub fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.pid())).map_or(0, Iterator::count)
    }

    /// Tells whether a signal has stopped it.
    pub fn is_stopped(&self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap_or_default();
        stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T'))
    }

    /// Kills it with SIGKILL and waits for its end.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Sends a signal by name (`STOP`, `CONT`, `TERM`).
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status();
        assert!(status.is_ok_and(|status| status.success()), "kill -s {name}");
    }

    /// Ends it with SIGTERM and returns its exit status. Panics if it does not end within `patience`.
    pub fn end(&mut self, patience: Duration) -> ExitStatus {
        self.signal("TERM");
        self.ended(patience)
    }

    /// Waits for its end and returns its exit status. Panics if it does not end within `patience`.
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
