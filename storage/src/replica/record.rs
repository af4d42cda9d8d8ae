//! The values that a replica stores beside rows, and the checksum that all of them carry.
//!
//! ```text
//!   sealed    = bytes | low 32 bits of their xxh3
//!   row       = sealed canonical row                     (its first byte is its version)
//!   hint      = sealed: version 1 | canonical event
//!   partition = sealed: version 1 | flags 1 | epoch 4, and if it is held:
//!               epoch of its rows 4, if not 0 | clock, and if a transfer is under way:
//!               covered (tag 1: up to a row, 2: all) | row key | context, and if it was abandoned:
//!               row key up to which the context was given back
//!   close     = sealed: version 1 | flags 1 | actor 8 | last 8 | rows 8 | row bytes 8 | log 8 | log bytes 8
//!               clock, row key and context are preceded by their length 4
//! ```
//!
//! The partition's record says under which clock its rows may be read, together with the log. The
//! close record holds what only a clean close can promise, and is deleted when it has been read.

use bytes::Bytes;
use dunlin_crdt::{ActorId, Clock, Event, Row};
use dunlin_ring::PartitionId;
use xxhash_rust::xxh3::xxh3_64;

use super::partition::{Actor, Covered, Transfer};

const VERSION: u8 = 1;
const FLAG_WHOLE: u8 = 1;
const FLAG_TRANSFER: u8 = 2;
const FLAG_UNVOUCHED: u8 = 4;
/// It is not held any more, and nothing follows the epoch.
const FLAG_GIVEN_UP: u8 = 8;
/// It was gained while an earlier epoch was known.
const FLAG_ROWS_EPOCH: u8 = 16;
const FLAG_ABANDONED: u8 = 32;
const FLAGS: u8 = FLAG_WHOLE | FLAG_TRANSFER | FLAG_UNVOUCHED | FLAG_ROWS_EPOCH | FLAG_ABANDONED;
const FLAG_ACTOR: u8 = 1;
const FLAG_COUNTS: u8 = 2;
const COVERED_UP_TO: u8 = 1;
const COVERED_ALL: u8 = 2;
const CHECKSUM_BYTES: usize = 4;

/// What is stored of a partition: together with the log after it, all that its clock is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct PartitionRecord {
    pub(super) whole: bool,
    /// Whether it was distrusted, so that rows may show dots that the clock lacks.
    pub(super) unvouched: bool,
    /// The epoch of the log that is believed.
    pub(super) epoch: u32,
    /// The epoch of the rows and of the pending index.
    pub(super) rows_epoch: u32,
    pub(super) clock: Clock,
    pub(super) transfer: Option<Transfer>,
}

/// How this node stands to a partition, as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It is held.
    Held(PartitionRecord),
    /// It was held, and is not any more.
    GivenUp {
        /// The last epoch that it had. What lies under it and before it is to be deleted, and is
        /// never met again.
        epoch: u32,
    },
}

/// What a clean close promises of a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CloseRecord {
    pub(super) actor: Option<Actor>,
    /// `None` if it was still being counted.
    pub(super) counts: Option<Counts>,
}

/// Exact counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) rows: u64,
    pub(super) row_bytes: u64,
    pub(super) log_entries: u64,
    pub(super) log_bytes: u64,
}

/// The key of a partition's record in `Clocks`.
pub(super) fn partition_key(partition: PartitionId) -> Bytes {
    Bytes::copy_from_slice(&partition.0.to_be_bytes())
}

/// The key of a close record in `Meta`.
pub(super) fn close_key(partition: PartitionId) -> Bytes {
    [&b"close/"[..], &partition.0.to_be_bytes()].concat().into()
}

/// Appends the checksum.
fn seal(mut bytes: Vec<u8>) -> Bytes {
    let checksum = xxh3_64(&bytes) as u32;
    bytes.extend(checksum.to_be_bytes());
    bytes.into()
}

/// Checks the checksum and takes it off.
fn unseal(sealed: &Bytes) -> Option<Bytes> {
    let (bytes, checksum) = sealed.split_last_chunk::<CHECKSUM_BYTES>()?;
    (xxh3_64(bytes) as u32 == u32::from_be_bytes(*checksum)).then(|| sealed.slice(..bytes.len()))
}

