//! What every `Kv` promises, checked on both implementations against a model of ordered maps.

#![expect(clippy::unwrap_used, reason = "a test may fail")]

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;
use dunlin_storage::{Batch, FjallKv, FjallOptions, Keyspace, Kv, KvError, MemoryKv};
use proptest::collection::vec;
use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop_oneof, proptest};
use tempfile::TempDir;

type Model = BTreeMap<(Keyspace, Bytes), Bytes>;

#[derive(Clone, Debug)]
enum Op {
    Commit(Vec<(Keyspace, Bytes, Option<Bytes>)>),
    Sync,
    Compact,
    /// Takes a snapshot, to be checked after everything else.
    Snapshot,
    Range(Keyspace, Bound<Bytes>, Bound<Bytes>),
}

fn keyspace() -> impl Strategy<Value = Keyspace> {
    (0..Keyspace::ALL.len()).prop_map(|index| Keyspace::ALL[index])
}

/// Few and short keys, so that they meet; some share prefixes.
fn key() -> impl Strategy<Value = Bytes> {
    vec(prop_oneof![Just(0), Just(1), Just(0xff)], 1..4).prop_map(Bytes::from)
}

fn value() -> impl Strategy<Value = Bytes> {
    prop_oneof![vec(any::<u8>(), 0..40), vec(any::<u8>(), 3000)].prop_map(Bytes::from)
}

