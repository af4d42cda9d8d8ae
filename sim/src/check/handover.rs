//! A node gives a partition up only when every owner has all of it on its disk.
//!
//! This is checked at the moment at which the batch that says so is written.

use dunlin_ring::PartitionId;

use super::Checker;
use crate::operator::Standing;
use crate::world::World;
use crate::writer::Part;

pub(crate) fn check(world: &mut World, node: usize, partitions: &[PartitionId]) {
    let mut sentences = Vec::new();
    for partition in partitions {
        let Part::Shard(shard) = world.shard_of(*partition) else {
            continue;
        };
        let Some(view) = world.nodes[node].views.get(shard) else {
            continue;
        };
        let is_sound = |owner: &&crate::world::Node| {
            view.readers(*partition).contains(&owner.id)
                && owner.losses.is_empty()
                && owner.standing == Standing::Serving
        };
        let owners: Vec<&crate::world::Node> = world.nodes.iter().filter(is_sound).collect();
        for (name, minted) in world.ledger.events() {
            if minted.row.partition(world.layout.partitions()) != *partition
                || !world.nodes[node].durable.claims(*partition, &name.dot())
            {
                continue;
            }
            let lacks =
                |owner: &&&crate::world::Node| !owner.durable.claims(*partition, &name.dot());
            if let Some(owner) = owners.iter().find(lacks) {
                sentences.push(format!(
                    "node {node} gives up partition {partition} with {name}, which {} does not have",
                    owner.id
                ));
            }
        }
    }
    for sentence in sentences {
        world.complain(Checker::Handover, sentence);
    }
}
