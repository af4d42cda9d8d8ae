//! How stale reads are: measured, and as it would be expected of quorums.
//!
//! Measured on numbers that only grow (`max`), each written by one client after the other: a read that began
//! at time s and shows v has missed every greater number acknowledged before s. The oldest of these says how
//! stale it is. *t-visibility* is the share of reads that miss a write acknowledged t before.
//!
//! Expected: *Probabilistically bounded staleness for practical partial quorums* (VLDB 2012), section 4. A write
//! reaches each of N owners after W_i and is acknowledged A_i later; a read reaches it after R_i and is answered
//! S_i later. Each of the four is drawn as half of a measured round trip between nodes.

use std::collections::BTreeMap;

use dunlin_history::{Action, Found, Op, Outcome};
use fastrand::Rng;
use serde::Serialize;

/// Draws for the expected curve.
const DRAWS: u32 = 20_000;
/// The times of the curve, in microseconds.
const TIMES_US: [u64; 15] = [
    0, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000, 500_000,
    1_000_000, 5_000_000,
];

/// What was written to and read of the numbers.
#[derive(Debug, Default)]
pub(crate) struct Staleness {
    /// By key: each number with when it was acknowledged, and sent.
    writes: BTreeMap<String, Vec<(i64, u64)>>,
    /// By key: what reads showed, and when they began.
    reads: BTreeMap<String, Vec<(Option<i64>, u64)>>,
}

/// One point of the curve.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Visibility {
    pub(crate) after_us: u64,
    /// The share of reads that missed a write acknowledged so long before.
    pub(crate) missed: f64,
    /// The share that is expected.
    pub(crate) expected: f64,
}

/// N, R and W, and what a round trip between nodes takes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Expectation {
    pub(crate) owners: usize,
    pub(crate) r: usize,
    pub(crate) w: usize,
    /// In microseconds: the usual one, and the 99th percentile.
    pub(crate) rtt_us: (u64, u64),
}

impl Staleness {
    /// Enters an operation, if it is about such a number.
    pub(crate) fn add(&mut self, op: &Op) {
        match (&op.action, &op.outcome) {
            (Action::Observe(number), Outcome::Done) => {
                let writes = self.writes.entry(op.key.clone()).or_default();
                writes.push((*number, op.end_us));
            }
            (Action::Read, Outcome::Read(Found::Number(number))) if !op.settled => {
                let reads = self.reads.entry(op.key.clone()).or_default();
                reads.push((*number, op.start_us));
            }
            _ => {}
        }
    }

    /// How long before each read the oldest write was acknowledged that it missed; `None` if it missed none.
    fn ages(&self) -> Vec<Option<u64>> {
        let mut ages = Vec::new();
        for (key, reads) in &self.reads {
            let mut writes = self.writes.get(key).cloned().unwrap_or_default();
            // The earliest acknowledgement of a number at least as great.
            writes.sort_unstable();
            let mut earliest = u64::MAX;
            for (_, acknowledged) in writes.iter_mut().rev() {
                earliest = earliest.min(*acknowledged);
                *acknowledged = earliest;
            }
            for (shown, start) in reads {
                let missed = writes.partition_point(|(number, _)| Some(*number) <= *shown);
                let oldest = writes.get(missed).map(|(_, acknowledged)| *acknowledged);
                ages.push(
                    oldest
                        .and_then(|at| start.checked_sub(at))
                        .filter(|age| *age > 0),
                );
            }
        }
        ages
    }

    /// How many reads were looked at.
    pub(crate) fn reads(&self) -> usize {
        self.reads.values().map(Vec::len).sum()
    }

    /// The curve; empty if nothing was read.
    pub(crate) fn curve(&self, expectation: Expectation) -> Vec<Visibility> {
        let ages = self.ages();
        if ages.is_empty() {
            return Vec::new();
        }
        let drawn = expectation.draw();
        let share = |of: usize, all: usize| of as f64 / all.max(1) as f64;
        let point = |after_us: u64| {
            let missed = ages.iter().flatten().filter(|age| **age > after_us).count();
            let expected = drawn
                .iter()
                .filter(|stale| **stale > after_us as f64)
                .count();
            Visibility {
                after_us,
                missed: share(missed, ages.len()),
                expected: share(expected, drawn.len()),
            }
        };
        TIMES_US.map(point).to_vec()
    }
}

