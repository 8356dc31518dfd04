//! PEM files, and what can be wrong with them.

use std::fmt;
use std::fs::{File, Metadata};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustls::RootCertStore;
use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use thiserror::Error;

/// The longest PEM file that is read.
const MAX_PEM_BYTES: u64 = 4 << 20;

/// Text in PEM, and the name of where it came from, for messages.
#[derive(Clone)]
pub struct Pem {
    name: String,
    bytes: Vec<u8>,
    file: Option<(PathBuf, Stamp)>,
}

/// What tells one state of a file from another: any write and any rename changes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    changed: (i64, i64),
}

impl Stamp {
    pub(super) fn of(file: &Metadata) -> Self {
        Self { device: file.dev(), inode: file.ino(), bytes: file.size(), changed: (file.ctime(), file.ctime_nsec()) }
    }
}

/// A key may be in it: the bytes are not shown.
impl fmt::Debug for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pem").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A certificate, a key or a set of roots cannot be used.
#[derive(Debug, Error)]
pub enum TlsError {
    /// The file cannot be read.
    #[error("{file}: cannot be read: {source}")]
    Unreadable {
        /// Its name.
        file: String,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The file is longer than any PEM file is.
    #[error("{file}: is longer than {MAX_PEM_BYTES} bytes, which no certificate or key is")]
    TooLong {
        /// Its name.
        file: String,
    },
    /// The text is not PEM.
    #[error("{file}: is not valid PEM: {reason}")]
    NotPem {
        /// Its name.
        file: String,
        /// The parser's reason.
        reason: pem::Error,
    },
    /// No certificate is in it.
    #[error("{file}: no certificate in it; a `-----BEGIN CERTIFICATE-----` section is needed")]
    NoCertificate {
        /// Its name.
        file: String,
    },
    /// No private key is in it.
    #[error("{file}: no private key in it; a `-----BEGIN PRIVATE KEY-----` section is needed")]
    NoKey {
        /// Its name.
        file: String,
    },
    /// The chain and the key do not make an identity.
    #[error("{certificate} with {key}: {reason}; the key must be that of the first certificate")]
    Identity {
        /// The name of the chain.
        certificate: String,
        /// The name of the key.
        key: String,
        /// What rustls says.
        reason: rustls::Error,
    },
    /// A certificate that cannot be a root of trust.
    #[error("{file}: certificate {number} cannot be a root: {reason}")]
    Root {
        /// Its name.
        file: String,
        /// Which in the file, from 1.
        number: usize,
        /// What rustls says.
        reason: rustls::Error,
    },
}

impl Pem {
    /// Text already at hand; `name` stands for it in messages.
    pub fn new(name: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Self {
        Self { name: name.into(), bytes: bytes.into(), file: None }
    }

    /// Reads a file, which a [`super::Rotation`] may read again.
    ///
    /// # Errors
    /// It cannot be read, or is far too long.
    pub fn read(path: &Path) -> Result<Self, TlsError> {
        let name = path.display().to_string();
        let unreadable = |source| TlsError::Unreadable { file: name.clone(), source };
        let file = File::open(path).map_err(unreadable)?;
        let stamp = Stamp::of(&file.metadata().map_err(unreadable)?);
        let mut bytes = Vec::new();
        file.take(MAX_PEM_BYTES + 1).read_to_end(&mut bytes).map_err(unreadable)?;
        if bytes.len() as u64 > MAX_PEM_BYTES {
            return Err(TlsError::TooLong { file: name });
        }
        Ok(Self { name, bytes, file: Some((path.to_owned(), stamp)) })
    }

    /// As it is now, where it came from.
    pub(super) fn again(&self) -> Result<Self, TlsError> {
        self.file.as_ref().map_or_else(|| Ok(self.clone()), |(path, _)| Self::read(path))
    }

    /// The file that it was read from, as it was then.
    pub(super) fn file(&self) -> Option<(&Path, Stamp)> {
        self.file.as_ref().map(|(path, stamp)| (path.as_path(), *stamp))
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The certificates in it, at least one.
    pub(super) fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        let certificates: Vec<_> = CertificateDer::pem_slice_iter(&self.bytes)
            .collect::<Result<_, _>>()
            .map_err(|reason| TlsError::NotPem { file: self.name.clone(), reason })?;
        if certificates.is_empty() {
            return Err(TlsError::NoCertificate { file: self.name.clone() });
        }
        Ok(certificates)
    }

    pub(super) fn key(&self) -> Result<PrivateKeyDer<'static>, TlsError> {
        PrivateKeyDer::from_pem_slice(&self.bytes).map_err(|reason| match reason {
            pem::Error::NoItemsFound => TlsError::NoKey { file: self.name.clone() },
            reason => TlsError::NotPem { file: self.name.clone(), reason },
        })
    }

    /// The certificates in it as roots of trust.
    pub(super) fn roots(&self) -> Result<RootCertStore, TlsError> {
        let root = |number| move |reason| TlsError::Root { file: self.name.clone(), number, reason };
        let mut roots = RootCertStore::empty();
        for (index, certificate) in self.certificates()?.into_iter().enumerate() {
            roots.add(certificate).map_err(root(index + 1))?;
        }
        Ok(roots)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rejects_a_file_that_is_not_there() {
        let refused = Pem::read(Path::new("no/such.crt")).expect_err("it is accepted").to_string();
        assert!(refused.starts_with("no/such.crt: cannot be read: "), "{refused}");
    }

    #[test]
    fn a_key_is_not_shown() {
        assert_eq!(format!("{:?}", Pem::new("edge.key", "secret")), "Pem { name: \"edge.key\", .. }");
    }
}
