//! How old what is read now may be: whether this process stood still.
//!
//! A deadline counts from when its frame is read. After a pause (a stopped process, a suspended machine)
//! the frames that are read first have waited in the socket's buffer for as long as the pause lasted, and
//! their clients have long asked elsewhere. So a beat is kept, and whatever is read before it resumes
//! counts as having waited since the last one.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use dunlin_engine::Time;

use crate::clock::Clock;

/// The beat; a pause shorter than some beats is not worth knowing of.
const BEAT: Duration = Duration::from_millis(100);
const PAUSE_MIN_MS: u64 = 500;

/// The last beat of the socket's thread.
#[derive(Debug, Default)]
pub(crate) struct Pulse {
    last: AtomicU64,
}

impl Pulse {
    /// Keeps the beat for as long as the runtime lives.
    pub(crate) async fn beat(&self, clock: Clock) {
        let mut interval = tokio::time::interval(BEAT);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            interval.tick().await;
            self.last.store(clock.time().0, Ordering::Relaxed);
        }
    }

    /// Milliseconds that what is read now may have waited; 0 while the beat goes on.
    pub(crate) fn stood_still_ms(&self, now: Time) -> u64 {
        let pause = now.ms_since(Time(self.last.load(Ordering::Relaxed)));
        if pause < PAUSE_MIN_MS { 0 } else { pause }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_long_pause_counts() {
        let pulse = Pulse::default();
        assert_eq!(pulse.stood_still_ms(Time::default().plus_ms(499)), 0);
        assert_eq!(
            pulse.stood_still_ms(Time::default().plus_ms(100_000)),
            100_000
        );
        pulse
            .last
            .store(Time::default().plus_ms(99_900).0, Ordering::Relaxed);
        assert_eq!(pulse.stood_still_ms(Time::default().plus_ms(100_000)), 0);
    }
}
