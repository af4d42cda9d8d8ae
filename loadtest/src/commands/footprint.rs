//! Memory, disk and time to start, with many rows; and what is left when they are deleted.

use std::time::{Duration, Instant};

use dunlin_client::status::NodeStatus;
use dunlin_client::{Bucket, Bytes, Durability, Kind, Options};
use fastrand::Rng;
use rustix::process::Signal;

use crate::args::FootprintArgs;
use crate::cluster::{Cluster, Node, START_MAX, signal};
use crate::error::LoadError;
use crate::load::{fill, key};
use crate::proc;
use crate::report::{Cell, Report, Table};

/// Until a node that has just started or been loaded has let go of what it needed for that.
const SETTLE: Duration = Duration::from_secs(5);
/// A compaction rewrites everything.
const COMPACT_MAX: Duration = Duration::from_secs(1800);

/// Memory and disk at one moment, of the node that has the most of each.
struct Moment {
    when: &'static str,
    resident: Option<u64>,
    disk: u64,
    rows: u64,
    log_entries: u64,
}

/// `dunlin-loadtest footprint`
pub(crate) async fn run(args: &FootprintArgs) -> Result<Report, LoadError> {
    let mut cluster = Cluster::open(&args.cluster).await?;
    cluster.dev("footprint")?;
    let bucket = cluster
        .bucket("rows", Kind::Lww, Durability::Periodic)
        .await?;
    let mut moments = vec![moment(&cluster, "empty").await?];

    let began = Instant::now();
    write(&bucket, args).await?;
    let filled_in = began.elapsed();
    cluster.wait_until_equal(START_MAX).await?;
    moments.push(moment(&cluster, "filled").await?);
    let compacted_in = compact(&cluster).await?;
    moments.push(moment(&cluster, "compacted").await?);

    let mut starts = Table::new([
        "how it ended",
        "ended in",
        "answered after",
        "counted after",
        "equal after",
    ]);
    restart(&cluster, Ending::Asked, &mut starts).await?;
    moments.push(moment(&cluster, "one started again").await?);
    restart(&cluster, Ending::Killed, &mut starts).await?;

    let began = Instant::now();
    delete(&bucket, args).await?;
    let deleted_in = began.elapsed();
    cluster.wait_until_equal(START_MAX).await?;
    moments.push(moment(&cluster, "all deleted").await?);
    compact(&cluster).await?;
    let last = moment(&cluster, "deleted, compacted").await?;

    let mut report = Report::new("footprint");
    report.fact("nodes", Cell::Count(cluster.client().nodes().len() as u64));
    report.fact("rows", Cell::Count(args.rows));
    report.fact("value", Cell::bytes(args.value_bytes.into()));
    let rate = |time: Duration| Cell::PerSecond(args.rows as f64 / time.as_secs_f64());
    report.fact("filled at", rate(filled_in));
    report.fact("compacted in, all nodes", Cell::seconds(compacted_in));
    report.fact("deleted at", rate(deleted_in));
    if last.rows > 0 {
        report.wrong(format!(
            "{} rows are left after all were deleted",
            last.rows
        ));
    }
    moments.push(last);
    report.table("one node", table(&moments, args));
    report.table("starting again", starts);
    report.note(
        "Of the nodes the one with the most is shown. The store's own figure of its disk space.",
    );
    report.note("To row: disk for one row, beyond what an empty node takes.");
    cluster.close().await;
    Ok(report)
}

async fn moment(cluster: &Cluster, when: &'static str) -> Result<Moment, LoadError> {
    tokio::time::sleep(SETTLE).await;
    let nodes = cluster.nodes()?;
    let statuses = cluster.statuses().await?;
    let most = |of: &dyn Fn(&NodeStatus) -> u64| statuses.iter().map(of).max().unwrap_or(0);
    Ok(Moment {
        when,
        resident: nodes
            .iter()
            .filter_map(|node| proc::rss_bytes(node.pid))
            .max(),
        disk: most(&|status| status.disk_bytes),
        rows: most(&|status| status.rows),
        log_entries: most(&|status| status.log_entries),
    })
}

