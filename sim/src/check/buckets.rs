//! Buckets are known everywhere alike. What was made stands, or what was made before under its name; what was
//! dropped is gone with its rows.

use std::collections::BTreeSet;

use dunlin_protocol::Bucket;

use super::evidence::Evidence;
use crate::history::{Action, Outcome};

pub(super) fn check(evidence: &Evidence<'_>, sentences: &mut Vec<String>) {
    let Some(first) = evidence.nodes.iter().find(|node| node.up) else {
        return;
    };
    for (at, node) in evidence
        .nodes
        .iter()
        .enumerate()
        .filter(|(_, node)| node.up)
    {
        if node.buckets != first.buckets {
            sentences.push(format!("nodes 0 and {at} know different buckets"));
        }
        for (partition, end) in &node.partitions {
            let gone = |bucket| node.buckets.get(bucket).is_some_and(|b| b.dropped);
            let mut left = end.rows.keys().filter(|key| gone(&key.bucket));
            if let Some(row) = left.next() {
                sentences.push(format!(
                    "partition {partition} of node {at} holds {row:?} of a dropped bucket"
                ));
            }
        }
    }
    // A disk that lost what it had synced may have been the only one that knew.
    if evidence.nodes.iter().any(|node| !node.losses.is_empty()) {
        return;
    }
    let dropped: BTreeSet<&str> = evidence
        .history
        .ops
        .iter()
        .filter(|op| !op.outcome.is_not_applied())
        .filter_map(|op| match &op.action {
            Action::Drop(name) => Some(name.as_str()),
            _ => None,
        })
        .collect();
    for op in &evidence.history.ops {
        match (&op.action, &op.outcome) {
            (Action::Create(name), Outcome::Bucket(made)) if !dropped.contains(name.as_str()) => {
                let is_no_later = |b: &Bucket| (b.created, b.id) <= (made.created, made.id);
                let living = first.buckets.values().filter(|b| !b.dropped);
                let mut named = living.filter(|b| b.name == made.name);
                if !named.any(is_no_later) {
                    sentences.push(format!(
                        "bucket {name} was made and nobody dropped it; it is gone"
                    ));
                }
            }
            (Action::Drop(name), Outcome::Bucket(gone))
                if first
                    .buckets
                    .get(&gone.id)
                    .is_some_and(|bucket| !bucket.dropped) =>
            {
                sentences.push(format!("bucket {name} was dropped and is still there"));
            }
            _ => {}
        }
    }
}
