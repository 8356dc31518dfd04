//! nginx in front of a tier: TLS and HTTP/2 to clients, HTTP/1.1 to the tier.

use super::{NOTICE, Site};
use crate::render::{RenderError, fill};

/// Where the certificate is unless told.
pub(super) const CHAIN: &str = "/etc/rung/proxy.crt";
pub(super) const KEY: &str = "/etc/rung/proxy.key";

pub(super) fn site(site: &Site<'_>) -> Result<String, RenderError> {
    let front = site.front()?;
    let limits = site.config.limits();
    let (chain, key) = site.certificate()?.unwrap_or((CHAIN, KEY));
    let keepalive = front.kept.map_or(String::new(), |kept| {
        format!(
            "    # The tier closes what is silent for longer.\n    keepalive 64;\n    keepalive_timeout {}ms;\n",
            kept.as_millis()
        )
    });
    Ok(fill(
        include_str!("nginx.conf"),
        &[
            ("notice", NOTICE),
            ("tier", site.tier().name()),
            ("address", &front.tier.to_string()),
            ("admin", &front.admin.to_string()),
            ("server_name", front.server_name),
            ("chain", chain),
            ("key", key),
            ("keepalive", &keepalive),
            ("max_connections", &limits.max_connections().to_string()),
            ("max_body_bytes", &limits.max_body_bytes().to_string()),
            ("header_timeout", &limits.header_timeout().as_millis().to_string()),
            ("body_timeout", &limits.body_timeout().as_millis().to_string()),
            ("read_timeout", &front.answer_timeout.as_millis().to_string()),
        ],
    ))
}
