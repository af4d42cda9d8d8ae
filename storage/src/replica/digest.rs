//! What a partition shows, in one number: for owners with equal clocks it must be equal.
//!
//! Each row adds the hash of its key and its cells; sums do not depend on order, so a digest can be
//! taken in slices of any size and added up. What a row remembers beside its cells is not part of
//! it: that differs between owners that agree.

use dunlin_protocol::RowKey;
use dunlin_ring::PartitionId;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::{Replica, StoreError};
use crate::key;

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

impl Replica {
    /// The digest of up to so many rows after the one given, and where to go on; `None` at the end.
    /// It reads every row, and so finds those that are damaged.
    ///
    /// # Errors
    /// [`StoreError::CorruptRow`], [`StoreError::Kv`].
    pub fn digest(
        &self,
        partition: PartitionId,
        after: Option<&RowKey>,
        rows_max: usize,
    ) -> Result<(PartitionDigest, Option<RowKey>), StoreError> {
        let part = self.owned_part(partition)?;
        let span = key::rows_of(partition).after(after.map(|row| key::row(partition, row)));
        let mut digest = PartitionDigest::default();
        for (met, found) in self.scan(partition, part, &span).enumerate() {
            let (stored_key, key, loaded) = found?;
            let mut row = loaded.row;
            if !row.cells().is_empty() {
                let past = row.past().clone();
                row.strip(&past);
                // The key seeds the hash, so that no bytes are copied to put the two together.
                let seed = xxh3_64_with_seed(&stored_key, 0);
                let hash = xxh3_64_with_seed(&row.encode(), seed);
                digest.add(PartitionDigest { rows: 1, hash });
            }
            if met + 1 >= rows_max {
                return Ok((digest, Some(key)));
            }
        }
        Ok((digest, None))
    }
}
