//! How a read folds the cells that are left: the second of the two functions in which kinds differ.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use crate::cell::{Body, Cell};
use crate::dot::{ActorId, Dot, order};
use crate::hlc::{Hlc, Millis};
use crate::kind::RowKind;
use crate::row::Row;

/// What a reader is shown of one row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Folded {
    /// `register`: the siblings, one for each concurrent write, in order of their dots.
    Siblings(Vec<Bytes>),
    /// `lww`: the value with the highest stamp.
    Latest {
        /// The value.
        value: Bytes,
        /// When it was written.
        stamp: Hlc,
        /// How many concurrent writes it won over.
        losers: usize,
    },
    /// `counter`: the sum; beyond the range of `i64` its end.
    Sum(i64),
    /// `flag`: enabled. Element of a `set`: present.
    Marked,
    /// `max`, `min`: the extreme.
    Extreme(i64),
}

/// Folds the live cells of a row; `None` if there are none. Two cells of one request are one write, of
/// which the lower dot is shown.
pub fn fold(kind: RowKind, row: &Row, now: Millis) -> Option<Folded> {
    let live = || row.cells().iter().filter(|(_, cell)| !cell.is_expired(now));
    live().next()?;
    match kind {
        RowKind::Register => {
            let siblings: Vec<Bytes> = values(live()).map(|(_, _, value)| value.clone()).collect();
            (!siblings.is_empty()).then_some(Folded::Siblings(siblings))
        }
        RowKind::Lww => latest(live()),
        RowKind::Counter => Some(Folded::Sum(sum(live()))),
        RowKind::Flag | RowKind::Element => Some(Folded::Marked),
        RowKind::Max => extremes(live()).max().map(Folded::Extreme),
        RowKind::Min => extremes(live()).min().map(Folded::Extreme),
    }
}

/// The values, one for each request: of two cells of one request the lower dot's.
fn values<'a>(
    cells: impl Iterator<Item = &'a (Dot, Cell)>,
) -> impl Iterator<Item = (&'a Dot, &'a Cell, &'a Bytes)> {
    let mut seen = BTreeSet::new();
    cells.filter_map(move |(dot, cell)| match &cell.body {
        Body::Value(value) if seen.insert(cell.op) => Some((dot, cell, value)),
        _ => None,
    })
}

fn latest<'a>(cells: impl Iterator<Item = &'a (Dot, Cell)>) -> Option<Folded> {
    let mut written = 0;
    let last = values(cells)
        .inspect(|_| written += 1)
        .max_by_key(|(dot, cell, _)| (cell.stamp, order(dot)));
    last.map(|(_, cell, value)| Folded::Latest {
        value: value.clone(),
        stamp: cell.stamp,
        losers: written - 1,
    })
}

/// The sum over actors of their latest totals. A row can hold two totals of one actor for a moment,
/// where the event between them has not arrived: the later one includes the earlier.
fn sum<'a>(cells: impl Iterator<Item = &'a (Dot, Cell)>) -> i64 {
    let mut totals: BTreeMap<ActorId, i128> = BTreeMap::new();
    for (dot, cell) in cells {
        if let Body::Count { plus, minus } = cell.body {
            // Cells come in order of counter within an actor, so the latest is the one that stays.
            totals.insert(dot.actor, i128::from(plus) - i128::from(minus));
        }
    }
    let sum: i128 = totals.values().sum();
    i64::try_from(sum).unwrap_or(if sum < 0 { i64::MIN } else { i64::MAX })
}

fn extremes<'a>(cells: impl Iterator<Item = &'a (Dot, Cell)>) -> impl Iterator<Item = i64> {
    cells.filter_map(|(_, cell)| match cell.body {
        Body::Extreme(value) => Some(value),
        _ => None,
    })
}
