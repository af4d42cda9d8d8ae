//! The keys under which a replica stores things: bytes that sort as the names do.
//!
//! ```text
//!   place   = partition 2 | epoch 4                               (big endian, as all numbers)
//!   row     = place | bucket 8 | escaped key 00 01 | subkey
//!   log     = place | actor 8 | counter 8                 -> version 1 | row without its place
//!   hint    = owner 8 | partition 2 | bucket 8 | escaped key 00 01 | escaped subkey 00 01 | actor 8 | counter 8
//!   escaped = every 00 becomes 00 ff, so that 00 01 ends a name and sorts before all that continue it
//! ```
//!
//! Epochs keep apart what must never meet. A partition that is regained gets an epoch above all that
//! it ever had: its rows lie under that one until it is given up again, whatever is left of earlier
//! ones. Its log begins there too, and moves on whenever its memory is given up while its rows stay
//! (`Replica::distrust`), so that a log which may not be believed is never met again. Rows that were
//! there from the beginning lie under epoch 0.

use std::ops::Bound;

use bytes::Bytes;
use dunlin_crdt::{ActorId, Dot};
use dunlin_protocol::RowKey;
use dunlin_protocol::peer::{HintScope, RangeScope, RowRange};
use dunlin_ring::{BucketId, NodeId, PartitionId};

/// Partition and epoch.
const PLACE_BYTES: usize = 6;
/// Marks the first byte of a log entry's value.
const LOG_VERSION: u8 = 1;

/// Where rows or log entries lie: a partition, in one of its epochs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) partition: PartitionId,
    pub(crate) epoch: u32,
}

/// A contiguous range of stored keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) from: Bound<Bytes>,
    pub(crate) to: Bound<Bytes>,
}

impl Span {
    /// Everything that starts with these bytes.
    fn prefix(prefix: Vec<u8>) -> Self {
        let to = prefix_end(&prefix);
        Self {
            from: Bound::Included(prefix.into()),
            to,
        }
    }

    /// The part after a key, if one is given. The key must not lie before the span.
    pub(crate) fn after(mut self, key: Option<Bytes>) -> Self {
        if let Some(key) = key {
            self.from = Bound::Excluded(key);
        }
        self
    }

    /// The part up to and with a key.
    pub(crate) fn up_to(mut self, key: Bytes) -> Self {
        self.to = Bound::Included(key);
        self
    }

    /// The part from a bound on, if that lies further than the span's own.
    pub(crate) fn narrowed(mut self, from: Bound<Bytes>) -> Self {
        let (Bound::Included(key) | Bound::Excluded(key)) = &from else {
            return self;
        };
        let further = match &self.from {
            Bound::Unbounded => true,
            Bound::Included(own) => key >= own,
            Bound::Excluded(own) => key > own,
        };
        if further {
            self.from = from;
        }
        self
    }

