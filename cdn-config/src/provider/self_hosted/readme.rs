//! `README.txt`: what is in the folder, and the commands that put it where it belongs.

use std::fmt::Write;
use std::path::Path;

use super::{Site, reached_at};
use crate::files::{FileKind, NamedFile};
use crate::render::{Folder, Proxy};

pub(super) fn text(site: &Site<'_>, folder: &Folder) -> String {
    let mut text = String::new();
    write(site, folder, &mut text).expect("a string takes all that is written to it");
    text
}

fn write(site: &Site<'_>, folder: &Folder, out: &mut String) -> std::fmt::Result {
    let (tier, daemon, unit) = (site.tier(), site.daemon(), site.unit());
    let home = site.home.display();
    writeln!(out, "Rung, tier {tier}, on a machine of one's own")?;
    writeln!(
        out,
        "\nWritten by `cdn-config render` from rung.toml: change that, and render again. The folder is laid out"
    )?;
    writeln!(out, "as the machine is. The commands are for root, in this folder.")?;

    writeln!(out, "\n1. What is not in this folder\n")?;
    writeln!(out, "   /usr/local/bin/{daemon}: the tier itself.")?;
    for (named, path) in site.named_files() {
        writeln!(out, "   {}: {}", shown(&path), of_key(named))?;
    }
    if let Some((chain, key)) = proxy_certificate(site) {
        writeln!(out, "   {chain}, {key}: the proxy's certificate chain and private key.")?;
    }

    writeln!(out, "\n2. Install\n")?;
    for (path, _) in folder.files() {
        writeln!(out, "   install -D -m 644 {path} /{path}")?;
    }
    writeln!(out, "   systemd-sysusers")?;
    for (_, path) in site.named_files().filter(|(named, _)| is_secret(named)) {
        writeln!(out, "   chown root:rung {0} && chmod 640 {0}", quoted(&path))?;
    }
    if site.takes_udp() {
        writeln!(out, "   sysctl --system")?;
    }
    writeln!(out, "   runuser -u rung -- cdn-config check {home}/rung.toml")?;
    writeln!(out, "   systemctl daemon-reload && systemctl enable --now {unit}")?;
    writeln!(out, "   curl -fsS http://{}/readyz", reached_at(site.config.listen().admin()))?;
    match site.options.proxy {
        Proxy::None => {}
        Proxy::Nginx => writeln!(out, "   nginx -t && systemctl reload nginx")?,
        Proxy::Caddy => writeln!(out, "   caddy validate --config /etc/caddy/Caddyfile && systemctl reload caddy")?,
    }
    notes(site, out)?;

    writeln!(out, "\n4. Change, and leave\n")?;
    writeln!(out, "   cdn-config diff {home}/rung.toml NEW.toml      what would change, and what that needs")?;
    writeln!(out, "   systemctl restart {unit}      drains first: up to {} s", tier.drain_patience().as_secs())?;
    writeln!(
        out,
        "   curl -fsS -X POST http://{}/drain      drains, and stays down",
        reached_at(site.config.listen().admin())
    )
}

/// What a platform engineer would trip over.
fn notes(site: &Site<'_>, out: &mut String) -> std::fmt::Result {
    writeln!(out, "\n3. To know\n")?;
    let limits = site.config.limits();
    let listen = site.config.listen();
    writeln!(
        out,
        "   - Another bundle, or a catalog delta in a bundle's deltas/, is served as soon as it is in its place. The"
    )?;
    writeln!(
        out,
        "     unit may write nowhere: `POST /v1/catalog` needs `ReadWritePaths=` of a drop-in, for a deltas/ that"
    )?;
    writeln!(out, "     belongs to rung.")?;
    writeln!(
        out,
        "   - Metrics, health and orders are at http://{}: keep that off the public network.",
        listen.admin()
    )?;
    match site.options.proxy {
        Proxy::None => {
            if let Some(http) = listen.http().filter(|http| !http.ip().is_loopback()) {
                writeln!(out, "   - {http} is plain HTTP, readable on its way: only for a network that you trust.")?;
            }
            if listen.https().is_none() && listen.http().is_some_and(|http| http.ip().is_loopback()) {
                writeln!(
                    out,
                    "   - It listens on the loopback alone. For clients elsewhere: listen.https, or `--proxy`."
                )?;
            }
        }
        Proxy::Nginx => {
            writeln!(
                out,
                "   - nginx has its number of connections in /etc/nginx/nginx.conf. A client costs two; for"
            )?;
            writeln!(out, "     limits.max_connections = {}, by worker process:", limits.max_connections())?;
            writeln!(out, "       worker_rlimit_nofile {};", 2 * limits.max_connections() + 1_024)?;
            writeln!(out, "       events {{ worker_connections {}; }}", 2 * limits.max_connections())?;
            writeln!(out, "   - /v1/popular is cached in /var/cache/rung-{}, as long as the tier says.", site.tier())?;
        }
        Proxy::Caddy => {
            writeln!(
                out,
                "   - Caddy caches nothing by itself: /v1/popular is asked of the tier each time, unless a CDN"
            )?;
            writeln!(out, "     in front of it caches what `cache-control` allows.")?;
            writeln!(
                out,
                "   - etc/caddy/Caddyfile is the whole of Caddy's configuration: with other sites on the machine,"
            )?;
            writeln!(out, "     take its site block over into theirs.")?;
            if site.options.certificate.is_none() {
                writeln!(out, "   - Caddy gets its certificate by ACME: ports 80 and 443 have to be reachable.")?;
            }
        }
    }
    if let Some(tiers) = listen.tiers() {
        writeln!(
            out,
            "   - The tiers below come to {}, by TCP and (HTTP/3) UDP: no proxy stands there.",
            tiers.address()
        )?;
    }
    Ok(())
}

fn proxy_certificate(site: &Site<'_>) -> Option<(String, String)> {
    let given = site.options.certificate.as_ref();
    let given = given.map(|given| (given.chain.display().to_string(), given.key.display().to_string()));
    match site.options.proxy {
        Proxy::None => None,
        Proxy::Nginx => Some(given.unwrap_or_else(|| (super::nginx::CHAIN.to_owned(), super::nginx::KEY.to_owned()))),
        Proxy::Caddy => given,
    }
}

fn of_key(named: &NamedFile) -> String {
    match named.kind {
        FileKind::File if is_secret(named) => format!("`{}`, readable by root and the user rung alone.", named.key),
        FileKind::File => format!("`{}`, readable by the user rung.", named.key),
        FileKind::Folder => format!("`{}`, a folder readable by the user rung.", named.key),
    }
}

/// Private keys are named as such.
fn is_secret(named: &NamedFile) -> bool {
    named.key.rsplit('.').next().is_some_and(|name| name == "key" || name.ends_with("_key"))
}

/// On one line, whatever is in it.
fn shown(path: &Path) -> String {
    let text = path.display().to_string();
    text.chars().map(|c| if c.is_control() { c.escape_debug().to_string() } else { c.to_string() }).collect()
}

/// As one word of a shell.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    if text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/._-+@".contains(&byte)) {
        text
    } else if text.chars().any(char::is_control) {
        // Nobody has such a path; in a README it could only mislead.
        "PATH".to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}
