//! What a partition shows, in one number: for owners with equal clocks it must be equal.
//!
//! Each row adds the hash of its key and its cells; sums do not depend on order, so a digest can be
//! taken in slices of any size and added up. What a row remembers beside its cells is not part of
//! it: that differs between owners that agree.

use dunlin_crdt::Row;
use dunlin_protocol::RowKey;
use dunlin_ring::{BucketId, PartitionId};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::{Replica, StoreError};
use crate::key::{self, Place};

/// The rows that show something, by number and by content.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PartitionDigest {
    /// Rows with a cell.
    pub rows: u64,
    /// The sum of the hashes of their keys and cells.
    pub hash: u64,
}

impl PartitionDigest {
    /// Adds the digest of other rows.
    pub fn add(&mut self, other: Self) {
        self.rows += other.rows;
        self.hash = self.hash.wrapping_add(other.hash);
    }
}

/// What one stored row adds.
pub(super) fn of_row(partition: PartitionId, key: &RowKey, mut row: Row) -> PartitionDigest {
    if row.cells().is_empty() {
        return PartitionDigest::default();
    }
    let past = row.past().clone();
    row.strip(&past);
    // As if it lay in epoch 0, whatever epoch it lies in here. The key seeds the hash, so that no
    // bytes are copied to put the two together.
    let place = Place {
        partition,
        epoch: 0,
    };
    let seed = xxh3_64_with_seed(&key::row(place, key), 0);
    let hash = xxh3_64_with_seed(&row.encode(), seed);
    PartitionDigest { rows: 1, hash }
}

impl Replica {
    /// The digest of up to so many rows after the one given, and where to go on; `None` at the end.
    /// Rows of buckets that are left out do not count.
    /// It reads every row, and so finds those that are damaged; [`scrub`](Self::scrub) names them.
    ///
    /// # Errors
    /// [`StoreError::CorruptRow`], [`StoreError::CorruptKey`], [`StoreError::Kv`].
    pub fn digest(
        &self,
        partition: PartitionId,
        after: Option<&RowKey>,
        rows_max: usize,
        is_left_out: impl Fn(BucketId) -> bool,
    ) -> Result<(PartitionDigest, Option<RowKey>), StoreError> {
        let slice = self.scrub(partition, after, rows_max, is_left_out)?;
        if let Some(key) = slice.damaged.into_iter().next() {
            return Err(StoreError::CorruptRow { partition, key });
        }
        if slice.damaged_keys > 0 {
            return Err(StoreError::CorruptKey { partition });
        }
        Ok((slice.digest, slice.next))
    }
}
