//! Harms a store on disk in every way that was thought of, and demands: nothing that was synced is
//! missing, or the store says that it may have forgotten something.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may fail")]

use std::fs;
use std::ops::Bound;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use dunlin_storage::{Batch, FjallKv, FjallOptions, Keyspace, Kv, KvError, Opened, Start};
use tempfile::TempDir;

const BATCHES: u64 = 24;

fn options() -> FjallOptions {
    FjallOptions::default()
}

/// A directory in memory, if the machine has such: what is tested is not how fast a disk syncs.
fn fast_dir() -> TempDir {
    tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .unwrap()
}

fn key(number: u64) -> Bytes {
    number.to_be_bytes().to_vec().into()
}

fn value(number: u64) -> Bytes {
    vec![number as u8; 40 + number as usize].into()
}

fn put(kv: &FjallKv, number: u64) {
    let mut batch = Batch::new();
    batch.put(Keyspace::Rows, key(number), value(number));
    batch.put(Keyspace::Log, key(number), key(number));
    batch.delete(Keyspace::Hints, key(number));
    kv.commit(&batch).unwrap();
}

/// The numbers whose batches are there, whole.
fn found(kv: &FjallKv) -> Vec<u64> {
    let numbers = |keyspace| -> Vec<u64> {
        let entries = kv.range(keyspace, Bound::Unbounded, Bound::Unbounded);
        entries
            .map(|e| u64::from_be_bytes(e.unwrap().0[..].try_into().unwrap()))
            .collect()
    };
    let rows = numbers(Keyspace::Rows);
    assert_eq!(rows, numbers(Keyspace::Log), "batches are whole");
    for number in &rows {
        assert_eq!(
            kv.get(Keyspace::Rows, &key(*number)),
            Ok(Some(value(*number)))
        );
    }
    rows
}

/// A store killed after `synced` synced batches and some that were only committed.
struct Killed {
    dir: TempDir,
    synced: u64,
}

impl Killed {
    fn new(synced: u64) -> Self {
        let dir = fast_dir();
        let opened = FjallKv::open(dir.path(), &options()).unwrap();
        assert_eq!(opened.start, Start::Blank);
        for number in 1..=BATCHES {
            put(&opened.kv, number);
            if number == synced / 2 || number == synced {
                opened.kv.sync().unwrap();
            }
        }
        drop(opened);
        let killed = Self { dir, synced };
        // As it is after any reopening; and a copy need not carry 64 MiB of zeros.
        let journal = fs::read(killed.journal()).unwrap();
        let end = journal.iter().rposition(|byte| *byte != 0).unwrap() + 1;
        fs::write(killed.journal(), &journal[..end]).unwrap();
        killed
    }

    fn journal(&self) -> PathBuf {
        self.dir.path().join("store/0.jnl")
    }

    fn copy(&self) -> TempDir {
        let copy = fast_dir();
        copy_dir(self.dir.path(), copy.path());
        copy
    }

    /// Opens a harmed copy, applies the demand, and says whether it was amnesia.
    fn check(&self, harm: &str, change: impl FnOnce(&mut Vec<u8>)) -> Verdict {
        let copy = self.copy();
        let path = copy.path().join("store/0.jnl");
        let mut journal = fs::read(&path).unwrap();
        change(&mut journal);
        fs::write(&path, journal).unwrap();
        self.demand(harm, copy.path())
    }

    fn demand(&self, harm: &str, dir: &Path) -> Verdict {
        let opened = FjallKv::open(dir, &options()).unwrap();
        let found = found(&opened.kv);
        let lost: Vec<u64> = (1..=self.synced)
            .filter(|number| !found.contains(number))
            .collect();
        match &opened.start {
            Start::Amnesia { evidence } => {
                assert!(
                    evidence.iter().all(|sentence| !sentence.is_empty()),
                    "{harm}"
                );
                reports_until_noted_then_goes_on(opened.kv, dir, &found);
                Verdict::Amnesia(evidence.clone(), found)
            }
            Start::Unclean => {
                assert_eq!(lost, [0; 0], "{harm}: synced batches were lost in silence");
                Verdict::Sound
            }
            Start::Blank | Start::Clean => panic!("{harm}: {:?}", opened.start),
        }
    }
}

