//! What a POP is told at start: plain values, made from a `rung.toml` or by a test.

use std::path::PathBuf;
use std::thread::available_parallelism;
use std::time::Duration;

use cdn_config::{Config, Role};
use front::generations::BundleSource;
use front::tls::{self, Identity, Pem, TlsError};
use http::Uri;
use rustls_pki_types::{InvalidDnsNameError, ServerName};
use shared_model::ladder::TierLimits;
use shared_model::wire::Tier;
use thiserror::Error;

use crate::{BreakerSettings, CacheSettings, Security, UpstreamSettings};

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
    /// The answers that are kept; `None` computes each.
    pub cache: Option<CacheSettings>,
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
    /// The roots, or this tier's own certificate and key, cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
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
                tiers: config.listen().tiers().map(tiers).transpose().map_err(SettingsError::Tls)?,
                http3: config.listen().http3(),
                admin: config.listen().admin(),
                limits: front::Limits {
                    max_body_bytes: limits.max_body_bytes(),
                    max_json_depth: limits.max_json_depth(),
                    max_connections: limits.max_connections(),
                    header_timeout: limits.header_timeout(),
                    idle_timeout: limits.idle_timeout(),
                    body_timeout: limits.body_timeout(),
                    max_in_flight: limits.max_in_flight(),
                    default_timeout: limits.default_timeout(),
                    max_timeout: limits.max_timeout(),
                },
                clients: clients(config.clients()),
                drain_notice: DRAIN_NOTICE,
            },
            bundles: config.models().iter().map(source).collect(),
            limits: TierLimits {
                max_candidates: u32::try_from(limits.max_candidates()).unwrap_or(u32::MAX),
                max_k: u32::try_from(limits.max_k()).unwrap_or(u32::MAX),
                // The other half is for the bundle itself and for requests.
                item_table_bytes: u32::try_from(worker.item_table_mib().min(worker.memory_mib() / 2) << 20)
                    .unwrap_or(u32::MAX),
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
            cache: cache(role.cache()),
        })
    }
}

fn clients(clients: &cdn_config::Clients) -> front::Clients {
    let cors = front::Cors::allowing(clients.cors_origins(), clients.cors_max_age());
    front::Clients { cors, geo_header: clients.geo_header().cloned() }
}

fn cache(cache: &cdn_config::Cache) -> Option<CacheSettings> {
    let settings = CacheSettings {
        max_bytes: cache.max_mib() << 20,
        ttl: cache.ttl(),
        stale: cache.stale(),
        client_ttl: cache.client_ttl(),
    };
    (settings.max_bytes > 0).then_some(settings)
}

fn source(model: &cdn_config::Model) -> BundleSource {
    BundleSource { folder: model.bundle().to_owned(), poll: model.poll() }
}

fn https(https: &cdn_config::Https) -> Result<front::Https, TlsError> {
    Ok(front::Https { address: https.address(), tls: tls::Server::open(identity(https.tls())?)? })
}

fn tiers(tiers: &cdn_config::Tiers) -> Result<front::Https, TlsError> {
    let tls = tls::Server::only_for(identity(tiers.tls())?, Pem::read(tiers.client_ca())?)?;
    Ok(front::Https { address: tiers.address(), tls })
}

fn identity(tls: &cdn_config::Tls) -> Result<Identity, TlsError> {
    Identity::read(tls.certificate(), tls.key())
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
            let own = Identity::read(tls.certificate(), tls.key())?;
            let client = Box::new(tls::Client::known_as(own, Pem::read(tls.ca())?)?);
            Security::Tls { client, name, http3: upstream.http3() }
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

    use front::Origins;

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
        assert_eq!(settings.front.clients, front::Clients::default());
        assert_eq!(settings.cache.map(|cache| cache.max_bytes), Some(64 << 20));
        let upstream = settings.upstream.expect("an upstream");
        assert_eq!(upstream.authority, "region.example:8080");
        assert!(matches!(upstream.security, Security::Plain));
    }

    #[test]
    fn a_cache_without_memory_is_none() {
        assert_eq!(read(&format!("{EDGE}[cache]\nmax_mib = 0\n")).expect("settings").cache, None);
    }

    #[test]
    fn web_pages_may_ask_from_anywhere_or_from_where_the_file_says() {
        let origins = |list: &str| {
            let text = format!("{EDGE}[clients]\ncors_origins = {list}\n");
            read(&text).expect("settings").front.clients.cors.map(|cors| cors.origins)
        };
        assert_eq!(origins("[\"*\"]"), Some(Origins::Any));
        let shop = "https://shop.example";
        assert_eq!(origins(&format!("[\"{shop}\"]")), Some(Origins::Listed(vec![shop.to_owned()])));
        assert_eq!(origins("[]"), None);
    }

    #[test]
    fn rejects_the_file_of_an_origin() {
        let (head, _) = EDGE.split_once("[worker]").expect("a worker");
        let refused = read(&head.replace("edge", "origin")).expect_err("an origin's");
        assert!(refused.to_string().contains("start `origin` with this file"), "{refused}");
    }

    #[test]
    fn rejects_files_that_are_not_there_and_names_the_section() {
        let text = EDGE.replace("http://region", "https://region")
            + "ca = \"ca.crt\"\ncertificate = \"edge.crt\"\nkey = \"edge.key\"\n";
        let refused = read(&text).expect_err("no such file").to_string();
        assert!(refused.starts_with("invalid configuration for `upstream`: /etc/rung/edge.crt"), "{refused}");
    }
}
