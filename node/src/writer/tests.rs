use std::collections::VecDeque;
use std::ops::Bound;
use std::sync::Mutex;

use dunlin_storage::{DiskSpace, Entry, KvSnapshot, MemoryKv};

use super::*;
use crate::clock::Clock;

/// A store in memory that writes down what it is asked, and fails as it is told.
struct ScriptedKv {
    memory: MemoryKv,
    asked: Mutex<Vec<String>>,
    /// What the next commits fail with.
    failures: Mutex<VecDeque<KvError>>,
}

impl Kv for ScriptedKv {
    fn get(&self, keyspace: Keyspace, key: &[u8]) -> Result<Option<Bytes>, KvError> {
        self.memory.get(keyspace, key)
    }

    fn range<'a>(
        &'a self,
        keyspace: Keyspace,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
    ) -> Box<dyn Iterator<Item = Entry> + 'a> {
        self.memory.range(keyspace, from, to)
    }

    fn commit(&self, batch: &Batch) -> Result<(), KvError> {
        let keys = batch
            .iter()
            .map(|(_, key, _)| String::from_utf8_lossy(key).into_owned());
        let keys: Vec<String> = keys.collect();
        self.asked
            .lock()
            .unwrap()
            .push(format!("commit {}", keys.join(" ")));
        match self.failures.lock().unwrap().pop_front() {
            Some(failure) => Err(failure),
            None => self.memory.commit(batch),
        }
    }

    fn sync(&self) -> Result<(), KvError> {
        self.asked.lock().unwrap().push("sync".to_owned());
        self.memory.sync()
    }

    fn synced(&self) -> u64 {
        self.memory.synced()
    }

    fn snapshot(&self) -> Box<dyn KvSnapshot> {
        self.memory.snapshot()
    }

    fn compact(&self) -> Result<(), KvError> {
        self.memory.compact()
    }

    fn disk_bytes(&self) -> u64 {
        self.memory.disk_bytes()
    }
}

struct Bench {
    kv: Arc<ScriptedKv>,
    parts: Arc<Parts>,
    board: Arc<StorageBoard>,
    writer: Writer,
    now: Instant,
}

const CONTROL: PartId = PartId::CONTROL;
const SHARD_0: PartId = PartId::shard(0);
const SHARD_1: PartId = PartId::shard(1);

impl Bench {
    fn new() -> Self {
        let bounds = InboxBounds {
            items_max: 1,
            bytes_max: 1,
        };
        let inbox = || Arc::new(Inbox::new(bounds));
        let parts = Arc::new(Parts::new(inbox(), vec![inbox(), inbox()]));
        let board = Arc::new(StorageBoard::new(Arc::clone(&parts)));
        let kv = Arc::new(ScriptedKv {
            memory: MemoryKv::new(),
            asked: Mutex::default(),
            failures: Mutex::default(),
        });
        let writer = Writer::new(WriterParts {
            kv: Arc::clone(&kv) as Arc<dyn Kv>,
            parts: Arc::clone(&parts),
            board: Arc::clone(&board),
            stopwatch: Arc::new(Stopwatch::new(Clock::start())),
            counters: Arc::default(),
            sync_interval: Duration::from_millis(200),
        });
        Self {
            kv,
            parts,
            board,
            writer,
            now: Instant::now(),
        }
    }

    /// One turn of the writer, so many milliseconds after the last.
    fn turn(&mut self, after_ms: u64, submissions: Vec<Submission>) -> Result<(), KvError> {
        self.now += Duration::from_millis(after_ms);
        let done = self.writer.turn(submissions, self.now);
        self.writer.tell();
        done
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut *self.kv.asked.lock().unwrap())
    }

    /// What a part has been told, one line each.
    fn told(&self, part: PartId) -> Vec<String> {
        let mut messages = Vec::new();
        self.parts
            .of(part)
            .unwrap()
            .take(Some(Instant::now()), &mut messages);
        let line = |message: PartMessage| match message {
            PartMessage::Told(Input::Committed { written, synced }) => {
                format!("written {} synced {}", written.number, synced.number)
            }
            PartMessage::Told(Input::StorageChanged(state)) => format!("{state:?}"),
            PartMessage::Refused { id } => format!("refused {}", id.number),
            other => panic!("{other:?}"),
        };
        messages.into_iter().map(line).collect()
    }

    fn fail_next(&self, failure: KvError) {
        self.kv.failures.lock().unwrap().push_back(failure);
    }
}

fn id(number: u64) -> BatchId {
    BatchId {
        generation: 0,
        number,
    }
}

