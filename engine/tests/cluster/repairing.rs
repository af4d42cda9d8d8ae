//! Repair: in proportion to the difference, whole where the log is gone, and quiet when equal.

use dunlin_crdt::Kind;
use dunlin_engine::{EngineOptions, Note};
use dunlin_protocol::peer::{PeerBody, RepairMessage};
use dunlin_protocol::request::{Query, Replace, WriteOp};
use dunlin_protocol::response::Found;
use dunlin_storage::{MemoryKv, Start};

use crate::harness::{Cluster, blind};

fn rows_shipped(cluster: &Cluster) -> usize {
    let rows = |body: &PeerBody| match body {
        PeerBody::Repair {
            message: RepairMessage::Rows { rows, .. },
            ..
        } => rows.len(),
        PeerBody::Repair {
            message: RepairMessage::Whole { rows, .. },
            ..
        } => rows.len(),
        _ => 0,
    };
    cluster
        .delivered
        .iter()
        .map(|(_, _, body)| rows(body))
        .sum()
}

#[test]
fn only_missed_rows_are_shipped() {
    let mut cluster = Cluster::of(3);
    let bucket = cluster.bucket("b", Kind::Register);
    let node = cluster.id(1);
    for at in 0..200 {
        cluster
            .write(node, &bucket, &format!("k{at}"), blind("v"))
            .unwrap();
    }
    cluster.pass_ms(3000);
    cluster.cut_off(cluster.id(3));
    for at in 200..210 {
        cluster
            .write(node, &bucket, &format!("k{at}"), blind("v"))
            .unwrap();
    }
    cluster.join(cluster.id(3));
    cluster.delivered.clear();
    cluster.pass_ms(5000);
    cluster.assert_converged();
    let shipped = rows_shipped(&cluster);
    assert!(
        (10..=20).contains(&shipped),
        "{shipped} rows for 10 missed, from at most two sides"
    );
}

#[test]
fn equal_owners_say_next_to_nothing() {
    let mut cluster = Cluster::of(3);
    let bucket = cluster.bucket("b", Kind::Register);
    cluster
        .write(cluster.id(1), &bucket, "k", blind("v"))
        .unwrap();
    cluster.pass_ms(5000);
    cluster.delivered.clear();
    cluster.pass_ms(20_000);
    // But for the questions of how a peer is, which have an operation's form.
    let is_repair =
        |body: &PeerBody| !matches!(body, PeerBody::Control(_) | PeerBody::Operation { .. });
    let repair = cluster.delivered.iter();
    let repair = repair.filter(|(_, _, body)| is_repair(body));
    assert_eq!(repair.count(), 0);
}

#[test]
fn equal_owners_compare_again_once_a_minute() {
    let mut cluster = Cluster::of(3);
    let bucket = cluster.bucket("b", Kind::Register);
    cluster
        .write(cluster.id(1), &bucket, "k", blind("v"))
        .unwrap();
    cluster.pass_ms(5_000);
    cluster.delivered.clear();
    cluster.pass_ms(65_000);
    let ids = [1, 2, 3].map(|number| cluster.id(number));
    for from in ids {
        for to in ids.into_iter().filter(|to| *to != from) {
            let is_it = |(sender, receiver, body): &(_, _, PeerBody)| {
                let is_digests = matches!(body, PeerBody::Digests(said) if !said.is_empty());
                (*sender, *receiver) == (from, to) && is_digests
            };
            assert!(cluster.delivered.iter().any(is_it), "{from} to {to}");
        }
    }
}

