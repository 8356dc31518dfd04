//! `[upstream]`: the tier above an edge or a region.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::Uri;

use crate::FaultKind;
use crate::files::FileKind;
use crate::keys::Key;
use crate::limits::CONNECT_TIMEOUT_MS;
use crate::section::Section;

pub(crate) const KEYS: &[Key] = &[
    Key::text(
        "url",
        "`http` or `https`, host, port; no path",
        "the tier above: its `listen.tiers`. `http` is for a proxy on this machine that speaks TLS for this tier",
    ),
    Key::text("ca", "path", "PEM roots that it is trusted by (the system's are not); `https` only")
        .or("required for `https`"),
    Key::text("certificate", "path", "PEM chain that this tier shows to the one above; `https` only")
        .or("required for `https`"),
    Key::text("key", "path", "PEM private key of that certificate; `https` only").or("required for `https`"),
    Key::choice(
        "http3",
        &["auto", "off"],
        "`auto`: HTTP/2, and HTTP/3 once it has been found to get there; `https` only",
    )
    .or_text("auto"),
    Key::text("server_name", "host name or IP address", "the name in its certificate; `https` only")
        .or("the URL's host"),
    Key::number(&CONNECT_TIMEOUT_MS, "until connected, TLS and a greeting included"),
];

const CERTIFICATE: &str = "the path of the PEM certificate chain that this tier shows to the one above";
const KEY: &str = "the path of that certificate's PEM private key";
const ROOTS: &str = "the path of the PEM roots that an `https` upstream is trusted by";

/// Where to send what this tier does not answer itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    url: Uri,
    tls: Option<UpstreamTls>,
    http3: bool,
    connect_timeout: Duration,
}

impl Upstream {
    pub(crate) fn read(mut section: Section<'_>) -> Option<Self> {
        let url = section
            .required("url", "`http://` or `https://`, a host and perhaps a port, without a path")
            .and_then(|entry| entry.normal(base_url));
        let ca = section.optional("ca", ROOTS).and_then(|entry| entry.path(FileKind::File));
        let server_name = section
            .optional("server_name", "the host name or IP address in the upstream's certificate")
            .and_then(|entry| entry.text(host_name));
        let certificate = section.optional("certificate", CERTIFICATE).and_then(|entry| entry.path(FileKind::File));
        let key = section.optional("key", KEY).and_then(|entry| entry.path(FileKind::File));
        let http3 = section
            .optional("http3", "`auto` or `off`")
            .and_then(|entry| entry.one_of(&[("auto", true), ("off", false)]));
        let connect_timeout = section.millis(&CONNECT_TIMEOUT_MS);

        let encrypted = url.as_ref().map(|url| url.scheme_str() == Some("https"));
        if encrypted == Some(true) {
            for (name, expected) in [("ca", ROOTS), ("certificate", CERTIFICATE), ("key", KEY)] {
                if !section.has(name) {
                    section.fault(name, FaultKind::Missing { expected: expected.into() });
                }
            }
        }
        if encrypted == Some(false) {
            for name in
                ["ca", "server_name", "certificate", "key", "http3"].into_iter().filter(|name| section.has(name))
            {
                section.fault(name, FaultKind::Unused { without: "an `https` url" });
            }
        }
        section.finish();

        let tls = || Some(UpstreamTls { ca: ca?, server_name, certificate: certificate?, key: key? });
        Some(Self { url: url?, tls: tls(), http3: http3.unwrap_or(true), connect_timeout })
    }

    /// Scheme and authority, to which the path of escalations, `/v1/escalate`, is added.
    pub fn url(&self) -> &Uri {
        &self.url
    }

    /// How the upstream proves who it is; `Some` exactly when the URL is `https`.
    pub fn tls(&self) -> Option<&UpstreamTls> {
        self.tls.as_ref()
    }

    /// Whether to find out if HTTP/3 gets there, and to use it then.
    pub fn http3(&self) -> bool {
        self.http3
    }

    /// How long a connection may take to come about, TLS and a first answer included.
    pub fn connect_timeout(&self) -> Duration {
        self.connect_timeout
    }
}

/// How an upstream proves who it is, and this tier to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamTls {
    ca: PathBuf,
    server_name: Option<String>,
    certificate: PathBuf,
    key: PathBuf,
}

impl UpstreamTls {
    /// The PEM file of the roots that it is trusted by; the system's are not.
    pub fn ca(&self) -> &Path {
        &self.ca
    }

    /// The name that its certificate has to be for, where that is not the URL's host.
    pub fn server_name(&self) -> Option<&str> {
        self.server_name.as_deref()
    }

    /// The PEM file of the chain that this tier shows.
    pub fn certificate(&self) -> &Path {
        &self.certificate
    }

    /// The PEM file of that certificate's private key.
    pub fn key(&self) -> &Path {
        &self.key
    }
}

