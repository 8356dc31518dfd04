//! Certificates change while requests go on.

use std::path::Path;
use std::time::{Duration, Instant};

use front::tls::{self, Identity, Pem};
use front::{Https, Limits, Settings};
use shared_model::wire::Tier;
use tempfile::TempDir;

use crate::rig::{Client, RANK, Rig, TOO_LONG, asking, post};

/// Writes a new certificate that vouches for itself.
fn write(folder: &Path) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(folder.join("tier.crt"), made.cert.pem()).unwrap();
    std::fs::write(folder.join("tier.key"), made.signing_key.serialize_pem()).unwrap();
}

async fn rig() -> (TempDir, Rig) {
    let folder = TempDir::new().unwrap();
    write(folder.path());
    let own = Identity::read(&folder.path().join("tier.crt"), &folder.path().join("tier.key")).unwrap();
    let any = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    let settings = Settings {
        tier: Tier::Edge,
        http: Some(any),
        https: Some(Https { address: any, tls: tls::Server::open(own.clone()).unwrap() }),
        tiers: None,
        http3: true,
        admin: any,
        limits: Limits { header_timeout: TOO_LONG, ..Limits::default() },
        clients: front::Clients::default(),
        drain_notice: Duration::ZERO,
    };
    let roots = Pem::read(&folder.path().join("tier.crt")).unwrap();
    (folder, Rig::of(settings, own, roots).await)
}

#[tokio::test]
async fn a_new_certificate_is_used_and_open_connections_go_on() {
    let (folder, rig) = rig().await;
    let open = [rig.tls("http/1.1").await, rig.tls("h2").await, rig.tls("h3").await];
    assert!(rig.metric("edge_https_tls_certificate_expiry_timestamp_seconds").await > 0.0);

    std::fs::write(folder.path().join("tier.crt"), "not a certificate").unwrap();
    let started = Instant::now();
    while rig.metric("edge_https_tls_reloads_total{outcome=\"unfit\"}").await == 0.0 {
        assert!(started.elapsed() < TOO_LONG, "it is not seen");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(rig.tls("h2").await.send(post(RANK, &asking("movies"))).await.status, 200, "the old one stays");

    write(folder.path());
    let anew = tls::Client::anonymous(Pem::read(&folder.path().join("tier.crt")).unwrap()).unwrap();
    for protocol in ["h2", "h3"] {
        while Client::connect(rig.https, &anew, protocol).await.is_err() {
            assert!(started.elapsed() < TOO_LONG, "{protocol}: the new one is not used");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert!(Client::connect(rig.https, &rig.stranger(None), protocol).await.is_err(), "the old one is gone");
    }
    assert_eq!(rig.metric("edge_https_tls_reloads_total{outcome=\"taken\"}").await, 1.0);
    for client in open {
        assert_eq!(client.send(post(RANK, &asking("movies"))).await.status, 200);
    }
}
