//! Fills a small real disk. Needs root for the mount; says so and does nothing without.

#![expect(clippy::unwrap_used, reason = "a test may fail")]

use std::fs::{self, File};
use std::io::{self, Write};
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::process::Command;

use bytes::Bytes;
use dunlin_storage::{Batch, FjallKv, FjallOptions, Keyspace, Kv, KvError, Start};
use tempfile::TempDir;

/// A tmpfs that is unmounted whatever happens.
struct SmallDisk(TempDir);

impl SmallDisk {
    fn mount() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=48m", "tmpfs"])
            .arg(dir.path())
            .output();
        match mount {
            Ok(output) if output.status.success() => Some(Self(dir)),
            Ok(output) => {
                eprintln!(
                    "SKIPPED: no tmpfs: {}",
                    String::from_utf8_lossy(&output.stderr).trim()
                );
                None
            }
            Err(error) => {
                eprintln!("SKIPPED: no mount command: {error}");
                None
            }
        }
    }

    fn store(&self) -> PathBuf {
        self.0.path().join("store")
    }

    /// Takes all free space but `left` bytes.
    fn fill(&self, left: usize) -> Ballast {
        let path = self.0.path().join("ballast");
        let mut file = File::create(&path).unwrap();
        let block = vec![1; 64 << 10];
        let full = loop {
            if let Err(error) = file.write_all(&block) {
                break error;
            }
        };
        assert_eq!(full.kind(), io::ErrorKind::StorageFull);
        let len = file.metadata().unwrap().len();
        file.set_len(len.saturating_sub(left as u64)).unwrap();
        Ballast(path)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("-l").arg(self.0.path()).status();
        if !unmounted.is_ok_and(|status| status.success()) {
            eprintln!("could not unmount {}", self.0.path().display());
        }
    }
}

/// A file that takes space until it is dropped.
struct Ballast(PathBuf);

impl Drop for Ballast {
    fn drop(&mut self) {
        // It may have gone with its disk.
        let _ = fs::remove_file(&self.0);
    }
}

fn options() -> FjallOptions {
    FjallOptions {
        memtable_bytes: 8 << 20,
        cache_bytes: 1 << 20,
        ..FjallOptions::default()
    }
}

fn open(dir: &Path) -> FjallKv {
    FjallKv::open(dir, &options()).unwrap().kv
}

fn put(kv: &FjallKv, number: u64, bytes: usize) -> Result<(), KvError> {
    let mut batch = Batch::new();
    batch.put(
        Keyspace::Rows,
        number.to_be_bytes().to_vec().into(),
        vec![7; bytes].into(),
    );
    kv.commit(&batch)
}

fn delete(kv: &FjallKv, number: u64) -> Result<(), KvError> {
    let mut batch = Batch::new();
    batch.delete(Keyspace::Rows, number.to_be_bytes().to_vec().into());
    kv.commit(&batch)
}

fn count(kv: &FjallKv) -> usize {
    kv.range(Keyspace::Rows, Bound::Unbounded, Bound::Unbounded)
        .map(Result::unwrap)
        .count()
}

#[test]
fn a_full_disk_refuses_writes_goes_on_reading_and_recovers_by_itself() {
    let Some(disk) = SmallDisk::mount() else {
        return;
    };
    let kv = open(&disk.store());
    put(&kv, 0, 1000).unwrap();
    // A neighbour takes the space; the store is left less than its reserve.
    let ballast = disk.fill(2 << 20);
    let mut taken = 1;
    let refused = loop {
        match put(&kv, taken, 16 << 10) {
            Ok(()) => taken += 1,
            Err(error) => break error,
        }
        assert!(taken < 1000, "the store never noticed");
    };
    assert_eq!(refused, KvError::Full);
    assert_eq!(
        count(&kv),
        taken as usize,
        "nothing of a refused batch is seen"
    );
    assert_eq!(
        kv.get(Keyspace::Rows, &[0; 8]),
        Ok(Some(vec![7; 1000].into()))
    );
    delete(&kv, 0).unwrap();
    kv.sync().unwrap();
    assert_eq!(kv.get(Keyspace::Rows, &[0; 8]), Ok(None));
    assert_eq!(kv.compact(), Err(KvError::Full));

    drop(ballast);
    put(&kv, taken, 16 << 10).unwrap();
    kv.sync().unwrap();
    kv.close_clean().unwrap();
    drop(kv);
    let opened = FjallKv::open(&disk.store(), &options()).unwrap();
    assert_eq!(
        (opened.start, count(&opened.kv)),
        (Start::Clean, taken as usize)
    );
}

#[test]
fn writes_end_in_full_and_never_in_a_poisoned_store() {
    let Some(disk) = SmallDisk::mount() else {
        return;
    };
    let kv = open(&disk.store());
    let value = Bytes::from(vec![7; 4000]);
    let mut written = 0;
    let refused = loop {
        let mut batch = Batch::new();
        for key in 0..8_u64 {
            let key = (written * 8 + key).to_be_bytes().to_vec();
            batch.put(Keyspace::Rows, key.into(), value.clone());
        }
        match kv.commit(&batch) {
            Ok(()) => written += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(refused, KvError::Full);
    assert!(
        written * 32_000 > 10 << 20,
        "only {written} batches fitted on 48 MiB"
    );
    // What fjall does in the background now must not break it.
    for number in 0..200 {
        delete(&kv, number).unwrap();
    }
    kv.sync().unwrap();
    assert_eq!(count(&kv), written as usize * 8 - 200);
}

#[test]
fn a_failed_write_poisons_and_the_next_start_has_all_that_was_acknowledged() {
    let Some(disk) = SmallDisk::mount() else {
        return;
    };
    let kv = open(&disk.store());
    put(&kv, 0, 1000).unwrap();
    kv.sync().unwrap();
    // Within the bytes that the store writes unchecked, the space vanishes.
    put(&kv, 1, 1000).unwrap();
    let ballast = disk.fill(0);
    let mut number = 2;
    let failed = loop {
        match put(&kv, number, 10_000) {
            Ok(()) => number += 1,
            Err(error) => break error,
        }
    };
    assert!(
        matches!(
            failed,
            KvError::Io {
                kind: io::ErrorKind::StorageFull,
                ..
            }
        ),
        "{failed:?}"
    );
    assert_eq!(put(&kv, 99, 1), Err(KvError::Poisoned));
    assert_eq!(kv.sync(), Err(KvError::Poisoned));
    assert_eq!(kv.compact(), Err(KvError::Poisoned));
    assert_eq!(kv.close_clean(), Err(KvError::Poisoned));
    assert_eq!(count(&kv), number as usize, "reads go on");

    drop(ballast);
    drop(kv);
    let opened = FjallKv::open(&disk.store(), &options()).unwrap();
    assert_eq!(opened.start, Start::Unclean);
    // The failed batch is in or out: its caller was told that nobody knows.
    assert!((number as usize..=number as usize + 1).contains(&count(&opened.kv)));
    put(&opened.kv, 500, 1).unwrap();
}