pub(super) fn seal_row(row: &Row) -> Bytes {
    let mut out = Vec::with_capacity(128);
    row.encode_into(&mut out);
    seal(out)
}

pub(super) fn unseal_row(sealed: &Bytes) -> Option<Row> {
    Row::decode(&unseal(sealed)?).ok()
}

pub(super) fn seal_hint(event: &Event) -> Bytes {
    seal([&[VERSION], &event.encode()[..]].concat())
}

pub(super) fn unseal_hint(sealed: &Bytes) -> Option<Event> {
    let bytes = unseal(sealed)?;
    match bytes.first() {
        Some(&VERSION) => Event::decode(&bytes.slice(1..)).ok(),
        Some(_) | None => None,
    }
}

impl Standing {
    pub(super) fn seal(&self) -> Bytes {
        match self {
            Self::Held(record) => record.seal(),
            Self::GivenUp { epoch } => {
                let mut out = vec![VERSION, FLAG_GIVEN_UP];
                out.extend(epoch.to_be_bytes());
                seal(out)
            }
        }
    }

    pub(super) fn unseal(sealed: &Bytes) -> Option<Self> {
        let bytes = unseal(sealed)?;
        match bytes.split_first_chunk::<2>()? {
            (&[VERSION, FLAG_GIVEN_UP], epoch) => Some(Self::GivenUp {
                epoch: u32::from_be_bytes(epoch.try_into().ok()?),
            }),
            (&[VERSION, flags], _) => {
                PartitionRecord::read(flags, bytes.slice(2..)).map(Self::Held)
            }
            _ => None,
        }
    }

    /// The last epoch that it had.
    pub(super) fn epoch(&self) -> u32 {
        match self {
            Self::Held(record) => record.epoch,
            Self::GivenUp { epoch } => *epoch,
        }
    }
}

impl PartitionRecord {
    pub(super) fn seal(&self) -> Bytes {
        let given_back = self.transfer.as_ref().and_then(|t| t.given_back.as_ref());
        let flag = |set: bool, flag: u8| if set { flag } else { 0 };
        let flags = flag(self.whole, FLAG_WHOLE)
            | flag(self.transfer.is_some(), FLAG_TRANSFER)
            | flag(self.unvouched, FLAG_UNVOUCHED)
            | flag(self.rows_epoch > 0, FLAG_ROWS_EPOCH)
            | flag(given_back.is_some(), FLAG_ABANDONED);
        let mut out = vec![VERSION, flags];
        out.extend(self.epoch.to_be_bytes());
        if self.rows_epoch > 0 {
            out.extend(self.rows_epoch.to_be_bytes());
        }
        put(&mut out, &self.clock.encode());
        if let Some(transfer) = &self.transfer {
            match &transfer.covered {
                Covered::UpTo(row) => {
                    out.push(COVERED_UP_TO);
                    put(&mut out, row);
                }
                Covered::All => {
                    out.push(COVERED_ALL);
                    put(&mut out, &[]);
                }
            }
            put(&mut out, &transfer.context.encode());
        }
        if let Some(row) = given_back {
            put(&mut out, row);
        }
        seal(out)
    }

    /// Reads what follows the flags.
    fn read(flags: u8, mut rest: Bytes) -> Option<Self> {
        if flags & !FLAGS != 0 || flags & (FLAG_TRANSFER | FLAG_ABANDONED) == FLAG_ABANDONED {
            return None;
        }
        let epoch = take_epoch(&mut rest)?;
        let rows_epoch = if flags & FLAG_ROWS_EPOCH == 0 {
            0
        } else {
            take_epoch(&mut rest)?
        };
        let clock = Clock::decode(&take(&mut rest)?).ok()?;
        let transfer = if flags & FLAG_TRANSFER == 0 {
            None
        } else {
            let tag = *rest.first()?;
            rest = rest.slice(1..);
            let row = take(&mut rest)?;
            let covered = match tag {
                COVERED_UP_TO => Covered::UpTo(row),
                COVERED_ALL => Covered::All,
                _ => return None,
            };
            let context = Clock::decode(&take(&mut rest)?).ok()?;
            let given_back = if flags & FLAG_ABANDONED == 0 {
                None
            } else {
                Some(take(&mut rest)?)
            };
            Some(Transfer {
                covered,
                context,
                given_back,
            })
        };
        rest.is_empty().then_some(Self {
            whole: flags & FLAG_WHOLE != 0,
            unvouched: flags & FLAG_UNVOUCHED != 0,
            epoch,
            rows_epoch,
            clock,
            transfer,
        })
    }
}

