//! Dunlin and other stores side by side: the same keys, values and requests, in turns, in one run.
//!
//! The program that knows the other stores is `loadtest/peers`, apart from the workspace for the libraries that it
//! takes. Here is what it measures with, which is what Dunlin itself is measured with: the closed loop, the meter of
//! CPU time, and the table.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use clap::{Args, ValueEnum};
use dunlin_client::{Bucket, Durability, Kind};
use thiserror::Error;
use tokio::task::JoinSet;

use crate::args::{ClusterArgs, LoadArgs};
use crate::cluster::Cluster;
use crate::error::LoadError;
use crate::load::{Class, End, Pace, Reason, Spent, Step, Tally, Work, key, measured, values};
use crate::proc;
use crate::report::{Cell, Report, Table};
use crate::rounds::Rounds;

pub use dunlin_client::Bytes;

/// What a request of a [`Store`] comes to, in time.
pub type Reply<'a, T> = Pin<Box<dyn Future<Output = Result<T, String>> + Send + 'a>>;

/// A store of values under keys, through its usual client library.
pub trait Store: Send + Sync + 'static {
    /// Writes a value, and waits until the store says that it is kept. An error says why it is not, or is not known.
    fn put(&self, key: String, value: Bytes) -> Reply<'_, ()>;
    /// Reads a value. Whether there is one.
    fn get(&self, key: String) -> Reply<'_, bool>;
}

/// Who takes part.
pub struct Contender {
    /// What to call it.
    pub name: &'static str,
    /// How it is reached.
    pub store: Arc<dyn Store>,
    /// All its server processes.
    pub processes: Vec<u32>,
    /// What a write that it confirms has survived, and what a read is sure to show: to compare like with like.
    pub promises: String,
    /// What must live as long as it is measured, and stops the servers when dropped.
    pub servers: Box<dyn Send>,
}

/// How the contest goes.
#[derive(Clone, Copy, Debug, Args)]
pub struct ContestArgs {
    #[command(flatten)]
    pub(crate) load: LoadArgs,
    /// Keys, drawn evenly
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    pub(crate) keys: u64,
    /// Bytes of a value
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..=524_288))]
    pub(crate) value_bytes: u32,
    /// What confirmed writes are to survive
    #[arg(long, value_enum, default_value_t = Survives::PowerLoss)]
    pub survives: Survives,
}

/// What a write that was confirmed survives on a majority of the nodes, where the store can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Survives {
    /// Synced to the disk before it is confirmed
    PowerLoss,
    /// Synced a little later
    ProcessDeath,
}

/// Why there is no result.
#[derive(Debug, Error)]
pub enum ContestError {
    /// Dunlin does not run, or failed.
    #[error("Dunlin: {0}")]
    Dunlin(String),
    /// Keys could not be written before the measurement.
    #[error("{name}: filling failed: {why}")]
    Fill {
        /// Whose.
        name: &'static str,
        /// What it said.
        why: String,
    },
}

/// Starts three nodes of Dunlin.
///
/// # Errors
/// [`ContestError::Dunlin`]
pub async fn dunlin(
    program: Option<PathBuf>,
    survives: Survives,
) -> Result<Contender, ContestError> {
    let failed = |error: LoadError| ContestError::Dunlin(error.to_string());
    let args = ClusterArgs {
        cluster: None,
        dunlin: program,
        nodes: 3,
        dir: None,
        keep: false,
    };
    let durability = match survives {
        Survives::PowerLoss => Durability::Synced,
        Survives::ProcessDeath => Durability::Periodic,
    };
    let mut cluster = Cluster::open(&args).await.map_err(failed)?;
    let bucket = cluster.bucket("contest", Kind::Lww, durability);
    let bucket = bucket.await.map_err(failed)?;
    let nodes = cluster.nodes().map_err(failed)?;
    Ok(Contender {
        name: "dunlin",
        store: Arc::new(Dunlin(bucket)),
        processes: nodes.iter().map(|node| node.pid).collect(),
        promises: format!(
            "W=2 of 3, {}; R=2 of 3; any node takes writes",
            match survives {
                Survives::PowerLoss => "both synced",
                Survives::ProcessDeath => "synced within a second",
            }
        ),
        servers: Box::new(cluster),
    })
}

