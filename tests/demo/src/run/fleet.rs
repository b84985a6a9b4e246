//! The workers as child processes. The fleet starts, watches and ends them, and starts a killed one again.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use sluice_stack::process;

/// Number of starts of a worker at most: a killed worker is started again until then.
const STARTS: u32 = 6;
/// Exit code of a worker that asks to be started again.
const TRY_AGAIN: i32 = 75;
/// Time that a worker may take to end by itself.
const END_WITHIN: Duration = Duration::from_secs(40);

/// One worker's process and its figures.
pub(crate) struct DemoWorkerProcess {
    pub(crate) name: String,
    program: PathBuf,
    arguments: Vec<String>,
    log: PathBuf,
    child: Option<Child>,
    began: Instant,
    /// Time at which its work was done.
    pub(crate) done: Option<Instant>,
    /// Highest resident memory of its processes, in bytes.
    pub(crate) peak: u64,
    /// Number of processes so far.
    pub(crate) starts: u32,
}

/// All workers.
#[derive(Default)]
pub(crate) struct DemoFleet {
    pub(crate) workers: Vec<DemoWorkerProcess>,
}

impl DemoFleet {
    /// Starts a worker; its output is appended to `log`.
    pub(crate) fn start(
        &mut self,
        name: &str,
        program: &Path,
        arguments: &[String],
        log: PathBuf,
    ) -> Result<()> {
        let mut worker = DemoWorkerProcess {
            name: name.to_owned(),
            program: program.to_path_buf(),
            arguments: arguments.to_vec(),
            log,
            child: None,
            began: Instant::now(),
            done: None,
            peak: 0,
            starts: 0,
        };
        worker.launch()?;
        self.workers.push(worker);
        Ok(())
    }

    /// Looks at every worker: its memory, and whether it still runs. A worker that was killed, or that asks
    /// for a restart, is started again. A worker that failed ends the run.
    pub(crate) fn watch(&mut self) -> Result<()> {
        self.workers.iter_mut().try_for_each(DemoWorkerProcess::watch)
    }

    pub(crate) fn get(&self, name: &str) -> Option<&DemoWorkerProcess> {
        self.workers.iter().find(|worker| worker.name == name)
    }

    /// Marks a worker's work as done.
    pub(crate) fn done(&mut self, name: &str) {
        if let Some(worker) = self.workers.iter_mut().find(|worker| worker.name == name) {
            worker.done.get_or_insert_with(Instant::now);
        }
    }

    /// Kills a worker as a lost machine would, once. [`DemoFleet::watch`] starts it again. Returns whether
    /// this call has killed it.
    pub(crate) fn kill(&mut self, name: &str) -> Result<bool> {
        let Some(worker) = self.workers.iter_mut().find(|worker| worker.name == name) else {
            return Ok(false);
        };
        match worker.child.as_mut() {
            Some(child) if worker.starts == 1 => child.kill().map(|()| true).context("killing a worker"),
            _ => Ok(false),
        }
    }

    /// Asks all workers to end and waits for their end. Fails if one does not end in good order.
    pub(crate) fn stop(&mut self) -> Result<()> {
        for worker in &mut self.workers {
            worker.look_at_memory();
            if let Some(child) = worker.child.as_mut() {
                process::terminate(child).context("ending a worker")?;
            }
        }
        let deadline = Instant::now() + END_WITHIN;
        for worker in &mut self.workers {
            let Some(mut child) = worker.child.take() else { continue };
            match process::wait_until(&mut child, deadline).context("ending a worker")? {
                Some(status) if status.success() => {}
                Some(status) => {
                    bail!("{} did not end in good order ({status}):\n{}", worker.name, worker.tail())
                }
                None => {
                    child.kill().context("killing a worker")?;
                    child.wait().context("killing a worker")?;
                    bail!(
                        "{} had not ended after {} s:\n{}",
                        worker.name,
                        END_WITHIN.as_secs(),
                        worker.tail()
                    );
                }
            }
        }
        Ok(())
    }
}

impl DemoWorkerProcess {
    /// Tells whether its process has ended in good order.
    pub(crate) fn ended(&self) -> bool {
        self.child.is_none()
    }

