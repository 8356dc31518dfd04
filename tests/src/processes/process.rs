//! One tier as a process: its program, its log, and what can be done to it.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tokio::time::sleep;

use crate::client::{Client, Error};
use crate::stack::{Ports, Which};

/// On a machine with much to do.
const START: Duration = Duration::from_secs(120);
const STOP: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(20);
/// How much of a log is worth telling.
const LINES: usize = 60;

/// A tier, started or not.
#[derive(Debug)]
pub(super) struct Process {
    which: Which,
    pub(super) ports: Ports,
    config: PathBuf,
    log: PathBuf,
    child: Mutex<Option<Child>>,
}

impl Process {
    pub(super) fn new(which: Which, ports: Ports, config: PathBuf, log: PathBuf) -> Self {
        // Of an earlier run in the same folder.
        let _ = std::fs::remove_file(&log);
        Self { which, ports, config, log, child: Mutex::new(None) }
    }

    /// Starts it and waits until it is ready.
    pub(super) async fn start(&self, client: &Client) -> Result<(), Error> {
        let log = OpenOptions::new().create(true).append(true).open(&self.log)?;
        let child = Command::new(program(if self.which == Which::Origin { "origin" } else { "pop" })?)
            .arg("--config")
            .arg(&self.config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()?;
        *self.child() = Some(child);
        let url = format!("http://127.0.0.1:{}/readyz", self.ports.admin);
        let begun = Instant::now();
        while !client.get(&url).await.is_ok_and(|response| response.status.is_success()) {
            self.look()?;
            if begun.elapsed() > START {
                return Err(self.told("is not ready"));
            }
            sleep(LOOK).await;
        }
        Ok(())
    }

    pub(super) fn is_started(&self) -> bool {
        self.child().is_some()
    }

    /// Sends a signal to it, which has to be there.
    pub(super) fn signal(&self, signal: Signal) -> Result<(), Error> {
        kill_process(self.look()?, signal)?;
        Ok(())
    }

    pub(super) fn kill(&self) -> Result<(), Error> {
        self.look()?;
        if let Some(mut child) = self.child().take() {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    /// Asks it to end, unless it has: whoever stopped us from a terminal has stopped it too.
    pub(super) fn end(&self) -> Result<(), Error> {
        if self.status()?.is_none() { self.signal(Signal::TERM) } else { Ok(()) }
    }

    /// Waits until it has ended, in order.
    pub(super) async fn ended(&self) -> Result<(), Error> {
        let begun = Instant::now();
        loop {
            match self.status()? {
                Some(status) if status.success() => break,
                Some(status) => return Err(self.told(&format!("did not end in order ({status})"))),
                None if begun.elapsed() > STOP => return Err(self.told("does not end")),
                None => sleep(LOOK).await,
            }
        }
        *self.child() = None;
        Ok(())
    }

    pub(super) fn forget_peak(&self) -> Result<u64, Error> {
        std::fs::write(format!("/proc/{}/clear_refs", self.look()?.as_raw_nonzero()), "5")?;
        self.memory("VmRSS:")
    }

    /// A line of what the system tells of its memory, in bytes.
    pub(super) fn memory(&self, line: &str) -> Result<u64, Error> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.look()?.as_raw_nonzero()))?;
        let value = status.lines().find_map(|told| told.strip_prefix(line));
        let kib = value.and_then(|value| value.trim().strip_suffix(" kB")).ok_or_else(|| format!("no {line}"))?;
        Ok(kib.parse::<u64>()? << 10)
    }

    /// The CPU time of its threads, of those that are there.
    pub(super) fn cpu(&self) -> Result<Duration, Error> {
        let threads = std::fs::read_dir(format!("/proc/{}/task", self.look()?.as_raw_nonzero()))?;
        threads.map(|thread| cpu_time(&thread?.path().join("schedstat"))).sum()
    }

    /// Its log, to people who look at a test that has failed.
    pub(super) fn tell(&self) {
        if self.log.exists() {
            eprintln!("{}", self.told("was there when the test failed"));
        }
    }

    /// That it is there.
    fn look(&self) -> Result<Pid, Error> {
        if let Some(status) = self.status()? {
            return Err(self.told(&format!("has ended ({status})")));
        }
        let id = self.child().as_ref().map(Child::id).ok_or_else(|| format!("the {} is not up", self.which.name()))?;
        let pid = i32::try_from(id).ok().and_then(Pid::from_raw);
        pid.ok_or_else(|| "a process without a number".into())
    }

    /// How it has ended, if it has.
    fn status(&self) -> Result<Option<ExitStatus>, Error> {
        Ok(self.child().as_mut().map(Child::try_wait).transpose()?.flatten())
    }

    fn child(&self) -> MutexGuard<'_, Option<Child>> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn told(&self, what: &str) -> Error {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        let last = lines[lines.len().saturating_sub(LINES)..].join("\n");
        format!("the {} {what}; the end of {}:\n{last}", self.which.name(), self.log.display()).into()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(mut child) = self.child().take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// What a thread's `schedstat` tells of its CPU time.
///
/// # Errors
/// The system does not tell.
pub fn cpu_time(schedstat: &Path) -> Result<Duration, Error> {
    let told = std::fs::read_to_string(schedstat).map_err(|e| format!("{}: {e}", schedstat.display()))?;
    let nanoseconds = told.split_whitespace().next().ok_or("a schedstat without a number")?;
    Ok(Duration::from_nanos(nanoseconds.parse()?))
}

/// A program that was built with this one, which lies beside it, or in a folder beside it if it is a test.
///
/// # Errors
/// It was not built.
pub fn program(name: &str) -> Result<PathBuf, Error> {
    let this = std::env::current_exe()?;
    let beside = this.parent().unwrap_or(Path::new("."));
    let folder = if beside.ends_with("deps") { beside.parent().unwrap_or(beside) } else { beside };
    let path = folder.join(name);
    if path.is_file() {
        Ok(path)
    } else {
        Err(format!("{} is missing: run `cargo build --release --workspace --bins`", path.display()).into())
    }
}
