//! The words of `dunlin-loadtest run`, and what they come to.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use dunlin_client::{Durability, Options, Quorum};
use serde::{Deserialize, Serialize};

use super::keys::{self, THETA};
use super::steps::Steps;
use super::values::Sizes;
use super::workload::{Mix, Workload};
use crate::args::{ClusterArgs, duration};
use crate::error::LoadError;
use crate::load::{Pace, Spread};

/// `dunlin-loadtest run`
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// What is asked for
    #[arg(value_enum, default_value = "ycsb-a")]
    workload: Workload,
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,

    /// Keys, of each kind of data
    #[arg(long, default_value_t = 100_000, help_heading = "The data",
          value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    keys: u64,
    /// How large values are: 1k, uniform:100..10k, lognormal:MEDIAN,SIGMA, mix:100=0.9,64k=0.1
    #[arg(
        long,
        value_name = "SIZE",
        default_value = "1k",
        help_heading = "The data"
    )]
    value: Sizes,
    /// Buckets are called so, and after their kind
    #[arg(
        long,
        value_name = "NAME",
        default_value = "loadtest",
        help_heading = "The data"
    )]
    bucket: String,
    /// When a node says that it holds a write: synced or periodic
    #[arg(long, default_value = "synced", help_heading = "The data")]
    durability: Durability,
    /// The keys are there already, from an earlier run
    #[arg(long, help_heading = "The data")]
    skip_load: bool,
    /// Go on with a load that was interrupted
    #[arg(
        long,
        value_name = "KEY",
        default_value_t = 0,
        conflicts_with = "skip_load",
        help_heading = "The data"
    )]
    load_from: u64,
    /// Drop the buckets at the end
    #[arg(long, help_heading = "The data")]
    drop: bool,

    /// The share of reads (of scans in ycsb-e), from 0 to 1 [default: the workload's]
    #[arg(long, value_name = "SHARE", value_parser = share, help_heading = "The requests")]
    reads: Option<f64>,
    /// Which keys: zipfian, zipfian:THETA, uniform, latest [default: zipfian; latest for ycsb-d]
    #[arg(long, value_name = "HOW", help_heading = "The requests")]
    distribution: Option<keys::Spread>,
    /// Hot keys: 0.9:10 sends 90 % of the requests to 10 keys
    #[arg(long, value_name = "SHARE:KEYS", value_parser = keys::hot, conflicts_with = "distribution",
          help_heading = "The requests")]
    hot: Option<keys::Spread>,
    /// Nodes that answer a read: one, majority, all or a number [default: the bucket's, a majority]
    #[arg(long, value_name = "QUORUM", help_heading = "The requests")]
    r: Option<Quorum>,
    /// Nodes that hold a write [default: the bucket's, a majority]
    #[arg(long, value_name = "QUORUM", help_heading = "The requests")]
    w: Option<Quorum>,
    /// Of the nodes that answer a read, owners
    #[arg(long, value_name = "QUORUM", help_heading = "The requests")]
    pr: Option<Quorum>,
    /// Of the nodes that hold a write, owners
    #[arg(long, value_name = "QUORUM", help_heading = "The requests")]
    pw: Option<Quorum>,
    /// Of the nodes that hold a write, those that have synced it
    #[arg(long, value_name = "QUORUM", help_heading = "The requests")]
    dw: Option<Quorum>,
    /// Only owners count; otherwise others may stand in for those that are away
    #[arg(long, help_heading = "The requests")]
    strict: bool,
    /// How long a request may take in all
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = duration, help_heading = "The requests")]
    timeout: Duration,

    /// Open loop: so many requests a second are due, answered or not
    #[arg(long, value_name = "PER_SECOND", value_parser = rate, help_heading = "The load")]
    rate: Option<f64>,
    /// Open loop at one rate after the other, to find the knee: 1000..20000:1000
    #[arg(
        long,
        value_name = "FIRST..LAST:STEP",
        conflicts_with = "rate",
        help_heading = "The load"
    )]
    steps: Option<Steps>,
    /// Closed loop: requests under way at any time [default: 64]
    #[arg(long, conflicts_with_all = ["rate", "steps"], help_heading = "The load",
          value_parser = clap::value_parser!(u32).range(1..=65_536))]
    in_flight: Option<u32>,
    /// How requests of an open loop are spread
    #[arg(long, value_enum, default_value = "poisson", help_heading = "The load")]
    arrivals: Spread,
    /// Requests of an open loop under way, above which more are counted and not sent
    #[arg(long, value_name = "REQUESTS", default_value_t = 20_000, help_heading = "The load",
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    outstanding_max: u32,
    /// How long is measured
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = duration,
          conflicts_with = "steps", help_heading = "The load")]
    measure: Duration,
    /// How long each step is measured
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration, help_heading = "The load")]
    step_time: Duration,
    /// The highest p99 at which a step counts as kept up with
    #[arg(long, value_name = "TIME", default_value = "100ms", value_parser = duration, help_heading = "The load")]
    p99_max: Duration,
    /// Load before, which is not counted; 0s for none
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = duration_or_none, help_heading = "The load")]
    warm_up: Duration,
    /// Processes that make the load, each with a part of it
    #[arg(long, default_value_t = 1, help_heading = "The load",
          value_parser = clap::value_parser!(u16).range(1..=256))]
    processes: u16,
    /// Seeds the draw of keys, values and arrivals
    #[arg(long, default_value_t = 1, help_heading = "The load")]
    seed: u64,

    /// The run's name [default: the workload's]
    #[arg(long, help_heading = "The results")]
    name: Option<String>,
    /// Where results go [default: ./dunlin-run-NAME]
    #[arg(long, value_name = "DIR", help_heading = "The results")]
    pub(crate) out: Option<PathBuf>,
    /// Lines of progress, even on a terminal
    #[arg(long, help_heading = "The results")]
    pub(crate) plain: bool,
}

