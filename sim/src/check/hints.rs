//! A hint is thrown away only when its owner has the event on its disk; or, where that is no owner any more,
//! some owner has.
//!
//! This is checked at the moment at which the batch that deletes it is written. A node that lost synced
//! events at some time may have had it before.

use dunlin_crdt::Dot;
use dunlin_ring::{NodeId, PartitionId};

use super::Checker;
use crate::ledger::Name;
use crate::world::{Node, World};
use crate::writer::Part;

pub(crate) fn check(world: &mut World, node: usize, deleted: &[(NodeId, Dot)]) {
    // Some may have been damaged.
    if world.rot.has_struck(node) {
        return;
    }
    let mut sentences = Vec::new();
    for (owner, dot) in deleted {
        let name = Name::of(dot);
        let Some(minted) = world.ledger.event(name) else {
            continue;
        };
        let partition = minted.row.partition(world.layout.partitions());
        let Part::Shard(shard) = world.shard_of(partition) else {
            continue;
        };
        let Some(view) = world.nodes[node].views.get(shard) else {
            continue;
        };
        let mut layouts = view.layouts.all();
        let owns = layouts.all(|applied| applied.layout.is_owner(*owner, partition));
        let has = |other: &Node| !other.losses.is_empty() || other.durable.claims(partition, dot);
        let holds = |other: &&Node| other.id == *owner && other.durable.holds(partition);
        let is_held = match world.nodes.iter().find(holds).filter(|_| owns) {
            Some(owner) => has(owner),
            // It owns the partition no longer, or is about to.
            None => world.nodes.iter().any(has),
        };
        // What this node took as an owner is in the same batch, or in one before it.
        let is_held = is_held || takes(&world.nodes[node], partition, dot);
        if !is_held {
            sentences.push(format!(
                "node {node} throws away the hint of {name} for {owner}, and no owner has it on its disk"
            ));
        }
    }
    sentences.truncate(3);
    for sentence in sentences {
        world.complain(Checker::Hints, sentence);
    }
}

/// Whether a node has taken an event as an owner: that is in the batch which deletes the hint, or in one before.
fn takes(node: &Node, partition: PartitionId, dot: &Dot) -> bool {
    let shards = node.process.iter().flat_map(|process| &process.shards);
    let mut copies = shards.map(|shard| shard.replica());
    copies.any(|copy| copy.clock(partition).contains(dot))
}
