//! Faults by their numbers, as they are named on a command line: `3,7-12`.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

/// The longest range that is read; no run has as many faults.
const RANGE_MAX: u64 = 100_000;

/// Some faults, by their numbers in the order in which they are drawn.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FaultSet(BTreeSet<u64>);

impl FaultSet {
    /// Whether a fault is one of them.
    pub fn contains(&self, fault: u64) -> bool {
        self.0.contains(&fault)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The numbers, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u64> + '_ {
        self.0.iter().copied()
    }
}

impl FromIterator<u64> for FaultSet {
    fn from_iter<I: IntoIterator<Item = u64>>(numbers: I) -> Self {
        Self(numbers.into_iter().collect())
    }
}

impl FromStr for FaultSet {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut set = BTreeSet::new();
        // "none" is how an empty set is written, for a flag needs a value.
        for part in text.split(',').filter(|part| *part != "none") {
            let bad = |_| format!("{part:?} is neither a number nor a range such as 7-12");
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last): (u64, u64) =
                (first.parse().map_err(bad)?, last.parse().map_err(bad)?);
            if last.saturating_sub(first) > RANGE_MAX {
                return Err(format!("{part:?} is longer than any run"));
            }
            set.extend(first..=last);
        }
        Ok(Self(set))
    }
}

impl fmt::Display for FaultSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut ranges: Vec<(u64, u64)> = Vec::new();
        for number in self.iter() {
            match ranges.last_mut() {
                Some((_, last)) if *last + 1 == number => *last = number,
                _ => ranges.push((number, number)),
            }
        }
        if ranges.is_empty() {
            return f.write_str("none");
        }
        for (at, (first, last)) in ranges.into_iter().enumerate() {
            let comma = if at > 0 { "," } else { "" };
            match first == last {
                true => write!(f, "{comma}{first}")?,
                false => write!(f, "{comma}{first}-{last}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn set_is_written_as_it_is_read() {
        for text in ["none", "3", "3,7-12", "0-1,5"] {
            let set = text.parse::<FaultSet>();
            assert_eq!(set.map(|set| set.to_string()), Ok(text.to_owned()));
        }
        for text in ["", "x", "3-", "0-99999999"] {
            assert!(text.parse::<FaultSet>().is_err(), "{text}");
        }
    }
}
