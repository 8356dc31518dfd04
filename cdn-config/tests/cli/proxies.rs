//! A rendered nginx and a rendered Caddy at work, in front of a tier of paper.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use std::{fs, thread};

use tempfile::TempDir;

use crate::installed;
use crate::tools::{certificate, nginx_configuration};

/// How long a proxy may take to start on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Ports that were free a moment ago.
pub(crate) fn free_ports<const N: usize>() -> [u16; N] {
    let listeners: [_; N] = std::array::from_fn(|_| TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().port())
}

/// Answers every request with its own head. What it has for `/v1/popular` may be cached, as long as the test runs.
struct PaperTier {
    port: u16,
    asked: Arc<AtomicUsize>,
}

impl PaperTier {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let tier = Self { port: listener.local_addr().unwrap().port(), asked: Arc::default() };
        let asked = tier.asked.clone();
        thread::spawn(move || {
            for connection in listener.incoming() {
                let asked = asked.clone();
                thread::spawn(move || answer_all(&connection.unwrap(), &asked));
            }
        });
        tier
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

fn answer_all(connection: &TcpStream, asked: &AtomicUsize) {
    let mut reader = BufReader::new(connection);
    loop {
        let (mut head, mut body) = (String::new(), 0);
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            let line = line.trim_end().to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(length) = line.strip_prefix("content-length: ") {
                body = length.parse().unwrap();
            }
            head.push_str(&line);
            head.push('\n');
        }
        reader.read_exact(&mut vec![0; body]).unwrap();
        asked.fetch_add(1, Ordering::SeqCst);
        let cache = if head.contains("/v1/popular") { "public, max-age=3600" } else { "no-store" };
        let length = head.len();
        let answer = format!(
            "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\ncache-control: {cache}\r\nx-request-id: of-the-tier\r\n\r\n{head}"
        );
        let mut writer = connection;
        writer.write_all(answer.as_bytes()).unwrap();
    }
}

struct Running {
    child: Child,
    https: u16,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Running {
    fn start(command: &mut Command, https: u16) -> Self {
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let mut running = Self { child, https };
        let start = Instant::now();
        while TcpStream::connect(("127.0.0.1", https)).is_err() {
            assert!(running.child.try_wait().unwrap().is_none(), "the proxy ended");
            assert!(start.elapsed() < PATIENCE, "the proxy does not listen");
            thread::sleep(Duration::from_millis(20));
        }
        running
    }

    /// The answer's head and body, in lower case.
    fn ask(&self, path: &str, more: &[&str]) -> String {
        let (port, url) = (self.https, format!("https://rank.example:{}{path}", self.https));
        let output = Command::new("curl")
            .args(["--silent", "--show-error", "--insecure", "--include", "--max-time", "60", "--noproxy", "*"])
            .args(["--resolve", &format!("rank.example:{port}:127.0.0.1")])
            .args(more)
            .arg(url)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().to_ascii_lowercase()
    }
}

fn golden(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(path)).unwrap()
}

/// What has to hold whichever proxy it is.
fn passes_requests_on(proxy: &Running) {
    let liar =
        ["-d", "{}", "-H", "x-forwarded-for: 6.6.6.6", "-H", "forwarded: for=6.6.6.6", "-H", "traceparent: 00-a"];
    let answer = proxy.ask("/v1/rank", &liar);
    assert!(answer.starts_with("http/2 200"), "{answer}");
    for expected in [
        "post /v1/rank http/1.1\n",
        "x-forwarded-for: 127.0.0.1\n",
        "x-forwarded-proto: https\n",
        "traceparent: 00-a\n",
    ] {
        assert!(answer.contains(expected), "{expected} {answer}");
    }
    assert!(!answer.contains("6.6.6.6"), "{answer}");
    assert!(proxy.ask("/readyz", &[]).contains("get /readyz http/1.1\n"));
}

fn says_that_the_tier_is_gone(proxy: &Running) {
    let answer = proxy.ask("/v1/rank", &["-d", "{}"]);
    assert!(answer.starts_with("http/2 503"), "{answer}");
    for expected in ["content-type: application/problem+json", "retry-after: 1", "urn:rung:problem:unavailable"] {
        assert!(answer.contains(expected), "{answer}");
    }
}

