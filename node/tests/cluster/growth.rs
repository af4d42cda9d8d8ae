//! A cluster grows from three nodes to five and shrinks again under load, while one process after the
//! other is killed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use dunlin_client::{Bucket, Bytes, Client, Kind, NodeId, Options, Quorum};
use dunlin_node::dev::NodeState;
use dunlin_protocol::BucketDefaults;
use dunlin_protocol::cluster::{Change, ClusterRequest, ClusterState};
use dunlin_ring::{Member, MemberState};

use crate::harness::{PATIENCE, TestCluster};

/// Sets that are written to.
const KEYS: u64 = 96;
const WRITERS: u64 = 2;
/// Rows that are there from the start, and make the hand-over take a moment.
const BALLAST: u32 = 300;
const BALLAST_BYTES: usize = 20_000;

#[tokio::test]
async fn a_cluster_grows_and_shrinks_under_load_and_kills_without_losing_a_write() {
    let mut cluster = TestCluster::start(3).await;
    let client = connect(cluster.dev.cluster_file()).await;
    let sets = create(&client, "sets", Kind::Set).await;
    let ballast = create(&client, "ballast", Kind::Register).await;
    for row in 0..BALLAST {
        let register = ballast.register(row.to_string()).unwrap();
        register.put_new(value(row)).await.unwrap();
    }
    let load = Load::start(cluster.dev.cluster_file());
    load.goes_on(&cluster, 50).await;

    let mut joining = Vec::new();
    for number in [4, 5] {
        let node = cluster.dev.add().unwrap();
        assert_eq!(node.number, number);
        cluster.dev.start_node(number).unwrap();
        let watch = cluster.watch.as_mut().unwrap();
        watch.linked(&cluster.dev, number, PATIENCE).await.unwrap();
        joining.push(Change::Join(Member {
            id: NodeId::from_name(&node.name),
            zone: node.name.clone(),
            name: node.name,
            address: node.address,
            capacity: 1,
            state: MemberState::Active,
        }));
    }
    change(&client, joining).await;
    // The one that ran apply, a new one, and a source.
    for number in [2, 4, 1] {
        cluster.dev.kill(number).unwrap();
        load.goes_on(&cluster, 30).await;
        cluster.dev.start_node(number).unwrap();
        all_linked(&mut cluster).await;
    }
    complete(&cluster, &client, 2).await;
    for number in [4, 5] {
        cluster
            .until(number, "it owns its share", |status| {
                status.partitions > 0 && status.filling == 0
            })
            .await;
    }
    load.goes_on(&cluster, 50).await;

    change(
        &client,
        [4, 5].map(|number| Change::Leave(id(number))).into(),
    )
    .await;
    for number in [5, 2] {
        cluster.dev.kill(number).unwrap();
        load.goes_on(&cluster, 30).await;
        cluster.dev.start_node(number).unwrap();
        all_linked(&mut cluster).await;
    }
    complete(&cluster, &client, 3).await;
    for number in [4, 5] {
        cluster
            .until(number, "it has handed everything over", |status| {
                (status.partitions, status.rows, status.hints) == (0, 0, 0)
            })
            .await;
    }
    let outcome = load.stop();
    let says = |what: &str| format!("{what}: {outcome:?}\n{}", cluster.logs());
    assert!(outcome.wrong.is_empty(), "{}", says("reads were wrong"));
    assert!(outcome.failed.is_empty(), "{}", says("requests failed"));
    for number in [4, 5] {
        cluster.dev.remove(number).unwrap();
    }
    cluster.ready().await;
    cluster.converged().await;
    let all = Options::new().r(Quorum::All).timeout(PATIENCE);
    let sets = sets.with_options(all);
    for (key, acked) in &outcome.acked {
        let found = sets.set(key).unwrap().elements().collect().await.unwrap();
        let found: BTreeSet<String> = found.iter().map(text).collect();
        let lost: Vec<_> = acked.difference(&found).collect();
        assert!(lost.is_empty(), "{key} lost {lost:?}\n{}", cluster.logs());
        let more = found.len() - acked.len();
        assert_eq!(more, 0, "{key} holds what nobody added");
    }
    let ballast = ballast.with_options(all);
    for row in 0..BALLAST {
        let register = ballast.register(row.to_string()).unwrap();
        let found = register.get().await.unwrap().unwrap();
        assert_eq!(found.values, [value(row)], "{row}");
    }
}

async fn connect(cluster_file: PathBuf) -> Client {
    let builder = Client::builder().cluster_file(cluster_file);
    let options = Options::new().timeout(Duration::from_secs(15));
    builder.options(options).connect().await.unwrap()
}

async fn create(client: &Client, name: &str, kind: Kind) -> Bucket {
    let defaults = BucketDefaults::default();
    client.create_bucket(name, kind, defaults).await.unwrap();
    client.bucket(name).await.unwrap()
}

fn value(row: u32) -> Bytes {
    let byte = u8::try_from(row % 251).unwrap();
    Bytes::from(vec![byte; BALLAST_BYTES])
}

fn text(element: &Bytes) -> String {
    String::from_utf8_lossy(element).into_owned()
}

fn id(number: u16) -> NodeId {
    NodeId::from_name(&format!("n{number}"))
}

async fn describe(client: &Client, node: u16) -> Option<ClusterState> {
    let request = ClusterRequest::Describe;
    client.shape(Some(id(node)), request).await.ok()
}

