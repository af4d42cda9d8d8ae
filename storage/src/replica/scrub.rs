//! Reading every row to find what the disk has spoiled, before it is asked for.
//!
//! A slice reads some rows in the order of their keys, checks each, and adds up the digest of those
//! that are intact. It changes nothing; a row that is found damaged is replaced by
//! [`heal_row`](Replica::heal_row). The log and the pending index are not read: what they say is
//! checked wherever it is used.

use dunlin_protocol::RowKey;
use dunlin_ring::{BucketId, PartitionId};

use super::record::unseal_row;
use super::{PartitionDigest, Replica, StoreError, digest};
use crate::key;
use crate::kv::Keyspace;

/// What some rows of a partition were found to be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScrubSlice {
    /// The digest of the rows that are intact. The slices of one pass add up, whatever their sizes.
    /// For owners with equal clocks the sums must be equal, if neither of them
    /// [has unclaimed](Replica::has_unclaimed) events, nothing is damaged, and no row is ahead.
    pub digest: PartitionDigest,
    /// Rows that know of events that the partition's clock does not know of yet.
    pub rows_ahead: u64,
    /// Rows read.
    pub rows_read: u64,
    /// The bytes of their stored keys and values.
    pub bytes_read: u64,
    /// Rows whose value fails its checksum or cannot be decoded.
    pub damaged: Vec<RowKey>,
    /// Rows whose key itself cannot be right: which rows they were is not known. Distrust the
    /// partition and refill it.
    pub damaged_keys: u64,
    /// The row after which to go on; `None` at the end.
    pub next: Option<RowKey>,
}

impl Replica {
    /// Reads some `rows_max` rows after the one given, and checks them. Rows of buckets that are left out
    /// are checked and do not count for the digest: dropped ones, which each owner removes in its time.
    ///
    /// # Errors
    /// [`StoreError::NotOwned`], [`StoreError::Kv`]; a damaged row is none.
    pub fn scrub(
        &self,
        partition: PartitionId,
        after: Option<&RowKey>,
        rows_max: usize,
        is_left_out: impl Fn(BucketId) -> bool,
    ) -> Result<ScrubSlice, StoreError> {
        let rows_at = self.owned_part(partition)?.rows_at;
        let span = key::all_in(rows_at).after(after.map(|row| key::row(rows_at, row)));
        let mut slice = ScrubSlice::default();
        let clock = self.clock(partition);
        for entry in self.overlay.range(Keyspace::Rows, &span) {
            let (stored_key, value) = entry?;
            slice.rows_read += 1;
            slice.bytes_read += (stored_key.len() + value.len()) as u64;
            let belongs = |key: &RowKey| self.partition_of(key) == partition;
            let Some(key) = key::parse_row(&stored_key).filter(belongs) else {
                slice.damaged_keys += 1;
                continue;
            };
            match unseal_row(&value) {
                Some(_) if is_left_out(key.bucket) => {}
                Some(row) => {
                    let is_ahead = !row.past().is_subset(clock);
                    slice.rows_ahead += u64::from(is_ahead);
                    slice.digest.add(digest::of_row(partition, &key, row));
                }
                None => slice.damaged.push(key.clone()),
            }
            if slice.rows_read >= rows_max as u64 {
                slice.next = Some(key);
                break;
            }
        }
        Ok(slice)
    }
}
