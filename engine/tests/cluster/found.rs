//! What the simulator found once, in its shortest form.

use dunlin_crdt::Kind;
use dunlin_protocol::request::{Query, ReadOptions, Replace, WriteOp, WriteOptions};
use dunlin_protocol::response::Found;
use dunlin_ring::Quorum;
use dunlin_storage::{MemoryKv, Start};

use crate::harness::{Cluster, blind};

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
