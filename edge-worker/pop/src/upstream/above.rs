//! A tier above on the loopback, for tests: a front whose listener for tiers lets in one certificate.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use front::tls::{self, Identity, Pem};
use front::{Front, Limits, Ranker};
use rustls_pki_types::ServerName;
use shared_model::wire::Tier;

use super::{BreakerSettings, Security, UpstreamSettings};

/// The tier above, and the identity that it has and lets in.
pub(crate) struct Above {
    pub(crate) front: Front,
    pub(crate) own: Identity,
    pub(crate) roots: Pem,
}

/// A certificate for `localhost` that vouches for itself.
pub(crate) fn identity() -> (Identity, Pem) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let certificate = Pem::new("above.crt", made.cert.pem());
    (Identity::new(certificate.clone(), Pem::new("above.key", made.signing_key.serialize_pem())), certificate)
}

fn settings(address: SocketAddr, tier: Tier, http3: bool, own: &Identity, roots: &Pem) -> front::Settings {
    let tls = tls::Server::only_for(own.clone(), roots.clone()).expect("an identity");
    front::Settings {
        tier,
        http: None,
        https: None,
        tiers: Some(front::Https { address, tls }),
        http3,
        admin: "127.0.0.1:0".parse().expect("an address"),
        limits: Limits::default(),
        clients: front::Clients::default(),
        drain_notice: Duration::ZERO,
    }
}

impl Above {
    pub(crate) async fn start<R: Ranker>(tier: Tier, ranker: R, http3: bool) -> Self {
        let (own, roots) = identity();
        Self::at("127.0.0.1:0".parse().expect("an address"), tier, ranker, http3, own, roots).await
    }

    pub(crate) async fn at<R: Ranker>(
        address: SocketAddr,
        tier: Tier,
        ranker: R,
        http3: bool,
        own: Identity,
        roots: Pem,
    ) -> Self {
        Self::of(settings(address, tier, http3, &own, &roots), ranker, own, roots).await
    }

    /// An origin that takes less, over HTTP/3 as well.
    pub(crate) async fn within<R: Ranker>(limits: Limits, ranker: R) -> Self {
        let (own, roots) = identity();
        let any = "127.0.0.1:0".parse().expect("an address");
        let settings = front::Settings { limits, ..settings(any, Tier::Origin, true, &own, &roots) };
        Self::of(settings, ranker, own, roots).await
    }

    async fn of<R: Ranker>(settings: front::Settings, ranker: R, own: Identity, roots: Pem) -> Self {
        let registry = front::metrics::registry(settings.tier);
        Self { front: front::serve(settings, Arc::new(ranker), registry).await.expect("a front"), own, roots }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.front.tiers().expect("an address")
    }

    /// The way to it, as it is known and by its name.
    pub(crate) fn settings(&self, http3: bool) -> UpstreamSettings {
        let client = tls::Client::known_as(self.own.clone(), self.roots.clone()).expect("an identity");
        self.settings_of(client, "localhost", http3)
    }

    pub(crate) fn settings_of(&self, client: tls::Client, name: &'static str, http3: bool) -> UpstreamSettings {
        let name = ServerName::try_from(name).expect("a name");
        UpstreamSettings {
            authority: self.address().to_string().parse().expect("an authority"),
            security: Security::Tls { client: Box::new(client), name, http3 },
            connect_timeout: Duration::from_secs(5),
            breaker: BreakerSettings::default(),
        }
    }
}
