//! The record that every batch carries: its number, what was synced before it, and a checksum.
//!
//! The journal below checks the bytes of a batch but not its header: a flipped bit there makes it
//! end early and say nothing. Numbers without gaps, written inside the checked bytes, make such a
//! loss visible; the checksum binds the number to the operations independently of the journal's
//! own encoding.
//!
//! ```text
//!   version 1 | flags 1 | sequence 8 | synced 8 | checksum 8      (26 bytes, big endian)
//! ```

use bytes::Bytes;
use xxhash_rust::xxh3::Xxh3;

/// The keyspace of the record. It is the store's own and has one key.
pub(super) const KEYSPACE: &str = "batches";
/// The key of the record, by which a reader of the journal knows it.
pub(super) const KEY: &[u8] = b"dunlin/batch";

const VERSION: u8 = 1;
const FLAG_RESUMES: u8 = 1;
const BYTES: usize = 26;

/// How a batch's number relates to the one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Continuity {
    /// It is one more.
    Follows,
    /// Numbers before it are missing, and that was reported.
    Resumes,
}

/// What a batch says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Record {
    /// Its number; the first batch of a store has 1.
    pub(super) sequence: u64,
    /// The highest number known to be synced when it was written.
    pub(super) synced: u64,
    /// Whether it closes a gap.
    pub(super) continuity: Continuity,
}

impl Record {
    /// The record as it is stored, bound to the operations in `digest`.
    pub(super) fn encode(&self, digest: Digest) -> Bytes {
        let mut out = Vec::with_capacity(BYTES);
        out.push(VERSION);
        out.push(match self.continuity {
            Continuity::Follows => 0,
            Continuity::Resumes => FLAG_RESUMES,
        });
        out.extend(self.sequence.to_be_bytes());
        out.extend(self.synced.to_be_bytes());
        let checksum = digest.finish(&out);
        out.extend(checksum.to_be_bytes());
        out.into()
    }

    /// Reads a record without its operations, as the store keeps the last one.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        Some(split(bytes)?.0)
    }

    /// Reads a record and checks it against its operations.
    pub(super) fn decode_checked(bytes: &[u8], digest: Digest) -> Option<Self> {
        let (record, head, checksum) = split(bytes)?;
        (digest.finish(head) == checksum).then_some(record)
    }
}

fn split(bytes: &[u8]) -> Option<(Record, &[u8], u64)> {
    let (head, checksum) = bytes.split_last_chunk::<8>()?;
    let (&[version, flags], rest) = head.split_first_chunk::<2>()?;
    let (sequence, rest) = rest.split_first_chunk::<8>()?;
    let (synced, rest) = rest.split_first_chunk::<8>()?;
    let continuity = match flags {
        0 => Continuity::Follows,
        FLAG_RESUMES => Continuity::Resumes,
        _ => return None,
    };
    if version != VERSION || !rest.is_empty() {
        return None;
    }
    let (sequence, synced) = (u64::from_be_bytes(*sequence), u64::from_be_bytes(*synced));
    Some((
        Record {
            sequence,
            synced,
            continuity,
        },
        head,
        u64::from_be_bytes(*checksum),
    ))
}

/// A running checksum of a batch's operations, in their order.
pub(super) struct Digest(Xxh3);

impl Digest {
    /// The digest of no operations.
    pub(super) fn new() -> Self {
        Self(Xxh3::new())
    }

    /// Adds an operation. Lengths go in first, so that no two batches run together the same way.
    pub(super) fn add(&mut self, key: &[u8], value: Option<&[u8]>) {
        self.0.update(&(key.len() as u64).to_be_bytes());
        self.0.update(
            &value
                .map_or(u64::MAX, |value| value.len() as u64)
                .to_be_bytes(),
        );
        self.0.update(key);
        self.0.update(value.unwrap_or_default());
    }

    fn finish(mut self, head: &[u8]) -> u64 {
        self.0.update(head);
        self.0.digest()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest() -> Digest {
        let mut digest = Digest::new();
        digest.add(b"key", Some(b"value"));
        digest.add(b"gone", None);
        digest
    }

    const RECORD: Record = Record {
        sequence: 7,
        synced: 5,
        continuity: Continuity::Resumes,
    };

    #[test]
    fn record_has_its_golden_bytes() {
        let bytes = RECORD.encode(digest());
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "0101000000000000000700000000000000053656b870a9d69f5b");
        assert_eq!(Record::decode(&bytes), Some(RECORD));
        assert_eq!(Record::decode_checked(&bytes, digest()), Some(RECORD));
    }

    #[test]
    fn any_flipped_bit_is_seen() {
        let bytes = RECORD.encode(digest());
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes.to_vec();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Record::decode_checked(&bad, digest()), None, "bit {bit}");
        }
        assert_eq!(Record::decode_checked(&bytes, Digest::new()), None);
        assert_eq!(Record::decode(&bytes[1..]), None);
    }
}