struct Dunlin(Bucket);

impl Store for Dunlin {
    fn put(&self, key: String, value: Bytes) -> Reply<'_, ()> {
        Box::pin(async move {
            let handle = self.0.lww(key).map_err(|error| error.to_string())?;
            let put = handle.put(value).await;
            put.map(|_| ()).map_err(|error| error.to_string())
        })
    }

    fn get(&self, key: String) -> Reply<'_, bool> {
        Box::pin(async move {
            let handle = self.0.lww(key).map_err(|error| error.to_string())?;
            let got = handle.get().await.map_err(|error| error.to_string())?;
            Ok(got.is_some())
        })
    }
}

/// Which requests are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Puts,
    Gets,
}

struct Requests {
    store: Arc<dyn Store>,
    part: Part,
    keys: u64,
    values: Arc<Vec<Bytes>>,
}

impl Work for Requests {
    async fn step(&self, _worker: usize, draw: u64) -> Step {
        // The lower half of the draw chooses the key, the upper the value.
        let key = key((draw & 0xffff_ffff) % self.keys);
        let failed = |text| {
            End::Failed(Reason {
                word: "failed",
                text,
            })
        };
        match self.part {
            Part::Puts => {
                let value = value_of(&self.values, draw >> 32);
                let end = self.store.put(key, value).await;
                Step {
                    what: Class::Update,
                    end: end.map_or_else(failed, |()| End::Done),
                }
            }
            Part::Gets => {
                let end = match self.store.get(key).await {
                    Ok(true) => End::Done,
                    Ok(false) => End::NotFound,
                    Err(text) => failed(text),
                };
                Step {
                    what: Class::Read,
                    end,
                }
            }
        }
    }
}

fn value_of(values: &[Bytes], draw: u64) -> Bytes {
    let at = draw as usize % values.len().max(1);
    values.get(at).cloned().unwrap_or_default()
}

#[derive(Default)]
struct Figures {
    rate: Rounds,
    servers_us: Rounds,
    client_us: Rounds,
    written: Rounds,
    p50: Rounds,
    p99: Rounds,
    failed: u64,
    not_found: u64,
}

impl Figures {
    fn add(&mut self, tally: &Tally, spent: &Spent) {
        let done = tally.done().max(1) as f64;
        let each_us = |time: std::time::Duration| time.as_secs_f64() * 1e6 / done;
        self.rate
            .add(tally.done() as f64 / spent.elapsed.as_secs_f64());
        spent
            .servers
            .into_iter()
            .for_each(|time| self.servers_us.add(each_us(time)));
        spent
            .client
            .into_iter()
            .for_each(|time| self.client_us.add(each_us(time)));
        spent
            .written_bytes
            .into_iter()
            .for_each(|bytes| self.written.add(bytes as f64 / done));
        let all = tally.all();
        self.p50.add(all.per_mille(500).as_secs_f64() * 1e6);
        self.p99.add(all.per_mille(990).as_secs_f64() * 1e6);
        self.failed += tally.failures();
        self.not_found += tally.not_found();
    }
}

