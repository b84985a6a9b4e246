//! One server: how it is started, when it is ready, how it ends.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::probe::ServerReadiness;
use crate::{StackError, process};

/// How long a server may take to be ready. A cold start on a busy two-core machine takes tens of seconds.
const READY_WITHIN: Duration = Duration::from_secs(180);
/// How long a server may take to end by itself before it is killed.
const END_WITHIN: Duration = Duration::from_secs(20);
/// How long the folder's former holder may take to be gone (its last processes after a SIGKILL).
const RELEASED_WITHIN: Duration = Duration::from_secs(20);
/// Lines of a log that go into an error.
const TAIL: usize = 25;

/// How to start one server; made once, used for every start of it.
pub(crate) struct StackServerPlan {
    pub(crate) name: String,
    pub(crate) command: Box<dyn Fn() -> Command + Send + Sync>,
    pub(crate) probe: Box<dyn Fn() -> ServerReadiness + Send + Sync>,
    pub(crate) log: PathBuf,
}

/// A server and, while it runs, its process.
pub(crate) struct StackServer {
    plan: StackServerPlan,
    child: Option<Child>,
    /// Where this start's part of the log begins.
    log_from: u64,
}

impl StackServer {
    pub(crate) fn new(plan: StackServerPlan) -> Self {
        Self { plan, child: None, log_from: 0 }
    }

    pub(crate) fn name(&self) -> &str {
        &self.plan.name
    }

    /// The process id, while it runs.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Starts the process and waits until it answers; again for a while if its folder is still held by what is
    /// left of a process killed a moment ago.
    pub(crate) fn start(&mut self) -> Result<(), StackError> {
        let began = Instant::now();
        loop {
            match self.launch().and_then(|()| self.await_ready()) {
                Err(error) if still_held(&error) && began.elapsed() < RELEASED_WITHIN => {
                    self.child = None; // it has ended, and is reaped
                    std::thread::sleep(Duration::from_millis(300)); // nobody tells when the last one is gone
                }
                other => return other,
            }
        }
    }

    /// Starts the process; does not wait for it to be ready.
    pub(crate) fn launch(&mut self) -> Result<(), StackError> {
        let log = open_log(&self.plan.log)?;
        self.log_from = log.metadata().map_or(0, |meta| meta.len());
        let errors = log.try_clone().map_err(StackError::io("write a log"))?;
        let mut command = (self.plan.command)();
        command.stdin(Stdio::null()).stdout(log).stderr(errors);
        let child = process::spawn(command).map_err(StackError::io(format!("start {}", self.plan.name)))?;
        self.child = Some(child);
        Ok(())
    }

    /// Waits until the server answers.
    pub(crate) fn await_ready(&mut self) -> Result<(), StackError> {
        let began = Instant::now();
        loop {
            // The process first: another program on its port must not be taken for it.
            self.still_alive()?;
            let last = match (self.plan.probe)() {
                Ok(()) => return self.still_alive(),
                Err(met) => met,
            };
            if began.elapsed() > READY_WITHIN {
                return Err(StackError::NotReady {
                    server: self.plan.name.clone(),
                    seconds: READY_WITHIN.as_secs(),
                    last,
                    log: self.plan.log.clone(),
                    tail: self.tail(),
                });
            }
            std::thread::sleep(Duration::from_millis(50)); // a server does not say when it is ready
        }
    }

    fn still_alive(&mut self) -> Result<(), StackError> {
        let Some(child) = self.child.as_mut() else {
            return Err(StackError::Unknown(self.plan.name.clone()));
        };
        let ended = child.try_wait().map_err(StackError::io(format!("look after {}", self.plan.name)))?;
        match ended {
            None => Ok(()),
            Some(status) => Err(StackError::Exited {
                server: self.plan.name.clone(),
                status: status.to_string(),
                log: self.plan.log.clone(),
                tail: self.tail(),
            }),
        }
    }

    fn tail(&self) -> String {
        process::tail(&self.plan.log, self.log_from, TAIL)
    }

    /// Asks the process to end and waits for it.
    pub(crate) fn stop(&mut self) -> Result<(), StackError> {
        match self.child.take() {
            Some(mut child) => process::end(&mut child, END_WITHIN)
                .map(drop)
                .map_err(StackError::io(format!("end {}", self.plan.name))),
            None => Ok(()),
        }
    }

    /// Asks the process to end, without waiting; [`StackServer::stop`] then waits.
    pub(crate) fn ask_to_end(&mut self) {
        if let Some(child) = self.child.as_mut() {
            let _ = process::terminate(child); // stop() tells if it cannot be ended
        }
    }

    /// Kills the process, as a machine that loses power would.
    pub(crate) fn kill(&mut self) -> Result<(), StackError> {
        match self.child.take() {
            Some(mut child) => child
                .kill()
                .and_then(|()| child.wait())
                .map(drop)
                .map_err(StackError::io(format!("kill {}", self.plan.name))),
            None => Ok(()),
        }
    }
}

impl Drop for StackServer {
    fn drop(&mut self) {
        let _ = self.kill(); // nothing more can be done about a process that cannot be killed
    }
}

/// Whether a start failed because its port was taken between choosing and using it.
pub(crate) fn port_was_taken(error: &StackError) -> bool {
    let StackError::Exited { tail, .. } = error else { return false };
    let tail = tail.to_lowercase();
    ["address already in use", "already bound", "could not bind", "bind on tcp/ip port"]
        .iter()
        .any(|words| tail.contains(words))
}

/// Whether a start failed because another process still holds the server's folder.
fn still_held(error: &StackError) -> bool {
    let StackError::Exited { tail, .. } = error else { return false };
    [
        "lock file \"postmaster.pid\" already exists",
        "pre-existing shared memory block",
        "Unable to lock",
        "Can't lock aria control file",
        "Failed to acquire lock on file",
        "Database may be already in use",
    ]
    .iter()
    .any(|words| tail.contains(words))
}

fn open_log(path: &Path) -> Result<File, StackError> {
    let doing = || format!("write {}", path.display());
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir).map_err(StackError::io(doing()))?;
    }
    OpenOptions::new().create(true).append(true).open(path).map_err(StackError::io(doing()))
}

/// Runs a program that prepares something, to its end; its output goes into the error if it fails.
pub(crate) fn prepare(what: &str, command: &mut Command) -> Result<(), StackError> {
    let output = command.stdin(Stdio::null()).output().map_err(StackError::io(what))?;
    if output.status.success() {
        return Ok(());
    }
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    Err(StackError::Preparation {
        what: what.to_owned(),
        status: output.status.to_string(),
        output: lines[lines.len().saturating_sub(TAIL)..].join("\n"),
    })
}

/// Random bytes from the system, for passwords and ids.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], StackError> {
    use std::io::Read;
    let mut bytes = [0; N];
    File::open("/dev/urandom")
        .and_then(|mut source| source.read_exact(&mut bytes))
        .map_err(StackError::io("read random bytes"))?;
    Ok(bytes)
}

/// A file's text, made by `make` the first time (mode 600): passwords and ids that have to stay.
pub(crate) fn kept(
    file: &Path,
    make: impl FnOnce() -> Result<String, StackError>,
) -> Result<String, StackError> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    if let Ok(text) = std::fs::read_to_string(file) {
        return Ok(text.trim().to_owned());
    }
    let text = make()?;
    OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(true)
        .mode(0o600)
        .open(file)
        .and_then(|mut open| open.write_all(text.as_bytes()))
        .map_err(StackError::io(format!("write {}", file.display())))?;
    Ok(text)
}
