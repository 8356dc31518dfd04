//! Certificates, keys and roots that change while the tier runs.
//!
//! The files are looked at every second, not read. Once they have looked the same twice in a row (a certificate and its
//! key are written one after the other) and not as before, they are read; what is sound serves the connections that
//! begin from then on, and those open go on. What is not sound is told once and left alone until it changes again; what
//! the system cannot read just then is told once and tried again.

use std::fmt::Debug;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use super::pem::Stamp;
use super::{Standing, TlsError, TlsMetrics, Validity};

/// Between two looks.
const EVERY: Duration = Duration::from_secs(1);

/// One side of TLS, made of files.
pub trait Material: Clone + Debug + Send + Sync + Sized + 'static {
    /// What rustls makes of it.
    type Config: Debug + Send + Sync + 'static;

    /// The files that it was made of, as they were then.
    fn files(&self) -> Vec<(&Path, Stamp)>;

    /// Made of the same files as they are now.
    ///
    /// # Errors
    /// One of them is not what it should be, or they do not belong together.
    fn again(&self) -> Result<Self, TlsError>;

    /// For connections that begin now.
    fn config(&self) -> Arc<Self::Config>;

    /// When its own chain holds.
    fn validity(&self) -> Validity;
}

/// What connections that begin now are to use. A clone follows the same files.
#[derive(Debug)]
pub struct Rotation<C>(watch::Receiver<Arc<C>>);

impl<C> Clone for Rotation<C> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<C: Debug + Send + Sync + 'static> Rotation<C> {
    /// Begins with what is there, and watches its files as long as anybody has the value. Needs a running tokio
    /// runtime. `name` stands for it in the log.
    #[must_use]
    pub fn start<M: Material<Config = C>>(material: M, name: &'static str, metrics: TlsMetrics) -> Self {
        let (tell, current) = watch::channel(material.config());
        metrics.in_use(material.validity());
        match material.validity().at(now()) {
            Standing::Valid => {}
            Standing::NotYet(left) => {
                tracing::error!(name, ?left, "the certificate is not valid yet: is this machine's clock right?")
            }
            Standing::Expired(ago) => tracing::error!(name, ?ago, "the certificate has expired"),
        }
        if !material.files().is_empty() {
            tokio::spawn(keep(material, name, tell, metrics));
        }
        Self(current)
    }

    /// What to use now.
    #[must_use]
    pub fn current(&self) -> Arc<C> {
        self.0.borrow().clone()
    }

    /// Waits for the next change; without end if there are no files to watch.
    pub async fn changed(&mut self) -> Arc<C> {
        if self.0.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
        self.0.borrow_and_update().clone()
    }
}

async fn keep<M: Material>(material: M, name: &'static str, tell: watch::Sender<Arc<M::Config>>, metrics: TlsMetrics) {
    let mut keeper = Keeper::new(material);
    loop {
        tokio::select! {
            () = sleep(EVERY) => {}
            () = tell.closed() => return,
        }
        // A file may lie on a disk that is slow.
        let looked = spawn_blocking(move || {
            let turn = keeper.turn(now());
            (keeper, turn)
        });
        let Ok((kept, turn)) = looked.await else { return };
        keeper = kept;
        if let Some(turn) = turn {
            metrics.reload(turn.as_str());
            match turn {
                Turn::Taken => {
                    tracing::info!(name, "certificate, key and roots are read anew and in use");
                    metrics.in_use(keeper.material.validity());
                    tell.send_replace(keeper.material.config());
                }
                Turn::Unfit(error) => {
                    tracing::error!(name, %error, "a changed file cannot be used; what was read before stays")
                }
                Turn::Expired(ago) => {
                    tracing::error!(name, ?ago, "the new certificate has expired; the one before stays");
                }
                Turn::NotYet(left) => {
                    tracing::warn!(
                        name,
                        ?left,
                        "the new certificate is not valid yet: it waits; is this machine's clock right?"
                    );
                }
            }
        }
    }
}

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// What became of a change.
#[derive(Debug)]
enum Turn {
    Taken,
    Unfit(TlsError),
    Expired(Duration),
    NotYet(Duration),
}

impl Turn {
    fn as_str(&self) -> &'static str {
        match self {
            Self::Taken => "taken",
            Self::Unfit(_) => "unfit",
            Self::Expired(_) => "expired",
            Self::NotYet(_) => "not_yet_valid",
        }
    }
}

/// The material in use, and what is known of its files.
struct Keeper<M> {
    material: M,
    looks: Looks,
    /// The state that could not be read and has been told.
    unreadable: Option<Look>,
    /// Sound, and not valid yet.
    waiting: Option<M>,
}

