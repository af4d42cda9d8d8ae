//! What it takes an owner to catch up that was killed, missed some writes and was started again.
//!
//! ```text
//!   fill ── all equal ── kill ── overwrite and add ── start ── all equal ── compare all rows ── idle
//! ```
//!
//! With as many nodes as copies nobody keeps hints for the one that is away, so all that it missed
//! comes by repair.

use std::sync::Arc;
use std::time::{Duration, Instant};

use dunlin_client::status::NodeStatus;
use dunlin_client::{Bucket, Bytes, Durability, Kind, NodeId};
use fastrand::Rng;

use crate::args::RepairArgs;
use crate::cluster::{Cluster, Node, START_MAX, counted};
use crate::error::LoadError;
use crate::load::{Meter, fill, key};
use crate::proc::{Traffic, loopback};
use crate::report::{Cell, Report, Table};
use crate::rounds::Rounds;

const IN_FLIGHT: u16 = 64;

/// What one round says.
struct Caught {
    changed: u64,
    row_bytes: u64,
    start: Duration,
    equal: Duration,
    rows_taken: u64,
    bytes_taken: u64,
    traffic: Traffic,
    differ: u64,
}

/// `dunlin-loadtest repair`
pub(crate) async fn run(args: &RepairArgs) -> Result<Report, LoadError> {
    let mut cluster = Cluster::open(&args.cluster).await?;
    cluster.dev("repair")?;
    let bucket = cluster
        .bucket("repair", Kind::Lww, Durability::Periodic)
        .await?;
    write(&bucket, args, 0..args.rows, 1).await?;
    cluster.wait_until_equal(START_MAX).await?;
    let mut rounds = Vec::new();
    for round in 0..args.rounds {
        rounds.push(catch_up(&cluster, &bucket, args, round).await?);
    }

    let before = cluster.statuses().await?;
    let nodes = cluster.nodes()?;
    let (meter, traffic) = (Meter::start(&nodes), loopback());
    tokio::time::sleep(args.idle).await;
    let (spent, idle) = (meter.read(), since(traffic));
    let after = cluster.statuses().await?;

    let mut report = Report::new("repair");
    report.fact("nodes", Cell::Count(nodes.len() as u64));
    report.fact("rows", Cell::Count(args.rows));
    report.fact("rounds", Cell::Count(args.rounds.into()));
    tell(&mut report, &rounds);
    let (seconds, pairs) = (
        spent.elapsed.as_secs_f64(),
        nodes.len() * (nodes.len() - 1) / 2,
    );
    let taken = |name| counted(&after, name).saturating_sub(counted(&before, name));
    let mut quiet = Table::new([
        "idle for",
        "over loopback",
        "per pair of nodes",
        "packets",
        "rows repaired",
        "CPU of one node",
    ]);
    quiet.row([
        Cell::Seconds(seconds),
        Cell::Text(format!("{:.0} B/s", idle.bytes as f64 / seconds)),
        Cell::Text(format!(
            "{:.0} B/s",
            idle.bytes as f64 / seconds / pairs.max(1) as f64
        )),
        Cell::PerSecond(idle.packets as f64 / seconds),
        Cell::Count(taken("repair_rows_taken")),
        match spent.servers {
            Some(cpu) => Cell::Text(format!(
                "{:.2} %",
                cpu.as_secs_f64() / seconds / nodes.len() as f64 * 100.0
            )),
            None => Cell::Absent,
        },
    ]);
    report.table("idle", quiet);
    report.note("Repaired: the nodes' counters repair_rows_taken and repair_bytes_taken.");
    report.note(
        "Over loopback: all that this machine says to itself, our questions for the status and \
         keep-alives included, so an upper bound.",
    );
    cluster.close().await;
    Ok(report)
}

