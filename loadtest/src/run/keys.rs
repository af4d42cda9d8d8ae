//! Which keys are asked for. Nothing here grows with the number of keys.
//!
//! Zipfian ranks come from rejection sampling, exact and without a sum over all keys (`rand_distr`), and go
//! to keys by a [`Permutation`]. Keys that are inserted get numbers above those that were loaded; of
//! several processes each has its own.

use std::collections::BTreeSet;
use std::str::FromStr;
use std::sync::Mutex;

use fastrand::Rng;
use rand_distr::{Distribution as _, Zipf};
use serde::{Deserialize, Serialize};

use super::permutation::Permutation;
use crate::load::{Random, lock};

/// The exponent that YCSB has.
pub(crate) const THETA: f64 = 0.99;

/// How requests are spread over keys.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Spread {
    /// The i-th most wanted key is asked for in proportion to `1 / i^theta`.
    Zipfian { theta: f64 },
    /// All alike.
    Uniform,
    /// As zipfian, the newest first.
    Latest { theta: f64 },
    /// A share of the requests goes to a few keys, evenly; the rest to the others, evenly.
    Hot { share: f64, keys: u64 },
}

impl FromStr for Spread {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, parameter) = match text.split_once(':') {
            Some((name, parameter)) => (name, Some(parameter)),
            None => (text, None),
        };
        let theta = || match parameter.map_or(Ok(THETA), str::parse) {
            Ok(theta) if (0.0..=5.0).contains(&theta) => Ok(theta),
            _ => Err(format!("{text}: the exponent is a number from 0 to 5")),
        };
        match name {
            "zipfian" => Ok(Self::Zipfian { theta: theta()? }),
            "latest" => Ok(Self::Latest { theta: theta()? }),
            "uniform" if parameter.is_none() => Ok(Self::Uniform),
            _ => Err("write zipfian, zipfian:0.8, uniform, latest or latest:0.8".to_owned()),
        }
    }
}

/// Parses `SHARE:KEYS`, such as `0.9:10`.
pub(crate) fn hot(text: &str) -> Result<Spread, String> {
    let parsed = text
        .split_once(':')
        .and_then(|(share, keys)| Some((share.parse::<f64>().ok()?, keys.parse::<u64>().ok()?)));
    match parsed {
        Some((share, _)) if !(0.0..=1.0).contains(&share) => Err(format!(
            "{share} is no share: it lies between 0 and 1, such as 0.9"
        )),
        Some((_, 0)) => Err("there must be a hot key at least".to_owned()),
        Some((share, keys)) => Ok(Spread::Hot { share, keys }),
        None => {
            Err("write the share of requests and the number of keys, such as 0.9:10".to_owned())
        }
    }
}

/// Draws keys, as numbers.
#[derive(Debug)]
pub(crate) struct Keys {
    spread: Spread,
    loaded: u64,
    places: Permutation,
    zipf: Option<Zipf<f64>>,
    inserts: Inserts,
}

impl Keys {
    /// `loaded` of them, at least one, exist; `inserts` says which come after.
    pub(crate) fn new(spread: Spread, loaded: u64, inserts: Inserts) -> Self {
        let zipf = match spread {
            Spread::Zipfian { theta } => Zipf::new(loaded as f64, theta).ok(),
            Spread::Uniform | Spread::Latest { .. } | Spread::Hot { .. } => None,
        };
        Self {
            spread,
            loaded,
            places: Permutation::of(loaded),
            zipf,
            inserts,
        }
    }

    /// One that exists.
    pub(crate) fn draw(&self, rng: &mut Rng) -> u64 {
        match self.spread {
            Spread::Uniform => rng.u64(..self.loaded.max(1)),
            Spread::Zipfian { .. } => {
                let rank = self.zipf.map_or(0, |zipf| rank(&zipf, rng));
                self.places.place(rank.min(self.loaded.saturating_sub(1)))
            }
            Spread::Hot { share, keys } => {
                let hot = keys.min(self.loaded);
                let is_hot = hot == self.loaded || rng.f64() < share;
                self.places.place(match is_hot {
                    true => rng.u64(..hot.max(1)),
                    false => rng.u64(hot..self.loaded),
                })
            }
            Spread::Latest { theta } => {
                let inserted = self.inserts.inserted();
                let all = self.loaded + inserted;
                // Making one costs two powers, and it is to know the newest.
                let rank = Zipf::new(all as f64, theta).map_or(0, |zipf| rank(&zipf, rng));
                let newest = all.saturating_sub(1);
                self.number(newest.saturating_sub(rank))
            }
        }
    }

