//! What an add to a set costs, by the number of elements that it has.
//!
//! All sets lie in one partition, so that the same owners, threads and clock serve every size. An
//! add makes a set larger: of small sets there are so many that none grows by more than a tenth.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use dunlin_client::{Bucket, Bytes, Client, Durability, Kind, PartitionId, Set};

use crate::args::SetArgs;
use crate::cluster::{Cluster, Node};
use crate::error::LoadError;
use crate::histogram::Histogram;
use crate::load::{Meter, fill};
use crate::page::PageReader;
use crate::proc;
use crate::report::{Cell, Report, Table};
use crate::rounds::Rounds;

/// Elements of one request while sets are filled.
const BATCH: u64 = 1_000;
/// Requests under way meanwhile.
const FILL_IN_FLIGHT: u16 = 4;
/// Elements of a page.
const PAGE: u32 = 100;
/// Of the adds of a round, so many more come first and are not counted: a fifth.
const WARM_UP_PART: u64 = 5;

/// The sets of one size.
struct Sets {
    size: u64,
    keys: Vec<Bytes>,
    /// How often was added to each in turn, so that no element is added twice.
    added: Arc<AtomicU64>,
    resident_grown: Cell,
    add_us: [Rounds; 3],
    add_rate: Rounds,
    add_cpu_us: Rounds,
    page_us: [Rounds; 2],
    page_cpu_us: Rounds,
}

/// `dunlin-loadtest set`
pub(crate) async fn run(args: &SetArgs) -> Result<Report, LoadError> {
    let mut cluster = Cluster::open(&args.cluster).await?;
    let cluster_file = cluster.file().to_owned();
    let bucket = cluster
        .bucket("sets", Kind::Set, Durability::Synced)
        .await?;
    let nodes = cluster.nodes().unwrap_or_default();
    let resident_before = resident(&nodes);
    let (mut sizes, mut all) = (args.sizes.clone(), Vec::new());
    sizes.sort_unstable();
    sizes.dedup();
    let partition = partition_of(cluster.client(), &bucket, b"sets");
    for size in sizes {
        let before = resident(&nodes);
        let sets = fill_sets(cluster.client(), &bucket, partition, size, args).await?;
        let grown = match (before, resident(&nodes)) {
            (Some(before), Some(after)) => Cell::Bytes(after as f64 - before as f64),
            _ => Cell::Absent,
        };
        all.push(Sets {
            resident_grown: grown,
            ..sets
        });
    }
    let resident_filled = resident(&nodes);
    let reader = reader(&cluster_file, cluster.client(), partition).await?;
    for _ in 0..args.rounds {
        for sets in &mut all {
            measure_adds(sets, &bucket, args, &nodes).await?;
        }
    }
    for _ in 0..args.rounds {
        for sets in &mut all {
            measure_pages(sets, &bucket, &reader, args, &nodes).await?;
        }
    }
    let mut report = Report::new("set");
    report.fact("adds in flight", Cell::Count(args.in_flight.into()));
    report.fact("adds per size and round", Cell::Count(args.adds));
    report.fact("pages per size and round", Cell::Count(args.pages));
    report.fact("rounds", Cell::Count(args.rounds.into()));
    let memory = |bytes: Option<u64>| bytes.map_or(Cell::Absent, Cell::bytes);
    report.fact("memory of all nodes, empty", memory(resident_before));
    report.fact("memory of all nodes, filled", memory(resident_filled));
    report.fact("memory of all nodes, at the end", memory(resident(&nodes)));
    tell(&mut report, &all);
    cluster.close().await;
    Ok(report)
}

