//! Puts and gets: throughput, latency, and what each costs.
//!
//! All keys are written first, in every bucket. Then come the mixes in turns, round after round, so
//! that a machine that is busy for a while disturbs all of them alike.

use std::collections::BTreeMap;
use std::sync::Arc;

use dunlin_client::{Durability, Kind};

use crate::args::{Mix, OpsArgs};
use crate::cluster::{Cluster, counted};
use crate::error::LoadError;
use crate::histogram::Histogram;
use crate::load::{
    Class, KeyValues, Pace, Share, Spent, Spread, Tally, fill, key, measured, values,
};
use crate::report::{Cell, Report, Table};
use crate::rounds::Rounds;

/// Requests under way in an open loop, above which more are counted as failed without being made.
const UNDER_WAY_MAX: usize = 20_000;

const ALL: [Mix; 4] = [Mix::PutSynced, Mix::PutPeriodic, Mix::Get, Mix::Mixed];

impl Mix {
    fn name(self) -> &'static str {
        match self {
            Self::PutSynced => "puts, synced",
            Self::PutPeriodic => "puts, periodic",
            Self::Get => "gets",
            Self::Mixed => "half and half",
        }
    }

    fn share(self) -> Share {
        match self {
            Self::PutSynced | Self::PutPeriodic => Share::Puts,
            Self::Get => Share::Gets,
            Self::Mixed => Share::Halves,
        }
    }

    fn durability(self) -> Durability {
        match self {
            Self::PutPeriodic => Durability::Periodic,
            Self::PutSynced | Self::Get | Self::Mixed => Durability::Synced,
        }
    }
}

/// What the rounds of one mix say.
#[derive(Default)]
struct Figures {
    rate: Rounds,
    servers_us: Rounds,
    client_us: Rounds,
    writes_per_sync: Rounds,
    written_per_op: Rounds,
    others_cores: Rounds,
    failed: u64,
    not_found: u64,
    parts: BTreeMap<Part, [Rounds; 4]>,
}

/// Whose latencies.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    All,
    Writes,
    Reads,
}

impl Figures {
    fn add(&mut self, tally: &Tally, spent: &Spent) {
        let done = tally.done().max(1) as f64;
        self.rate
            .add(tally.done() as f64 / spent.elapsed.as_secs_f64());
        if let Some(servers) = spent.servers {
            self.servers_us.add(servers.as_secs_f64() * 1e6 / done);
        }
        if let Some(client) = spent.client {
            self.client_us.add(client.as_secs_f64() * 1e6 / done);
        }
        if let Some(bytes) = spent.written_bytes {
            self.written_per_op.add(bytes as f64 / done);
        }
        if let Some(others) = spent.others {
            self.others_cores
                .add(others.as_secs_f64() / spent.elapsed.as_secs_f64());
        }
        self.failed += tally.failures();
        self.not_found += tally.not_found();
        self.add_latencies(Part::All, &tally.all());
        let (writes, reads) = (tally.of(Class::Update), tally.of(Class::Read));
        if writes.count() > 0 && reads.count() > 0 {
            self.add_latencies(Part::Writes, &writes);
            self.add_latencies(Part::Reads, &reads);
        }
    }

    fn add_latencies(&mut self, part: Part, latencies: &Histogram) {
        let told = [
            latencies.per_mille(500),
            latencies.per_mille(990),
            latencies.per_mille(999),
            latencies.max(),
        ];
        for (rounds, latency) in self.parts.entry(part).or_default().iter_mut().zip(told) {
            rounds.add(latency.as_secs_f64() * 1e6);
        }
    }
}

