//! One look at a folder: what is found is read, verified and loaded, and takes the place of the running generation; or
//! it is refused, and the running one stays.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

use shared_model::bundle::{Bundle, Edition, EditionError, Manifest, NotApplied};
use shared_model::variant::VariantName;

use super::folder::{self, Fingerprint};
use super::metrics::Outcome;
use super::{BundleRefused, Fault, GRACE, Generation, Generations, Loader, Slot, Weights};

/// What is known of a folder since it was last looked at.
#[derive(Debug, Default)]
pub(super) struct Work {
    /// As it was when it was dealt with.
    settled: Option<Fingerprint>,
    /// As it was when it could not be read. It may be in the middle of being written: it is refused if it stays so.
    suspect: Option<Fingerprint>,
}

/// What is in a folder.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) edition: Edition,
    /// The variant's bytes, unless the bundle is the running one.
    pub(super) weights: Option<Vec<u8>>,
    /// Why the catalog has no later revision, if there is a delta to one.
    pub(super) refused: Option<Fault>,
}

/// Reads a folder as far as it is sound. Of the `running` edition's own bundle only later deltas are read.
pub(super) fn read(folder: &Path, variant: VariantName, running: Option<&Edition>) -> Result<Found, Fault> {
    // A link may be pointed elsewhere meanwhile: all files are read from where it leads now.
    let folder = folder.canonicalize().map_err(Fault::Folder)?;
    let same = |running: &&Edition| {
        Bundle::read(&[], folder::reader(&folder)).is_ok_and(|head| head.digest == running.stamp().bundle)
    };
    let (edition, weights) = match running.filter(same) {
        Some(running) => (running.clone(), None),
        None => {
            let (edition, weights) = Edition::read(variant, folder::reader(&folder))?;
            (edition, Some(weights))
        }
    };
    let (edition, refused) = edition.latest(|file| folder::delta(&folder.join(file)));
    let refused = refused.map(|NotApplied { file, reason }| Fault::Delta { file, reason });
    Ok(Found { edition, weights, refused })
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
    /// Looks at a folder if it has changed. What cannot be read is looked at once more before it is refused.
    pub(super) fn poll(&self, slot: &Slot<L::Model>) {
        let mut work = slot.work();
        let print = slot.fingerprint();
        if work.settled.as_ref() == Some(&print) {
            return;
        }
        match self.caught(slot, None) {
            Err(fault) if work.suspect.as_ref() == Some(&print) => drop(self.refuse(slot, fault)),
            Err(fault) => {
                tracing::debug!(folder = %slot.source.folder.display(), %fault, "not readable, or not yet");
                work.suspect = Some(print);
                return;
            }
            Ok(()) => *slot.refused() = None,
        }
        *work = Work { settled: Some(print), suspect: None };
    }

    /// Looks at a folder because somebody wants it to be looked at.
    ///
    /// # Errors
    /// Something in it is refused.
    pub(super) fn look(&self, slot: &Slot<L::Model>, rollback: Option<&str>) -> Result<(), BundleRefused> {
        let mut work = slot.work();
        let print = slot.fingerprint();
        let looked = self.caught(slot, rollback).map_err(|fault| self.refuse(slot, fault));
        // What is not the version that was asked for may still be one that is to be served.
        let settled = (looked.is_ok() || rollback.is_none()).then_some(print);
        *work = Work { settled, suspect: None };
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

    /// A bug that a bundle brings to light must not end the watch over the others.
    fn caught(&self, slot: &Slot<L::Model>, rollback: Option<&str>) -> Result<(), Fault> {
        catch_unwind(AssertUnwindSafe(|| self.update(slot, rollback)))
            .unwrap_or_else(|panic| Err(Fault::Load(format!("a bug: {}", text(panic.as_ref())))))
    }

    fn update(&self, slot: &Slot<L::Model>, rollback: Option<&str>) -> Result<(), Fault> {
        let running = slot.current();
        let Found { edition, weights, refused } =
            read(&slot.source.folder, self.loader.variant(), Some(&running.edition))?;
        let outcome = match weights {
            Some(_) => admit(running.edition.manifest(), edition.manifest(), rollback)?,
            None => Outcome::Catalog,
        };
        if edition.stamp() != running.stamp() {
            let weights = weights.map_or(Weights::Of(&running.model), Weights::Bytes);
            let model = self.loader.load(&edition, weights).map_err(|error| Fault::Load(error.to_string()))?;
            self.swap(slot, Generation { edition, model }, outcome);
        }
        refused.map_or(Ok(()), Err)
    }

    fn swap(&self, slot: &Slot<L::Model>, next: Generation<L::Model>, outcome: Outcome) {
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

fn text(panic: &(dyn Any + Send)) -> &str {
    let literal = || panic.downcast_ref::<&str>().copied();
    panic.downcast_ref::<String>().map(String::as_str).or_else(literal).unwrap_or("no message")
}
