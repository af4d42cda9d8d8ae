//! One node of a cluster of two partitions, and what is on its disk.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use dunlin_crdt::{Change, Event, Hlc, OpId, Replaces, RowKind};
use dunlin_protocol::RowKey;
use dunlin_protocol::peer::{RangeScope, RowRange};
use dunlin_ring::{BucketId, PartitionCount, PartitionId};
use dunlin_storage::{
    CellMeta, Horizon, Keyspace, Kv, MemoryKv, Missing, Progress, Replica, ReplicaOptions, Start,
    WholeTaken,
};

pub(crate) const P: PartitionId = PartitionId(0);
pub(crate) const OTHER: PartitionId = PartitionId(1);
const BUCKET: BucketId = BucketId(1);
const META: CellMeta = CellMeta {
    stamp: Hlc(1_000 << 16),
    op: OpId(0, 1),
    expires_at: None,
};

/// The `n`th key of a partition, in order.
pub(crate) fn key(partition: PartitionId, n: usize) -> RowKey {
    keys(partition, n + 1).pop().unwrap()
}

/// The first keys of a partition.
pub(crate) fn keys(partition: PartitionId, many: usize) -> Vec<RowKey> {
    let count = PartitionCount::new(2).unwrap();
    let named = |n: usize| RowKey {
        bucket: BUCKET,
        key: format!("{n:06}").into(),
        subkey: Bytes::new(),
    };
    let of_partition = (0..)
        .map(named)
        .filter(|key| key.partition(count) == partition);
    of_partition.take(many).collect()
}

pub(crate) fn open_as(kv: &MemoryKv, owned: &[PartitionId], start: Start, seed: u64) -> Replica {
    let options = ReplicaOptions {
        partitions: PartitionCount::new(2).unwrap(),
        owned: owned.to_vec(),
        shard: vec![P, OTHER],
        start,
        hints_bytes_max: 1000,
    };
    let rng = fastrand::Rng::with_seed(seed);
    let replica = Replica::open(Arc::new(kv.clone()), options, rng).unwrap();
    replica.check_invariants().unwrap();
    replica
}

pub(crate) fn open(kv: &MemoryKv, owned: &[PartitionId], seed: u64) -> Replica {
    open_as(kv, owned, kv.open(), seed)
}

/// A node that owns both partitions.
pub(crate) fn new(seed: u64) -> (MemoryKv, Replica) {
    let kv = MemoryKv::new();
    let mut replica = open(&kv, &[P, OTHER], seed);
    replica.mark_whole(P);
    replica.mark_whole(OTHER);
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

pub(crate) fn put(replica: &mut Replica, key: &RowKey, value: &str) -> Event {
    let change = Change::Value(value.to_owned().into());
    replica
        .write(key, RowKind::Register, &change, &Replaces::Seen, META)
        .unwrap()
}

pub(crate) fn remove(replica: &mut Replica, key: &RowKey) -> Event {
    let seen = &Replaces::Seen;
    replica
        .write(key, RowKind::Register, &Change::Remove, seen, META)
        .unwrap()
}

/// The keys of the rows of a partition that show something.
pub(crate) fn shown(replica: &Replica, partition: PartitionId) -> BTreeSet<RowKey> {
    let everything = RowRange {
        bucket: BUCKET,
        scope: RangeScope::Keys {
            prefix: Bytes::new(),
            after: None,
        },
    };
    let rows = replica.rows(partition, &everything).map(Result::unwrap);
    rows.filter(|(_, row)| !row.cells().is_empty())
        .map(|(key, _)| key)
        .collect()
}

pub(crate) fn drop_all(replica: &mut Replica) {
    while replica.drop_some(3).unwrap() == Progress::More {}
}

/// What a keyspace holds of a partition.
pub(crate) fn stored(kv: &MemoryKv, keyspace: Keyspace, partition: PartitionId) -> Vec<Bytes> {
    kv.range(keyspace, Bound::Unbounded, Bound::Unbounded)
        .map(|entry| entry.unwrap().0)
        .filter(|key| key.starts_with(&partition.0.to_be_bytes()))
        .collect()
}

/// The epochs under which a keyspace holds anything of a partition.
pub(crate) fn epochs(kv: &MemoryKv, keyspace: Keyspace, partition: PartitionId) -> BTreeSet<u32> {
    let epoch = |key: Bytes| u32::from_be_bytes(key[2..6].try_into().unwrap());
    stored(kv, keyspace, partition)
        .into_iter()
        .map(epoch)
        .collect()
}

/// Brings everything of a partition from one replica to the other.
pub(crate) fn pull(from: &Replica, to: &mut Replica, partition: PartitionId) {
    loop {
        let missing = from.missing(partition, to.clock(partition), Horizon::Everything, 1 << 20);
        match missing.unwrap() {
            Missing::Rows { rows, clock, more } => {
                to.take_rows(partition, &rows, &clock).unwrap();
                if !more {
                    return;
                }
            }
            Missing::LogTooShort => return pull_whole(from, to, partition),
        }
    }
}

pub(crate) fn pull_whole(from: &Replica, to: &mut Replica, partition: PartitionId) {
    let (mut after, mut first) = (None, None);
    loop {
        let (rows, clock, next) = from.whole_page(partition, after.as_ref(), 500).unwrap();
        let taken = to
            .take_whole_page(partition, after.as_ref(), &rows, next.as_ref(), &clock)
            .unwrap();
        let WholeTaken::Taken { next, .. } = taken else {
            panic!("{taken:?}")
        };
        let first = first.get_or_insert(clock);
        after = next;
        if after.is_none() {
            assert!(to.claim(partition, first));
            return;
        }
    }
}

pub(crate) fn assert_same(a: &Replica, b: &Replica, partition: PartitionId) {
    assert_eq!(a.clock(partition), b.clock(partition));
    let digest = |replica: &Replica| {
        replica
            .digest(partition, None, usize::MAX, |_| false)
            .unwrap()
    };
    assert_eq!(digest(a), digest(b));
}
