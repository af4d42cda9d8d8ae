//! Nobody answers for what it does not hold, and as many answer as were asked for: of the owners that a read
//! counts each is one, and holds the partition whole when it answers. What hints lack proves nothing.

use std::collections::BTreeSet;

use dunlin_protocol::peer::{OperationMessage, PeerBody};
use dunlin_protocol::request::ReadOptions;
use dunlin_protocol::response::{Found, ReadAnswer};
use dunlin_ring::{BucketId, NodeId, PartitionId, Quorum};

use super::{Checker, enough};
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
    let (partition, bucket, options) = match world.history.ops.get(number).map(|op| &op.action) {
        Some(Action::Read {
            bucket,
            key,
            options,
            ..
        }) => {
            let partition = world.layout.partitions().partition_of(*bucket, key);
            (partition, *bucket, *options)
        }
        Some(Action::Keys {
            partition, bucket, ..
        }) => (*partition, *bucket, ReadOptions::default()),
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
        op.read_among.clone_from(&readers);
        if let Some(sentence) = falls_short(world, (&readers, partition), bucket, &options, answer)
        {
            let sentence = format!("read #{number} of partition {partition} {sentence}");
            world.complain(Checker::Answers, sentence);
        }
    }
    let id = world.nodes[node].id;
    // It may have passed the read on to a node that asked the other process.
    let start = world.history.ops.get(number).map_or(0, |op| op.start);
    let is_one = !world.remembered.was_haunted(id, start, world.now);
    if is_one && answer.owners.contains(&id) && !is_whole(world, node, partition) {
        let sentence = format!(
            "node {node} counts itself in read #{number} of partition {partition}, and lacks some"
        );
        world.complain(Checker::Answers, sentence);
    }
}

/// Whether fewer have answered than were asked for, or others.
fn falls_short(
    world: &World,
    (readers, partition): (&[NodeId], PartitionId),
    bucket: BucketId,
    options: &ReadOptions,
    answer: &ReadAnswer,
) -> Option<String> {
    let defaults = world.history.buckets.get(&bucket)?.bucket.defaults;
    // While N changes the node may have counted by the one or the other.
    let layouts = &world.remembered.layouts;
    let completed = world.remembered.complete.iter().rev().take(2);
    let completed = completed.filter_map(|id| Some(&layouts.get(id)?.layout));
    let with_first = completed.chain([&*world.layout]).take(2);
    let counts = with_first.map(|layout| layout.owners(partition).len());
    let owners = counts.chain([readers.len()]).min().unwrap_or(0);
    let needed = |quorum: Quorum| enough(quorum, owners).min(owners);
    let (r, pr) = (
        options.r.unwrap_or(defaults.r),
        options.pr.map_or(0, needed),
    );
    let nodes: BTreeSet<&NodeId> = answer.owners.iter().chain(&answer.fallbacks).collect();
    if answer.owners.len() < pr || nodes.len() < needed(r) {
        return Some(format!(
            "asked for {options:?}, of {r:?}, and is {answer:?}"
        ));
    }
    if !answer.fallbacks.is_empty() && answer.found == Found::Nothing {
        return Some(format!("found nothing by hints: {answer:?}"));
    }
    let stays = world.options.layouts.is_none();
    let stranger = answer.owners.iter().find(|node| !readers.contains(node));
    let stranger = stranger.filter(|_| stays)?;
    Some(format!("counts {stranger:?} for an owner"))
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