/// A batch that puts one key.
fn put(part: PartId, number: u64, key: &'static str, sync: SyncWhen) -> Submission {
    let mut batch = Batch::new();
    batch.put(
        Keyspace::Rows,
        Bytes::from_static(key.as_bytes()),
        Bytes::from_static(b"v"),
    );
    Submission {
        part,
        epoch: 0,
        id: id(number),
        batch,
        sync,
    }
}

fn delete(part: PartId, number: u64, key: &'static str) -> Submission {
    let mut batch = Batch::new();
    batch.delete(Keyspace::Rows, Bytes::from_static(key.as_bytes()));
    Submission {
        part,
        epoch: 0,
        id: id(number),
        batch,
        sync: SyncWhen::Later,
    }
}

const NONE: [&str; 0] = [];

#[test]
fn batches_of_all_parts_become_one_commit_and_one_sync() {
    let mut bench = Bench::new();
    let submitted = vec![
        put(SHARD_0, 1, "a", SyncWhen::Now),
        put(SHARD_1, 1, "b", SyncWhen::Later),
        put(SHARD_0, 2, "c", SyncWhen::Now),
    ];
    bench.turn(0, submitted).unwrap();
    assert_eq!(bench.asked(), ["commit a b c", "sync"]);
    assert_eq!(bench.told(SHARD_0), ["written 2 synced 2"]);
    // Who asked for no sync hears of the commit before it, and of the sync as well.
    assert_eq!(
        bench.told(SHARD_1),
        ["written 1 synced 0", "written 1 synced 1"]
    );
    assert_eq!(bench.told(CONTROL), NONE);
}

#[test]
fn what_nobody_wants_synced_is_synced_after_the_interval() {
    let mut bench = Bench::new();
    bench
        .turn(0, vec![put(SHARD_0, 1, "a", SyncWhen::Later)])
        .unwrap();
    bench
        .turn(150, vec![put(SHARD_1, 1, "b", SyncWhen::Later)])
        .unwrap();
    assert_eq!(bench.asked(), ["commit a", "commit b"]);
    assert_eq!(
        bench.writer.wakes_at(),
        Some(bench.now + Duration::from_millis(50))
    );
    bench.turn(50, Vec::new()).unwrap();
    assert_eq!(bench.asked(), ["sync"]);
    assert_eq!(
        bench.told(SHARD_0),
        ["written 1 synced 0", "written 1 synced 1"]
    );
    assert_eq!(bench.writer.wakes_at(), None, "nothing is left to do");
}

#[test]
fn an_empty_batch_asks_for_a_sync_of_what_was_written() {
    let mut bench = Bench::new();
    bench
        .turn(0, vec![put(SHARD_0, 7, "a", SyncWhen::Later)])
        .unwrap();
    let wish = Submission {
        batch: Batch::new(),
        sync: SyncWhen::Now,
        ..put(SHARD_0, 7, "a", SyncWhen::Now)
    };
    bench.turn(1, vec![wish]).unwrap();
    assert_eq!(bench.asked(), ["commit a", "sync"]);
    assert_eq!(
        bench.told(SHARD_0),
        ["written 7 synced 0", "written 7 synced 7"]
    );
}

#[test]
fn a_merged_batch_is_bounded_by_bytes() {
    let mut bench = Bench::new();
    let large = |part, number, key: &'static str| {
        let mut submission = put(part, number, key, SyncWhen::Later);
        let value = Bytes::from(vec![0; MERGED_BYTES_MAX / 2]);
        submission
            .batch
            .put(Keyspace::Rows, Bytes::from_static(key.as_bytes()), value);
        submission
    };
    let submitted = vec![
        large(SHARD_0, 1, "a"),
        large(SHARD_1, 1, "b"),
        large(SHARD_0, 2, "c"),
    ];
    bench.turn(0, submitted).unwrap();
    assert_eq!(bench.asked(), ["commit a", "commit b", "commit c"]);
    assert_eq!(bench.told(SHARD_0), ["written 2 synced 0"]);
}

