//! A read shows every write that a node which answers it had acknowledged before, or what replaced it; and
//! nothing that such a write has replaced.
//!
//! At R + W > N that is what clients know as reading their own writes.

use dunlin_crdt::{Body, Clock, RowKind};
use dunlin_protocol::RowKey;
use dunlin_protocol::response::{Found, ReadAnswer};

use super::evidence::Evidence;
use super::shown::{Shown, reads};
use crate::history::{Action, Op, Outcome};
use crate::ledger::Minted;

pub(super) fn check(evidence: &Evidence<'_>, sentences: &mut Vec<String>) {
    for (op, answer, rows) in reads(evidence) {
        for (row, shown) in rows {
            replaced_is_gone(evidence, (op, answer), &row, &shown, sentences);
            let kind = evidence.kind(&row);
            for (name, minted) in evidence.ledger.on_row(&row) {
                let replaced = || {
                    evidence
                        .ledger
                        .replacers(name)
                        .any(|(_, by)| by.at <= op.end)
                };
                if minted.event.cell.is_some()
                    && minted.at < op.start
                    && !is_visible(evidence, minted, &shown, kind)
                    && evidence.read_knows(name, op, answer)
                    && !replaced()
                {
                    sentences.push(format!(
                        "a read of {row:?} at {}..{} by {:?} shows {shown:?} and not {name}, acknowledged before",
                        op.start, op.end, answer.owners
                    ));
                }
            }
        }
    }
    keys(evidence, sentences);
}

/// What a write replaced of which the read must know is not shown.
fn replaced_is_gone(
    evidence: &Evidence<'_>,
    (op, answer): (&Op, &ReadAnswer),
    row: &RowKey,
    shown: &Shown,
    sentences: &mut Vec<String>,
) {
    let on_row = || evidence.ledger.on_row(row);
    let mut replaced = Clock::new();
    for (name, minted) in on_row().filter(|(_, minted)| minted.at < op.start) {
        let is_news = !minted.event.replaces.is_subset(&replaced);
        if is_news && evidence.read_knows(name, op, answer) {
            replaced.join(&minted.event.replaces);
        }
    }
    let is_gone = match shown {
        Shown::Siblings(_, dots) => dots.intersection(&replaced).is_empty(),
        Shown::Marked => {
            let mut marks =
                on_row().filter(|(_, minted)| minted.event.cell.is_some() && minted.at <= op.end);
            marks.any(|(_, minted)| !replaced.contains(&minted.event.dot))
        }
        // What these show does not say which cells it is made of.
        Shown::Nothing | Shown::Latest(..) | Shown::Sum(_) | Shown::Extreme(_) => true,
    };
    if !is_gone {
        sentences.push(format!(
            "a read of {row:?} at {}..{} by {:?} shows {shown:?}, of which {replaced:?} was replaced before",
            op.start, op.end, answer.owners
        ));
    }
}

pub(super) fn is_visible(
    evidence: &Evidence<'_>,
    minted: &Minted,
    shown: &Shown,
    kind: Option<RowKind>,
) -> bool {
    let Some(cell) = &minted.event.cell else {
        return true;
    };
    match (shown, &cell.body) {
        (Shown::Siblings(_, dots), _) => dots.contains(&minted.event.dot),
        // A request that was sent again is one write, and may count from its first attempt.
        (Shown::Latest(_, stamp), _) => evidence
            .ledger
            .of_op(minted.op)
            .filter(|(_, other)| other.row == minted.row)
            .filter_map(|(_, other)| Some(other.event.cell.as_ref()?.stamp))
            .any(|first| *stamp >= first),
        (Shown::Sum(_), Body::Count { .. }) | (Shown::Marked, Body::Mark) => true,
        // The cell holds what it replaced as well, so it bounds what is shown.
        (Shown::Extreme(shown), Body::Extreme(value)) => match kind {
            Some(RowKind::Max) => shown >= value,
            _ => shown <= value,
        },
        _ => false,
    }
}

/// A page of keys has every key of its range with a live row that it must know of.
fn keys(evidence: &Evidence<'_>, sentences: &mut Vec<String>) {
    for op in &evidence.history.ops {
        let (
            Action::Keys {
                bucket,
                partition,
                after,
                ..
            },
            Outcome::Read(answer),
        ) = (&op.action, &op.outcome)
        else {
            continue;
        };
        let Found::Keys { items, next } = &answer.found else {
            continue;
        };
        if evidence.history.may_be_dropped(*bucket) {
            continue;
        }
        let in_page = |row: &RowKey| {
            row.bucket == *bucket
                && evidence.partition_of(row) == *partition
                && after.as_ref().is_none_or(|after| row.key > *after)
                && next.as_ref().is_none_or(|next| row.key <= *next)
        };
        for (row, names) in evidence.ledger.rows().filter(|(row, _)| in_page(row)) {
            if items.contains(&row.key) {
                continue;
            }
            for (name, minted) in evidence.ledger.on_row(row) {
                let replaced = || {
                    evidence
                        .ledger
                        .replacers(name)
                        .any(|(_, by)| by.at <= op.end)
                };
                if minted.event.cell.is_some()
                    && minted.at < op.start
                    && evidence.read_knows(name, op, answer)
                    && !replaced()
                {
                    sentences.push(format!(
                        "a listing at {} lacks {row:?}, which has {name} of {}",
                        op.start,
                        names.len()
                    ));
                }
            }
        }
    }
}
