//! Measuring in turns: everything that is compared runs a little, again and again, so that a machine with other things
//! to do hurts all of it alike. What is compared is what two took in the same turn: a machine that is slow for a second is
//! so for both.

use std::time::{Duration, Instant};

use crate::client::Error;

/// What is measured.
pub(super) trait Subject {
    /// Works for so long, and for one call at the least; the seconds that each call took.
    fn turn(&mut self, time: Duration) -> Result<Vec<f64>, Error>;
}

/// How often everybody has a turn, and how long one is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Turns {
    pub(super) count: u32,
    pub(super) time: Duration,
}

/// The seconds that calls took; there is at least one.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Samples {
    /// Each turn's median.
    turns: Vec<f64>,
    /// Of all turns, ascending.
    all: Vec<f64>,
}

impl Turns {
    /// Turns before anything counts: V8 takes about a second to compile anew what it has found to be worth it.
    const WARM_UP: u32 = 20;

    /// So many of them that all who share them have as many together, and one each at the least.
    pub(super) fn shared_by(self, loads: u32) -> Self {
        Self { count: self.count.div_ceil(loads).max(1), ..self }
    }

    /// What each took, in their order.
    pub(super) fn take(self, subjects: &mut [&mut dyn Subject]) -> Result<Vec<Samples>, Error> {
        let mut taken = vec![Vec::new(); subjects.len()];
        for turn in 0..Self::WARM_UP + self.count {
            for (subject, taken) in subjects.iter_mut().zip(&mut taken) {
                let seconds = subject.turn(self.time)?;
                if turn >= Self::WARM_UP {
                    taken.push(seconds);
                }
            }
        }
        taken.iter().map(|turns| Samples::new(turns).ok_or_else(|| "nothing was measured".into())).collect()
    }
}

impl Samples {
    /// Of the calls of each turn; none of a turn without any.
    pub(super) fn new(turns: &[Vec<f64>]) -> Option<Self> {
        let mut all = turns.concat();
        all.sort_by(f64::total_cmp);
        let turns = turns.iter().map(|turn| median(turn.clone())).collect::<Option<Vec<_>>>()?;
        (!all.is_empty()).then_some(Self { turns, all })
    }

    /// As if taken in one; at least one.
    pub(super) fn join(parts: Vec<Self>) -> Self {
        let (mut turns, mut all) = (Vec::new(), Vec::new());
        for part in parts {
            turns.extend(part.turns);
            all.extend(part.all);
        }
        all.sort_by(f64::total_cmp);
        Self { turns, all }
    }

    /// The value that a share of the calls did not exceed.
    pub(super) fn quantile(&self, share: f64) -> f64 {
        quantile(&self.all, share)
    }

    pub(super) fn median(&self) -> f64 {
        self.quantile(0.5)
    }

    /// What `f` makes of both medians of a turn: the median of all turns.
    pub(super) fn beside(&self, other: &Self, f: impl Fn(f64, f64) -> f64) -> f64 {
        let turns = self.turns.iter().zip(&other.turns).map(|(a, b)| f(*a, *b));
        median(turns.collect()).expect("there is a turn, and both had it")
    }
}

/// None of nothing.
pub(super) fn median(mut numbers: Vec<f64>) -> Option<f64> {
    numbers.sort_by(f64::total_cmp);
    (!numbers.is_empty()).then(|| quantile(&numbers, 0.5))
}

/// Of at least one number, ascending.
fn quantile(numbers: &[f64], share: f64) -> f64 {
    let last = numbers.len() - 1;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of an index")]
    let at = (share * last as f64).round() as usize;
    numbers[at.min(last)]
}

/// Calls `work` for so long, with the number of the call; what [`Subject::turn`] returns.
pub(super) fn calls(
    time: Duration,
    next: &mut usize,
    mut work: impl FnMut(usize) -> Result<(), Error>,
) -> Result<Vec<f64>, Error> {
    let (begun, mut seconds) = (Instant::now(), Vec::new());
    while seconds.is_empty() || begun.elapsed() < time {
        let started = Instant::now();
        work(*next)?;
        seconds.push(started.elapsed().as_secs_f64());
        *next += 1;
    }
    Ok(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Steps(f64);

    impl Subject for Steps {
        fn turn(&mut self, _: Duration) -> Result<Vec<f64>, Error> {
            self.0 += 1.0;
            Ok(vec![self.0])
        }
    }

    #[test]
    fn quantiles_are_of_what_was_measured() {
        let samples = Samples::new(&[vec![3.0, 1.0], vec![2.0, 5.0, 4.0]]).unwrap();
        assert_eq!([0.0, 0.5, 0.99, 1.0].map(|share| samples.quantile(share)), [1.0, 3.0, 5.0, 5.0]);
        assert_eq!(Samples::new(&[vec![7.0]]).unwrap().median(), 7.0);
        assert_eq!(Samples::new(&[]), None);
        assert_eq!(Samples::new(&[vec![1.0], Vec::new()]), None);
    }

    #[test]
    fn a_machine_that_is_slow_for_some_turns_does_not_change_a_ratio() {
        let turns = |one: f64| [1.0, 1.8, 1.8, 1.0, 1.8].map(|slow| vec![one * slow; 3]);
        let [a, b] = [turns(1.0), turns(2.0)].map(|turns| Samples::new(&turns).unwrap());
        assert_eq!(a.beside(&b, |a, b| a / b), 0.5);
        // One of them alone was hurt.
        let mut hurt = turns(2.0);
        hurt[0] = vec![9.0; 3];
        assert_eq!(a.beside(&Samples::new(&hurt).unwrap(), |a, b| a / b), 0.5);
    }

    #[test]
    fn what_was_taken_in_parts_is_as_if_taken_in_one() {
        let turns = [vec![3.0, 1.0], vec![2.0], vec![5.0, 4.0]];
        let parts = [&turns[..1], &turns[1..]].map(|turns| Samples::new(turns).unwrap());
        assert_eq!(Samples::join(parts.into()), Samples::new(&turns).unwrap());
        let turns = Turns { count: 7, time: Duration::ZERO };
        assert_eq!((turns.shared_by(3).count, Turns { count: 0, ..turns }.shared_by(3).count), (3, 1));
    }

    #[test]
    fn everybody_has_as_many_turns_and_the_first_do_not_count() {
        let (mut a, mut b) = (Steps(0.0), Steps(10.0));
        let turns = Turns { count: 3, time: Duration::ZERO };
        let taken = turns.take(&mut [&mut a, &mut b]).unwrap();
        let counted = |before: f64| [1.0, 2.0, 3.0].map(|i| vec![before + f64::from(Turns::WARM_UP) + i]);
        assert_eq!(taken, [counted(0.0), counted(10.0)].map(|turns| Samples::new(&turns).unwrap()));
    }

    #[test]
    fn a_turn_is_one_call_at_the_least_and_goes_on_where_the_last_ended() {
        let (mut next, mut seen) = (0, Vec::new());
        for _ in 0..2 {
            let seconds = calls(Duration::ZERO, &mut next, |i| {
                seen.push(i);
                Ok(())
            });
            assert_eq!(seconds.unwrap().len(), 1);
        }
        assert_eq!(seen, [0, 1]);
    }
}
