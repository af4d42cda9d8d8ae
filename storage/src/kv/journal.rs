//! Reads fjall's journal without changing it, and says which bytes are whole batches.
//!
//! fjall reads its journal while it opens, cuts it at the first tag it does not know, and says
//! nothing; what came after is gone before anyone could count it. So the store reads the journal
//! first, with this reader, which knows the format of fjall 3.1 (`=3.1.13`, without compression):
//!
//! ```text
//!   batch = 1 | items u32 | seqno u64          the header, which nothing checks
//!           2 | type u8 | 0 | keyspace u64 | key length u16 | value length u32, twice | key | value
//!           …                                  `items` times
//!           3 | xxh3 of all items u64 | "FJL" 3
//! ```
//!
//! Numbers are little endian. A file is preallocated, so zeros may follow the last batch.
//! It is conservative: what it does not fully understand is broken.

use std::ops::Range;

use xxhash_rust::xxh3::xxh3_64;

use super::record::{self, Digest, Record};

const TAG_START: u8 = 1;
const TAG_ITEM: u8 = 2;
const TAG_END: u8 = 3;
const TYPE_VALUE: u8 = 0;
const TYPE_TOMBSTONE: u8 = 1;
const UNCOMPRESSED: u8 = 0;
const TRAILER: &[u8; 4] = b"FJL\x03";

/// A stretch of a journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// A whole batch of this store.
    Batch {
        /// Where it lies.
        at: Range<usize>,
        /// fjall's number in the unchecked header.
        seqno: u64,
        /// The store's own number, checked.
        record: Record,
    },
    /// Bytes that are no batch, up to the next whole one or the end of what is not zero.
    Broken {
        /// Where they lie.
        at: Range<usize>,
    },
}

/// The pieces of a journal in order; the zeros at its end are not reported.
pub(super) fn pieces(journal: &[u8]) -> impl Iterator<Item = Piece> {
    let journal = without_zeros(journal);
    let mut at = 0;
    std::iter::from_fn(move || {
        if at >= journal.len() {
            return None;
        }
        let piece = batch_at(journal, at).unwrap_or_else(|| Piece::Broken {
            at: at..next_batch(journal, at + 1).unwrap_or(journal.len()),
        });
        at = piece.range().end;
        Some(piece)
    })
}

impl Piece {
    /// Where it lies.
    pub(super) fn range(&self) -> Range<usize> {
        match self {
            Self::Batch { at, .. } | Self::Broken { at } => at.clone(),
        }
    }
}

/// The journal up to its last byte that is not zero. A batch ends in one that is not.
fn without_zeros(journal: &[u8]) -> &[u8] {
    // Whole blocks first: a fresh journal is 64 MiB of them.
    const BLOCK: [u8; 4096] = [0; 4096];
    let mut rest = journal;
    while let Some((head, _)) = rest
        .split_last_chunk::<4096>()
        .filter(|(_, tail)| **tail == BLOCK)
    {
        rest = head;
    }
    let end = rest
        .iter()
        .rposition(|byte| *byte != 0)
        .map_or(0, |last| last + 1);
    rest.get(..end).unwrap_or_default()
}

/// The first place at or after `from` where a whole batch begins.
fn next_batch(journal: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    loop {
        at += journal
            .get(at..)?
            .iter()
            .position(|byte| *byte == TAG_START)?;
        if batch_at(journal, at).is_some() {
            return Some(at);
        }
        at += 1;
    }
}

/// The batch that begins at `start`, if a whole one does.
fn batch_at(journal: &[u8], start: usize) -> Option<Piece> {
    let mut cursor = Cursor {
        bytes: journal.get(start..)?,
    };
    if cursor.u8()? != TAG_START {
        return None;
    }
    let items = cursor.u32()?;
    let seqno = cursor.u64()?;
    let items_begin = cursor.bytes;

    let mut digest = Digest::new();
    let mut last: Option<Item<'_>> = None;
    for _ in 0..items {
        if let Some(before) = last.replace(cursor.item()?) {
            digest.add(before.key, before.value);
        }
    }
    // The store writes its record last.
    let last = last.filter(|item| item.key == record::KEY)?;
    let record = Record::decode_checked(last.value?, digest)?;

    let items_bytes = items_begin.get(..items_begin.len() - cursor.bytes.len())?;
    let checked = cursor.u8()? == TAG_END
        && cursor.u64()? == xxh3_64(items_bytes)
        && cursor.array::<4>()? == TRAILER;
    let end = journal.len() - cursor.bytes.len();
    checked.then_some(Piece::Batch {
        at: start..end,
        seqno,
        record,
    })
}

struct Item<'a> {
    key: &'a [u8],
    value: Option<&'a [u8]>,
}

/// Takes values off the front of a slice, or nothing if it is too short.
struct Cursor<'a> {
    bytes: &'a [u8],
}

