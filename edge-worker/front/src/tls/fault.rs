//! Why a handshake failed, for people on call: who found what, and what to look at.

use std::fmt;

use rustls::{AlertDescription, CertificateError, Error};

/// A handshake that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Why.
    pub reason: Reason,
    /// Who refused whom.
    pub by: By,
    /// What the library says.
    pub detail: String,
}

/// Who refused the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// This side.
    Us,
    /// The other side, which tells no more than a number.
    Peer,
}

/// Why a handshake fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The certificate was valid once.
    Expired,
    /// The certificate is of the future.
    NotYetValid,
    /// One of the two above: an alert does not say which.
    OutsideValidity,
    /// No root vouches for the certificate.
    UnknownIssuer,
    /// There was no certificate, and one is needed.
    NoCertificate,
    /// The certificate is another host's.
    WrongName,
    /// The certificate is at fault in some other way.
    BadCertificate,
    /// The two sides have no protocol, version or cipher in common, or one does not speak TLS.
    Protocol,
    /// The connection broke, or was too slow.
    Broken,
}

impl Fault {
    /// Of what rustls says.
    #[must_use]
    pub fn of(error: &Error) -> Self {
        let (reason, by) = match error {
            Error::InvalidCertificate(certificate) => (of_certificate(certificate), By::Us),
            Error::NoCertificatesPresented => (Reason::NoCertificate, By::Us),
            Error::AlertReceived(alert) => (of_alert(u8::from(*alert)), By::Peer),
            _ => (Reason::Protocol, By::Us),
        };
        Self { reason, by, detail: error.to_string() }
    }

    /// Of an error of a stream, with or without TLS's in it.
    #[must_use]
    pub fn of_io(error: &std::io::Error) -> Self {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
            Some(tls) => Self::of(tls),
            None => Self { reason: Reason::Broken, by: By::Us, detail: error.to_string() },
        }
    }

    /// Of the end of a QUIC connection.
    #[must_use]
    pub fn of_quic(error: &quinn::ConnectionError) -> Self {
        let (code, by) = match error {
            quinn::ConnectionError::TransportError(error) => (Some(error.code), By::Us),
            quinn::ConnectionError::ConnectionClosed(close) => (Some(close.error_code), By::Peer),
            _ => (None, By::Us),
        };
        // RFC 9001 §4.8: an alert is the low byte of 0x0100 to 0x01ff.
        let alert = code.map(u64::from).filter(|code| (0x100..0x200).contains(code));
        let reason = alert.map_or(Reason::Broken, |code| of_alert(code.to_le_bytes()[0]));
        Self { reason, by, detail: error.to_string() }
    }

    /// A handshake that was not over in time.
    #[must_use]
    pub fn too_slow() -> Self {
        Self { reason: Reason::Broken, by: By::Us, detail: "the handshake was not over in time".to_owned() }
    }
}

fn of_certificate(error: &CertificateError) -> Reason {
    match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => Reason::Expired,
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => Reason::NotYetValid,
        CertificateError::UnknownIssuer => Reason::UnknownIssuer,
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => Reason::WrongName,
        // A root of the right name and another key.
        CertificateError::BadSignature => Reason::UnknownIssuer,
        _ => Reason::BadCertificate,
    }
}

fn of_alert(alert: u8) -> Reason {
    match AlertDescription::from(alert) {
        AlertDescription::CertificateExpired => Reason::OutsideValidity,
        AlertDescription::UnknownCA | AlertDescription::DecryptError => Reason::UnknownIssuer,
        AlertDescription::CertificateRequired => Reason::NoCertificate,
        AlertDescription::BadCertificate
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::CertificateRevoked
        | AlertDescription::CertificateUnknown
        | AlertDescription::AccessDenied => Reason::BadCertificate,
        _ => Reason::Protocol,
    }
}

impl Reason {
    /// Its name in metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::OutsideValidity => "outside_validity",
            Self::UnknownIssuer => "unknown_issuer",
            Self::NoCertificate => "no_certificate",
            Self::WrongName => "wrong_name",
            Self::BadCertificate => "bad_certificate",
            Self::Protocol => "protocol",
            Self::Broken => "broken",
        }
    }

    /// What to do about it.
    fn advice(self) -> &'static str {
        match self {
            Self::Expired => "renew it, or put this machine's clock right",
            Self::NotYetValid => "put this machine's clock right, or wait",
            Self::OutsideValidity => "it has expired or is not valid yet: renew it, or put the clocks right",
            Self::UnknownIssuer => "the roots given do not vouch for it: compare the CA files of both sides",
            Self::NoCertificate => "give the caller the certificate and key of a tier",
            Self::WrongName => "issue it for this name, or set `upstream.server_name`",
            Self::BadCertificate => "issue it anew",
            Self::Protocol => "is it the right port, and TLS 1.3 on both sides?",
            Self::Broken => "is the other side there?",
        }
    }
}

impl By {
    /// Its name in metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Us => "us",
            Self::Peer => "peer",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let about = match (self.reason, self.by) {
            (Reason::Protocol | Reason::Broken, _) => "TLS",
            (_, By::Us) => "TLS: the other side's certificate",
            (_, By::Peer) => "TLS: the other side refuses our certificate",
        };
        write!(f, "{about}: {}; {}", self.detail, self.reason.advice())
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn expired_and_not_yet_valid_are_told_apart_where_that_is_known() {
        let ours = |error| Fault::of(&Error::InvalidCertificate(error));
        assert_eq!(ours(CertificateError::Expired).reason, Reason::Expired);
        assert_eq!(ours(CertificateError::NotValidYet).reason, Reason::NotYetValid);
        let theirs = Fault::of(&Error::AlertReceived(AlertDescription::CertificateExpired));
        assert_eq!((theirs.reason, theirs.by), (Reason::OutsideValidity, By::Peer));
    }

    #[test]
    fn an_error_of_a_stream_is_looked_into() {
        let alert = Error::AlertReceived(AlertDescription::CertificateRequired);
        let told = Fault::of_io(&std::io::Error::new(std::io::ErrorKind::InvalidData, alert));
        assert_eq!((told.reason, told.by), (Reason::NoCertificate, By::Peer));
        assert!(told.to_string().ends_with("give the caller the certificate and key of a tier"), "{told}");
        let cut = Fault::of_io(&std::io::ErrorKind::ConnectionReset.into());
        assert_eq!(cut.reason, Reason::Broken);
    }

    #[test]
    fn the_end_of_a_quic_connection_tells_the_alert() {
        let closed = |error_code| {
            quinn::ConnectionError::ConnectionClosed(quinn::ConnectionClose {
                error_code,
                frame_type: None,
                reason: Bytes::new(),
            })
        };
        let told = Fault::of_quic(&closed(quinn::TransportErrorCode::crypto(48)));
        assert_eq!((told.reason, told.by), (Reason::UnknownIssuer, By::Peer));
        let told =
            Fault::of_quic(&quinn::ConnectionError::TransportError(quinn::TransportErrorCode::crypto(45).into()));
        assert_eq!((told.reason, told.by), (Reason::OutsideValidity, By::Us));
        assert_eq!(Fault::of_quic(&quinn::ConnectionError::TimedOut).reason, Reason::Broken);
    }
}
