//! How good one node is at the moment, from the requests that it was sent.
//!
//! The score is the time that one more request would take: the smoothed latency, times the requests
//! already there, with a penalty for failures in a row. What was measured loses half its weight every
//! two seconds, so a node that was slow once is tried again rather than avoided for ever; with a
//! hedge beside it that costs one request a little time.
//!
//! A node is *suspect* once it left a request unanswered. Suspects are asked last, and only an answer
//! (to a probe, mostly) clears them.

use std::time::Duration;

/// After this long without a sample the old one counts half.
const HALF_LIFE: Duration = Duration::from_secs(2);

/// Added to every latency, so that a node that was never asked is not infinitely better than one that
/// was, and that scheduling, which costs a request a millisecond now and then, does not keep the
/// others away from a node for seconds.
const NOISE_US: u64 = 1_000;

/// What the first failure in a row costs; each further one doubles it.
const FAILURE_US: u64 = 10_000;

/// Doublings at most.
const FAILURES_COUNTED: u32 = 8;

/// After being overtaken by a hedge this many times without one answer between, a node is suspect.
const OVERTAKEN_MAX: u32 = 3;

/// What is known of one node. Times are since any fixed origin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Health {
    outstanding: u32,
    latency_us: u64,
    sampled_at: Duration,
    failures: u32,
    overtaken: u32,
    suspect: bool,
}

impl Health {
    /// A request is on its way to the node.
    pub fn began(&mut self) {
        self.outstanding += 1;
    }

    /// It answered, and with something of use.
    pub fn answered(&mut self, took: Duration, now: Duration) {
        self.finish();
        self.sample(took, now);
        self.failures = 0;
        self.overtaken = 0;
        self.suspect = false;
    }

    /// It said that it cannot, or the connection to it was lost.
    pub fn failed(&mut self, now: Duration) {
        self.finish();
        self.failures = self.failures.saturating_add(1);
        self.sampled_at = now;
    }

    /// It did not answer in the time that it was given.
    pub fn silent(&mut self, now: Duration) {
        self.failed(now);
        self.suspect = true;
    }

    /// Nobody waits for the answer any more: another node was faster, or the caller went away.
    pub fn overtaken(&mut self, after: Duration, now: Duration) {
        self.finish();
        // It would have taken longer than this.
        self.sample(after.max(Duration::from_micros(self.latency_us)), now);
        self.overtaken += 1;
        self.suspect |= self.overtaken >= OVERTAKEN_MAX;
    }

    /// A request that is still open has waited for longer than a sound node takes.
    pub fn suspect(&mut self) {
        self.suspect = true;
    }

    /// It answered a probe.
    pub fn cleared(&mut self) {
        self.suspect = false;
        self.overtaken = 0;
    }

    /// Whether it left a request unanswered and has said nothing since.
    #[must_use]
    pub fn is_suspect(&self) -> bool {
        self.suspect
    }

    /// Requests without an answer so far.
    #[must_use]
    pub fn outstanding(&self) -> u32 {
        self.outstanding
    }

    /// Microseconds that one more request is expected to take; only to be compared.
    #[must_use]
    pub fn score(&self, now: Duration) -> u64 {
        let idle = now.saturating_sub(self.sampled_at);
        let halvings = (idle.as_millis() / HALF_LIFE.as_millis()).min(63) as u32;
        let penalty = match self.failures {
            0 => 0,
            failures => FAILURE_US << (failures - 1).min(FAILURES_COUNTED),
        };
        let expected = (self.latency_us.saturating_add(penalty) >> halvings) + NOISE_US;
        expected.saturating_mul(u64::from(self.outstanding) + 1)
    }

    fn finish(&mut self) {
        assert!(self.outstanding > 0, "a request ends once");
        self.outstanding -= 1;
    }

    fn sample(&mut self, took: Duration, now: Duration) {
        let took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX / 16);
        self.latency_us = match self.latency_us {
            0 => took_us,
            latency_us => latency_us - latency_us / 8 + took_us / 8,
        };
        self.sampled_at = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn measured(latency: Duration) -> Health {
        let mut health = Health::default();
        health.began();
        health.answered(latency, ms(0));
        health
    }

    #[test]
    fn the_slower_node_scores_worse() {
        assert!(measured(ms(1)).score(ms(0)) < measured(ms(20)).score(ms(0)));
    }

    #[test]
    fn open_requests_make_a_node_less_attractive() {
        let mut busy = measured(ms(1));
        let idle = busy;
        busy.began();
        assert!(busy.score(ms(0)) > idle.score(ms(0)));
    }

    #[test]
    fn failures_in_a_row_weigh_more_each_time_and_one_answer_ends_them() {
        let mut health = measured(ms(1));
        let mut before = health.score(ms(0));
        for _ in 0..4 {
            health.began();
            health.failed(ms(0));
            assert!(health.score(ms(0)) > before);
            before = health.score(ms(0));
        }
        health.began();
        health.answered(ms(1), ms(0));
        assert_eq!(health.score(ms(0)), measured(ms(1)).score(ms(0)));
    }

    #[test]
    fn an_old_measurement_fades() {
        let slow = measured(ms(400));
        assert!(slow.score(ms(20_000)) < measured(ms(1)).score(ms(0)));
    }

    #[test]
    fn an_unanswered_request_makes_suspect_until_a_probe_is_answered() {
        let mut health = measured(ms(1));
        health.began();
        health.silent(ms(5));
        assert!(health.is_suspect());
        health.cleared();
        assert!(!health.is_suspect());
    }

    #[test]
    fn being_overtaken_again_and_again_makes_suspect_but_not_with_an_answer_between() {
        let mut health = Health::default();
        for _ in 0..OVERTAKEN_MAX - 1 {
            health.began();
            health.overtaken(ms(2), ms(0));
        }
        health.began();
        health.answered(ms(2), ms(0));
        for _ in 0..OVERTAKEN_MAX {
            assert!(!health.is_suspect());
            health.began();
            health.overtaken(ms(2), ms(0));
        }
        assert!(health.is_suspect());
    }

    #[test]
    fn being_overtaken_never_improves_a_score() {
        let mut health = measured(ms(50));
        let before = health.score(ms(0));
        health.began();
        health.overtaken(ms(1), ms(0));
        assert!(health.score(ms(0)) >= before);
    }
}
