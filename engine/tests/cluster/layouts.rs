//! Changes of the layout while the cluster serves: nothing is lost, nobody answers for what it does not
//! hold, and what is no longer owned is handed over before it goes.

use std::collections::BTreeSet;

use dunlin_crdt::{Kind, OpId};
use dunlin_engine::Note;
use dunlin_protocol::cluster::{Change, ClusterRequest};
use dunlin_protocol::peer::{OperationMessage, PeerBody, Refusal, RepairMessage};
use dunlin_protocol::request::{
    Query, Read, ReadOptions, Replace, Request, Write, WriteOp, WriteOptions,
};
use dunlin_protocol::response::Answer;
use dunlin_protocol::{BucketDefaults, Failure};
use dunlin_ring::{Fallbacks, NodeId, Quorum};
use dunlin_storage::{DiskSpace, MemoryKv, Start};

use crate::harness::{Cluster, blind, member};

const KEYS: usize = 60;

fn fill(cluster: &mut Cluster, bucket: &dunlin_protocol::Bucket, value: &str) {
    let node = cluster.id(1);
    for at in 0..KEYS {
        let key = format!("k{at}");
        cluster.write(node, bucket, &key, blind(value)).unwrap();
    }
}

fn check(cluster: &mut Cluster, bucket: &dunlin_protocol::Bucket, value: &str) {
    let options = ReadOptions {
        r: Some(Quorum::All),
        ..ReadOptions::default()
    };
    let nodes: Vec<NodeId> = cluster.nodes.keys().copied().collect();
    for at in 0..KEYS {
        let (node, key) = (nodes[at % nodes.len()], format!("k{at}"));
        let read = cluster.read_with(node, bucket, &key, Query::Value, options);
        let found = format!("{:?}", read.unwrap().found);
        assert!(found.contains(value), "{key}: {found}");
    }
}

#[test]
fn a_node_that_joins_is_filled_and_then_counts_and_what_moved_is_given_up() {
    let mut cluster = Cluster::of(3);
    let bucket = cluster.bucket("b", Kind::Lww);
    fill(&mut cluster, &bucket, "v1");
    let newcomer = cluster.boot_newcomer(4);
    cluster.change(cluster.id(2), [Change::Join(member(4))]);
    assert_eq!(cluster.shape(newcomer).layouts.len(), 2, "both are active");
    fill(&mut cluster, &bucket, "v2");
    cluster.wait_until_complete();
    assert_eq!(cluster.layout.members().len(), 4);
    cluster.pass_ms(5000);
    for (id, node) in &cluster.nodes {
        let holds: Vec<_> = node.shard.replica().owned().collect();
        let owns: Vec<_> = cluster.layout.owned_by(*id).collect();
        assert_eq!(holds, owns);
        assert!(owns.iter().all(|p| node.shard.replica().is_whole(*p)));
    }
    check(&mut cluster, &bucket, "v2");
    cluster.assert_converged();
}

#[test]
fn a_node_that_leaves_hands_over_all_that_it_holds() {
    let mut cluster = Cluster::of(4);
    let bucket = cluster.bucket("b", Kind::Lww);
    fill(&mut cluster, &bucket, "v1");
    let leaving = cluster.id(2);
    cluster.change(cluster.id(1), [Change::Leave(leaving)]);
    cluster.wait_until_complete();
    cluster.pass_ms(3000);
    assert_eq!(cluster.nodes[&leaving].shard.replica().owned().count(), 0);
    cluster.cut_off(leaving);
    cluster.nodes.remove(&leaving);
    check(&mut cluster, &bucket, "v1");
}

/// Whoever waits for that switches the node off.
#[test]
fn a_node_that_leaves_is_not_taken_for_done_while_it_holds_something() {
    let mut cluster = Cluster::of(4);
    let bucket = cluster.bucket("b", Kind::Lww);
    fill(&mut cluster, &bucket, "v1");
    let leaving = cluster.id(2);
    cluster.change(cluster.id(1), [Change::Leave(leaving)]);
    for _ in 0..1000 {
        cluster.pass_ms(10);
        let state = cluster.shape(cluster.id(1));
        let said = state.nodes.iter().find(|known| known.node == leaving);
        let left = said.and_then(|known| known.progress.as_ref());
        if state.layouts.len() == 1 && left.is_some_and(|left| left.handing_over == 0) {
            let held = cluster.nodes[&leaving].shard.replica().owned().count();
            assert_eq!(held, 0);
            return;
        }
    }
    panic!("it is never done");
}