fn bound() -> impl Strategy<Value = Bound<Bytes>> {
    prop_oneof![
        Just(Bound::Unbounded),
        key().prop_map(Bound::Included),
        key().prop_map(Bound::Excluded),
        Just(Bound::Included(Bytes::new())),
        Just(Bound::Excluded(Bytes::from(vec![0xff; 70_000]))),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    let write = (keyspace(), key(), proptest::option::weighted(0.7, value()));
    prop_oneof![
        10 => vec(write, 0..8).prop_map(Op::Commit),
        6 => (keyspace(), bound(), bound()).prop_map(|(ks, from, to)| Op::Range(ks, from, to)),
        2 => Just(Op::Snapshot),
        1 => Just(Op::Sync),
        1 => Just(Op::Compact),
    ]
}

fn as_slice(bound: &Bound<Bytes>) -> Bound<&[u8]> {
    bound.as_ref().map(|key| &key[..])
}

fn expected(model: &Model, ks: Keyspace, from: &Bound<Bytes>, to: &Bound<Bytes>) -> Vec<Pair> {
    let inside = |key: &Bytes| {
        (match from {
            Bound::Unbounded => true,
            Bound::Included(from) => key >= from,
            Bound::Excluded(from) => key > from,
        }) && (match to {
            Bound::Unbounded => true,
            Bound::Included(to) => key <= to,
            Bound::Excluded(to) => key < to,
        })
    };
    let of_keyspace = model
        .iter()
        .filter(|((keyspace, key), _)| *keyspace == ks && inside(key));
    of_keyspace
        .map(|((_, key), value)| (key.clone(), value.clone()))
        .collect()
}

type Pair = (Bytes, Bytes);

fn all(kv: &dyn Kv, ks: Keyspace) -> Vec<Pair> {
    kv.range(ks, Bound::Unbounded, Bound::Unbounded)
        .collect::<Result<_, _>>()
        .unwrap()
}

/// The suite: runs operations on a store and a model side by side.
fn conforms(kv: &dyn Kv, ops: &[Op]) {
    let mut model = Model::new();
    let mut snapshots = Vec::new();
    for op in ops {
        match op {
            Op::Commit(writes) => {
                let mut batch = Batch::new();
                for (ks, key, value) in writes {
                    let slot = (*ks, key.clone());
                    match value {
                        Some(value) => {
                            batch.put(*ks, key.clone(), value.clone());
                            model.insert(slot, value.clone());
                        }
                        None => {
                            batch.delete(*ks, key.clone());
                            model.remove(&slot);
                        }
                    }
                }
                kv.commit(&batch).unwrap();
                for (ks, key, _) in writes {
                    let want = model.get(&(*ks, key.clone())).cloned();
                    assert_eq!(kv.get(*ks, key).unwrap(), want);
                }
            }
            Op::Sync => kv.sync().unwrap(),
            Op::Compact => kv.compact().unwrap(),
            Op::Snapshot => snapshots.push((kv.snapshot(), model.clone())),
            Op::Range(ks, from, to) => {
                let found: Result<Vec<_>, _> =
                    kv.range(*ks, as_slice(from), as_slice(to)).collect();
                assert_eq!(found.unwrap(), expected(&model, *ks, from, to));
            }
        }
    }
    for ks in Keyspace::ALL {
        let whole = (Bound::Unbounded, Bound::Unbounded);
        assert_eq!(all(kv, ks), expected(&model, ks, &whole.0, &whole.1));
        for (snapshot, then) in &snapshots {
            let found: Result<Vec<_>, _> = snapshot
                .range(ks, Bound::Unbounded, Bound::Unbounded)
                .collect();
            assert_eq!(found.unwrap(), expected(then, ks, &whole.0, &whole.1));
            for (model_ks, key) in model.keys() {
                let want = then.get(&(*model_ks, key.clone())).cloned();
                assert_eq!(snapshot.get(*model_ks, key).unwrap(), want);
            }
        }
    }
}

/// A directory in memory, if the machine has such: what is tested is not how fast a disk syncs.
fn fast_dir() -> TempDir {
    tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .unwrap()
}

fn small() -> FjallOptions {
    FjallOptions {
        memtable_bytes: 1 << 20,
        ..FjallOptions::default()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn memory_store_conforms(ops in vec(op(), 1..60)) {
        conforms(&MemoryKv::new(), &ops);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn fjall_store_conforms(ops in vec(op(), 1..60)) {
        let dir = fast_dir();
        conforms(&FjallKv::open(dir.path(), &small()).unwrap().kv, &ops);
    }
}

fn refuses_what_cannot_be_stored(kv: &dyn Kv) {
    for key in [Bytes::new(), Bytes::from(vec![7; 65_536])] {
        let mut batch = Batch::new();
        batch.put(Keyspace::Meta, "sound".into(), "1".into());
        batch.put(Keyspace::Rows, key.clone(), "1".into());
        let refused = kv.commit(&batch);
        assert!(
            matches!(refused, Err(KvError::TooLarge { .. })),
            "{refused:?}"
        );
        assert_eq!(kv.get(Keyspace::Meta, b"sound"), Ok(None));
        assert_eq!(kv.get(Keyspace::Rows, &key), Ok(None));
    }
    let mut batch = Batch::new();
    batch.put(Keyspace::Rows, vec![7; 65_535].into(), "1".into());
    assert_eq!(kv.commit(&batch), Ok(()));
    assert_eq!(kv.get(Keyspace::Rows, &[7; 65_535]), Ok(Some("1".into())));
}

#[test]
fn what_cannot_be_stored_is_refused_whole() {
    let dir = fast_dir();
    refuses_what_cannot_be_stored(&FjallKv::open(dir.path(), &small()).unwrap().kv);
    refuses_what_cannot_be_stored(&MemoryKv::new());
}

#[test]
fn compact_leaves_near_only_what_is_live() {
    let dir = tempfile::tempdir().unwrap();
    let kv = FjallKv::open(dir.path(), &small()).unwrap().kv;
    let mut live = 0;
    for round in 0..24_u32 {
        let mut batch = Batch::new();
        for key in 0..256_u32 {
            let value = vec![round as u8; 4096];
            live = 256 * (4096 + 4);
            batch.put(
                Keyspace::Rows,
                key.to_be_bytes().to_vec().into(),
                value.into(),
            );
        }
        kv.commit(&batch).unwrap();
    }
    kv.compact().unwrap();
    let tables = |dir: &std::path::Path| -> u64 {
        let keyspaces = std::fs::read_dir(dir.join("store/keyspaces")).unwrap();
        let tables = keyspaces.flat_map(|ks| std::fs::read_dir(ks.unwrap().path().join("tables")));
        tables
            .flatten()
            .map(|table| table.unwrap().metadata().unwrap().len())
            .sum()
    };
    let bytes = tables(dir.path());
    assert!(
        bytes < live * 13 / 10,
        "tables hold {bytes} bytes, live are {live}"
    );
    assert!(kv.disk_bytes() > bytes);
    assert_eq!(
        kv.get(Keyspace::Rows, &[0, 0, 0, 9]).unwrap(),
        Some(vec![23; 4096].into())
    );
}
