//! What the simulator's disk does when it is harmed.

#![expect(clippy::unwrap_used, reason = "a test may fail")]

use std::ops::Bound;

use bytes::Bytes;
use dunlin_storage::{Batch, DiskSpace, Keyspace, Kv, KvError, MemoryKv, Start};

fn put(kv: &MemoryKv, key: &'static str, value: &'static str) {
    let mut batch = Batch::new();
    batch.put(Keyspace::Rows, key.into(), value.into());
    batch.put(Keyspace::Log, key.into(), value.into());
    kv.commit(&batch).unwrap();
}

fn delete(kv: &MemoryKv, key: &'static str) {
    let mut batch = Batch::new();
    batch.delete(Keyspace::Rows, key.into());
    kv.commit(&batch).unwrap();
}

fn rows(kv: &MemoryKv) -> Vec<(Bytes, Bytes)> {
    kv.range(Keyspace::Rows, Bound::Unbounded, Bound::Unbounded)
        .map(Result::unwrap)
        .collect()
}

fn pairs(pairs: &[(&'static str, &'static str)]) -> Vec<(Bytes, Bytes)> {
    pairs
        .iter()
        .map(|(key, value)| ((*key).into(), (*value).into()))
        .collect()
}

#[test]
fn crash_keeps_what_was_synced_and_a_prefix_of_the_rest() {
    for kept in 0..=5 {
        let kv = MemoryKv::new();
        put(&kv, "a", "1");
        put(&kv, "b", "1");
        kv.sync().unwrap();
        put(&kv, "a", "2");
        delete(&kv, "b");
        put(&kv, "c", "1");
        assert_eq!(kv.unsynced(), 3);
        assert_eq!(kv.crash(kept), 3_usize.saturating_sub(kept));
        let want: &[_] = match kept {
            0 => &[("a", "1"), ("b", "1")],
            1 => &[("a", "2"), ("b", "1")],
            2 => &[("a", "2")],
            _ => &[("a", "2"), ("c", "1")],
        };
        assert_eq!(rows(&kv), pairs(want));
        assert_eq!(kv.unsynced(), 0, "what a crash left is on disk");
        assert_eq!(kv.crash(0), 0);
    }
}

#[test]
fn starts_are_told_apart() {
    let kv = MemoryKv::new();
    assert_eq!(kv.open(), Start::Blank);
    assert_eq!(kv.open(), Start::Unclean);
    put(&kv, "a", "1");
    kv.close_clean().unwrap();
    assert_eq!(kv.commit(&Batch::new()), Err(KvError::Closed));
    assert_eq!(kv.open(), Start::Clean);
    kv.crash(0);
    assert_eq!(kv.open(), Start::Unclean);
    assert_eq!(rows(&kv), pairs(&[("a", "1")]));
    kv.wipe();
    assert_eq!((kv.open(), rows(&kv)), (Start::Blank, Vec::new()));
}

#[test]
fn a_disk_that_lied_is_found_out() {
    let kv = MemoryKv::new();
    for value in ["1", "2", "3"] {
        put(&kv, "a", value);
        kv.sync().unwrap();
    }
    put(&kv, "a", "4");
    assert_eq!(kv.forget(2), 2);
    assert_eq!(rows(&kv), pairs(&[("a", "1")]));
    let Start::Amnesia { evidence } = kv.open() else {
        panic!("should have noticed")
    };
    assert_eq!(evidence, ["the store ends at batch 1, the mark says 3"]);
}

#[test]
fn a_failed_sync_poisons_until_the_next_start() {
    let kv = MemoryKv::new();
    put(&kv, "a", "1");
    kv.sync().unwrap();
    put(&kv, "a", "2");
    kv.fail_next_sync();
    assert!(matches!(kv.sync(), Err(KvError::Io { .. })));
    assert_eq!(kv.sync(), Err(KvError::Poisoned));
    assert_eq!(kv.commit(&Batch::new()), Err(KvError::Poisoned));
    assert_eq!(kv.compact(), Err(KvError::Poisoned));
    assert_eq!(rows(&kv), pairs(&[("a", "2")]), "reads go on");
    kv.crash(0);
    assert_eq!(rows(&kv), pairs(&[("a", "1")]));
    put(&kv, "a", "3");
    kv.sync().unwrap();
}

#[test]
fn a_full_disk_takes_deletes_only_and_recovers() {
    let kv = MemoryKv::new();
    put(&kv, "a", "1");
    put(&kv, "b", "1");
    kv.set_space(DiskSpace::NearlyFull);
    let mut mixed = Batch::new();
    mixed.delete(Keyspace::Rows, "a".into());
    mixed.put(Keyspace::Rows, "c".into(), "1".into());
    assert_eq!(kv.commit(&mixed), Err(KvError::Full));
    delete(&kv, "b");
    assert_eq!(rows(&kv), pairs(&[("a", "1")]));
    kv.set_space(DiskSpace::Ample);
    assert_eq!(kv.commit(&mixed), Ok(()));
    assert_eq!(rows(&kv), pairs(&[("c", "1")]));
}

#[test]
fn a_range_does_not_see_what_is_committed_while_it_runs() {
    let kv = MemoryKv::new();
    put(&kv, "a", "1");
    put(&kv, "b", "1");
    let mut range = kv.range(Keyspace::Rows, Bound::Unbounded, Bound::Unbounded);
    assert_eq!(range.next(), Some(Ok(("a".into(), "1".into()))));
    delete(&kv, "b");
    put(&kv, "c", "1");
    assert_eq!(range.next(), Some(Ok(("b".into(), "1".into()))));
    assert_eq!(range.next(), None);
}
