//! Putting load on: requests one after the other, many at a time.
//!
//! ```text
//!   closed  each of n workers asks again when it was answered:          what is possible
//!   open    requests are due at a fixed rate, answered or not:          what users wait
//!   fill    so many writes, n at a time, each repeated until it is done
//! ```
//!
//! A closed loop slows down with the nodes, so the requests that a stall would have delayed are never
//! made, and its latencies look too good (coordinated omission). Hence the open loop, whose latency
//! begins when a request was due.

use std::collections::BTreeMap;
use std::future::Future;
use std::time::Duration;

use dunlin_client::Error;

use crate::error::word;
use crate::histogram::Histogram;

mod closed;
mod fill;
mod key_value;
mod meter;
mod open;

pub(crate) use closed::closed_loop;
pub(crate) use fill::fill;
pub(crate) use key_value::{KeyValues, Share, key, values};
pub(crate) use meter::{Meter, Spent};
pub(crate) use open::open_loop;

/// Something to do again and again, by many workers at a time.
pub(crate) trait Work: Send + Sync + 'static {
    /// Does it once. `worker` tells those apart that do it at the same time; `draw` is random.
    fn step(&self, worker: usize, draw: u64) -> impl Future<Output = Step> + Send;
}

/// What was done, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) what: Class,
    pub(crate) end: End,
}

/// What a request was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    Write,
    Read,
}

/// How a request ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// As it should.
    Done,
    /// It failed.
    Failed(Reason),
    /// Something known to exist was said not to.
    NotFound,
}

/// Why a request failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reason {
    /// To count by.
    pub(crate) word: &'static str,
    /// To look into it.
    pub(crate) text: String,
}

impl From<&Error> for Reason {
    fn from(error: &Error) -> Self {
        Self {
            word: word(error),
            text: error.to_string(),
        }
    }
}

impl Reason {
    /// A failure of this program's own.
    pub(crate) fn ours(word: &'static str) -> Self {
        Self {
            word,
            text: word.to_owned(),
        }
    }
}

/// How many requests failed for one reason.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Failed {
    pub(crate) count: u64,
    /// What the first of them said.
    pub(crate) first: String,
}

/// What came of a load.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) writes: Histogram,
    pub(crate) reads: Histogram,
    pub(crate) not_found: u64,
    pub(crate) failed: BTreeMap<&'static str, Failed>,
}

impl Tally {
    pub(crate) fn add(&mut self, step: Step, latency: Duration) {
        match (step.end, step.what) {
            (End::Done, Class::Write) => self.writes.record(latency),
            (End::Done, Class::Read) => self.reads.record(latency),
            (End::NotFound, _) => self.not_found += 1,
            (End::Failed(Reason { word, text }), _) => self.add_failed(word, 1, text),
        }
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        self.writes.merge(&other.writes);
        self.reads.merge(&other.reads);
        self.not_found += other.not_found;
        for (word, failed) in &other.failed {
            self.add_failed(word, failed.count, failed.first.clone());
        }
    }

    fn add_failed(&mut self, word: &'static str, count: u64, text: String) {
        let failed = self.failed.entry(word).or_default();
        if failed.count == 0 {
            failed.first = text;
        }
        failed.count += count;
    }

    /// Requests that ended as they should.
    pub(crate) fn done(&self) -> u64 {
        self.writes.count() + self.reads.count()
    }

    /// Writes and reads together.
    pub(crate) fn all(&self) -> Histogram {
        let mut all = self.writes.clone();
        all.merge(&self.reads);
        all
    }

    /// What failed, in words.
    pub(crate) fn failures(&self) -> String {
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
            tally.add(
                Step {
                    what: Class::Read,
                    end,
                },
                Duration::from_secs(1),
            );
        }
        let mut both = Tally::default();
        both.merge(&tally);
        both.merge(&tally);
        assert_eq!((both.done(), both.reads.count(), both.not_found), (2, 2, 2));
        assert_eq!(both.failures(), "4 timeout");
    }
}
