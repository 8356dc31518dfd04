//! `[listen]`: where a tier can be reached.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::keys::Key;
use crate::section::{Entry, Section};
use crate::{FaultKind, Tier, Tls};

pub(crate) const KEYS: &[Key] = &[
    Key::text(
        "http",
        "IP address and port",
        "plain HTTP/1.1 and h2c, for the loopback or behind a proxy; this, `https` or `tiers` has to be there",
    )
    .or("none")
    .clients("they connect to another address"),
    Key::text("https", "IP address and port", "HTTP over TLS; needs `[tls]`")
        .or("none")
        .clients("they connect to another address"),
    Key::text(
        "tiers",
        "IP address and port",
        "region and origin: where the tiers below pass requests up (`/v1/escalate`, which is nowhere else); only certificates of `tls.client_ca` get in",
    )
    .or("none")
    .clients("the tiers below connect to another address"),
    Key::choice(
        "http3",
        &["true", "false"],
        "HTTP/3 beside `https` and `tiers`, on the UDP ports of the same numbers; `https` says so with `Alt-Svc`",
    )
    .or_text("true")
    .clients("they connect over another protocol"),
    Key::text(
        "admin",
        "IP address and port",
        "`/healthz`, `/readyz`, `/metrics`, `/drain`, `/v1/reload`, `/v1/catalog`: not for clients",
    ),
];

const ADDRESS: &str = "an IP address and a port, such as `127.0.0.1:8080`";

/// The addresses of a tier: plain HTTP, HTTPS or both for clients, one for the tiers below it, and one for operations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    http: Option<SocketAddr>,
    https: Option<Https>,
    tiers: Option<Tiers>,
    http3: bool,
    admin: SocketAddr,
}

impl Listen {
    /// Reads both sections, which only make sense together.
    pub(crate) fn read(root: &mut Section<'_>, tier: Option<Tier>) -> Option<Self> {
        let tls = root.optional("tls", "a section with `certificate` and `key`").and_then(Entry::section);
        let (listen, here) = match tier {
            Some(Tier::Edge) => {
                ("a section with `http`, `https` or both, and `admin`", "an address here, at `https`, or both")
            }
            Some(Tier::Region | Tier::Origin) | None => {
                ("a section with `http`, `https` or `tiers`, and `admin`", "an address here, at `https` or at `tiers`")
            }
        };
        let Some(mut section) = root.required("listen", listen).and_then(Entry::section) else {
            tls.map(|tls| Tls::read(tls, None));
            return None;
        };
        let http = section.optional("http", ADDRESS).and_then(Entry::parse);
        let https = section.optional("https", ADDRESS).and_then(Entry::parse);
        let tiers = section.optional("tiers", ADDRESS).and_then(Entry::parse);
        let http3 = section.optional("http3", "`true` or `false`").and_then(Entry::boolean);
        let admin = section.required("admin", ADDRESS).and_then(Entry::parse);

        if !["http", "https", "tiers"].iter().any(|name| section.has(name)) {
            section.fault("http", FaultKind::Missing { expected: here.into() });
        }
        if tier == Some(Tier::Edge) && section.has("tiers") {
            section.fault("tiers", FaultKind::Misplaced { tier: Tier::Edge, belongs: &[Tier::Region, Tier::Origin] });
        }
        let secure = section.has("https") || section.has("tiers");
        if section.has("http3") && !secure {
            section.fault("http3", FaultKind::Unused { without: "`https` or `tiers`" });
        }
        match (secure, root.has("tls")) {
            (true, false) => {
                let of = if section.has("https") { "https" } else { "tiers" };
                root.fault("tls", FaultKind::Missing { expected: format!("a section for `listen.{of}`").into() });
            }
            (false, true) => root.fault("tls", FaultKind::Unused { without: "`listen.https` or `listen.tiers`" }),
            (true, true) | (false, false) => {}
        }
        refuse_shared(&section, [("http", http), ("https", https), ("tiers", tiers), ("admin", admin)]);
        let read = tls.map(|tls| Tls::read(tls, secure.then(|| section.has("tiers"))));
        section.finish();

        let (tls, client_ca) = read.unwrap_or_default();
        let https = https.zip(tls.clone()).map(|(address, tls)| Https { address, tls });
        let tiers = || Some(Tiers { address: tiers?, tls: tls?, client_ca: client_ca? });
        Some(Self { http, https, tiers: tiers(), http3: http3.unwrap_or(true), admin: admin? })
    }