/// `dunlin-loadtest ops`
pub(crate) async fn run(args: &OpsArgs) -> Result<Report, LoadError> {
    let mut cluster = Cluster::open(&args.cluster).await?;
    let mut mixes = match args.only.as_slice() {
        [] => ALL.to_vec(),
        only => only.to_vec(),
    };
    mixes.sort();
    mixes.dedup();
    let values = values(args.load.seed, args.value_bytes);
    let mut loads: Vec<(Mix, Arc<KeyValues>)> = Vec::new();
    let mut buckets = BTreeMap::new();
    for mix in mixes {
        let durability = mix.durability();
        let bucket = match buckets.get(&durability) {
            Some(bucket) => dunlin_client::Bucket::clone(bucket),
            None => {
                let bucket = cluster
                    .bucket(durability.name(), Kind::Lww, durability)
                    .await?;
                preload(&bucket, args, &values).await?;
                buckets.insert(durability, bucket.clone());
                bucket
            }
        };
        let work = KeyValues {
            bucket,
            keys: args.keys,
            values: values.clone(),
            what: mix.share(),
        };
        loads.push((mix, Arc::new(work)));
    }
    let nodes = cluster.nodes().unwrap_or_default();
    let processes: Vec<u32> = nodes.iter().map(|node| node.pid).collect();
    let mut figures: BTreeMap<Mix, Figures> = BTreeMap::new();
    let pace = match args.open_rate {
        Some(rate) => Pace::Open {
            per_second: rate.into(),
            spread: Spread::Even,
            under_way_max: UNDER_WAY_MAX,
        },
        None => Pace::Closed {
            in_flight: args.load.in_flight.into(),
        },
    };
    for round in 0..args.load.rounds {
        for (mix, work) in &loads {
            let seed = args
                .load
                .seed
                .wrapping_add(u64::from(round) * 100 + *mix as u64);
            let before = cluster.statuses().await?;
            let (tally, spent) = measured(work, &pace, &args.load, seed, &processes).await;
            let after = cluster.statuses().await?;
            tally.complain(mix.name());
            let figures = figures.entry(*mix).or_default();
            figures.add(&tally, &spent);
            let since = |name| counted(&after, name).saturating_sub(counted(&before, name)) as f64;
            if since("syncs") > 0.0 {
                figures
                    .writes_per_sync
                    .add(since("writes") / since("syncs"));
            }
        }
    }
    let mut report = Report::new("ops");
    describe(
        &mut report,
        args,
        nodes.len(),
        cluster.client().nodes().len(),
    );
    tell(&mut report, &figures);
    cluster.close().await;
    Ok(report)
}

async fn preload(
    bucket: &dunlin_client::Bucket,
    args: &OpsArgs,
    values: &[dunlin_client::Bytes],
) -> Result<(), LoadError> {
    let (bucket, values) = (bucket.clone(), values.to_vec());
    fill(args.keys, args.load.in_flight, move |index| {
        let value = values
            .get(index as usize % values.len())
            .cloned()
            .unwrap_or_default();
        let handle = bucket.lww(key(index));
        async move { handle?.put(value).await.map(|_| ()) }
    })
    .await?;
    Ok(())
}

fn describe(report: &mut Report, args: &OpsArgs, seen: usize, nodes: usize) {
    report.fact("nodes", Cell::Count(nodes as u64));
    report.fact("keys", Cell::Count(args.keys));
    report.fact("value", Cell::bytes(args.value_bytes.into()));
    match args.open_rate {
        Some(rate) => report.fact("due", Cell::PerSecond(rate.into())),
        None => report.fact("in flight", Cell::Count(args.load.in_flight.into())),
    }
    report.fact("measured for", Cell::seconds(args.load.measure));
    report.fact("rounds", Cell::Count(args.load.rounds.into()));
    report.note(
        "Figures are medians of the rounds. Reads and writes ask for a majority of the owners.",
    );
    match seen == nodes {
        true => report.note(
            "server CPU: user and system time of all node processes (/proc/PID/stat, found by their \
             UDP ports) per operation done; client CPU: of this process.",
        ),
        false => report.note("server CPU: the nodes' processes are not on this machine, or not ours."),
    }
    if args.open_rate.is_some() {
        report.note("Latency counts from when a request was due.");
    }
}

fn tell(report: &mut Report, figures: &BTreeMap<Mix, Figures>) {
    let mut costs = Table::new([
        "what",
        "done",
        "lowest..highest",
        "server CPU",
        "client CPU",
        "writes per sync",
        "written to disk",
        "failed",
        "false not-founds",
        "cores busy otherwise",
    ]);
    let mut latencies = Table::new(["what", "p50", "p99", "p99.9", "max"]);
    for (mix, figures) in figures {
        costs.row([
            Cell::text(mix.name()),
            Cell::median(&figures.rate, Cell::PerSecond),
            Cell::range(&figures.rate, Cell::PerSecond),
            Cell::median(&figures.servers_us, Cell::Micros),
            Cell::median(&figures.client_us, Cell::Micros),
            match mix {
                Mix::Get => Cell::Absent,
                _ => Cell::median(&figures.writes_per_sync, Cell::Ratio),
            },
            Cell::median(&figures.written_per_op, Cell::Bytes),
            Cell::Count(figures.failed),
            Cell::Count(figures.not_found),
            Cell::median(&figures.others_cores, Cell::Ratio),
        ]);
        for (part, rounds) in &figures.parts {
            let name = match part {
                Part::All => mix.name().to_owned(),
                Part::Writes => format!("{}: puts", mix.name()),
                Part::Reads => format!("{}: gets", mix.name()),
            };
            let cells = rounds
                .iter()
                .map(|rounds| Cell::median(rounds, Cell::Micros));
            latencies.row([Cell::Text(name)].into_iter().chain(cells));
        }
        if figures.not_found > 0 {
            report.wrong(format!(
                "{}: {} keys that exist were not found",
                mix.name(),
                figures.not_found
            ));
        }
    }
    report.table("cost per operation", costs);
    report.table("latency", latencies);
}
