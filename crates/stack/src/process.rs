//! Child processes that do not outlive the program that started them.
//!
//! The kernel's parent-death signal is tied to the *thread* that started the child. Therefore one thread that
//! lives as long as the program starts every child ([`spawn`]). A test's thread or a pool's thread may end
//! without ending its servers.

use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::process::{Child, Command, ExitStatus};
use std::sync::{Mutex, OnceLock, PoisonError, mpsc};
use std::time::{Duration, Instant};

/// A command to start, and the channel for the answer.
type SpawnOrder = (Command, mpsc::Sender<io::Result<Child>>);

/// Returns a command that runs `program`. The kernel kills the child when this program ends, in whatever way
/// it ends.
#[must_use]
pub fn guarded(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    command
}

/// Does the same as [`guarded`], as another user (root only), with that user's groups and no others.
#[must_use]
pub fn guarded_as(user: &str, group: u32, program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("setpriv");
    command.args([
        "--pdeathsig",
        "KILL",
        "--reuid",
        user,
        "--regid",
        &group.to_string(),
        "--init-groups",
        "--",
    ]);
    command.arg(program);
    command
}

/// Starts a command from the one thread that lives as long as the program. Use it with [`guarded`].
///
/// # Errors
/// The error of the operating system if the program cannot be started.
pub fn spawn(command: Command) -> io::Result<Child> {
    // The first call starts the thread. Its queue is never closed, since the sender is a static.
    static STARTER: OnceLock<Mutex<mpsc::Sender<SpawnOrder>>> = OnceLock::new();
    let starter = STARTER.get_or_init(|| {
        let (orders, queue) = mpsc::channel::<SpawnOrder>();
        std::thread::spawn(move || {
            for (mut command, answer) in queue {
                // If the caller is gone, the child is dropped with the answer.
                let _ = answer.send(command.spawn());
            }
        });
        Mutex::new(orders)
    });

    // Each order brings a channel of its own for the answer.
    let (answer, started) = mpsc::channel();
    let gone = || io::Error::other("the thread that starts processes has ended");
    starter.lock().unwrap_or_else(PoisonError::into_inner).send((command, answer)).map_err(|_| gone())?;
    started.recv().map_err(|_| gone())?
}

/// Asks a child to end (`SIGTERM`). A child that has ended already is left alone.
///
/// # Errors
/// The error of the operating system.
pub fn terminate(child: &mut Child) -> io::Result<()> {
    signal(child, "TERM")
}

/// Asks a child to end, waits up to `patience` and then kills it.
///
/// # Errors
/// The error of the operating system.
pub fn end(child: &mut Child, patience: Duration) -> io::Result<ExitStatus> {
    terminate(child)?;
    match wait_until(child, Instant::now() + patience)? {
        Some(status) => Ok(status),
        None => {
            child.kill()?;
            child.wait()
        }
    }
}

/// Waits for a child's end, at most until `deadline`. Returns `None` if the child still runs then.
///
/// # Errors
/// The error of the operating system.
pub fn wait_until(child: &mut Child, deadline: Instant) -> io::Result<Option<ExitStatus>> {
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= deadline {
            return Ok(None);
        }
        // The standard library has no wait with a deadline.
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Sends a signal to a child.
fn signal(child: &mut Child, name: &str) -> io::Result<()> {
    // A child that is not reaped keeps its id: no other process can have it.
    if child.try_wait()?.is_some() {
        return Ok(());
    }

    // The shell's `kill` sends the signal: the standard library can only kill.
    let id = child.id().to_string();
    let status = Command::new("sh").args(["-c", r#"kill -s "$0" "$1""#, name, &id]).status()?;

    // The child may have ended between the check and the signal.
    if status.success() || child.try_wait()?.is_some() {
        Ok(())
    } else {
        Err(io::Error::other(format!("kill -s {name}: expected exit status 0, got {status}")))
    }
}

/// Returns the last `lines` lines of a file, of those after byte `from`; empty if the file cannot be read.
#[must_use]
pub fn tail(file: &Path, from: u64, lines: usize) -> String {
    let bytes = std::fs::read(file).unwrap_or_default();
    let text = String::from_utf8_lossy(bytes.get(usize::try_from(from).unwrap_or(0)..).unwrap_or_default());
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Read};
    use std::process::Stdio;

    use super::*;

    #[test]
    fn a_child_survives_the_thread_that_asked_for_it_and_ends_when_asked() {
        let started = std::thread::spawn(|| {
            let mut command = guarded("sleep");
            command.arg("60");
            spawn(command).unwrap()
        });
        let mut child = started.join().unwrap();
        assert!(wait_until(&mut child, Instant::now() + Duration::from_millis(300)).unwrap().is_none());
        let status = end(&mut child, Duration::from_secs(5)).unwrap();
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(15));
    }

    #[test]
    fn a_child_ends_with_a_killed_parent() {
        // A parent shell, a guarded child of it: the child holds the pipe's other end until it is gone.
        let mut command = guarded("sh");
        command.args(["-c", "setpriv --pdeathsig KILL -- sh -c 'echo up; exec sleep 60' & wait"]);
        command.stdout(Stdio::piped());
        let mut parent = spawn(command).unwrap();
        let mut out = BufReader::new(parent.stdout.take().unwrap());
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        assert_eq!(line, "up\n");
        parent.kill().unwrap();
        parent.wait().unwrap();
        let before = Instant::now();
        out.read_to_end(&mut Vec::new()).unwrap(); // returns when the child is gone
        assert!(before.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn tail_takes_the_last_lines() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "a\nb\nc\n").unwrap();
        assert_eq!(tail(file.path(), 0, 2), "b\nc");
        assert_eq!(tail(file.path(), 4, 2), "c");
        assert_eq!(tail(Path::new("/no/such/file"), 0, 2), "");
    }
}
