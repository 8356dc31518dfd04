//! TLS 1.3 as every tier speaks it, to its clients and to the tier above.

use std::path::Path;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
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
}

/// A key may be in it: the bytes are not shown.
impl std::fmt::Debug for Pem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
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
        Self { name: name.into(), bytes: bytes.into() }
    }

    /// Reads a file.
    ///
    /// # Errors
    /// It cannot be read, or is far too long.
    pub fn read(path: &Path) -> Result<Self, TlsError> {
        let file = || path.display().to_string();
        let unreadable = |source| TlsError::Unreadable { file: file(), source };
        if std::fs::metadata(path).map_err(unreadable)?.len() > MAX_PEM_BYTES {
            return Err(TlsError::TooLong { file: file() });
        }
        let bytes = std::fs::read(path).map_err(unreadable)?;
        Ok(Self { name: file(), bytes })
    }

    fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        let certificates: Vec<_> = CertificateDer::pem_slice_iter(&self.bytes)
            .collect::<Result<_, _>>()
            .map_err(|reason| TlsError::NotPem { file: self.name.clone(), reason })?;
        if certificates.is_empty() {
            return Err(TlsError::NoCertificate { file: self.name.clone() });
        }
        Ok(certificates)
    }

    fn key(&self) -> Result<PrivateKeyDer<'static>, TlsError> {
        PrivateKeyDer::from_pem_slice(&self.bytes).map_err(|reason| match reason {
            pem::Error::NoItemsFound => TlsError::NoKey { file: self.name.clone() },
            reason => TlsError::NotPem { file: self.name.clone(), reason },
        })
    }
}

/// The server's side: the chain with its own certificate first, HTTP/2 preferred.
///
/// # Errors
/// One of the two is not what it should be, or they do not belong together.
pub fn server(certificate: &Pem, key: &Pem) -> Result<Arc<ServerConfig>, TlsError> {
    let identity = |reason| TlsError::Identity { certificate: certificate.name.clone(), key: key.name.clone(), reason };
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .map_err(identity)?
        .with_no_client_auth()
        .with_single_cert(certificate.certificates()?, key.key()?)
        .map_err(identity)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// The client's side, trusting these roots and nobody else. The connector chooses the protocols.
///
/// # Errors
/// A root is not one.
pub fn client(roots: &Pem) -> Result<ClientConfig, TlsError> {
    let root = |number| move |reason| TlsError::Root { file: roots.name.clone(), number, reason };
    let mut trusted = RootCertStore::empty();
    for (index, certificate) in roots.certificates()?.into_iter().enumerate() {
        trusted.add(certificate).map_err(root(index + 1))?;
    }
    let config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .expect("ring has cipher suites for TLS 1.3")
        .with_root_certificates(trusted)
        .with_no_client_auth();
    Ok(config)
}

/// Named here and not installed in the process, so that no other crate's choice of provider can take its place.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity() -> (Pem, Pem) {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        (Pem::new("edge.crt", made.cert.pem()), Pem::new("edge.key", made.signing_key.serialize_pem()))
    }

    #[track_caller]
    fn refused<T>(result: Result<T, TlsError>) -> String {
        result.map(|_| ()).expect_err("it is accepted").to_string()
    }

    #[test]
    fn accepts_a_chain_with_its_key_and_prefers_http2() {
        let (certificate, key) = identity();
        let config = server(&certificate, &key).expect("an identity");
        assert_eq!(config.alpn_protocols, [b"h2".to_vec(), b"http/1.1".to_vec()]);
        client(&certificate).expect("a root");
    }

    #[test]
    fn rejects_a_file_that_is_not_there() {
        let refused = refused(Pem::read(Path::new("no/such.crt")));
        assert!(refused.starts_with("no/such.crt: cannot be read: "), "{refused}");
    }

    #[test]
    fn rejects_a_chain_without_a_certificate() {
        let (_, key) = identity();
        assert!(refused(server(&key, &key)).starts_with("edge.key: no certificate in it; "));
        assert!(refused(client(&Pem::new("roots.crt", ""))).starts_with("roots.crt: no certificate in it; "));
    }

    #[test]
    fn rejects_a_key_file_without_a_key() {
        let (certificate, _) = identity();
        assert!(refused(server(&certificate, &certificate)).starts_with("edge.crt: no private key in it; "));
    }

    #[test]
    fn rejects_a_certificate_that_is_cut_short() {
        let (certificate, key) = identity();
        let cut = Pem::new("edge.crt", &certificate.bytes[..certificate.bytes.len() / 2]);
        assert!(refused(server(&cut, &key)).starts_with("edge.crt: is not valid PEM: "));
    }

    #[test]
    fn rejects_the_key_of_another_certificate() {
        let ((certificate, _), (_, other)) = (identity(), identity());
        let refused = refused(server(&certificate, &other));
        assert!(refused.starts_with("edge.crt with edge.key: "), "{refused}");
    }

    #[test]
    fn rejects_a_root_that_is_no_certificate() {
        let roots = Pem::new("roots.crt", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
        assert!(refused(client(&roots)).starts_with("roots.crt: certificate 1 cannot be a root: "));
    }

    #[test]
    fn a_key_is_not_shown() {
        let (_, key) = identity();
        assert_eq!(format!("{key:?}"), "Pem { name: \"edge.key\", .. }");
    }
}
