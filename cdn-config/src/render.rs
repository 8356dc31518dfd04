//! `render`: the files that put one tier on a platform, made from its `rung.toml`.
//!
//! A [`Provider`] makes a [`Folder`] in memory and touches nothing; [`Folder::write`] and [`Folder::compare`] are all
//! that meets the disk. The same document and options make the same bytes.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::Config;
use crate::provider::self_hosted::SelfHosted;

mod disk;
mod report;

pub use disk::{FileState, FolderError, Outcome};

/// Makes the files of one platform. A further platform is a file under `provider/`, its `mod` line in `provider.rs` and a
/// line in [`PROVIDERS`].
pub trait Provider: Sync {
    /// The name on the command line.
    fn name(&self) -> &'static str;

    /// All files of a tier. `text` is the document that `config` was read from.
    ///
    /// # Errors
    /// The document says something that this platform cannot do, or an option is missing.
    fn render(&self, config: &Config, text: &str, options: &Options) -> Result<Folder, RenderError>;
}

/// Every platform that there are files for.
pub static PROVIDERS: &[&dyn Provider] = &[&SelfHosted];

/// What a platform has to be told beside the document. A provider looks at what concerns it.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// What stands in front of the tier, between it and its clients.
    pub proxy: Proxy,
    /// The host name that clients use.
    pub server_name: Option<String>,
    /// As whom the proxy answers, where it does not find a certificate by itself.
    pub certificate: Option<Certificate>,
}

/// What stands in front of a tier.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Proxy {
    /// Nothing: the tier meets its clients itself.
    #[default]
    None,
    /// nginx, which also caches `/v1/popular`.
    Nginx,
    /// Caddy, which gets certificates by itself and speaks HTTP/3.
    Caddy,
}

/// The PEM files of a proxy, where it runs.
#[derive(Clone, Debug)]
pub struct Certificate {
    /// The chain, the proxy's own certificate first.
    pub chain: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

/// Files by their path in the folder, with `/` between its parts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Folder {
    files: BTreeMap<String, String>,
}

/// Why there are no files.
#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    /// A proxy needs a listener that is not there.
    #[error(
        "listen.http: missing, {proxy} in front speaks plain HTTP to the tier; add an address of the loopback, or choose `--proxy none`"
    )]
    NoPlainListener {
        /// The proxy's name.
        proxy: &'static str,
    },
    /// Nobody knows the port before the tier runs.
    #[error("{key}: leaves its port to the system, so that nothing could be told where the tier is; give a port")]
    UnknownPort {
        /// The listener.
        key: &'static str,
    },
    /// Two want the same port.
    #[error("{key}: has port {port}, which {proxy} in front needs; give another port, or choose `--proxy none`")]
    PortTaken {
        /// The listener.
        key: &'static str,
        /// Its port.
        port: u16,
        /// The proxy's name.
        proxy: &'static str,
    },
    /// A proxy has to know its name.
    #[error("--server-name: missing, {proxy} has to know the host name that clients use")]
    NoServerName {
        /// The proxy's name.
        proxy: &'static str,
    },
    /// The name is none that a host can have.
    #[error("--server-name: `{}` is not a host name", .0.escape_debug())]
    ServerName(String),
    /// The path cannot be written into the files of other programs as it is.
    #[error("{key}: `{}` has to be absolute and of letters, digits and `/._-+@` alone, because other programs read it too", path.escape_debug())]
    Path {
        /// The option.
        key: &'static str,
        /// Its value.
        path: String,
    },
}

impl Folder {
    /// Adds a file.
    pub(crate) fn add(&mut self, path: impl Into<String>, text: impl Into<String>) {
        self.files.insert(path.into(), text.into());
    }

    /// Every file's path and text, in the order of the paths.
    pub fn files(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files.iter().map(|(path, text)| (path.as_str(), text.as_str()))
    }
}

impl Proxy {
    /// Its name, as on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Nginx => "nginx",
            Self::Caddy => "caddy",
        }
    }
}

/// A template with its `{{names}}` replaced by values, which are not looked at again.
pub(crate) fn fill(template: &str, values: &[(&str, &str)]) -> String {
    let mut parts = template.split("{{");
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (name, rest) = part.split_once("}}").expect("every name in a template is closed");
        let (_, value) = values.iter().find(|(known, _)| *known == name).expect("every name in a template has a value");
        text.push_str(value);
        text.push_str(rest);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_s_names_are_replaced_once() {
        assert_eq!(fill("a {{x}}{{y}} { {x} }", &[("x", "{{y}}"), ("y", "2")]), "a {{y}}2 { {x} }");
    }

    #[test]
    fn providers_have_names_of_their_own() {
        let mut names: Vec<_> = PROVIDERS.iter().map(|provider| provider.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), PROVIDERS.len(), "{names:?}");
    }
}
