//! A log entry is deleted only when every other owner has had its event: for as long as one lacks it, the
//! entry is how that one finds the row. An owner whose copy is not whole is owed all of it anyway.
//!
//! This is checked at the moment at which the batch that deletes it is written. An owner that went down or
//! whose disk refused something since the event may have lost what it had said that it holds.

use dunlin_crdt::Dot;
use dunlin_ring::PartitionId;

use super::Checker;
use crate::ledger::Name;
use crate::operator::Standing;
use crate::world::{Node, World};
use crate::writer::Part;

pub(crate) fn check(world: &mut World, node: usize, deleted: &[(PartitionId, Dot)]) {
    let mut sentences = Vec::new();
    for (partition, dot) in deleted {
        let name = Name::of(dot);
        let (Part::Shard(shard), Some(minted)) =
            (world.shard_of(*partition), world.ledger.event(name))
        else {
            continue;
        };
        let Some(view) = world.nodes[node].views.get(shard) else {
            continue;
        };
        // It may have decided so when it had not heard that there are other owners now: they pull all of it.
        if !view.is_owner(world.nodes[node].id, *partition) {
            continue;
        }
        let owns = |other: &Node| {
            let mut layouts = view.layouts.all();
            other.id != world.nodes[node].id
                && other.standing == Standing::Serving
                && layouts.all(|applied| applied.layout.is_owner(other.id, *partition))
        };
        let may_have_lost = |other: &Node| {
            let since = |times: &[u64]| times.iter().any(|at| *at >= minted.at);
            !other.losses.is_empty() || since(&other.crashes) || since(&other.refusals)
        };
        let lacks = |other: &Node| {
            let shards = other.process.iter().flat_map(|process| &process.shards);
            let mut copies = shards.map(|shard| shard.replica());
            copies.any(|copy| copy.is_whole(*partition) && !copy.clock(*partition).contains(dot))
        };
        let mut nodes = world.nodes.iter();
        if let Some(other) = nodes.find(|n| owns(n) && !may_have_lost(n) && lacks(n)) {
            sentences.push(format!(
                "node {node} deletes the log entry of {name} of partition {partition}, which {} lacks",
                other.id
            ));
        }
    }
    sentences.truncate(3);
    for sentence in sentences {
        world.complain(Checker::Log, sentence);
    }
}
