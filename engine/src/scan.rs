//! One page of a range: this node's rows merged, in order, with what other owners said of the range.

use std::collections::BTreeSet;
use std::ops::Bound;

use bytes::Bytes;
use dunlin_crdt::{Millis, Row};
use dunlin_protocol::RowKey;
use dunlin_protocol::limits::PAGE_BYTES_MAX;
use dunlin_protocol::peer::{RangeScope, RowRange};
use dunlin_protocol::response::Found as Shown;
use dunlin_storage::{Replica, StoreError};

use crate::gather::{Found, GatherOp};
use crate::show;

/// What is shown of a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// The elements of a set.
    Elements,
    /// The fields of a map.
    Fields,
    /// How many rows there are.
    Count,
    /// The keys that have a live row.
    Keys,
    /// The rows themselves, for a write that removes them.
    Rows,
}

/// Rows of a key without a live one that are read in order before a new search skips the rest.
const SKIP_AFTER: usize = 8;

/// Collects the live rows of a range, the first of each key if the shape is `Keys`: `limit` of them, or
/// as many as fit a page, or as far as every answer reaches.
pub(crate) fn scan(
    replica: &Replica,
    gather: &GatherOp,
    range: &RowRange,
    limit: usize,
    shape: Shape,
    now: Millis,
) -> Result<Found, StoreError> {
    let clock = replica.clock(gather.partition());
    let complete_to = gather
        .says
        .iter()
        .filter_map(|says| says.complete_to.as_ref())
        .min();
    let mut elsewhere: BTreeSet<&RowKey> = gather
        .says
        .iter()
        .flat_map(|says| says.rows.keys())
        .collect();
    let hinted = gather
        .hints
        .iter()
        .flat_map(|(_, events)| events)
        .map(|event| &event.key);
    elsewhere.extend(hinted.filter(|key| is_after_start(range, key)));

    let mut rows: Vec<(RowKey, Row)> = Vec::new();
    let mut bytes = 0;
    let mut position: Bound<RowKey> = Bound::Unbounded;
    'search: loop {
        let mut mine = replica
            .rows_from(gather.partition(), range, position.as_ref())
            .peekable();
        let mut skipped = 0;
        loop {
            // The next row, here or elsewhere.
            let other = elsewhere.first().copied();
            let (key, row) = match (mine.peek(), other) {
                (None, None) => break 'search,
                (Some(Ok((key, _))), Some(other)) if other < key => (other.clone(), Row::new()),
                (Some(_), _) => match mine.next() {
                    Some(found) => found?,
                    None => break 'search,
                },
                (None, Some(other)) => (other.clone(), Row::new()),
            };
            if elsewhere.first() == Some(&&key) {
                elsewhere.pop_first();
            }
            if complete_to.is_some_and(|end| key > *end) {
                break 'search;
            }
            if shape == Shape::Keys && rows.last().is_some_and(|(last, _)| last.key == key.key) {
                skipped += 1;
                if skipped < SKIP_AFTER {
                    continue;
                }
                // A key can have a million rows; one live one is enough.
                let next_key = key_after(&key);
                elsewhere.retain(|other| **other >= next_key);
                position = Bound::Included(next_key);
                continue 'search;
            }
            skipped = 0;
            let joined = gather.join(&key, row, clock);
            if show::is_live(&joined, now) {
                if rows.len() >= limit || bytes >= PAGE_BYTES_MAX {
                    let next = rows.last().map(|(last, _)| token(range, last));
                    return Ok(Found::Range { rows, next });
                }
                bytes += key.key.len() + key.subkey.len() + cell_bytes(&joined);
                rows.push((key, joined));
            }
        }
    }
    // An answer that stops early stops the page there; the next one starts behind it.
    let Some(end) = complete_to else {
        return Ok(Found::Range { rows, next: None });
    };
    if shape != Shape::Keys || rows.last().is_some_and(|(last, _)| last.key == end.key) {
        let next = Some(token(range, end));
        return Ok(Found::Range { rows, next });
    }
    // It stops inside a key of which nothing live was met yet, and a page starts behind a key, not in
    // one. So the page ends at the last key that is shown; if there is none, this key is shown without
    // being known to be live, for otherwise it might be passed over.
    if rows.is_empty() {
        rows.push((end.clone(), Row::new()));
    }
    let next = rows.last().map(|(last, _)| token(range, last));
    Ok(Found::Range { rows, next })
}

impl Shape {
    /// The page as the client gets it.
    pub(crate) fn show(self, rows: Vec<(RowKey, Row)>, next: Option<Bytes>, now: Millis) -> Shown {
        match self {
            Self::Elements => Shown::Elements {
                items: rows.into_iter().map(|(key, _)| key.subkey).collect(),
                next,
            },
            Self::Fields => {
                let items = rows
                    .iter()
                    .filter_map(|(key, row)| show::field(&key.subkey, row, now))
                    .collect();
                Shown::Fields { items, next }
            }
            Self::Count | Self::Rows => Shown::Count {
                count: rows.len() as u64,
                next,
            },
            Self::Keys => Shown::Keys {
                items: rows.into_iter().map(|(key, _)| key.key).collect(),
                next,
            },
        }
    }
}

fn token(range: &RowRange, key: &RowKey) -> Bytes {
    match range.scope {
        RangeScope::Key { .. } => key.subkey.clone(),
        RangeScope::Keys { .. } => key.key.clone(),
    }
}

/// Whether a row lies behind the start of the page; hints are read for a whole key.
fn is_after_start(range: &RowRange, key: &RowKey) -> bool {
    match &range.scope {
        RangeScope::Key { after, .. } => after.as_ref().is_none_or(|after| key.subkey > *after),
        RangeScope::Keys { after, .. } => after.as_ref().is_none_or(|after| key.key > *after),
    }
}

/// The first possible row of the next possible key.
fn key_after(key: &RowKey) -> RowKey {
    let mut next = key.key.to_vec();
    next.push(0);
    RowKey {
        bucket: key.bucket,
        key: next.into(),
        subkey: Bytes::new(),
    }
}

fn cell_bytes(row: &Row) -> usize {
    row.cells()
        .iter()
        .map(|(_, cell)| match &cell.body {
            dunlin_crdt::Body::Value(value) => value.len() + 32,
            _ => 32,
        })
        .sum()
}