    /// The next key to be inserted, as its place among the inserted, and as its number.
    pub(crate) fn next_insert(&self) -> (u64, u64) {
        let at = self.inserts.begin();
        (at, self.number(self.loaded + at))
    }

    /// It was inserted, or never will be.
    pub(crate) fn insert_ended(&self, at: u64) {
        self.inserts.end(at);
    }

    /// The number of the key that came as the `ordinal`-th, as this process sees it.
    fn number(&self, ordinal: u64) -> u64 {
        match ordinal.checked_sub(self.loaded) {
            None => ordinal,
            Some(at) => self.loaded + self.inserts.first + at * self.inserts.step,
        }
    }
}

fn rank(zipf: &Zipf<f64>, rng: &mut Rng) -> u64 {
    // The distribution takes the generator by another name; forking keeps the caller's going.
    let rank = zipf.sample(&mut Random(rng.fork()));
    (rank as u64).saturating_sub(1)
}

/// What this process inserts: every so many-th number, and how far it is.
#[derive(Debug)]
pub(crate) struct Inserts {
    first: u64,
    step: u64,
    progress: Mutex<Progress>,
}

impl Inserts {
    /// Those of process `first`, from 0, of `step`.
    pub(crate) fn new(first: u64, step: u64) -> Self {
        Self {
            first,
            step,
            progress: Mutex::default(),
        }
    }

    fn inserted(&self) -> u64 {
        lock(&self.progress).ended()
    }

    fn begin(&self) -> u64 {
        lock(&self.progress).begin()
    }

    fn end(&self, at: u64) {
        lock(&self.progress).end(at);
    }
}

/// Things that begin in order, and end in any.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    begun: u64,
    under_way: BTreeSet<u64>,
}

impl Progress {
    pub(crate) fn begin(&mut self) -> u64 {
        let at = self.begun;
        self.begun += 1;
        self.under_way.insert(at);
        at
    }

    /// The `at`-th has begun, for the first time or again.
    pub(crate) fn begin_at(&mut self, at: u64) {
        self.begun = self.begun.max(at + 1);
        self.under_way.insert(at);
    }

    pub(crate) fn end(&mut self, at: u64) {
        self.under_way.remove(&at);
    }

