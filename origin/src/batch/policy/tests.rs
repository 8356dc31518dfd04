use super::*;

const LIMITS: Limits = Limits {
    max_delay: Duration::from_millis(2),
    max_candidates: 100,
    max_requests: 3,
    max_waiting_candidates: usize::MAX,
};

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// A queue of one or more lanes, and the instant that its tests count from.
struct Rig {
    queue: Queue<char>,
    start: Instant,
}

impl Rig {
    fn of(lanes: usize) -> Self {
        let mut rig = Self { queue: Queue::new(LIMITS), start: Instant::now() };
        assert!((0..lanes).all(|id| rig.queue.open(usize::MAX) == id));
        rig
    }

    fn at(&self, millis: u64) -> Instant {
        self.start + ms(millis)
    }

    /// An entry of ten candidates that arrives now.
    fn push(&mut self, lane: LaneId, load: char, at: u64, deadline: u64) -> Ticket {
        self.push_of(10, lane, load, at, deadline)
    }

    fn push_of(&mut self, candidates: usize, lane: LaneId, load: char, at: u64, deadline: u64) -> Ticket {
        let entry = Entry { candidates, arrived: self.at(at), deadline: self.at(deadline), load };
        self.queue.push(lane, entry)
    }

    /// Who is taken, or until when to wait.
    fn next(&mut self, at: u64) -> Result<String, Option<u64>> {
        self.next_if(true, at)
    }

    fn next_if(&mut self, wanted: bool, at: u64) -> Result<String, Option<u64>> {
        match self.queue.next(self.at(at), wanted) {
            Next::Take { entries, .. } => Ok(entries.into_iter().map(|e| e.load).collect()),
            Next::Wait(until) => Err(until.map(|u| u64::try_from((u - self.start).as_millis()).unwrap())),
        }
    }

    fn late(&mut self, at: u64) -> String {
        self.queue.late(self.at(at)).into_iter().map(|e| e.load).collect()
    }

    fn backlog(&self, at: u64) -> Duration {
        self.queue.backlog(self.at(at))
    }

    /// The device computes a batch of ten candidates of the first lane.
    fn runs(&mut self, from: u64, to: u64) {
        self.queue.began(0, 10, self.at(from));
        self.queue.ended(0, 10, self.at(to));
    }
}

#[test]
fn nothing_waits_for_nothing() {
    assert_eq!(Rig::of(2).next(0), Err(None));
}

#[test]
fn an_entry_waits_for_company_no_longer_than_the_delay() {
    let mut rig = Rig::of(1);
    rig.push(0, 'a', 0, 100);
    assert_eq!(rig.next(0), Err(Some(2)));
    rig.push(0, 'b', 1, 100);
    assert_eq!(rig.next(1), Err(Some(2)), "the second does not make the first wait longer");
    assert_eq!(rig.next(2).as_deref(), Ok("ab"));
    assert_eq!(rig.next(2), Err(None));
}

#[test]
fn an_entry_in_a_hurry_waits_no_longer_than_a_quarter_of_its_time() {
    let mut rig = Rig::of(1);
    rig.push(0, 'a', 0, 4);
    assert_eq!(rig.next(0), Err(Some(1)));
    assert_eq!(rig.next(1).as_deref(), Ok("a"));
}

#[test]
fn a_full_batch_goes_at_once() {
    let mut rig = Rig::of(1);
    for load in ['a', 'b', 'c'] {
        rig.push(0, load, 0, 100);
    }
    assert_eq!(rig.next(0).as_deref(), Ok("abc"), "by its requests");
    rig.push_of(60, 0, 'd', 0, 100);
    assert_eq!(rig.next(0), Err(Some(2)));
    rig.push_of(40, 0, 'e', 0, 100);
    assert_eq!(rig.next(0).as_deref(), Ok("de"), "by its candidates");
}