async fn fill_sets(
    client: &Client,
    bucket: &Bucket,
    partition: PartitionId,
    size: u64,
    args: &SetArgs,
) -> Result<Sets, LoadError> {
    let adds = (args.adds + args.adds / WARM_UP_PART) * u64::from(args.rounds);
    let wanted = (adds * 10).div_ceil(size).max(1);
    let candidates = (0..).map(|number: u64| Bytes::from(format!("set-{size}-{number}")));
    let keys: Vec<Bytes> = candidates
        .filter(|key| partition_of(client, bucket, key) == partition)
        .take(wanted as usize)
        .collect();
    let batches = size.div_ceil(BATCH);
    let (to, of) = (bucket.clone(), keys.clone());
    fill(wanted * batches, FILL_IN_FLIGHT, move |index| {
        let (which, batch) = (index / batches, index % batches);
        let set = of.get(which as usize).cloned().unwrap_or_default();
        let handle = to.set(set);
        let elements: Vec<String> = (batch * BATCH..((batch + 1) * BATCH).min(size))
            .map(old_element)
            .collect();
        async move { handle?.add(elements).await.map(|_| ()) }
    })
    .await?;
    Ok(Sets {
        size,
        keys,
        added: Arc::default(),
        resident_grown: Cell::Absent,
        add_us: Default::default(),
        add_rate: Rounds::default(),
        add_cpu_us: Rounds::default(),
        page_us: Default::default(),
        page_cpu_us: Rounds::default(),
    })
}

async fn measure_adds(
    sets: &mut Sets,
    bucket: &Bucket,
    args: &SetArgs,
    nodes: &[Node],
) -> Result<(), LoadError> {
    add(sets, bucket, args.adds / WARM_UP_PART, args.in_flight).await?;
    let meter = Meter::start(nodes);
    let latencies = add(sets, bucket, args.adds, args.in_flight).await?;
    let spent = meter.read();
    let count = latencies.count().max(1) as f64;
    sets.add_rate.add(count / spent.elapsed.as_secs_f64());
    let told = [
        latencies.per_mille(500),
        latencies.per_mille(990),
        latencies.max(),
    ];
    for (rounds, latency) in sets.add_us.iter_mut().zip(told) {
        rounds.add(latency.as_secs_f64() * 1e6);
    }
    if let Some(servers) = spent.servers {
        sets.add_cpu_us.add(servers.as_secs_f64() * 1e6 / count);
    }
    Ok(())
}

/// Adds one new element a request, to the sets in turn.
async fn add(
    sets: &Sets,
    bucket: &Bucket,
    adds: u64,
    in_flight: u16,
) -> Result<Histogram, LoadError> {
    let handles: Result<Vec<Set>, _> = sets.keys.iter().map(|key| bucket.set(key)).collect();
    let handles = handles.map_err(LoadError::request("opening a set"))?;
    let added = Arc::clone(&sets.added);
    let latencies = Arc::new(std::sync::Mutex::new(Histogram::default()));
    let into = Arc::clone(&latencies);
    let size = sets.size;
    fill(adds, in_flight, move |_| {
        let number = added.fetch_add(1, Relaxed);
        let handle = handles.get(number as usize % handles.len()).cloned();
        let element = new_element(number, size);
        let into = Arc::clone(&into);
        async move {
            let start = Instant::now();
            if let Some(set) = handle {
                set.add([element]).await?;
            }
            // Guards the counts; a panic elsewhere leaves them sound.
            into.lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner)
                .record(start.elapsed());
            Ok(())
        }
    })
    .await?;
    let counted = latencies
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
        .clone();
    Ok(counted)
}

async fn measure_pages(
    sets: &mut Sets,
    bucket: &Bucket,
    reader: &PageReader,
    args: &SetArgs,
    nodes: &[Node],
) -> Result<(), LoadError> {
    let Some(key) = sets.keys.first() else {
        return Ok(());
    };
    let id = bucket.info().id;
    let middle = Bytes::from(old_element(sets.size / 2));
    let mut latencies = Histogram::default();
    let mut meter = Meter::start(nodes);
    let warm_up = args.pages / WARM_UP_PART;
    for page in 0..args.pages + warm_up {
        if page == warm_up {
            (latencies, meter) = (Histogram::default(), Meter::start(nodes));
        }
        let start = Instant::now();
        let elements = reader.elements(id, key, middle.clone(), PAGE).await?;
        latencies.record(start.elapsed());
        // After the middle, the middle itself left out.
        let left = (sets.size - 1 - sets.size / 2).min(PAGE.into());
        if (elements.len() as u64) < left {
            let found = elements.len();
            return Err(LoadError::Page(format!(
                "{found} elements instead of {left}"
            )));
        }
    }
    let spent = meter.read();
    for (rounds, share) in sets.page_us.iter_mut().zip([500, 990]) {
        rounds.add(latencies.per_mille(share).as_secs_f64() * 1e6);
    }
    if let Some(servers) = spent.servers {
        let pages = latencies.count().max(1) as f64;
        sets.page_cpu_us.add(servers.as_secs_f64() * 1e6 / pages);
    }
    Ok(())
}