#[test]
fn a_dead_node_is_replaced_without_it() {
    let mut cluster = Cluster::of(4);
    let bucket = cluster.bucket("b", Kind::Lww);
    fill(&mut cluster, &bucket, "v1");
    let dead = cluster.id(3);
    cluster.cut_off(dead);
    cluster.nodes.remove(&dead);
    cluster.boot_newcomer(5);
    let replace = Change::Replace {
        old: dead,
        new: member(5),
    };
    cluster.change(cluster.id(1), [replace]);
    fill(&mut cluster, &bucket, "v2");
    for _ in 0..200 {
        cluster.pass_ms(100);
    }
    let shape = cluster.shape(cluster.id(1));
    assert_eq!(shape.layouts.len(), 1, "{:?}", shape.nodes);
    check(&mut cluster, &bucket, "v2");
}

/// A node sleeps through two layouts, with a write that only it has been told of.
fn sleep_through_two_layouts(forgets: bool) {
    let mut cluster = Cluster::of(4);
    let bucket = cluster.bucket("b", Kind::Register);
    let sleeper = cluster.id(4);
    let w = |w| dunlin_protocol::request::WriteOptions {
        w: Some(Quorum::Exactly(w)),
        ..Default::default()
    };
    let owned = (0..).map(|at| format!("k{at}"));
    let mut owned = owned.filter(|key| cluster.owners(&bucket, key).contains(&sleeper));
    let key = owned.next().unwrap();
    cluster.cut_off(sleeper);
    let alone = cluster.write_with(sleeper, &bucket, &key, blind("alone"), w(1));
    assert_eq!(alone.unwrap().copies.len(), 1);
    cluster.boot_newcomer(5);
    cluster.boot_newcomer(6);
    let replace = Change::Replace {
        old: sleeper,
        new: member(5),
    };
    cluster.change(cluster.id(1), [replace]);
    for _ in 0..100 {
        cluster.pass_ms(100);
    }
    cluster.change(cluster.id(2), [Change::Join(member(6))]);
    for _ in 0..100 {
        cluster.pass_ms(100);
    }
    assert_eq!(cluster.shape(cluster.id(1)).layouts.len(), 1);
    if forgets {
        let kv = cluster.nodes[&sleeper].kv.clone();
        let evidence = Vec::new();
        cluster.boot(sleeper, kv, Start::Amnesia { evidence });
    }
    cluster.delivered.clear();
    cluster.join(sleeper);
    cluster.wait_until_complete();
    cluster.pass_ms(5000);
    assert_eq!(cluster.nodes[&sleeper].shard.replica().owned().count(), 0);
    let (values, _) = cluster.siblings(cluster.id(1), &bucket, &key);
    assert_eq!(values, ["alone"]);
    if forgets {
        // What it found it knows nothing about: what has replaced it, the owners say first.
        let partition = cluster.partition(&bucket, &key);
        let said = cluster
            .delivered
            .iter()
            .filter_map(|(from, to, body)| match body {
                PeerBody::Repair {
                    partition: of,
                    message,
                } if (*from, *of) == (sleeper, partition) => Some((*to, message)),
                _ => None,
            });
        let is_offer = |(_, message): &(_, &_)| matches!(message, RepairMessage::Offer { .. });
        let before_any_offer = said.take_while(|said| !is_offer(said));
        let asked: BTreeSet<NodeId> = before_any_offer.map(|(to, _)| to).collect();
        assert_eq!(asked, cluster.owners(&bucket, &key).into_iter().collect());
    }
}

#[test]
fn what_only_a_node_that_slept_through_two_layouts_was_told_is_handed_over() {
    sleep_through_two_layouts(false);
}

#[test]
fn what_was_found_on_the_disk_of_a_former_owner_that_forgot_is_handed_over() {
    sleep_through_two_layouts(true);
}

#[test]
fn nothing_deleted_meanwhile_comes_back_with_a_node_that_slept() {
    let mut cluster = Cluster::of(4);
    let bucket = cluster.bucket("b", Kind::Register);
    let names: Vec<String> = (0..KEYS).map(|at| format!("k{at}")).collect();
    for key in &names {
        cluster
            .write(cluster.id(1), &bucket, key, blind("v"))
            .unwrap();
    }
    cluster.pass_ms(3000);
    let sleeper = cluster.id(4);
    cluster.cut_off(sleeper);
    for key in &names {
        let delete =
            dunlin_protocol::request::WriteOp::Delete(dunlin_protocol::request::Replace::Seen);
        cluster.write(cluster.id(1), &bucket, key, delete).unwrap();
    }
    cluster.boot_newcomer(5);
    let replace = Change::Replace {
        old: sleeper,
        new: member(5),
    };
    cluster.change(cluster.id(1), [replace]);
    for _ in 0..100 {
        cluster.pass_ms(100);
    }
    cluster.join(sleeper);
    cluster.wait_until_complete();
    cluster.pass_ms(3000);
    for key in &names {
        let (values, _) = cluster.siblings(cluster.id(2), &bucket, key);
        assert!(values.is_empty(), "{key} is back: {values:?}");
    }
    assert_eq!(cluster.nodes[&sleeper].shard.replica().owned().count(), 0);
}

