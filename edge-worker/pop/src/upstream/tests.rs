//! Tests against servers on the loopback, well-behaved and not.

mod either;
mod over_tls;
mod wire;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use shared_model::wire::{Answer, Digest, Reason, Stamp, Tier, Timing, Why};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::*;
use crate::sample;

const STAMP: Stamp = Stamp { bundle: Digest([7; 32]), catalog: 0 };

fn answer() -> Answer {
    Answer {
        model: sample::MODEL.to_owned(),
        version: "7".to_owned(),
        tier: Tier::Origin,
        variant: Some("f32".to_owned()),
        degradation: 0,
        reason: Reason::Reference,
        ranked: Vec::new(),
        agreement: None,
        timing: Timing::default(),
        warnings: Vec::new(),
        stamp: Some(STAMP),
        explanation: None,
    }
}

fn reply() -> Bytes {
    Bytes::from(to_cbor(&Reply::Answer(Box::new(answer()))))
}

fn escalation() -> Escalation {
    let request = sample::request(0.1);
    Escalation { request, stamp: STAMP, from: Tier::Edge, why: Why::Unsure, remaining_us: 0, part: None }
}

/// An HTTP/2 server that greets, and answers all else with what a closure says; dropped, it is gone with its
/// connections.
struct Server {
    address: SocketAddr,
    _tasks: JoinSet<()>,
}

impl Server {
    async fn start<F, R>(answer: F) -> Self
    where
        F: Fn(Request<Incoming>) -> R + Clone + Send + Sync + 'static,
        R: Future<Output = (StatusCode, Bytes)> + Send + 'static,
    {
        Self::at("127.0.0.1:0".parse().expect("an address"), answer).await
    }

    async fn at<F, R>(address: SocketAddr, answer: F) -> Self
    where
        F: Fn(Request<Incoming>) -> R + Clone + Send + Sync + 'static,
        R: Future<Output = (StatusCode, Bytes)> + Send + 'static,
    {
        let listener = TcpListener::bind(address).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let answer = answer.clone();
                let service = service_fn(move |request: Request<Incoming>| {
                    let answer = (request.method() == Method::POST).then(|| answer(request));
                    async move {
                        let (status, body) = match answer {
                            Some(answer) => answer.await,
                            None => (StatusCode::NO_CONTENT, Bytes::new()),
                        };
                        let mut response = Response::new(Full::new(body));
                        *response.status_mut() = status;
                        Ok::<_, Infallible>(response)
                    }
                });
                let io = TokioIo::new(stream);
                connections.spawn(http2::Builder::new(TokioExecutor::new()).serve_connection(io, service));
            }
        });
        Self { address, _tasks: tasks }
    }

    fn settings(&self) -> UpstreamSettings {
        settings(self.address)
    }
}

fn settings(address: SocketAddr) -> UpstreamSettings {
    UpstreamSettings {
        authority: address.to_string().parse().expect("an authority"),
        security: Security::Plain,
        connect_timeout: Duration::from_secs(2),
        breaker: BreakerSettings::default(),
    }
}

fn upstream(settings: UpstreamSettings) -> Upstream {
    Upstream::new(settings, UpstreamMetrics::unregistered())
}

async fn ask(upstream: &Upstream, patience: Duration) -> Outcome {
    upstream.ask(escalation(), &RequestId::fresh(), Instant::now() + patience).await
}

const PATIENCE: Duration = Duration::from_secs(5);

fn answered(outcome: Outcome) -> Answer {
    match outcome {
        Outcome::Reply(Reply::Answer(answer)) => *answer,
        other => panic!("{other:?}"),
    }
}

/// An upstream that always answers like this, and how often it was asked.
async fn always(status: StatusCode, body: impl Into<Bytes>) -> (Server, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let (body, count) = (body.into(), asked.clone());
    let server = Server::start(move |_| {
        count.fetch_add(1, Ordering::Relaxed);
        std::future::ready((status, body.clone()))
    });
    (server.await, asked)
}

#[tokio::test]
async fn a_reply_comes_back_and_the_time_left_goes_up() {
    let seen = Arc::new(Mutex::new(None));
    let keep = seen.clone();
    let server = Server::start(move |request: Request<Incoming>| {
        let keep = keep.clone();
        async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await.expect("a body").to_bytes();
            *keep.lock().expect("no panic") = Some((head, body));
            (StatusCode::OK, reply())
        }
    })
    .await;
    let id = RequestId::fresh();
    let outcome = upstream(server.settings()).ask(escalation(), &id, Instant::now() + PATIENCE).await;
    assert_eq!(answered(outcome), answer());
    let (head, body) = seen.lock().expect("no panic").take().expect("a request");
    assert_eq!((head.method, head.uri.path()), (Method::POST, "/v1/escalate"));
    assert_eq!(head.headers[CONTENT_TYPE], "application/cbor");
    assert_eq!(head.headers[front::REQUEST_ID], id.as_str());
    let message: Escalation = from_cbor(&body).expect("a message");
    assert_eq!(message.request, escalation().request);
    let nine_tenths = 4_500_000;
    assert!((nine_tenths - 1_000_000..=nine_tenths).contains(&message.remaining_us), "{}", message.remaining_us);
}

