//! Certificates for loopback: an authority, and as many tiers as a test needs.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose};

use crate::client::Error;

/// Where the PEM files lie, and the authority to issue more.
#[derive(Clone, Debug)]
pub struct Certs {
    /// The authority that everybody trusts.
    pub ca: PathBuf,
    /// A chain that is good.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
    dir: PathBuf,
    authority: Arc<Mutex<Authority>>,
}

/// The files of one identity.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The chain.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

/// What is the matter with a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// Nothing.
    None,
    /// It was good until long ago.
    Expired,
    /// It will be good one day.
    NotYetValid,
    /// An authority that nobody knows has issued it.
    Stranger,
}

#[derive(Clone)]
struct Authority(Arc<CertifiedIssuer<'static, KeyPair>>);

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Authority")
    }
}

impl Authority {
    fn new() -> Result<Self, rcgen::Error> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.distinguished_name.push(DnType::CommonName, "Rung loopback authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        Ok(Self(Arc::new(CertifiedIssuer::self_signed(params, KeyPair::generate()?)?)))
    }
}

impl Certs {
    /// Makes an authority and a certificate for `localhost` and 127.0.0.1, and writes them to `dir`.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn write(dir: &Path) -> Result<Self, Error> {
        let authority = Authority::new()?;
        std::fs::create_dir_all(dir)?;
        let certs = Self {
            ca: dir.join("ca.crt"),
            certificate: dir.join("tier.crt"),
            key: dir.join("tier.key"),
            dir: dir.to_owned(),
            authority: Arc::new(Mutex::new(authority)),
        };
        std::fs::write(&certs.ca, certs.authority().0.pem())?;
        certs.issue("tier", Flaw::None)?;
        Ok(certs)
    }

    /// Another authority takes the place of the one that everybody trusts. What that one has issued stays as it is.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn replace_authority(&self) -> Result<(), Error> {
        let new = Authority::new()?;
        std::fs::write(&self.ca, new.0.pem())?;
        *self.authority.lock().unwrap_or_else(PoisonError::into_inner) = new;
        Ok(())
    }

    fn authority(&self) -> Authority {
        self.authority.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Issues a certificate for `localhost` and 127.0.0.1, and writes it in place of one that has this name.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn issue(&self, name: &str, flaw: Flaw) -> Result<Identity, Error> {
        let mut params = CertificateParams::new(vec!["localhost".into(), "127.0.0.1".into()])?;
        params.distinguished_name.push(DnType::CommonName, name);
        let (from, until) = match flaw {
            Flaw::Expired => (2000, 2001),
            Flaw::NotYetValid => (2090, 2100),
            Flaw::None | Flaw::Stranger => (2000, 2100),
        };
        (params.not_before, params.not_after) = (rcgen::date_time_ymd(from, 1, 1), rcgen::date_time_ymd(until, 1, 1));
        let authority = match flaw {
            Flaw::Stranger => Authority::new()?,
            Flaw::None | Flaw::Expired | Flaw::NotYetValid => self.authority(),
        };
        let key = KeyPair::generate()?;
        let leaf = params.signed_by(&key, &*authority.0)?;
        let identity = self.identity(name);
        std::fs::write(&identity.certificate, leaf.pem())?;
        std::fs::write(&identity.key, key.serialize_pem())?;
        Ok(identity)
    }

    /// Where what was issued to `name` lies.
    #[must_use]
    pub fn identity(&self, name: &str) -> Identity {
        let file = |kind: &str| self.dir.join(format!("{name}.{kind}"));
        Identity { certificate: file("crt"), key: file("key") }
    }
}