#[test]
fn a_change_is_reverted_while_it_runs() {
    let mut cluster = Cluster::of(3);
    let bucket = cluster.bucket("b", Kind::Lww);
    fill(&mut cluster, &bucket, "v1");
    let newcomer = cluster.boot_newcomer(4);
    let before = cluster.shape(newcomer).layouts[0].layout.clone();
    // It can't be filled while a source is away, so the change does not end by itself.
    let away = cluster.id(3);
    cluster.cut_off(away);
    cluster.change(cluster.id(1), [Change::Join(member(4))]);
    cluster.pass_ms(5000);
    assert_eq!(cluster.shape(newcomer).layouts.len(), 2);
    fill(&mut cluster, &bucket, "v2");
    cluster
        .reshape(cluster.id(2), ClusterRequest::Revert)
        .unwrap();
    cluster.join(away);
    cluster.wait_until_complete();
    for partition in before.partitions().iter() {
        assert_eq!(cluster.layout.owners(partition), before.owners(partition));
    }
    cluster.pass_ms(10_000);
    assert_eq!(cluster.nodes[&newcomer].shard.replica().owned().count(), 0);
    check(&mut cluster, &bucket, "v2");
}

#[test]
fn two_layouts_applied_on_two_sides_of_a_split_become_one() {
    let mut cluster = Cluster::of(4);
    let bucket = cluster.bucket("b", Kind::Lww);
    fill(&mut cluster, &bucket, "v1");
    cluster.boot_newcomer(5);
    cluster.boot_newcomer(6);
    cluster.pass_ms(2000);
    let side = [cluster.id(3), cluster.id(4), cluster.id(6)];
    for node in side {
        cluster.cut_off_unnoticed(node);
    }
    cluster.pass_ms(2000);
    cluster.change(cluster.id(1), [Change::Join(member(5))]);
    cluster.pass_ms(2000);
    for node in side {
        cluster.join(node);
    }
    for node in [cluster.id(1), cluster.id(2), cluster.id(5)] {
        cluster.cut_off_unnoticed(node);
    }
    // This side has not heard of the other's change.
    assert_eq!(cluster.shape(cluster.id(3)).layouts.len(), 1);
    cluster.change(cluster.id(3), [Change::Join(member(6))]);
    for node in [cluster.id(1), cluster.id(2), cluster.id(5)] {
        cluster.join(node);
    }
    cluster.wait_until_complete();
    let shape = cluster.shape(cluster.id(1));
    assert!(
        cluster.layout.member(cluster.id(6)).is_some(),
        "the later stands"
    );
    let open: Vec<_> = shape.staged.iter().map(|staged| &staged.change).collect();
    assert_eq!(
        open,
        [&Change::Join(member(5))],
        "the other's change is staged again"
    );
    check(&mut cluster, &bucket, "v1");
    cluster.assert_converged();
}

#[test]
fn n_is_raised_and_lowered_while_the_cluster_serves() {
    let mut cluster = Cluster::of(5);
    let bucket = cluster.bucket("b", Kind::Lww);
    fill(&mut cluster, &bucket, "v1");
    cluster.change(cluster.id(1), [Change::Replicas(5)]);
    fill(&mut cluster, &bucket, "v2");
    cluster.wait_until_complete();
    assert_eq!(cluster.owners(&bucket, "k1").len(), 5);
    check(&mut cluster, &bucket, "v2");
    cluster.change(cluster.id(2), [Change::Replicas(2)]);
    fill(&mut cluster, &bucket, "v3");
    cluster.wait_until_complete();
    assert_eq!(cluster.owners(&bucket, "k1").len(), 2);
    check(&mut cluster, &bucket, "v3");
}

