//! One server: its start, its readiness and its end.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::probe::ServerReadiness;
use crate::{StackError, process};

/// The time within which a server has to be ready. A cold start on a busy two-core machine takes tens of
/// seconds.
const READY_WITHIN: Duration = Duration::from_secs(180);
/// The time within which a server has to end by itself. After it the server is killed.
const END_WITHIN: Duration = Duration::from_secs(20);
/// The time within which the folder's former holder has to be gone (its last processes after a SIGKILL).
const RELEASED_WITHIN: Duration = Duration::from_secs(20);
/// The number of lines of a log that go into an error.
const TAIL: usize = 25;

/// The recipe for starting one server. It is made once and used for every start.
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
    /// The length of the log at this start, in bytes: errors quote only the part behind it.
    log_from: u64,
}

impl StackServer {
    /// Makes a server that does not run yet.
    pub(crate) fn new(plan: StackServerPlan) -> Self {
        Self { plan, child: None, log_from: 0 }
    }

    /// Returns the server's name.
    pub(crate) fn name(&self) -> &str {
        &self.plan.name
    }

    /// Returns the process id while the server runs.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Starts the process and waits until it answers. After a SIGKILL the last processes of the former start
    /// may still hold the folder: then the start is tried again for a while.
    pub(crate) fn start(&mut self) -> Result<(), StackError> {
        let began = Instant::now();
        loop {
            match self.launch().and_then(|()| self.await_ready()) {
                Err(error) if still_held(&error) && began.elapsed() < RELEASED_WITHIN => {
                    // The process has ended, and is reaped.
                    self.child = None;
                    // The system sends no message when the last process of the former start is gone.
                    std::thread::sleep(Duration::from_millis(300));
                }
                other => return other,
            }
        }
    }

    /// Starts the process. Does not wait until it is ready.
    pub(crate) fn launch(&mut self) -> Result<(), StackError> {
        // The log of the former starts stays; this start writes behind it.
        let log = open_log(&self.plan.log)?;
        self.log_from = log.metadata().map_or(0, |meta| meta.len());
        let errors = log.try_clone().map_err(StackError::io("write a log"))?;

        // Both outputs go to one file, in the order of writing.
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
            // The process is checked before the probe: another program on its port must not be taken for it.
            self.still_alive()?;

            // The process is checked after the probe too: it may have ended meanwhile.
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

            // A server sends no message when it is ready: it has to be asked again.
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Fails if the process has ended.
    fn still_alive(&mut self) -> Result<(), StackError> {
        debug_assert!(self.child.is_some(), "`await_ready` follows `launch`");
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

    /// Returns the last lines that this start wrote to the log.
    fn tail(&self) -> String {
        process::tail(&self.plan.log, self.log_from, TAIL)
    }

    /// Asks the process to end and waits for it. A server that does not run is left alone.
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
            // `stop` reports a process that cannot be ended.
            let _ = process::terminate(child);
        }
    }

    /// Kills the process, as a loss of power would.
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
        // Nothing more can be done about a process that cannot be killed.
        let _ = self.kill();
    }
}

/// Tells whether a start failed because another program took its port between choice and use.
pub(crate) fn port_was_taken(error: &StackError) -> bool {
    let StackError::Exited { tail, .. } = error else { return false };
    let tail = tail.to_lowercase();

    // The texts of Java, the registry, MariaDB and PostgreSQL, in lower case.
    ["address already in use", "already bound", "could not bind", "bind on tcp/ip port"]
        .iter()
        .any(|words| tail.contains(words))
}

/// Tells whether a start failed because another process still holds the server's folder.
fn still_held(error: &StackError) -> bool {
    let StackError::Exited { tail, .. } = error else { return false };
    [
        // PostgreSQL.
        "lock file \"postmaster.pid\" already exists",
        "pre-existing shared memory block",
        // MariaDB: InnoDB's files and Aria's log.
        "Unable to lock",
        "Can't lock aria control file",
        // Kafka.
        "Failed to acquire lock on file",
        // The registry's H2 database.
        "Database may be already in use",
    ]
    .iter()
    .any(|words| tail.contains(words))
}

/// Opens a log for appending, and creates its folder.
fn open_log(path: &Path) -> Result<File, StackError> {
    let doing = || format!("write {}", path.display());
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir).map_err(StackError::io(doing()))?;
    }
    OpenOptions::new().create(true).append(true).open(path).map_err(StackError::io(doing()))
}

/// Runs a program that prepares something, and waits for its end. The last lines of its output go into the
/// error if it fails.
pub(crate) fn prepare(what: &str, command: &mut Command) -> Result<(), StackError> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(StackError::io(format!("run the program for {what}")))?;
    if output.status.success() {
        return Ok(());
    }

    // The programs write their errors to either output.
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    Err(StackError::Preparation {
        what: what.to_owned(),
        status: output.status.to_string(),
        output: lines[lines.len().saturating_sub(TAIL)..].join("\n"),
    })
}

/// Reads random bytes from the system, for passwords and ids.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], StackError> {
    use std::io::Read;
    let mut bytes = [0; N];
    File::open("/dev/urandom")
        .and_then(|mut source| source.read_exact(&mut bytes))
        .map_err(StackError::io("read random bytes"))?;
    Ok(bytes)
}

/// Returns a file's text. `make` makes it the first time (mode 600): passwords and ids have to stay the same.
pub(crate) fn kept(
    file: &Path,
    make: impl FnOnce() -> Result<String, StackError>,
) -> Result<String, StackError> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;

    if let Ok(text) = std::fs::read_to_string(file) {
        return Ok(text.trim().to_owned());
    }

    // Mode 600 from the beginning: the text may be a password.
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