fn base_url(text: &str) -> Option<Uri> {
    let url: Uri = text.parse().ok()?;
    let of_the_web = matches!(url.scheme_str(), Some("http" | "https"));
    let named =
        url.authority().is_some_and(|authority| !authority.host().is_empty() && !authority.as_str().contains('@'));
    let bare = url.path_and_query().is_none_or(|path| path.as_str() == "/");
    (of_the_web && named && bare).then_some(url)
}

fn host_name(text: &str) -> Option<String> {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    let dns_name = text.len() <= 253 && text.split('.').all(label);
    (dns_name || text.parse::<IpAddr>().is_ok()).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Role;
    use crate::example::{EDGE, accepted, refused};

    const URL: &str = "`http://` or `https://`, a host and perhaps a port, without a path";

    fn with_upstream(keys: &str) -> String {
        format!("{EDGE}[upstream]\n{keys}")
    }

    fn upstream_of(text: &str) -> Option<Upstream> {
        match accepted(text).role() {
            Role::Edge(pop) | Role::Region(pop) => pop.upstream().cloned(),
            Role::Origin(_) => panic!("not a pop"),
        }
    }

    #[test]
    fn a_tier_may_have_nobody_above() {
        assert_eq!(upstream_of(EDGE), None);
    }

    #[test]
    fn trusts_an_https_upstream_by_the_roots_given() {
        let keys = "url = \"https://region.example:8444\"\nca = \"ca.crt\"\nserver_name = \"region\"\nconnect_timeout_ms = 75\n\
             certificate = \"edge.crt\"\nkey = \"edge.key\"";
        let upstream = upstream_of(&with_upstream(keys)).expect("an upstream");
        assert_eq!(upstream.url(), "https://region.example:8444/");
        assert_eq!(upstream.connect_timeout(), Duration::from_millis(75));
        let tls = upstream.tls().expect("TLS");
        assert_eq!((tls.ca(), tls.server_name()), (Path::new("/etc/rung/ca.crt"), Some("region")));
        assert_eq!((tls.certificate(), tls.key()), (Path::new("/etc/rung/edge.crt"), Path::new("/etc/rung/edge.key")));
        assert!(upstream.http3());
        let without = upstream_of(&with_upstream(&format!("{keys}\nhttp3 = \"off\""))).expect("an upstream");
        assert!(!without.http3());
    }

    #[test]
    fn an_http_upstream_has_no_tls() {
        let upstream = upstream_of(&with_upstream("url = \"http://127.0.0.1:8081/\"")).expect("an upstream");
        assert_eq!(upstream.tls(), None);
        assert_eq!(upstream.connect_timeout(), Duration::from_millis(500));
    }

    #[test]
    fn rejects_an_upstream_without_a_url() {
        assert_eq!(refused(&with_upstream("")), [format!("rung.toml:13: upstream.url: missing, expected {URL}")]);
    }

    #[test]
    fn rejects_an_https_upstream_without_roots_or_an_identity() {
        assert_eq!(
            refused(&with_upstream("url = \"https://region.example\"")),
            [
                format!("rung.toml:13: upstream.ca: missing, expected {ROOTS}"),
                format!("rung.toml:13: upstream.certificate: missing, expected {CERTIFICATE}"),
                format!("rung.toml:13: upstream.key: missing, expected {KEY}"),
            ]
        );
    }

    #[test]
    fn rejects_tls_settings_of_an_http_upstream() {
        assert_eq!(
            refused(&with_upstream(
                "url = \"http://region.example\"\nca = \"ca.crt\"\nserver_name = \"region\"\nhttp3 = \"auto\""
            )),
            [
                "rung.toml:15: upstream.ca: has no use without an `https` url",
                "rung.toml:16: upstream.server_name: has no use without an `https` url",
                "rung.toml:17: upstream.http3: has no use without an `https` url",
            ]
        );
    }

    #[test]
    fn rejects_urls_that_are_not_a_scheme_and_a_host() {
        for url in [
            "region.example",
            "ftp://region.example",
            "http://",
            "https://r.example/v1",
            "http://u:p@r.example",
            "http://r?q",
        ] {
            assert_eq!(
                refused(&with_upstream(&format!("url = \"{url}\""))),
                [format!("rung.toml:14: upstream.url: is `{url}`, expected {URL}")]
            );
        }
    }

    #[test]
    fn rejects_a_server_name_that_is_no_host() {
        for name in ["", "region..example", "region:8443", "a b"] {
            let text = with_upstream(&format!(
                "url = \"https://r\"\nca = \"ca.crt\"\nserver_name = \"{name}\"\ncertificate = \"a\"\nkey = \"b\""
            ));
            assert_eq!(
                refused(&text),
                [format!(
                    "rung.toml:16: upstream.server_name: is `{name}`, expected the host name or IP address in the upstream's certificate"
                )]
            );
        }
    }

    #[test]
    fn rejects_a_connect_timeout_of_no_time() {
        assert_eq!(
            refused(&with_upstream("url = \"http://r\"\nconnect_timeout_ms = 0")),
            ["rung.toml:15: upstream.connect_timeout_ms: is `0`, expected a whole number from 1 to 60000"]
        );
    }
}
