//! A front that cannot start says why.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use front::{Limits, Settings};
use shared_model::wire::Tier;

use crate::rig::Probe;

async fn refused(http: Option<SocketAddr>) -> String {
    let settings = Settings {
        tier: Tier::Region,
        http,
        https: None,
        tiers: None,
        http3: false,
        admin: SocketAddr::from(([127, 0, 0, 1], 0)),
        limits: Limits::default(),
        clients: front::Clients::default(),
        drain_notice: Duration::ZERO,
    };
    let started = front::serve(settings, Arc::new(Probe::new()), front::metrics::registry(Tier::Region)).await;
    started.expect_err("it starts").to_string()
}

#[tokio::test]
async fn rejects_settings_without_a_listener_for_requests() {
    assert_eq!(refused(None).await, "no listener for requests: give `http`, `https` or `tiers` an address");
}

#[tokio::test]
async fn an_address_that_is_taken_is_named_with_its_purpose() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let refused = refused(Some(address)).await;
    assert!(refused.starts_with(&format!("cannot listen on {address} for http: ")), "{refused}");
}
