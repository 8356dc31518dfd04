//! Caddy in front of a tier: certificates by itself, HTTP/2 and HTTP/3 to clients, HTTP/1.1 to the tier.

use super::{NOTICE, Site};
use crate::render::{RenderError, fill};

pub(super) fn file(site: &Site<'_>) -> Result<String, RenderError> {
    let front = site.front()?;
    let limits = site.config.limits();
    let tls = site.certificate()?.map_or(String::new(), |(chain, key)| format!("\ttls {chain} {key}\n\n"));
    let keepalive = front.kept.map_or("\t\t\t\tkeepalive off\n".to_owned(), |kept| {
        format!(
            "\t\t\t\t# The tier closes what is silent for longer.\n\t\t\t\tkeepalive {}ms\n\
             \t\t\t\tkeepalive_idle_conns_per_host 64\n",
            kept.as_millis()
        )
    });
    Ok(fill(
        include_str!("Caddyfile"),
        &[
            ("notice", NOTICE),
            ("server_name", front.server_name),
            ("tls", &tls),
            ("address", &front.tier.to_string()),
            ("admin", &front.admin.to_string()),
            ("keepalive", &keepalive),
            ("max_connections", &limits.max_connections().to_string()),
            ("header_timeout", &limits.header_timeout().as_millis().to_string()),
            ("read_timeout", &front.answer_timeout.as_millis().to_string()),
        ],
    ))
}