/// Measures all of them, in turns; the text of the report, and whether anything is wrong in it.
///
/// # Errors
/// [`ContestError::Fill`]
pub async fn contest(
    args: &ContestArgs,
    contenders: &[Contender],
    as_json: bool,
) -> Result<(String, bool), ContestError> {
    let values = Arc::new(values(args.load.seed, args.value_bytes));
    for contender in contenders {
        preload(args, contender, &values).await?;
    }
    let pace = Pace::Closed {
        in_flight: args.load.in_flight.into(),
    };
    let mut figures: BTreeMap<(Part, usize), Figures> = BTreeMap::new();
    for round in 0..args.load.rounds {
        for part in [Part::Puts, Part::Gets] {
            for (at, contender) in contenders.iter().enumerate() {
                let work = Arc::new(Requests {
                    store: Arc::clone(&contender.store),
                    part,
                    keys: args.keys,
                    values: Arc::clone(&values),
                });
                let seed = args
                    .load
                    .seed
                    .wrapping_add(u64::from(round) * 10 + part as u64);
                let load = &args.load;
                let (tally, spent) = measured(&work, &pace, load, seed, &contender.processes).await;
                tally.complain(contender.name);
                figures.entry((part, at)).or_default().add(&tally, &spent);
            }
        }
    }
    let report = tell(args, contenders, &figures);
    Ok((report.render(as_json), report.is_wrong()))
}

async fn preload(
    args: &ContestArgs,
    contender: &Contender,
    values: &Arc<Vec<Bytes>>,
) -> Result<(), ContestError> {
    let mut workers = JoinSet::new();
    for first in 0..args.load.in_flight {
        let (store, values) = (Arc::clone(&contender.store), Arc::clone(values));
        let numbers = (u64::from(first)..args.keys).step_by(args.load.in_flight.into());
        workers.spawn(async move {
            for number in numbers {
                store.put(key(number), value_of(&values, number)).await?;
            }
            Ok(())
        });
    }
    let name = contender.name;
    while let Some(joined) = workers.join_next().await {
        match joined {
            Ok(filled) => filled.map_err(|why| ContestError::Fill { name, why })?,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }
    Ok(())
}

fn tell(
    args: &ContestArgs,
    contenders: &[Contender],
    figures: &BTreeMap<(Part, usize), Figures>,
) -> Report {
    let mut report = Report::new("contest");
    report.fact("keys", Cell::Count(args.keys));
    report.fact("value", Cell::bytes(args.value_bytes.into()));
    report.fact("in flight", Cell::Count(args.load.in_flight.into()));
    report.fact("measured for", Cell::seconds(args.load.measure));
    report.fact("rounds", Cell::Count(args.load.rounds.into()));
    for (part, name) in [(Part::Puts, "puts"), (Part::Gets, "gets")] {
        let mut table = Table::new([
            "store",
            "done",
            "lowest..highest",
            "p50",
            "p99",
            "server CPU",
            "client CPU",
            "written to disk",
            "failed",
            "false not-founds",
        ]);
        for (at, contender) in contenders.iter().enumerate() {
            let Some(figures) = figures.get(&(part, at)) else {
                continue;
            };
            table.row([
                Cell::text(contender.name),
                Cell::median(&figures.rate, Cell::PerSecond),
                Cell::range(&figures.rate, Cell::PerSecond),
                Cell::median(&figures.p50, Cell::Micros),
                Cell::median(&figures.p99, Cell::Micros),
                Cell::median(&figures.servers_us, Cell::Micros),
                Cell::median(&figures.client_us, Cell::Micros),
                Cell::median(&figures.written, Cell::Bytes),
                Cell::Count(figures.failed),
                Cell::Count(figures.not_found),
            ]);
            if figures.not_found > 0 {
                let (name, count) = (contender.name, figures.not_found);
                report.wrong(format!("{name}: {count} keys that exist were not found"));
            }
        }
        report.table(name, table);
    }
    let mut table = Table::new(["store", "processes", "memory", "what it promises"]);
    for contender in contenders {
        let memory: Option<u64> = contender
            .processes
            .iter()
            .map(|pid| proc::rss_bytes(*pid))
            .sum();
        table.row([
            Cell::text(contender.name),
            Cell::Count(contender.processes.len() as u64),
            memory.map_or(Cell::Absent, Cell::bytes),
            Cell::text(contender.promises.clone()),
        ]);
    }
    report.table("who", table);
    report.note("Figures are medians of the rounds, in which all took turns. CPU is user and system time for each request done,");
    report.note("of all server processes, and of this process with the store's client library. Memory is resident at the end.");
    report
}