#[test]
fn the_earliest_deadlines_go_first_and_the_rest_stays() {
    let mut rig = Rig::of(1);
    for (load, deadline) in [('a', 90), ('b', 50), ('c', 70), ('d', 50)] {
        rig.push(0, load, 0, deadline);
    }
    assert_eq!(rig.next(0).as_deref(), Ok("bdc"), "of equal deadlines, who came first");
    assert_eq!(rig.next(2).as_deref(), Ok("a"));
}

#[test]
fn what_does_not_fit_ends_the_batch_and_is_not_overtaken() {
    let mut rig = Rig::of(1);
    rig.push_of(50, 0, 'a', 0, 50);
    rig.push_of(60, 0, 'b', 0, 60);
    rig.push_of(10, 0, 'c', 0, 70);
    assert_eq!(rig.next(0).as_deref(), Ok("a"));
    assert_eq!(rig.next(2).as_deref(), Ok("bc"));
}

#[test]
fn an_entry_larger_than_a_batch_goes_alone() {
    let mut rig = Rig::of(1);
    rig.push_of(500, 0, 'a', 0, 50);
    rig.push(0, 'b', 0, 60);
    assert_eq!(rig.next(0).as_deref(), Ok("a"));
    assert_eq!(rig.next(2).as_deref(), Ok("b"));
}

#[test]
fn a_batch_is_of_one_model_and_the_earliest_deadline_of_all_goes_first() {
    let mut rig = Rig::of(2);
    rig.push(0, 'c', 0, 60);
    rig.push(1, 'x', 0, 50);
    rig.push(0, 'b', 0, 40);
    rig.push(1, 'y', 0, 90);
    assert_eq!(rig.next(2).as_deref(), Ok("bc"));
    assert_eq!(rig.next(2).as_deref(), Ok("xy"));
}

#[test]
fn a_model_that_is_due_goes_before_one_in_a_greater_hurry_that_still_waits_for_company() {
    let mut rig = Rig::of(2);
    rig.push(0, 'a', 0, 90);
    rig.push(1, 'x', 1, 50);
    assert_eq!(rig.next(2).as_deref(), Ok("a"));
    assert_eq!(rig.next(2), Err(Some(3)));
}

/// Who goes first, one batch a millisecond, while these, the first of the models, have always a full batch of shorter
/// deadlines.
fn served_beside(hurried: &str, rig: &mut Rig, from: u64, to: u64) -> String {
    let one = |at| {
        for (lane, load) in hurried.chars().enumerate() {
            for _ in 0..3 {
                rig.push(lane, load, at, at + 20);
            }
        }
        rig.next(at).unwrap().chars().next().unwrap()
    };
    (from..to).map(one).collect()
}

/// As [`served_beside`] one.
fn served(rig: &mut Rig, from: u64, to: u64) -> String {
    served_beside("a", rig, from, to)
}

#[test]
fn a_model_is_passed_over_three_times_in_a_row_and_no_more() {
    let mut rig = Rig::of(2);
    for _ in 0..6 {
        rig.push(1, 'x', 0, 10_000);
    }
    assert_eq!(served(&mut rig, 2, 14), "aaaxaaaxaaaa", "two batches of it, each after three others");
}

#[test]
fn of_three_models_each_waits_for_the_other_that_was_passed_over() {
    let mut rig = Rig::of(3);
    for _ in 0..9 {
        rig.push(1, 'x', 0, 10_000);
        rig.push(2, 'y', 0, 10_000);
    }
    assert_eq!(served(&mut rig, 2, 15), "aaaxyaaxyaaxy", "after three others, and one more");
}

#[test]
fn of_five_models_none_is_left_to_starve_by_those_in_a_hurry() {
    let mut rig = Rig::of(5);
    for _ in 0..9 {
        rig.push(4, 'y', 0, 10_000);
    }
    assert_eq!(served_beside("abcd", &mut rig, 2, 17), "abcdyabcdyabcdy");
}

#[test]
fn who_was_passed_over_and_left_has_no_turn_to_hand_on() {
    let mut rig = Rig::of(2);
    let ticket = rig.push(1, 'x', 0, 10_000);
    assert_eq!(served(&mut rig, 2, 5), "aaa");
    rig.queue.remove(ticket);
    rig.push(1, 'x', 0, 10_000);
    assert_eq!(served(&mut rig, 5, 9), "aaax");
}

