//! Nodes that say no: others do it in their place, and nobody waits for that.

use dunlin_crdt::Kind;
use dunlin_engine::Note;
use dunlin_protocol::Failure;
use dunlin_protocol::cluster::Change;
use dunlin_protocol::peer::{OperationMessage, PeerBody};
use dunlin_protocol::request::{Query, ReadOptions, Request, WriteOptions};
use dunlin_ring::{NodeId, Quorum};
use dunlin_storage::{DiskSpace, Start};

use crate::harness::{Cluster, blind, member};

fn all() -> WriteOptions {
    WriteOptions {
        w: Some(Quorum::All),
        ..WriteOptions::default()
    }
}

/// For whom nodes were asked to keep hints.
fn asked_to_stand_in(cluster: &Cluster) -> Vec<NodeId> {
    let hint_for = |body: &PeerBody| match body {
        PeerBody::Operation {
            message: OperationMessage::Replicate { hint_for, .. },
            ..
        } => *hint_for,
        _ => None,
    };
    let delivered = cluster.delivered.iter();
    delivered
        .filter_map(|(_, _, body)| hint_for(body))
        .collect()
}

#[test]
fn an_owner_without_room_is_given_a_fallback_at_once() {
    let mut cluster = Cluster::of(4);
    let bucket = cluster.bucket("b", Kind::Register);
    let owners = cluster.owners(&bucket, "k");
    let (through, full) = (owners[0], owners[1]);
    cluster.set_space(full, DiskSpace::NearlyFull);
    // It notices with the first write that its disk refuses.
    for key in ["k", "k"] {
        let before = cluster.now.time;
        let receipt = cluster
            .write_with(through, &bucket, key, blind("v"), all())
            .unwrap();
        assert_eq!(cluster.now.time, before);
        let stands_in = |node: NodeId| receipt.copies.iter().any(|c| c.hint_for == Some(node));
        assert!(stands_in(full), "{receipt:?}");
        assert!(receipt.copies.iter().all(|copy| copy.node != full));
    }
}

#[test]
fn nobody_stands_in_for_owners_that_refuse_a_wrong_clock() {
    let mut cluster = Cluster::of(4);
    let bucket = cluster.bucket("b", Kind::Register);
    let wrong = cluster.owners(&bucket, "k")[0];
    cluster.ahead_ms.insert(wrong, 3_600_000);
    let refused = cluster.write_with(wrong, &bucket, "k", blind("of tomorrow"), all());
    assert!(
        matches!(refused, Err(Failure::Partial { needed: 3, .. })),
        "{refused:?}"
    );
    assert_eq!(asked_to_stand_in(&cluster), []);
}

#[test]
fn a_node_that_cannot_read_what_its_disk_kept_says_nothing_more() {
    let mut cluster = Cluster::of(3);
    let bucket = cluster.bucket("b", Kind::Register);
    // It has given up a partition since, and looks for what is left of that.
    let mute = cluster.id(1);
    cluster.boot_newcomer(4);
    cluster.change(mute, [Change::Join(member(4))]);
    cluster.wait_until_complete();
    let key = (0..)
        .map(|n| format!("k{n}"))
        .find(|key| cluster.owners(&bucket, key).contains(&mute))
        .unwrap();
    let at = cluster.others(&bucket, &key)[0];
    cluster
        .write_with(at, &bucket, &key, blind("v"), all())
        .unwrap();
    cluster.pass_ms(3_000);
    cluster.stalled.insert(mute);
    cluster.write(at, &bucket, &key, blind("w")).unwrap();
    cluster.nodes[&mute].kv.fail_reads(u64::MAX);
    cluster.refuse_stalled(mute);
    let is_over = |note: &Note| matches!(note, Note::NotRolledBack { .. });
    assert!(cluster.notes.iter().any(is_over));
    // Its process is there for a moment: that it holds nothing would be a lie.
    let kv = cluster.nodes[&mute].kv.clone();
    kv.mend();
    let before = cluster.delivered.len();
    cluster.pass_ms(10_000);
    let said = cluster.delivered.iter().skip(before);
    let of_data = said.filter(|(from, _, body)| {
        *from == mute && matches!(body, PeerBody::Operation { .. } | PeerBody::Repair { .. })
    });
    assert_eq!(of_data.count(), 0);
    cluster.boot(mute, kv, Start::Unclean);
    cluster.pass_ms(3_000);
    let of_all = ReadOptions {
        r: Some(Quorum::All),
        ..ReadOptions::default()
    };
    cluster
        .read_with(at, &bucket, &key, Query::Value, of_all)
        .unwrap();
    cluster.assert_converged();
}

#[test]
fn an_owner_that_refuses_a_read_is_replaced_at_once() {
    let mut cluster = Cluster::of(3);
    let bucket = cluster.bucket("b", Kind::Register);
    let reader = cluster.id(1);
    let two = ReadOptions {
        r: Some(Quorum::Exactly(2)),
        ..ReadOptions::default()
    };
    for (key, cannot) in [("k2", cluster.id(2)), ("k3", cluster.id(3))] {
        cluster
            .write_with(reader, &bucket, key, blind("v"), all())
            .unwrap();
        cluster.lose_a_block(cannot, &bucket, key);
        let before = cluster.now.time;
        let answer = cluster.read_with(reader, &bucket, key, Query::Value, two);
        assert_eq!(answer.unwrap().owners.len(), 2);
        assert_eq!(cluster.now.time, before);
    }
}

#[test]
fn rows_of_a_dropped_bucket_are_removed_again_when_the_disk_did_not_take_it() {
    let mut cluster = Cluster::of(3);
    let bucket = cluster.bucket("b", Kind::Register);
    let node = cluster.id(2);
    cluster
        .write_with(cluster.id(1), &bucket, "k", blind("v"), all())
        .unwrap();
    cluster.pass_ms(3000);
    cluster.refuses.insert(node);
    cluster.ask(node, Request::DropBucket(bucket.name));
    cluster.pass_ms(3000);
    assert!(cluster.notes.contains(&Note::RolledBack));
    cluster.refuses.clear();
    cluster.set_space(node, DiskSpace::Ample);
    cluster.pass_ms(5000);
    assert_eq!(cluster.nodes[&node].shard.replica().tally().rows, 0);
}
