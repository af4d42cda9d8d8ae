//! Values: how large, and of what.
//!
//! Contents are pieces of one stretch of random bytes, so that nothing can be compressed and no value costs
//! more than a reference. It is long enough that values near each other in a table seldom overlap.

use std::str::FromStr;

use dunlin_client::Bytes;
use dunlin_protocol::limits::VALUE_BYTES_MAX;
use fastrand::Rng;
use rand_distr::{Distribution as _, LogNormal};
use serde::{Deserialize, Serialize};

use crate::load::Random;

/// Random bytes beyond the largest value.
const SPARE_BYTES: usize = 16 << 20;

/// How large values are, in bytes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Sizes {
    /// All alike.
    Fixed(usize),
    /// Any from the first to the second, alike.
    Uniform(usize, usize),
    /// Half are smaller than the median; the logarithms have this deviation. None exceeds the largest
    /// value that nodes take.
    LogNormal { median: f64, sigma: f64 },
    /// Each with its share.
    Mix(Vec<(usize, f64)>),
}

impl FromStr for Sizes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, rest) = text.split_once(':').unwrap_or(("", text));
        match name {
            "" => Ok(Self::Fixed(size(rest)?)),
            "uniform" => match rest.split_once("..") {
                Some((low, high)) if size(low)? <= size(high)? => {
                    Ok(Self::Uniform(size(low)?, size(high)?))
                }
                _ => Err(format!(
                    "{text}: write the smaller and the larger, such as uniform:100..10k"
                )),
            },
            "lognormal" => {
                let parsed = rest.split_once(',');
                let sigma = parsed.and_then(|(_, sigma)| sigma.parse::<f64>().ok());
                match (parsed, sigma) {
                    (Some((median, _)), Some(sigma)) if (0.0..=10.0).contains(&sigma) => {
                        let median = size(median)? as f64;
                        Ok(Self::LogNormal { median, sigma })
                    }
                    _ => Err(format!(
                        "{text}: write the median and the deviation of the logarithm, such as lognormal:1k,0.8"
                    )),
                }
            }
            "mix" => {
                let one = |part: &str| -> Result<(usize, f64), String> {
                    let parsed = part.split_once('=');
                    let share = parsed.and_then(|(_, share)| share.parse::<f64>().ok());
                    match (parsed, share) {
                        (Some((bytes, _)), Some(share)) if share > 0.0 && share.is_finite() => {
                            Ok((size(bytes)?, share))
                        }
                        _ => Err(format!(
                            "{part}: write a size and its share, such as mix:100=0.9,64k=0.1"
                        )),
                    }
                };
                Ok(Self::Mix(
                    rest.split(',').map(one).collect::<Result<_, _>>()?,
                ))
            }
            _ => Err(format!(
                "{name}: write a size such as 1k, or uniform:100..10k, lognormal:1k,0.8 or mix:100=0.9,64k=0.1"
            )),
        }
    }
}

/// Parses `100`, `1k` (1,024 bytes) or `1m`.
fn size(text: &str) -> Result<usize, String> {
    let units = [("k", 1 << 10), ("m", 1 << 20), ("", 1)];
    let parsed = units.into_iter().find_map(|(unit, factor): (_, usize)| {
        let lower = text.to_ascii_lowercase();
        let number: usize = lower.strip_suffix(unit)?.parse().ok()?;
        number.checked_mul(factor)
    });
    match parsed {
        Some(bytes) if bytes > VALUE_BYTES_MAX => Err(format!(
            "{text}: nodes take no value of more than {VALUE_BYTES_MAX} bytes"
        )),
        Some(bytes) => Ok(bytes),
        None => Err(format!("{text:?} is no size; write bytes, or 1k, or 1m")),
    }
}

impl Sizes {
    /// The largest that may be drawn.
    pub(crate) fn largest(&self) -> usize {
        match self {
            Self::Fixed(bytes) | Self::Uniform(_, bytes) => *bytes,
            Self::LogNormal { .. } => VALUE_BYTES_MAX,
            Self::Mix(parts) => parts.iter().map(|(bytes, _)| *bytes).max().unwrap_or(0),
        }
    }

