//! When a layout becomes complete, each owner that it has more than the one before has every write on its
//! disk that was acknowledged under older layouts only, and that a source still held: reads go by that layout from now
//! on, no longer by the one before, and all that gained may lose their power at once.
//!
//! This is checked at the moment at which the first node takes it for complete.

use std::collections::BTreeSet;

use dunlin_protocol::cluster::{AppliedLayout, LayoutId};
use dunlin_ring::{MemberState, NodeId};

use super::Checker;
use crate::world::World;

pub(super) fn check(world: &mut World, before: &AppliedLayout, complete: &AppliedLayout) {
    let mut sentences = Vec::new();
    let stays = |node: NodeId| {
        let member = complete.layout.member(node);
        member.is_some_and(|member| member.state == MemberState::Active)
    };
    for (op, receipt, dots) in world.history.receipts() {
        for dot in dots {
            let Some(minted) = world.ledger.event(crate::ledger::Name::of(&dot)) else {
                continue;
            };
            let ids: BTreeSet<LayoutId> = minted.layouts.ids().into_iter().collect();
            if minted.lost || ids.contains(&complete.id) || !ids.contains(&before.id) {
                continue;
            }
            // One that leaves is not waited for while it can't be reached. What it takes when it is back, and has
            // not heard, comes by repair.
            if !stays(minted.by) {
                continue;
            }
            let partition = minted.row.partition(world.layout.partitions());
            let sources = before.layout.owners(partition);
            let held = receipt.copies.iter().any(|copy| {
                let node = world.nodes.iter().find(|node| node.id == copy.node);
                copy.hint_for.is_none()
                    && copy.synced
                    && sources.contains(&copy.node)
                    && stays(copy.node)
                    && node.is_some_and(|node| node.losses.is_empty())
            });
            if !held {
                continue;
            }
            for owner in complete.layout.owners(partition) {
                if sources.contains(owner) || knows(world, *owner, partition, &dot) {
                    continue;
                }
                sentences.push(format!(
                    "layout {} is complete, and its owner {owner} of partition {partition} lacks \
                     {dot:?}, acknowledged at {} with {:?}",
                    complete.id, op.end, receipt.copies
                ));
            }
        }
    }
    for sentence in sentences {
        world.complain(Checker::Filling, sentence);
    }
}

/// Whether a node has an event on its disk, or answers for nothing in its partition.
fn knows(
    world: &World,
    node: NodeId,
    partition: dunlin_ring::PartitionId,
    dot: &dunlin_crdt::Dot,
) -> bool {
    let Some(node) = world.nodes.iter().find(|other| other.id == node) else {
        return true;
    };
    let Some(process) = &node.process else {
        return true;
    };
    let mut replicas = process.shards.iter().map(|shard| shard.replica());
    !node.losses.is_empty()
        || node.durable.claims(partition, dot)
        || !replicas.any(|r| r.is_whole(partition))
}
