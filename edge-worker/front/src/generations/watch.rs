//! The threads that look at the folders now and then.

use std::sync::Arc;
use std::thread;
use std::time::Instant;

use super::{Generations, Loader};

impl<L: Loader> Generations<L> {
    /// Starts a thread for each model. It ends when nobody has the generations any more.
    pub(super) fn watch(self: &Arc<Self>) {
        for (name, slot) in &self.slots {
            let (name, poll, all) = (name.clone(), slot.source.poll, Arc::downgrade(self));
            let body = move || loop {
                thread::sleep(poll);
                let Some(all) = all.upgrade() else { return };
                let slot = &all.slots[&name];
                let gone = slot.held_mut().expire(Instant::now());
                drop(gone);
                all.poll(slot);
            };
            let started = thread::Builder::new().name("bundle-watch".to_owned()).spawn(body);
            if let Err(error) = started {
                tracing::error!(%error, "a bundle's folder is not watched: changes take a POST /v1/reload");
            }
        }
    }
}