/// Stages all of it, and applies it, at the second node.
async fn change(client: &Client, changes: Vec<Change>) {
    let at = Some(id(2));
    let mut based_on = None;
    for change in changes {
        let staged = client.shape(at, ClusterRequest::Stage(change)).await;
        based_on = Some(staged.unwrap().layouts[0].id);
    }
    let based_on = based_on.unwrap();
    let apply = ClusterRequest::Apply { based_on };
    client.shape(at, apply).await.unwrap();
}

/// Waits until every node knows of one layout only, and that is the one.
async fn complete(cluster: &TestCluster, client: &Client, layout: u64) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut waits_for = None;
        for node in cluster.dev.nodes() {
            let state = describe(client, node.number).await;
            let is_so = state.as_ref().is_some_and(|state| {
                let newest = state.layouts[0].id;
                newest.number.0 == layout && state.layouts.len() == 1 && state.complete == newest
            });
            if !is_so {
                waits_for = Some((node.name.clone(), state));
            }
        }
        let Some(waits_for) = waits_for else { return };
        assert!(
            Instant::now() < deadline,
            "{waits_for:?}\n{}",
            cluster.logs()
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Waits until every node reaches every other.
async fn all_linked(cluster: &mut TestCluster) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let looks = cluster.watch.as_mut().unwrap().look(&cluster.dev).await;
        let others = cluster.dev.nodes().len() - 1;
        let all = looks.iter().all(|look| match &look.state {
            NodeState::Up(status) => status.peers.iter().filter(|p| p.reachable).count() == others,
            NodeState::Down | NodeState::Silent => false,
        });
        if all {
            return;
        }
        assert!(Instant::now() < deadline, "{looks:?}\n{}", cluster.logs());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// What the load has seen.
#[derive(Debug, Default)]
struct Outcome {
    /// What was acknowledged, by key.
    acked: BTreeMap<String, BTreeSet<String>>,
    /// Acknowledged writes that a later read did not show.
    wrong: Vec<String>,
    failed: Vec<String>,
    reads: u64,
}

/// Writers and a reader on a thread of their own.
struct Load {
    stop: Arc<AtomicBool>,
    outcome: Arc<Mutex<Outcome>>,
    writes: Arc<AtomicU64>,
    thread: std::thread::JoinHandle<()>,
}

impl Load {
    fn start(cluster_file: PathBuf) -> Self {
        let (stop, outcome, writes) = (Arc::default(), Arc::default(), Arc::default());
        let shared = (Arc::clone(&stop), Arc::clone(&outcome), Arc::clone(&writes));
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            runtime.unwrap().block_on(async move {
                let client = connect(cluster_file).await;
                // Without hints, so that reads and writes of a majority meet.
                let options = Options::new()
                    .strict()
                    .r(Quorum::Majority)
                    .w(Quorum::Majority)
                    .timeout(Duration::from_secs(15));
                let bucket = client.bucket("sets").await.unwrap().with_options(options);
                let mut tasks = tokio::task::JoinSet::new();
                for writer in 0..WRITERS {
                    tasks.spawn(write(bucket.clone(), writer, shared.clone()));
                }
                tasks.spawn(read(bucket, shared));
                tasks.join_all().await;
            });
        });
        Self {
            stop,
            outcome,
            writes,
            thread,
        }
    }

    /// Waits until so many more writes were acknowledged.
    async fn goes_on(&self, cluster: &TestCluster, more: u64) {
        let deadline = Instant::now() + PATIENCE;
        let until = self.writes.load(Relaxed) + more;
        while self.writes.load(Relaxed) < until {
            assert!(
                Instant::now() < deadline && !self.thread.is_finished(),
                "the load stands still: {:?}\n{}",
                self.outcome.lock().unwrap().failed,
                cluster.logs()
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn stop(self) -> Outcome {
        self.stop.store(true, Relaxed);
        self.thread.join().unwrap();
        std::mem::take(&mut self.outcome.lock().unwrap())
    }
}

type Shared = (Arc<AtomicBool>, Arc<Mutex<Outcome>>, Arc<AtomicU64>);

async fn write(bucket: Bucket, writer: u64, (stop, outcome, writes): Shared) {
    let mut next = 0;
    while !stop.load(Relaxed) {
        let key = format!("k{}", next % KEYS);
        let element = format!("{writer}-{next}");
        next += 1;
        let added = bucket.set(&key).unwrap().add([element.clone()]).await;
        let mut outcome = outcome.lock().unwrap();
        match added {
            Ok(_) => {
                outcome.acked.entry(key).or_default().insert(element);
                writes.fetch_add(1, Relaxed);
            }
            Err(error) => outcome.failed.push(format!("{key} {element}: {error}")),
        }
    }
}

async fn read(bucket: Bucket, (stop, outcome, _): Shared) {
    let mut next = 0;
    while !stop.load(Relaxed) {
        let key = format!("k{}", next % KEYS);
        next += 1;
        let expected = outcome.lock().unwrap().acked.get(&key).cloned();
        let Some(expected) = expected else {
            tokio::task::yield_now().await;
            continue;
        };
        let found = bucket.set(&key).unwrap().elements().collect().await;
        let mut outcome = outcome.lock().unwrap();
        outcome.reads += 1;
        match found {
            Ok(found) => {
                let found: BTreeSet<String> = found.iter().map(text).collect();
                for lost in expected.difference(&found) {
                    outcome.wrong.push(format!("{key} lacks {lost}"));
                }
            }
            Err(error) => outcome.failed.push(format!("read of {key}: {error}")),
        }
    }
}