/// How long it takes to repair rows of so many bytes in all with this budget, in pages of two rows.
fn ms_to_repair(bytes_per_second: u64, bytes: usize) -> u64 {
    let options = EngineOptions {
        repair_bytes_per_second: bytes_per_second,
        repair_page_bytes: 1_000,
        ..EngineOptions::default()
    };
    let mut cluster = Cluster::with(3, options);
    cluster.no_handoff = true;
    let bucket = cluster.bucket("b", Kind::Register);
    let behind = cluster.owners(&bucket, "k0")[0];
    let value = "v".repeat(900);
    cluster.cut_off(behind);
    let at = cluster.owners(&bucket, "k0")[1];
    for number in 0..bytes / value.len() {
        let key = format!("k{number}");
        cluster.write(at, &bucket, &key, blind(&value)).unwrap();
    }
    cluster.join(behind);
    let joined = cluster.now.time;
    let is_behind = |cluster: &Cluster| {
        let clocks = |node| cluster.nodes[&node].shard.replica();
        let partitions = cluster.layout.partitions();
        let differs = |p| clocks(behind).clock(p) != clocks(at).clock(p);
        partitions.iter().any(differs)
    };
    while is_behind(&cluster) && cluster.now.time.ms_since(joined) < 600_000 {
        cluster.pass_ms(100);
    }
    cluster.now.time.ms_since(joined)
}

#[test]
fn repair_keeps_to_its_budget_and_comes_to_its_end() {
    let (little, much) = (ms_to_repair(4_000, 45_000), ms_to_repair(1 << 20, 45_000));
    assert!(much < 5_000, "{much}");
    assert!((6_000..20_000).contains(&little), "{little}");
}

#[test]
fn a_budget_of_less_than_a_page_lets_a_page_through_each_round() {
    let took = ms_to_repair(1, 18_000);
    assert!((4_000..20_000).contains(&took), "{took}");
}

#[test]
fn wiped_node_refills_before_it_counts() {
    let mut cluster = Cluster::of(3);
    let bucket = cluster.bucket("b", Kind::Register);
    for at in 0..300 {
        cluster
            .write(cluster.id(1), &bucket, &format!("k{at}"), blind("v"))
            .unwrap();
    }
    cluster.pass_ms(5000);
    let wiped = cluster.id(3);
    cluster.boot(wiped, MemoryKv::new(), Start::Blank);
    assert!(
        !cluster.nodes[&wiped]
            .shard
            .replica()
            .is_whole(cluster.partition(&bucket, "k0"))
    );
    cluster.pass_ms(10_000);
    cluster.assert_converged();
    assert_eq!(cluster.siblings(wiped, &bucket, "k7").0, ["v"]);
}

#[test]
fn deleted_stays_deleted_when_an_owner_that_slept_returns() {
    let mut cluster = Cluster::of(3);
    let bucket = cluster.bucket("b", Kind::Register);
    for at in 0..50 {
        cluster
            .write(cluster.id(1), &bucket, &format!("k{at}"), blind("v"))
            .unwrap();
    }
    cluster.pass_ms(3000);
    cluster.cut_off(cluster.id(3));
    for at in 0..50 {
        let delete = WriteOp::Delete(Replace::Seen);
        cluster
            .write(cluster.id(1), &bucket, &format!("k{at}"), delete)
            .unwrap();
    }
    cluster.pass_ms(60_000);
    cluster.join(cluster.id(3));
    cluster.pass_ms(10_000);
    cluster.assert_converged();
    for node in cluster.nodes.values() {
        let tally = node.shard.replica().tally();
        assert_eq!((tally.rows, tally.log_entries, tally.pending), (0, 0, 0));
    }
}

#[test]
fn counter_is_exact_after_an_unclean_stop() {
    let mut cluster = Cluster::of(3);
    let bucket = cluster.bucket("b", Kind::Counter);
    for _ in 0..5 {
        cluster
            .write(cluster.id(1), &bucket, "k", WriteOp::Increment(1))
            .unwrap();
    }
    let kv = cluster.nodes[&cluster.id(1)].kv.clone();
    kv.crash(0);
    cluster.boot(cluster.id(1), kv, Start::Unclean);
    cluster.pass_ms(3000);
    for _ in 0..5 {
        cluster
            .write(cluster.id(1), &bucket, "k", WriteOp::Increment(1))
            .unwrap();
    }
    assert_eq!(
        cluster.read(cluster.id(2), &bucket, "k", Query::Value),
        Found::Sum(10)
    );
    cluster.pass_ms(3000);
    cluster.assert_converged();
}

