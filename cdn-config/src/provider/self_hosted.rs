//! A machine of one's own: systemd runs the tier, and nginx or Caddy may stand in front of it.
//!
//! The folder is laid out as the machine is: `etc/systemd/system/rung-edge.service` belongs at
//! `/etc/systemd/system/rung-edge.service`. Files that the document names (keys, bundles, the worker) are not copied:
//! `README.txt` says where they belong.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use crate::files::NamedFile;
use crate::render::{Folder, Options, Provider, Proxy, RenderError};
use crate::{Config, Tier};

mod caddy;
mod nginx;
mod readme;
mod systemd;

/// The provider.
pub(crate) struct SelfHosted;

/// The first line of each file that has comments.
const NOTICE: &str = "# Written by `cdn-config render` from rung.toml: change that, and render again.\n";

/// What more than one of the files is made from.
struct Site<'a> {
    config: &'a Config,
    options: &'a Options,
    /// Where the machine has the configuration.
    home: PathBuf,
}

/// What a proxy in front has to know.
struct Front<'a> {
    server_name: &'a str,
    /// Where the tier takes plain HTTP.
    tier: SocketAddr,
    /// Where it takes operations.
    admin: SocketAddr,
    /// How long an answer may be on its way.
    answer_timeout: Duration,
    /// How long a silent connection to the tier is kept. The tier closes it after its header timeout: to let go first
    /// is to lose no request.
    kept: Option<Duration>,
}

/// How long after the longest timeout an answer may still be on its way.
const GRACE: Duration = Duration::from_secs(5);
/// Below this nothing is gained from a connection that is kept.
const SHORTEST_KEPT: Duration = Duration::from_millis(500);

impl Provider for SelfHosted {
    fn name(&self) -> &'static str {
        "self-hosted"
    }

    fn render(&self, config: &Config, text: &str, options: &Options) -> Result<Folder, RenderError> {
        let tier = config.tier();
        let site = Site { config, options, home: Path::new("/etc/rung").join(tier.name()) };
        site.refuse_unknown_ports()?;

        let mut folder = Folder::default();
        folder.add(format!("etc/rung/{tier}/rung.toml"), text);
        folder.add(format!("etc/systemd/system/{}", site.unit()), systemd::unit(&site));
        folder.add("etc/sysusers.d/rung.conf", systemd::user());
        if site.takes_udp() {
            folder.add("etc/sysctl.d/60-rung.conf", systemd::sysctl());
        }
        match options.proxy {
            Proxy::None => {}
            Proxy::Nginx => folder.add(format!("etc/nginx/conf.d/rung-{tier}.conf"), nginx::site(&site)?),
            Proxy::Caddy => folder.add("etc/caddy/Caddyfile", caddy::file(&site)?),
        }
        folder.add("README.txt", readme::text(&site, &folder));
        Ok(folder)
    }
}

impl<'a> Site<'a> {
    fn tier(&self) -> Tier {
        self.config.tier()
    }

    fn unit(&self) -> String {
        format!("rung-{}.service", self.tier())
    }

    /// The binary that reads the document.
    fn daemon(&self) -> &'static str {
        match self.tier() {
            Tier::Edge | Tier::Region => "pop",
            Tier::Origin => "origin",
        }
    }

    /// The tier's listeners, by key.
    fn listeners(&self) -> impl Iterator<Item = (&'static str, SocketAddr)> {
        let listen = self.config.listen();
        [
            ("listen.http", listen.http()),
            ("listen.https", listen.https().map(crate::Https::address)),
            ("listen.tiers", listen.tiers().map(crate::Tiers::address)),
            ("listen.admin", Some(listen.admin())),
        ]
        .into_iter()
        .filter_map(|(key, address)| address.map(|address| (key, address)))
    }

    /// Whether it listens for HTTP/3.
    fn takes_udp(&self) -> bool {
        let listen = self.config.listen();
        listen.http3() && (listen.https().is_some() || listen.tiers().is_some())
    }

    fn refuse_unknown_ports(&self) -> Result<(), RenderError> {
        match self.listeners().find(|(_, address)| address.port() == 0) {
            Some((key, _)) => Err(RenderError::UnknownPort { key }),
            None => Ok(()),
        }
    }

    /// Every file and folder that the document names, by key, and where the machine has it.
    fn named_files(&self) -> impl Iterator<Item = (&'a NamedFile, PathBuf)> {
        let folder = self.config.file().parent().unwrap_or(Path::new(""));
        let home = self.home.clone();
        self.config
            .named_files()
            .iter()
            .map(move |named| (named, normal(&home.join(named.path.strip_prefix(folder).unwrap_or(&named.path)))))
    }

    fn front(&self) -> Result<Front<'a>, RenderError> {
        let proxy = self.options.proxy.name();
        let listen = self.config.listen();
        let tier = listen.http().ok_or(RenderError::NoPlainListener { proxy })?;
        if let Some((key, address)) = self.listeners().find(|(_, address)| matches!(address.port(), 80 | 443)) {
            return Err(RenderError::PortTaken { key, port: address.port(), proxy });
        }
        let server_name = self.options.server_name.as_deref().ok_or(RenderError::NoServerName { proxy })?;
        if !is_host_name(server_name) {
            return Err(RenderError::ServerName(server_name.to_owned()));
        }
        let limits = self.config.limits();
        Ok(Front {
            server_name,
            tier: reached_at(tier),
            admin: reached_at(listen.admin()),
            answer_timeout: limits.max_timeout() + GRACE,
            kept: Some(limits.header_timeout() * 4 / 5).filter(|kept| *kept >= SHORTEST_KEPT),
        })
    }

    /// The proxy's chain and key, as text that every program takes as one word.
    fn certificate(&self) -> Result<Option<(&'a str, &'a str)>, RenderError> {
        let Some(certificate) = &self.options.certificate else { return Ok(None) };
        let chain = plain_path("--certificate", &certificate.chain)?;
        Ok(Some((chain, plain_path("--certificate-key", &certificate.key)?)))
    }
}

/// Where a process of the same machine reaches a listener.
fn reached_at(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

fn is_host_name(name: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len()) && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    name.len() <= 253 && name.split('.').all(label)
}

fn plain_path<'a>(key: &'static str, path: &'a Path) -> Result<&'a str, RenderError> {
    let plain = |text: &&str| {
        text.starts_with('/') && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/._-+@".contains(&byte))
    };
    path.to_str().filter(plain).ok_or_else(|| RenderError::Path { key, path: path.display().to_string() })
}

/// The path without `.` and `..`, as far as its text says.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                normal.pop();
            }
            other => normal.push(other),
        }
    }
    normal
}