async fn write(bucket: &Bucket, args: &FootprintArgs) -> Result<(), LoadError> {
    let (bucket, bytes) = (bucket.clone(), args.value_bytes as usize);
    fill(args.rows, args.in_flight, move |index| {
        // Each its own, so that compression gains nothing from repetition.
        let mut value = vec![0; bytes];
        Rng::with_seed(index).fill(&mut value);
        let handle = bucket.lww(key(index));
        async move { handle?.put(Bytes::from(value)).await.map(|_| ()) }
    })
    .await?;
    Ok(())
}

async fn delete(bucket: &Bucket, args: &FootprintArgs) -> Result<(), LoadError> {
    let bucket = bucket.clone();
    fill(args.rows, args.in_flight, move |index| {
        let handle = bucket.lww(key(index));
        async move { handle?.delete().await.map(|_| ()) }
    })
    .await?;
    Ok(())
}

async fn compact(cluster: &Cluster) -> Result<Duration, LoadError> {
    let patient = cluster
        .client()
        .with_options(Options::new().timeout(COMPACT_MAX));
    let began = Instant::now();
    for view in patient.nodes() {
        let compacted = patient.compact(view.node.id).await;
        compacted.map_err(LoadError::request("compacting"))?;
    }
    Ok(began.elapsed())
}

/// How a node comes to its end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// By SIGTERM: it closes its store.
    Asked,
    /// By SIGKILL.
    Killed,
}

/// Ends the first node, starts it again, and waits until it is as it was.
async fn restart(cluster: &Cluster, ending: Ending, starts: &mut Table) -> Result<(), LoadError> {
    let dev = cluster.dev("footprint")?;
    let nodes = cluster.nodes()?;
    let Some(Node { id, pid, .. }) = nodes.first().cloned() else {
        return Err(LoadError::TooFewNodes {
            needed: 1,
            nodes: 0,
        });
    };
    let began = Instant::now();
    match ending {
        Ending::Asked => signal(pid, Signal::TERM)?,
        Ending::Killed => dev.kill(1)?,
    }
    while proc::is_alive(pid) {
        if began.elapsed() > START_MAX {
            return Err(LoadError::TimedOut {
                what: "that a node ended",
                after: START_MAX,
                seen: format!("process {pid} runs"),
            });
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let ended = began.elapsed();

    let began = Instant::now();
    let starting = tokio::task::spawn_blocking(move || dev.restart(1));
    cluster
        .wait_for("that a node answers", START_MAX, |_| true)
        .await?;
    let answered = began.elapsed();
    let counted = |statuses: &[NodeStatus]| {
        statuses
            .iter()
            .filter(|status| status.node == id)
            .all(|status| !status.counting)
    };
    cluster
        .wait_for("that a node has counted its rows", START_MAX, counted)
        .await?;
    let counted = began.elapsed();
    cluster.wait_until_equal(START_MAX).await?;
    let equal = began.elapsed();
    match starting.await {
        Ok(started) => started?,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
    starts.row([
        Cell::text(match ending {
            Ending::Asked => "asked to (SIGTERM)",
            Ending::Killed => "killed (SIGKILL)",
        }),
        Cell::seconds(ended),
        Cell::seconds(answered),
        Cell::seconds(counted),
        Cell::seconds(equal),
    ]);
    Ok(())
}

fn table(moments: &[Moment], args: &FootprintArgs) -> Table {
    let mut table = Table::new(["when", "resident", "disk", "to row", "rows", "log entries"]);
    let empty = moments.first().map_or(0, |moment| moment.disk);
    for moment in moments {
        let to_row = moment.disk.saturating_sub(empty) as f64 / args.rows as f64;
        table.row([
            Cell::text(moment.when),
            moment.resident.map_or(Cell::Absent, Cell::bytes),
            Cell::bytes(moment.disk),
            Cell::Bytes(to_row),
            Cell::Count(moment.rows),
            Cell::Count(moment.log_entries),
        ]);
    }
    table
}
