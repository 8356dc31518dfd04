//! A child process that is asked in bytes and answers in bytes, and is never waited for beyond a deadline.
//!
//! Threads of their own feed it and listen to it, so neither a child that reads nothing nor one that says nothing can hold
//! up whoever asks. What it has said and nobody has read yet is bounded.

use std::collections::VecDeque;
use std::io::{self, BufRead, Read, Write as _};
use std::process::{self, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Bytes that are read at once.
const CHUNK: usize = 1 << 16;
/// Chunks that wait to be read.
const WAITING: usize = 16;
/// The last bytes of standard error that are kept.
const WORDS: usize = 4096;
/// How long a child whose answers have ended may take to end itself.
const GRACE: Duration = Duration::from_secs(5);

/// A child process.
#[derive(Debug)]
pub(super) struct Child {
    process: process::Child,
    questions: Option<Sender<Vec<u8>>>,
    /// What it says on standard output.
    pub(super) answers: Answers,
    words: Arc<Mutex<VecDeque<u8>>>,
    heard: JoinHandle<()>,
}

impl Child {
    /// Starts it; from `limit` on it is not waited for.
    pub(super) fn start(command: &mut Command, limit: Duration) -> io::Result<Self> {
        let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = piped.spawn()?;
        let (questions, asked) = channel();
        let (said, chunks) = sync_channel(WAITING);
        let words = Arc::new(Mutex::new(VecDeque::new()));
        let (stdin, stdout, stderr) = (process.stdin.take(), process.stdout.take(), process.stderr.take());
        thread::spawn(move || feed(stdin, &asked));
        thread::spawn(move || listen(stdout, &said));
        let kept = Arc::clone(&words);
        let heard = thread::spawn(move || keep(stderr, &kept));
        let answers = Answers { chunks, chunk: Vec::new(), at: 0, ended: false, deadline: Instant::now() + limit };
        Ok(Self { process, questions: Some(questions), answers, words, heard })
    }

    /// Says this to it. That it has ended is told by its answers.
    pub(super) fn ask(&self, question: Vec<u8>) {
        if let Some(questions) = &self.questions {
            let _ = questions.send(question);
        }
    }

    /// Ends what is said to it.
    pub(super) fn hang_up(&mut self) {
        self.questions = None;
    }

    /// Ends it. Its status, if it ended by itself, and the last that it said on standard error.
    pub(super) fn end(mut self) -> (Option<ExitStatus>, Vec<u8>) {
        self.hang_up();
        let until = Instant::now() + GRACE.min(self.answers.left());
        let waited = |done: &mut dyn FnMut() -> bool| {
            while !done() && Instant::now() < until {
                thread::sleep(Duration::from_millis(5));
            }
        };
        let mut status = None;
        if self.answers.ended {
            waited(&mut || {
                status = self.process.try_wait().unwrap_or(None);
                status.is_some()
            });
        }
        self.stop();
        waited(&mut || self.heard.is_finished());
        let mut words = self.words.lock().unwrap_or_else(PoisonError::into_inner);
        (status, words.make_contiguous().to_vec())
    }

    fn stop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.stop();
    }
}

/// What a child says on standard output, until its deadline.
#[derive(Debug)]
pub(super) struct Answers {
    chunks: Receiver<Vec<u8>>,
    chunk: Vec<u8>,
    at: usize,
    ended: bool,
    deadline: Instant,
}

impl Answers {
    fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }
}

impl BufRead for Answers {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.at == self.chunk.len() && !self.ended {
            let left = self.left();
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            self.at = 0;
            self.chunk = match self.chunks.recv_timeout(left) {
                Ok(chunk) => chunk,
                Err(RecvTimeoutError::Timeout) => return Err(io::ErrorKind::TimedOut.into()),
                Err(RecvTimeoutError::Disconnected) => {
                    self.ended = true;
                    Vec::new()
                }
            };
        }
        Ok(&self.chunk[self.at..])
    }

    fn consume(&mut self, amount: usize) {
        self.at = (self.at + amount).min(self.chunk.len());
    }
}

impl Read for Answers {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let said = self.fill_buf()?;
        let n = said.len().min(buffer.len());
        buffer[..n].copy_from_slice(&said[..n]);
        self.consume(n);
        Ok(n)
    }
}

fn feed(stdin: Option<process::ChildStdin>, asked: &Receiver<Vec<u8>>) {
    let Some(mut stdin) = stdin else { return };
    while let Ok(question) = asked.recv() {
        if stdin.write_all(&question).is_err() {
            return;
        }
    }
}

fn listen(stdout: Option<process::ChildStdout>, said: &SyncSender<Vec<u8>>) {
    each_chunk(stdout, |chunk| said.send(chunk.to_vec()).is_ok());
}

fn keep(stderr: Option<process::ChildStderr>, words: &Mutex<VecDeque<u8>>) {
    each_chunk(stderr, |chunk| {
        let mut words = words.lock().unwrap_or_else(PoisonError::into_inner);
        words.extend(chunk);
        let surplus = words.len().saturating_sub(WORDS);
        words.drain(..surplus);
        true
    });
}

/// Reads to the end, or until nobody wants more.
fn each_chunk(pipe: Option<impl Read>, mut take: impl FnMut(&[u8]) -> bool) {
    let Some(mut pipe) = pipe else { return };
    let mut chunk = vec![0; CHUNK];
    loop {
        match pipe.read(&mut chunk) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Ok(n) if n > 0 && take(&chunk[..n]) => {}
            _ => return,
        }
    }
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::*;

    fn shell(script: &str, limit: Duration) -> Child {
        Child::start(Command::new("sh").args(["-c", script]), limit).unwrap()
    }

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn a_child_answers_what_it_is_asked_however_much_that_is() {
        let mut child = shell("cat", LONG);
        let question: Vec<u8> = (0..8 * CHUNK * WAITING).map(|i| (i % 251) as u8).collect();
        child.ask(question.clone());
        child.hang_up();
        let mut answer = Vec::new();
        child.answers.read_to_end(&mut answer).unwrap();
        assert!(answer == question);
        assert!(child.end().0.unwrap().success());
    }

    #[test]
    fn a_child_that_says_nothing_is_not_waited_for() {
        let begun = Instant::now();
        let mut child = shell("exec sleep 60", Duration::from_millis(50));
        // More than a pipe holds, and nobody reads it.
        child.ask(vec![0; 1 << 20]);
        assert_eq!(child.answers.read(&mut [0; 8]).unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(child.end().0, None);
        assert!(begun.elapsed() < LONG / 2);
    }

    #[test]
    fn a_child_that_never_stops_saying_something_is_not_heard_out() {
        let mut child = shell("exec yes", Duration::from_millis(200));
        let mut buffer = [0; 4096];
        let error = loop {
            match child.answers.read(&mut buffer) {
                Ok(n) => assert!(n > 0),
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        child.end();
    }

    #[test]
    fn the_last_words_of_a_child_are_kept() {
        let mut child = shell("yes filler | head -c 100000 >&2; echo the last >&2; exit 3", LONG);
        assert_eq!(child.answers.read(&mut [0; 8]).unwrap(), 0);
        let (status, words) = child.end();
        assert_eq!(status.unwrap().code(), Some(3));
        assert!(words.len() == WORDS && words.ends_with(b"filler\nfillethe last\n"), "{:?}", String::from_utf8(words));
    }
}
