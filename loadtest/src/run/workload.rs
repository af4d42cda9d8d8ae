//! What is asked for: which kind of data, and in which proportions.
//!
//! YCSB's core workloads are those of Cooper et al., "Benchmarking Cloud Serving Systems with YCSB"
//! (SoCC 2010), section 4; the others ask each kind of data what it is good at.

use clap::ValueEnum;
use dunlin_client::Kind;
use fastrand::Rng;
use serde::{Deserialize, Serialize};

use crate::load::Class;

/// A mix of requests that has a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Workload {
    /// Update heavy: half reads, half updates
    YcsbA,
    /// Read mostly: 95 % reads, 5 % updates
    YcsbB,
    /// Reads only
    YcsbC,
    /// Read latest: 95 % reads of what is new, 5 % inserts
    YcsbD,
    /// Short ranges: 95 % scans of 1 to 100 posts, 5 % inserts
    YcsbE,
    /// Half reads, half reads that are written back, with the context that was read
    YcsbF,
    /// Registers: reads, and writes that replace
    Register,
    /// Last-write-wins values: reads and writes
    Lww,
    /// Counters: reads and increments
    Counter,
    /// Sets: questions for an element; adds and removals of one
    Set,
    /// Maps: reads of a field; writes of two fields at once
    Map,
    /// All five kinds of data in turns
    Mixed,
}

impl Workload {
    /// As the command line has it.
    pub(crate) fn name(self) -> String {
        let value = self.to_possible_value();
        value.map_or(String::new(), |value| value.get_name().to_owned())
    }

    /// The kinds of data, each with a bucket of its own.
    pub(crate) fn tables(self) -> &'static [Table] {
        match self {
            Self::YcsbA | Self::YcsbB | Self::YcsbC | Self::YcsbD | Self::YcsbF => {
                &[Table::Register]
            }
            Self::YcsbE => &[Table::Threads],
            Self::Register => &[Table::Register],
            Self::Lww => &[Table::Lww],
            Self::Counter => &[Table::Counter],
            Self::Set => &[Table::Set],
            Self::Map => &[Table::Map],
            Self::Mixed => &[
                Table::Register,
                Table::Lww,
                Table::Counter,
                Table::Set,
                Table::Map,
            ],
        }
    }

    /// Its proportions, with another share of reads (or scans) if one is given.
    pub(crate) fn mix(self, reads: Option<f64>) -> Mix {
        let (ask, usual, change) = match self {
            Self::YcsbA => (Class::Read, 0.5, Class::Update),
            Self::YcsbB => (Class::Read, 0.95, Class::Update),
            Self::YcsbC => (Class::Read, 1.0, Class::Update),
            Self::YcsbD => (Class::Read, 0.95, Class::Insert),
            Self::YcsbE => (Class::Scan, 0.95, Class::Insert),
            Self::YcsbF => (Class::Read, 0.5, Class::Modify),
            Self::Register | Self::Lww | Self::Counter | Self::Set | Self::Map | Self::Mixed => {
                (Class::Read, 0.5, Class::Update)
            }
        };
        Mix {
            ask,
            share: reads.unwrap_or(usual),
            change,
        }
    }
}

/// Two kinds of requests, and the share of the first.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Mix {
    ask: Class,
    share: f64,
    change: Class,
}

impl Mix {
    pub(crate) fn draw(&self, rng: &mut Rng) -> Class {
        match rng.f64() < self.share {
            true => self.ask,
            false => self.change,
        }
    }
}

/// How data is laid out in a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Table {
    Register,
    Lww,
    Counter,
    Set,
    Map,
    /// Maps of many fields, which are read from the first on.
    Threads,
}

impl Table {
    /// The end of its bucket's name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Register => "register",
            Self::Lww => "lww",
            Self::Counter => "counter",
            Self::Set => "set",
            Self::Map => "map",
            Self::Threads => "threads",
        }
    }

    pub(crate) fn kind(self) -> Kind {
        match self {
            Self::Register => Kind::Register,
            Self::Lww => Kind::Lww,
            Self::Counter => Kind::Counter,
            Self::Set => Kind::Set,
            Self::Map | Self::Threads => Kind::Map,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proportions_are_those_of_the_paper() {
        for (workload, ask, change, share) in [
            (Workload::YcsbA, Class::Read, Class::Update, 0.5),
            (Workload::YcsbB, Class::Read, Class::Update, 0.95),
            (Workload::YcsbC, Class::Read, Class::Update, 1.0),
            (Workload::YcsbD, Class::Read, Class::Insert, 0.95),
            (Workload::YcsbE, Class::Scan, Class::Insert, 0.95),
            (Workload::YcsbF, Class::Read, Class::Modify, 0.5),
        ] {
            let mix = workload.mix(None);
            let mut rng = Rng::with_seed(11);
            let drawn: Vec<Class> = (0..20_000).map(|_| mix.draw(&mut rng)).collect();
            assert!(drawn.iter().all(|class| [ask, change].contains(class)));
            let asked = drawn.iter().filter(|class| **class == ask).count() as f64 / 20_000.0;
            // Five deviations of a half.
            assert!((asked - share).abs() < 0.018, "{workload:?}: {asked}");
        }
    }

    #[test]
    fn a_share_of_reads_that_is_given_goes_before_the_usual_one() {
        let (mix, mut rng) = (Workload::Counter.mix(Some(0.0)), Rng::with_seed(1));
        assert!((0..1000).all(|_| mix.draw(&mut rng) == Class::Update));
    }
}