impl Expectation {
    /// Until when after its acknowledgement a read would miss a write, drawn again and again.
    fn draw(self) -> Vec<f64> {
        let mut rng = Rng::with_seed(1);
        let n = self.owners.max(1);
        let (r, w) = (self.r.clamp(1, n), self.w.clamp(1, n));
        let mut drawn = Vec::with_capacity(DRAWS as usize);
        for _ in 0..DRAWS {
            let mut arrives = Vec::with_capacity(n);
            let mut acknowledged = Vec::with_capacity(n);
            let mut reads = Vec::with_capacity(n);
            for _ in 0..n {
                let arrival = self.way(&mut rng);
                arrives.push(arrival);
                acknowledged.push(arrival + self.way(&mut rng));
                let asked = self.way(&mut rng);
                reads.push((asked + self.way(&mut rng), asked));
            }
            acknowledged.sort_by(f64::total_cmp);
            let at = acknowledged.get(w - 1).copied().unwrap_or(0.0);
            let mut order: Vec<usize> = (0..n).collect();
            order.sort_by(|a, b| match (reads.get(*a), reads.get(*b)) {
                (Some(a), Some(b)) => a.0.total_cmp(&b.0),
                _ => std::cmp::Ordering::Equal,
            });
            // The read is fresh if one of the first R owners had the write when it was asked.
            let first = order.iter().take(r);
            let late =
                first.filter_map(|owner| Some(arrives.get(*owner)? - at - reads.get(*owner)?.1));
            drawn.push(late.fold(f64::INFINITY, f64::min));
        }
        drawn
    }

    /// One way between two nodes: half a round trip, from a lognormal with the measured median and 99th percentile.
    fn way(self, rng: &mut Rng) -> f64 {
        let (usual, p99) = (self.rtt_us.0.max(1) as f64, self.rtt_us.1.max(1) as f64);
        // The 99th percentile lies 2.326 standard deviations above the median.
        let sigma = (p99.max(usual) / usual).ln() / 2.326;
        let (u, v) = (rng.f64().max(f64::MIN_POSITIVE), rng.f64());
        let normal = (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos();
        usual / 2.0 * (sigma * normal).exp()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RTT: (u64, u64) = (1_000, 5_000);

    fn staleness(writes: &[(i64, u64)], reads: &[(Option<i64>, u64)]) -> Staleness {
        let key = "k".to_owned();
        Staleness {
            writes: [(key.clone(), writes.to_vec())].into(),
            reads: [(key, reads.to_vec())].into(),
        }
    }

    #[test]
    fn a_read_is_as_stale_as_the_oldest_write_that_it_missed() {
        let writes = [(1, 100), (2, 200), (3, 300)];
        let reads = [
            (Some(3), 1_000),
            (Some(1), 1_000),
            (None, 150),
            (Some(2), 250),
        ];
        let ages = staleness(&writes, &reads).ages();
        assert_eq!(ages, [None, Some(800), Some(50), None]);
    }

    #[test]
    fn a_greater_number_that_was_acknowledged_earlier_counts_for_the_lesser_one() {
        let ages = staleness(&[(1, 500), (2, 100)], &[(None, 300)]).ages();
        assert_eq!(ages, [Some(200)]);
    }

    #[test]
    fn overlapping_quorums_are_expected_to_be_fresh_and_single_owners_are_not() {
        let expect = |r, w| {
            let expectation = Expectation {
                owners: 3,
                r,
                w,
                rtt_us: RTT,
            };
            let drawn = expectation.draw();
            drawn.iter().filter(|stale| **stale > 0.0).count() as f64 / drawn.len() as f64
        };
        assert_eq!(expect(2, 2), 0.0);
        assert_eq!(expect(3, 1), 0.0);
        assert!(expect(1, 1) > 0.02);
        assert!(expect(1, 1) > expect(1, 2));
    }
}
