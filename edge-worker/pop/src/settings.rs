//! What a POP is told at start: plain values, made from a `rung.toml` or by a test.

use std::path::PathBuf;
use std::thread::available_parallelism;
use std::time::Duration;

use cdn_config::{Config, Role};
use front::generations::BundleSource;
use front::tls::{Pem, TlsError};
use http::Uri;
use rustls_pki_types::{InvalidDnsNameError, ServerName};
use shared_model::ladder::TierLimits;
use shared_model::wire::Tier;
use thiserror::Error;

use crate::{BreakerSettings, Security, UpstreamSettings};

/// How long `/readyz` says that a draining POP leaves before it does.
const DRAIN_NOTICE: Duration = Duration::from_millis(500);

/// Everything that a POP is told.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where it listens and what it takes; edge or region.
    pub front: front::Settings,
    /// Where each bundle comes from.
    pub bundles: Vec<BundleSource>,
    /// What it scores itself.
    pub limits: TierLimits,
    /// The guest.
    pub worker: WorkerSettings,
    /// The tier above.
    pub upstream: Option<UpstreamSettings>,
}

/// The guest and what it may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerSettings {
    /// The module's file.
    pub wasm: PathBuf,
    /// Guests side by side, for each model.
    pub instances: usize,
    /// Calls that may wait for a guest, for each model; one more is refused at the door.
    pub queue: usize,
    /// Bytes of linear memory of one guest.
    pub memory_bytes: usize,
    /// The longest that one call may run.
    pub max_rank: Duration,
}

