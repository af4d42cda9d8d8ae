//! When a read that is not answered yet goes to a second node as well.
//!
//! After as long as 95 of 100 reads of its class take. That alone would double the load just when
//! everything has become slow, so hedges are paid for: each read earns a tenth of one, and few can be
//! saved up. Source: Dean, Barroso, *The Tail at Scale* (CACM 2013).
//!
//! Latencies are counted in buckets a quarter of a power of two wide; old counts fade by being
//! halved.

use std::time::Duration;

/// Before there are enough samples.
const DELAY_INITIAL: Duration = Duration::from_millis(20);
/// Below this, scheduling noise would fire hedges.
const DELAY_MIN: Duration = Duration::from_millis(1);
/// Above this, a second opinion is worth its cost in any case.
const DELAY_MAX: Duration = Duration::from_millis(500);

/// Samples before the percentile is believed.
const SAMPLES_MIN: u32 = 32;
/// How often the percentile is computed anew.
const SAMPLES_PER_UPDATE: u32 = 32;
/// Counts are halved when there are this many.
const SAMPLES_MAX: u32 = 2_048;

/// What a hedge costs, in earnings of one read.
const COST: u32 = 10;
/// What can be saved up: ten hedges.
const SAVED_MAX: u32 = 10 * COST;

/// Buckets: four for each power of two of microseconds, up to some 70 minutes.
const BUCKETS: usize = 128;

/// Decides about the hedges of one class of reads.
#[derive(Clone, Debug)]
pub struct Hedging {
    counts: [u32; BUCKETS],
    samples: u32,
    since_update: u32,
    delay: Duration,
    saved: u32,
}

impl Default for Hedging {
    fn default() -> Self {
        Self {
            counts: [0; BUCKETS],
            samples: 0,
            since_update: 0,
            delay: DELAY_INITIAL,
            saved: SAVED_MAX,
        }
    }
}

impl Hedging {
    /// A read begins: after how long is it to be hedged?
    pub fn begin(&mut self) -> Duration {
        self.saved = (self.saved + 1).min(SAVED_MAX);
        self.delay
    }

    /// The delay has passed: may there be a hedge? Pays for it.
    pub fn spend(&mut self) -> bool {
        match self.saved.checked_sub(COST) {
            Some(saved) => {
                self.saved = saved;
                true
            }
            None => false,
        }
    }

    /// An attempt took this long, or longer than this if it was given up.
    pub fn sample(&mut self, took: Duration) {
        if let Some(count) = self.counts.get_mut(bucket_of(took)) {
            *count += 1;
            self.samples += 1;
            self.since_update += 1;
        }
        if self.samples >= SAMPLES_MIN && self.since_update >= SAMPLES_PER_UPDATE {
            self.since_update = 0;
            self.delay = self.percentile_95().clamp(DELAY_MIN, DELAY_MAX);
            if self.samples >= SAMPLES_MAX {
                for count in &mut self.counts {
                    *count /= 2;
                }
                self.samples = self.counts.iter().sum();
            }
        }
    }

    fn percentile_95(&self) -> Duration {
        let rank = u64::from(self.samples) * 95 / 100;
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += u64::from(*count);
            if seen > rank {
                return end_of(bucket);
            }
        }
        DELAY_MAX
    }
}

/// The bucket of a latency: its power of two, and the two bits below the highest.
fn bucket_of(took: Duration) -> usize {
    let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).max(4);
    let power = us.ilog2();
    let quarter = (us >> (power - 2)) & 3;
    (power as usize * 4 + quarter as usize - 8).min(BUCKETS - 1)
}

/// Where a bucket ends.
fn end_of(bucket: usize) -> Duration {
    let (power, quarter) = (bucket / 4 + 2, bucket as u64 % 4);
    Duration::from_micros((5 + quarter) << (power - 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fed(latencies_ms: impl Iterator<Item = u64>) -> Hedging {
        let mut hedging = Hedging::default();
        for ms in latencies_ms {
            hedging.sample(Duration::from_millis(ms));
        }
        hedging
    }

    #[test]
    fn every_latency_lies_below_the_end_of_its_bucket_and_not_far() {
        for us in (4..100_000).step_by(7) {
            let took = Duration::from_micros(us);
            let end = end_of(bucket_of(took));
            assert!(
                took < end && end <= took * 5 / 4 + Duration::from_micros(1),
                "{us}"
            );
        }
    }

    #[test]
    fn the_delay_follows_the_slow_twentieth() {
        let mut hedging = fed((0..1_000).map(|n| if n % 100 < 90 { 2 } else { 40 }));
        let delay = hedging.begin();
        assert!((40..=50).contains(&delay.as_millis()), "{delay:?}");
        let mut hedging = fed((0..1_000).map(|n| if n % 100 < 98 { 2 } else { 40 }));
        let delay = hedging.begin();
        assert!((2..=3).contains(&delay.as_millis()), "{delay:?}");
    }

    #[test]
    fn the_delay_adapts_to_a_network_that_became_slower() {
        let mut hedging = fed((0..10_000).map(|_| 1).chain((0..5_000).map(|_| 30)));
        assert!(hedging.begin() >= Duration::from_millis(30));
    }

    #[test]
    fn few_samples_decide_nothing() {
        assert_eq!(fed([1; 10].into_iter()).begin(), DELAY_INITIAL);
    }

    #[test]
    fn hedges_are_at_most_a_tenth_of_the_reads_in_the_long_run() {
        let mut hedging = Hedging::default();
        let mut hedges = 0;
        for _ in 0..1_000 {
            hedging.begin();
            hedges += u32::from(hedging.spend());
        }
        assert!((100..=110).contains(&hedges), "{hedges}");
    }
}
