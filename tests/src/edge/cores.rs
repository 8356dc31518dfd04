//! Who runs where. All that is compared has the same core in turn: on a shared machine cores are not equally fast, and
//! whoever sits beside a busy neighbour would be measured with it.

use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::client::Error;

/// The first core, for this thread and for what it starts, until this is dropped.
pub(super) struct OneCore {
    all: CpuSet,
    /// The cores beside it; the same where there are none.
    pub(super) others: CpuSet,
}

impl OneCore {
    pub(super) fn take() -> Result<Self, Error> {
        let all = sched_getaffinity(None)?;
        let core = first(&all)?;
        let mut others = all;
        if all.count() > 1 {
            others.unset(core);
        }
        sched_setaffinity(None, &alone(core))?;
        Ok(Self { all, others })
    }
}

impl Drop for OneCore {
    fn drop(&mut self) {
        let _ = sched_setaffinity(None, &self.all);
    }
}

/// Puts the main thread of a process on the first core. What it has started to compile or collect beside that stays where
/// it is; what it starts later is on the same core.
pub(super) fn join_first(process: Pid) -> Result<(), Error> {
    let core = first(&sched_getaffinity(Some(process))?)?;
    Ok(sched_setaffinity(Some(process), &alone(core))?)
}

fn first(cores: &CpuSet) -> Result<usize, Error> {
    (0..CpuSet::MAX_CPU).find(|&core| cores.is_set(core)).ok_or_else(|| "no core to run on".into())
}

fn alone(core: usize) -> CpuSet {
    let mut set = CpuSet::new();
    set.set(core);
    set
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_has_one_core_until_it_gives_it_back() {
        let before = sched_getaffinity(None).unwrap();
        {
            let taken = OneCore::take().unwrap();
            let own = sched_getaffinity(None).unwrap();
            assert_eq!(own.count(), 1);
            let core = first(&own).unwrap();
            assert_eq!(core, first(&before).unwrap());
            assert!(before.count() == 1 || !taken.others.is_set(core));
        }
        assert_eq!(sched_getaffinity(None).unwrap(), before);
    }
}
