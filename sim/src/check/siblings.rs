//! Siblings are values of writes that did not see each other, one for each request, and a write replaces only what its
//! writer was shown.

use std::collections::BTreeSet;

use dunlin_crdt::{Body, Clock, OpId};
use dunlin_protocol::RowKey;
use dunlin_protocol::request::{Replace, WriteOp};

use super::evidence::Evidence;
use super::shown::{Shown, reads};
use crate::history::Action;
use crate::ledger::Name;

pub(super) fn check(evidence: &Evidence<'_>, sentences: &mut Vec<String>) {
    for (op, _, rows) in reads(evidence) {
        for (row, shown) in rows {
            if let Shown::Siblings(values, dots) = shown {
                concurrent(evidence, &row, &dots, sentences);
                if values.len() != requests(evidence, &dots) {
                    sentences.push(format!(
                        "a read of {row:?} at {} shows {} values of {} requests",
                        op.start,
                        values.len(),
                        requests(evidence, &dots)
                    ));
                }
                for value in &values {
                    let written = |dot| {
                        let minted = evidence.ledger.event(Name::of(&dot));
                        let cell = minted.and_then(|minted| minted.event.cell.as_ref());
                        cell.is_some_and(|cell| cell.body == Body::Value(value.clone()))
                    };
                    if !dots.dots().any(written) {
                        sentences.push(format!(
                            "a read of {row:?} at {} shows a value that its context does not name",
                            op.start
                        ));
                    }
                }
            }
        }
    }
    for (row, _) in evidence.ledger.rows() {
        let dots = evidence.end_dots(row).into_iter().map(Name::dot).collect();
        concurrent(evidence, row, &dots, sentences);
    }
    replaced_unseen(evidence, sentences);
}

/// How many requests have written these values: one that was sent again may have been applied twice.
fn requests(evidence: &Evidence<'_>, dots: &Clock) -> usize {
    let minted = dots.dots();
    let minted = minted.filter_map(|dot| evidence.ledger.event(Name::of(&dot)));
    let ops: BTreeSet<OpId> = minted.map(|minted| minted.op).collect();
    ops.len()
}

/// None of the dots shown together was replaced by another of them.
fn concurrent(evidence: &Evidence<'_>, row: &RowKey, dots: &Clock, sentences: &mut Vec<String>) {
    for dot in dots.dots() {
        let name = Name::of(&dot);
        match evidence.ledger.event(name) {
            Some(minted) if minted.row == *row => {
                let other = minted
                    .event
                    .replaces
                    .intersection(dots)
                    .dots()
                    .find(|other| *other != dot);
                // A retired disk may have known of the one and not of the other.
                if let Some(other) = other
                    && !minted.forgotten
                {
                    let other = Name::of(&other);
                    sentences.push(format!(
                        "{row:?} shows {other} beside {name}, which replaced it"
                    ));
                }
            }
            Some(minted) => sentences.push(format!("{row:?} shows {name} of {:?}", minted.row)),
            None => sentences.push(format!("{row:?} shows {name}, which was never minted")),
        }
    }
}

/// What an event replaces was in the context that its writer gave, or was written before on this row.
fn replaced_unseen(evidence: &Evidence<'_>, sentences: &mut Vec<String>) {
    for (id, attempts) in evidence.history.writes() {
        let Some(Action::Write { op, .. }) = attempts.first().map(|attempt| &attempt.action) else {
            continue;
        };
        for (name, minted) in evidence.ledger.of_op(id) {
            let given = match op {
                WriteOp::Put {
                    replaces: Replace::Context(context),
                    ..
                } => context.clock().ok(),
                WriteOp::Delete(Replace::Context(context)) => context.clock().ok(),
                _ => None,
            };
            // An lww put replaces what its coordinator sees, whatever it was given.
            let is_lww = evidence.kind(&minted.row) == Some(dunlin_crdt::RowKind::Lww);
            if let Some(given) = given
                && !(is_lww && minted.event.cell.is_some())
            {
                if !minted.event.replaces.is_subset(&given) {
                    sentences.push(format!(
                        "{name} replaces {:?}, more than its writer gave",
                        minted.event.replaces
                    ));
                }
                continue;
            }
            if matches!(op, WriteOp::Fields(_)) {
                continue;
            }
            for dot in minted.event.replaces.dots() {
                let seen = evidence.ledger.event(Name::of(&dot));
                if !seen.is_some_and(|seen| seen.at <= minted.at && seen.row == minted.row) {
                    sentences.push(format!(
                        "{name} replaces {}, which it cannot have seen",
                        Name::of(&dot)
                    ));
                }
            }
        }
    }
}
