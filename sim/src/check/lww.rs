//! Of the writes to a last-writer-wins row that nobody replaced, the one with the highest stamp is what is
//! read in the end; and where concurrent ones met, some node that saw it has said so.
//!
//! A write that saw another replaces it, whatever their stamps are: a node whose clock was wrong wins over
//! those that did not see its write, and over no one else. The winner may be a write whose client was told
//! nothing, but never one that was denied.
//!
//! Excepted: writes that no disk had any more at some moment, as for survival.

use std::collections::BTreeSet;

use dunlin_crdt::RowKind;
use dunlin_protocol::RowKey;

use super::evidence::Evidence;
use super::shown::{Shown, reads};
use crate::ledger::{Minted, Name};

pub(super) fn check(evidence: &Evidence<'_>, sentences: &mut Vec<String>) {
    winners(evidence, sentences);
    for (row, _) in evidence.ledger.rows() {
        let is_lww = evidence.kind(row) == Some(RowKind::Lww);
        if is_lww && !evidence.history.may_be_dropped(row.bucket) {
            losers(evidence, row, sentences);
        }
    }
}

/// What the last reads show is at least what every write that must be there would have them show.
fn winners(evidence: &Evidence<'_>, sentences: &mut Vec<String>) {
    let ops = &evidence.history.ops;
    let from = ops.get(evidence.history.final_from);
    let from = from.map_or(u64::MAX, |op| op.start);
    for (op, _, rows) in reads(evidence).filter(|(op, _, _)| op.start >= from) {
        for (row, shown) in rows {
            if evidence.kind(&row) != Some(RowKind::Lww) {
                continue;
            }
            let stamp_of = |minted: &Minted| minted.event.cell.as_ref().map(|cell| cell.stamp);
            let undefeated = evidence.ledger.on_row(&row).filter(|(name, minted)| {
                minted.is_kept()
                    && !evidence.acks(*name).is_empty()
                    && evidence.ledger.replacers(*name).next().is_none()
            });
            // Of two events of one write the first counts, so the second may be stamped higher.
            let first = |minted: &Minted| {
                let of_op = evidence.ledger.of_op(minted.op);
                let of_row = of_op.filter(|(_, other)| other.row == row);
                of_row.filter_map(|(_, other)| stamp_of(other)).min()
            };
            let highest = undefeated.filter_map(|(_, minted)| first(minted)).max();
            let is = match &shown {
                Shown::Latest(_, stamp) => Some(*stamp),
                _ => None,
            };
            if is < highest {
                sentences.push(format!(
                    "{row:?} reads as {shown:?} at {}, and {highest:?} was acknowledged and not replaced",
                    op.start
                ));
            }
        }
    }
}

/// All that an event has replaced, and what that had replaced: of a fallback that lacks what came between, a later
/// write does not meet the earlier one as a concurrent one.
fn ancestors(evidence: &Evidence<'_>, of: Name) -> BTreeSet<Name> {
    let mut found = BTreeSet::new();
    let mut left = vec![of];
    while let Some(name) = left.pop() {
        let minted = evidence.ledger.event(name);
        let replaced = minted.into_iter().flat_map(|m| m.event.replaces.dots());
        left.extend(
            replaced
                .map(|dot| Name::of(&dot))
                .filter(|n| found.insert(*n)),
        );
    }
    found
}

/// Events that met in one row, at a node that wrote the next or at an owner in the end, and of which none
/// had replaced the other: somebody noted it.
fn losers(evidence: &Evidence<'_>, row: &RowKey, sentences: &mut Vec<String>) {
    if evidence.lww_noted.contains(row) {
        return;
    }
    let is_write = |name: &Name| {
        let minted = evidence.ledger.event(*name);
        minted.is_some_and(|m| m.row == *row && m.event.cell.is_some())
    };
    let in_the_end = evidence.end_dots(row).into_iter();
    let mut met: Vec<BTreeSet<Name>> = vec![in_the_end.filter(is_write).collect()];
    for (_, minted) in evidence.ledger.on_row(row) {
        let replaced = minted.event.replaces.dots().map(|dot| Name::of(&dot));
        met.push(replaced.filter(is_write).collect());
    }
    let concurrent = |met: BTreeSet<Name>| {
        let replaced: BTreeSet<Name> = met.iter().flat_map(|n| ancestors(evidence, *n)).collect();
        met.difference(&replaced).copied().collect::<Vec<Name>>()
    };
    let mut met = met.into_iter().filter(|met| met.len() > 1).map(concurrent);
    if let Some(met) = met.find(|met| met.len() > 1) {
        let names: Vec<String> = met.iter().map(Name::to_string).collect();
        sentences.push(format!(
            "{} met on {row:?}, and no node told of it",
            names.join(" and ")
        ));
    }
}