/// What a run is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Settings {
    pub(crate) name: String,
    pub(crate) workload: Workload,
    pub(crate) mix: Mix,
    pub(crate) keys: u64,
    pub(crate) distribution: keys::Spread,
    pub(crate) value: Sizes,
    pub(crate) bucket: String,
    pub(crate) durability: Durability,
    pub(crate) r: Option<Quorum>,
    pub(crate) w: Option<Quorum>,
    pub(crate) pr: Option<Quorum>,
    pub(crate) pw: Option<Quorum>,
    pub(crate) dw: Option<Quorum>,
    pub(crate) strict: bool,
    pub(crate) timeout_ms: u64,
    pub(crate) skip_load: bool,
    pub(crate) load_from: u64,
    pub(crate) drop: bool,
    /// Of all processes together; one of each step.
    pub(crate) paces: Vec<Pace>,
    pub(crate) step_ms: u64,
    pub(crate) warm_up_ms: u64,
    pub(crate) p99_max_ms: u64,
    pub(crate) processes: u16,
    pub(crate) seed: u64,
}

impl RunArgs {
    /// What the words come to, or what is wrong with them together.
    pub(crate) fn settings(&self) -> Result<Settings, LoadError> {
        let open = |per_second| Pace::Open {
            per_second,
            spread: self.arrivals,
            under_way_max: self.outstanding_max as usize,
        };
        let paces = match (&self.steps, self.rate) {
            (Some(Steps(rates)), _) => rates.iter().copied().map(open).collect(),
            (None, Some(rate)) => vec![open(rate)],
            (None, None) => vec![Pace::Closed {
                in_flight: self.in_flight.unwrap_or(64) as usize,
            }],
        };
        let usual = match self.workload {
            Workload::YcsbD => keys::Spread::Latest { theta: THETA },
            _ => keys::Spread::Zipfian { theta: THETA },
        };
        let distribution = self.hot.or(self.distribution).unwrap_or(usual);
        if self.workload == Workload::YcsbE && matches!(distribution, keys::Spread::Latest { .. }) {
            let why = "ycsb-e scans threads, of which none is the latest; leave --distribution latest away";
            return Err(LoadError::Settings(why.to_owned()));
        }
        if let keys::Spread::Hot { keys, .. } = distribution
            && keys > self.keys
        {
            let why = format!("{keys} hot keys are more than there are, {}", self.keys);
            return Err(LoadError::Settings(why));
        }
        if self.load_from > self.keys {
            let why = format!(
                "--load-from {} is beyond the last key, {}",
                self.load_from, self.keys
            );
            return Err(LoadError::Settings(why));
        }
        if self.skip_load && self.cluster.cluster.is_none() {
            let why = "a cluster that is started for the run is empty; name one with --cluster, or load it";
            return Err(LoadError::Settings(why.to_owned()));
        }
        if let Some(Pace::Closed { in_flight }) = paces.first()
            && *in_flight < usize::from(self.processes)
        {
            let why = format!(
                "{in_flight} requests in flight are too few for {} processes",
                self.processes
            );
            return Err(LoadError::Settings(why));
        }
        let name = self.name.clone().unwrap_or_else(|| self.workload.name());
        if name.is_empty()
            || !name
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
        {
            let why = format!("{name:?} is no name: letters, digits, -, _ and . are");
            return Err(LoadError::Settings(why));
        }
        let steps = self.steps.is_some();
        Ok(Settings {
            name,
            workload: self.workload,
            mix: self.workload.mix(self.reads),
            keys: self.keys,
            distribution,
            value: self.value.clone(),
            bucket: self.bucket.clone(),
            durability: self.durability,
            r: self.r,
            w: self.w,
            pr: self.pr,
            pw: self.pw,
            dw: self.dw,
            strict: self.strict,
            timeout_ms: millis(self.timeout),
            skip_load: self.skip_load,
            load_from: self.load_from,
            drop: self.drop,
            paces,
            step_ms: millis(if steps { self.step_time } else { self.measure }),
            warm_up_ms: millis(self.warm_up),
            p99_max_ms: millis(self.p99_max),
            processes: self.processes,
            seed: self.seed,
        })
    }
}

