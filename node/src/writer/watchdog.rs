//! Notices a disk that does not answer: sheds writes after a while, and ends the process later.
//!
//! A disk that hangs is worse than one that fails, for the node stays a member and answers pings
//! while every write on it waits. A process that ends lets its peers go on with hints.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use crate::clock::Clock;
use crate::writer::board::{Pace, StorageBoard};

/// A commit or sync that lasts longer sheds writes: far above what a busy disk takes.
const STUCK_AFTER: Duration = Duration::from_secs(10);
/// One that lasts longer ends the process: kernels give up on devices after half of this.
const ABORT_AFTER: Duration = Duration::from_secs(60);
/// How often it is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Since when the writer has been inside the store.
#[derive(Debug)]
pub(crate) struct Stopwatch {
    clock: Clock,
    /// Microseconds since the node's start, at least 1; 0 while the writer is not in the store.
    since: AtomicU64,
}

impl Stopwatch {
    pub(crate) fn new(clock: Clock) -> Self {
        Self {
            clock,
            since: AtomicU64::new(0),
        }
    }

    /// Does something in the store.
    pub(crate) fn measure<T>(&self, work: impl FnOnce() -> T) -> T {
        self.since.store(self.clock.time().0.max(1), Relaxed);
        let done = work();
        self.since.store(0, Relaxed);
        done
    }

    fn lasting(&self) -> Duration {
        match self.since.load(Relaxed) {
            0 => Duration::ZERO,
            since => Duration::from_micros(self.clock.time().0.saturating_sub(since)),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Fair,
    Stuck,
    Hopeless,
}

fn judge(lasting: Duration) -> Verdict {
    if lasting >= ABORT_AFTER {
        Verdict::Hopeless
    } else if lasting >= STUCK_AFTER {
        Verdict::Stuck
    } else {
        Verdict::Fair
    }
}

/// Looks at the stopwatch until the sender of `stop` is gone.
pub(crate) fn watch(stopwatch: &Stopwatch, board: &StorageBoard, stop: &Receiver<()>) {
    while stop.recv_timeout(LOOK_EVERY) == Err(RecvTimeoutError::Timeout) {
        let lasting = stopwatch.lasting();
        match judge(lasting) {
            Verdict::Fair => board.set_pace(Pace::Fair),
            Verdict::Stuck => board.set_pace(Pace::Stuck),
            Verdict::Hopeless => {
                tracing::error!(
                    seconds = lasting.as_secs(),
                    "the disk does not answer; the process ends"
                );
                std::process::abort();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_given_time_then_shed_then_given_up() {
        assert_eq!(judge(Duration::ZERO), Verdict::Fair);
        assert_eq!(judge(Duration::from_millis(9_999)), Verdict::Fair);
        assert_eq!(judge(STUCK_AFTER), Verdict::Stuck);
        assert_eq!(judge(ABORT_AFTER), Verdict::Hopeless);
    }

    #[test]
    fn the_stopwatch_runs_only_inside_the_store() {
        let stopwatch = Stopwatch::new(Clock::start());
        assert_eq!(stopwatch.lasting(), Duration::ZERO);
        stopwatch.measure(|| {
            while stopwatch.lasting().is_zero() {
                std::hint::spin_loop();
            }
        });
        assert_eq!(stopwatch.lasting(), Duration::ZERO);
    }
}
