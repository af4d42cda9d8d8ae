//! What came of requests: how many, how long they took, and why others failed.
//!
//! Tallies add up, whether they are of one second or of a run, of one process or of several; as JSON they
//! go from one process to another.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Class, End, Reason, Step};
use crate::histogram::Histogram;

/// Requests of one kind.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Counts {
    /// Of those that ended as they should.
    pub(crate) latencies: Histogram,
    pub(crate) failed: u64,
    pub(crate) not_found: u64,
}

/// Requests that failed for one reason.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Failed {
    pub(crate) count: u64,
    /// What the first of them said.
    pub(crate) first: String,
}

/// What came of a load.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Tally {
    pub(crate) classes: BTreeMap<Class, Counts>,
    /// By a word for why.
    pub(crate) failed: BTreeMap<String, Failed>,
    /// Due, and not made because too many were under way.
    pub(crate) not_sent: u64,
}

impl Tally {
    pub(crate) fn add(&mut self, step: Step, latency: Duration) {
        let counts = self.classes.entry(step.what).or_default();
        match step.end {
            End::Done => counts.latencies.record(latency),
            End::NotFound => counts.not_found += 1,
            End::Failed(reason) => {
                counts.failed += 1;
                self.fail(reason);
            }
        }
    }

    /// One more failed, of no kind that is known.
    pub(crate) fn fail(&mut self, Reason { word, text }: Reason) {
        self.add_failed(word, 1, &text);
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        for (class, more) in &other.classes {
            let counts = self.classes.entry(*class).or_default();
            counts.latencies.merge(&more.latencies);
            counts.failed += more.failed;
            counts.not_found += more.not_found;
        }
        for (word, failed) in &other.failed {
            self.add_failed(word, failed.count, &failed.first);
        }
        self.not_sent += other.not_sent;
    }

    fn add_failed(&mut self, word: &str, count: u64, text: &str) {
        match self.failed.get_mut(word) {
            Some(failed) => failed.count += count,
            None => {
                let first = text.to_owned();
                self.failed.insert(word.to_owned(), Failed { count, first });
            }
        }
    }

    /// Requests that ended as they should.
    pub(crate) fn done(&self) -> u64 {
        let counts = self.classes.values();
        counts.map(|counts| counts.latencies.count()).sum()
    }

    /// Requests that failed.
    pub(crate) fn failures(&self) -> u64 {
        self.failed.values().map(|failed| failed.count).sum()
    }

    /// Requests that did not find what is known to exist.
    pub(crate) fn not_found(&self) -> u64 {
        self.classes.values().map(|counts| counts.not_found).sum()
    }

    /// The latencies of one kind.
    pub(crate) fn of(&self, class: Class) -> Histogram {
        let counts = self.classes.get(&class);
        counts
            .map(|counts| counts.latencies.clone())
            .unwrap_or_default()
    }

    /// The latencies of all kinds together.
    pub(crate) fn all(&self) -> Histogram {
        let mut all = Histogram::default();
        for counts in self.classes.values() {
            all.merge(&counts.latencies);
        }
        all
    }

    /// What failed, in words.
    pub(crate) fn failures_in_words(&self) -> String {
        if self.failed.is_empty() {
            return "none".to_owned();
        }
        let words = self.failed.iter();
        let words: Vec<String> = words
            .map(|(word, failed)| format!("{} {word}", failed.count))
            .collect();
        words.join(", ")
    }

    /// Says on standard error why requests of `what` failed.
    pub(crate) fn complain(&self, what: &str) {
        for (word, failed) in &self.failed {
            let (count, first) = (failed.count, &failed.first);
            eprintln!("dunlin-loadtest: {what}: {count} failed: {word}, such as: {first}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_done_has_a_latency() {
        let mut tally = Tally::default();
        let failed = || End::Failed(Reason::ours("timeout"));
        let ends = [End::Done, failed(), failed(), End::NotFound];
        for end in ends {
            let what = Class::Read;
            tally.add(Step { what, end }, Duration::from_secs(1));
        }
        let mut both = Tally::default();
        both.merge(&tally);
        both.merge(&tally);
        let reads = both.of(Class::Read).count();
        assert_eq!((both.done(), reads, both.not_found()), (2, 2, 2));
        assert_eq!(both.failures(), 4);
        assert_eq!(both.failures_in_words(), "4 timeout");
    }

    #[test]
    fn a_tally_that_another_process_wrote_is_read_back() {
        let mut tally = Tally::default();
        for (what, end) in [
            (Class::Update, End::Done),
            (Class::Modify, End::Failed(Reason::ours("unknown"))),
        ] {
            tally.add(Step { what, end }, Duration::from_millis(3));
        }
        tally.not_sent = 5;
        let written = serde_json::to_string(&tally).unwrap();
        assert_eq!(serde_json::from_str::<Tally>(&written).unwrap(), tally);
    }
}