    /// Returns the seconds from its start until its work was done.
    pub(crate) fn seconds(&self) -> f64 {
        self.done.map_or_else(|| self.began.elapsed(), |done| done - self.began).as_secs_f64()
    }

    fn launch(&mut self) -> Result<()> {
        let open = OpenOptions::new().create(true).append(true).open(&self.log);
        let log = open.with_context(|| format!("writing {}", self.log.display()))?;
        let errors = log.try_clone().with_context(|| format!("writing {}", self.log.display()))?;
        let mut command = process::guarded(&self.program);
        command.args(&self.arguments).stdin(Stdio::null()).stdout(log).stderr(errors);
        self.child = Some(process::spawn(command).with_context(|| format!("starting {}", self.name))?);
        self.starts += 1;
        Ok(())
    }

    fn watch(&mut self) -> Result<()> {
        self.look_at_memory();
        let Some(child) = self.child.as_mut() else { return Ok(()) };
        let Some(status) = child.try_wait().with_context(|| format!("looking after {}", self.name))? else {
            return Ok(());
        };
        self.child = None;
        let once = self.arguments.iter().any(|argument| argument == "--once");
        let again = status.code().is_none_or(|code| code == TRY_AGAIN); // no code: killed by a signal
        if status.success() && once {
            self.done.get_or_insert_with(Instant::now);
            Ok(())
        } else if again && self.starts < STARTS {
            self.launch()
        } else {
            bail!("{} ended ({status}); the end of {}:\n{}", self.name, self.log.display(), self.tail())
        }
    }

    fn look_at_memory(&mut self) {
        let peak = self.child.as_ref().and_then(|child| peak_of(child.id()));
        self.peak = self.peak.max(peak.unwrap_or(0));
    }

    fn tail(&self) -> String {
        process::tail(&self.log, 0, 20)
    }
}

impl Drop for DemoWorkerProcess {
    fn drop(&mut self) {
        if let Some(child) = self.child.as_mut() {
            let _ = child.kill().and_then(|()| child.wait()); // a run that failed: nothing is left to save
        }
    }
}

/// Returns the highest resident memory of a process so far, in bytes: `VmHWM` of proc(5), which counts in kB.
fn peak_of(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn until(fleet: &mut DemoFleet, what: impl Fn(&DemoFleet) -> bool) -> Result<()> {
        for _ in 0..500 {
            fleet.watch()?;
            if what(fleet) {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(10)); // another process
        }
        panic!("waited in vain")
    }

    fn shell(fleet: &mut DemoFleet, script: &str, once: bool) {
        let log = std::env::temp_dir().join(format!("sluice-demo-fleet-{}.log", std::process::id()));
        let mut arguments = vec!["-c".to_owned(), script.to_owned()];
        if once {
            arguments.push("--once".to_owned());
        }
        fleet.start("w", Path::new("sh"), &arguments, log).unwrap();
    }

    #[test]
    fn a_killed_worker_is_started_again_and_ends_when_asked() {
        let mut fleet = DemoFleet::default();
        shell(&mut fleet, "trap 'exit 0' TERM; while :; do sleep 0.05; done", false);
        until(&mut fleet, |fleet| fleet.workers[0].peak > 0).unwrap();
        assert!(fleet.kill("w").unwrap());
        until(&mut fleet, |fleet| fleet.workers[0].starts == 2).unwrap();
        assert!(!fleet.kill("w").unwrap(), "once");
        std::thread::sleep(Duration::from_millis(300)); // until the shell has set its trap
        fleet.stop().unwrap();
    }

    #[test]
    fn a_worker_that_works_once_is_done_and_one_that_fails_ends_the_run() {
        let mut fleet = DemoFleet::default();
        shell(&mut fleet, "exit 0", true);
        until(&mut fleet, |fleet| fleet.workers[0].ended()).unwrap();
        assert!(fleet.workers[0].done.is_some());
        let mut fleet = DemoFleet::default();
        shell(&mut fleet, "exit 64", false);
        assert!(until(&mut fleet, |_| false).is_err());
    }
}
