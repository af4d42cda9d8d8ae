//! An acknowledged write is there in the end: its cell, or some write that replaced it.
//!
//! Excepted: rows of buckets that were dropped; writes that were acknowledged before they were synced
//! and that no disk ever had; writes that no disk had any more at some moment, because disks were
//! wiped or forgot. The ledger follows each copy to tell.

use super::evidence::Evidence;

pub(super) fn check(evidence: &Evidence<'_>, sentences: &mut Vec<String>) {
    for (name, acks) in evidence.acknowledged() {
        let Some(minted) = evidence.ledger.event(name) else {
            sentences.push(format!("a receipt names {name}, which was never minted"));
            continue;
        };
        let row = &minted.row;
        if evidence.history.may_be_dropped(row.bucket) || !minted.is_kept() {
            continue;
        }
        let there = match minted.event.cell {
            Some(_) => evidence.end_dots(row).contains(&name),
            None => evidence.is_in_end(row, &minted.event.dot),
        };
        if !there && evidence.ledger.replacers(name).next().is_none() {
            let copies = acks.first().map(|ack| &ack.receipt.copies);
            sentences.push(format!(
                "{name} on {row:?} of write {} was acknowledged with {copies:?} and is gone",
                minted.op
            ));
        }
    }
}