#[test]
fn a_full_disk_refuses_each_part_once_and_lets_it_come_back() {
    let mut bench = Bench::new();
    bench.kv.memory.set_space(DiskSpace::NearlyFull);
    let submitted = vec![
        put(SHARD_0, 1, "a", SyncWhen::Now),
        put(SHARD_1, 1, "b", SyncWhen::Now),
        put(SHARD_0, 2, "c", SyncWhen::Now),
    ];
    bench.turn(0, submitted).unwrap();
    assert_eq!(bench.board.state(), StorageState::Full);
    assert_eq!(bench.told(CONTROL), ["Full"]);
    assert_eq!(bench.told(SHARD_0), ["Full", "refused 1"]);
    assert_eq!(bench.told(SHARD_1), ["Full", "refused 1"]);

    // On its way before the shard heard of it: void, and not reported again.
    bench
        .turn(1, vec![put(SHARD_0, 3, "d", SyncWhen::Now)])
        .unwrap();
    assert_eq!(bench.told(SHARD_0), NONE);
    assert_eq!(bench.kv.get(Keyspace::Rows, b"d"), Ok(None));

    // After its roll-back, deletes pass: by them room is made.
    let after = Submission {
        epoch: 1,
        ..delete(SHARD_0, 4, "e")
    };
    let refused_again = Submission {
        epoch: 1,
        ..put(SHARD_0, 5, "f", SyncWhen::Later)
    };
    bench.turn(1, vec![after, refused_again]).unwrap();
    assert_eq!(bench.told(SHARD_0), ["refused 5", "written 4 synced 0"]);

    // There is no room yet, then there is.
    bench.asked();
    bench.turn(1_000, Vec::new()).unwrap();
    assert_eq!(bench.asked(), ["commit writer/probe", "sync"]);
    assert_eq!(bench.board.state(), StorageState::Full);
    bench.kv.memory.set_space(DiskSpace::Ample);
    bench.turn(1_000, Vec::new()).unwrap();
    assert_eq!(bench.board.state(), StorageState::Ready);
    assert_eq!(bench.told(CONTROL), ["Ready"]);
    let back = Submission {
        epoch: 2,
        ..put(SHARD_0, 6, "g", SyncWhen::Later)
    };
    bench.turn(1, vec![back]).unwrap();
    assert_eq!(
        bench.kv.get(Keyspace::Rows, b"g"),
        Ok(Some(Bytes::from_static(b"v")))
    );
}

#[test]
fn while_the_disk_is_full_nothing_is_merged() {
    let mut bench = Bench::new();
    bench.kv.memory.set_space(DiskSpace::NearlyFull);
    bench
        .turn(0, vec![put(SHARD_1, 1, "a", SyncWhen::Later)])
        .unwrap();
    bench.told(SHARD_1);
    bench.asked();
    let submitted = vec![
        delete(SHARD_0, 1, "b"),
        put(CONTROL, 1, "c", SyncWhen::Later),
    ];
    bench.turn(1, submitted).unwrap();
    assert_eq!(bench.asked(), ["commit b", "commit c"]);
    assert_eq!(bench.told(SHARD_0), ["Full", "written 1 synced 0"]);
    assert!(bench.told(CONTROL).contains(&"refused 1".to_owned()));
}

#[test]
fn what_cannot_be_stored_rolls_back_without_closing_the_store() {
    let mut bench = Bench::new();
    bench.fail_next(KvError::TooLarge {
        key_bytes: 70_000,
        value_bytes: 1,
    });
    bench
        .turn(0, vec![put(SHARD_0, 1, "a", SyncWhen::Later)])
        .unwrap();
    assert_eq!(bench.told(SHARD_0), ["refused 1", "written 0 synced 0"]);
    assert_eq!(bench.board.state(), StorageState::Ready);
}

#[test]
fn a_failed_sync_or_commit_ends_the_writer_and_everybody_is_told() {
    for failure in ["sync", "commit"] {
        let bench = Bench::new();
        match failure {
            "sync" => bench.kv.memory.fail_next_sync(),
            _ => bench.fail_next(KvError::Poisoned),
        }
        let Bench {
            mut writer,
            parts,
            board,
            kv,
            now,
        } = bench;
        let handle = WriterHandle::new();
        handle.submit(put(SHARD_0, 1, "a", SyncWhen::Now));
        handle.stop();
        assert!(writer.run(&handle).is_err(), "{failure}");
        assert_eq!(board.state(), StorageState::Failed);
        let bench = Bench {
            kv,
            parts,
            board,
            writer,
            now,
        };
        let told = bench.told(SHARD_0);
        assert_eq!(told, ["Failed"], "{failure}: nothing is promised");
    }
}

#[test]
fn a_stop_comes_after_everything_that_was_submitted_and_syncs_it() {
    let bench = Bench::new();
    let handle = WriterHandle::new();
    handle.submit(put(SHARD_0, 1, "a", SyncWhen::Later));
    handle.stop();
    let Bench { mut writer, kv, .. } = bench;
    writer.run(&handle).unwrap();
    assert_eq!(*kv.asked.lock().unwrap(), ["commit a", "sync"]);
    assert_eq!(kv.memory.unsynced(), 0);
}
