//! The two sides of a connection: who they are, and whom they trust.

use std::path::Path;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::version::TLS13;
use rustls::{ClientConfig, ServerConfig};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::pem::Stamp;
use super::rotation::Material;
use super::{Pem, TlsError, Validity};

/// A chain of certificates, its own first, and the key to that one.
#[derive(Clone, Debug)]
pub struct Identity {
    certificate: Pem,
    key: Pem,
}

/// The server's side: HTTP/2 preferred over HTTP/1.1.
#[derive(Clone, Debug)]
pub struct Server {
    identity: Identity,
    clients: Option<Pem>,
    validity: Validity,
    config: Arc<ServerConfig>,
}

/// The client's side: it trusts these roots and nobody else. The connector chooses the protocols.
#[derive(Clone, Debug)]
pub struct Client {
    roots: Pem,
    identity: Option<Identity>,
    validity: Validity,
    config: Arc<ClientConfig>,
}

impl Identity {
    /// Of text at hand.
    #[must_use]
    pub fn new(certificate: Pem, key: Pem) -> Self {
        Self { certificate, key }
    }

    /// Of two files.
    ///
    /// # Errors
    /// One cannot be read.
    pub fn read(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        Ok(Self { certificate: Pem::read(certificate)?, key: Pem::read(key)? })
    }

    fn again(&self) -> Result<Self, TlsError> {
        Ok(Self { certificate: self.certificate.again()?, key: self.key.again()? })
    }

    fn parts(&self) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), TlsError> {
        Ok((self.certificate.certificates()?, self.key.key()?))
    }

    fn unfit(&self, reason: rustls::Error) -> TlsError {
        TlsError::Identity { certificate: self.certificate.name().to_owned(), key: self.key.name().to_owned(), reason }
    }
}

impl Server {
    /// Anybody may connect.
    ///
    /// # Errors
    /// The chain or the key is not what it should be, or they do not belong together.
    pub fn open(identity: Identity) -> Result<Self, TlsError> {
        Self::new(identity, None)
    }

    /// Only who has a certificate that one of `clients` vouches for may connect.
    ///
    /// # Errors
    /// As [`Self::open`], or a root is not one.
    pub fn only_for(identity: Identity, clients: Pem) -> Result<Self, TlsError> {
        Self::new(identity, Some(clients))
    }

    fn new(identity: Identity, clients: Option<Pem>) -> Result<Self, TlsError> {
        let (chain, key) = identity.parts()?;
        let validity = Validity::of(&chain);
        let builder = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])
            .expect("ring has cipher suites for TLS 1.3");
        let builder = match &clients {
            None => builder.with_no_client_auth(),
            Some(roots) => {
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots.roots()?), provider());
                builder.with_client_cert_verifier(verifier.build().expect("there is a root"))
            }
        };
        let mut config = builder.with_single_cert(chain, key).map_err(|reason| identity.unfit(reason))?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        if clients.is_some() {
            // A session resumed would go on without a look at the certificate, expired or not.
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
        }
        Ok(Self { identity, clients, validity, config: Arc::new(config) })
    }

    /// Whether it lets in only those it knows.
    #[must_use]
    pub fn knows_its_clients(&self) -> bool {
        self.clients.is_some()
    }

    /// What rustls makes of it.
    #[must_use]
    pub fn config(&self) -> Arc<ServerConfig> {
        self.config.clone()
    }
}

impl Client {
    /// Nobody in particular.
    ///
    /// # Errors
    /// A root is not one.
    pub fn anonymous(roots: Pem) -> Result<Self, TlsError> {
        Self::new(roots, None)
    }

    /// With a certificate of its own, for servers that ask for one.
    ///
    /// # Errors
    /// A root is not one; the chain or the key is not what it should be, or they do not belong together.
    pub fn known_as(identity: Identity, roots: Pem) -> Result<Self, TlsError> {
        Self::new(roots, Some(identity))
    }

    fn new(roots: Pem, identity: Option<Identity>) -> Result<Self, TlsError> {
        let builder = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])
            .expect("ring has cipher suites for TLS 1.3")
            .with_root_certificates(roots.roots()?);
        let (mut config, validity) = match &identity {
            None => (builder.with_no_client_auth(), Validity::unknown()),
            Some(identity) => {
                let (chain, key) = identity.parts()?;
                let validity = Validity::of(&chain);
                (builder.with_client_auth_cert(chain, key).map_err(|reason| identity.unfit(reason))?, validity)
            }
        };
        // A session resumed would go on without a look at the certificate, expired or not.
        config.resumption = Resumption::disabled();
        Ok(Self { roots, identity, validity, config: Arc::new(config) })
    }

    /// What rustls makes of it.
    #[must_use]
    pub fn config(&self) -> Arc<ClientConfig> {
        self.config.clone()
    }
}

