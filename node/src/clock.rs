//! The process's time, in the form in which the engine wants to be told of it.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use dunlin_crdt::Millis;
use dunlin_engine::{Now, Time};

/// Counts from the node's start. Copies agree.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start: Instant,
}

impl Clock {
    /// A clock that starts now.
    pub(crate) fn start() -> Self {
        Self {
            start: Instant::now(),
        }
    }

    /// The moment, for delays and for stamps.
    pub(crate) fn now(&self) -> Now {
        // A wall clock before 1970 is as wrong as one that says 1970.
        let wall = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Now {
            time: self.time(),
            wall: Millis(u64::try_from(wall.as_millis()).unwrap_or(u64::MAX)),
        }
    }

    /// The moment, for delays only.
    pub(crate) fn time(&self) -> Time {
        Time(u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX))
    }

    /// When that time is, for waiting.
    pub(crate) fn instant(&self, time: Time) -> Instant {
        self.start + Duration::from_micros(time.0)
    }
}
