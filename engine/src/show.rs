//! From rows to what a client is shown.

use bytes::Bytes;
use dunlin_crdt::{FieldPath, Folded, Millis, Row, RowKind, fold};
use dunlin_protocol::Context;
use dunlin_protocol::response::{FieldItem, Found};

/// What one row shows, and how many concurrent lww writes lost to it.
pub(crate) fn row(kind: RowKind, row: &Row, now: Millis) -> Found {
    match fold(kind, row, now) {
        None => Found::Nothing,
        Some(Folded::Siblings(values)) => Found::Siblings {
            values,
            context: Context::of(&row.dots()),
        },
        Some(Folded::Latest { value, stamp, .. }) => Found::Latest { value, stamp },
        Some(Folded::Sum(sum)) => Found::Sum(sum),
        Some(Folded::Marked) if kind == RowKind::Element => Found::Present,
        Some(Folded::Marked) => Found::On,
        Some(Folded::Extreme(value)) => Found::Extreme(value),
    }
}

/// What one row of a map shows; `None` if nothing, or if its subkey is no path.
pub(crate) fn field(subkey: &Bytes, cells: &Row, now: Millis) -> Option<FieldItem> {
    let (_, _, kind) = FieldPath::parse(subkey).ok()?;
    match row(kind, cells, now) {
        Found::Nothing => None,
        value => Some(FieldItem {
            path: subkey.clone(),
            value,
        }),
    }
}

/// Whether a row shows anything at all.
pub(crate) fn is_live(row: &Row, now: Millis) -> bool {
    row.cells().iter().any(|(_, cell)| !cell.is_expired(now))
}