impl Material for Server {
    type Config = ServerConfig;

    fn files(&self) -> Vec<(&Path, Stamp)> {
        let Identity { certificate, key } = &self.identity;
        [Some(certificate), Some(key), self.clients.as_ref()].into_iter().flatten().filter_map(Pem::file).collect()
    }

    fn again(&self) -> Result<Self, TlsError> {
        Self::new(self.identity.again()?, self.clients.as_ref().map(Pem::again).transpose()?)
    }

    fn config(&self) -> Arc<ServerConfig> {
        self.config()
    }

    fn validity(&self) -> Validity {
        self.validity
    }
}

impl Material for Client {
    type Config = ClientConfig;

    fn files(&self) -> Vec<(&Path, Stamp)> {
        let own = self.identity.iter().flat_map(|identity| [&identity.certificate, &identity.key]);
        own.chain([&self.roots]).filter_map(Pem::file).collect()
    }

    fn again(&self) -> Result<Self, TlsError> {
        Self::new(self.roots.again()?, self.identity.as_ref().map(Identity::again).transpose()?)
    }

    fn config(&self) -> Arc<ClientConfig> {
        self.config()
    }

    fn validity(&self) -> Validity {
        self.validity
    }
}

/// Named here and not installed in the process, so that no other crate's choice of provider can take its place.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pems() -> (Pem, Pem) {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        (Pem::new("edge.crt", made.cert.pem()), Pem::new("edge.key", made.signing_key.serialize_pem()))
    }

    fn server(certificate: &Pem, key: &Pem) -> Result<Server, TlsError> {
        Server::open(Identity::new(certificate.clone(), key.clone()))
    }

    #[track_caller]
    fn refused<T>(result: Result<T, TlsError>) -> String {
        result.map(|_| ()).expect_err("it is accepted").to_string()
    }

    #[test]
    fn accepts_a_chain_with_its_key_and_prefers_http2() {
        let (certificate, key) = pems();
        let server = server(&certificate, &key).expect("an identity");
        assert_eq!(server.config().alpn_protocols, [b"h2".to_vec(), b"http/1.1".to_vec()]);
        Client::anonymous(certificate).expect("a root");
    }

    #[test]
    fn who_checks_certificates_checks_them_each_time() {
        let (certificate, key) = pems();
        let identity = Identity::new(certificate.clone(), key);
        let server = Server::only_for(identity.clone(), certificate.clone()).expect("an identity");
        assert_eq!((server.config().send_tls13_tickets, server.config().session_storage.can_cache()), (0, false));
        Client::known_as(identity, certificate).expect("an identity");
    }

    #[test]
    fn rejects_a_chain_without_a_certificate() {
        let (_, key) = pems();
        assert!(refused(server(&key, &key)).starts_with("edge.key: no certificate in it; "));
        assert!(refused(Client::anonymous(Pem::new("roots.crt", ""))).starts_with("roots.crt: no certificate in it; "));
    }

    #[test]
    fn rejects_a_key_file_without_a_key() {
        let (certificate, _) = pems();
        assert!(refused(server(&certificate, &certificate)).starts_with("edge.crt: no private key in it; "));
    }

    #[test]
    fn rejects_a_certificate_that_is_cut_short() {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        let text = made.cert.pem();
        let (_, key) = pems();
        let cut = Pem::new("edge.crt", &text.as_bytes()[..text.len() / 2]);
        assert!(refused(server(&cut, &key)).starts_with("edge.crt: is not valid PEM: "));
    }

    #[test]
    fn rejects_the_key_of_another_certificate() {
        let ((certificate, _), (_, other)) = (pems(), pems());
        let text = refused(server(&certificate, &other));
        assert!(text.starts_with("edge.crt with edge.key: "), "{text}");
        let text = refused(Client::known_as(Identity::new(certificate.clone(), other), certificate));
        assert!(text.starts_with("edge.crt with edge.key: "), "{text}");
    }

    #[test]
    fn rejects_a_root_that_is_no_certificate() {
        let (certificate, key) = pems();
        let roots = || Pem::new("roots.crt", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
        assert!(refused(Client::anonymous(roots())).starts_with("roots.crt: certificate 1 cannot be a root: "));
        let server = Server::only_for(Identity::new(certificate, key), roots());
        assert!(refused(server).starts_with("roots.crt: certificate 1 cannot be a root: "));
    }
}
