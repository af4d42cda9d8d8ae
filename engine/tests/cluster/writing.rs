//! Writes: quorums, fallbacks, and what a refusal leaves behind.

use std::collections::BTreeSet;

use dunlin_crdt::Kind;
use dunlin_engine::Note;
use dunlin_protocol::peer::{HandoffMessage, PeerBody};
use dunlin_protocol::request::{Query, Replace, WriteOp, WriteOptions};
use dunlin_protocol::response::Found;
use dunlin_protocol::{BucketDefaults, DataEffect, Durability, Failure};
use dunlin_ring::{Fallbacks, Quorum};
use dunlin_storage::Start;

use crate::harness::{Cluster, blind, elements, put};

fn strict(w: u8) -> WriteOptions {
    WriteOptions {
        w: Some(Quorum::Exactly(w)),
        fallbacks: Fallbacks::Forbidden,
        ..Default::default()
    }
}

#[test]
fn write_is_read_back_through_every_node() {
    let mut cluster = Cluster::of(5);
    let bucket = cluster.bucket("b", Kind::Register);
    let nodes: Vec<_> = cluster.nodes.keys().copied().collect();
    for (at, node) in nodes.iter().enumerate() {
        cluster
            .write(*node, &bucket, &format!("k{at}"), blind("v"))
            .unwrap();
    }
    for node in &nodes {
        for at in 0..nodes.len() {
            let (values, _) = cluster.siblings(*node, &bucket, &format!("k{at}"));
            assert_eq!(values, ["v"]);
        }
    }
}

#[test]
fn receipt_names_nodes_that_synced_it() {
    let mut cluster = Cluster::of(3);
    let bucket = cluster.bucket("b", Kind::Register);
    let receipt = cluster
        .write(cluster.id(1), &bucket, "k", blind("v"))
        .unwrap();
    assert!(receipt.copies.len() >= 2);
    assert!(
        receipt
            .copies
            .iter()
            .all(|copy| copy.synced && copy.hint_for.is_none())
    );
}

#[test]
fn periodic_bucket_answers_before_the_disk() {
    let mut cluster = Cluster::of(3);
    let defaults = BucketDefaults {
        durability: Durability::Periodic,
        ..Default::default()
    };
    let bucket = cluster.bucket_with("b", Kind::Register, defaults);
    let receipt = cluster
        .write(cluster.id(1), &bucket, "k", blind("v"))
        .unwrap();
    assert!(receipt.copies.len() >= 2);
    assert!(receipt.copies.iter().any(|copy| !copy.synced));
}

#[test]
fn blind_writes_are_siblings_until_one_with_their_context_settles_them() {
    let mut cluster = Cluster::of(3);
    let bucket = cluster.bucket("b", Kind::Register);
    cluster
        .write(cluster.id(1), &bucket, "k", blind("a"))
        .unwrap();
    cluster
        .write(cluster.id(2), &bucket, "k", blind("b"))
        .unwrap();
    let (mut values, context) = cluster.siblings(cluster.id(3), &bucket, "k");
    values.sort();
    assert_eq!(values, ["a", "b"]);
    cluster
        .write(cluster.id(3), &bucket, "k", put("c", &context))
        .unwrap();
    assert_eq!(cluster.siblings(cluster.id(1), &bucket, "k").0, ["c"]);
}

#[test]
fn strict_write_without_its_owners_is_refused_and_suppresses_nothing() {
    let mut cluster = Cluster::of(3);
    let bucket = cluster.bucket("b", Kind::Register);
    cluster
        .write(cluster.id(1), &bucket, "k", blind("kept"))
        .unwrap();
    let (_, context) = cluster.siblings(cluster.id(1), &bucket, "k");
    cluster.cut_off(cluster.id(2));
    cluster.cut_off(cluster.id(3));
    let refused = cluster.write_with(
        cluster.id(1),
        &bucket,
        "k",
        put("lost", &context),
        strict(2),
    );
    let failure = refused.unwrap_err();
    assert!(
        matches!(failure, Failure::Unavailable { needed: 2, .. }),
        "{failure:?}"
    );
    assert_eq!(failure.effect(), DataEffect::NotApplied);
    cluster
        .write_with(cluster.id(1), &bucket, "other", blind("v"), strict(1))
        .unwrap();
    cluster.join(cluster.id(2));
    cluster.join(cluster.id(3));
    cluster.pass_ms(10_000);
    assert_eq!(cluster.siblings(cluster.id(2), &bucket, "k").0, ["kept"]);
    assert_eq!(cluster.siblings(cluster.id(2), &bucket, "other").0, ["v"]);
    cluster.assert_converged();
}

