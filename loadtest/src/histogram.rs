//! Latencies, counted in buckets that are at most one part in 64 wide.
//!
//! ```text
//!   nanoseconds   0 .. 127      each a bucket of its own
//!                 128 .. 255    64 buckets of 2
//!                 256 .. 511    64 buckets of 4          … up to 2^64
//! ```
//!
//! A percentile is the upper end of the bucket that it falls into, so it is never told too low, and at
//! most 1.6 % too high. Source of the layout: Gil Tene's HdrHistogram.

use std::time::Duration;

/// Buckets to each power of two.
const STEPS: u64 = 64;
/// Its logarithm.
const STEP_BITS: u32 = STEPS.trailing_zeros();
/// Enough for every u64.
const BUCKETS: usize = (STEPS as usize) * (u64::BITS - STEP_BITS + 1) as usize;

/// How often which latency occurred.
#[derive(Clone, Debug)]
pub(crate) struct Histogram {
    counts: Box<[u64]>,
    count: u64,
    max: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            counts: vec![0; BUCKETS].into_boxed_slice(),
            count: 0,
            max: 0,
        }
    }
}

impl Histogram {
    /// It took so long, once.
    pub(crate) fn record(&mut self, latency: Duration) {
        let nanos = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        if let Some(count) = self.counts.get_mut(bucket_of(nanos)) {
            *count += 1;
            self.count += 1;
            self.max = self.max.max(nanos);
        }
    }

    /// Adds what another one counted.
    pub(crate) fn merge(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
        self.count += other.count;
        self.max = self.max.max(other.max);
    }

    /// How many were recorded.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// The longest, exactly.
    pub(crate) fn max(&self) -> Duration {
        Duration::from_nanos(self.max)
    }

    /// At least this share of all, in tenths of a percent, took no longer. Zero if there are none.
    pub(crate) fn per_mille(&self, share: u64) -> Duration {
        let rank = (self.count * share).div_ceil(1000).max(1);
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return Duration::from_nanos(highest_of(bucket).min(self.max));
            }
        }
        Duration::ZERO
    }
}

fn bucket_of(nanos: u64) -> usize {
    let magnitude = (u64::BITS - nanos.leading_zeros()).saturating_sub(STEP_BITS + 1);
    // Below 2 * STEPS the magnitude is nothing and the value is its own bucket.
    let within = nanos >> magnitude;
    (u64::from(magnitude) * STEPS + within) as usize
}

fn highest_of(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < 2 * STEPS {
        return bucket;
    }
    let magnitude = bucket / STEPS - 1;
    let within = bucket - magnitude * STEPS;
    // The last bucket of all ends where u64 does.
    (((u128::from(within) + 1) << magnitude) - 1).min(u128::from(u64::MAX)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_lies_in_its_bucket_and_buckets_are_narrow() {
        let mut rng = fastrand::Rng::with_seed(7);
        let edges = [0, 1, 127, 128, 129, 255, 256, u64::MAX - 1, u64::MAX];
        let drawn = (0..20_000).map(|_| rng.u64(..) >> rng.u32(0..64));
        for nanos in edges.into_iter().chain(drawn) {
            let bucket = bucket_of(nanos);
            assert!(bucket < BUCKETS, "{nanos} is in bucket {bucket}");
            let highest = highest_of(bucket);
            assert!(
                highest >= nanos,
                "{nanos} is above its bucket's end, {highest}"
            );
            assert!(
                highest - nanos <= nanos / 64,
                "{nanos} is told as {highest}"
            );
            let lower = bucket.checked_sub(1).map(highest_of);
            assert!(
                lower.is_none_or(|lower| lower < nanos),
                "{nanos} fits a lower bucket"
            );
        }
    }

    #[test]
    fn percentiles_of_a_thousand_steps_are_the_steps() {
        let mut latencies = Histogram::default();
        for micros in (1..=1000).rev() {
            latencies.record(Duration::from_micros(micros));
        }
        for (share, micros) in [(500, 500.0), (990, 990.0), (999, 999.0), (1000, 1000.0)] {
            let told = latencies.per_mille(share).as_secs_f64() * 1e6;
            assert!((micros..micros * 1.016).contains(&told), "{share}: {told}");
        }
        assert_eq!(latencies.max(), Duration::from_micros(1000));
    }

    #[test]
    fn merging_is_recording_both() {
        let (mut left, mut right, mut both) = <(Histogram, Histogram, Histogram)>::default();
        for nanos in 0..10_000u64 {
            let half = if nanos % 3 == 0 {
                &mut left
            } else {
                &mut right
            };
            half.record(Duration::from_nanos(nanos * nanos));
            both.record(Duration::from_nanos(nanos * nanos));
        }
        left.merge(&right);
        assert_eq!(left.counts, both.counts);
        assert_eq!((left.count(), left.max()), (10_000, both.max()));
    }

    #[test]
    fn nothing_recorded_took_no_time() {
        assert_eq!(Histogram::default().per_mille(999), Duration::ZERO);
    }
}
