//! One look at a folder: what is found is read, verified and loaded, and takes the place of the running generation; or
//! it is refused, and the running one stays.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

use shared_model::bundle::{Bundle, Edition, EditionError, Manifest, NotApplied, Obstacle, TierFiles};
use shared_model::variant::VariantName;
use shared_model::wire::Digest;

use super::folder::{self, Fingerprint, Reader};
use super::metrics::Outcome;
use super::{BundleRefused, Fault, GRACE, Generation, Generations, Loader, Slot, Weights};
use crate::panicked;

/// What is known of a folder since it was last looked at.
#[derive(Debug, Default)]
pub(super) struct Work {
    /// As it was when it was dealt with.
    settled: Option<Fingerprint>,
    /// As it was when it could not be read. It may be in the middle of being written: it is refused if it stays so.
    suspect: Option<Fingerprint>,
    /// Whether it has been told that the system cannot read the suspect, which is tried again at each look.
    told: bool,
}

/// What is in a folder.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) edition: Edition,
    /// The tier's own files, unless the bundle is the running one.
    pub(super) weights: Option<TierFiles>,
    /// Why the catalog has no later revision, if there is a delta to one.
    pub(super) refused: Option<Fault>,
}

/// Reads a folder as far as it is sound, its deltas up to `last`. Of the `running` edition's own bundle only later
/// deltas are read.
pub(super) fn read(folder: &Path, variant: VariantName, running: Option<&Edition>, last: u64) -> Result<Found, Fault> {
    // A link may be pointed elsewhere meanwhile: all files are read from where it leads now.
    let folder = folder.canonicalize().map_err(Fault::Folder)?;
    let same = |running: &&Edition| digest(&folder).is_ok_and(|digest| digest == running.stamp().bundle);
    let (edition, weights) = match running.filter(same) {
        Some(running) => (running.clone(), None),
        None => {
            let mut files = Reader::of(&folder);
            match Edition::read(variant, |file, max| files.read(file, max)) {
                Ok((edition, weights)) => (edition, Some(weights)),
                Err(error) => return Err(files.fault(error)),
            }
        }
    };
    let (edition, refused) = edition.latest(last, |file| folder::delta(&folder.join(file)));
    let refused = refused.map(|NotApplied { file, reason }| match reason {
        Obstacle::Unreadable(error) => Fault::Unreadable { file, error },
        Obstacle::Unfit(error) => Fault::Delta { file, reason: error.to_string() },
    });
    Ok(Found { edition, weights, refused })
}

/// What the bundle in a folder is called.
pub(super) fn digest(folder: &Path) -> Result<Digest, Fault> {
    let mut files = Reader::of(folder);
    match Bundle::read(&[], |file, max| files.read(file, max)) {
        Ok(head) => Ok(head.digest),
        Err(error) => Err(files.fault(error)),
    }
}

/// A bug that a bundle brings to light must not end the watch over the others.
pub(super) fn caught<T>(work: impl FnOnce() -> Result<T, Fault>) -> Result<T, Fault> {
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|panic| Err(Fault::Load(format!("a bug: {}", panicked(panic.as_ref())))))
}

/// Whether a bundle may take the place of the running one; `rollback` names the version that somebody asked for.
fn admit(running: &Manifest, next: &Manifest, rollback: Option<&str>) -> Result<Outcome, Fault> {
    if next.model != running.model {
        return Err(Fault::Model { found: next.model.clone(), serves: running.model.clone() });
    }
    if let Some(asked) = rollback.filter(|asked| *asked != next.version) {
        return Err(Fault::Version { found: next.version.clone(), asked: asked.to_owned() });
    }
    if next.serial >= running.serial {
        return Ok(Outcome::Bundle);
    }
    match rollback {
        Some(_) => Ok(Outcome::Rollback),
        None => {
            let (version, found) = (next.version.clone(), next.serial);
            Err(Fault::Older { version, found, running: running.serial })
        }
    }
}

