//! The unit that runs a tier, the user that it runs as, and what it wants of the kernel.

use std::path::PathBuf;

use super::{NOTICE, Site};
use crate::render::fill;
use crate::{Config, Device, Pop, Role, Tier, Worker};

/// Descriptors beside those of clients: the module, bundles, the tier above, listeners, timers, the log.
const FILES_BESIDE: usize = 1_024;
/// What systemd waits beyond the drain, before it kills.
const AFTER_DRAIN_SECS: u64 = 5;
/// What a connection may hold while it is idle: TLS and HTTP/2 state, buffers.
const CONNECTION_KIB: usize = 64;
/// What a tier has for a decoded request at least, and how many of the longest bodies' memory for all (`front`'s door).
const USUAL_BYTES: usize = 32 << 10;
const LEAST_DECODED: usize = 112;
/// The code of the worker, bundles and catalogs, the allocator's slack.
const RESIDENT_MIB: usize = 1_024;

/// Of each model, at an edge: the running generation, and the one that takes its place.
const EDGE_GENERATIONS: usize = 2;
/// A region keeps two more for the tiers below.
const REGION_GENERATIONS: usize = 4;

pub(super) fn unit(site: &Site<'_>) -> String {
    let config = site.config;
    let max_connections = config.limits().max_connections();
    let doors = if config.listen().tiers().is_some() { ", for clients and again for the tiers below" } else { "" };
    let patience = config.tier().drain_patience().as_secs();
    fill(
        include_str!("unit.service"),
        &[
            ("notice", NOTICE),
            ("tier", config.tier().name()),
            ("daemon", site.daemon()),
            ("config", &site.home.join("rung.toml").display().to_string()),
            ("patience", &patience.to_string()),
            ("stop", &(patience + AFTER_DRAIN_SECS).to_string()),
            ("max_connections", &format!("{max_connections}{doors}")),
            ("files", &(connections(config) + FILES_BESIDE).to_string()),
            ("memory", &memory(site)),
            ("capabilities", capabilities(site)),
            ("protect_home", if names_below(site, &["/home", "/root", "/run/user"]) { "read-only" } else { "yes" }),
            ("private_tmp", if names_below(site, &["/tmp", "/var/tmp"]) { "no" } else { "yes" }),
            ("devices", devices(site)),
            // A GPU's libraries place memory and threads.
            ("calls", if may_have_gpu(site) { "" } else { " @resources" }),
        ],
    )
}

/// How many may be open. The tiers below have places of their own.
fn connections(config: &Config) -> usize {
    let (listen, max) = (config.listen(), config.limits().max_connections());
    let of_clients = if listen.http().is_some() || listen.https().is_some() { max } else { 0 };
    of_clients + if listen.tiers().is_some() { max } else { 0 }
}

/// A ceiling from what the document allows, where it says how much that is.
fn memory(site: &Site<'_>) -> String {
    let config = site.config;
    let guests = |worker: &Worker| Some(config.models().len() * worker.instances()? * worker.memory_mib());
    let of_pop = |pop: &Pop, generations| Some((guests(pop.worker())? * generations, pop.cache().max_mib()));
    let ranking = match config.role() {
        Role::Edge(pop) => of_pop(pop, EDGE_GENERATIONS),
        Role::Region(pop) => of_pop(pop, REGION_GENERATIONS),
        Role::Origin(_) => None,
    };
    let Some((guests, cache)) = ranking else {
        let why = match config.tier() {
            Tier::Edge | Tier::Region => "worker.instances is left to the machine: set it for a ceiling in bytes.",
            Tier::Origin => "A model at full precision takes what it takes.",
        };
        return format!("# {why}\nMemoryMax=80%");
    };
    let limits = config.limits();
    let (in_flight, body) = (limits.max_in_flight(), limits.max_body_bytes());
    let decoded = (in_flight * body.max(USUAL_BYTES)).max(LEAST_DECODED * body);
    let requests = (in_flight * body + decoded).div_ceil(1 << 20);
    let connections = (connections(config) * CONNECTION_KIB).div_ceil(1 << 10);
    format!(
        "# In MiB: guests, while bundles are swapped, {guests}, answers kept {cache}, requests {requests}, connections {connections}, code and bundles {RESIDENT_MIB}.\n\
         MemoryMax={}M",
        guests + cache + requests + connections + RESIDENT_MIB
    )
}

fn capabilities(site: &Site<'_>) -> &'static str {
    if site.listeners().any(|(_, address)| address.port() < 1_024) {
        "# A port below 1024.\nCapabilityBoundingSet=CAP_NET_BIND_SERVICE\nAmbientCapabilities=CAP_NET_BIND_SERVICE"
    } else {
        "CapabilityBoundingSet=\nPrivateUsers=yes"
    }
}

/// Where the document names something that the unit would hide.
fn names_below(site: &Site<'_>, hidden: &[&str]) -> bool {
    site.named_files().any(|(_, path): (_, PathBuf)| hidden.iter().any(|hidden| path.starts_with(hidden)))
}

fn devices(site: &Site<'_>) -> &'static str {
    match site.config.role() {
        Role::Edge(_) | Role::Region(_) => {
            "PrivateDevices=yes\n# The worker is compiled at start: no MemoryDenyWriteExecute."
        }
        Role::Origin(_) if may_have_gpu(site) => {
            "# device.use is not \"cpu\": a GPU may be there.\nDevicePolicy=closed\nDeviceAllow=char-nvidia* rw"
        }
        Role::Origin(_) => "PrivateDevices=yes\nMemoryDenyWriteExecute=yes",
    }
}

fn may_have_gpu(site: &Site<'_>) -> bool {
    match site.config.role() {
        Role::Edge(_) | Role::Region(_) => false,
        Role::Origin(origin) => match origin.device() {
            Device::Auto | Device::Cuda(_) => true,
            Device::Cpu => false,
        },
    }
}

pub(super) fn user() -> String {
    format!("{NOTICE}u rung - \"Rung\"\n")
}

pub(super) fn sysctl() -> String {
    format!(
        "{NOTICE}# HTTP/3 is UDP: one socket for all clients of a listener, which the usual 208 KiB do not serve.\n\
         net.core.rmem_max = 7500000\nnet.core.wmem_max = 7500000\n"
    )
}