#[tokio::test]
async fn what_is_not_a_reply_is_as_good_as_none() {
    let too_long = vec![0; MAX_REPLY_BYTES + 1];
    for (status, body) in [
        (StatusCode::OK, Bytes::from_static(b"not a reply")),
        (StatusCode::OK, Bytes::from(too_long)),
        (StatusCode::NOT_FOUND, reply()),
        (StatusCode::UNPROCESSABLE_ENTITY, reply()),
        (StatusCode::TOO_MANY_REQUESTS, reply()),
        (StatusCode::SERVICE_UNAVAILABLE, reply()),
    ] {
        let (server, asked) = always(status, body).await;
        assert_eq!(ask(&upstream(server.settings()), PATIENCE).await, Outcome::Gone, "{status}");
        assert_eq!(asked.load(Ordering::Relaxed), 1, "{status}");
    }
}

#[tokio::test]
async fn after_failures_in_a_row_it_is_not_asked_any_more() {
    let (server, asked) = always(StatusCode::INTERNAL_SERVER_ERROR, Bytes::new()).await;
    let upstream = upstream(server.settings());
    for _ in 0..8 {
        assert_eq!(ask(&upstream, PATIENCE).await, Outcome::Gone);
    }
    assert_eq!(asked.load(Ordering::Relaxed), 5);
}

#[tokio::test]
async fn an_upstream_without_room_is_not_taken_for_dead() {
    let (server, asked) = always(StatusCode::TOO_MANY_REQUESTS, Bytes::new()).await;
    let upstream = upstream(server.settings());
    for _ in 0..8 {
        assert_eq!(ask(&upstream, PATIENCE).await, Outcome::Gone);
    }
    assert_eq!(asked.load(Ordering::Relaxed), 8);
}

#[tokio::test]
async fn it_is_asked_again_when_the_breaker_has_been_open_long_enough() {
    let healthy = Arc::new(AtomicUsize::new(0));
    let state = healthy.clone();
    let server = Server::start(move |_| {
        let ok = state.load(Ordering::Relaxed) > 0;
        let status = if ok { StatusCode::OK } else { StatusCode::BAD_GATEWAY };
        std::future::ready((status, reply()))
    })
    .await;
    let open_for = Duration::from_millis(50);
    let breaker = BreakerSettings { open_for, ..BreakerSettings::default() };
    let upstream = upstream(UpstreamSettings { breaker, ..server.settings() });
    for _ in 0..5 {
        assert_eq!(ask(&upstream, PATIENCE).await, Outcome::Gone);
    }
    healthy.store(1, Ordering::Relaxed);
    sleep(open_for).await;
    assert_eq!(answered(ask(&upstream, PATIENCE).await), answer());
}

#[tokio::test]
async fn a_late_reply_is_not_waited_for() {
    let server = Server::start(|_| async {
        sleep(Duration::from_secs(60)).await;
        (StatusCode::OK, reply())
    })
    .await;
    let upstream = upstream(server.settings());
    let begun = Instant::now();
    assert_eq!(ask(&upstream, Duration::from_millis(60)).await, Outcome::Gone);
    assert!((60..2_000).contains(&begun.elapsed().as_millis()), "{:?}", begun.elapsed());
    assert_eq!(*upstream.breaker.lock().expect("no panic"), Breaker::Closed { failures: 1 });
}

#[tokio::test]
async fn a_request_that_leaves_it_no_time_says_nothing_about_it() {
    let server = Server::start(|_| async {
        sleep(Duration::from_secs(60)).await;
        (StatusCode::OK, reply())
    })
    .await;
    let upstream = upstream(server.settings());
    assert_eq!(ask(&upstream, Duration::from_millis(2)).await, Outcome::Gone);
    assert_eq!(*upstream.breaker.lock().expect("no panic"), Breaker::Closed { failures: 0 });
}

#[tokio::test]
async fn an_upstream_known_to_be_down_is_not_waited_for() {
    let port = TcpListener::bind("127.0.0.1:0").await.expect("a port").local_addr().expect("an address");
    let upstream = upstream(settings(port));
    let begun = Instant::now();
    assert_eq!(ask(&upstream, PATIENCE).await, Outcome::Gone);
    assert!(begun.elapsed() < PATIENCE / 2, "{:?}", begun.elapsed());
}

#[tokio::test]
async fn an_upstream_that_comes_later_is_found() {
    let port = TcpListener::bind("127.0.0.1:0").await.expect("a port").local_addr().expect("an address");
    let upstream = upstream(settings(port));
    assert_eq!(ask(&upstream, PATIENCE).await, Outcome::Gone);
    let _server = Server::at(port, |_| std::future::ready((StatusCode::OK, reply()))).await;
    let until = Instant::now() + PATIENCE;
    // Seldom enough that it is not the breaker that is tested.
    while ask(&upstream, PATIENCE).await == Outcome::Gone {
        assert!(Instant::now() < until, "it was never found");
        sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn a_lost_connection_is_made_again() {
    let server = Server::start(|_| std::future::ready((StatusCode::OK, reply()))).await;
    let (address, upstream) = (server.address, upstream(server.settings()));
    assert_eq!(answered(ask(&upstream, PATIENCE).await), answer());
    drop(server);
    let again = loop {
        // The port is free once the old server is quite gone.
        if let Ok(listener) = TcpListener::bind(address).await {
            drop(listener);
            break Server::at(address, |_| std::future::ready((StatusCode::OK, reply()))).await;
        }
        sleep(Duration::from_millis(5)).await;
    };
    let until = Instant::now() + PATIENCE;
    while ask(&upstream, PATIENCE).await == Outcome::Gone {
        assert!(Instant::now() < until, "it was never connected again");
        sleep(Duration::from_millis(100)).await;
    }
    drop(again);
}
