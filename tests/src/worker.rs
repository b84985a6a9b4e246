//! A worker as a child process: started, asked, told, killed.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use sluice_stack::process;

use crate::{binary, eventually};

/// A running `sluice run …`; killed when dropped.
pub struct Worker {
    child: Child,
    log: PathBuf,
}

impl Worker {
    /// Starts `sluice run <kind> -c <config>`; its log is beside the configuration.
    pub fn start(kind: &str, config: &Path) -> Self {
        let log =
            config.with_extension(format!("{}.log", std::process::id() ^ config.as_os_str().len() as u32));
        let file = std::fs::File::create(&log).unwrap_or_else(|error| panic!("{}: {error}", log.display()));
        let mut command = process::guarded(binary());
        command.args(["run", kind, "-c"]).arg(config).stdin(Stdio::null()).stdout(Stdio::null()).stderr(file);
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

impl Drop for Worker {
    fn drop(&mut self) {
        self.kill();
    }
}
