//! What a process did, second by second.
//!
//! ```text
//!   0 s       1 s       2 s   2.5 s: no more requests    3.5 s
//!   ├─────────┼─────────┼─────┼────────────────────────┼──── …
//!   slot 0    slot 1    2     3: what was still under way
//! ```
//!
//! A request belongs to the slot in which it ended. What ends after the last was made counts for latency and
//! not for throughput: without it, the slowest would be missing.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::load::{Ended, Record, Tally};

/// The length of a slot, but for one that is cut short.
pub(super) const SLOT: Duration = Duration::from_secs(1);

/// A stretch of a load, from its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Slot {
    pub(super) from_ms: u64,
    pub(super) ms: u64,
    /// No more requests are made.
    pub(super) drain: bool,
}

/// Tallies by slot.
#[derive(Debug)]
pub(super) struct Seconds {
    start: Instant,
    end: Instant,
    /// The first that was not taken yet.
    next: u64,
    tallies: BTreeMap<u64, Tally>,
}

impl Seconds {
    /// From now on, with requests that are made for so long.
    pub(super) fn new(start: Instant, span: Duration) -> Self {
        Self {
            start,
            end: start + span,
            next: 0,
            tallies: BTreeMap::new(),
        }
    }

    /// No request is made from now on.
    pub(super) fn cut_short(&mut self, now: Instant) {
        self.end = self.end.min(now);
    }

    fn slots_until_end(&self) -> u64 {
        let span = self.end.saturating_duration_since(self.start);
        span.as_millis().div_ceil(SLOT.as_millis()) as u64
    }

    fn number_at(&self, at: Instant) -> u64 {
        match at.checked_duration_since(self.end) {
            None => at.saturating_duration_since(self.start).as_secs(),
            Some(after) => self.slots_until_end() + after.as_secs(),
        }
    }

    fn slot(&self, number: u64) -> Slot {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let span_ms = millis(self.end.saturating_duration_since(self.start));
        let slot_ms = millis(SLOT);
        match number.checked_sub(self.slots_until_end()) {
            None => {
                let from_ms = number * slot_ms;
                Slot {
                    from_ms,
                    ms: slot_ms.min(span_ms.saturating_sub(from_ms)),
                    drain: false,
                }
            }
            Some(after) => Slot {
                from_ms: span_ms + after * slot_ms,
                ms: slot_ms,
                drain: true,
            },
        }
    }

    /// What is over at `now`, each slot once, empty ones too.
    pub(super) fn take_over(&mut self, now: Instant) -> Vec<(Slot, Tally)> {
        let upto = self.number_at(now);
        self.take(upto)
    }

    /// All that is left, when nothing is under way any more.
    pub(super) fn take_rest(&mut self, now: Instant) -> Vec<(Slot, Tally)> {
        let last = self.tallies.keys().next_back().map_or(0, |last| last + 1);
        // The slots in which requests were made are told even if nothing ended in them.
        let made = self.slots_until_end().min(self.number_at(now) + 1);
        self.take(last.max(made))
    }

    fn take(&mut self, upto: u64) -> Vec<(Slot, Tally)> {
        let mut taken = Vec::new();
        while self.next < upto {
            let tally = self.tallies.remove(&self.next).unwrap_or_default();
            taken.push((self.slot(self.next), tally));
            self.next += 1;
        }
        taken
    }

    fn at(&mut self, at: Instant) -> &mut Tally {
        // Never one that was told already: what is recorded late belongs to the first that was not.
        let number = self.number_at(at).max(self.next);
        self.tallies.entry(number).or_default()
    }
}

impl Record for Seconds {
    fn ended(&mut self, ended: Ended) {
        let latency = ended.at.saturating_duration_since(ended.due);
        self.at(ended.at).add(ended.step, latency);
    }

    fn not_sent(&mut self, _due: Instant) {
        let now = Instant::now().min(self.end - Duration::from_millis(1));
        self.at(now).not_sent += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::{Class, End, Step};

    fn ended(start: Instant, due_ms: u64, at_ms: u64) -> Ended {
        Ended {
            step: Step {
                what: Class::Read,
                end: End::Done,
            },
            due: start + Duration::from_millis(due_ms),
            at: start + Duration::from_millis(at_ms),
        }
    }

    #[test]
    fn a_request_belongs_to_the_second_in_which_it_ended() {
        let start = Instant::now();
        let mut seconds = Seconds::new(start, Duration::from_millis(2_500));
        for (due, at) in [
            (0, 10),
            (900, 1_200),
            (2_400, 2_450),
            (2_490, 2_600),
            (100, 3_600),
        ] {
            seconds.ended(ended(start, due, at));
        }
        let early = seconds.take_over(start + Duration::from_millis(1_300));
        assert_eq!(early.len(), 1);
        let mut all = early;
        all.extend(seconds.take_rest(start + Duration::from_secs(4)));
        let told: Vec<(u64, u64, bool, u64)> = all
            .iter()
            .map(|(slot, tally)| (slot.from_ms, slot.ms, slot.drain, tally.done()))
            .collect();
        assert_eq!(
            told,
            [
                (0, 1_000, false, 1),
                (1_000, 1_000, false, 1),
                (2_000, 500, false, 1),
                (2_500, 1_000, true, 1),
                (3_500, 1_000, true, 1),
            ]
        );
        let slowest = all.last().unwrap().1.all().max();
        assert!(
            slowest >= Duration::from_millis(3_500),
            "from when it was due"
        );
    }

    #[test]
    fn seconds_in_which_nothing_ended_are_told_as_such() {
        let start = Instant::now();
        let mut seconds = Seconds::new(start, Duration::from_secs(3));
        let rest = seconds.take_rest(start + Duration::from_secs(3));
        assert_eq!(rest.len(), 3);
        assert!(
            rest.iter()
                .all(|(slot, tally)| !slot.drain && tally.done() == 0)
        );
    }

    #[test]
    fn a_load_that_is_stopped_ends_there() {
        let start = Instant::now();
        let mut seconds = Seconds::new(start, Duration::from_secs(60));
        seconds.ended(ended(start, 0, 1_100));
        seconds.cut_short(start + Duration::from_millis(1_500));
        seconds.ended(ended(start, 1_400, 1_600));
        let rest = seconds.take_rest(start + Duration::from_secs(2));
        let told: Vec<(u64, bool)> = rest.iter().map(|(slot, _)| (slot.ms, slot.drain)).collect();
        assert_eq!(told, [(1_000, false), (500, false), (1_000, true)]);
    }
}
