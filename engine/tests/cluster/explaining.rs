//! What a node reports of a key: its own replica, whatever it is worth.

use bytes::Bytes;
use dunlin_crdt::Kind;
use dunlin_protocol::explain::KeyReport;
use dunlin_protocol::request::{Explain, Request, WriteOp};
use dunlin_protocol::response::{Answer, Found};
use dunlin_protocol::{Bucket, Failure};
use dunlin_ring::{BucketId, NodeId};

use crate::harness::{Cluster, blind, elements};

fn explain(cluster: &mut Cluster, node: NodeId, bucket: &Bucket, key: &str) -> KeyReport {
    let request = Request::Explain(Explain {
        bucket: bucket.id,
        key: Bytes::copy_from_slice(key.as_bytes()),
    });
    match cluster.ask(node, request) {
        Answer::Explained(report) => *report,
        other => panic!("{other:?}"),
    }
}

#[test]
fn owners_that_agree_report_the_same_and_others_hold_nothing() {
    let mut cluster = Cluster::of(5);
    let bucket = cluster.bucket("b", Kind::Register);
    let owners = cluster.owners(&bucket, "k");
    cluster.write(owners[0], &bucket, "k", blind("v")).unwrap();
    let reports: Vec<KeyReport> = owners
        .iter()
        .map(|owner| explain(&mut cluster, *owner, &bucket, "k"))
        .collect();
    assert!(reports.iter().all(|report| *report == reports[0]));
    let report = &reports[0];
    assert_eq!(report.partition, cluster.partition(&bucket, "k"));
    assert!(report.owner && report.holds && report.whole && !report.more);
    assert_eq!((report.seen.len(), report.rows.len()), (1, 1));
    let row = &report.rows[0];
    assert_eq!((row.cells.len(), row.cells_more), (1, 0));
    assert_eq!((row.cells[0].counter, row.cells[0].expired), (1, false));
    assert!(
        matches!(&row.shows, Some(Found::Siblings { values, .. }) if *values == ["v"]),
        "{row:?}"
    );
    let other = cluster.others(&bucket, "k")[0];
    let report = explain(&mut cluster, other, &bucket, "k");
    assert!(!report.owner && !report.holds && !report.whole);
    assert_eq!((report.rows.len(), report.hints.len()), (0, 0));
}

#[test]
fn what_an_owner_missed_is_a_cell_it_lacks_and_a_hint_elsewhere() {
    let mut cluster = Cluster::of(5);
    let bucket = cluster.bucket("b", Kind::Register);
    let owners = cluster.owners(&bucket, "k");
    cluster.cut_off(owners[2]);
    cluster.write(owners[0], &bucket, "k", blind("v")).unwrap();
    let has = explain(&mut cluster, owners[0], &bucket, "k");
    let lacks = explain(&mut cluster, owners[2], &bucket, "k");
    assert_eq!((has.rows.len(), lacks.rows.len()), (1, 0));
    assert_ne!(has.clock, lacks.clock);
    assert!(lacks.seen.is_empty());
    let kept: Vec<_> = cluster
        .others(&bucket, "k")
        .into_iter()
        .flat_map(|node| explain(&mut cluster, node, &bucket, "k").hints)
        .collect();
    assert_eq!(kept.len(), 1);
    assert_eq!((kept[0].owner, kept[0].events), (owners[2], 1));
}

#[test]
fn a_long_report_ends_and_says_so() {
    let mut cluster = Cluster::of(3);
    let bucket = cluster.bucket("s", Kind::Set);
    let texts: Vec<String> = (0..150).map(|number| format!("{number:03}")).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let add = WriteOp::Add(elements(&texts));
    cluster.write(cluster.id(1), &bucket, "k", add).unwrap();
    let report = explain(&mut cluster, NodeId::from_name("n1"), &bucket, "k");
    assert_eq!((report.rows.len(), report.more), (100, true));
    assert_eq!(report.rows[0].shows, Some(Found::Present));

    let bucket = cluster.bucket("b", Kind::Lww);
    let long = "v".repeat(70_000);
    cluster
        .write(cluster.id(1), &bucket, "k", blind(&long))
        .unwrap();
    let report = explain(&mut cluster, NodeId::from_name("n1"), &bucket, "k");
    assert_eq!(
        (report.rows[0].cells.len(), &report.rows[0].shows),
        (1, &None)
    );
}

#[test]
fn a_bucket_that_is_not_there_is_no_report() {
    let mut cluster = Cluster::of(3);
    let request = Request::Explain(Explain {
        bucket: BucketId(7),
        key: Bytes::new(),
    });
    let node = cluster.id(1);
    assert_eq!(
        cluster.ask(node, request),
        Answer::Failed(Failure::NoSuchBucket)
    );
}