#[test]
fn a_second_change_is_applied_while_the_first_one_runs() {
    let mut cluster = Cluster::of(3);
    let bucket = cluster.bucket("b", Kind::Lww);
    fill(&mut cluster, &bucket, "v1");
    cluster.boot_newcomer(4);
    cluster.boot_newcomer(5);
    let away = cluster.id(3);
    cluster.cut_off(away);
    cluster.change(cluster.id(1), [Change::Join(member(4))]);
    cluster.pass_ms(3000);
    cluster.change(cluster.id(2), [Change::Join(member(5))]);
    assert_eq!(cluster.shape(cluster.id(1)).layouts.len(), 3);
    fill(&mut cluster, &bucket, "v2");
    cluster.join(away);
    cluster.wait_until_complete();
    assert_eq!(cluster.layout.members().len(), 5);
    check(&mut cluster, &bucket, "v2");
}

#[test]
fn a_newcomer_that_loses_its_disk_while_it_is_filled_is_filled_again() {
    let mut cluster = Cluster::of(3);
    let bucket = cluster.bucket("b", Kind::Lww);
    fill(&mut cluster, &bucket, "v1");
    let newcomer = cluster.boot_newcomer(4);
    cluster.change(cluster.id(1), [Change::Join(member(4))]);
    cluster.pass_ms(700);
    cluster.nodes.remove(&newcomer);
    cluster.boot(newcomer, MemoryKv::new(), Start::Blank);
    cluster.wait_until_complete();
    check(&mut cluster, &bucket, "v1");
}

#[test]
fn impossible_changes_are_refused_with_the_reason() {
    let mut cluster = Cluster::of(3);
    let (node, id) = (cluster.id(1), cluster.shape(cluster.id(1)).layouts[0].id);
    let mut refused = |request| match cluster.reshape(node, request) {
        Err(Failure::ChangeRefused { why }) => why,
        other => panic!("{other:?}"),
    };
    let why = refused(ClusterRequest::Stage(Change::Leave(NodeId::from_name(
        "n1",
    ))));
    assert!(
        why.contains("2 nodes would be left to keep 3 copies"),
        "{why}"
    );
    let why = refused(ClusterRequest::Apply { based_on: id });
    assert!(why.contains("nothing is staged"), "{why}");
    let why = refused(ClusterRequest::Revert);
    assert!(why.contains("no change is under way"), "{why}");
    let why = refused(ClusterRequest::Unstage);
    assert!(why.contains("nothing is staged"), "{why}");
}

/// Asks a node that leaves for a read and a removal, whose reads last until it owns no longer, or until it has given up
/// as well; they succeed.
fn ask_who_leaves(until_given_up: bool) {
    let mut cluster = Cluster::of(4);
    let defaults = BucketDefaults {
        r: Quorum::All,
        ..BucketDefaults::default()
    };
    let bucket = cluster.bucket_with("b", Kind::Register, defaults);
    cluster
        .write(cluster.id(1), &bucket, "k", blind("v"))
        .unwrap();
    let leaving = cluster.owners(&bucket, "k")[0];
    let partition = cluster.partition(&bucket, "k");
    cluster.change(leaving, [Change::Leave(leaving)]);
    cluster.holds_back = Some(|body| {
        let is_compared = |message: &_| matches!(message, OperationMessage::Compared { .. });
        matches!(body, PeerBody::Operation { message, .. } if is_compared(message))
    });
    let read = Request::Read(Read {
        bucket: bucket.id,
        key: "k".into(),
        query: Query::Value,
        options: ReadOptions::default(),
        seen: None,
    });
    let removal = Request::Write(Write {
        bucket: bucket.id,
        key: "k".into(),
        op: WriteOp::Delete(Replace::Seen),
        id: OpId(8, 1),
        options: WriteOptions::default(),
    });
    let asked = [read, removal].map(|request| cluster.begin(leaving, request, 60_000));
    let is_over = |cluster: &Cluster| {
        let holds = cluster.nodes[&leaving].shard.replica().owns(partition);
        !(cluster.is_owner(leaving, partition) || (until_given_up && holds))
    };
    for _ in 0..6000 {
        cluster.pass_ms(10);
        if is_over(&cluster) {
            break;
        }
    }
    assert!(is_over(&cluster));
    cluster.release();
    let [read, removal] = asked.map(|asked| cluster.await_answer(asked));
    assert!(matches!(read, Answer::Read(_)), "{read:?}");
    assert!(matches!(removal, Answer::Written(_)), "{removal:?}");
    let (values, _) = cluster.siblings(cluster.id(1), &bucket, "k");
    assert!(values.is_empty(), "{values:?}");
}

#[test]
fn a_write_that_was_reading_when_its_node_owned_no_longer_is_passed_on() {
    ask_who_leaves(false);
}

#[test]
fn what_was_being_read_when_its_node_gave_it_up_is_asked_of_the_owners() {
    ask_who_leaves(true);
}

