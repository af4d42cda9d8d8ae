//! In the end, listings of keys, pages, counts and point reads say what is stored.

use std::collections::BTreeSet;

use dunlin_crdt::{Body, Row, RowKind};
use dunlin_protocol::RowKey;
use dunlin_protocol::request::Query;
use dunlin_protocol::response::Found;

use super::evidence::Evidence;
use super::shown::{Shown, reads};
use crate::history::{Action, Outcome};

pub(super) fn check(evidence: &Evidence<'_>, sentences: &mut Vec<String>) {
    let from = evidence
        .history
        .ops
        .get(evidence.history.final_from)
        .map_or(u64::MAX, |op| op.start);
    for (op, _, rows) in reads(evidence).filter(|(op, _, _)| op.start >= from) {
        for (row, shown) in rows {
            let (stored, _) = evidence.end_row(&row);
            let Some(kind) = evidence.kind(&row) else {
                continue;
            };
            if !is_shown(kind, stored, &shown) {
                sentences.push(format!(
                    "{row:?} reads as {shown:?}, and is {stored:?} ({:?})",
                    op.action
                ));
            }
        }
    }
    for op in evidence
        .history
        .ops
        .iter()
        .skip(evidence.history.final_from)
    {
        let Outcome::Read(answer) = &op.outcome else {
            sentences.push(format!(
                "{:?} fails in the end: {:?}",
                op.action, op.outcome
            ));
            continue;
        };
        match (&op.action, &answer.found) {
            (
                Action::Keys {
                    bucket, partition, ..
                },
                Found::Keys { items, next: None },
            ) => {
                let live = live(evidence, |row| {
                    row.bucket == *bucket && evidence.partition_of(row) == *partition
                });
                let expected: BTreeSet<_> = live.iter().map(|row| &row.key).collect();
                if !expected.iter().copied().eq(items.iter()) {
                    sentences.push(format!(
                        "keys of {bucket} in {partition} list as {items:?}, and are {expected:?}"
                    ));
                }
            }
            (
                Action::Read {
                    bucket,
                    key,
                    query: Query::Count(_),
                    ..
                },
                Found::Count { count, next: None },
            ) => {
                let live = live(evidence, |row| row.bucket == *bucket && row.key == *key);
                if live.len() as u64 != *count {
                    sentences.push(format!(
                        "{key:?} of {bucket} counts {count}, and has {}",
                        live.len()
                    ));
                }
            }
            _ => {}
        }
    }
}

/// The rows that show something in the end.
fn live<'e>(evidence: &'e Evidence<'_>, of: impl Fn(&RowKey) -> bool) -> Vec<&'e RowKey> {
    let rows = evidence.ledger.rows().map(|(row, _)| row);
    rows.filter(|row| of(row) && !evidence.end_dots(row).is_empty())
        .collect()
}

fn is_shown(kind: RowKind, stored: Option<&Row>, shown: &Shown) -> bool {
    let cells = stored.map_or(&[][..], Row::cells);
    let bodies = || cells.iter().map(|(_, cell)| &cell.body);
    let extremes = || {
        bodies().filter_map(|body| match body {
            Body::Extreme(value) => Some(*value),
            _ => None,
        })
    };
    match (kind, shown) {
        (_, Shown::Nothing) => cells.is_empty(),
        (RowKind::Register, Shown::Siblings(values, _)) => {
            let stored: BTreeSet<_> = bodies()
                .filter_map(|body| match body {
                    Body::Value(value) => Some(value),
                    _ => None,
                })
                .collect();
            stored == values.iter().collect()
        }
        (RowKind::Lww, Shown::Latest(value, stamp)) => {
            // Of two cells of one request the first counts; cells are in order of their dots.
            let mut seen = BTreeSet::new();
            let written: Vec<_> = cells
                .iter()
                .map(|(_, cell)| cell)
                .filter(|cell| seen.insert(cell.op))
                .collect();
            let newest = written.iter().map(|cell| cell.stamp).max();
            newest == Some(*stamp)
                && written
                    .iter()
                    .any(|c| c.stamp == *stamp && c.body == Body::Value(value.clone()))
        }
        // The counters' checker says what the sum must be.
        (RowKind::Counter, Shown::Sum(_)) => !cells.is_empty(),
        (RowKind::Flag | RowKind::Element, Shown::Marked) => !cells.is_empty(),
        (RowKind::Max, Shown::Extreme(value)) => extremes().max() == Some(*value),
        (RowKind::Min, Shown::Extreme(value)) => extremes().min() == Some(*value),
        _ => false,
    }
}
