//! A store as version 1 wrote it stays readable for ever, and is still written so.
//!
//! `testdata/replica_v1.txt` has a line `keyspace key value` (hexadecimal) for each entry;
//! `replica_v1_moved.txt` is that store after its partition was given up and regained, which came later.
//! A change of format gets a file of its own; none is ever made anew.

#![expect(clippy::unwrap_used, reason = "a test may stop at anything unexpected")]

use std::fmt::Write as _;
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use dunlin_crdt::{ActorId, Body, Cell, Clock, Dot, Event, Hlc, Millis, OpId, Row};
use dunlin_protocol::RowKey;
use dunlin_protocol::peer::KeyedRow;
use dunlin_ring::{BucketId, NodeId, PartitionCount, PartitionId};
use dunlin_storage::{Batch, Keyspace, Kv, MemoryKv, Progress, Replica, ReplicaOptions};

const V1: &str = include_str!("../testdata/replica_v1.txt");
const MOVED: &str = include_str!("../testdata/replica_v1_moved.txt");
const P: PartitionId = PartitionId(0);

fn key(key: &'static [u8], subkey: &'static [u8]) -> RowKey {
    let (key, subkey) = (Bytes::from_static(key), Bytes::from_static(subkey));
    RowKey {
        bucket: BucketId(3),
        key,
        subkey,
    }
}

fn event(counter: u64, body: Option<Body>, replaces: &[u64]) -> Event {
    let actor = ActorId(0x1111);
    let cell = body.map(|body| Cell {
        stamp: Hlc(counter << 16),
        op: OpId(7, counter),
        expires_at: counter.is_multiple_of(2).then_some(Millis(u64::MAX >> 16)),
        body,
    });
    let replaces = replaces
        .iter()
        .map(|counter| Dot::new(actor, *counter))
        .collect();
    Event {
        dot: Dot::new(actor, counter),
        cell,
        replaces,
    }
}

fn open(kv: &MemoryKv) -> Replica {
    let options = ReplicaOptions {
        partitions: PartitionCount::new(1).unwrap(),
        owned: vec![P],
        shard: vec![P],
        start: kv.open(),
        hints_bytes_max: 1 << 20,
    };
    Replica::open(Arc::new(kv.clone()), options, fastrand::Rng::with_seed(1)).unwrap()
}

fn write(kv: &MemoryKv) {
    let mut replica = open(kv);
    let value = |text: &'static str| Some(Body::Value(text.into()));
    let take = |replica: &mut Replica, key: &RowKey, event: &Event| {
        replica.take(key, event).unwrap();
    };
    take(
        &mut replica,
        &key(b"register", b""),
        &event(1, value("one"), &[]),
    );
    take(
        &mut replica,
        &key(b"register", b""),
        &event(2, value("two"), &[]),
    );
    take(
        &mut replica,
        &key(b"set\0", b"el\0ement"),
        &event(3, Some(Body::Mark), &[]),
    );
    take(
        &mut replica,
        &key(b"counter", b""),
        &event(4, Some(Body::Count { plus: 9, minus: 2 }), &[]),
    );
    take(
        &mut replica,
        &key(b"max", b""),
        &event(5, Some(Body::Extreme(-5)), &[]),
    );
    take(&mut replica, &key(b"pending", b""), &event(6, None, &[40]));
    let hint = event(7, value("hint"), &[1]);
    replica
        .keep_hint(NodeId(9), &key(b"register", b"\0"), &hint)
        .unwrap();
    let context: Clock = [Dot::new(ActorId(0x2222), 1)].into_iter().collect();
    let row = replica.row(&key(b"counter", b"")).unwrap();
    let rows = [KeyedRow {
        key: key(b"counter", b""),
        row,
    }];
    let next = key(b"counter", b"");
    replica.mark_whole(P);
    replica
        .take_whole_page(P, None, &rows, Some(&next), &context)
        .unwrap();
    let (_, batch) = replica.take_staged().unwrap();
    kv.commit(&batch).unwrap();
}

