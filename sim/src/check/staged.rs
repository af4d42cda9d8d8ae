//! A change that an operator was told is staged is in the end carried out, taken back, or still staged;
//! also one of a layout that lost a tie.
//!
//! What a layout carried out is taken from the node that applied it. A disk that lost what it had synced
//! may have been the only one that knew of a change.

use super::evidence::Evidence;

pub(super) fn check(evidence: &Evidence<'_>, sentences: &mut Vec<String>) {
    if evidence.nodes.iter().any(|node| !node.losses.is_empty()) {
        return;
    }
    for (at, node) in evidence
        .nodes
        .iter()
        .enumerate()
        .filter(|(_, node)| node.up)
    {
        let Some(newest) = node.newest else { continue };
        let carried_out = evidence.remembered.layouts.get(&newest);
        for change in &evidence.remembered.staged {
            let done = carried_out.is_some_and(|layout| layout.settles.contains(change));
            let open = node.changes.get(change);
            let sentence = match open {
                None if done => continue,
                None => "forgotten",
                Some(cancelled) if *cancelled || done => continue,
                Some(_) if node.settles.contains(change) => "taken for carried out",
                Some(_) => continue,
            };
            sentences.push(format!(
                "change {} was staged and is {sentence} at node {at}",
                change.0
            ));
        }
    }
}