#[test]
fn a_damaged_row_is_healed_by_a_co_owners_copy() {
    let mut cluster = Cluster::of(3);
    let bucket = cluster.bucket("b", Kind::Register);
    let node = cluster.id(2);
    for at in 0..20 {
        cluster
            .write(node, &bucket, &format!("k{at}"), blind("v"))
            .unwrap();
    }
    cluster.pass_ms(3000);
    cluster.damage_a_row(node, &bucket, "k7");
    // Whoever reads through the damaged copy is refused or answered by the others, never wrongly.
    let read = cluster.read_with(node, &bucket, "k7", Query::Value, Default::default());
    assert!(
        !matches!(&read, Ok(answer) if answer.found == Found::Nothing),
        "{read:?}"
    );
    cluster.delivered.clear();
    cluster.pass_ms(10_000);
    cluster.assert_converged();
    assert_eq!(cluster.siblings(node, &bucket, "k7").0, ["v"]);
    assert!(rows_shipped(&cluster) <= 1, "the row alone");
}

fn scrubbing() -> EngineOptions {
    EngineOptions {
        scrub_interval_ms: 5_000,
        ..EngineOptions::default()
    }
}

#[test]
fn a_row_that_nobody_reads_is_scrubbed_and_healed() {
    let mut cluster = Cluster::with(3, scrubbing());
    let bucket = cluster.bucket("b", Kind::Register);
    let node = cluster.id(2);
    for at in 0..20 {
        cluster
            .write(node, &bucket, &format!("k{at}"), blind("v"))
            .unwrap();
    }
    cluster.pass_ms(3000);
    cluster.damage_a_row(node, &bucket, "k7");
    cluster.pass_ms(60_000);
    let healed = cluster.notes.iter();
    let healed = healed.filter(|note| matches!(note, Note::RowDamaged { .. }));
    assert_eq!(healed.count(), 1);
    cluster.assert_converged();
    let replica = cluster.nodes[&node].shard.replica();
    for partition in replica.owned() {
        let slice = replica.scrub(partition, None, 1000, |_| false).unwrap();
        assert!(slice.damaged.is_empty());
    }
}

#[test]
fn a_copy_that_two_others_contradict_is_refilled() {
    let mut cluster = Cluster::with(3, scrubbing());
    let bucket = cluster.bucket("b", Kind::Register);
    let node = cluster.id(2);
    for at in 0..20 {
        cluster
            .write(node, &bucket, &format!("k{at}"), blind("v"))
            .unwrap();
    }
    cluster.pass_ms(3000);
    cluster.lose_a_row(node, &bucket, "k7");
    cluster.pass_ms(60_000);
    let differ = |note: &Note| matches!(note, Note::ContentsDiffer { .. });
    assert!(cluster.notes.iter().any(differ));
    cluster.assert_converged();
    assert_eq!(cluster.siblings(node, &bucket, "k7").0, ["v"]);
}

#[test]
fn files_are_looked_at_once_rows_cannot_be_read_and_all_others_can_be_reached() {
    let mut cluster = Cluster::with(3, scrubbing());
    let bucket = cluster.bucket("b", Kind::Register);
    let (node, other) = (cluster.id(2), cluster.id(3));
    for at in 0..20 {
        cluster
            .write(node, &bucket, &format!("k{at}"), blind("v"))
            .unwrap();
    }
    cluster.pass_ms(3000);
    cluster.notes.clear();
    cluster.lose_a_block(node, &bucket, "k7");
    cluster.cut_off(other);
    cluster.pass_ms(60_000);
    let asks = |cluster: &Cluster| {
        let asks = cluster
            .notes
            .iter()
            .filter(|note| **note == Note::Unreadable);
        asks.count()
    };
    assert_eq!(asks(&cluster), 0, "the other one may be needed");
    let failures = cluster.notes.iter();
    let failures = failures.filter(|note| matches!(note, Note::StoreFailed { .. }));
    assert_eq!(failures.count(), 1, "it is told of once");
    cluster.join(other);
    cluster.pass_ms(30_000);
    assert!((1..=4).contains(&asks(&cluster)), "now and then");
    // What the driver does.
    let kv = cluster.nodes[&node].kv.clone();
    kv.salvage();
    let start = kv.open();
    cluster.boot(node, kv, start);
    cluster.pass_ms(30_000);
    cluster.assert_converged();
    assert_eq!(cluster.siblings(node, &bucket, "k7").0, ["v"]);
}