/// The partition is given up, partly deleted, gained again, and has abandoned the half of a transfer.
fn write_moved(kv: &MemoryKv) {
    let mut replica = open(kv);
    replica.give_up(P).unwrap();
    replica.gain(P).unwrap();
    assert_eq!(replica.drop_some(3), Ok(Progress::More));
    let mark = event(8, Some(Body::Mark), &[]);
    replica.take(&key(b"set\0", b"again"), &mark).unwrap();
    let (mut rows, mut context) = (Vec::new(), Clock::new());
    for (name, counter) in [(&b"a"[..], 9), (b"b", 10)] {
        let mut row = Row::new();
        row.take(&Clock::new(), &event(counter, Some(Body::Mark), &[]));
        context.add(Dot::new(ActorId(0x1111), counter));
        rows.push(KeyedRow {
            key: key(name, b""),
            row,
        });
    }
    let next = key(b"b", b"");
    replica
        .take_whole_page(P, None, &rows, Some(&next), &context)
        .unwrap();
    assert_eq!(replica.abandon_some(P, 1), Ok(Progress::More));
    let (_, batch) = replica.take_staged().unwrap();
    kv.commit(&batch).unwrap();
}

fn dump(kv: &MemoryKv) -> String {
    let mut out = String::new();
    let hex = |bytes: &[u8]| -> String { bytes.iter().map(|b| format!("{b:02x}")).collect() };
    for keyspace in Keyspace::ALL {
        for entry in kv.range(keyspace, Bound::Unbounded, Bound::Unbounded) {
            let (key, value) = entry.unwrap();
            writeln!(out, "{} {} {}", keyspace.name(), hex(&key), hex(&value)).unwrap();
        }
    }
    out
}

fn load(text: &str) -> MemoryKv {
    let unhex = |hex: &str| -> Bytes {
        (0..hex.len() / 2)
            .map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap())
            .collect()
    };
    let mut batch = Batch::new();
    for line in text.lines() {
        let mut words = line.split(' ');
        let name = words.next().unwrap();
        let keyspace = Keyspace::ALL
            .into_iter()
            .find(|ks| ks.name() == name)
            .unwrap();
        batch.put(
            keyspace,
            unhex(words.next().unwrap()),
            unhex(words.next().unwrap()),
        );
    }
    let kv = MemoryKv::new();
    // It was opened before: a store that says it is blank is empty.
    kv.open();
    kv.commit(&batch).unwrap();
    kv
}

#[test]
fn a_store_of_version_1_is_written_as_ever() {
    let kv = MemoryKv::new();
    write(&kv);
    assert_eq!(dump(&kv), V1);
}

#[test]
fn a_store_of_version_1_is_read_as_ever() {
    let kv = load(V1);
    let written = MemoryKv::new();
    write(&written);
    let (found, expected) = (open(&kv), open(&written));
    found.check_invariants().unwrap();
    assert_eq!(
        found.clock(P),
        &(1..=6).map(|n| Dot::new(ActorId(0x1111), n)).collect()
    );
    assert!(found.is_whole(P));
    let context: Clock = [Dot::new(ActorId(0x2222), 1)].into_iter().collect();
    let transferred = Some((&context, Some(key(b"counter", b""))));
    assert_eq!(found.transfer(P), transferred);
    assert_eq!(found.tally().pending, 1);
    for key in [
        key(b"register", b""),
        key(b"set\0", b"el\0ement"),
        key(b"counter", b""),
        key(b"max", b""),
        key(b"pending", b""),
    ] {
        let row = found.row(&key).unwrap();
        assert!(!row.is_empty());
        assert_eq!(row, expected.row(&key).unwrap());
    }
    let hints = found.hints(NodeId(9), P, 1000).unwrap();
    assert_eq!(
        hints[0].event,
        event(7, Some(Body::Value("hint".into())), &[1])
    );
}

#[test]
fn a_store_whose_partition_moved_is_written_as_ever() {
    let kv = load(V1);
    write_moved(&kv);
    assert_eq!(dump(&kv), MOVED);
}

#[test]
fn a_store_whose_partition_moved_is_read_as_ever() {
    let kv = load(MOVED);
    let mut found = open(&kv);
    found.check_invariants().unwrap();
    let dots = |counters: &[u64]| -> Clock {
        let actor = ActorId(0x1111);
        counters.iter().map(|n| Dot::new(actor, *n)).collect()
    };
    assert_eq!(found.clock(P), &dots(&[8, 9]));
    assert!(found.dropping().eq([P]) && found.has_unclaimed(P));
    assert_eq!((found.transfer(P), found.is_whole(P)), (None, false));
    assert_eq!(found.row(&key(b"register", b"")), Ok(Row::new()));
    assert_eq!(found.row(&key(b"a", b"")).unwrap().dots(), dots(&[9]));
    assert_eq!(found.abandon_some(P, 9), Ok(Progress::Done));
    assert_eq!(found.clock(P), &dots(&[8, 9, 10]));
    assert_eq!(found.drop_some(1000), Ok(Progress::Done));
    found.check_invariants().unwrap();
}