impl<M: Material> Keeper<M> {
    fn new(material: M) -> Self {
        let looks = Looks::new(material.files().into_iter().map(|(_, stamp)| Some(stamp)).collect());
        Self { material, looks, unreadable: None, waiting: None }
    }

    /// One look, and what comes of it, if anything does.
    fn turn(&mut self, now: Duration) -> Option<Turn> {
        let seen = look(&self.material);
        if self.looks.changed(&seen) {
            self.waiting = None;
            let again = self.material.again();
            if let Err(error @ TlsError::Unreadable { .. }) = again {
                let told = self.unreadable.replace(seen.clone()).is_some_and(|told| told == seen);
                return (!told).then_some(Turn::Unfit(error));
            }
            self.unreadable = None;
            self.looks.settle(seen);
            return Some(match again {
                Err(error) => Turn::Unfit(error),
                Ok(new) => match new.validity().at(now) {
                    Standing::Expired(ago) => Turn::Expired(ago),
                    Standing::NotYet(left) => {
                        self.waiting = Some(new);
                        Turn::NotYet(left)
                    }
                    Standing::Valid => {
                        self.material = new;
                        Turn::Taken
                    }
                },
            });
        }
        let due = self.waiting.take_if(|waiting| waiting.validity().at(now) == Standing::Valid)?;
        self.material = due;
        Some(Turn::Taken)
    }
}

/// A state of every file; `None` for one that is not there.
type Look = Vec<Option<Stamp>>;

fn look(material: &impl Material) -> Look {
    let stamp = |(path, _)| std::fs::metadata::<&Path>(path).ok().map(|found| Stamp::of(&found));
    material.files().into_iter().map(stamp).collect()
}

/// When to read again.
struct Looks {
    read: Look,
    last: Look,
}

impl Looks {
    fn new(first: Look) -> Self {
        Self { read: first.clone(), last: first }
    }

    /// Whether the files have changed and come to rest; true until they are settled.
    fn changed(&mut self, now: &Look) -> bool {
        let at_rest = *now == self.last;
        self.last.clone_from(now);
        at_rest && *now != self.read
    }

