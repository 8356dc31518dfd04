//! A front on its way out loses no request that it can still answer.

use std::process::Command;
use std::time::{Duration, Instant};

use front::{Drained, Signals};
use http::Method;
use serde_json::json;
use tokio::net::TcpStream;

use crate::rig::{RANK, Rig, asked, asking, post};

const PATIENCE: Duration = Duration::from_secs(8);

#[tokio::test]
async fn ready_says_draining_while_what_is_in_flight_finishes() {
    for protocol in ["http/1.1", "h2"] {
        let rig = Rig::start().await;
        let (admin, http) = (rig.admin, rig.http);
        let in_flight = rig.tls(protocol).await.start(post(RANK, &asking("held")));
        rig.probe.held(1).await;

        let (probe, drained) = rig.drain(PATIENCE);
        let mut ready = asked(admin, Method::GET, "/readyz").await;
        while ready.status == 200 {
            ready = asked(admin, Method::GET, "/readyz").await;
        }
        assert_eq!((ready.status.as_u16(), &ready.json()["missing"]), (503, &json!(["draining"])));
        assert_eq!(asked(admin, Method::GET, "/healthz").await.status, 200);
        while TcpStream::connect(http).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert!(!drained.is_finished() && !in_flight.is_finished());

        probe.release(1);
        assert_eq!(in_flight.await.unwrap().status, 200, "{protocol}");
        assert_eq!(drained.await.unwrap(), Drained { cut: 0 });
        assert!(TcpStream::connect(admin).await.is_err(), "the admin listener is still there");
    }
}

#[tokio::test]
async fn what_outlasts_a_drain_is_503() {
    for protocol in ["http/1.1", "h2", "h3"] {
        let rig = Rig::start().await;
        let in_flight = rig.tls(protocol).await.start(post(RANK, &asking("held")));
        rig.probe.held(1).await;
        let (_probe, drained) = rig.drain(Duration::from_millis(100));
        in_flight.await.unwrap().is_problem(503, "draining");
        assert_eq!(drained.await.unwrap(), Drained { cut: 1 });
    }
}

#[tokio::test]
async fn idle_connections_do_not_hold_up_a_drain() {
    let rig = Rig::start().await;
    let tls = [rig.tls("http/1.1").await, rig.tls("h2").await, rig.tls("h3").await];
    let idle: Vec<_> = [rig.http1().await, rig.http2().await].into_iter().chain(tls).collect();
    let _silent = TcpStream::connect(rig.http).await.unwrap();
    for client in &idle {
        assert_eq!(client.send(post(RANK, &asking("movies"))).await.status, 200);
    }
    let started = Instant::now();
    let (_probe, drained) = rig.drain(PATIENCE);
    assert_eq!(drained.await.unwrap(), Drained { cut: 0 });
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
}

#[tokio::test]
async fn the_admin_listener_can_ask_for_a_drain() {
    let rig = Rig::start().await;
    assert_eq!(rig.asked(Method::POST, "/drain").await.status, 202);
    let ended = rig.into_front().run(Signals::listen().unwrap(), PATIENCE).await;
    assert_eq!(ended, Drained { cut: 0 });
}

#[tokio::test]
async fn a_signal_drains_and_a_second_one_ends_the_wait() {
    let signals = Signals::listen().unwrap();
    let rig = Rig::start().await;
    let (admin, probe) = (rig.admin, rig.probe.clone());
    let in_flight = rig.http1().await.start(post(RANK, &asking("held")));
    probe.held(1).await;
    let running = tokio::spawn(rig.into_front().run(signals, PATIENCE));
    // The shell's own: a bare system has no program of that name.
    let terminate = || Command::new("sh").args(["-c", "kill -TERM $PPID"]).status().unwrap();
    assert!(terminate().success());
    while asked(admin, Method::GET, "/readyz").await.status == 200 {}
    assert!(!running.is_finished());
    assert!(terminate().success());
    assert_eq!(running.await.unwrap(), Drained { cut: 1 });
    in_flight.abort();
}

#[tokio::test]
async fn a_front_that_is_dropped_is_gone() {
    let rig = Rig::start().await;
    let client = rig.http2().await;
    assert_eq!(client.send(post(RANK, &asking("movies"))).await.status, 200);
    let http = rig.http;
    drop(rig);
    while TcpStream::connect(http).await.is_ok() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(client.try_send(post(RANK, &asking("movies"))).await.is_err());
}
