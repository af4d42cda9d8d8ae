//! Buckets: made once, known everywhere, dropped for good.

use dunlin_crdt::Kind;
use dunlin_protocol::request::{Request, WriteOp};
use dunlin_protocol::response::Answer;
use dunlin_protocol::{BucketDefaults, Failure};

use crate::harness::{Cluster, blind};

fn create(name: &str, kind: Kind) -> Request {
    Request::CreateBucket {
        name: name.parse().unwrap(),
        kind,
        defaults: BucketDefaults::default(),
    }
}

#[test]
fn bucket_is_created_once() {
    let mut cluster = Cluster::of(3);
    let first = cluster.bucket("b", Kind::Set);
    match cluster.ask(cluster.id(2), create("b", Kind::Set)) {
        Answer::Created { bucket, .. } => assert_eq!(bucket, first),
        other => panic!("{other:?}"),
    }
    let other = cluster.ask(cluster.id(3), create("b", Kind::Counter));
    assert!(matches!(
        other,
        Answer::Failed(Failure::BucketExists {
            kind: Kind::Set,
            ..
        })
    ));
}

#[test]
fn bucket_created_on_both_sides_of_a_split_ends_as_one() {
    let mut cluster = Cluster::of(3);
    cluster.cut_off(cluster.id(3));
    cluster.ask(cluster.id(1), create("b", Kind::Set));
    cluster.ask(cluster.id(3), create("b", Kind::Counter));
    cluster.join(cluster.id(3));
    cluster.pass_ms(2000);
    let listed: Vec<Answer> = (1..=3)
        .map(|i| cluster.ask(cluster.id(i), Request::ListBuckets))
        .collect();
    assert!(listed.windows(2).all(|w| w[0] == w[1]));
    assert!(matches!(&listed[0], Answer::Buckets(all) if all.len() == 1));
}

#[test]
fn dropped_bucket_gives_its_rows_back_and_never_meets_its_successor() {
    let mut cluster = Cluster::of(3);
    let old = cluster.bucket("b", Kind::Register);
    for at in 0..20 {
        cluster
            .write(cluster.id(1), &old, &format!("k{at}"), blind("old"))
            .unwrap();
    }
    cluster.ask(cluster.id(2), Request::DropBucket("b".parse().unwrap()));
    let refused = cluster.write(cluster.id(1), &old, "k", blind("v"));
    assert_eq!(refused, Err(Failure::NoSuchBucket));
    let new = cluster.bucket("b", Kind::Counter);
    assert_ne!(old.id, new.id);
    cluster
        .write(cluster.id(1), &new, "k1", WriteOp::Increment(1))
        .unwrap();
    cluster.pass_ms(10_000);
    cluster.assert_converged();
    for node in cluster.nodes.values() {
        assert_eq!(node.shard.replica().tally().rows, 1);
    }
}

#[test]
fn timers_of_a_node_that_runs_for_long_do_not_pile_up() {
    let mut cluster = Cluster::of(3);
    let pending = |cluster: &Cluster| -> usize {
        let nodes = cluster.nodes.values();
        nodes.map(|node| node.timers.len()).max().unwrap_or(0)
    };
    cluster.pass_ms(5_000);
    let before = pending(&cluster);
    cluster.pass_ms(60_000);
    let after = pending(&cluster);
    assert!(after <= before + 10, "{before} timers, and then {after}");
}