#[derive(Debug)]
enum Verdict {
    Sound,
    Amnesia(Vec<String>, Vec<u64>),
}

impl Verdict {
    fn evidence(self) -> Vec<String> {
        match self {
            Self::Amnesia(evidence, _) => evidence,
            Self::Sound => panic!("should have noticed"),
        }
    }
}

/// After an amnesia the store must take writes and keep them, and report the amnesia at every open
/// until it is noted, then never again.
fn reports_until_noted_then_goes_on(kv: FjallKv, dir: &Path, found_before: &[u64]) {
    put(&kv, 100);
    kv.sync().unwrap();
    drop(kv);
    let again = FjallKv::open(dir, &options()).unwrap();
    assert!(
        matches!(again.start, Start::Amnesia { .. }),
        "not noted yet: {:?}",
        again.start
    );
    again.kv.amnesia_noted().unwrap();
    drop(again);
    let noted = FjallKv::open(dir, &options()).unwrap();
    assert_eq!(noted.start, Start::Unclean);
    assert_eq!(found(&noted.kv), [found_before, &[100]].concat());
}

#[test]
fn what_a_peer_remembers_is_an_amnesia_of_the_next_start_until_it_is_noted() {
    let dir = fast_dir();
    let Opened { kv, .. } = FjallKv::open(dir.path(), &options()).unwrap();
    put(&kv, 1);
    kv.doubt("n2 remembers batch 9".to_owned()).unwrap();
    kv.close_clean().unwrap();
    drop(kv);
    let Opened { kv, start } = FjallKv::open(dir.path(), &options()).unwrap();
    let evidence = vec!["n2 remembers batch 9".to_owned()];
    assert_eq!(start, Start::Amnesia { evidence });
    reports_until_noted_then_goes_on(kv, dir.path(), &[1]);
}

#[test]
fn the_number_of_synced_batches_goes_on_over_restarts_and_back_with_a_backup() {
    let (dir, backup) = (fast_dir(), fast_dir());
    let Opened { kv, .. } = FjallKv::open(dir.path(), &options()).unwrap();
    let before = kv.synced();
    put(&kv, 1);
    assert_eq!(kv.synced(), before, "only written");
    kv.sync().unwrap();
    let at_backup = kv.synced();
    assert_eq!(at_backup, before + 1);
    copy_dir(dir.path(), backup.path());
    put(&kv, 2);
    kv.close_clean().unwrap();
    assert_eq!(kv.synced(), at_backup + 1);
    drop(kv);
    let synced = |dir: &TempDir| FjallKv::open(dir.path(), &options()).unwrap().kv.synced();
    assert_eq!(synced(&dir), at_backup + 1);
    assert_eq!(synced(&backup), at_backup);
}

fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_dir(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn a_torn_tail_loses_nothing_synced_or_is_amnesia() {
    let killed = Killed::new(16);
    let len = fs::metadata(killed.journal()).unwrap().len() as usize;
    let (mut sound, mut amnesia) = (0, 0);
    for cut in (0..len).step_by(len / 18).chain(len - 14..len) {
        match killed.check(&format!("cut at {cut}"), |journal| journal.truncate(cut)) {
            Verdict::Sound => sound += 1,
            Verdict::Amnesia(..) => amnesia += 1,
        }
    }
    assert!(sound > 5 && amnesia > 5, "{sound} sound, {amnesia} amnesia");
}

#[test]
fn a_flipped_bit_loses_nothing_synced_or_is_amnesia() {
    let killed = Killed::new(16);
    let len = fs::metadata(killed.journal()).unwrap().len() as usize;
    let mut rng = fastrand::Rng::with_seed(7);
    // Every byte of the first header, which nothing in the journal checks, and some of the rest.
    let places: Vec<usize> = (0..13).chain((0..20).map(|_| rng.usize(13..len))).collect();
    for place in places {
        let bit = rng.u32(0..8);
        killed.check(&format!("bit {bit} of byte {place}"), |journal| {
            journal[place] ^= 1 << bit
        });
    }
}

#[test]
fn batches_after_a_bad_one_are_kept_and_reported() {
    let killed = Killed::new(16);
    let verdict = killed.check("batch in the middle", |journal| {
        let twelfth = value(12);
        let place = journal
            .windows(twelfth.len())
            .position(|window| window == &twelfth[..]);
        journal[place.unwrap()] ^= 1;
    });
    let Verdict::Amnesia(evidence, found) = verdict else {
        panic!("should have noticed")
    };
    assert_eq!(
        found,
        (1..=BATCHES)
            .filter(|number| *number != 12)
            .collect::<Vec<_>>()
    );
    assert!(
        evidence
            .iter()
            .any(|sentence| sentence.contains("0.jnl are no batch")),
        "{evidence:?}"
    );
    assert!(evidence.contains(&"batch 13 follows batch 11 in the journal".to_owned()));
}

#[test]
fn the_damaged_journal_is_kept_and_old_ones_make_room() {
    let killed = Killed::new(16);
    let copy = killed.copy();
    let path = copy.path().join("store/0.jnl");
    let mut damaged = Vec::new();
    for _ in 0..4 {
        damaged = fs::read(&path).unwrap();
        damaged[40] ^= 1;
        fs::write(&path, &damaged).unwrap();
        let opened = FjallKv::open(copy.path(), &options()).unwrap();
        assert!(matches!(opened.start, Start::Amnesia { .. }));
    }
    let mut kept: Vec<_> = fs::read_dir(copy.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("store.forgotten-"))
        .collect();
    kept.sort();
    assert_eq!(kept, ["store.forgotten-3", "store.forgotten-4"]);
    assert_eq!(
        fs::read(copy.path().join("store.forgotten-4/0.jnl")).unwrap(),
        damaged
    );
}

#[test]
fn what_is_missing_is_reported() {
    let killed = Killed::new(16);
    for (what, sentence) in [
        ("store", "the store directory is missing"),
        ("mark", "the high-water mark is missing"),
        ("format", "the format file is missing"),
        ("store/0.jnl", "the store has no journal"),
        ("store/version", "the store lacks its version"),
        ("store/keyspaces/3", "keyspaces are there"),
    ] {
        let copy = killed.copy();
        let path = copy.path().join(what);
        if path.is_dir() {
            fs::remove_dir_all(&path).unwrap();
        } else {
            fs::remove_file(&path).unwrap();
        }
        let opened = FjallKv::open(copy.path(), &options()).unwrap();
        let Start::Amnesia { evidence } = opened.start else {
            panic!("{what}: not noticed")
        };
        assert!(
            evidence.iter().any(|found| found.contains(sentence)),
            "{what}: {evidence:?}"
        );
        put(&opened.kv, 200);
        assert_eq!(
            opened.kv.get(Keyspace::Rows, &key(200)),
            Ok(Some(value(200))),
            "{what}"
        );
    }
}

#[test]
fn a_damaged_mark_is_reported() {
    let killed = Killed::new(16);
    let copy = killed.copy();
    fs::write(copy.path().join("mark"), [0xaa; 8192]).unwrap();
    let evidence = killed.demand("mark", copy.path()).evidence();
    assert_eq!(evidence, ["the high-water mark is damaged"]);
}

#[test]
fn a_store_that_cannot_be_opened_is_moved_aside() {
    let killed = Killed::new(16);
    let copy = killed.copy();
    // fjall's own keyspace without its manifest names no keyspace any more.
    let manifest = copy.path().join("store/keyspaces/0/current");
    fs::write(&manifest, b"?").unwrap();
    let Verdict::Amnesia(evidence, found) = killed.demand("manifest", copy.path()) else {
        panic!("should have noticed")
    };
    assert_eq!(found, [0; 0]);
    assert!(evidence.len() >= 2, "{evidence:?}");
    let aside = fs::read(copy.path().join("store.forgotten-1/keyspaces/0/current")).unwrap();
    assert_eq!(aside, b"?");
}

#[test]
fn an_older_store_under_a_newer_mark_is_reported() {
    let dir = fast_dir();
    let old = fast_dir();
    let kv = FjallKv::open(dir.path(), &options()).unwrap().kv;
    put(&kv, 1);
    kv.close_clean().unwrap();
    drop(kv);
    copy_dir(&dir.path().join("store"), old.path());
    let opened = FjallKv::open(dir.path(), &options()).unwrap();
    assert_eq!(opened.start, Start::Clean);
    put(&opened.kv, 2);
    opened.kv.close_clean().unwrap();
    drop(opened);
    fs::remove_dir_all(dir.path().join("store")).unwrap();
    copy_dir(old.path(), &dir.path().join("store"));
    let opened = FjallKv::open(dir.path(), &options()).unwrap();
    let Start::Amnesia { evidence } = opened.start else {
        panic!("{:?}", opened.start)
    };
    assert!(evidence.contains(&"the journal ends at batch 1, but batch 2 was synced".to_owned()));
}

#[test]
fn a_clean_close_is_clean_once_and_not_for_a_copy() {
    let dir = fast_dir();
    let kv = FjallKv::open(dir.path(), &options()).unwrap().kv;
    put(&kv, 1);
    kv.close_clean().unwrap();
    assert_eq!(kv.commit(&Batch::new()), Err(KvError::Closed));
    assert_eq!(kv.sync(), Err(KvError::Closed));
    assert_eq!(found(&kv), [1], "reads go on");
    drop(kv);
    let copy = fast_dir();
    copy_dir(dir.path(), copy.path());
    assert_eq!(
        FjallKv::open(copy.path(), &options()).unwrap().start,
        Start::Unclean
    );
    assert_eq!(
        FjallKv::open(dir.path(), &options()).unwrap().start,
        Start::Clean
    );
    assert_eq!(
        FjallKv::open(dir.path(), &options()).unwrap().start,
        Start::Unclean
    );
}

#[test]
fn an_unfinished_creation_is_begun_anew() {
    for kept in ["store/lock", "store/0.jnl"] {
        let dir = fast_dir();
        fs::create_dir(dir.path().join("store")).unwrap();
        fs::write(dir.path().join(kept), b"").unwrap();
        let opened = FjallKv::open(dir.path(), &options()).unwrap();
        assert_eq!(opened.start, Start::Blank, "{kept}");
        put(&opened.kv, 1);
    }
}

#[test]
fn a_directory_is_opened_once() {
    let dir = fast_dir();
    let first = FjallKv::open(dir.path(), &options()).unwrap();
    let second = FjallKv::open(dir.path(), &options()).unwrap_err();
    assert_eq!(
        second,
        KvError::Locked {
            dir: dir.path().to_owned()
        }
    );
    drop(first);
    assert_eq!(
        FjallKv::open(dir.path(), &options()).unwrap().start,
        Start::Unclean
    );
}

#[test]
fn a_newer_format_is_refused_and_left_alone() {
    let dir = fast_dir();
    let kv = FjallKv::open(dir.path(), &options()).unwrap().kv;
    kv.close_clean().unwrap();
    drop(kv);
    for found in ["dunlin-store 2", "something else"] {
        fs::write(dir.path().join("format"), found).unwrap();
        let refused = FjallKv::open(dir.path(), &options()).unwrap_err();
        assert_eq!(
            refused,
            KvError::FormatNewer {
                found: found.to_owned(),
                supported: 1
            }
        );
    }
    fs::write(dir.path().join("format"), "dunlin-store 1\n").unwrap();
    assert_eq!(
        FjallKv::open(dir.path(), &options()).unwrap().start,
        Start::Clean
    );
}