impl Settings {
    /// What each request asks for.
    pub(crate) fn options(&self) -> Options {
        let mut options = Options::new().timeout(Duration::from_millis(self.timeout_ms));
        if self.strict {
            options = options.strict();
        }
        // Each is left to the bucket unless it is given.
        let set =
            |options, quorum: Option<Quorum>, how: fn(Options, Quorum) -> Options| match quorum {
                Some(quorum) => how(options, quorum),
                None => options,
            };
        options = set(options, self.r, Options::r);
        options = set(options, self.w, Options::w);
        options = set(options, self.pr, Options::pr);
        options = set(options, self.pw, Options::pw);
        options = set(options, self.dw, Options::dw);
        options
    }

    /// The part of a load that process `worker` makes.
    pub(crate) fn part(&self, pace: Pace, worker: u16) -> Pace {
        let (worker, workers) = (usize::from(worker), usize::from(self.processes));
        // The first get what is left over.
        let part = |all: usize| all / workers + usize::from(worker < all % workers);
        match pace {
            Pace::Closed { in_flight } => Pace::Closed {
                in_flight: part(in_flight),
            },
            Pace::Open {
                per_second,
                spread,
                under_way_max,
            } => Pace::Open {
                per_second: per_second / workers as f64,
                spread,
                under_way_max: part(under_way_max).max(1),
            },
        }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn duration_or_none(text: &str) -> Result<Duration, String> {
    match text {
        "0" | "0s" | "0ms" => Ok(Duration::ZERO),
        text => duration(text),
    }
}

fn share(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err("a share lies between 0 and 1".to_owned()),
    }
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(rate) if (0.1..=10_000_000.0).contains(&rate) => Ok(rate),
        _ => Err("a rate lies between 0.1 and 10,000,000 requests a second".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::{Arguments, Command};

    fn settings(words: &str) -> Result<Settings, String> {
        let words = format!("dunlin-loadtest run {words}");
        let parsed = Arguments::try_parse_from(words.split_ascii_whitespace());
        match parsed.map_err(|error| error.to_string())?.command {
            Command::Run(args) => args.settings().map_err(|error| error.to_string()),
            _ => Err("another command".to_owned()),
        }
    }

    #[test]
    fn mistakes_are_refused_with_a_reason() {
        for (words, said) in [
            ("--rate 0", "a rate lies between"),
            ("--keys 0", "not in 1..=100000000"),
            ("--keys 5 --hot 0.9:6", "more than there are"),
            ("--hot 1.5:6", "between 0 and 1"),
            ("--steps 2000..1000:100", "rates must rise"),
            ("--value 2m", "no value of more than"),
            ("--reads 2", "between 0 and 1"),
            ("--rate 5 --in-flight 5", "cannot be used with"),
            ("--in-flight 2 --processes 3", "too few for 3"),
            ("--skip-load", "is empty"),
            ("--name a/b", "is no name"),
            ("--load-from 7 --keys 6", "beyond the last"),
            ("ycsb-e --distribution latest", "threads"),
            ("--r some", "some"),
            ("ycsb-g", "ycsb-g"),
        ] {
            let error = settings(words).unwrap_err();
            assert!(error.contains(said), "{words}: {error}");
        }
    }

    #[test]
    fn processes_share_a_load_and_nothing_is_lost() {
        let settings = settings("--in-flight 10 --processes 4").unwrap();
        let parts = (0..4).map(|worker| match settings.part(settings.paces[0], worker) {
            Pace::Closed { in_flight } => in_flight,
            Pace::Open { .. } => 0,
        });
        assert_eq!(parts.collect::<Vec<_>>(), [3, 3, 2, 2]);
        let Pace::Open { per_second, .. } = settings.part(
            Pace::Open {
                per_second: 1_000.0,
                spread: Spread::Even,
                under_way_max: 9,
            },
            1,
        ) else {
            panic!("it is open");
        };
        assert!((per_second - 250.0).abs() < 1e-9);
    }

    #[test]
    fn what_is_not_said_is_as_in_ycsb() {
        let settings = settings("").unwrap();
        assert_eq!(settings.workload, Workload::YcsbA);
        assert_eq!(settings.value, Sizes::Fixed(1_024));
        assert_eq!(
            settings.distribution,
            keys::Spread::Zipfian { theta: THETA }
        );
        let latest = self::settings("ycsb-d").unwrap().distribution;
        assert_eq!(latest, keys::Spread::Latest { theta: THETA });
    }
}
