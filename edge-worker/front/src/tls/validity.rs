//! From when until when a chain of certificates holds.

use std::time::Duration;

use rustls_pki_types::CertificateDer;
use x509_cert::Certificate;
use x509_cert::der::Decode;

/// The time in which every certificate of a chain holds, since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    from: Duration,
    until: Duration,
}

/// How a chain stands at a given time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It holds.
    Valid,
    /// It will hold, after this long: it was issued ahead, or this clock is slow.
    NotYet(Duration),
    /// It held until this long ago.
    Expired(Duration),
}

impl Validity {
    /// Of a chain. Certificates that cannot be read do not count: whether they are fit is for rustls to say.
    pub(super) fn of(chain: &[CertificateDer<'_>]) -> Self {
        chain.iter().filter_map(|der| Certificate::from_der(der).ok()).fold(Self::unknown(), |chain, certificate| {
            let validity = certificate.tbs_certificate().validity();
            Self {
                from: chain.from.max(validity.not_before.to_unix_duration()),
                until: chain.until.min(validity.not_after.to_unix_duration()),
            }
        })
    }

    /// Of nothing: it always holds.
    pub(super) fn unknown() -> Self {
        Self { from: Duration::ZERO, until: Duration::MAX }
    }

    /// When the first of the chain expires, since the Unix epoch, if that is known.
    #[must_use]
    pub fn until(self) -> Option<Duration> {
        (self.until != Duration::MAX).then_some(self.until)
    }

    /// How it stands at `now`, since the Unix epoch.
    #[must_use]
    pub fn at(self, now: Duration) -> Standing {
        match (self.from.checked_sub(now), now.checked_sub(self.until)) {
            (_, Some(ago)) if ago > Duration::ZERO => Standing::Expired(ago),
            (Some(left), _) if left > Duration::ZERO => Standing::NotYet(left),
            _ => Standing::Valid,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate(from: i32, until: i32) -> CertificateDer<'static> {
        let mut params = rcgen::CertificateParams::new(["localhost".to_owned()]).expect("a name");
        (params.not_before, params.not_after) = (rcgen::date_time_ymd(from, 1, 1), rcgen::date_time_ymd(until, 1, 1));
        params.self_signed(&rcgen::KeyPair::generate().expect("a key")).expect("a certificate").der().clone()
    }

    const YEAR: u64 = 365 * 24 * 3600;

    #[test]
    fn a_chain_holds_as_long_as_all_of_it() {
        let validity = Validity::of(&[certificate(1971, 1990), certificate(1972, 1980)]);
        assert_eq!(validity.at(Duration::from_secs(YEAR)), Standing::NotYet(Duration::from_secs(YEAR)));
        assert_eq!(validity.at(Duration::from_secs(3 * YEAR)), Standing::Valid);
        let end = validity.until().expect("an end");
        assert_eq!(end.as_secs(), 315_532_800);
        assert_eq!(validity.at(end), Standing::Valid);
        assert_eq!(validity.at(end + Duration::from_secs(5)), Standing::Expired(Duration::from_secs(5)));
    }

    #[test]
    fn what_is_no_certificate_says_nothing_about_time() {
        let validity = Validity::of(&[CertificateDer::from(vec![0x30, 0x00])]);
        assert_eq!((validity.until(), validity.at(Duration::from_secs(1))), (None, Standing::Valid));
    }
}