async fn catch_up(
    cluster: &Cluster,
    bucket: &Bucket,
    args: &RepairArgs,
    round: u16,
) -> Result<Caught, LoadError> {
    let dev = cluster.dev("repair")?;
    let nodes = cluster.nodes()?;
    let place = usize::from(round) % nodes.len();
    let others: Vec<NodeId> = nodes
        .iter()
        .enumerate()
        .filter(|(at, _)| *at != place)
        .map(|(_, node)| node.id)
        .collect();
    let which = nodes.get(place).map_or(1, Node::number);
    dev.kill(which)?;

    let changed = args.changed.unwrap_or(args.rows / 100).clamp(2, args.rows);
    let (overwritten, added) = (changed / 2, changed - changed / 2);
    let spread = args.rows / overwritten;
    let first_new = args.rows + u64::from(round) * added;
    let seed = u64::from(round) + 2;
    write_each(bucket, args, overwritten, seed, move |index| index * spread).await?;
    write(bucket, args, first_new..first_new + added, seed).await?;

    let before = cluster.statuses_of(&others).await?;
    let (began, traffic) = (Instant::now(), loopback());
    let starting =
        tokio::task::spawn_blocking(move || dev.restart(which).map(|()| began.elapsed()));
    cluster.wait_until_equal(START_MAX).await?;
    let (equal, traffic) = (began.elapsed(), since(traffic));
    let after: Vec<NodeStatus> = cluster.statuses().await?;
    let start = match starting.await {
        Ok(started) => started?,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    };
    // The one that was killed began to count anew.
    let taken = |name| counted(&after, name).saturating_sub(counted(&before, name));
    Ok(Caught {
        changed,
        row_bytes: changed * (u64::from(args.value_bytes) + key(0).len() as u64),
        start,
        equal,
        rows_taken: taken("repair_rows_taken"),
        bytes_taken: taken("repair_bytes_taken"),
        traffic,
        differ: cluster.partitions_that_differ().await?,
    })
}

async fn write(
    bucket: &Bucket,
    args: &RepairArgs,
    rows: std::ops::Range<u64>,
    seed: u64,
) -> Result<(), LoadError> {
    let first = rows.start;
    write_each(bucket, args, rows.end - first, seed, move |index| {
        first + index
    })
    .await
}

/// Writes `count` rows, each with a value of its own.
async fn write_each(
    bucket: &Bucket,
    args: &RepairArgs,
    count: u64,
    seed: u64,
    row: impl Fn(u64) -> u64 + Send + Sync + 'static,
) -> Result<(), LoadError> {
    let (bucket, bytes, row) = (bucket.clone(), args.value_bytes as usize, Arc::new(row));
    fill(count, IN_FLIGHT, move |index| {
        let number = row(index);
        let mut value = vec![0; bytes];
        Rng::with_seed(seed << 40 | number).fill(&mut value);
        let handle = bucket.lww(key(number));
        async move { handle?.put(Bytes::from(value)).await.map(|_| ()) }
    })
    .await?;
    Ok(())
}

fn since(earlier: Option<Traffic>) -> Traffic {
    match (loopback(), earlier) {
        (Some(now), Some(earlier)) => now.since(earlier),
        _ => Traffic::default(),
    }
}

fn tell(report: &mut Report, rounds: &[Caught]) {
    let mut table = Table::new([
        "round",
        "rows changed",
        "their bytes",
        "started after",
        "equal after",
        "rows repaired",
        "bytes repaired",
        "to their bytes",
        "over loopback",
        "partitions that differ",
    ]);
    let ratio = |caught: &Caught| caught.bytes_taken as f64 / caught.row_bytes.max(1) as f64;
    for (round, caught) in rounds.iter().enumerate() {
        table.row([
            Cell::Count(round as u64 + 1),
            Cell::Count(caught.changed),
            Cell::bytes(caught.row_bytes),
            Cell::seconds(caught.start),
            Cell::seconds(caught.equal),
            Cell::Count(caught.rows_taken),
            Cell::bytes(caught.bytes_taken),
            Cell::Ratio(ratio(caught)),
            Cell::bytes(caught.traffic.bytes),
            Cell::Count(caught.differ),
        ]);
        if caught.differ > 0 {
            let differ = caught.differ;
            report.wrong(format!(
                "clocks are equal, yet the rows of {differ} partitions are not"
            ));
        }
    }
    let median = |of: &dyn Fn(&Caught) -> f64| rounds.iter().map(of).collect::<Rounds>();
    let equal = median(&|caught| caught.equal.as_secs_f64());
    report.fact("equal after, median", Cell::median(&equal, Cell::Seconds));
    report.fact(
        "bytes repaired to bytes changed, median",
        Cell::median(&median(&ratio), Cell::Ratio),
    );
    report.table("catching up", table);
}
