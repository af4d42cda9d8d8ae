//! What one replica costs: nanoseconds of its own thread for a write, a taken event and a read, on
//! the store in memory and on fjall. Commits are made every 64 operations, as a writer that groups
//! does, and are measured apart; nothing is synced.
//!
//! ```text
//! cargo run --release -p dunlin-storage --example replica_bench [operations]
//! ```
#![expect(
    clippy::unwrap_used,
    reason = "a measurement may stop at anything unexpected"
)]
#![expect(clippy::disallowed_methods, reason = "a measurement reads the time")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use dunlin_crdt::{Change, Event, Hlc, OpId, Replaces, RowKind};
use dunlin_protocol::RowKey;
use dunlin_ring::{BucketId, PartitionCount, PartitionId};
use dunlin_storage::{
    CellMeta, FjallKv, FjallOptions, Kv, MemoryKv, Replica, ReplicaOptions, Start,
};

const GROUP: usize = 64;

struct Bench {
    name: &'static str,
    kv: Arc<dyn Kv>,
    replica: Replica,
    commits: Duration,
}

fn open(kv: Arc<dyn Kv>, seed: u64) -> Replica {
    let partitions = PartitionCount::default();
    let all: Vec<PartitionId> = partitions.iter().collect();
    let options = ReplicaOptions {
        partitions,
        owned: all.clone(),
        shard: all,
        start: Start::Blank,
        hints_bytes_max: 1 << 30,
    };
    Replica::open(kv, options, fastrand::Rng::with_seed(seed)).unwrap()
}

impl Bench {
    fn new(name: &'static str, kv: Arc<dyn Kv>) -> Self {
        let replica = open(kv.clone(), 1);
        Self {
            name,
            kv,
            replica,
            commits: Duration::ZERO,
        }
    }

    fn commit(&mut self) {
        let start = Instant::now();
        if let Some((id, batch)) = self.replica.take_staged() {
            self.kv.commit(&batch).unwrap();
            self.replica.committed(id);
        }
        self.commits += start.elapsed();
    }

    fn run(&mut self, what: &str, operations: usize, mut one: impl FnMut(&mut Replica, usize)) {
        self.commits = Duration::ZERO;
        let start = Instant::now();
        for n in 0..operations {
            one(&mut self.replica, n);
            if n % GROUP == GROUP - 1 {
                self.commit();
            }
        }
        self.commit();
        let per = |time: Duration| time.as_nanos() / operations.max(1) as u128;
        let own = start.elapsed().saturating_sub(self.commits);
        println!(
            "{:8} {what:32} {:7} ns, commit {:7} ns",
            self.name,
            per(own),
            per(self.commits)
        );
    }
}

fn key(key: usize, subkey: usize) -> RowKey {
    RowKey {
        bucket: BucketId(1),
        key: format!("key{key:08}").into(),
        subkey: if subkey == usize::MAX {
            Bytes::new()
        } else {
            format!("{subkey:08}").into()
        },
    }
}

fn write(replica: &mut Replica, key: &RowKey, kind: RowKind, change: &Change) -> Event {
    let meta = CellMeta {
        stamp: Hlc(1),
        op: OpId(1, 1),
        expires_at: None,
    };
    replica
        .write(key, kind, change, &Replaces::Seen, meta)
        .unwrap()
}

fn measure(mut bench: Bench, operations: usize) {
    let value = Change::Value(vec![7; 100].into());
    let single = |n: usize| key(n, usize::MAX);
    bench.run("write, new key", operations, |replica, n| {
        write(replica, &single(n), RowKind::Register, &value);
    });
    bench.run("write, over an old value", operations, |replica, n| {
        write(replica, &single(n), RowKind::Register, &value);
    });
    bench.run("read", operations, |replica, n| {
        assert_eq!(replica.row(&single(n)).unwrap().cells().len(), 1);
    });
    let mut elsewhere = open(Arc::new(MemoryKv::new()), 2);
    let events: Vec<Event> = (0..operations)
        .map(|n| {
            // What it stages is of no interest.
            drop(elsewhere.take_staged());
            write(
                &mut elsewhere,
                &single(n + operations),
                RowKind::Register,
                &value,
            )
        })
        .collect();
    for what in ["take, new", "take, known"] {
        bench.run(what, operations, |replica, n| {
            replica.take(&single(n + operations), &events[n]).unwrap();
        });
    }
    for elements in [10, 100_000] {
        let set = 1_000_000 + elements;
        bench.run(
            &format!("fill a set with {elements}"),
            elements,
            |replica, n| {
                write(replica, &key(set, n), RowKind::Element, &Change::Mark);
            },
        );
        bench.run(
            &format!("add to a set of {elements}"),
            1000,
            |replica, n| {
                write(
                    replica,
                    &key(set, elements + n),
                    RowKind::Element,
                    &Change::Mark,
                );
            },
        );
    }
}

fn main() {
    let operations = std::env::args()
        .nth(1)
        .and_then(|n| n.parse().ok())
        .unwrap_or(20_000);
    measure(Bench::new("memory", Arc::new(MemoryKv::new())), operations);
    let dir = tempfile::tempdir().unwrap();
    let opened = FjallKv::open(dir.path(), &FjallOptions::default()).unwrap();
    measure(Bench::new("fjall", Arc::new(opened.kv)), operations);
}