    /// Whether no key can lie in it. Ordered maps panic on such bounds.
    pub(crate) fn encloses_nothing(&self) -> bool {
        match (&self.from, &self.to) {
            (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
            (Bound::Included(from), Bound::Included(to)) => from > to,
            (
                Bound::Included(from) | Bound::Excluded(from),
                Bound::Included(to) | Bound::Excluded(to),
            ) => from >= to,
        }
    }

    /// Whether a key lies in it.
    pub(crate) fn contains(&self, key: &[u8]) -> bool {
        let starts = match &self.from {
            Bound::Unbounded => true,
            Bound::Included(from) => key >= &from[..],
            Bound::Excluded(from) => key > &from[..],
        };
        starts
            && match &self.to {
                Bound::Unbounded => true,
                Bound::Included(to) => key <= &to[..],
                Bound::Excluded(to) => key < &to[..],
            }
    }
}

/// The key of a row.
pub(crate) fn row(place: Place, key: &RowKey) -> Bytes {
    let mut out = Vec::with_capacity(PLACE_BYTES + 10 + key.key.len() + key.subkey.len());
    put_place(&mut out, place);
    put_name(&mut out, key.bucket, &key.key);
    out.extend_from_slice(&key.subkey);
    out.into()
}

/// Reads the key of a row back; `None` for anything that [`row`] does not produce.
pub(crate) fn parse_row(stored: &Bytes) -> Option<RowKey> {
    parse_tail(&stored.slice(stored.len().min(PLACE_BYTES)..))
}

/// All that lies in a place.
pub(crate) fn all_in(place: Place) -> Span {
    let mut prefix = Vec::with_capacity(PLACE_BYTES);
    put_place(&mut prefix, place);
    Span::prefix(prefix)
}

/// All rows of a bucket in a place.
pub(crate) fn rows_of_bucket(place: Place, bucket: BucketId) -> Span {
    let mut prefix = Vec::with_capacity(PLACE_BYTES + 8);
    put_place(&mut prefix, place);
    prefix.extend(bucket.0.to_be_bytes());
    Span::prefix(prefix)
}

/// The rows of a range.
pub(crate) fn rows_in(place: Place, range: &RowRange) -> Span {
    let mut start = Vec::new();
    put_place(&mut start, place);
    match &range.scope {
        RangeScope::Key { key, prefix, after } => {
            put_name(&mut start, range.bucket, key);
            let after = after
                .as_ref()
                .map(|after| [&start, &after[..]].concat().into());
            start.extend_from_slice(prefix);
            Span::prefix(start).narrowed(after.map_or(Bound::Unbounded, Bound::Excluded))
        }
        RangeScope::Keys { prefix, after } => {
            start.extend(range.bucket.0.to_be_bytes());
            let after = after.as_ref().map(|after| {
                let mut past = start.clone();
                escape(&mut past, after);
                // 00 01 ends the name, and every longer name continues above it.
                past.extend([0, 2]);
                Bytes::from(past)
            });
            escape(&mut start, prefix);
            Span::prefix(start).narrowed(after.map_or(Bound::Unbounded, Bound::Included))
        }
    }
}

/// The key of a log entry.
pub(crate) fn log(partition: PartitionId, epoch: u32, actor: ActorId, counter: u64) -> Bytes {
    let mut out = Vec::with_capacity(PLACE_BYTES + 16);
    put_place(&mut out, Place { partition, epoch });
    out.extend(actor.0.to_be_bytes());
    out.extend(counter.to_be_bytes());
    out.into()
}

/// Reads the key of a log entry back.
pub(crate) fn parse_log(stored: &[u8]) -> Option<Dot> {
    parse_dot(stored.get(PLACE_BYTES..)?)
}

/// The entries of one actor with counters in a closed range.
pub(crate) fn log_of(partition: PartitionId, epoch: u32, range: (ActorId, u64, u64)) -> Span {
    let (actor, first, last) = range;
    Span {
        from: Bound::Included(log(partition, epoch, actor, first)),
        to: Bound::Included(log(partition, epoch, actor, last)),
    }
}

/// All that lies in the epochs of a partition before this one.
pub(crate) fn all_before(place: Place) -> Span {
    let (mut from, mut to) = (Vec::new(), Vec::new());
    put_place(&mut from, Place { epoch: 0, ..place });
    put_place(&mut to, place);
    Span {
        from: Bound::Included(from.into()),
        to: Bound::Excluded(to.into()),
    }
}

/// All that lies in the epochs of a partition from this one on.
pub(crate) fn all_since(place: Place) -> Span {
    let mut from = Vec::new();
    put_place(&mut from, place);
    Span {
        from: Bound::Included(from.into()),
        to: prefix_end(&place.partition.0.to_be_bytes()),
    }
}

/// Reads of any key that begins with a place in which epoch it lies.
pub(crate) fn parse_epoch(stored: &[u8]) -> Option<u32> {
    let (_, rest) = stored.split_first_chunk::<2>()?;
    let (epoch, _) = rest.split_first_chunk::<4>()?;
    Some(u32::from_be_bytes(*epoch))
}

/// The value of a log entry: the row that the event touched.
pub(crate) fn log_value(row: &Bytes) -> Bytes {
    let tail = row.get(PLACE_BYTES..).unwrap_or_default();
    let mut out = Vec::with_capacity(1 + tail.len());
    out.push(LOG_VERSION);
    out.extend_from_slice(tail);
    out.into()
}

/// Reads the value of a log entry back: the key of the row.
pub(crate) fn parse_log_value(value: &Bytes) -> Option<RowKey> {
    match value.first() {
        Some(&LOG_VERSION) => parse_tail(&value.slice(1..)),
        Some(_) | None => None,
    }
}

/// The key of a hint.
pub(crate) fn hint(owner: NodeId, partition: PartitionId, key: &RowKey, dot: &Dot) -> Bytes {
    let mut out = hint_place(owner, partition);
    put_name(&mut out, key.bucket, &key.key);
    escape(&mut out, &key.subkey);
    out.extend([0, 1]);
    out.extend(dot.actor.0.to_be_bytes());
    out.extend(dot.counter.to_be_bytes());
    out.into()
}

/// Reads the key of a hint back.
pub(crate) fn parse_hint(stored: &Bytes) -> Option<(RowKey, Dot)> {
    parse_hint_place(stored)?;
    let (bucket, name) = split_bucket(&stored.slice(10..))?;
    let (key, rest) = unescape(&name)?;
    let (subkey, rest) = unescape(&rest)?;
    let dot = parse_dot(&rest)?;
    Some((
        RowKey {
            bucket,
            key,
            subkey,
        },
        dot,
    ))
}

/// Reads of the key of a hint whom it is kept for.
pub(crate) fn parse_hint_place(stored: &[u8]) -> Option<(NodeId, PartitionId)> {
    let (owner, rest) = stored.split_first_chunk::<8>()?;
    let (partition, _) = rest.split_first_chunk::<2>()?;
    Some((
        NodeId(u64::from_be_bytes(*owner)),
        PartitionId(u16::from_be_bytes(*partition)),
    ))
}

/// The hints for an owner of a partition.
pub(crate) fn hints_for(owner: NodeId, partition: PartitionId) -> Span {
    Span::prefix(hint_place(owner, partition))
}

/// The hints for an owner of a row, or of all rows whose subkeys start with the one given.
pub(crate) fn hints_of(
    owner: NodeId,
    partition: PartitionId,
    key: &RowKey,
    scope: HintScope,
) -> Span {
    let mut prefix = hint_place(owner, partition);
    put_name(&mut prefix, key.bucket, &key.key);
    escape(&mut prefix, &key.subkey);
    if scope == HintScope::Row {
        prefix.extend([0, 1]);
    }
    Span::prefix(prefix)
}

fn hint_place(owner: NodeId, partition: PartitionId) -> Vec<u8> {
    let mut out = Vec::with_capacity(64);
    out.extend(owner.0.to_be_bytes());
    out.extend(partition.0.to_be_bytes());
    out
}

fn put_place(out: &mut Vec<u8>, place: Place) {
    out.extend(place.partition.0.to_be_bytes());
    out.extend(place.epoch.to_be_bytes());
}

fn put_name(out: &mut Vec<u8>, bucket: BucketId, key: &[u8]) {
    out.extend(bucket.0.to_be_bytes());
    escape(out, key);
    out.extend([0, 1]);
}

fn escape(out: &mut Vec<u8>, name: &[u8]) {
    for byte in name {
        out.push(*byte);
        if *byte == 0 {
            out.push(0xff);
        }
    }
}

/// Takes an escaped name off the front; shares the bytes if nothing was escaped.
fn unescape(stored: &Bytes) -> Option<(Bytes, Bytes)> {
    let first = stored.iter().position(|byte| *byte == 0)?;
    if stored.get(first + 1) == Some(&1) {
        return Some((stored.slice(..first), stored.slice(first + 2..)));
    }
    let mut name = stored.get(..first)?.to_vec();
    let mut at = first;
    loop {
        match (stored.get(at)?, stored.get(at + 1)) {
            (0, Some(0xff)) => {
                name.push(0);
                at += 2;
            }
            (0, Some(1)) => return Some((name.into(), stored.slice(at + 2..))),
            (0, _) => return None,
            (byte, _) => {
                name.push(*byte);
                at += 1;
            }
        }
    }
}

fn parse_tail(tail: &Bytes) -> Option<RowKey> {
    let (bucket, name) = split_bucket(tail)?;
    let (key, subkey) = unescape(&name)?;
    Some(RowKey {
        bucket,
        key,
        subkey,
    })
}

fn split_bucket(stored: &Bytes) -> Option<(BucketId, Bytes)> {
    let (bucket, _) = stored.split_first_chunk::<8>()?;
    Some((BucketId(u64::from_be_bytes(*bucket)), stored.slice(8..)))
}

fn parse_dot(stored: &[u8]) -> Option<Dot> {
    let (actor, rest) = stored.split_first_chunk::<8>()?;
    let counter = u64::from_be_bytes(rest.try_into().ok()?);
    Some(Dot::new(ActorId(u64::from_be_bytes(*actor)), counter))
}

/// The first key after all that start with `prefix`.
fn prefix_end(prefix: &[u8]) -> Bound<Bytes> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < 0xff {
            end.push(last + 1);
            return Bound::Excluded(end.into());
        }
    }
    Bound::Unbounded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(key: &'static [u8], subkey: &'static [u8]) -> RowKey {
        let (key, subkey) = (Bytes::from_static(key), Bytes::from_static(subkey));
        RowKey {
            bucket: BucketId(0x0102),
            key,
            subkey,
        }
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    const P: PartitionId = PartitionId(0x0a0b);
    const AT: Place = Place {
        partition: P,
        epoch: 0,
    };
    const NAMES: [&[u8]; 9] = [
        b"",
        b"\0",
        b"\0\0",
        b"\0\x01",
        b"\0\xff",
        b"\x01",
        b"a",
        b"a\0b",
        b"\xff\xff",
    ];

    #[test]
    fn keys_have_their_golden_bytes() {
        let key = key(b"k\0", b"s\0");
        assert_eq!(
            hex(&row(AT, &key)),
            "0a0b0000000000000000000001026b00ff00017300"
        );
        let stored = log(P, 3, ActorId(4), 5);
        assert_eq!(hex(&stored), "0a0b0000000300000000000000040000000000000005");
        assert_eq!(
            hex(&log_value(&row(AT, &key))),
            "0100000000000001026b00ff00017300"
        );
        assert_eq!(
            hex(&hint(NodeId(6), P, &key, &Dot::new(ActorId(4), 5))),
            "00000000000000060a0b00000000000001026b00ff00017300ff0001\
             00000000000000040000000000000005"
        );
    }

    #[test]
    fn keys_come_back_and_sort_as_the_names_do() {
        let mut names = Vec::new();
        for key_name in NAMES {
            for subkey in NAMES {
                names.push(key(key_name, subkey));
            }
        }
        names.sort();
        let dot = Dot::new(ActorId(1), 2);
        let rows: Vec<Bytes> = names.iter().map(|name| row(AT, name)).collect();
        assert!(rows.is_sorted_by(|a, b| a < b));
        for (name, stored) in names.iter().zip(&rows) {
            assert_eq!(parse_row(stored).as_ref(), Some(name));
            assert_eq!(parse_log_value(&log_value(stored)).as_ref(), Some(name));
            let stored = hint(NodeId(9), P, name, &dot);
            assert_eq!(parse_hint(&stored), Some((name.clone(), dot)));
            assert_eq!(parse_hint_place(&stored), Some((NodeId(9), P)));
            assert!(hints_of(NodeId(9), P, name, HintScope::Row).contains(&stored));
        }
        let hints: Vec<Bytes> = names
            .iter()
            .map(|name| hint(NodeId(9), P, name, &dot))
            .collect();
        assert!(hints.is_sorted_by(|a, b| a < b));
    }

    #[test]
    fn damaged_keys_are_no_keys() {
        for bad in [
            "",
            "0a0b00000000",
            "0a0b0000000000000000000001026b",
            "0a0b0000000000000000000001026b0002",
        ] {
            let bytes: Vec<u8> = bad
                .as_bytes()
                .chunks(2)
                .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
                .collect();
            assert_eq!(parse_row(&bytes.into()), None, "{bad}");
        }
        assert_eq!(parse_log(b"short"), None);
        assert_eq!(parse_log_value(&Bytes::from_static(b"\x02newer")), None);
        assert_eq!(parse_hint(&Bytes::from_static(b"short")), None);
    }

    fn at(partition: u16) -> Place {
        Place {
            partition: PartitionId(partition),
            epoch: 0,
        }
    }

    #[test]
    fn epochs_lie_side_by_side_and_share_no_key() {
        let key = key(b"k", b"s");
        let [older, newer] = [3, 4].map(|epoch| Place {
            partition: P,
            epoch,
        });
        assert_eq!(hex(&row(newer, &key)[..6]), "0a0b00000004");
        for (place, other) in [(older, newer), (newer, older)] {
            let stored = row(place, &key);
            assert_eq!(parse_epoch(&stored), Some(place.epoch));
            assert_eq!(parse_row(&stored).as_ref(), Some(&key));
            assert!(all_in(place).contains(&stored) && !all_in(other).contains(&stored));
            assert_eq!(all_before(newer).contains(&stored), place == older);
            assert_eq!(all_since(newer).contains(&stored), place == newer);
        }
    }

    #[test]
    fn the_span_of_the_last_partition_has_no_end() {
        assert_eq!(all_since(at(u16::MAX)).to, Bound::Unbounded);
        let span = all_in(at(0xff));
        assert_eq!(
            span.to,
            Bound::Excluded(Bytes::from_static(&[0, 0xff, 0, 0, 0, 1]))
        );
    }
}
