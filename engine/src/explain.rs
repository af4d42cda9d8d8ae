//! What this node holds under one key, to the dot, whatever it is worth: for people who ask why a key
//! reads as it does. No quorum, nobody else is asked.

use std::ops::Bound;

use bytes::Bytes;
use dunlin_crdt::{FieldPath, Kind, Millis, Row, RowKind};
use dunlin_protocol::explain::{CellReport, KeptHints, KeyReport, RowReport};
use dunlin_protocol::limits::{
    EXPLAINED_CELLS_MAX, EXPLAINED_ROWS_MAX, EXPLAINED_VALUE_BYTES_MAX, KEY_BYTES_MAX,
};
use dunlin_protocol::peer::{HintScope, RangeScope, RowRange};
use dunlin_protocol::request::Explain;
use dunlin_protocol::response::Found;
use dunlin_protocol::{Failure, Part, RowKey};
use dunlin_ring::{NodeId, PartitionId};
use dunlin_storage::StoreError;

use crate::changes::check_size;
use crate::io::{Effect, Now};
use crate::shard::Shard;
use crate::show;

impl Shard {
    pub(crate) fn explain(
        &mut self,
        explain: &Explain,
        now: Now,
        effects: &mut Vec<Effect>,
    ) -> Result<KeyReport, Failure> {
        let kind = self.bucket(explain.bucket)?.kind;
        check_size(Part::Key, explain.key.len(), KEY_BYTES_MAX)?;
        self.key_report(explain, kind, now.wall).map_err(|error| {
            self.note_store_error(&error, effects);
            Failure::StorageFailed
        })
    }

    fn key_report(
        &self,
        explain: &Explain,
        kind: Kind,
        now: Millis,
    ) -> Result<KeyReport, StoreError> {
        let partition = self.partition_of(explain.bucket, &explain.key);
        let clock = self.replica.clock(partition);
        let mut report = KeyReport {
            partition,
            owner: self.view.is_owner(self.view.me, partition),
            holds: self.replica.owns(partition),
            whole: self.counts_for_reads(partition),
            clock: xxhash_rust::xxh3::xxh3_64(&clock.encode()),
            seen: clock.clone(),
            rows: Vec::new(),
            more: false,
            hints: self.kept_hints(partition, explain)?,
        };
        let scope = RangeScope::Key {
            key: explain.key.clone(),
            prefix: Bytes::new(),
            after: None,
        };
        let range = RowRange {
            bucket: explain.bucket,
            scope,
        };
        let mut bytes_left = EXPLAINED_VALUE_BYTES_MAX;
        for found in self.replica.rows_from(partition, &range, Bound::Unbounded) {
            let (key, row) = found?;
            if report.rows.len() == EXPLAINED_ROWS_MAX {
                report.more = true;
                break;
            }
            let shows = row_kind(kind, &key.subkey).map(|kind| show::row(kind, &row, now));
            let shows = shows.filter(|shows| {
                let size = size_of(shows);
                let fits = size <= bytes_left;
                bytes_left = bytes_left.saturating_sub(size);
                fits
            });
            report.rows.push(row_report(key.subkey, &row, shows, now));
        }
        Ok(report)
    }

    fn kept_hints(
        &self,
        partition: PartitionId,
        explain: &Explain,
    ) -> Result<Vec<KeptHints>, StoreError> {
        let key = RowKey::single(explain.bucket, explain.key.clone());
        let hinted = self.replica.hinted().into_iter();
        let owners: Vec<NodeId> = hinted
            .filter(|(_, at)| *at == partition)
            .map(|(owner, _)| owner)
            .collect();
        let mut hints = Vec::new();
        for owner in owners {
            let events = self
                .replica
                .hint_events(&[owner], &key, HintScope::Prefix)?;
            if !events.is_empty() {
                let events = events.len() as u64;
                hints.push(KeptHints { owner, events });
            }
        }
        Ok(hints)
    }
}

fn row_report(subkey: Bytes, row: &Row, shows: Option<Found>, now: Millis) -> RowReport {
    let cells = row.cells().iter().take(EXPLAINED_CELLS_MAX);
    RowReport {
        subkey,
        cells: cells
            .map(|(dot, cell)| CellReport {
                actor: dot.actor,
                counter: dot.counter,
                stamp: cell.stamp,
                expired: cell.is_expired(now),
            })
            .collect(),
        cells_more: row.cells().len().saturating_sub(EXPLAINED_CELLS_MAX) as u64,
        past: row.past().clone(),
        shows,
    }
}

/// What a row of a bucket of this kind holds; `None` if its subkey is no path.
fn row_kind(kind: Kind, subkey: &Bytes) -> Option<RowKind> {
    match kind {
        Kind::Set => Some(RowKind::Element),
        Kind::Map => FieldPath::parse(subkey).ok().map(|(_, _, kind)| kind),
        kind => kind.single_row(),
    }
}

/// What it takes of the report, about.
fn size_of(found: &Found) -> usize {
    match found {
        Found::Siblings { values, .. } => values.iter().map(Bytes::len).sum(),
        Found::Latest { value, .. } => value.len(),
        Found::Nothing
        | Found::Sum(_)
        | Found::On
        | Found::Extreme(_)
        | Found::Present
        | Found::Elements { .. }
        | Found::Fields { .. }
        | Found::Count { .. }
        | Found::Keys { .. } => 0,
    }
}
