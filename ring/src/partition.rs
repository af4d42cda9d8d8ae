//! Partitions: the Q equal slices of the hash ring, and which of them a key falls into.
//!
//! ```text
//! xxh3_64( bucket, 8 bytes big-endian | 0x00 | key )  =  pppppppp ................
//!                                                        top log2(Q) bits: the partition
//! ```
//!
//! Q is fixed when a cluster is born, and clients compute the same function in other languages, so
//! every byte is spelled out here and pinned by golden values: a change of this file moves all data.

use std::fmt;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use crate::error::RingError;
use crate::id::BucketId;

/// The bucket's eight bytes and the separator.
const PREFIX_BYTES: usize = 9;

/// Keys that fit beside the prefix are hashed in one go on the stack. xxh3 changes its algorithm
/// above 240 bytes, so 256 covers all of its fast paths; longer keys take the streaming form, whose
/// state of half a kilobyte is then small beside the key.
const BUFFER_BYTES: usize = 256;

/// One slice of the hash ring, `0..Q`.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct PartitionId(pub u16);

impl fmt::Display for PartitionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Q, the number of partitions of a cluster: a power of two, 1 to 4096.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u16", into = "u16")]
pub struct PartitionCount(u16);

impl PartitionCount {
    /// 256: some 13 copies per node at 60 nodes and N = 3, which keeps rounding below 8 %, while a
    /// pairwise comparison of all partitions every second stays small.
    pub const DEFAULT: PartitionCount = PartitionCount(256);

    /// The largest Q.
    pub const MAX: PartitionCount = PartitionCount(4096);

    /// Accepts powers of two from 1 to 4096.
    ///
    /// # Errors
    /// [`RingError::BadPartitionCount`] for anything else.
    pub fn new(count: u16) -> Result<PartitionCount, RingError> {
        if count.is_power_of_two() && count <= PartitionCount::MAX.0 {
            Ok(PartitionCount(count))
        } else {
            Err(RingError::BadPartitionCount { count })
        }
    }

    /// Q as a number.
    #[must_use]
    pub fn get(self) -> u16 {
        self.0
    }

    /// All partitions, in ring order.
    pub fn iter(self) -> impl DoubleEndedIterator<Item = PartitionId> + ExactSizeIterator {
        (0..self.0).map(PartitionId)
    }

    /// The partition that `key` of `bucket` lives in.
    ///
    /// Cost: one hash and no allocation.
    #[must_use]
    pub fn partition_of(self, bucket: BucketId, key: &[u8]) -> PartitionId {
        let mut prefix = [0; PREFIX_BYTES];
        prefix[..8].copy_from_slice(&bucket.0.to_be_bytes());
        let length = PREFIX_BYTES + key.len();
        let hash = if length <= BUFFER_BYTES {
            let mut buffer = [0; BUFFER_BYTES];
            buffer[..PREFIX_BYTES].copy_from_slice(&prefix);
            buffer[PREFIX_BYTES..length].copy_from_slice(key);
            xxh3_64(&buffer[..length])
        } else {
            let mut hasher = Xxh3::new();
            hasher.update(&prefix);
            hasher.update(key);
            hasher.digest()
        };
        PartitionId(self.top_bits(hash))
    }

    /// Where the slice of `partition` begins on the ring of 2^64 tokens.
    pub(crate) fn start_of(self, partition: PartitionId) -> u64 {
        u64::from(partition.0)
            .checked_shl(u64::BITS - self.bits())
            .unwrap_or(0)
    }

    fn bits(self) -> u32 {
        self.0.trailing_zeros()
    }

    fn top_bits(self, hash: u64) -> u16 {
        // With Q = 1 there is no bit to take, and the shift by all 64 yields nothing.
        let top = hash.checked_shr(u64::BITS - self.bits()).unwrap_or(0);
        // At most twelve bits are left.
        top as u16
    }
}

impl Default for PartitionCount {
    fn default() -> PartitionCount {
        PartitionCount::DEFAULT
    }
}

impl TryFrom<u16> for PartitionCount {
    type Error = RingError;

    fn try_from(count: u16) -> Result<PartitionCount, RingError> {
        PartitionCount::new(count)
    }
}

impl From<PartitionCount> for u16 {
    fn from(count: PartitionCount) -> u16 {
        count.get()
    }
}

impl fmt::Display for PartitionCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_and_long_keys_are_hashed_alike() {
        for length in [0, 1, 7, 230, 231, 232, 246, 247, 248, 300, 5_000] {
            let key: Vec<u8> = (0..length).map(|byte| byte as u8).collect();
            let whole = [&7u64.to_be_bytes()[..], &[0], &key].concat();
            let expected = (xxh3_64(&whole) >> 56) as u16;
            let found = PartitionCount::DEFAULT.partition_of(BucketId(7), &key);
            assert_eq!(found, PartitionId(expected), "{length} bytes");
        }
    }

    #[test]
    fn each_slice_starts_where_its_first_hash_falls() {
        for count in [1, 2, 256, 4096].map(PartitionCount) {
            for partition in count.iter() {
                let start = count.start_of(partition);
                assert_eq!(count.top_bits(start), partition.0);
                assert!(start == 0 || count.top_bits(start - 1) == partition.0 - 1);
            }
            assert_eq!(count.top_bits(u64::MAX), count.get() - 1);
        }
    }

    #[test]
    fn only_powers_of_two_up_to_4096_are_counts() {
        for count in [1, 2, 64, 256, 4096] {
            assert_eq!(
                PartitionCount::new(count).map(PartitionCount::get),
                Ok(count)
            );
        }
        for count in [0, 3, 255, 4095, 8192, u16::MAX] {
            assert_eq!(
                PartitionCount::new(count),
                Err(RingError::BadPartitionCount { count })
            );
        }
    }
}
