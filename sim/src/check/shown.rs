//! What a read showed, row by row, those that it passed over in silence too.

use bytes::Bytes;
use dunlin_crdt::{Clock, Hlc};
use dunlin_protocol::RowKey;
use dunlin_protocol::request::{Page, Query};
use dunlin_protocol::response::{Found, ReadAnswer};

use super::evidence::Evidence;
use crate::history::{Action, Op, Outcome};

/// What was shown of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Shown {
    Nothing,
    Siblings(Vec<Bytes>, Clock),
    Latest(Bytes, Hlc),
    Sum(i64),
    /// A flag that is on, an element that is there.
    Marked,
    Extreme(i64),
}

impl Shown {
    pub(crate) fn of(found: &Found) -> Option<Self> {
        match found {
            Found::Nothing => Some(Self::Nothing),
            Found::Siblings { values, context } => {
                Some(Self::Siblings(values.clone(), context.clock().ok()?))
            }
            Found::Latest { value, stamp } => Some(Self::Latest(value.clone(), *stamp)),
            Found::Sum(sum) => Some(Self::Sum(*sum)),
            Found::On | Found::Present => Some(Self::Marked),
            Found::Extreme(value) => Some(Self::Extreme(*value)),
            Found::Elements { .. }
            | Found::Fields { .. }
            | Found::Count { .. }
            | Found::Keys { .. } => None,
        }
    }
}

/// The reads that owners answered, each with what it showed.
pub(crate) fn reads<'e>(
    evidence: &'e Evidence<'_>,
) -> impl Iterator<Item = (&'e Op, &'e ReadAnswer, Vec<(RowKey, Shown)>)> {
    let ops = evidence.history.ops.iter();
    ops.filter_map(|op| match &op.outcome {
        Outcome::Read(answer) => Some((op, answer, rows_of(evidence, op))),
        _ => None,
    })
}

/// What a read showed of each row; nothing if it was none, or is not to be judged.
pub(crate) fn rows_of(evidence: &Evidence<'_>, op: &Op) -> Vec<(RowKey, Shown)> {
    match (&op.action, &op.outcome) {
        // While a bucket is dropped, each node shows what it has not removed yet.
        (Action::Read { bucket, .. }, _) if evidence.history.may_be_dropped(*bucket) => Vec::new(),
        (
            Action::Read {
                bucket, key, query, ..
            },
            Outcome::Read(answer),
        ) => {
            let row = |subkey: &Bytes| RowKey {
                bucket: *bucket,
                key: key.clone(),
                subkey: subkey.clone(),
            };
            shown(evidence, query, &answer.found, row)
        }
        _ => Vec::new(),
    }
}

fn shown(
    evidence: &Evidence<'_>,
    query: &Query,
    found: &Found,
    row: impl Fn(&Bytes) -> RowKey,
) -> Vec<(RowKey, Shown)> {
    let nothing = Bytes::new();
    match (query, found) {
        (Query::Elements(page), Found::Elements { items, next }) => {
            let shown = items
                .iter()
                .map(|item| (row(item), Shown::Marked))
                .collect();
            with_silence(
                evidence,
                shown,
                &row(&nothing),
                &nothing,
                page,
                next.as_ref(),
            )
        }
        (Query::Fields { prefix, page }, Found::Fields { items, next }) => {
            let shown = items
                .iter()
                .filter_map(|item| Some((row(&item.path), Shown::of(&item.value)?)))
                .collect();
            with_silence(evidence, shown, &row(&nothing), prefix, page, next.as_ref())
        }
        (Query::Value, found) => Shown::of(found)
            .map(|s| (row(&nothing), s))
            .into_iter()
            .collect(),
        (Query::Has(subkey) | Query::Field(subkey), found) => Shown::of(found)
            .map(|s| (row(subkey), s))
            .into_iter()
            .collect(),
        _ => Vec::new(),
    }
}

/// Adds the rows in the range of a page that it did not show.
fn with_silence(
    evidence: &Evidence<'_>,
    mut shown: Vec<(RowKey, Shown)>,
    first: &RowKey,
    prefix: &Bytes,
    page: &Page,
    next: Option<&Bytes>,
) -> Vec<(RowKey, Shown)> {
    let of_key = evidence
        .ledger
        .rows_from(first)
        .take_while(|row| row.bucket == first.bucket && row.key == first.key);
    let in_range = of_key.filter(|row| {
        row.subkey.starts_with(prefix)
            && page.after.as_ref().is_none_or(|after| row.subkey > *after)
            && next.is_none_or(|next| row.subkey <= *next)
    });
    let silent: Vec<RowKey> = in_range
        .filter(|row| !shown.iter().any(|(at, _)| at == *row))
        .cloned()
        .collect();
    shown.extend(silent.into_iter().map(|row| (row, Shown::Nothing)));
    shown
}
