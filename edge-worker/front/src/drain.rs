//! How far a front is on its way out. Everything that has to stop watches the same stage.

use tokio::sync::watch;

/// The stages of a front's life, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    /// It serves.
    Open,
    /// It serves, and `/readyz` says that it will not for long.
    Leaving,
    /// No new connection; those open end with what is in flight on them.
    Closing,
    /// What is still in flight is answered with 503.
    Cut,
}

/// The one who moves the stage.
#[derive(Debug)]
pub(crate) struct Stages(watch::Sender<Stage>);

impl Stages {
    pub(crate) fn new() -> Self {
        Self(watch::Sender::new(Stage::Open))
    }

    pub(crate) fn advance(&self, stage: Stage) {
        self.0.send_if_modified(|now| {
            let later = stage > *now;
            *now = (*now).max(stage);
            later
        });
    }

    pub(crate) fn watch(&self) -> StageWatch {
        StageWatch(self.0.subscribe())
    }
}

/// One who has to know.
#[derive(Clone, Debug)]
pub(crate) struct StageWatch(watch::Receiver<Stage>);

impl StageWatch {
    pub(crate) fn now(&self) -> Stage {
        *self.0.borrow()
    }

    /// Waits for the stage or a later one. A front that is gone has reached every stage.
    pub(crate) async fn reached(&mut self, stage: Stage) {
        let _ = self.0.wait_for(|now| *now >= stage).await;
    }
}

/// How a drain ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drained {
    /// Requests that outlasted it and were answered with 503.
    pub cut: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stage_never_goes_back() {
        let stages = Stages::new();
        let watch = stages.watch();
        stages.advance(Stage::Closing);
        stages.advance(Stage::Leaving);
        assert_eq!(watch.now(), Stage::Closing);
    }

    #[tokio::test]
    async fn a_front_that_is_gone_has_reached_every_stage() {
        let stages = Stages::new();
        let mut watch = stages.watch();
        drop(stages);
        watch.reached(Stage::Cut).await;
    }
}
