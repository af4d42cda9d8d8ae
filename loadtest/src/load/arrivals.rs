//! When requests are due, at a rate that nobody's answers change.

use std::time::Duration;

use clap::ValueEnum;
use fastrand::Rng;
use rand_distr::{Distribution, Exp1};
use serde::{Deserialize, Serialize};

use super::random::Random;

/// How arrivals are spread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Spread {
    /// As many independent users make them: gaps are exponential, and sometimes many come at once
    Poisson,
    /// One every so often
    Even,
}

/// The moments at which requests are due, from the start; without end.
#[derive(Debug)]
pub(crate) struct Arrivals {
    spread: Spread,
    mean_s: f64,
    at_s: f64,
    random: Random,
}

impl Arrivals {
    /// `per_second` of them. The first is due within one gap, so that many such in step do not all
    /// begin with a request.
    pub(crate) fn new(per_second: f64, spread: Spread, seed: u64) -> Self {
        let mean_s = 1.0 / per_second;
        let mut rng = Rng::with_seed(seed);
        Self {
            spread,
            mean_s,
            at_s: match spread {
                Spread::Poisson => 0.0,
                Spread::Even => -rng.f64() * mean_s,
            },
            random: Random(rng),
        }
    }
}

impl Iterator for Arrivals {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let gap: f64 = match self.spread {
            Spread::Poisson => Exp1.sample(&mut self.random),
            Spread::Even => 1.0,
        };
        self.at_s += gap * self.mean_s;
        Duration::try_from_secs_f64(self.at_s).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn within_a_minute(spread: Spread, seed: u64) -> Vec<f64> {
        let arrivals = Arrivals::new(500.0, spread, seed).map(|at| at.as_secs_f64());
        arrivals.take_while(|at| *at < 60.0).collect()
    }

    #[test]
    fn both_keep_the_rate() {
        for seed in 1..5 {
            assert_eq!(within_a_minute(Spread::Even, seed).len(), 30_000);
            // The count has a deviation of 173; five of them.
            let drawn = within_a_minute(Spread::Poisson, seed).len() as f64;
            assert!((drawn - 30_000.0).abs() < 870.0, "{drawn}");
        }
    }

    #[test]
    fn poisson_counts_vary_as_much_as_they_should_and_even_ones_do_not() {
        let variance = |spread| {
            let mut counts = vec![0.0; 600];
            for at in within_a_minute(spread, 7) {
                counts[(at * 10.0) as usize] += 1.0;
            }
            let mean = counts.iter().sum::<f64>() / 600.0;
            counts.iter().map(|n| (n - mean).powi(2)).sum::<f64>() / 600.0 / mean
        };
        let poisson = variance(Spread::Poisson);
        assert!((0.75..1.25).contains(&poisson), "{poisson}");
        assert!(variance(Spread::Even) < 0.01);
    }
}
