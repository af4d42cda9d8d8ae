//! What a write has replaced is not shown again: by no read that must know of the write, and not in
//! the end.
//!
//! Excepted: writes of which no disk knew any more at some moment, because disks were wiped or forgot.

use std::collections::BTreeSet;

use dunlin_crdt::Body;

use super::evidence::Evidence;
use super::shown::{Shown, reads};
use crate::ledger::{Minted, Name};

pub(super) fn check(evidence: &Evidence<'_>, sentences: &mut Vec<String>) {
    in_the_end(evidence, sentences);
    in_reads(evidence, sentences);
}

fn in_the_end(evidence: &Evidence<'_>, sentences: &mut Vec<String>) {
    for (row, _) in evidence.ledger.rows() {
        for name in evidence.end_dots(row) {
            for (by, minted) in evidence.ledger.replacers(name) {
                let acknowledged = !evidence.acks(by).is_empty() && minted.was_synced();
                let held = evidence.is_in_end(row, &minted.event.dot);
                if minted.row == *row && !minted.forgotten && (held || acknowledged) {
                    sentences.push(format!(
                        "{row:?} shows {name} in the end, which {by} replaced"
                    ));
                }
            }
        }
    }
}

fn in_reads(evidence: &Evidence<'_>, sentences: &mut Vec<String>) {
    // A fallback's hints are marked as such, since they may be older than what replaced them.
    for (op, answer, rows) in reads(evidence).filter(|(_, answer, _)| answer.fallbacks.is_empty()) {
        for (row, shown) in rows {
            let known = evidence.ledger.on_row(&row).filter(|(name, minted)| {
                minted.at < op.start && evidence.read_knows(*name, op, answer)
            });
            let mut replaced = BTreeSet::new();
            for (name, minted) in known {
                let dots = minted.event.replaces.dots().map(|dot| Name::of(&dot));
                replaced.extend(dots.filter(|dot| *dot != name));
            }
            let candidates = || {
                let before = evidence.ledger.on_row(&row).filter(|(_, m)| m.at <= op.end);
                before.filter(|(_, minted)| could_show(minted, &shown))
            };
            let excused = match &shown {
                Shown::Nothing | Shown::Sum(_) => continue,
                Shown::Siblings(_, dots) => {
                    let back = dots
                        .dots()
                        .map(|dot| Name::of(&dot))
                        .find(|n| replaced.contains(n));
                    if let Some(name) = back {
                        sentences.push(format!(
                            "a read of {row:?} at {} shows {name}, which was replaced",
                            op.start
                        ));
                    }
                    continue;
                }
                Shown::Latest(..) | Shown::Marked | Shown::Extreme(_) => {
                    candidates().any(|(name, _)| !replaced.contains(&name))
                }
            };
            if !excused {
                sentences.push(format!(
                    "a read of {row:?} at {} shows {shown:?}, which was replaced or never written",
                    op.start
                ));
            }
        }
    }
}

/// Whether an event can be what is shown.
fn could_show(minted: &Minted, shown: &Shown) -> bool {
    match (minted.event.cell.as_ref().map(|cell| &cell.body), shown) {
        (Some(Body::Value(value)), Shown::Latest(shown, _)) => value == shown,
        (Some(Body::Mark), Shown::Marked) => true,
        (Some(Body::Extreme(value)), Shown::Extreme(shown)) => value == shown,
        _ => false,
    }
}
