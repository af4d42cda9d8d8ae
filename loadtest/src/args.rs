//! The words of the command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::run::args::RunArgs;

/// Measures what Dunlin does and what it costs, on real processes.
#[derive(Debug, Parser)]
#[command(name = "dunlin-loadtest", version, arg_required_else_help = true)]
pub(crate) struct Arguments {
    /// Report as JSON
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What is measured.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// A load of your choice: workloads, rates, rate steps; figures by the second on disk
    Run(Box<RunArgs>),
    /// One process of `run`'s load; speaks with the one that started it
    #[command(hide = true)]
    RunWorker,
    /// Puts and gets: throughput, latency, and CPU time of nodes and client for each
    Ops(OpsArgs),
    /// Adds to small and large sets, and pages of them
    Set(SetArgs),
    /// What it takes an owner to catch up that was killed and started again
    Repair(RepairArgs),
    /// Memory, disk and time to start, with many rows
    Footprint(FootprintArgs),
    /// A node that hangs: is it felt, and is anything wrong when it goes on?
    Hang(HangArgs),
    /// Cut the network between nodes, kill some, and judge what clients were told
    Experiment(ExperimentArgs),
    /// Lay two runs of experiments side by side, on one page
    Compare(CompareArgs),
}

/// Against what.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "The cluster")]
pub(crate) struct ClusterArgs {
    /// A cluster file of a running cluster; without it, one is started and removed again
    #[arg(long, value_name = "FILE")]
    pub(crate) cluster: Option<PathBuf>,
    /// The dunlin binary [default: the one beside this program]
    #[arg(long, value_name = "PATH", conflicts_with = "cluster")]
    pub(crate) dunlin: Option<PathBuf>,
    /// How many nodes to start
    #[arg(long, default_value_t = 3, conflicts_with = "cluster",
          value_parser = clap::value_parser!(u16).range(1..=32))]
    pub(crate) nodes: u16,
    /// Their folder, which must not exist [default: one below the system's temporary folder]
    #[arg(long, value_name = "DIR", conflicts_with = "cluster")]
    pub(crate) dir: Option<PathBuf>,
    /// Stop the nodes at the end, but leave their folder
    #[arg(long, conflicts_with = "cluster")]
    pub(crate) keep: bool,
}

/// How load is put on, for how long.
#[derive(Clone, Copy, Debug, Args)]
#[command(next_help_heading = "The load")]
pub(crate) struct LoadArgs {
    /// Requests under way at any time
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=4096))]
    pub(crate) in_flight: u16,
    /// How long one measurement takes, such as 5s
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = duration)]
    pub(crate) measure: Duration,
    /// Load before each measurement that is not counted
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = duration)]
    pub(crate) warm_up: Duration,
    /// Rounds over everything; medians are reported
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=99))]
    pub(crate) rounds: u16,
    /// Seeds the draw of keys and values
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
}

/// `dunlin-loadtest experiment`
#[derive(Debug, Args)]
pub(crate) struct ExperimentArgs {
    /// A plan that comes with the program, or a file; without one the plans are listed
    pub(crate) plan: Option<String>,
    /// Where history, result and report go [default: ./dunlin-experiment-NAME]
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// A cluster file of a running cluster, on which plans can be carried out that cut clients off or have
    /// nodes stand still; without it, a cluster is started and removed again
    #[arg(long, value_name = "FILE")]
    pub(crate) cluster: Option<PathBuf>,
    /// The nodes' program [default: the one beside this]
    #[arg(long, value_name = "FILE", conflicts_with = "cluster")]
    pub(crate) dunlin: Option<PathBuf>,
    /// Leave the nodes' files where they are
    #[arg(long, conflicts_with = "cluster")]
    pub(crate) keep: bool,
}

/// `dunlin-loadtest compare`
#[derive(Debug, Args)]
pub(crate) struct CompareArgs {
    /// The folder of the one run, or its result.json
    #[arg(value_name = "A")]
    pub(crate) left: PathBuf,
    /// The other
    #[arg(value_name = "B")]
    pub(crate) right: PathBuf,
    /// The page
    #[arg(long, value_name = "FILE", default_value = "compare.html")]
    pub(crate) out: PathBuf,
}

