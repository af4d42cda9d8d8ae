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
//!
//! [`put_on`] does either, for any [`Work`], and tells a [`Record`] of each request that ended.

use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dunlin_client::Error;
use fastrand::Rng;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::error::word;

mod arrivals;
mod closed;
mod fill;
mod key_value;
mod measured;
mod meter;
mod open;
mod random;
mod stop;
mod tally;

pub(crate) use arrivals::{Arrivals, Spread};
pub(crate) use fill::fill;
pub(crate) use key_value::{KeyValues, Share, key, values};
pub(crate) use measured::measured;
pub(crate) use meter::{Meter, Spent};
pub(crate) use open::open_loop;
pub(crate) use random::Random;
pub(crate) use stop::Stop;
pub(crate) use tally::{Failed, Tally};

/// Something to do again and again, by many workers at a time.
pub(crate) trait Work: Send + Sync + 'static {
    /// Does it once. `worker` tells those apart that do it at the same time; `draw` is random.
    fn step(&self, worker: usize, draw: u64) -> impl Future<Output = Step> + Send;
}

/// Is told what became of requests.
pub(crate) trait Record: Send + 'static {
    /// One has ended.
    fn ended(&mut self, ended: Ended);
    /// One was due and not made, because too many were under way.
    fn not_sent(&mut self, due: Instant);
}

/// When requests are made.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Pace {
    /// Whenever one of so many was answered.
    Closed {
        /// Requests under way at any time.
        in_flight: usize,
    },
    /// When they are due.
    Open {
        /// How many a second.
        per_second: f64,
        /// How they are spread.
        spread: Spread,
        /// Requests under way above which more are not made.
        under_way_max: usize,
    },
}

/// Makes requests for so long, or until it is asked to stop; then waits for what is under way.
pub(crate) async fn put_on<W: Work, R: Record>(
    work: &Arc<W>,
    pace: &Pace,
    span: Duration,
    seed: u64,
    record: &Arc<Mutex<R>>,
    stop: &Stop,
) {
    let end = Instant::now() + span;
    match *pace {
        Pace::Closed { in_flight } => {
            closed::closed_loop(work, in_flight, seed, end, record, stop).await;
        }
        Pace::Open {
            per_second,
            spread,
            under_way_max,
        } => {
            // The draws of requests and those of their times are not to follow each other.
            let arrivals = Arrivals::new(per_second, spread, seed.rotate_left(32));
            let mut rng = Rng::with_seed(seed);
            let make = |due| {
                let (work, record, draw) = (Arc::clone(work), Arc::clone(record), rng.u64(..));
                async move {
                    let step = work.step(0, draw).await;
                    let at = Instant::now();
                    lock(&record).ended(Ended { step, due, at });
                }
            };
            let not_sent = |due| lock(record).not_sent(due);
            open_loop(arrivals, under_way_max, end, stop, make, not_sent).await;
        }
    }
}

/// A request that has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    pub(crate) step: Step,
    /// When it was to be made. Its latency counts from here.
    pub(crate) due: Instant,
    pub(crate) at: Instant,
}

/// What was done, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) what: Class,
    pub(crate) end: End,
}

/// What a request was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Class {
    /// A read.
    #[serde(rename = "read")]
    Read,
    /// A write to something that exists.
    #[serde(rename = "update")]
    Update,
    /// A write of something new.
    #[serde(rename = "insert")]
    Insert,
    /// Several rows in order.
    #[serde(rename = "scan")]
    Scan,
    /// A read, and a write that rests on it.
    #[serde(rename = "rmw")]
    Modify,
}

impl Class {
    /// As logs tag it.
    pub(crate) fn tag(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Update => "update",
            Self::Insert => "insert",
            Self::Scan => "scan",
            Self::Modify => "rmw",
        }
    }
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

/// Whoever panicked meanwhile left nothing half done: each change is one call.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