#[test]
fn who_leaves_is_in_no_batch() {
    let mut rig = Rig::of(1);
    let (first, _) = (rig.push(0, 'a', 0, 50), rig.push(0, 'b', 1, 60));
    assert_eq!(rig.queue.remove(first).map(|e| e.load), Some('a'));
    assert_eq!(rig.next(2), Err(Some(3)), "nor does it hurry the others");
    assert_eq!(rig.next(3).as_deref(), Ok("b"));
    assert_eq!(rig.queue.remove(first), None, "it has left already");
}

#[test]
fn who_has_been_taken_cannot_leave() {
    let mut rig = Rig::of(1);
    let ticket = rig.push(0, 'a', 0, 50);
    assert_eq!(rig.next(2).as_deref(), Ok("a"));
    assert_eq!(rig.queue.remove(ticket), None);
}

#[test]
fn an_entry_is_late_at_its_deadline_and_whoever_decides_is_woken_for_it() {
    let mut rig = Rig::of(2);
    rig.push(0, 'a', 0, 50);
    rig.push(1, 'x', 0, 40);
    assert_eq!(rig.next_if(false, 0), Err(Some(40)), "no place for a batch, so only for this");
    assert_eq!((rig.late(39), rig.late(40)), (String::new(), "x".to_owned()));
    assert_eq!(rig.next_if(false, 40), Err(Some(50)));
    assert_eq!(rig.late(60), "a");
}

#[test]
fn an_entry_is_late_as_soon_as_the_device_cannot_have_it_in_time() {
    let mut rig = Rig::of(1);
    rig.runs(0, 20);
    rig.push(0, 'a', 20, 50);
    assert_eq!(rig.next_if(false, 20), Err(Some(30)), "50 less the 20 that ten candidates take");
    assert_eq!((rig.late(29), rig.late(30)), (String::new(), "a".to_owned()));
    rig.push(0, 'b', 30, 50);
    assert_eq!(rig.late(30), "b", "at once when it arrives too late");
}

#[test]
fn a_busy_device_makes_entries_late_sooner() {
    let mut rig = Rig::of(1);
    rig.runs(0, 20);
    rig.queue.began(0, 10, rig.at(20));
    rig.push(0, 'a', 20, 59);
    rig.push(0, 'b', 20, 61);
    assert_eq!(rig.late(20), "a", "20 for the batch that runs and 20 of its own");
    assert_eq!(rig.late(40), "", "the batch takes longer than the least, so its end is now at the least");
    assert_eq!(rig.late(41), "b");
}

#[test]
fn a_device_that_was_slow_long_ago_is_tried_again() {
    let mut rig = Rig::of(1);
    rig.runs(0, 500);
    rig.push(0, 'a', 600, 700);
    assert_eq!(rig.late(600), "a");
    rig.push(0, 'b', 1500, 1600);
    assert_eq!(rig.late(1500), "");
    assert_eq!(rig.next(1502).as_deref(), Ok("b"));
}

#[test]
fn the_next_batch_is_made_shortly_before_the_running_one_can_end() {
    let mut rig = Rig::of(1);
    rig.runs(0, 20);
    rig.queue.began(0, 10, rig.at(20));
    rig.push(0, 'a', 20, 500);
    assert_eq!(rig.next(22), Err(Some(35)), "20 and three quarters of 20");
    for load in ['b', 'c', 'd'] {
        rig.push(0, load, 22, 400);
    }
    assert_eq!(rig.next(22), Err(Some(35)), "a full one too: who comes first is not settled yet");
    assert_eq!(rig.next(35).as_deref(), Ok("bcd"));
    assert_eq!(rig.next(35).as_deref(), Ok("a"));
}

#[test]
fn a_device_that_ends_early_is_given_its_batch_at_once() {
    let mut rig = Rig::of(1);
    rig.runs(0, 20);
    rig.queue.began(0, 10, rig.at(20));
    rig.push(0, 'a', 20, 500);
    rig.queue.ended(0, 10, rig.at(25));
    assert_eq!(rig.next(25).as_deref(), Ok("a"));
}

