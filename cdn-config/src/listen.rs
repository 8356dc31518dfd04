//! `[listen]` and `[tls]`: where a tier can be reached, and as whom.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::FaultKind;
use crate::files::FileKind;
use crate::keys::Key;
use crate::section::{Entry, Section};

pub(crate) const KEYS: &[Key] = &[
    Key::text(
        "http",
        "IP address and port",
        "plain HTTP/1.1 and h2c, for the loopback or behind a proxy; this or `https` or both",
    )
    .or("none")
    .clients("they connect to another address"),
    Key::text("https", "IP address and port", "HTTP over TLS; needs `[tls]`")
        .or("none")
        .clients("they connect to another address"),
    Key::text("admin", "IP address and port", "`/healthz`, `/readyz`, `/metrics`, `/drain`: not for clients"),
];

pub(crate) const TLS_KEYS: &[Key] = &[
    Key::text("certificate", "path", "PEM chain, the tier's own first").clients("they see another certificate"),
    Key::text("key", "path", "PEM private key"),
];

const ADDRESS: &str = "an IP address and a port, such as `127.0.0.1:8080`";

/// The addresses of a tier: plain HTTP, HTTPS or both for requests, and one of its own for operations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    http: Option<SocketAddr>,
    https: Option<Https>,
    admin: SocketAddr,
}

impl Listen {
    /// Reads both sections, which only make sense together.
    pub(crate) fn read(root: &mut Section<'_>) -> Option<Self> {
        let tls =
            root.optional("tls", "a section with `certificate` and `key`").and_then(Entry::section).and_then(Tls::read);
        let mut section =
            root.required("listen", "a section with `http`, `https` or both, and `admin`").and_then(Entry::section)?;
        let http = section.optional("http", ADDRESS).and_then(Entry::parse);
        let https = section.optional("https", ADDRESS).and_then(Entry::parse);
        let admin = section.required("admin", ADDRESS).and_then(Entry::parse);

        if !section.has("http") && !section.has("https") {
            section.fault("http", FaultKind::Missing { expected: "an address here, at `https`, or both".into() });
        }
        match (section.has("https"), root.has("tls")) {
            (true, false) => root.fault("tls", FaultKind::Missing { expected: "a section for `listen.https`".into() }),
            (false, true) => root.fault("tls", FaultKind::Unused { without: "`listen.https`" }),
            (true, true) | (false, false) => {}
        }
        refuse_shared(&section, [("http", http), ("https", https), ("admin", admin)]);
        section.finish();

        let https = https.zip(tls).map(|(address, tls)| Https { address, tls });
        Some(Self { http, https, admin: admin? })
    }

    /// Plain HTTP/1.1 and HTTP/2 without TLS: for the loopback, or behind a proxy. This or [`Self::https`] is there.
    pub fn http(&self) -> Option<SocketAddr> {
        self.http
    }

    /// HTTP over TLS.
    pub fn https(&self) -> Option<&Https> {
        self.https.as_ref()
    }

    /// `/healthz`, `/readyz` and `/metrics`: not for clients.
    pub fn admin(&self) -> SocketAddr {
        self.admin
    }
}

/// Two listeners cannot have one address; port 0 is another port each time.
fn refuse_shared(section: &Section<'_>, addresses: [(&'static str, Option<SocketAddr>); 3]) {
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

/// The identity of a tier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    certificate: PathBuf,
    key: PathBuf,
}

impl Tls {
    fn read(mut section: Section<'_>) -> Option<Self> {
        let certificate = section
            .required("certificate", "the path of a PEM certificate chain")
            .and_then(|entry| entry.path(FileKind::File));
        let key = section.required("key", "the path of a PEM private key").and_then(|entry| entry.path(FileKind::File));
        section.finish();
        Some(Self { certificate: certificate?, key: key? })
    }

    /// The PEM file of the certificate and those that vouch for it, its own first.
    pub fn certificate(&self) -> &Path {
        &self.certificate
    }

    /// The PEM file of the certificate's private key.
    pub fn key(&self) -> &Path {
        &self.key
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::example::{EDGE, accepted, refused};

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
        assert_eq!(refused(&text), ["rung.toml:13: tls: has no use without `listen.https`"]);
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
}