    /// They have been read in this state.
    fn settle(&mut self, now: Look) {
        self.read = now;
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::sync::atomic::{AtomicBool, Ordering};

    use tempfile::TempDir;

    use super::*;
    use crate::tls::{Identity, Pem, Server};

    /// A folder with a certificate and a key.
    struct Folder(TempDir);

    impl Folder {
        fn new() -> Self {
            let folder = Self(TempDir::new().expect("a folder"));
            folder.write("localhost", 2000, 2100);
            folder
        }

        fn write(&self, host: &str, from: i32, until: i32) {
            let mut params = rcgen::CertificateParams::new([host.to_owned()]).expect("a name");
            (params.not_before, params.not_after) =
                (rcgen::date_time_ymd(from, 1, 1), rcgen::date_time_ymd(until, 1, 1));
            let key = rcgen::KeyPair::generate().expect("a key");
            let made = params.self_signed(&key).expect("a certificate");
            std::fs::write(self.path("tier.crt"), made.pem()).expect("written");
            std::fs::write(self.path("tier.key"), key.serialize_pem()).expect("written");
        }

        fn path(&self, file: &str) -> PathBuf {
            self.0.path().join(file)
        }

        fn server(&self) -> Server {
            let identity = Identity::read(&self.path("tier.crt"), &self.path("tier.key")).expect("two files");
            Server::open(identity).expect("an identity")
        }
    }

    fn at(year: u64) -> Duration {
        Duration::from_secs((year - 1970) * 31_556_952)
    }

    #[test]
    fn a_change_is_read_once_and_only_when_it_has_come_to_rest() {
        let folder = Folder::new();
        let looked = |text: &str| {
            std::fs::write(folder.path("looked"), text).expect("written");
            vec![std::fs::metadata(folder.path("looked")).ok().map(|found| Stamp::of(&found))]
        };
        let (first, second, third) = (looked("1"), looked("12"), looked("123"));
        let mut looks = Looks::new(first.clone());
        assert!(!looks.changed(&first));
        assert!(!looks.changed(&second), "it may still be written");
        assert!(!looks.changed(&third), "it was still written");
        assert!(looks.changed(&third));
        looks.settle(third.clone());
        assert!(!looks.changed(&third), "it has been read");
        assert!(!looks.changed(&vec![None]) && looks.changed(&vec![None]), "a file that is gone has changed");
    }

    #[test]
    fn a_sound_change_is_taken_and_an_unsound_one_is_told_once() {
        let folder = Folder::new();
        let mut keeper = Keeper::new(folder.server());
        let before = keeper.material.config();
        assert!(keeper.turn(at(2026)).is_none());

        std::fs::write(folder.path("tier.key"), "no key").expect("written");
        assert!(keeper.turn(at(2026)).is_none());
        assert!(matches!(keeper.turn(at(2026)), Some(Turn::Unfit(TlsError::NoKey { .. }))));
        assert!(keeper.turn(at(2026)).is_none());
        assert!(Arc::ptr_eq(&before, &keeper.material.config()), "what was read before stays");

        folder.write("localhost", 2020, 2050);
        assert!(keeper.turn(at(2026)).is_none());
        assert!(matches!(keeper.turn(at(2026)), Some(Turn::Taken)));
        assert!(!Arc::ptr_eq(&before, &keeper.material.config()));
    }

    /// Files that cannot be opened while there is no descriptor left.
    #[derive(Clone, Debug)]
    struct Scarce(Server, Arc<AtomicBool>);

    impl Material for Scarce {
        type Config = rustls::ServerConfig;

        fn files(&self) -> Vec<(&Path, Stamp)> {
            self.0.files()
        }

        fn again(&self) -> Result<Self, TlsError> {
            if self.1.load(Ordering::Relaxed) {
                let source = std::io::Error::other("too many open files");
                return Err(TlsError::Unreadable { file: "tier.crt".to_owned(), source });
            }
            Ok(Self(self.0.again()?, self.1.clone()))
        }

        fn config(&self) -> Arc<rustls::ServerConfig> {
            self.0.config()
        }

        fn validity(&self) -> Validity {
            self.0.validity()
        }
    }

    #[test]
    fn what_the_system_cannot_read_for_a_while_is_told_once_and_taken_when_it_can() {
        let folder = Folder::new();
        let scarce = Arc::new(AtomicBool::new(true));
        let mut keeper = Keeper::new(Scarce(folder.server(), scarce.clone()));
        let before = keeper.material.config();
        folder.write("localhost", 2020, 2050);
        assert!(keeper.turn(at(2026)).is_none());
        assert!(matches!(keeper.turn(at(2026)), Some(Turn::Unfit(TlsError::Unreadable { .. }))));
        assert!(keeper.turn(at(2026)).is_none(), "it is told once");
        assert!(Arc::ptr_eq(&before, &keeper.material.config()));
        scarce.store(false, Ordering::Relaxed);
        assert!(matches!(keeper.turn(at(2026)), Some(Turn::Taken)));
        assert!(keeper.turn(at(2026)).is_none());
    }

    #[test]
    fn an_expired_one_is_refused_and_one_of_the_future_waits() {
        let folder = Folder::new();
        let mut keeper = Keeper::new(folder.server());
        let before = keeper.material.config();
        folder.write("localhost", 2000, 2020);
        assert!(keeper.turn(at(2026)).is_none());
        assert!(matches!(keeper.turn(at(2026)), Some(Turn::Expired(_))));

        folder.write("localhost", 2030, 2050);
        assert!(keeper.turn(at(2026)).is_none());
        assert!(matches!(keeper.turn(at(2026)), Some(Turn::NotYet(_))));
        assert!(keeper.turn(at(2027)).is_none() && Arc::ptr_eq(&before, &keeper.material.config()));
        assert!(matches!(keeper.turn(at(2031)), Some(Turn::Taken)));
        assert!(keeper.turn(at(2031)).is_none());
    }

    #[tokio::test]
    async fn who_waits_is_told_of_a_change() {
        let folder = Folder::new();
        let mut rotation = Rotation::start(folder.server(), "https", TlsMetrics::default());
        let before = rotation.current();
        folder.write("localhost", 2001, 2100);
        let after = tokio::time::timeout(Duration::from_secs(30), rotation.changed()).await.expect("it is seen");
        assert!(!Arc::ptr_eq(&before, &after) && Arc::ptr_eq(&after, &rotation.current()));
    }

    #[tokio::test]
    async fn text_in_memory_never_changes() {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        let (certificate, key) =
            (Pem::new("a.crt", made.cert.pem()), Pem::new("a.key", made.signing_key.serialize_pem()));
        let server = Server::open(Identity::new(certificate, key)).expect("an identity");
        let mut rotation = Rotation::start(server, "https", TlsMetrics::default());
        let waited = tokio::time::timeout(Duration::from_millis(20), rotation.changed()).await;
        assert!(waited.is_err());
    }
}
