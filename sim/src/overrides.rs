//! What a caller insists on, whatever the seed says: also the words of the command line that repeat a run.

use std::ffi::OsString;

use clap::{Args, Parser};

use crate::fault_set::FaultSet;
use crate::mutant::Mutant;

/// What a caller insists on, whatever the seed says.
#[derive(Clone, Debug, Default, Args)]
pub struct Overrides {
    /// How many nodes.
    #[arg(long)]
    pub nodes: Option<usize>,
    /// N: how many owners each key has.
    #[arg(long)]
    pub replicas: Option<u8>,
    /// Shards of each node.
    #[arg(long)]
    pub shards: Option<usize>,
    /// Q: how many partitions, a power of two.
    #[arg(long)]
    pub partitions: Option<u16>,
    /// How many clients.
    #[arg(long)]
    pub clients: Option<usize>,
    /// Milliseconds for which clients and faults are at work.
    #[arg(long)]
    pub run_ms: Option<u64>,
    /// No faults.
    #[arg(long)]
    pub calm: bool,
    /// No disk forgets what it has synced.
    #[arg(long)]
    pub faithful_disks: bool,
    /// Whether layouts change: on or off; drawn if not given.
    #[arg(long, value_parser = switch)]
    pub layouts: Option<bool>,
    /// Leave out these faults, by their numbers in the order in which they are drawn, as 3,7-12.
    #[arg(long, value_name = "NUMBERS", conflicts_with = "only_faults")]
    pub without: Option<FaultSet>,
    /// Leave out all faults but these.
    #[arg(long, value_name = "NUMBERS")]
    pub only_faults: Option<FaultSet>,
    /// Break something, to see that it is caught.
    #[arg(long)]
    pub mutant: Option<Mutant>,
}

/// A seed with its overrides, as it is written on a command line.
#[derive(Clone, Debug, Parser)]
#[command(no_binary_name = true)]
pub struct Case {
    /// The seed.
    #[arg(long)]
    pub seed: u64,
    /// What was insisted on.
    #[command(flatten)]
    pub overrides: Overrides,
}

impl Case {
    /// Reads a case from the words of a command line.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn parse<W: Into<OsString> + Clone>(
        words: impl IntoIterator<Item = W>,
    ) -> Result<Self, String> {
        Self::try_parse_from(words).map_err(|error| error.to_string())
    }

    /// The command that repeats the run.
    pub fn command(&self) -> String {
        format!("cargo run --release -p dunlin-sim -- {self}")
    }
}

impl std::fmt::Display for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "--seed {}", self.seed)?;
        for word in self.overrides.words() {
            write!(f, " {word}")?;
        }
        Ok(())
    }
}

impl Overrides {
    /// The words of a command line that insist on the same.
    pub fn words(&self) -> Vec<String> {
        let mut words = Vec::new();
        let mut add = |flag: &str, value: Option<String>| {
            if let Some(value) = value {
                words.extend([format!("--{flag}"), value]);
            }
        };
        add("nodes", self.nodes.map(|value| value.to_string()));
        add("replicas", self.replicas.map(|value| value.to_string()));
        add("shards", self.shards.map(|value| value.to_string()));
        add("partitions", self.partitions.map(|value| value.to_string()));
        add("clients", self.clients.map(|value| value.to_string()));
        add("run-ms", self.run_ms.map(|value| value.to_string()));
        let layouts = self.layouts.map(|on| if on { "on" } else { "off" });
        add("layouts", layouts.map(str::to_owned));
        add("without", self.without.as_ref().map(FaultSet::to_string));
        add(
            "only-faults",
            self.only_faults.as_ref().map(FaultSet::to_string),
        );
        add("mutant", self.mutant.map(|value| value.to_string()));
        for (flag, set) in [
            ("--calm", self.calm),
            ("--faithful-disks", self.faithful_disks),
        ] {
            words.extend(set.then(|| flag.to_owned()));
        }
        words
    }

    /// Whether the fault of this number is to happen.
    pub(crate) fn lets_happen(&self, fault: u64) -> bool {
        let left_out = self.without.as_ref().is_some_and(|set| set.contains(fault));
        let wanted = self
            .only_faults
            .as_ref()
            .is_none_or(|set| set.contains(fault));
        wanted && !left_out
    }
}

fn switch(text: &str) -> Result<bool, String> {
    match text {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err(format!("{text:?} is neither on nor off")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_reads_what_it_writes() {
        let words = "--seed 12 --nodes 3 --replicas 2 --shards 1 --partitions 4 --clients 2 --run-ms 900 \
                     --layouts off --only-faults 1,4-6,9 --mutant log-skipped --calm --faithful-disks";
        let case = Case::parse(words.split_whitespace());
        assert_eq!(case.map(|case| case.to_string()), Ok(words.to_owned()));
        let without = Case::parse(["--seed", "1", "--without", "2-3"]);
        assert!(without.is_ok_and(|case| !case.overrides.lets_happen(3)));
        assert!(Case::parse(["--seed", "1", "--nods", "3"]).is_err());
    }
}
