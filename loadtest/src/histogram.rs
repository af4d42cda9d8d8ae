//! Latencies, as HdrHistogram counts them: three digits hold, from a microsecond to hours.
//!
//! What is told of a percentile is the upper end of the range that it falls into, so never too low, and at
//! most a thousandth too high. In JSON a histogram is its V2 encoding, which is how processes hand it on.

use std::time::Duration;

use hdrhistogram::serialization::{Deserializer, Serializer as _, V2Serializer};
use serde::{Deserialize, Deserializer as Input, Serialize, Serializer as Output, de, ser};

/// Steps of counts for each power of ten.
const DIGITS: u8 = 3;
/// No request is faster, so nothing finer is kept.
const LOWEST_NS: u64 = 1_000;
/// What a new one has room for; it grows with what is recorded.
const ROOM_NS: u64 = 1_000_000;

/// How often which latency occurred.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Histogram(hdrhistogram::Histogram<u64>);

impl Default for Histogram {
    #[expect(
        clippy::expect_used,
        reason = "the bounds are constants, and a test makes one"
    )]
    fn default() -> Self {
        let mut counts = hdrhistogram::Histogram::new_with_bounds(LOWEST_NS, ROOM_NS, DIGITS)
            .expect("the bounds are right");
        counts.auto(true);
        Self(counts)
    }
}

impl Histogram {
    /// It took so long, once.
    pub(crate) fn record(&mut self, latency: Duration) {
        let nanos = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        // It grows to any number; what does not fit even so counts as the longest that does.
        if self.0.record(nanos).is_err() {
            self.0.saturating_record(nanos);
        }
    }

    /// Adds what another one counted.
    pub(crate) fn merge(&mut self, other: &Self) {
        // Growing can't fail: both have the same lowest value and digits.
        let added = self.0.add(&other.0);
        debug_assert!(added.is_ok(), "{added:?}");
    }

    /// How many were recorded.
    pub(crate) fn count(&self) -> u64 {
        self.0.len()
    }

    /// The longest.
    pub(crate) fn max(&self) -> Duration {
        Duration::from_nanos(self.0.max())
    }

    /// The mean; zero if there are none.
    pub(crate) fn mean(&self) -> Duration {
        Duration::from_nanos(self.0.mean() as u64)
    }

    /// At least this share of all, in tenths of a percent, took no longer. Zero if there are none.
    pub(crate) fn per_mille(&self, share: u64) -> Duration {
        let nanos = self.0.value_at_quantile(share as f64 / 1000.0);
        Duration::from_nanos(nanos.min(self.0.max()))
    }

    /// The counts themselves, for a log.
    pub(crate) fn counts(&self) -> &hdrhistogram::Histogram<u64> {
        &self.0
    }
}

impl Serialize for Histogram {
    fn serialize<S: Output>(&self, output: S) -> Result<S::Ok, S::Error> {
        let mut bytes = Vec::new();
        let encoded = V2Serializer::new().serialize(&self.0, &mut bytes);
        encoded.map_err(|error| ser::Error::custom(format!("{error:?}")))?;
        bytes.serialize(output)
    }
}

impl<'a> Deserialize<'a> for Histogram {
    fn deserialize<D: Input<'a>>(input: D) -> Result<Self, D::Error> {
        let bytes = Vec::<u8>::deserialize(input)?;
        let counts = Deserializer::new().deserialize(&mut bytes.as_slice());
        let counts = counts.map_err(|error| de::Error::custom(format!("{error:?}")))?;
        let mut histogram = Self::default();
        match histogram.0.add(counts) {
            Ok(()) => Ok(histogram),
            Err(error) => Err(de::Error::custom(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_of_a_thousand_steps_are_the_steps() {
        let mut latencies = Histogram::default();
        for micros in (1..=1000).rev() {
            latencies.record(Duration::from_micros(micros));
        }
        for (share, micros) in [(500, 500.0), (990, 990.0), (999, 999.0), (1000, 1000.0)] {
            let told = latencies.per_mille(share).as_secs_f64() * 1e6;
            assert!((micros..micros + 1.1).contains(&told), "{share}: {told}");
        }
    }

    #[test]
    fn three_digits_hold_from_microseconds_to_hours() {
        for micros in [15, 200, 9_999, 123_456, 5_000_000, 7_200_000_000] {
            let mut latencies = Histogram::default();
            latencies.record(Duration::from_micros(micros));
            let told = latencies.per_mille(1000).as_secs_f64() * 1e6;
            let bound = (micros as f64 / 1000.0).max(0.6);
            assert!((told - micros as f64).abs() <= bound, "{micros}: {told}");
        }
    }

    #[test]
    fn merging_what_other_processes_say_is_recording_all_of_it() {
        let mut parts = vec![Histogram::default(); 3];
        let mut all = Histogram::default();
        for nanos in 0..10_000u64 {
            let latency = Duration::from_nanos(nanos * nanos * 7);
            if let Some(part) = parts.get_mut(nanos as usize % 3) {
                part.record(latency);
            }
            all.record(latency);
        }
        let mut merged = Histogram::default();
        for part in &parts {
            let said = serde_json::to_string(part).unwrap();
            merged.merge(&serde_json::from_str(&said).unwrap());
        }
        assert_eq!(merged, all);
        assert_eq!(merged.count(), 10_000);
    }

    #[test]
    fn nothing_recorded_took_no_time() {
        assert_eq!(Histogram::default().per_mille(999), Duration::ZERO);
    }
}
