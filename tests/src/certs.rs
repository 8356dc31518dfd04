//! Certificates for loopback: an authority and one server certificate, good for a day.

use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose};

/// Where the PEM files lie.
#[derive(Clone, Debug)]
pub struct Certs {
    /// The authority that clients trust.
    pub ca: PathBuf,
    /// The server's chain.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

impl Certs {
    /// Makes an authority and a certificate for `localhost` and 127.0.0.1, and writes them to `dir`.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn write(dir: &Path) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        let ca_key = KeyPair::generate()?;
        let mut params = CertificateParams::new(Vec::new())?;
        params.distinguished_name.push(DnType::CommonName, "Rung loopback authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let authority = CertifiedIssuer::self_signed(params, ca_key)?;

        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(vec!["localhost".into(), "127.0.0.1".into()])?;
        params.distinguished_name.push(DnType::CommonName, "localhost");
        let leaf = params.signed_by(&key, &authority)?;

        std::fs::create_dir_all(dir)?;
        let certs = Self { ca: dir.join("ca.crt"), certificate: dir.join("tier.crt"), key: dir.join("tier.key") };
        std::fs::write(&certs.ca, authority.pem())?;
        std::fs::write(&certs.certificate, leaf.pem())?;
        std::fs::write(&certs.key, key.serialize_pem())?;
        Ok(certs)
    }
}
