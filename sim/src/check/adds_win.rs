//! An element or a flag that was added and acknowledged is there in the end, if every removal of it
//! was decided before the add was asked for: no removal can have seen it.

use dunlin_crdt::RowKind;

use super::evidence::Evidence;

pub(super) fn check(evidence: &Evidence<'_>, sentences: &mut Vec<String>) {
    for (row, _) in evidence.ledger.rows() {
        let marks = matches!(evidence.kind(row), Some(RowKind::Element | RowKind::Flag));
        if !marks || evidence.history.may_be_dropped(row.bucket) {
            continue;
        }
        if !evidence.end_dots(row).is_empty() {
            continue;
        }
        let last_removal = evidence
            .ledger
            .on_row(row)
            .filter(|(_, minted)| minted.event.cell.is_none())
            .map(|(_, minted)| minted.at)
            .max();
        // A later add replaces an earlier one, and may be lost itself where it was never synced.
        let unclear = evidence
            .ledger
            .on_row(row)
            .any(|(_, m)| m.lost || !m.was_synced());
        for (name, minted) in evidence.ledger.on_row(row) {
            let after = |at: u64| last_removal.is_none_or(|removed| removed < at);
            let added = evidence.acks(name).iter().find(|ack| after(ack.op.start));
            if let Some(ack) = added
                && minted.event.cell.is_some()
                && !unclear
            {
                sentences.push(format!(
                    "{row:?} is gone, though {name} was added at {}, after the last removal at {last_removal:?}",
                    ack.op.start
                ));
            }
        }
    }
}