    /// How many have ended without a gap.
    pub(crate) fn ended(&self) -> u64 {
        self.under_way.first().copied().unwrap_or(self.begun)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DRAWS: u64 = 200_000;

    fn alone() -> Inserts {
        Inserts::new(0, 1)
    }

    /// How often each number below `keys` was drawn.
    fn drawn(keys: &Keys, count: u64) -> Vec<f64> {
        let (mut counts, mut rng) = (vec![0.0; count as usize], Rng::with_seed(5));
        for _ in 0..DRAWS {
            counts[keys.draw(&mut rng) as usize] += 1.0;
        }
        counts
    }

    /// Pearson's chi-square of what was drawn against what was to be expected.
    fn chi_square(drawn: &[f64], probabilities: &[f64]) -> f64 {
        let terms = drawn.iter().zip(probabilities);
        terms
            .map(|(drawn, p)| (drawn - p * DRAWS as f64).powi(2) / (p * DRAWS as f64))
            .sum()
    }

    /// What a sound generator exceeds once in a million seeds: Wilson and Hilferty's approximation.
    fn chi_square_max(degrees: f64) -> f64 {
        let ninth = 2.0 / (9.0 * degrees);
        degrees * (1.0 - ninth + 4.76 * ninth.sqrt()).powi(3)
    }

    fn zipfian(keys: u64, theta: f64) -> Vec<f64> {
        let weights: Vec<f64> = (1..=keys).map(|i| (i as f64).powf(-theta)).collect();
        let sum: f64 = weights.iter().sum();
        weights.into_iter().map(|weight| weight / sum).collect()
    }

    #[test]
    fn zipfian_keys_are_as_frequent_as_their_ranks_say() {
        for theta in [0.5, 0.99, 1.0, 1.4] {
            let keys = Keys::new(Spread::Zipfian { theta }, 1_000, alone());
            let drawn = drawn(&keys, 1_000);
            let places = Permutation::of(1_000);
            let by_rank: Vec<f64> = (0..1_000)
                .map(|n| drawn[places.place(n) as usize])
                .collect();
            let (exact, most) = (zipfian(1_000, theta), chi_square_max(999.0));
            let found = chi_square(&by_rank, &exact);
            assert!(found < most, "theta {theta}: {found} > {most}");
            for rank in 0..3 {
                let share = by_rank[rank] / DRAWS as f64;
                let deviation = (exact[rank] / DRAWS as f64).sqrt();
                assert!(
                    (share - exact[rank]).abs() < 5.0 * deviation,
                    "{theta}, {rank}"
                );
            }
        }
    }

    #[test]
    fn of_a_hundred_million_keys_the_first_has_its_share() {
        let keys = Keys::new(Spread::Zipfian { theta: THETA }, 100_000_000, alone());
        let first = Permutation::of(100_000_000).place(0);
        let mut rng = Rng::with_seed(3);
        let hits = (0..DRAWS).filter(|_| keys.draw(&mut rng) == first).count() as f64;
        // The sum of i^-0.99 up to 10^8, by Euler and Maclaurin: 20.80 (to three digits).
        let expected = DRAWS as f64 / 20.80;
        assert!((hits - expected).abs() < 5.0 * expected.sqrt(), "{hits}");
    }

    #[test]
    fn uniform_keys_are_alike() {
        let keys = Keys::new(Spread::Uniform, 500, alone());
        let found = chi_square(&drawn(&keys, 500), &[1.0 / 500.0; 500]);
        assert!(found < chi_square_max(499.0), "{found}");
    }

    #[test]
    fn hot_keys_get_their_share_and_the_others_the_rest() {
        let spread = hot("0.9:10").unwrap();
        let mut counts = drawn(&Keys::new(spread, 1_000, alone()), 1_000);
        let places = Permutation::of(1_000);
        let hot: f64 = (0..10).map(|n| counts[places.place(n) as usize]).sum();
        assert!((hot / DRAWS as f64 - 0.9).abs() < 0.005);
        counts.sort_by(f64::total_cmp);
        assert!(counts[0] > 0.0, "cold keys are asked for");
        assert!(counts[989] < 60.0 && counts[990] > 15_000.0, "{counts:?}");
    }

    #[test]
    fn the_latest_key_is_the_most_wanted_as_soon_as_it_exists() {
        let keys = Keys::new(Spread::Latest { theta: THETA }, 1_000, Inserts::new(2, 3));
        let mut rng = Rng::with_seed(9);
        let mut most = |keys: &Keys| {
            let mut counts = std::collections::BTreeMap::new();
            for _ in 0..2_000 {
                *counts.entry(keys.draw(&mut rng)).or_insert(0) += 1;
            }
            counts
                .into_iter()
                .max_by_key(|(_, n)| *n)
                .map(|(key, _)| key)
        };
        assert_eq!(most(&keys), Some(999));
        let (first, number) = keys.next_insert();
        let (second, other) = keys.next_insert();
        assert_eq!(
            (number, other),
            (1_002, 1_005),
            "disjoint from two other processes"
        );
        keys.insert_ended(second);
        assert_eq!(most(&keys), Some(999), "the first is still under way");
        keys.insert_ended(first);
        assert_eq!(most(&keys), Some(1_005));
    }

    #[test]
    fn shares_and_exponents_out_of_range_are_refused() {
        assert!(hot("1.1:10").is_err() && hot("0.5:0").is_err() && hot("9").is_err());
        assert!("zipfian:-1".parse::<Spread>().is_err());
        assert!("uniform:3".parse::<Spread>().is_err());
        assert_eq!("latest".parse(), Ok(Spread::Latest { theta: THETA }));
    }
}
