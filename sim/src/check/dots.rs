//! A dot is minted once, by one actor, and travels as what it was minted as.

use std::collections::BTreeMap;

use super::evidence::Evidence;

pub(super) fn check(evidence: &Evidence<'_>, sentences: &mut Vec<String>) {
    sentences.extend(evidence.ledger.complaints().iter().cloned());
    let mut actors = BTreeMap::new();
    for (name, minted) in evidence.ledger.events() {
        let partition = evidence.partition_of(&minted.row);
        let (last, of) = actors.entry(name.0).or_insert((0, (minted.by, partition)));
        if *of != (minted.by, partition) {
            sentences.push(format!(
                "actor {} mints for more than one partition of one node",
                name.0
            ));
        }
        if name.1 != *last + 1 {
            sentences.push(format!(
                "dot {name} follows {last}: counters must be contiguous"
            ));
        }
        *last = name.1;
    }
}