#[test]
fn hints_stand_in_for_all_owners_and_go_home() {
    let mut cluster = Cluster::of(5);
    let bucket = cluster.bucket("b", Kind::Counter);
    let others = cluster.others(&bucket, "k");
    for owner in cluster.owners(&bucket, "k") {
        cluster.cut_off(owner);
    }
    for step in 1..=3 {
        let receipt = cluster
            .write(others[0], &bucket, "k", WriteOp::Increment(step))
            .unwrap();
        assert_eq!(receipt.copies.len(), 2);
        assert!(receipt.copies.iter().all(|copy| copy.hint_for.is_some()));
    }
    let read = cluster
        .read_with(others[1], &bucket, "k", Query::Value, Default::default())
        .unwrap();
    assert_eq!(read.found, Found::Sum(6));
    assert_eq!(read.fallbacks.len(), 2);
    for owner in cluster.owners(&bucket, "k") {
        cluster.join(owner);
    }
    cluster.pass_ms(10_000);
    cluster.assert_converged();
    assert_eq!(
        cluster.read(others[0], &bucket, "k", Query::Value),
        Found::Sum(6)
    );
    cluster
        .write(others[0], &bucket, "k", WriteOp::Increment(-10))
        .unwrap();
    assert_eq!(
        cluster.read(others[1], &bucket, "k", Query::Value),
        Found::Sum(-4)
    );
}

#[test]
fn a_batch_of_hints_has_a_name_that_no_earlier_process_gave() {
    let mut cluster = Cluster::of(5);
    let bucket = cluster.bucket("b", Kind::Register);
    let (owners, others) = (cluster.owners(&bucket, "k"), cluster.others(&bucket, "k"));
    let mut names = BTreeSet::new();
    for life in 1..=3 {
        owners.iter().for_each(|owner| cluster.cut_off(*owner));
        cluster.write(others[0], &bucket, "k", blind("v")).unwrap();
        cluster.delivered.clear();
        owners.iter().for_each(|owner| cluster.join(*owner));
        cluster.pass_ms(3000);
        for (from, _, body) in &cluster.delivered {
            if let PeerBody::Handoff {
                message: HandoffMessage::Deliver { batch, .. },
                ..
            } = body
                && *from == others[0]
            {
                assert!(names.insert((life, *batch)));
            }
        }
        let kv = cluster.nodes[&others[0]].kv.clone();
        cluster.boot(others[0], kv, Start::Unclean);
        cluster.pass_ms(3000);
    }
    let distinct: BTreeSet<u64> = names.iter().map(|(_, batch)| *batch).collect();
    assert!(
        names.len() >= 3 && distinct.len() == names.len(),
        "{names:?}"
    );
}

#[test]
fn silent_owner_is_given_a_fallback() {
    let mut cluster = Cluster::of(5);
    let bucket = cluster.bucket("b", Kind::Register);
    let owners = cluster.owners(&bucket, "k");
    cluster.cut_off_unnoticed(owners[1]);
    cluster.cut_off_unnoticed(owners[2]);
    let receipt = cluster.write(owners[0], &bucket, "k", blind("v")).unwrap();
    assert!(receipt.copies.iter().any(|copy| copy.hint_for.is_some()));
    cluster.join(owners[1]);
    cluster.join(owners[2]);
    cluster.pass_ms(10_000);
    cluster.assert_converged();
}

#[test]
fn timed_out_write_is_unknown_and_still_arrives() {
    let mut cluster = Cluster::of(3);
    let bucket = cluster.bucket("b", Kind::Register);
    cluster.cut_off_unnoticed(cluster.id(2));
    cluster.cut_off_unnoticed(cluster.id(3));
    let failure = cluster
        .write(cluster.id(1), &bucket, "k", blind("v"))
        .unwrap_err();
    assert!(matches!(&failure, Failure::WriteTimeout { copies, .. } if copies.len() == 1));
    assert_eq!(failure.effect(), DataEffect::Unknown);
    cluster.join(cluster.id(2));
    cluster.join(cluster.id(3));
    cluster.pass_ms(10_000);
    assert_eq!(cluster.siblings(cluster.id(2), &bucket, "k").0, ["v"]);
    cluster.assert_converged();
}

#[test]
fn removal_through_a_node_that_missed_the_add_removes_it() {
    let mut cluster = Cluster::of(3);
    let bucket = cluster.bucket("b", Kind::Set);
    cluster.cut_off(cluster.id(3));
    cluster
        .write(
            cluster.id(1),
            &bucket,
            "k",
            WriteOp::Add(elements(&["a", "b"])),
        )
        .unwrap();
    cluster.join(cluster.id(3));
    cluster.pass_ms(250);
    cluster
        .write(
            cluster.id(3),
            &bucket,
            "k",
            WriteOp::Remove(elements(&["a"])),
        )
        .unwrap();
    cluster.pass_ms(5000);
    let query = Query::Elements(crate::harness::page(10));
    let found = cluster.read(cluster.id(2), &bucket, "k", query);
    assert_eq!(
        found,
        Found::Elements {
            items: elements(&["b"]),
            next: None
        }
    );
    cluster.assert_converged();
}