/// Even numbers are there from the start.
fn old_element(number: u64) -> String {
    format!("e{:012}", number * 2)
}

/// Odd numbers are added, all over the set.
fn new_element(number: u64, size: u64) -> String {
    // A prime far from any size scatters them; beyond the size they go on above it.
    let scattered = number.wrapping_mul(7_919) % size.max(1) + number / size.max(1) * size;
    format!("e{:012}", scattered * 2 + 1)
}

fn partition_of(client: &Client, bucket: &Bucket, key: &[u8]) -> PartitionId {
    client
        .layout()
        .partitions()
        .partition_of(bucket.info().id, key)
}

/// A way to the first owner of the partition.
async fn reader(
    cluster_file: &Path,
    client: &Client,
    partition: PartitionId,
) -> Result<PageReader, LoadError> {
    let owner = client.layout().owners(partition).first().copied();
    let address = client
        .nodes()
        .into_iter()
        .find(|view| Some(view.node.id) == owner);
    let address = address.map(|view| view.address).unwrap_or_default();
    PageReader::connect(cluster_file, &address).await
}

fn resident(nodes: &[Node]) -> Option<u64> {
    if nodes.is_empty() {
        return None;
    }
    nodes.iter().map(|node| proc::rss_bytes(node.pid)).sum()
}

fn tell(report: &mut Report, all: &[Sets]) {
    let mut adds = Table::new([
        "elements",
        "sets",
        "adds",
        "p50",
        "p99",
        "max",
        "server CPU",
        "CPU to the smallest",
        "memory grown by filling",
    ]);
    let mut pages = Table::new(["elements", "p50", "p99", "server CPU"]);
    let smallest = all.first().and_then(|sets| sets.add_cpu_us.median());
    for sets in all {
        let ratio = match (sets.add_cpu_us.median(), smallest) {
            (Some(cpu), Some(smallest)) if smallest > 0.0 => Cell::Ratio(cpu / smallest),
            _ => Cell::Absent,
        };
        let [p50, p99, max] = &sets.add_us;
        adds.row([
            Cell::Count(sets.size),
            Cell::Count(sets.keys.len() as u64),
            Cell::median(&sets.add_rate, Cell::PerSecond),
            Cell::median(p50, Cell::Micros),
            Cell::median(p99, Cell::Micros),
            Cell::median(max, Cell::Micros),
            Cell::median(&sets.add_cpu_us, Cell::Micros),
            ratio,
            sets.resident_grown.clone(),
        ]);
        let [p50, p99] = &sets.page_us;
        pages.row([
            Cell::Count(sets.size),
            Cell::median(p50, Cell::Micros),
            Cell::median(p99, Cell::Micros),
            Cell::median(&sets.page_cpu_us, Cell::Micros),
        ]);
    }
    report.table("one add", adds);
    report.table("a page of 100 elements from the middle", pages);
    report.note("All sets lie in one partition. Adds are synced at two of three owners.");
    report.note(
        "Memory is the resident memory of all nodes; server CPU that of all nodes, per request.",
    );
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn added_elements_are_new_and_lie_all_over_the_set() {
        let size = 1_000;
        let old: BTreeSet<String> = (0..size).map(old_element).collect();
        let new: BTreeSet<String> = (0..3 * size)
            .map(|number| new_element(number, size))
            .collect();
        assert_eq!(new.len() as u64, 3 * size, "no element is added twice");
        assert!(old.is_disjoint(&new));
        let first_hundred: Vec<u64> = (0..100).map(|n| n * 7_919 % size).collect();
        assert!(first_hundred.iter().any(|place| *place < size / 4));
        assert!(first_hundred.iter().any(|place| *place > size / 4 * 3));
    }
}
