//! In the end nothing is left to do: no hint, no log entry, no pending dot that a clock covers, no
//! operation, nothing unsynced.

use super::evidence::{Evidence, NodeEnd};

pub(super) fn check(evidence: &Evidence<'_>, sentences: &mut Vec<String>) {
    for (at, node) in evidence
        .nodes
        .iter()
        .enumerate()
        .filter(|(_, node)| node.up)
    {
        if let Some(left) = left_to_do(node) {
            sentences.push(format!("node {at} has {left}"));
        }
    }
}

fn left_to_do(node: &NodeEnd) -> Option<String> {
    if node.hints > 0 {
        return Some(format!("{} hints", node.hints));
    }
    if node.log_entries > 0 {
        return Some(format!("{} log entries", node.log_entries));
    }
    for (partition, end) in &node.partitions {
        for (key, row) in &end.rows {
            if !row.past().intersection(&end.clock).is_empty() {
                return Some(format!("pending dots of {key:?} in partition {partition}"));
            }
        }
    }
    if node.unsynced {
        return Some("batches that are not synced".to_owned());
    }
    (!node.idle).then(|| "operations in progress".to_owned())
}

/// Whether a node has nothing left to do.
pub(crate) fn is_quiet(node: &NodeEnd) -> bool {
    left_to_do(node).is_none()
}
