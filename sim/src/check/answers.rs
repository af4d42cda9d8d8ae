//! Nobody answers for what it does not hold: of the owners that a read counts each holds the partition
//! whole when it answers.

use dunlin_protocol::peer::{OperationMessage, PeerBody};
use dunlin_protocol::response::ReadAnswer;
use dunlin_ring::PartitionId;

use super::Checker;
use crate::history::Action;
use crate::world::World;
use crate::writer::Part;

/// Checks what a node tells another that reads.
pub(crate) fn message(world: &mut World, node: usize, body: &PeerBody) {
    if let PeerBody::Operation {
        partition,
        message: OperationMessage::Compared { .. } | OperationMessage::RangeCompared { .. },
        ..
    } = body
        && !is_whole(world, node, *partition)
    {
        let sentence =
            format!("node {node} answers a read of partition {partition}, and lacks some");
        world.complain(Checker::Answers, sentence);
    }
}

/// Checks what a node tells a client about its own part in a read.
pub(crate) fn read(world: &mut World, node: usize, number: usize, answer: &ReadAnswer) {
    let partition = match world.history.ops.get(number).map(|op| &op.action) {
        Some(Action::Read { bucket, key, .. }) => {
            world.layout.partitions().partition_of(*bucket, key)
        }
        Some(Action::Keys { partition, .. }) => *partition,
        _ => return,
    };
    let Part::Shard(shard) = world.shard_of(partition) else {
        return;
    };
    let readers = world.nodes[node]
        .views
        .get(shard)
        .map(|view| view.readers(partition).to_vec());
    if let (Some(readers), Some(op)) = (readers, world.history.ops.get_mut(number))
        && readers.contains(&world.nodes[node].id)
    {
        op.read_among = readers;
    }
    if answer.owners.contains(&world.nodes[node].id) && !is_whole(world, node, partition) {
        let sentence = format!(
            "node {node} counts itself in read #{number} of partition {partition}, and lacks some"
        );
        world.complain(Checker::Answers, sentence);
    }
}

fn is_whole(world: &World, node: usize, partition: PartitionId) -> bool {
    let shards = world.nodes[node]
        .process
        .iter()
        .flat_map(|process| &process.shards);
    shards
        .map(|shard| shard.replica())
        .any(|replica| replica.is_whole(partition))
}