#[test]
fn element_added_while_it_is_removed_elsewhere_stays() {
    let mut cluster = Cluster::of(3);
    let bucket = cluster.bucket("b", Kind::Set);
    cluster
        .write(cluster.id(1), &bucket, "k", WriteOp::Add(elements(&["a"])))
        .unwrap();
    cluster.cut_off(cluster.id(3));
    let w1 = WriteOptions {
        w: Some(Quorum::One),
        ..Default::default()
    };
    cluster
        .write_with(
            cluster.id(3),
            &bucket,
            "k",
            WriteOp::Add(elements(&["a"])),
            w1,
        )
        .unwrap();
    cluster
        .write(
            cluster.id(1),
            &bucket,
            "k",
            WriteOp::Remove(elements(&["a"])),
        )
        .unwrap();
    cluster.join(cluster.id(3));
    cluster.pass_ms(5000);
    assert_eq!(
        cluster.read(
            cluster.id(2),
            &bucket,
            "k",
            Query::Has(elements(&["a"])[0].clone())
        ),
        Found::Present
    );
    cluster.assert_converged();
}

#[test]
fn delete_of_a_set_goes_page_by_page_and_leaves_no_rows() {
    let mut cluster = Cluster::of(3);
    let bucket = cluster.bucket("b", Kind::Set);
    for at in 0..3 {
        let many: Vec<_> = (0..500)
            .map(|i| format!("{at}-{i}").into_bytes().into())
            .collect();
        cluster
            .write(cluster.id(1), &bucket, "k", WriteOp::Add(many))
            .unwrap();
    }
    let mut rounds = 0;
    loop {
        rounds += 1;
        let delete = WriteOp::Delete(Replace::Seen);
        let receipt = cluster.write(cluster.id(2), &bucket, "k", delete).unwrap();
        if receipt.rest == dunlin_protocol::response::Rest::Done {
            break;
        }
        assert!(rounds < 10);
    }
    assert!(rounds >= 2);
    cluster.pass_ms(10_000);
    for node in cluster.nodes.values() {
        let tally = node.shard.replica().tally();
        assert_eq!((tally.rows, tally.log_entries), (0, 0));
    }
    cluster.assert_converged();
}

#[test]
fn full_disk_refuses_writes_and_others_take_them() {
    let mut cluster = Cluster::of(3);
    let bucket = cluster.bucket("b", Kind::Register);
    let full = cluster.id(2);
    cluster.set_space(full, dunlin_storage::DiskSpace::NearlyFull);
    let through_full = cluster.write(full, &bucket, "k2", blind("v"));
    assert!(through_full.is_ok(), "two others hold it: {through_full:?}");
    cluster
        .write(cluster.id(1), &bucket, "k", blind("v"))
        .unwrap();
    cluster.set_space(full, dunlin_storage::DiskSpace::Ample);
    cluster.pass_ms(10_000);
    assert_eq!(cluster.siblings(full, &bucket, "k").0, ["v"]);
    assert_eq!(cluster.siblings(full, &bucket, "k2").0, ["v"]);
    cluster.assert_converged();
}

#[test]
fn concurrent_lww_writes_are_counted() {
    let mut cluster = Cluster::of(3);
    let bucket = cluster.bucket("b", Kind::Lww);
    let assign = |value: &str| WriteOp::Put {
        value: value.as_bytes().to_vec().into(),
        replaces: Replace::Seen,
    };
    cluster.cut_off(cluster.id(3));
    let w1 = WriteOptions {
        w: Some(Quorum::One),
        ..Default::default()
    };
    cluster
        .write_with(cluster.id(1), &bucket, "k", assign("a"), w1)
        .unwrap();
    cluster.pass_ms(10);
    cluster
        .write_with(cluster.id(3), &bucket, "k", assign("b"), w1)
        .unwrap();
    cluster.join(cluster.id(3));
    cluster.pass_ms(5000);
    let found = cluster.read(cluster.id(2), &bucket, "k", Query::Value);
    assert!(matches!(found, Found::Latest { value, .. } if value == "b"));
    assert!(
        cluster
            .notes
            .iter()
            .any(|note| matches!(note, Note::LwwConcurrent { .. }))
    );
}