impl CloseRecord {
    pub(super) fn seal(&self) -> Bytes {
        let mut numbers = [0; 6];
        let mut flags = 0;
        if let Some(actor) = &self.actor {
            flags |= FLAG_ACTOR;
            (numbers[0], numbers[1]) = (actor.id.0, actor.last);
        }
        if let Some(counts) = &self.counts {
            flags |= FLAG_COUNTS;
            (numbers[2], numbers[3]) = (counts.rows, counts.row_bytes);
            (numbers[4], numbers[5]) = (counts.log_entries, counts.log_bytes);
        }
        let mut out = vec![VERSION, flags];
        numbers
            .iter()
            .for_each(|number: &u64| out.extend(number.to_be_bytes()));
        seal(out)
    }

    pub(super) fn unseal(sealed: &Bytes) -> Option<Self> {
        let bytes = unseal(sealed)?;
        let (&[version, flags], rest) = bytes.split_first_chunk::<2>()?;
        let (numbers, []) = rest.as_chunks::<8>() else {
            return None;
        };
        let &[id, last, rows, row_bytes, log_entries, log_bytes] = numbers else {
            return None;
        };
        if version != VERSION || flags & !(FLAG_ACTOR | FLAG_COUNTS) != 0 {
            return None;
        }
        let actor = (flags & FLAG_ACTOR != 0).then_some(Actor {
            id: ActorId(u64::from_be_bytes(id)),
            last: u64::from_be_bytes(last),
        });
        let counts = (flags & FLAG_COUNTS != 0).then_some(Counts {
            rows: u64::from_be_bytes(rows),
            row_bytes: u64::from_be_bytes(row_bytes),
            log_entries: u64::from_be_bytes(log_entries),
            log_bytes: u64::from_be_bytes(log_bytes),
        });
        Some(Self { actor, counts })
    }
}

fn put(out: &mut Vec<u8>, bytes: &[u8]) {
    // Clocks and keys are bounded far below 4 GiB by the protocol and by memory.
    out.extend((bytes.len() as u32).to_be_bytes());
    out.extend_from_slice(bytes);
}

fn take_epoch(rest: &mut Bytes) -> Option<u32> {
    let (epoch, _) = rest.split_first_chunk::<4>()?;
    let epoch = u32::from_be_bytes(*epoch);
    *rest = rest.slice(4..);
    Some(epoch)
}

fn take(rest: &mut Bytes) -> Option<Bytes> {
    let (length, _) = rest.split_first_chunk::<4>()?;
    let length = u32::from_be_bytes(*length) as usize;
    let end = length.checked_add(4)?;
    if end > rest.len() {
        return None;
    }
    let taken = rest.slice(4..end);
    *rest = rest.slice(end..);
    Some(taken)
}

#[cfg(test)]
mod tests {
    use super::*;
    use dunlin_crdt::{Cell, Dot, Hlc, OpId};

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn clock() -> Clock {
        [Dot::new(ActorId(1), 1), Dot::new(ActorId(2), 5)]
            .into_iter()
            .collect()
    }

    fn partition() -> PartitionRecord {
        let covered = Covered::UpTo(Bytes::from_static(b"row"));
        let transfer = Some(Transfer {
            covered,
            context: clock(),
            given_back: None,
        });
        PartitionRecord {
            whole: true,
            unvouched: false,
            epoch: 7,
            rows_epoch: 0,
            clock: clock(),
            transfer,
        }
    }

    /// Regained, and with a transfer that is being abandoned.
    fn moved() -> PartitionRecord {
        let transfer = Some(Transfer {
            covered: Covered::All,
            context: clock(),
            given_back: Some(Bytes::from_static(b"back")),
        });
        PartitionRecord {
            rows_epoch: 6,
            transfer,
            ..partition()
        }
    }

