//! Replicas in memory, and the writes and pulls that the tests are made of.

use bytes::Bytes;
use dunlin_crdt::{Change, Event, Folded, Hlc, Millis, OpId, Replaces, RowKind, fold};
use dunlin_protocol::RowKey;
use dunlin_ring::{BucketId, PartitionCount, PartitionId};
use dunlin_storage::{
    CellMeta, Horizon, Keyspace, Kv, MemoryKv, Missing, Replica, ReplicaOptions, Start, WholeTaken,
};
use std::sync::Arc;

pub(crate) const P: PartitionId = PartitionId(0);
pub(crate) const BUCKET: BucketId = BucketId(1);
pub(crate) const META: CellMeta = CellMeta {
    stamp: Hlc(1_000 << 16),
    op: OpId(0, 1),
    expires_at: None,
};
pub(crate) const EVERYTHING: usize = 1 << 30;

pub(crate) fn element(key: &str, element: &str) -> RowKey {
    let (key, subkey) = (key.to_owned().into(), element.to_owned().into());
    RowKey {
        bucket: BUCKET,
        key,
        subkey,
    }
}

pub(crate) fn single(key: &str) -> RowKey {
    element(key, "")
}

pub(crate) fn options(start: Start) -> ReplicaOptions {
    ReplicaOptions {
        partitions: PartitionCount::new(1).unwrap(),
        owned: vec![P],
        shard: vec![P],
        start,
        hints_bytes_max: 1000,
    }
}

pub(crate) fn open(kv: &MemoryKv, seed: u64) -> Replica {
    let start = kv.open();
    Replica::open(
        Arc::new(kv.clone()),
        options(start),
        fastrand::Rng::with_seed(seed),
    )
    .unwrap()
}

pub(crate) fn new(seed: u64) -> (MemoryKv, Replica) {
    let kv = MemoryKv::new();
    let mut replica = open(&kv, seed);
    replica.mark_whole(P);
    sync(&kv, &mut replica);
    (kv, replica)
}

pub(crate) fn commit(kv: &MemoryKv, replica: &mut Replica) {
    while let Some((id, batch)) = replica.take_staged() {
        kv.commit(&batch).unwrap();
        replica.committed(id);
    }
    replica.check_invariants().unwrap();
}

pub(crate) fn sync(kv: &MemoryKv, replica: &mut Replica) {
    commit(kv, replica);
    kv.sync().unwrap();
}

pub(crate) fn close(kv: &MemoryKv, replica: &mut Replica) {
    replica.close();
    commit(kv, replica);
    kv.close_clean().unwrap();
}

pub(crate) fn put(replica: &mut Replica, key: &RowKey, value: &str, replaces: Replaces) -> Event {
    let change = Change::Value(value.to_owned().into());
    replica
        .write(key, RowKind::Register, &change, &replaces, META)
        .unwrap()
}

pub(crate) fn add(replica: &mut Replica, key: &RowKey) -> Event {
    replica
        .write(key, RowKind::Element, &Change::Mark, &Replaces::Seen, META)
        .unwrap()
}

pub(crate) fn remove(replica: &mut Replica, key: &RowKey) -> Event {
    replica
        .write(
            key,
            RowKind::Register,
            &Change::Remove,
            &Replaces::Seen,
            META,
        )
        .unwrap()
}

pub(crate) fn increment(replica: &mut Replica, key: &RowKey) -> Event {
    replica
        .write(
            key,
            RowKind::Counter,
            &Change::Increment(1),
            &Replaces::Seen,
            META,
        )
        .unwrap()
}

pub(crate) fn shown(replica: &Replica, key: &RowKey, kind: RowKind) -> Option<Folded> {
    fold(kind, &replica.row(key).unwrap(), Millis(0))
}

pub(crate) fn siblings(replica: &Replica, key: &RowKey) -> Vec<Bytes> {
    let row = replica.row(key).unwrap();
    row.cells()
        .iter()
        .map(|(_, cell)| match &cell.body {
            dunlin_crdt::Body::Value(value) => value.clone(),
            other => panic!("not a value: {other:?}"),
        })
        .collect()
}

pub(crate) fn entries(kv: &MemoryKv, keyspace: Keyspace) -> usize {
    kv.range(
        keyspace,
        std::ops::Bound::Unbounded,
        std::ops::Bound::Unbounded,
    )
    .count()
}

/// Brings everything from one replica to the other, by whichever way the log allows.
pub(crate) fn pull(from: &Replica, to: &mut Replica) {
    loop {
        match from
            .missing(P, to.clock(P), Horizon::Everything, EVERYTHING)
            .unwrap()
        {
            Missing::Rows { rows, clock, more } => {
                to.take_rows(P, &rows, &clock).unwrap();
                if !more {
                    return;
                }
            }
            Missing::LogTooShort => return pull_whole(from, to, 1),
        }
    }
}

pub(crate) fn pull_whole(from: &Replica, to: &mut Replica, bytes_max: usize) {
    let (mut after, mut first) = (None, None);
    loop {
        let (rows, clock, next) = from.whole_page(P, after.as_ref(), bytes_max).unwrap();
        let taken = to
            .take_whole_page(P, after.as_ref(), &rows, next.as_ref(), &clock)
            .unwrap();
        assert!(matches!(taken, WholeTaken::Taken { .. }));
        to.check_invariants().unwrap();
        let first = first.get_or_insert(clock);
        after = next;
        if after.is_none() {
            assert!(to.claim(P, first));
            return;
        }
    }
}
