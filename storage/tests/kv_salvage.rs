//! Tables with flipped bits: found, and all that can be read of the store kept.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may fail"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use dunlin_storage::{Batch, FjallKv, FjallOptions, Keyspace, Kv, Opened, Start};

type Rows = BTreeMap<Bytes, Bytes>;

fn open(dir: &Path) -> Opened {
    FjallKv::open(dir, &FjallOptions::default()).unwrap()
}

fn key(number: u32) -> Bytes {
    Bytes::from(format!("row {number:06}"))
}

fn put(kv: &FjallKv, rows: &mut Rows, numbers: impl Iterator<Item = u32>, version: &str) {
    let mut batch = Batch::new();
    for number in numbers {
        let value = Bytes::from(format!("{version} of {number}, and so on and so forth"));
        rows.insert(key(number), value.clone());
        batch.put(Keyspace::Rows, key(number), value);
    }
    kv.commit(&batch).unwrap();
}

/// A store of which a table is old, and what is newer is in no table yet; and what it holds.
fn store(dir: &Path) -> Rows {
    let kv = open(dir).kv;
    let mut rows = Rows::new();
    put(&kv, &mut rows, 0..20_000, "first");
    kv.compact().unwrap();
    put(&kv, &mut rows, (0..20_000).step_by(10), "second");
    let mut batch = Batch::new();
    for number in (5..20_000).step_by(10) {
        rows.remove(&key(number));
        batch.delete(Keyspace::Rows, key(number));
    }
    batch.put(Keyspace::Meta, "who".into(), "me".into());
    kv.commit(&batch).unwrap();
    put(&kv, &mut rows, 30_000..30_010, "third");
    kv.sync().unwrap();
    assert_eq!(kv.damaged_tables(), Vec::<String>::new());
    rows
}

/// The tables of rows, the largest first.
fn tables(dir: &Path) -> Vec<PathBuf> {
    let tables = fs::read_dir(dir.join("store/keyspaces/1/tables")).unwrap();
    let mut tables: Vec<PathBuf> = tables.map(|table| table.unwrap().path()).collect();
    tables.sort_by_key(|table| std::cmp::Reverse(fs::metadata(table).unwrap().len()));
    tables
}

/// Flips a bit in each of these blocks of the largest table.
fn flip(dir: &Path, places: &[u64]) {
    let table = &tables(dir)[0];
    let mut bytes = fs::read(table).unwrap();
    for place in places {
        bytes[usize::try_from(*place).unwrap()] ^= 0x10;
    }
    fs::write(table, bytes).unwrap();
}

fn held(kv: &FjallKv) -> Rows {
    use std::ops::Bound::Unbounded;
    let rows = kv.range(Keyspace::Rows, Unbounded, Unbounded);
    rows.collect::<Result<_, _>>().unwrap()
}

/// What a store with damage is after it was found and the store opened anew.
fn salvaged(dir: &Path) -> Rows {
    let kv = open(dir).kv;
    let damaged = kv.damaged_tables();
    let name = tables(dir)[0].file_name().unwrap().display().to_string();
    assert_eq!(
        damaged,
        [format!("table {name} of keyspace rows is damaged")]
    );
    kv.salvage(&damaged).unwrap();
    drop(kv);
    let Opened { kv, start } = open(dir);
    assert_eq!(start, Start::Amnesia { evidence: damaged });
    assert_eq!(kv.damaged_tables(), Vec::<String>::new());
    kv.compact().unwrap();
    let rows = held(&kv);
    kv.amnesia_noted().unwrap();
    kv.close_clean().unwrap();
    drop(kv);
    assert_eq!(open(dir).start, Start::Clean);
    rows
}

#[test]
fn all_but_the_unreadable_blocks_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let before = store(dir.path());
    flip(dir.path(), &[5_000, 200_000, 200_001, 500_000]);
    let after = salvaged(dir.path());
    let lost: Vec<_> = before
        .keys()
        .filter(|key| !after.contains_key(*key))
        .collect();
    // Three blocks of 4 KiB.
    assert!(
        (1..400).contains(&lost.len()),
        "{} rows are lost",
        lost.len()
    );
    for (key, value) in &after {
        assert_eq!(before.get(key), Some(value), "{key:?}");
    }
    assert!(before.contains_key(&key(30_009)) && after.contains_key(&key(30_009)));
    let kv = open(dir.path()).kv;
    let who = kv.get(Keyspace::Meta, b"who").unwrap();
    assert_eq!(who.as_deref(), Some(&b"me"[..]));
    assert!(dir.path().join("store.forgotten-1/keyspaces").exists());
}

#[test]
fn a_copy_is_taken_up_again_wherever_it_was_interrupted() {
    for step in 0..3 {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        let before = store(dir);
        let kv = open(dir).kv;
        kv.salvage(&["doubted".to_owned()]).unwrap();
        drop(kv);
        match step {
            // A copy that was not finished.
            0 => {
                fs::create_dir(dir.join("store.salvage")).unwrap();
                fs::write(dir.join("store.salvage/0.jnl"), b"half").unwrap();
            }
            // A finished one: before the store was moved away, and after.
            _ => {
                let note = fs::read(dir.join("salvage")).unwrap();
                drop(open(dir));
                fs::rename(dir.join("store"), dir.join("store.salvaged")).unwrap();
                if step == 1 {
                    fs::rename(dir.join("store.forgotten-1"), dir.join("store")).unwrap();
                }
                fs::write(dir.join("salvage"), note).unwrap();
                fs::remove_file(dir.join("amnesia")).unwrap();
            }
        }
        let Opened { kv, start } = open(dir);
        let evidence = vec!["doubted".to_owned()];
        assert_eq!(start, Start::Amnesia { evidence }, "step {step}");
        assert!(held(&kv) == before, "step {step}");
        assert!(!dir.join("salvage").exists());
    }
}

#[test]
fn a_store_that_does_not_open_is_set_aside_and_not_copied() {
    let dir = tempfile::tempdir().unwrap();
    store(dir.path());
    let kv = open(dir.path()).kv;
    kv.salvage(&["doubted".to_owned()]).unwrap();
    drop(kv);
    fs::write(&tables(dir.path())[0], b"").unwrap();
    let Opened { kv, start } = open(dir.path());
    assert!(matches!(start, Start::Amnesia { .. }), "{start:?}");
    assert!(held(&kv).is_empty());
    assert!(!dir.path().join("salvage").exists());
}