    /// Plain HTTP/1.1 and HTTP/2 without TLS: for the loopback, or behind a proxy. This, [`Self::https`] or
    /// [`Self::tiers`] is there.
    pub fn http(&self) -> Option<SocketAddr> {
        self.http
    }

    /// HTTP over TLS.
    pub fn https(&self) -> Option<&Https> {
        self.https.as_ref()
    }

    /// Where the tiers below pass requests up, known by their certificates. Never at an edge.
    pub fn tiers(&self) -> Option<&Tiers> {
        self.tiers.as_ref()
    }

    /// Whether [`Self::https`] and [`Self::tiers`] take HTTP/3 on the UDP ports of the same numbers.
    pub fn http3(&self) -> bool {
        self.http3
    }

    /// `/healthz`, `/readyz` and `/metrics`: not for clients.
    pub fn admin(&self) -> SocketAddr {
        self.admin
    }
}

/// Two listeners cannot have one address; port 0 is another port each time.
fn refuse_shared(section: &Section<'_>, addresses: [(&'static str, Option<SocketAddr>); 4]) {
    for (index, (name, address)) in addresses.iter().enumerate() {
        let Some(address) = address.filter(|address| address.port() != 0) else { continue };
        if let Some((first, _)) = addresses[..index].iter().find(|(_, other)| *other == Some(address)) {
            let expected = format!("another address than that of `{first}`").into();
            section.fault(name, FaultKind::Value { found: address.to_string(), expected });
        }
    }
}

/// A TLS listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Https {
    address: SocketAddr,
    tls: Tls,
}

impl Https {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// As whom.
    pub fn tls(&self) -> &Tls {
        &self.tls
    }
}

/// The listener for the tiers below.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tiers {
    address: SocketAddr,
    tls: Tls,
    client_ca: PathBuf,
}

impl Tiers {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// As whom.
    pub fn tls(&self) -> &Tls {
        &self.tls
    }