#[test]
fn a_failed_batch_says_nothing_about_the_pace() {
    let mut rig = Rig::of(1);
    rig.queue.began(0, 10, rig.at(0));
    rig.queue.failed();
    rig.push(0, 'a', 30, 40);
    assert_eq!((rig.late(30), rig.backlog(30)), (String::new(), Duration::ZERO));
}

#[test]
fn the_backlog_is_what_waits_at_each_models_pace() {
    let mut rig = Rig::of(2);
    rig.runs(0, 20);
    rig.queue.began(1, 10, rig.at(20));
    rig.queue.ended(1, 10, rig.at(21));
    rig.push_of(30, 0, 'a', 21, 500);
    rig.push_of(40, 1, 'x', 21, 500);
    assert_eq!(rig.backlog(21), ms(60 + 4));
}

#[test]
fn the_backlog_counts_what_is_made_ahead_and_what_is_left_of_what_runs() {
    let mut rig = Rig::of(1);
    rig.runs(0, 20);
    rig.push(0, 'a', 20, 500);
    rig.push_of(20, 0, 'b', 20, 600);
    assert_eq!(rig.next(22).as_deref(), Ok("ab"));
    assert_eq!(rig.backlog(22), ms(60), "made ahead");
    rig.queue.began(0, 30, rig.at(22));
    assert_eq!((rig.backlog(22), rig.backlog(40), rig.backlog(90)), (ms(60), ms(42), ms(0)), "being computed");
    rig.push(0, 'c', 40, 500);
    assert_eq!(rig.backlog(40), ms(42 + 20));
    assert_eq!(rig.next(75).as_deref(), Ok("c"));
    rig.queue.given_up();
    assert_eq!(rig.backlog(75), ms(7), "of whom nobody waits for any more");
}

#[test]
fn a_batch_has_no_more_requests_than_its_scorer_takes() {
    let mut rig = Rig::of(0);
    assert_eq!(rig.queue.open(2), 0);
    for load in ['a', 'b', 'c'] {
        rig.push(0, load, 0, 100);
    }
    assert_eq!(rig.next(0).as_deref(), Ok("ab"), "full, and so at once");
    assert_eq!(rig.next(0), Err(Some(2)));
}

#[test]
fn nothing_is_made_while_there_is_no_place_for_it() {
    let mut rig = Rig::of(1);
    rig.push(0, 'a', 0, 100);
    assert_eq!(rig.next_if(false, 50), Err(Some(100)));
    assert_eq!(rig.next(50).as_deref(), Ok("a"));
}

#[test]
fn a_lane_is_opened_and_closed_while_others_go_on() {
    let mut rig = Rig::of(1);
    rig.runs(0, 50);
    rig.push(0, 'a', 100, 900);
    let later = rig.queue.open(usize::MAX);
    assert_eq!(later, 1);
    let ticket = rig.push(later, 'x', 100, 120);
    assert_eq!(rig.late(100), "", "nothing is known of its pace yet");
    assert_eq!(rig.next(102).as_deref(), Ok("x"), "the earlier deadline");
    assert_eq!(rig.queue.remove(ticket), None);
    rig.queue.close(0);
    assert_eq!((rig.next(200), rig.backlog(200)), (Err(None), Duration::ZERO));
    assert_eq!(rig.queue.open(usize::MAX), 2, "no lane has the name of another");
}

#[test]
fn a_batch_may_outlive_its_lane() {
    let mut rig = Rig::of(2);
    rig.queue.began(0, 10, rig.at(0));
    rig.queue.close(0);
    rig.queue.ended(0, 10, rig.at(50));
    rig.push(1, 'x', 50, 90);
    assert_eq!((rig.late(60), rig.next(60).as_deref()), (String::new(), Ok("x")), "the device is free");
    rig.queue.began(0, 10, rig.at(60));
    rig.queue.failed();
}