    fn close() -> CloseRecord {
        let counts = Counts {
            rows: 3,
            row_bytes: 4,
            log_entries: 5,
            log_bytes: 6,
        };
        CloseRecord {
            actor: Some(Actor {
                id: ActorId(1),
                last: 2,
            }),
            counts: Some(counts),
        }
    }

    fn event() -> Event {
        let cell = Cell {
            stamp: Hlc(9),
            op: OpId(1, 2),
            expires_at: None,
            body: dunlin_crdt::Body::Mark,
        };
        Event {
            dot: Dot::new(ActorId(1), 1),
            cell: Some(cell),
            replaces: Clock::new(),
        }
    }

    #[test]
    fn records_have_their_golden_bytes_and_come_back() {
        let sealed = partition().seal();
        assert_eq!(hex(&sealed), GOLDEN_PARTITION);
        assert_eq!(Standing::unseal(&sealed), Some(Standing::Held(partition())));
        let sealed = moved().seal();
        assert_eq!(hex(&sealed), GOLDEN_MOVED);
        assert_eq!(Standing::unseal(&sealed), Some(Standing::Held(moved())));
        let given_up = Standing::GivenUp { epoch: 9 };
        assert_eq!(hex(&given_up.seal()), GOLDEN_GIVEN_UP);
        assert_eq!(Standing::unseal(&given_up.seal()), Some(given_up));
        let sealed = close().seal();
        assert_eq!(hex(&sealed), GOLDEN_CLOSE);
        assert_eq!(CloseRecord::unseal(&sealed), Some(close()));
        let sealed = seal_hint(&event());
        assert_eq!(hex(&sealed), GOLDEN_HINT);
        assert_eq!(unseal_hint(&sealed), Some(event()));
        let mut row = Row::new();
        row.take(&Clock::new(), &event());
        assert_eq!(hex(&seal_row(&row)), GOLDEN_ROW);
        assert_eq!(unseal_row(&seal_row(&row)), Some(row));
    }

    const GOLDEN_PARTITION: &str = "01030000000700000016010000000000000001010100000000000000020105000100000003726f7700000016\
        010000000000000001010100000000000000020105009abaed2e";
    const GOLDEN_MOVED: &str = "013300000007000000060000001601000000000000000101010000000000000002010500020000000000000016\
        01000000000000000101010000000000000002010500000000046261636beba2ff05";
    const GOLDEN_GIVEN_UP: &str = "01080000000991eca5e0";
    const GOLDEN_CLOSE: &str = "0103000000000000000100000000000000020000000000000003000000000000000400000000000000050000\
        000000000006cbf09e19";
    const GOLDEN_HINT: &str =
        "0100000000000000010100000102000000000000000900000000000000010000000000000002c97fa54d";
    const GOLDEN_ROW: &str =
        "0101000000000000000101020000000000000009000000000000000100000000000000020000d039859e";

    #[test]
    fn every_form_of_a_record_comes_back() {
        let all = Some(Transfer {
            covered: Covered::All,
            context: Clock::new(),
            given_back: None,
        });
        for record in [
            PartitionRecord::default(),
            PartitionRecord {
                transfer: all.clone(),
                ..partition()
            },
            PartitionRecord {
                transfer: all,
                ..moved()
            },
            PartitionRecord {
                whole: false,
                transfer: None,
                ..partition()
            },
        ] {
            assert_eq!(
                Standing::unseal(&record.seal()),
                Some(Standing::Held(record))
            );
        }
        for record in [
            CloseRecord {
                actor: None,
                counts: None,
            },
            CloseRecord {
                actor: None,
                ..close()
            },
            CloseRecord {
                counts: None,
                ..close()
            },
        ] {
            assert_eq!(CloseRecord::unseal(&record.seal()), Some(record));
        }
    }

    #[test]
    fn a_flipped_bit_or_a_missing_byte_is_seen() {
        let given_up = Standing::GivenUp { epoch: 9 };
        for sealed in [partition().seal(), moved().seal(), given_up.seal()] {
            for bit in 0..sealed.len() * 8 {
                let mut bad = sealed.to_vec();
                bad[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(Standing::unseal(&bad.into()), None, "bit {bit}");
            }
            for length in 0..sealed.len() {
                assert_eq!(Standing::unseal(&sealed.slice(..length)), None);
            }
            assert_eq!(CloseRecord::unseal(&sealed), None);
        }
    }
}