    /// The PEM file of the roots that the tiers below are known by.
    pub fn client_ca(&self) -> &Path {
        &self.client_ca
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::example::{EDGE, ORIGIN, accepted, refused};

    const TLS: &str = "[tls]\ncertificate = \"edge.crt\"\nkey = \"/etc/keys/edge.key\"\n";

    fn edge_listening_on(https: &str) -> String {
        EDGE.replace("http =", "https =").replace("127.0.0.1:8080", https)
    }

    #[test]
    fn listens_on_plain_http_alone() {
        let config = accepted(EDGE);
        assert_eq!(config.listen().http(), "127.0.0.1:8080".parse().ok());
        assert_eq!(config.listen().https(), None);
        assert_eq!(config.listen().admin().port(), 9090);
    }

    #[test]
    fn listens_on_https_with_files_beside_the_configuration() {
        let config = accepted(&format!("{}{TLS}", edge_listening_on("[::]:8443")));
        assert_eq!(config.listen().http(), None);
        let https = config.listen().https().expect("an HTTPS listener");
        assert_eq!(https.address().to_string(), "[::]:8443");
        assert_eq!(https.tls().certificate(), Path::new("/etc/rung/edge.crt"));
        assert_eq!(https.tls().key(), Path::new("/etc/keys/edge.key"));
    }

    #[test]
    fn several_listeners_can_leave_their_ports_to_the_system() {
        accepted(&EDGE.replace("8080", "0").replace("9090", "0"));
    }

    #[test]
    fn rejects_a_file_without_listeners() {
        let text = EDGE.replace("[listen]\nhttp = \"127.0.0.1:8080\"\nadmin = \"127.0.0.1:9090\"", "");
        assert_eq!(
            refused(&text),
            ["rung.toml:1: listen: missing, expected a section with `http`, `https` or both, and `admin`"]
        );
    }

    #[test]
    fn rejects_an_admin_listener_alone() {
        let text = EDGE.replace("http = \"127.0.0.1:8080\"", "");
        assert_eq!(
            refused(&text),
            ["rung.toml:4: listen.http: missing, expected an address here, at `https`, or both"]
        );
    }

    #[test]
    fn tells_a_tier_that_may_have_tiers_below_of_their_listener() {
        let listeners = "http = \"127.0.0.1:8080\"";
        assert!(ORIGIN.contains(listeners));
        let here = "listen.http: missing, expected an address here, at `https` or at `tiers`";
        assert!(refused(&ORIGIN.replace(listeners, ""))[0].ends_with(here));
        let section = "listen: missing, expected a section with `http`, `https` or `tiers`, and `admin`";
        let without = ORIGIN.replace("[listen]", "[lisen]");
        assert!(refused(&without).iter().any(|fault| fault.ends_with(section)), "{:?}", refused(&without));
    }

    #[test]
    fn rejects_listeners_without_admin() {
        let text = EDGE.replace("admin = \"127.0.0.1:9090\"", "");
        assert_eq!(
            refused(&text),
            ["rung.toml:4: listen.admin: missing, expected an IP address and a port, such as `127.0.0.1:8080`"]
        );
    }

    #[test]
    fn rejects_a_host_name_as_an_address() {
        let text = EDGE.replace("127.0.0.1:9090", "localhost:9090");
        assert_eq!(
            refused(&text),
            [
                "rung.toml:6: listen.admin: is `localhost:9090`, expected an IP address and a port, such as `127.0.0.1:8080`"
            ]
        );
    }

    #[test]
    fn rejects_two_listeners_on_one_address() {
        let text = EDGE.replace("9090", "8080");
        assert_eq!(
            refused(&text),
            ["rung.toml:6: listen.admin: is `127.0.0.1:8080`, expected another address than that of `http`"]
        );
    }

    #[test]
    fn rejects_https_without_tls() {
        assert_eq!(
            refused(&edge_listening_on("0.0.0.0:8443")),
            ["rung.toml:1: tls: missing, expected a section for `listen.https`"]
        );
    }

    #[test]
    fn rejects_tls_without_https() {
        let text = format!("{EDGE}{TLS}");
        assert_eq!(refused(&text), ["rung.toml:13: tls: has no use without `listen.https` or `listen.tiers`"]);
    }

    #[test]
    fn rejects_tls_without_a_certificate_or_a_key() {
        let text = format!("{}[tls]", edge_listening_on("0.0.0.0:8443"));
        assert_eq!(
            refused(&text),
            [
                "rung.toml:13: tls.certificate: missing, expected the path of a PEM certificate chain",
                "rung.toml:13: tls.key: missing, expected the path of a PEM private key",
            ]
        );
    }

    fn origin_with_tiers(keys: &str, tls: &str) -> String {
        format!("{}[tls]\ncertificate = \"tier.crt\"\nkey = \"tier.key\"\n{tls}", ORIGIN.replace("http =", keys))
    }

    #[test]
    fn the_tiers_below_have_a_listener_of_their_own_and_are_known_by_their_roots() {
        let text = origin_with_tiers("tiers = \"0.0.0.0:8444\"\nhttp3 = false\nhttps =", "client_ca = \"ca.crt\"");
        let config = accepted(&text);
        let tiers = config.listen().tiers().expect("a listener");
        assert_eq!(tiers.address().to_string(), "0.0.0.0:8444");
        assert_eq!(tiers.client_ca(), Path::new("/etc/rung/ca.crt"));
        assert!(!config.listen().http3() && config.listen().https().is_some());
        assert!(accepted(&text.replace("http3 = false\n", "")).listen().http3());
        accepted(&origin_with_tiers("tiers =", "client_ca = \"ca.crt\""));
    }

    #[test]
    fn rejects_a_listener_for_tiers_without_their_roots() {
        assert_eq!(
            refused(&origin_with_tiers("tiers =", "")),
            [
                "rung.toml:10: tls.client_ca: missing, expected the path of the PEM roots that the tiers below are known by"
            ]
        );
    }

    #[test]
    fn rejects_roots_without_a_listener_for_tiers() {
        assert_eq!(
            refused(&origin_with_tiers("https =", "client_ca = \"ca.crt\"")),
            ["rung.toml:13: tls.client_ca: has no use without `listen.tiers`"]
        );
    }

    #[test]
    fn rejects_a_listener_for_tiers_at_an_edge() {
        let text = format!("{}{TLS}client_ca = \"ca.crt\"", edge_listening_on("0.0.0.0:8443"));
        let text = text.replace("https =", "tiers = \"0.0.0.0:8444\"\nhttps =");
        assert_eq!(
            refused(&text),
            ["rung.toml:5: listen.tiers: not a section of tier `edge`, expected only at `region` and `origin`"]
        );
    }

    #[test]
    fn rejects_http3_without_tls() {
        let text = EDGE.replace("admin =", "http3 = true\nadmin =");
        assert_eq!(refused(&text), ["rung.toml:6: listen.http3: has no use without `https` or `tiers`"]);
    }
}
