//! `[tls]`: what a tier is known by, and what the tiers below it are.

use std::path::{Path, PathBuf};

use crate::FaultKind;
use crate::files::FileKind;
use crate::keys::Key;
use crate::section::Section;

pub(crate) const KEYS: &[Key] = &[
    Key::text("certificate", "path", "PEM chain, the tier's own first").clients("they see another certificate"),
    Key::text("key", "path", "PEM private key"),
    Key::text(
        "client_ca",
        "path",
        "PEM roots that the tiers below are known by; use a CA of your own for nothing else",
    )
    .or("required for `listen.tiers`")
    .clients("the tiers below need certificates of another CA"),
];

const CLIENT_CA: &str = "the path of the PEM roots that the tiers below are known by";

/// The identity of a tier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    certificate: PathBuf,
    key: PathBuf,
}

impl Tls {
    /// The identity, and the roots that the tiers below are known by; `tiers`: whether these have a listener, if that is
    /// known.
    pub(crate) fn read(mut section: Section<'_>, tiers: Option<bool>) -> (Option<Self>, Option<PathBuf>) {
        let certificate = section
            .required("certificate", "the path of a PEM certificate chain")
            .and_then(|entry| entry.path(FileKind::File));
        let key = section.required("key", "the path of a PEM private key").and_then(|entry| entry.path(FileKind::File));
        let client_ca = section.optional("client_ca", CLIENT_CA).and_then(|entry| entry.path(FileKind::File));
        match (tiers, section.has("client_ca")) {
            (Some(true), false) => section.fault("client_ca", FaultKind::Missing { expected: CLIENT_CA.into() }),
            (Some(false), true) => section.fault("client_ca", FaultKind::Unused { without: "`listen.tiers`" }),
            (Some(_) | None, _) => {}
        }
        section.finish();
        (certificate.zip(key).map(|(certificate, key)| Self { certificate, key }), client_ca)
    }

    /// The PEM file of the certificate and those that vouch for it, its own first.
    pub fn certificate(&self) -> &Path {
        &self.certificate
    }

    /// The PEM file of the certificate's private key.
    pub fn key(&self) -> &Path {
        &self.key
    }
}
