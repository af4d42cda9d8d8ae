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
