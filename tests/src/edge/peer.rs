//! Another runtime, as a process that is asked one line of JSON at a time: `scripts/edge_peer.py`, `scripts/edge_peer.mjs`.

use std::cell::RefCell;
use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::rc::Rc;
use std::time::Duration;

use rustix::process::Pid;
use serde_json::{Value, json};

use super::cores;
use super::turns::Subject;
use crate::client::Error;

/// A runtime that runs; a clone is another handle to it.
#[derive(Clone)]
pub(super) struct Peer(Rc<RefCell<Process>>);

struct Process {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

/// Something that a peer has loaded under a name.
pub(super) struct Named {
    peer: Peer,
    name: String,
}

impl Peer {
    /// Starts a script.
    ///
    /// # Errors
    /// It does not start, or lacks what it needs.
    pub(super) fn start(program: &str, script: &str, environment: &[(&str, &OsStr)]) -> Result<Self, Error> {
        let mut command = Command::new(program);
        command.arg(script).envs(environment.iter().copied()).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().map_err(|e| format!("{program}: {e}"))?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let (Some(stdin), Some(stdout)) = (stdin, stdout) else { return Err("a process without pipes".into()) };
        Ok(Self(Rc::new(RefCell::new(Process { child, stdin, stdout: BufReader::new(stdout) }))))
    }

    /// Asks one thing.
    ///
    /// # Errors
    /// It says that it cannot, or is gone.
    pub(super) fn ask(&self, question: &Value) -> Result<Value, Error> {
        let mut process = self.0.borrow_mut();
        writeln!(process.stdin, "{question}")?;
        let mut line = String::new();
        if process.stdout.read_line(&mut line)? == 0 {
            return Err(format!("the peer has ended, asked {question}").into());
        }
        let answer: Value = serde_json::from_str(&line)?;
        match answer["error"].as_str() {
            Some(error) => Err(error.into()),
            None => Ok(answer),
        }
    }

    /// What it runs, with versions.
    pub(super) fn versions(&self) -> Result<String, Error> {
        Ok(self.ask(&json!({"do": "versions"}))?["versions"].as_str().unwrap_or_default().to_owned())
    }

    /// Puts it on the first core, but for what it has started beside its main thread.
    ///
    /// # Errors
    /// The system does not let it.
    pub(super) fn join_first_core(&self) -> Result<(), Error> {
        cores::join_first(Pid::from_child(&self.0.borrow().child))
    }

    /// What it has loaded under a name.
    pub(super) fn named(&self, name: &str) -> Named {
        Named { peer: self.clone(), name: name.to_owned() }
    }
}

impl Subject for Named {
    fn turn(&mut self, time: Duration) -> Result<Vec<f64>, Error> {
        let question = json!({"do": "turn", "name": self.name, "seconds": time.as_secs_f64()});
        Ok(serde_json::from_value(self.peer.ask(&question)?["seconds"].take())?)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_that_is_not_there_or_ends_is_an_error() {
        assert!(Peer::start("no-such-program", "x", &[]).is_err());
        let peer = Peer::start("true", "x", &[]).unwrap();
        assert!(peer.versions().is_err());
    }
}
