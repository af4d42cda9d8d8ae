//! Growing, jittered pauses between attempts.
//!
//! A pause is drawn from the upper half of a bound that doubles each time: clients that failed
//! together do not come back together, and none comes back at once.

use std::time::Duration;

use fastrand::Rng;

/// The pauses of one series of attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    bound: Duration,
    first: Duration,
    max: Duration,
}

impl Backoff {
    /// Pauses that begin around `first` and never exceed `max`.
    #[must_use]
    pub const fn new(first: Duration, max: Duration) -> Self {
        Self {
            bound: first,
            first,
            max,
        }
    }

    /// The next pause.
    pub fn pause(&mut self, rng: &mut Rng) -> Duration {
        let bound = self.bound.min(self.max);
        self.bound = bound.saturating_mul(2).min(self.max);
        let half_us = u64::try_from(bound.as_micros() / 2).unwrap_or(u64::MAX - 1);
        Duration::from_micros(half_us + rng.u64(0..=half_us))
    }

    /// An attempt succeeded: the next series begins anew.
    pub fn reset(&mut self) {
        self.bound = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Duration = Duration::from_millis(10);
    const MAX: Duration = Duration::from_millis(500);

    #[test]
    fn pauses_double_up_to_the_bound_and_stay_in_its_upper_half() {
        let mut rng = Rng::with_seed(7);
        let mut backoff = Backoff::new(FIRST, MAX);
        for bound_ms in [10, 20, 40, 80, 160, 320, 500, 500] {
            let pause = backoff.pause(&mut rng);
            assert!(pause <= Duration::from_millis(bound_ms), "{pause:?}");
            assert!(pause >= Duration::from_millis(bound_ms / 2), "{pause:?}");
        }
    }

    #[test]
    fn success_starts_the_series_anew() {
        let mut rng = Rng::with_seed(7);
        let mut backoff = Backoff::new(FIRST, MAX);
        for _ in 0..10 {
            backoff.pause(&mut rng);
        }
        backoff.reset();
        assert!(backoff.pause(&mut rng) <= FIRST);
    }

    #[test]
    fn two_clients_do_not_pause_alike() {
        let series = |seed| {
            let mut rng = Rng::with_seed(seed);
            let mut backoff = Backoff::new(FIRST, MAX);
            (0..4).map(|_| backoff.pause(&mut rng)).collect::<Vec<_>>()
        };
        assert_ne!(series(1), series(2));
        assert_eq!(series(1), series(1));
    }
}
