//! What the simulator found once, in its shortest form.

use std::ops::Bound;

use dunlin_crdt::{Clock, FieldKind, FieldPath, Kind};
use dunlin_engine::{EngineOptions, Note};
use dunlin_protocol::peer::{PeerBody, RepairMessage};
use dunlin_protocol::request::{
    FieldChange, Query, ReadOptions, Replace, Request, WriteOp, WriteOptions,
};
use dunlin_protocol::response::Found;
use dunlin_protocol::{BucketDefaults, Failure};
use dunlin_ring::{Fallbacks, Quorum};
use dunlin_storage::{Keyspace, Kv, MemoryKv, Start};

use crate::harness::{Cluster, blind, put};

#[test]
fn removed_value_is_not_shown_where_one_of_the_quorum_knows() {
    let mut cluster = Cluster::of(3);
    let bucket = cluster.bucket("b", Kind::Register);
    let (reader, behind, knows) = (cluster.id(1), cluster.id(2), cluster.id(3));
    cluster.pass_ms(3000);
    let one = WriteOptions {
        w: Some(Quorum::One),
        ..WriteOptions::default()
    };
    cluster.cut_off_unnoticed(reader);
    let written = cluster
        .write_with(behind, &bucket, "k", blind("gone"), one)
        .unwrap();
    cluster.cut_off_unnoticed(behind);
    let removal = WriteOp::Delete(Replace::Context(written.context));
    cluster
        .write_with(knows, &bucket, "k", removal, one)
        .unwrap();
    cluster.join(reader);
    cluster.join(behind);
    let all = ReadOptions {
        r: Some(Quorum::All),
        ..ReadOptions::default()
    };
    let answer = cluster
        .read_with(reader, &bucket, "k", Query::Value, all)
        .unwrap();
    assert_eq!((answer.found, answer.owners.len()), (Found::Nothing, 3));
}

#[test]
fn wiped_node_counts_again_at_once_where_nothing_was_written() {
    let mut cluster = Cluster::of(3);
    cluster.pass_ms(5000);
    let wiped = cluster.id(3);
    cluster.boot(wiped, MemoryKv::new(), Start::Blank);
    cluster.pass_ms(3000);
    cluster.assert_converged();
}

#[test]
fn node_whose_clock_was_put_right_is_believed_again() {
    let mut cluster = Cluster::of(3);
    let bucket = cluster.bucket("b", Kind::Register);
    let wrong = cluster.id(1);
    cluster.ahead_ms.insert(wrong, 3_600_000);
    let refused = cluster.write(wrong, &bucket, "k", blind("of tomorrow"));
    assert!(refused.is_err(), "{refused:?}");
    cluster.ahead_ms.clear();
    cluster
        .write(wrong, &bucket, "k", blind("of today"))
        .unwrap();
}

#[test]
fn writes_that_wait_for_a_stalled_disk_do_not_pile_up() {
    let options = EngineOptions {
        commits_waiting_max: 5,
        request_timeout_ms: 1_000,
        ..EngineOptions::default()
    };
    let mut cluster = Cluster::with(3, options);
    let bucket = cluster.bucket("b", Kind::Register);
    let stalled = cluster.id(1);
    cluster.stalled.insert(stalled);
    let mut acknowledged = 0;
    let last = (0..20).map(|number| {
        let written = cluster.write(stalled, &bucket, &format!("k{number}"), blind("v"));
        acknowledged += u64::from(written.is_ok());
        // The operations come to their end, for all others have it.
        cluster.pass_ms(6_000);
        written
    });
    assert_eq!(last.last().unwrap().unwrap_err(), Failure::Overloaded);
    assert!(acknowledged > 0, "two others are enough");
    assert!(cluster.nodes[&stalled].shard.queues().commits_waiting <= 5);
}

#[test]
fn what_former_owners_offer_leaves_room_for_writes() {
    let options = EngineOptions {
        commits_waiting_max: 8,
        ..EngineOptions::default()
    };
    let mut cluster = Cluster::with(4, options);
    let bucket = cluster.bucket("b", Kind::Register);
    let (partition, owners) = (
        cluster.partition(&bucket, "k"),
        cluster.owners(&bucket, "k"),
    );
    let (stalled, former) = (owners[0], cluster.others(&bucket, "k")[0]);
    cluster.stalled.insert(stalled);
    // Something is staged, so that the offers have to wait for the disk.
    cluster.write(stalled, &bucket, "k", blind("v")).unwrap();
    for _ in 0..20 {
        let clock = Clock::new();
        let message = RepairMessage::Offer { clock };
        cluster.say(former, stalled, PeerBody::Repair { partition, message });
    }
    let waiting = cluster.nodes[&stalled].shard.queues().commits_waiting;
    assert!((2..=4).contains(&waiting), "{waiting}");
    cluster.write(stalled, &bucket, "k", blind("w")).unwrap();
}

