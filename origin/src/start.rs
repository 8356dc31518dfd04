//! From a configuration to an origin that answers: bundles, device, batches, listeners, in this order.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;

use cdn_config::{Config, Role};
use front::generations::{BundleSource, LoadError, OpenError, Read};
use front::tls::{self, Identity, Pem, TlsError};
use front::{Drained, Front, Https, Signals};
use shared_model::ladder::TierLimits;
use shared_model::wire::Tier;

use crate::batch::{self, Batcher};
use crate::device::{Choice, Device, Missing, Precision};
use crate::metrics::Metrics;
use crate::model::{Executors, LoadFault, VARIANT};
use crate::service::Service;

/// How long `/readyz` says that the origin leaves before it does.
const DRAIN_NOTICE: Duration = Duration::from_secs(1);

/// What an origin is started with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The listeners, and what they take.
    pub front: front::Settings,
    /// Where the bundles come from, one a model.
    pub bundles: Vec<BundleSource>,
    /// What is scored for one request.
    pub limits: TierLimits,
    /// What to compute on.
    pub device: Choice,
    /// How, on a GPU.
    pub precision: Precision,
    /// How requests are put together for it, and how many may wait.
    pub batching: batch::Limits,
}

/// A configuration that is no origin's.
#[derive(Debug, Error)]
pub enum SettingsError {
    /// It is another tier's.
    #[error("tier: is `{0}`, expected `origin`: start `pop` with this file")]
    Tier(cdn_config::Tier),
    /// A certificate or a key.
    #[error("tls: {0}")]
    Tls(#[from] TlsError),
}

/// Why an origin does not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// A bundle cannot be read, or is of the model of another.
    #[error(transparent)]
    Bundle(#[from] OpenError),
    /// The device has no thread.
    #[error("the device's thread cannot be started: {0}")]
    Thread(io::Error),
    /// The device that was asked for cannot be used.
    #[error("device.use: {0}")]
    Device(#[from] Missing),
    /// A bundle cannot be run.
    #[error(transparent)]
    Load(#[from] Box<LoadError<LoadFault>>),
    /// A listener.
    #[error(transparent)]
    Front(#[from] front::StartError),
    /// Loading was cut off.
    #[error("loading the bundles was cut off: {0}")]
    CutOff(String),
}

impl Settings {
    /// The settings that a `rung.toml` asks for; reads its certificate and key.
    ///
    /// # Errors
    /// The file is another tier's, or the certificate or key cannot be used.
    pub fn from_config(config: &Config) -> Result<Self, SettingsError> {
        let Role::Origin(origin) = config.role() else { return Err(SettingsError::Tier(config.tier())) };
        let (listen, limits, batching) = (config.listen(), config.limits(), origin.batching());
        let identity = |tls: &cdn_config::Tls| Identity::read(tls.certificate(), tls.key());
        let https = |https: &cdn_config::Https| {
            let tls = tls::Server::open(identity(https.tls())?)?;
            Ok::<_, TlsError>(Https { address: https.address(), tls })
        };
        let tiers = |tiers: &cdn_config::Tiers| {
            let tls = tls::Server::only_for(identity(tiers.tls())?, Pem::read(tiers.client_ca())?)?;
            Ok::<_, TlsError>(Https { address: tiers.address(), tls })
        };
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Ok(Self {
            front: front::Settings {
                tier: Tier::Origin,
                http: listen.http(),
                https: listen.https().map(https).transpose()?,
                tiers: listen.tiers().map(tiers).transpose()?,
                http3: listen.http3(),
                admin: listen.admin(),
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
                max_candidates: count(limits.max_candidates()),
                max_k: count(limits.max_k()),
                item_table_bytes: 0,
            },
            device: match origin.device() {
                cdn_config::Device::Auto => Choice::Auto,
                cdn_config::Device::Cpu => Choice::Cpu,
                cdn_config::Device::Cuda(index) => Choice::Cuda(index),
            },
            precision: match origin.precision() {
                cdn_config::Precision::F32 => Precision::F32,
                cdn_config::Precision::Tf32 => Precision::Tf32,
                cdn_config::Precision::Bf16 => Precision::Bf16,
            },
            batching: batch::Limits {
                max_delay: batching.max_delay(),
                max_candidates: batching.max_candidates(),
                max_requests: batching.max_requests(),
                max_waiting_candidates: batching.max_waiting_candidates(),
            },
        })
    }
}

fn clients(clients: &cdn_config::Clients) -> front::Clients {
    let cors = front::Cors::allowing(clients.cors_origins(), clients.cors_max_age());
    front::Clients { cors, geo_header: clients.geo_header().cloned() }
}

fn source(model: &cdn_config::Model) -> BundleSource {
    BundleSource { folder: model.bundle().to_owned(), poll: model.poll() }
}

/// An origin that answers. Dropped, it is gone at once.
#[derive(Debug)]
pub struct Running {
    front: Front,
    device: Device,
}

/// Loads the bundles, puts the models on the device and opens the listeners.
///
/// # Errors
/// The first thing that is at fault, by name; then nothing is open.
pub async fn start(settings: Settings) -> Result<Running, StartError> {
    let Settings { front, bundles, limits, device, precision, batching } = settings;
    let mut registry = front::metrics::registry(Tier::Origin);
    let loading = tokio::task::spawn_blocking(move || {
        let bundles = Read::new(&bundles, VARIANT)?;
        let probed = Device::probe(device, precision)?;
        let device = probed.device.clone();
        match &probed.missing {
            None => tracing::info!(device = %device.kind(), precision = device.precision().as_str(), "computes on"),
            Some(missing @ Missing::Feature) => tracing::info!(device = %device.kind(), %missing, "computes on"),
            Some(missing) => tracing::warn!(device = %device.kind(), %missing, "no GPU: computes on the CPU"),
        }
        let metrics = Metrics::register(&mut registry, &device);
        let batcher = Arc::new(Batcher::start(batching, metrics.clone()).map_err(StartError::Thread)?);
        let missing = probed.missing.clone();
        let loader = Executors { probed, metrics, batcher: batcher.clone() };
        let models = bundles.load(loader, &mut registry).map_err(Box::new)?;
        let service = Service::new(models, batcher, limits, missing);
        Ok::<_, StartError>((service, registry, device))
    });
    let (service, registry, device) = loading.await.map_err(|e| StartError::CutOff(e.to_string()))??;
    let front = front::serve(front, Arc::new(service), registry).await?;
    Ok(Running { front, device })
}

impl Running {
    /// Where plain HTTP is taken, with the port that the system chose.
    #[must_use]
    pub fn http(&self) -> Option<SocketAddr> {
        self.front.http()
    }

    /// Where HTTP over TLS is taken.
    #[must_use]
    pub fn https(&self) -> Option<SocketAddr> {
        self.front.https()
    }

    /// Where the tiers below pass requests up.
    #[must_use]
    pub fn tiers(&self) -> Option<SocketAddr> {
        self.front.tiers()
    }

    /// Where the operations are.
    #[must_use]
    pub fn admin(&self) -> SocketAddr {
        self.front.admin()
    }

    /// What it computes on.
    #[must_use]
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Serves until a signal or `POST /drain`, then drains.
    pub async fn run(self, signals: Signals, patience: Duration) -> Drained {
        self.front.run(signals, patience).await
    }

    /// Takes nothing new and lets what is in flight finish, for at most `patience`.
    pub async fn drain(self, patience: Duration) -> Drained {
        self.front.drain(patience).await
    }
}

#[cfg(test)]
mod tests;