impl<L: Loader> Generations<L> {
    /// Looks at a folder if it has changed. What cannot be read is looked at once more before it is refused, and again
    /// and again where the system is to blame.
    pub(super) fn poll(&self, slot: &Slot<L::Model>) {
        let mut work = slot.work();
        let print = slot.fingerprint();
        if work.settled.as_ref() == Some(&print) {
            return;
        }
        match caught(|| self.update(slot, None)) {
            Err(fault) if work.suspect.as_ref() != Some(&print) => {
                tracing::debug!(folder = %slot.source.folder.display(), %fault, "not readable, or not yet");
                *work = Work { suspect: Some(print), ..Work::default() };
                return;
            }
            Err(fault) if fault.may_pass() => {
                if !std::mem::replace(&mut work.told, true) {
                    self.refuse(slot, fault);
                }
                return;
            }
            Err(fault) => drop(self.refuse(slot, fault)),
            Ok(()) => *slot.refused() = None,
        }
        *work = Work { settled: Some(print), ..Work::default() };
    }

    /// Looks at a folder because somebody wants it to be looked at.
    ///
    /// # Errors
    /// Something in it is refused.
    pub(super) fn look(&self, slot: &Slot<L::Model>, rollback: Option<&str>) -> Result<(), BundleRefused> {
        let mut work = slot.work();
        let print = slot.fingerprint();
        let looked = caught(|| self.update(slot, rollback)).map_err(|fault| self.refuse(slot, fault));
        // What is not the version that was asked for may still be one that is to be served.
        let settled = match &looked {
            Ok(()) => true,
            Err(refused) => rollback.is_none() && !refused.reason.may_pass(),
        };
        *work = Work { settled: settled.then_some(print), ..Work::default() };
        looked.inspect(|()| *slot.refused() = None)
    }

    fn refuse(&self, slot: &Slot<L::Model>, reason: Fault) -> BundleRefused {
        let refused = BundleRefused { folder: slot.source.folder.clone(), reason };
        let running = slot.current();
        let model = &running.edition.manifest().model;
        tracing::error!(model, why = %refused, running = %running.stamp().bundle, "refused");
        self.metrics.count(Outcome::Refused);
        *slot.refused() = Some(refused.to_string());
        refused
    }

    fn update(&self, slot: &Slot<L::Model>, rollback: Option<&str>) -> Result<(), Fault> {
        let running = slot.current();
        let Found { edition, weights, refused } =
            read(&slot.source.folder, self.loader.variant(), Some(&running.edition), u64::MAX)?;
        let admitted = admit(running.edition.manifest(), edition.manifest(), rollback)?;
        let outcome = if weights.is_some() { admitted } else { Outcome::Catalog };
        if edition.stamp() != running.stamp() {
            let weights = weights.map_or(Weights::Of(&running.model), Weights::Files);
            let model = self.model(&edition, weights)?;
            self.swap(slot, Generation { edition, model }, outcome);
        }
        refused.map_or(Ok(()), Err)
    }

    pub(super) fn model(&self, edition: &Edition, weights: Weights<'_, L::Model>) -> Result<L::Model, Fault> {
        let only_the_catalog = matches!(weights, Weights::Of(_));
        self.loader.load(edition, weights).map_err(|error| match only_the_catalog {
            true => Fault::unfit(edition.stamp().catalog, &error),
            false => Fault::Load(error.to_string()),
        })
    }

    pub(super) fn swap(&self, slot: &Slot<L::Model>, next: Generation<L::Model>, outcome: Outcome) {
        let (manifest, stamp) = (next.edition.manifest(), next.stamp());
        let (model, version, what) = (&manifest.model, &manifest.version, outcome.as_str());
        tracing::info!(model, version, bundle = %stamp.bundle, catalog = stamp.catalog, what, "swapped");
        self.metrics.runs(&next.edition);
        self.metrics.count(outcome);
        let grace = if self.loader.is_escalated_to() { GRACE } else { Duration::ZERO };
        let gone = slot.held_mut().swap(next, Instant::now(), grace);
        drop(gone);
    }
}

impl<M> Slot<M> {
    fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.source.folder, self.current().stamp().catalog.saturating_add(1))
    }
}

impl From<shared_model::bundle::BundleError> for Fault {
    fn from(error: shared_model::bundle::BundleError) -> Self {
        EditionError::from(error).into()
    }
}