    fn draw(&self, rng: &mut Rng) -> usize {
        match self {
            Self::Fixed(bytes) => *bytes,
            Self::Uniform(low, high) => rng.usize(*low..=*high),
            Self::LogNormal { median, sigma } => {
                let distribution = LogNormal::new(median.max(1.0).ln(), *sigma);
                let bytes = distribution.map(|d| d.sample(&mut Random(rng.fork())));
                // From floating point: too large becomes the largest.
                (bytes.unwrap_or(*median) as usize).min(VALUE_BYTES_MAX)
            }
            Self::Mix(parts) => {
                let all: f64 = parts.iter().map(|(_, share)| share).sum();
                let mut at = rng.f64() * all;
                for (bytes, share) in parts {
                    at -= share;
                    if at < 0.0 {
                        return *bytes;
                    }
                }
                parts.last().map_or(0, |(bytes, _)| *bytes)
            }
        }
    }
}

/// Draws values.
#[derive(Debug)]
pub(crate) struct Values {
    sizes: Sizes,
    random: Bytes,
}

impl Values {
    pub(crate) fn new(sizes: Sizes, seed: u64) -> Self {
        let mut random = vec![0; sizes.largest() + SPARE_BYTES];
        Rng::with_seed(seed).fill(&mut random);
        Self {
            sizes,
            random: random.into(),
        }
    }

    pub(crate) fn draw(&self, rng: &mut Rng) -> Bytes {
        let size = self.sizes.draw(rng).min(self.random.len());
        let from = rng.usize(..=self.random.len() - size);
        self.random.slice(from..from + size)
    }

    /// The largest that may be drawn.
    pub(crate) fn largest(&self) -> usize {
        self.sizes.largest()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(text: &str) -> Vec<usize> {
        let (sizes, mut rng): (Sizes, _) = (text.parse().unwrap(), Rng::with_seed(2));
        (0..20_000).map(|_| sizes.draw(&mut rng)).collect()
    }

    #[test]
    fn sizes_are_drawn_as_they_are_written() {
        assert!(drawn("1k").iter().all(|bytes| *bytes == 1_024));
        let uniform = drawn("uniform:100..10k");
        assert!(uniform.iter().all(|bytes| (100..=10_240).contains(bytes)));
        let mean = uniform.iter().sum::<usize>() / uniform.len();
        assert!((5_000..5_340).contains(&mean), "{mean}");

        let mut lognormal = drawn("lognormal:1k,0.8");
        lognormal.sort_unstable();
        assert!((990..1_060).contains(&lognormal[10_000]), "the median");
        // One deviation above the median: 1024 · e^0.8.
        assert!((2_190..2_370).contains(&lognormal[16_827]));

        let mix = drawn("mix:100=0.9,64k=0.1");
        let large = mix.iter().filter(|bytes| **bytes == 65_536).count();
        assert!((1_780..2_220).contains(&large), "{large}");
        assert_eq!(
            mix.iter().filter(|bytes| **bytes == 100).count(),
            20_000 - large
        );
    }

    #[test]
    fn what_nodes_refuse_or_nobody_understands_is_refused_here() {
        for text in [
            "2m",
            "uniform:1k..2m",
            "uniform:10..5",
            "uniform:5",
            "lognormal:1k",
            "lognormal:1k,-1",
            "mix:100=0",
            "mix:100",
            "pareto:3",
            "k",
            "",
            "-1",
        ] {
            assert!(text.parse::<Sizes>().is_err(), "{text}");
        }
        assert!("2m".parse::<Sizes>().unwrap_err().contains("1048576"));
    }

    #[test]
    fn no_value_is_larger_than_nodes_take() {
        let values = Values::new("lognormal:1m,3".parse().unwrap(), 1);
        let mut rng = Rng::with_seed(4);
        let sizes: Vec<usize> = (0..2_000).map(|_| values.draw(&mut rng).len()).collect();
        assert_eq!(sizes.iter().max(), Some(&VALUE_BYTES_MAX));
        assert!(sizes.iter().any(|bytes| *bytes < VALUE_BYTES_MAX / 100));
    }
}
