//! A write of which every attempt was answered *not applied* has no event.

use super::evidence::Evidence;

pub(super) fn check(evidence: &Evidence<'_>, sentences: &mut Vec<String>) {
    for (id, attempts) in evidence.history.writes() {
        if !attempts.iter().all(|op| op.outcome.is_not_applied()) {
            continue;
        }
        for (name, minted) in evidence.ledger.of_op(id) {
            sentences.push(format!(
                "write {id} was answered with {:?}, and is {name} on {:?}",
                attempts.first().map(|op| &op.outcome),
                minted.row
            ));
        }
    }
}