#[test]
fn nginx_passes_on_caches_what_is_popular_and_answers_as_a_tier_would() {
    if !installed("nginx") || !installed("curl") {
        return;
    }
    let (tier, admin, folder) = (PaperTier::start(), PaperTier::start(), TempDir::new().unwrap());
    let [http, https, nobody] = free_ports();
    let site = golden("edge-nginx/folder/etc/nginx/conf.d/rung-edge.conf");
    let start = |tier: u16| {
        let site = site
            .replace("server 127.0.0.1:8080 ", &format!("server 127.0.0.1:{tier} "))
            .replace("http://127.0.0.1:9090", &format!("http://127.0.0.1:{}", admin.port));
        let configuration = nginx_configuration(&site, folder.path(), http, https);
        Running::start(Command::new("nginx").arg("-c").arg(configuration), https)
    };

    let nginx = start(tier.port);
    passes_requests_on(&nginx);
    assert_eq!(admin.asked(), 1);

    let before = tier.asked();
    let first = nginx.ask("/v1/popular?geo=de", &["-H", "x-request-id: first"]);
    let second = nginx.ask("/v1/popular?geo=de", &["-H", "x-request-id: a\"b"]);
    assert!(first.contains("x-cache: miss") && first.contains("\nx-request-id: first\r\n"), "{first}");
    assert!(second.contains("x-cache: hit") && !second.contains("a\"b"), "{second}");
    assert!(!second.contains("of-the-tier") && !second.contains("\nx-request-id: first\r\n"), "{second}");
    assert!(nginx.ask("/v1/popular?geo=fr", &[]).contains("x-cache: miss"));
    assert_eq!(tier.asked() - before, 2);

    let body = folder.path().join("body");
    fs::write(&body, vec![b' '; 262_145]).unwrap();
    let data = format!("@{}", body.display());
    let before = tier.asked();
    let too_long = nginx.ask("/v1/rank", &["--data-binary", &data, "-H", "x-request-id: long"]);
    assert!(too_long.starts_with("http/2 413"), "{too_long}");
    assert!(
        too_long.contains("urn:rung:problem:body-too-long") && too_long.contains(r#""instance":"long""#),
        "{too_long}"
    );
    assert_eq!(tier.asked(), before);
    fs::write(&body, vec![b' '; 262_144]).unwrap();
    assert!(nginx.ask("/v1/rank", &["--data-binary", &data]).starts_with("http/2 200"));

    drop(nginx);
    says_that_the_tier_is_gone(&start(nobody));
}

#[test]
fn caddy_passes_on_and_answers_as_a_tier_would() {
    if !installed("caddy") || !installed("curl") {
        return;
    }
    let (tier, admin, folder) = (PaperTier::start(), PaperTier::start(), TempDir::new().unwrap());
    let [http, https, nobody] = free_ports();
    let [chain, key] = certificate(folder.path());
    let start = |tier: u16| {
        let text = golden("edge-caddy/folder/etc/caddy/Caddyfile")
            .replacen("\n{\n", &format!("\n{{\n\tadmin off\n\thttp_port {http}\n\thttps_port {https}\n"), 1)
            .replace("\nrank.example {\n", &format!("\nrank.example {{\n\ttls {chain} {key}\n"))
            .replace("127.0.0.1:8080", &format!("127.0.0.1:{tier}"))
            .replace("[::1]:9090", &format!("127.0.0.1:{}", admin.port))
            // The case has the shortest; here nothing is to be cut off while the machine is busy.
            .replace("read_header 300ms", "read_header 60s");
        let file = folder.path().join("Caddyfile");
        fs::write(&file, text).unwrap();
        let mut command = Command::new("caddy");
        command.args(["run", "--config"]).arg(&file).env("XDG_DATA_HOME", folder.path());
        Running::start(command.env("XDG_CONFIG_HOME", folder.path()), https)
    };
    let caddy = start(tier.port);
    passes_requests_on(&caddy);
    assert_eq!((tier.asked(), admin.asked()), (1, 1));
    drop(caddy);
    says_that_the_tier_is_gone(&start(nobody));
}
