//! No queue of a shard is ever longer than the options of the engine promise.
//!
//! Asked of the shards themselves, often, and at every check of their state.

use super::Checker;
use crate::world::World;

/// Checks the queues of every shard of a node.
pub(crate) fn check(world: &mut World, node: usize) {
    let Some(process) = &world.nodes[node].process else {
        return;
    };
    let (promised, nodes) = (world.options.promised, world.nodes.len());
    let partitions = usize::from(world.layout.partitions().get());
    let mut sentences = Vec::new();
    for (shard, queues) in process.shards.iter().map(|s| s.queues()).enumerate() {
        let taken = [
            ("requests", queues.requests, promised.operations_max),
            (
                "acknowledgements that wait",
                queues.commits_waiting,
                promised.commits_waiting_max,
            ),
            ("pulls", queues.pulls, promised.repairs_max),
            ("wanted pulls", queues.pulls_wanted, partitions * nodes),
            ("batches of hints on their way", queues.deliveries, nodes),
        ];
        for (what, is, most) in taken.into_iter().filter(|(_, is, most)| is > most) {
            sentences.push(format!(
                "shard {shard} of node {node} has {is} {what}; {most} are the most"
            ));
        }
        let (is, most) = (queues.hints_bytes, promised.hints_bytes_max);
        if is > most {
            sentences.push(format!(
                "shard {shard} of node {node} keeps {is} bytes of hints; {most} are the most"
            ));
        }
    }
    for sentence in sentences {
        world.complain(Checker::Bounds, sentence);
    }
}