/// `dunlin-loadtest ops`
#[derive(Debug, Args)]
pub(crate) struct OpsArgs {
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
    #[command(flatten)]
    pub(crate) load: LoadArgs,
    /// Keys, drawn evenly
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    pub(crate) keys: u64,
    /// Bytes of a value
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..=524_288))]
    pub(crate) value_bytes: u32,
    /// Only these [default: all]
    #[arg(long, value_enum, value_name = "WHAT")]
    pub(crate) only: Vec<Mix>,
    /// Start so many requests a second, whether or not earlier ones were answered; latency counts from
    /// when a request was due
    #[arg(long, value_name = "PER_SECOND", value_parser = clap::value_parser!(u32).range(1..=200_000))]
    pub(crate) open_rate: Option<u32>,
}

/// What share of the requests is what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Mix {
    /// Puts that two nodes have synced
    PutSynced,
    /// Puts that two nodes have, synced a little later
    PutPeriodic,
    /// Gets that two nodes answered
    Get,
    /// Half synced puts, half gets
    Mixed,
}

/// `dunlin-loadtest set`
#[derive(Debug, Args)]
pub(crate) struct SetArgs {
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
    /// Elements of the sets
    #[arg(long, value_delimiter = ',', default_values_t = [10, 1_000, 100_000, 1_000_000],
          value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    pub(crate) sizes: Vec<u64>,
    /// Adds to be measured, per size and round
    #[arg(long, default_value_t = 4_000, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    pub(crate) adds: u64,
    /// Pages to be measured, per size and round
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    pub(crate) pages: u64,
    /// Adds under way at any time; pages are asked for one after the other
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=4096))]
    pub(crate) in_flight: u16,
    /// Rounds over everything; medians are reported
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=99))]
    pub(crate) rounds: u16,
}

/// `dunlin-loadtest repair`
#[derive(Debug, Args)]
pub(crate) struct RepairArgs {
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
    /// Rows before the kill
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(100..=10_000_000))]
    pub(crate) rows: u64,
    /// Rows that change meanwhile: half of them overwritten, half added [default: a hundredth]
    #[arg(long, value_name = "ROWS")]
    pub(crate) changed: Option<u64>,
    /// Bytes of a value
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u32).range(8..=524_288))]
    pub(crate) value_bytes: u32,
    /// How long nothing is asked, to see what repair costs then
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = duration)]
    pub(crate) idle: Duration,
    /// Rounds, each with a kill; medians are reported
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=99))]
    pub(crate) rounds: u16,
}

/// `dunlin-loadtest footprint`
#[derive(Debug, Args)]
pub(crate) struct FootprintArgs {
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
    /// Rows
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    pub(crate) rows: u64,
    /// Bytes of a value
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..=524_288))]
    pub(crate) value_bytes: u32,
    /// Requests under way at any time
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u16).range(1..=4096))]
    pub(crate) in_flight: u16,
}

/// `dunlin-loadtest hang`
#[derive(Debug, Args)]
pub(crate) struct HangArgs {
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
    /// How long a node hangs
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=3600))]
    pub(crate) seconds: u16,
    /// Seconds of load before, and after
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=600))]
    pub(crate) around: u16,
    /// How often it hangs, one after the other
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=100))]
    pub(crate) times: u16,
    /// Keys
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(64..=1_000_000))]
    pub(crate) keys: u64,
    /// Requests under way at any time
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) in_flight: u16,
    /// Seeds the draw of keys
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
}

/// Parses `500ms`, `10s`, `2m`; a number alone is seconds.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let units = [("ms", 1), ("s", 1_000), ("m", 60_000), ("", 1_000)];
    let parsed = units.into_iter().find_map(|(unit, factor)| {
        let number: u64 = text.strip_suffix(unit)?.parse().ok()?;
        number.checked_mul(factor)
    });
    match parsed {
        Some(ms) if (1..=3_600_000).contains(&ms) => Ok(Duration::from_millis(ms)),
        _ => Err("write a time between 1ms and an hour, such as 500ms, 10s or 2m".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_words_are_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn times_are_read_with_their_unit() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(duration("7"), Ok(Duration::from_secs(7)));
        assert!(duration("0").is_err());
        assert!(duration("1h").is_err());
    }
}
