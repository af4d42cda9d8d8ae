//! Rows as they lie in the store: loading one with its context, storing one with all that follows.

use std::ops::Bound;

use bytes::Bytes;
use dunlin_crdt::{Dot, Row};
use dunlin_protocol::RowKey;
use dunlin_protocol::peer::RowRange;
use dunlin_ring::PartitionId;

use super::record::{seal_row, unseal_row};
use super::{Partition, Replica, StoreError};
use crate::key::{self, Span};
use crate::kv::Keyspace;

/// A row out of the store, and what it was there.
pub(super) struct Loaded {
    /// The row, under the clock of its partition.
    pub(super) row: Row,
    /// Its stored value; `None` if there is none.
    pub(super) stored: Option<Bytes>,
}

impl Replica {
    /// A row, to be read under the clock of its partition; the empty row if there is none.
    ///
    /// # Errors
    /// [`StoreError::CorruptRow`], [`StoreError::Kv`].
    pub fn row(&self, key: &RowKey) -> Result<Row, StoreError> {
        let partition = self.partition_of(key);
        match self.partitions.get(&partition) {
            None => Ok(Row::new()),
            Some(part) => Ok(self
                .load(partition, part, &key::row(part.rows_at, key))?
                .row),
        }
    }

    /// The rows of a range, in order; those without a cell too. To skip all rows of a key, ask for
    /// the range of keys after it.
    pub fn rows<'a>(
        &'a self,
        partition: PartitionId,
        range: &RowRange,
    ) -> impl Iterator<Item = Result<(RowKey, Row), StoreError>> + use<'a> {
        self.rows_from(partition, range, Bound::Unbounded)
    }

    /// The rows of a range from a bound on, in order.
    ///
    /// Cost: one seek in the store, so it serves to jump from key to key of large sets.
    pub fn rows_from<'a>(
        &'a self,
        partition: PartitionId,
        range: &RowRange,
        from: Bound<&RowKey>,
    ) -> impl Iterator<Item = Result<(RowKey, Row), StoreError>> + use<'a> {
        let part = self.partitions.get(&partition);
        let within = part.map(|part| {
            let place = part.rows_at;
            let span = key::rows_in(place, range).narrowed(match from {
                Bound::Included(row) => Bound::Included(key::row(place, row)),
                Bound::Excluded(row) => Bound::Excluded(key::row(place, row)),
                Bound::Unbounded => Bound::Unbounded,
            });
            (part, span)
        });
        within.into_iter().flat_map(move |(part, span)| {
            self.scan(partition, part, &span)
                .map(|found| found.map(|(_, key, loaded)| (key, loaded.row)))
        })
    }

    /// The stored rows of a span, in order.
    pub(super) fn scan<'a>(
        &'a self,
        partition: PartitionId,
        part: &'a Partition,
        span: &Span,
    ) -> impl Iterator<Item = Result<(Bytes, RowKey, Loaded), StoreError>> + use<'a> {
        self.overlay.range(Keyspace::Rows, span).map(move |entry| {
            let (stored_key, value) = entry?;
            let key = key::parse_row(&stored_key).ok_or(StoreError::CorruptKey { partition })?;
            let mut row = unseal_row(&value).ok_or_else(|| StoreError::CorruptRow {
                partition,
                key: key.clone(),
            })?;
            part.unfold(&stored_key, &mut row);
            Ok((
                stored_key,
                key,
                Loaded {
                    row,
                    stored: Some(value),
                },
            ))
        })
    }

    pub(super) fn load(
        &self,
        partition: PartitionId,
        part: &Partition,
        stored_key: &Bytes,
    ) -> Result<Loaded, StoreError> {
        let stored = self.overlay.get(Keyspace::Rows, stored_key)?;
        let mut row = match &stored {
            None => Row::new(),
            Some(value) => match (unseal_row(value), key::parse_row(stored_key)) {
                (Some(row), _) => row,
                // Its clock vouches for nothing of it, so it may as well be gone, and come back.
                (None, _) if part.is_unvouched() => Row::new(),
                (None, Some(key)) => return Err(StoreError::CorruptRow { partition, key }),
                (None, None) => return Err(StoreError::CorruptKey { partition }),
            },
        };
        part.unfold(stored_key, &mut row);
        Ok(Loaded { row, stored })
    }

    /// Stages a row: strips it, erases it if nothing is left, and keeps the pending index and the
    /// counts in step. Returns whether anything changed.
    pub(super) fn store(
        &mut self,
        partition: PartitionId,
        stored_key: &Bytes,
        loaded: Loaded,
    ) -> bool {
        let Some(part) = self.partitions.get_mut(&partition) else {
            return false;
        };
        let Loaded {
            mut row,
            stored: before,
        } = loaded;
        part.fold(stored_key, &mut row);
        let after = (!row.is_empty()).then(|| seal_row(&row));
        if row.past().is_empty() {
            if part.pending.remove(stored_key) {
                self.overlay.delete(Keyspace::Pending, stored_key.clone());
            }
        } else if !part.pending.contains(stored_key) {
            part.pending.insert(stored_key.clone());
            self.overlay
                .put(Keyspace::Pending, stored_key.clone(), Bytes::new());
        }
        if before == after {
            return false;
        }
        part.rows.follow(
            stored_key,
            before.as_ref().map(Bytes::len),
            after.as_ref().map(Bytes::len),
        );
        match after {
            Some(value) => self.overlay.put(Keyspace::Rows, stored_key.clone(), value),
            None => self.overlay.delete(Keyspace::Rows, stored_key.clone()),
        }
        true
    }

    /// Claims a dot and logs which row it touched. The row must be staged in the same batch.
    pub(super) fn claim_and_log(&mut self, partition: PartitionId, dot: Dot, row: &Bytes) {
        if let Some(part) = self.partitions.get_mut(&partition) {
            part.claim(dot);
            let (key, value) = (
                key::log(partition, part.epoch, dot.actor, dot.counter),
                key::log_value(row),
            );
            part.log.follow(&key, None, Some(value.len()));
            self.overlay.put(Keyspace::Log, key, value);
        }
    }
}