#[test]
fn an_owner_that_had_not_heard_of_the_layout_is_asked_again_when_there_is_news() {
    let mut cluster = Cluster::of(3);
    let bucket = cluster.bucket("b", Kind::Register);
    let partition = cluster.partition(&bucket, "k");
    let owners = cluster.owners(&bucket, "k");
    let (at, holds, unaware) = (owners[0], owners[1], owners[2]);
    cluster.holds_back = Some(|body| {
        let is_copy = |message: &_| matches!(message, OperationMessage::Replicate { .. });
        matches!(body, PeerBody::Operation { message, .. } if is_copy(message))
    });
    let write = Request::Write(Write {
        bucket: bucket.id,
        key: "k".into(),
        op: blind("v"),
        id: OpId(8, 2),
        options: WriteOptions {
            w: Some(Quorum::All),
            fallbacks: Fallbacks::Forbidden,
            ..WriteOptions::default()
        },
    });
    let asked = cluster.begin(at, write, 60_000);
    cluster.pass_ms(1);
    let lost = cluster.lose_what_is_held_back();
    let op_of = |body: &PeerBody| match body {
        PeerBody::Operation { op, .. } => Some(*op),
        _ => None,
    };
    let op = lost.iter().find_map(|(_, body)| op_of(body)).unwrap();
    let held = OperationMessage::Replicated {
        synced: true,
        hint_for: None,
    };
    let refused = OperationMessage::Refused(Refusal::NotOwner);
    for (from, message) in [(holds, held), (unaware, refused)] {
        let body = PeerBody::Operation {
            partition,
            op,
            message,
        };
        cluster.say(from, at, body);
    }
    cluster.delivered.clear();
    cluster.boot_newcomer(4);
    cluster.change(at, [Change::Join(member(4))]);
    let answer = cluster.await_answer(asked);
    assert!(
        matches!(&answer, Answer::Written(receipt) if receipt.copies.len() == 3),
        "{answer:?}"
    );
    let is_it = |(_, to, body): &(_, _, PeerBody)| *to == unaware && op_of(body) == Some(op);
    assert!(cluster.delivered.iter().any(is_it));
}

#[test]
fn news_of_layouts_is_noted_once() {
    let mut cluster = Cluster::of(4);
    let (node, away) = (cluster.id(2), cluster.id(3));
    let capacity = |capacity| [Change::Capacity { node, capacity }];
    // Of two that are applied at once one is lost; a third follows, while it is known still.
    cluster.cut_off(away);
    cluster.change(away, capacity(2));
    cluster.change(node, capacity(3));
    cluster.join(away);
    cluster.pass_ms(200);
    cluster.change(node, capacity(4));
    cluster.wait_until_complete();
    let count = |is: fn(&Note) -> bool| cluster.notes.iter().filter(|note| is(note)).count();
    assert_eq!(count(|note| matches!(note, Note::LayoutLost { .. })), 4);
    assert_eq!(count(|note| matches!(note, Note::LayoutComplete { .. })), 4);
}

#[test]
fn a_newcomer_counts_as_filled_once_its_disk_has_what_filled_it() {
    let mut cluster = Cluster::of(3);
    let bucket = cluster.bucket("b", Kind::Lww);
    fill(&mut cluster, &bucket, "v1");
    let newcomer = cluster.boot_newcomer(4);
    cluster.stalled.insert(newcomer);
    cluster.change(cluster.id(2), [Change::Join(member(4))]);
    cluster.pass_ms(20_000);
    let held = cluster.nodes[&newcomer].shard.replica().tally().rows;
    assert!(held > 0, "it has pulled nothing");
    assert_eq!(cluster.shape(newcomer).layouts.len(), 2);
}

#[test]
fn a_newcomer_whose_disk_refused_what_fills_it_is_filled_again() {
    let mut cluster = Cluster::of(3);
    let bucket = cluster.bucket("b", Kind::Lww);
    fill(&mut cluster, &bucket, "v1");
    let newcomer = cluster.boot_newcomer(4);
    cluster.change(cluster.id(2), [Change::Join(member(4))]);
    cluster.refuses.insert(newcomer);
    for _ in 0..100 {
        // It is believed to have room again and again, and so is filled again and again.
        cluster.set_space(newcomer, DiskSpace::Ample);
        cluster.pass_ms(100);
    }
    assert!(cluster.notes.contains(&Note::RolledBack));
    assert_eq!(cluster.shape(newcomer).layouts.len(), 2);
    cluster.refuses.clear();
    cluster.set_space(newcomer, DiskSpace::Ample);
    cluster.wait_until_complete();
    check(&mut cluster, &bucket, "v1");
    cluster.assert_converged();
}