impl<'a> Cursor<'a> {
    fn item(&mut self) -> Option<Item<'a>> {
        if self.u8()? != TAG_ITEM {
            return None;
        }
        let kind = self.u8()?;
        let compression = self.u8()?;
        let _keyspace = self.u64()?;
        let key_len = usize::from(u16::from_le_bytes(*self.array()?));
        let value_len = self.u32()?;
        let stored_len = self.u32()?;
        if compression != UNCOMPRESSED || value_len != stored_len {
            return None;
        }
        let key = self.take(key_len)?;
        let value = self.take(usize::try_from(stored_len).ok()?)?;
        match kind {
            TYPE_VALUE => Some(Item {
                key,
                value: Some(value),
            }),
            TYPE_TOMBSTONE if value.is_empty() => Some(Item { key, value: None }),
            _ => None,
        }
    }

    fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| *byte)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(|bytes| u32::from_le_bytes(*bytes))
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(|bytes| u64::from_le_bytes(*bytes))
    }

    fn array<const N: usize>(&mut self) -> Option<&'a [u8; N]> {
        let (array, rest) = self.bytes.split_first_chunk()?;
        self.bytes = rest;
        Some(array)
    }

    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.bytes.split_at_checked(len)?;
        self.bytes = rest;
        Some(taken)
    }
}

/// A batch as fjall writes it, to build journals that no kill would leave.
#[cfg(test)]
pub(super) fn encode(seqno: u64, record: Record, ops: &[(&[u8], Option<&[u8]>)]) -> Vec<u8> {
    let mut digest = Digest::new();
    let mut items = Vec::new();
    let mut item = |key: &[u8], value: Option<&[u8]>| {
        let kind = if value.is_some() {
            TYPE_VALUE
        } else {
            TYPE_TOMBSTONE
        };
        let value = value.unwrap_or_default();
        items.extend([TAG_ITEM, kind, UNCOMPRESSED]);
        items.extend(3_u64.to_le_bytes());
        items.extend((key.len() as u16).to_le_bytes());
        items.extend((value.len() as u32).to_le_bytes());
        items.extend((value.len() as u32).to_le_bytes());
        items.extend(key);
        items.extend(value);
    };
    for (key, value) in ops {
        digest.add(key, *value);
        item(key, *value);
    }
    item(record::KEY, Some(&record.encode(digest)));
    let mut batch = vec![TAG_START];
    batch.extend((ops.len() as u32 + 1).to_le_bytes());
    batch.extend(seqno.to_le_bytes());
    batch.extend(&items);
    batch.push(TAG_END);
    batch.extend(xxh3_64(&items).to_le_bytes());
    batch.extend(TRAILER);
    batch
}

#[cfg(test)]
mod tests {
    use super::super::record::Continuity;
    use super::*;

    fn batch(sequence: u64) -> Vec<u8> {
        let record = Record {
            sequence,
            synced: 0,
            continuity: Continuity::Follows,
        };
        encode(
            sequence * 2,
            record,
            &[(b"key", Some(b"a value\x01")), (b"gone", None)],
        )
    }

    fn kinds(journal: &[u8]) -> Vec<Result<u64, Range<usize>>> {
        let kind = |piece| match piece {
            Piece::Batch { record, .. } => Ok(record.sequence),
            Piece::Broken { at } => Err(at),
        };
        pieces(journal).map(kind).collect()
    }

    #[test]
    fn zeros_after_the_last_batch_are_its_end() {
        for zeros in [0, 1, 4095, 4096, 10_000] {
            let journal = [batch(1), batch(2), vec![0; zeros]].concat();
            assert_eq!(kinds(&journal), [Ok(1), Ok(2)]);
            assert_eq!(kinds(&vec![0; zeros]), []);
        }
    }

    #[test]
    fn any_flipped_bit_breaks_its_batch_and_no_other() {
        let parts = [batch(1), batch(2), batch(3)];
        let (begin, end) = (parts[0].len(), parts[0].len() + parts[1].len());
        for bit in begin * 8..end * 8 {
            let mut journal = parts.concat();
            journal[bit / 8] ^= 1 << (bit % 8);
            let found = kinds(&journal);
            // The number in the header is fjall's, and only its order can be checked.
            let in_number = (begin + 5..begin + 13).contains(&(bit / 8));
            // A keyspace or a record may not be what it was, but then the checksum says so.
            let want = if in_number { Ok(2) } else { Err(begin..end) };
            assert_eq!(found, [Ok(1), want, Ok(3)], "bit {bit}");
        }
    }

    #[test]
    fn every_cut_leaves_the_batches_before_it() {
        let journal = [batch(1), batch(2)].concat();
        let first = batch(1).len();
        for cut in 1..journal.len() {
            let whole: Vec<_> = kinds(&journal[..cut])
                .into_iter()
                .filter_map(Result::ok)
                .collect();
            let want: &[u64] = if cut < first { &[] } else { &[1] };
            assert_eq!(whole, want, "cut at {cut}");
        }
    }
}