/// A configuration that no POP can be made from.
#[derive(Debug, Error)]
pub enum SettingsError {
    /// It is another daemon's.
    #[error("invalid configuration: tier is `origin`, which `pop` does not run; start `origin` with this file")]
    Origin,
    /// A certificate or a key cannot be used.
    #[error("invalid configuration for `tls`: {0}")]
    Tls(TlsError),
    /// The upstream cannot be reached like this.
    #[error("invalid configuration for `upstream`: {0}")]
    Upstream(#[from] UpstreamError),
}

/// What is wrong with an upstream.
#[derive(Debug, Error)]
pub enum UpstreamError {
    /// The roots cannot be used.
    #[error(transparent)]
    Roots(#[from] TlsError),
    /// The name cannot be in a certificate.
    #[error("`{name}` is not a name that a certificate can have: {reason}; set `upstream.server_name`")]
    Name {
        /// As configured, or the URL's host.
        name: String,
        /// What is wrong with it.
        reason: InvalidDnsNameError,
    },
    /// The URL is not of the form that is needed.
    #[error("`{0}` has no host, or is `https` without roots to trust; give both")]
    Url(Uri),
}

impl Settings {
    /// What a `rung.toml` says, with the certificates that it names.
    ///
    /// # Errors
    /// It is an origin's, or names a file that cannot be used.
    pub fn from_config(config: &Config) -> Result<Self, SettingsError> {
        let (tier, role) = match config.role() {
            Role::Edge(pop) => (Tier::Edge, pop),
            Role::Region(pop) => (Tier::Region, pop),
            Role::Origin(_) => return Err(SettingsError::Origin),
        };
        let limits = config.limits();
        let worker = role.worker();
        Ok(Self {
            front: front::Settings {
                tier,
                http: config.listen().http(),
                https: config.listen().https().map(https).transpose().map_err(SettingsError::Tls)?,
                admin: config.listen().admin(),
                limits: front::Limits {
                    max_body_bytes: limits.max_body_bytes(),
                    max_json_depth: limits.max_json_depth(),
                    max_connections: limits.max_connections(),
                    header_timeout: limits.header_timeout(),
                    body_timeout: limits.body_timeout(),
                    max_in_flight: limits.max_in_flight(),
                    default_timeout: limits.default_timeout(),
                    max_timeout: limits.max_timeout(),
                },
                drain_notice: DRAIN_NOTICE,
            },
            bundles: config.models().iter().map(source).collect(),
            limits: TierLimits {
                max_candidates: u32::try_from(limits.max_candidates()).unwrap_or(u32::MAX),
                max_k: u32::try_from(limits.max_k()).unwrap_or(u32::MAX),
            },
            worker: WorkerSettings {
                wasm: worker.wasm().to_owned(),
                instances: worker.instances().unwrap_or_else(|| available_parallelism().map_or(1, usize::from)),
                // The front's places are the bound: what got one may wait here.
                queue: limits.max_in_flight(),
                memory_bytes: worker.memory_mib() << 20,
                max_rank: worker.max_rank(),
            },
            upstream: role.upstream().map(upstream).transpose()?,
        })
    }
}

fn source(model: &cdn_config::Model) -> BundleSource {
    BundleSource { folder: model.bundle().to_owned(), poll: model.poll() }
}

fn https(https: &cdn_config::Https) -> Result<front::Https, TlsError> {
    let (certificate, key) = (Pem::read(https.tls().certificate())?, Pem::read(https.tls().key())?);
    Ok(front::Https { address: https.address(), tls: front::tls::server(&certificate, &key)? })
}

fn upstream(upstream: &cdn_config::Upstream) -> Result<UpstreamSettings, UpstreamError> {
    let url = upstream.url();
    let authority = url.authority().ok_or_else(|| UpstreamError::Url(url.clone()))?.clone();
    let security = match (url.scheme_str(), upstream.tls()) {
        (Some("https"), Some(tls)) => {
            let name = tls.server_name().unwrap_or_else(|| authority.host());
            let bare = name.trim_start_matches('[').trim_end_matches(']').to_owned();
            let name =
                ServerName::try_from(bare.clone()).map_err(|reason| UpstreamError::Name { name: bare, reason })?;
            Security::Tls { config: Box::new(front::tls::client(&Pem::read(tls.ca())?)?), name }
        }
        (Some("http"), _) => Security::Plain,
        _ => return Err(UpstreamError::Url(url.clone())),
    };
    let (connect_timeout, breaker) = (upstream.connect_timeout(), BreakerSettings::default());
    Ok(UpstreamSettings { authority, security, connect_timeout, breaker })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const EDGE: &str = r#"schema_version = 1
tier = "edge"
[listen]
http = "127.0.0.1:0"
admin = "127.0.0.1:0"
[[model]]
bundle = "bundles/movies"
[worker]
wasm = "worker.wasm"
memory_mib = 64
[upstream]
url = "http://region.example:8080"
"#;

    fn read(text: &str) -> Result<Settings, SettingsError> {
        Settings::from_config(&Config::parse(text, Path::new("/etc/rung")).expect("no fault"))
    }

    #[test]
    fn takes_what_the_file_says() {
        let settings = read(EDGE).expect("settings");
        assert_eq!(settings.front.tier, Tier::Edge);
        let folder = Path::new("/etc/rung/bundles/movies").to_owned();
        assert_eq!(settings.bundles, [BundleSource { folder, poll: Duration::from_millis(250) }]);
        assert_eq!(settings.worker.wasm, Path::new("/etc/rung/worker.wasm"));
        assert_eq!(settings.worker.memory_bytes, 64 << 20);
        assert_eq!(settings.worker.queue, settings.front.limits.max_in_flight);
        let upstream = settings.upstream.expect("an upstream");
        assert_eq!(upstream.authority, "region.example:8080");
        assert!(matches!(upstream.security, Security::Plain));
    }

    #[test]
    fn rejects_the_file_of_an_origin() {
        let (head, _) = EDGE.split_once("[worker]").expect("a worker");
        let refused = read(&head.replace("edge", "origin")).expect_err("an origin's");
        assert!(refused.to_string().contains("start `origin` with this file"), "{refused}");
    }

    #[test]
    fn rejects_roots_that_are_not_there_and_names_the_section() {
        let text = EDGE.replace("http://region", "https://region") + "ca = \"ca.crt\"\n";
        let refused = read(&text).expect_err("no such file").to_string();
        assert!(refused.starts_with("invalid configuration for `upstream`: /etc/rung/ca.crt"), "{refused}");
    }
}
