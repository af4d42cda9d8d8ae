//! Which row of which key of which bucket.

use std::fmt;

use bytes::Bytes;
use dunlin_ring::{BucketId, PartitionCount, PartitionId};
use serde::{Deserialize, Serialize};

/// The full name of a row. Sorts by bucket, key, subkey: the order in which rows are stored.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RowKey {
    /// The bucket, by the id of its creation.
    #[serde(rename = "b")]
    pub bucket: BucketId,
    /// The key that clients use; it decides the partition.
    #[serde(rename = "k")]
    pub key: Bytes,
    /// Empty for a single value; the element of a set; the field path of a map.
    #[serde(rename = "s")]
    pub subkey: Bytes,
}

impl RowKey {
    /// The one row of a key that has no subkeys.
    pub fn single(bucket: BucketId, key: Bytes) -> Self {
        Self {
            bucket,
            key,
            subkey: Bytes::new(),
        }
    }

    /// The partition that holds it.
    pub fn partition(&self, partitions: PartitionCount) -> PartitionId {
        partitions.partition_of(self.bucket, &self.key)
    }
}

impl fmt::Debug for RowKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}/{}/{}",
            self.bucket,
            self.key.escape_ascii(),
            self.subkey.escape_ascii()
        )
    }
}