#[test]
fn row_of_a_dropped_bucket_goes_once_it_can_be_read() {
    let mut cluster = Cluster::of(3);
    let bucket = cluster.bucket("b", Kind::Register);
    let node = cluster.id(2);
    cluster.write(node, &bucket, "k", blind("v")).unwrap();
    cluster.pass_ms(1_000);
    let kv = cluster.nodes[&node].kv.clone();
    let rows = |kv: &MemoryKv| -> Vec<_> {
        let all = kv.range(Keyspace::Rows, Bound::Unbounded, Bound::Unbounded);
        all.flatten().map(|(key, _)| key).collect()
    };
    rows(&kv).into_iter().for_each(|key| kv.fail_reads_of(key));
    cluster.ask(node, Request::DropBucket(bucket.name));
    cluster.pass_ms(5_000);
    kv.let_read();
    assert_eq!(rows(&kv).len(), 1);
    cluster.pass_ms(3_000);
    assert!(rows(&kv).is_empty());
}

#[test]
fn concurrent_lww_writes_that_met_only_where_they_were_removed_are_counted() {
    let mut cluster = Cluster::of(3);
    let defaults = BucketDefaults {
        r: Quorum::All,
        ..BucketDefaults::default()
    };
    let bucket = cluster.bucket_with("b", Kind::Map, defaults);
    let path = FieldPath::field("name", FieldKind::Lww).subkey();
    let (one, other) = (cluster.id(1), cluster.id(3));
    let strict = WriteOptions {
        w: Some(Quorum::One),
        fallbacks: Fallbacks::Forbidden,
        ..WriteOptions::default()
    };
    for (node, value) in [(one, "a"), (other, "b")] {
        cluster.cut_off_unnoticed(node);
        let change = FieldChange {
            path: path.clone(),
            op: blind(value),
        };
        let assign = WriteOp::Fields(vec![change]);
        cluster
            .write_with(node, &bucket, "k", assign, strict)
            .unwrap();
    }
    cluster.join(one);
    cluster.join(other);
    let removal = WriteOp::Delete(Replace::Seen);
    cluster.write(one, &bucket, "k", removal).unwrap();
    let told = |note: &Note| matches!(note, Note::LwwConcurrent { .. });
    assert!(cluster.notes.iter().any(told));
}

#[test]
fn concurrent_lww_writes_that_met_only_in_hints_are_counted() {
    let mut cluster = Cluster::of(5);
    let bucket = cluster.bucket("b", Kind::Lww);
    let one = WriteOptions {
        w: Some(Quorum::One),
        ..WriteOptions::default()
    };
    for owner in cluster.owners(&bucket, "k") {
        cluster.cut_off_unnoticed(owner);
    }
    cluster.pass_ms(2000);
    let (fallback, other) = match cluster.others(&bucket, "k")[..] {
        [fallback, other] => (fallback, other),
        ref nodes => panic!("{nodes:?}"),
    };
    cluster.cut_off_unnoticed(other);
    cluster
        .write_with(fallback, &bucket, "k", blind("a"), one)
        .unwrap();
    cluster.join(other);
    cluster
        .write_with(other, &bucket, "k", blind("b"), one)
        .unwrap();
    let told = |note: &Note| matches!(note, Note::LwwConcurrent { .. });
    assert!(!cluster.notes.iter().any(told));
    cluster
        .write_with(fallback, &bucket, "k", blind("c"), one)
        .unwrap();
    assert!(cluster.notes.iter().any(told));
}

#[test]
fn value_is_not_shown_beside_its_replacement_by_a_node_that_has_forgotten() {
    let mut cluster = Cluster::of(3);
    let bucket = cluster.bucket("b", Kind::Register);
    let (stale, forgets) = (cluster.id(1), cluster.id(2));
    let old = cluster
        .write(forgets, &bucket, "k", blind("old"))
        .unwrap()
        .context;
    cluster.pass_ms(3000);
    cluster.cut_off_unnoticed(stale);
    cluster
        .write(forgets, &bucket, "k", put("new", &old))
        .unwrap();
    cluster.holds_back = Some(|body| matches!(body, PeerBody::Repair { .. }));
    cluster.join(stale);
    let kv = cluster.nodes[&forgets].kv.clone();
    let evidence = Vec::new();
    cluster.boot(forgets, kv, Start::Amnesia { evidence });
    cluster.pass_ms(1000);
    // The third is away, so only one answers that has not heard of the replacement.
    cluster.cut_off_unnoticed(cluster.id(3));
    let one = ReadOptions {
        r: Some(Quorum::One),
        ..ReadOptions::default()
    };
    let answer = cluster
        .read_with(forgets, &bucket, "k", Query::Value, one)
        .unwrap();
    let Found::Siblings { values, .. } = answer.found else {
        panic!("{answer:?}")
    };
    assert_eq!(values, ["old"]);
}
