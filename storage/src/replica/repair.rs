//! What one owner lacks of another: found in the log, sent as rows under the sender's clock.
//!
//! ```text
//!   clock(A) - clock(B)  ──log of A──>  the rows touched  ──>  B joins them under A's clock, and
//!                                                              claims exactly the dots named
//! ```
//!
//! A dot whose log entry is gone cannot be traced to its row: then all rows are owed, see `whole`.

use std::collections::BTreeMap;

use bytes::Bytes;
use dunlin_crdt::{ActorId, Clock, Dot};
use dunlin_protocol::RowKey;
use dunlin_protocol::limits::PAGE_BYTES_MAX;
use dunlin_protocol::peer::{Coverage, KeyedRow, RepairRow, RowRange};
use dunlin_ring::PartitionId;

use super::overlay::Merged;
use super::rows::Loaded;
use super::{Partition, Replica, StoreError};
use crate::key;
use crate::kv::Keyspace;

/// Log entries read for one page of repair. Dots of a row that other rows were written between are
/// as many ranges, and a clock of so many is still built within some milliseconds.
const LOG_ENTRIES_PER_PAGE: usize = 8192;

/// Which events a pull is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Horizon {
    /// Those held for a whole tick at least, see [`Replica::settle`].
    Settled,
    /// All that are held.
    Everything,
}

/// What a peer lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Missing {
    /// Rows found through the log.
    Rows {
        /// The rows, each with those of the missing dots that touched it.
        rows: Vec<RepairRow>,
        /// The clock under which they were read.
        clock: Clock,
        /// Whether there is more to pull, once these are taken.
        more: bool,
    },
    /// Events are missing that the log no longer tells of: send everything.
    LogTooShort,
}

/// The difference of a range of rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RangeDiff {
    /// Rows, in order; among them rows without a cell, whose cells were removed.
    pub rows: Vec<KeyedRow>,
    /// The clock under which they were read.
    pub clock: Clock,
    /// The last row up to which the answer is complete; to the end of the range if `None`.
    pub complete_to: Option<RowKey>,
    /// What it means that a row is not among them.
    pub coverage: Coverage,
}

impl Replica {
    /// A tick: what was held at the tick before counts as settled from now on. Events still on
    /// their way by replication are so not shipped twice.
    pub fn settle(&mut self) {
        self.partitions.values_mut().for_each(Partition::settle);
    }

    /// The rows that an owner with the clock `theirs` lacks events of: a page of some `bytes_max`,
    /// at least one row.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn missing(
        &self,
        partition: PartitionId,
        theirs: &Clock,
        horizon: Horizon,
        bytes_max: usize,
    ) -> Result<Missing, StoreError> {
        let part = self.owned_part(partition)?;
        let clock = part.clock().clone();
        let held = match horizon {
            Horizon::Settled => part.settled(),
            Horizon::Everything => part.clock(),
        };
        let mut found: BTreeMap<RowKey, RepairRow> = BTreeMap::new();
        let (mut bytes, mut entries, mut more) = (0, 0, false);
        for touched in self.touched(partition, part, held.minus(theirs)) {
            let (dot, key) = match touched {
                Ok(touched) => touched,
                Err(Untraced::LogTooShort) => return Ok(Missing::LogTooShort),
                Err(Untraced::Store(error)) => return Err(error),
            };
            if bytes >= bytes_max || entries == LOG_ENTRIES_PER_PAGE {
                more = true;
                break;
            }
            entries += 1;
            if !found.contains_key(&key) {
                let loaded = self.load(partition, part, &key::row(part.rows_at, &key))?;
                bytes += row_bytes(&key, &loaded);
                let row = RepairRow {
                    key: key.clone(),
                    row: part.vouched_row(&key::row(part.rows_at, &key), loaded.row),
                    dots: Clock::new(),
                };
                found.insert(key.clone(), row);
            }
            if let Some(row) = found.get_mut(&key) {
                row.dots.add(dot);
            }
        }
        // The rows show what newer events did too, so these are named as well: should they be lost
        // here, the peer would know what they did and not that they were.
        let newer = part.clock().minus(held).minus(theirs);
        for touched in self
            .touched(partition, part, newer)
            .take(LOG_ENTRIES_PER_PAGE)
        {
            match touched {
                Ok((dot, key)) => {
                    if let Some(row) = found.get_mut(&key) {
                        row.dots.add(dot);
                    }
                }
                Err(Untraced::LogTooShort) => break,
                Err(Untraced::Store(error)) => return Err(error),
            }
        }
        Ok(Missing::Rows {
            rows: found.into_values().collect(),
            clock,
            more,
        })
    }

    /// These rows, for an owner with the clock `theirs` that was seen to be behind on them, each with
    /// every dot that touched it and that the owner lacks. Removals have no cell to be known by, so a
    /// row without all its dots would leave the owner with knowledge that its clock does not show.
    ///
    /// `None` if the log does not reach back or more than `dots_max` dots would have to be looked up:
    /// repair by clocks is the better way then.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn rows_behind(
        &self,
        partition: PartitionId,
        theirs: &Clock,
        keys: &[RowKey],
        dots_max: usize,
    ) -> Result<Option<Vec<RepairRow>>, StoreError> {
        let part = self.owned_part(partition)?;
        let missing = part.clock().minus(theirs);
        if missing.len() > dots_max as u64 {
            return Ok(None);
        }
        let mut dots: BTreeMap<&RowKey, Clock> = keys.iter().map(|k| (k, Clock::new())).collect();
        for touched in self.touched(partition, part, missing) {
            match touched {
                Ok((dot, key)) => {
                    if let Some(of_row) = dots.get_mut(&key) {
                        of_row.add(dot);
                    }
                }
                Err(Untraced::LogTooShort) => return Ok(None),
                Err(Untraced::Store(error)) => return Err(error),
            }
        }
        let row = |(key, dots): (&RowKey, Clock)| {
            let row = part.vouched_row(&key::row(part.rows_at, key), self.row(key)?);
            Ok(RepairRow {
                key: key.clone(),
                row,
                dots,
            })
        };
        dots.into_iter()
            .map(row)
            .collect::<Result<_, _>>()
            .map(Some)
    }

    /// Joins rows from another owner, read under `context`, into ours, and claims the dots named
    /// with them and those of their cells. Returns how many of our rows changed.
    ///
    /// # Errors
    /// [`StoreError`]; nothing was staged.
    pub fn take_rows(
        &mut self,
        partition: PartitionId,
        rows: &[RepairRow],
        context: &Clock,
    ) -> Result<usize, StoreError> {
        let part = self.owned_part(partition)?;
        let mut joined = Vec::with_capacity(rows.len());
        let mut new = BTreeMap::new();
        for sent in rows
            .iter()
            .filter(|sent| self.partition_of(&sent.key) == partition)
        {
            let stored_key = key::row(part.rows_at, &sent.key);
            let mut loaded = self.load(partition, part, &stored_key)?;
            loaded.row.join(part.clock(), &sent.row, context);
            let cells = sent.row.cells().iter().map(|(dot, _)| *dot);
            // A dot that is not claimed is sent again, so the bound costs nothing but time.
            let named = sent.dots.minus(part.clock());
            for dot in named.dots().take(LOG_ENTRIES_PER_PAGE).chain(cells) {
                if !part.clock().contains(&dot) {
                    new.insert((dot.actor, dot.counter), stored_key.clone());
                }
            }
            joined.push((stored_key, loaded));
        }
        // Claimed in the order of dots, so that the clock stays in one piece on the way; before the
        // rows are stored, so that each is stripped of all that came with it.
        for ((actor, counter), stored_key) in &new {
            self.claim_and_log(partition, Dot::new(*actor, *counter), stored_key);
        }
        let mut changed = 0;
        for (stored_key, loaded) in joined {
            changed += usize::from(self.store(partition, &stored_key, loaded));
        }
        Ok(changed)
    }

    /// The rows of a range that events outside `theirs` touched, those without a cell too. If the
    /// log does not reach back, or there are more than `dots_max` such events, the first rows of the
    /// range instead: see [`RangeDiff::coverage`].
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn rows_beyond(
        &self,
        partition: PartitionId,
        theirs: &Clock,
        range: &RowRange,
        dots_max: usize,
        rows_max: usize,
    ) -> Result<RangeDiff, StoreError> {
        let part = self.owned_part(partition)?;
        let missing = part.clock().minus(theirs);
        let mut page = Page::new(rows_max);
        let differing = if missing.len() > dots_max as u64 {
            None
        } else {
            self.touched_in(partition, part, range, missing)?
        };
        let coverage = match differing {
            Some(keys) => {
                for (stored_key, key) in keys {
                    let loaded = self.load(partition, part, &stored_key)?;
                    if page.push(key, loaded) == Room::None {
                        break;
                    }
                }
                Coverage::Differences
            }
            None => {
                for found in self.scan(partition, part, &key::rows_in(part.rows_at, range)) {
                    let (_, key, loaded) = found?;
                    if page.push(key, loaded) == Room::None {
                        break;
                    }
                }
                Coverage::All
            }
        };
        let complete_to = page.complete_to();
        Ok(RangeDiff {
            rows: page.rows,
            clock: part.clock().clone(),
            complete_to,
            coverage,
        })
    }

    /// The rows of a range that these dots touched; `None` if the log does not tell of them all.
    fn touched_in(
        &self,
        partition: PartitionId,
        part: &Partition,
        range: &RowRange,
        dots: Clock,
    ) -> Result<Option<BTreeMap<Bytes, RowKey>>, StoreError> {
        let span = key::rows_in(part.rows_at, range);
        let mut keys = BTreeMap::new();
        for touched in self.touched(partition, part, dots) {
            match touched {
                Ok((_, key)) => {
                    let stored_key = key::row(part.rows_at, &key);
                    if span.contains(&stored_key) {
                        keys.insert(stored_key, key);
                    }
                }
                Err(Untraced::LogTooShort) => return Ok(None),
                Err(Untraced::Store(error)) => return Err(error),
            }
        }
        Ok(Some(keys))
    }

    /// Each of the dots with the row that it touched, by the log.
    pub(super) fn touched<'a>(
        &'a self,
        partition: PartitionId,
        part: &'a Partition,
        dots: Clock,
    ) -> impl Iterator<Item = Result<(Dot, RowKey), Untraced>> + 'a {
        let ranges: Vec<_> = dots.ranges_by_actor().collect();
        ranges.into_iter().flat_map(move |range| {
            let entries = self
                .overlay
                .range(Keyspace::Log, &key::log_of(partition, part.epoch, range));
            let (actor, first, last) = range;
            LogWalk {
                partition,
                entries,
                actor,
                next: Some(first),
                last,
            }
        })
    }
}

/// Why a dot could not be traced to its row.
pub(super) enum Untraced {
    LogTooShort,
    Store(StoreError),
}

/// The log entries of a range of dots of one actor; ends with an error where one is missing.
struct LogWalk<'a> {
    partition: PartitionId,
    entries: Merged<'a>,
    actor: ActorId,
    /// The counter that comes next; `None` at the end.
    next: Option<u64>,
    last: u64,
}

impl LogWalk<'_> {
    fn step(&mut self, counter: u64) -> Result<(Dot, RowKey), Untraced> {
        let corrupt = || {
            Untraced::Store(StoreError::CorruptKey {
                partition: self.partition,
            })
        };
        let Some(entry) = self.entries.next() else {
            return Err(Untraced::LogTooShort);
        };
        let (stored_key, value) = entry.map_err(|error| Untraced::Store(error.into()))?;
        let dot = key::parse_log(&stored_key).ok_or_else(corrupt)?;
        if dot != Dot::new(self.actor, counter) {
            return Err(Untraced::LogTooShort);
        }
        Ok((dot, key::parse_log_value(&value).ok_or_else(corrupt)?))
    }
}

impl Iterator for LogWalk<'_> {
    type Item = Result<(Dot, RowKey), Untraced>;

    fn next(&mut self) -> Option<Self::Item> {
        let counter = self.next?;
        let step = self.step(counter);
        self.next = counter
            .checked_add(1)
            .filter(|next| *next <= self.last && step.is_ok());
        Some(step)
    }
}

/// Rows for one answer, up to a number and a size.
pub(super) struct Page {
    pub(super) rows: Vec<KeyedRow>,
    rows_max: usize,
    bytes: usize,
    bytes_max: usize,
    full: bool,
}

/// Whether a page took a row.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Room {
    /// It did.
    Some,
    /// It did not; the page ends with the row before.
    None,
}

impl Page {
    fn new(rows_max: usize) -> Self {
        Self::of_bytes(rows_max, PAGE_BYTES_MAX)
    }

    /// A page takes one row at least.
    pub(super) fn of_bytes(rows_max: usize, bytes_max: usize) -> Self {
        Self {
            rows: Vec::new(),
            rows_max: rows_max.max(1),
            bytes: 0,
            bytes_max,
            full: false,
        }
    }

    pub(super) fn push(&mut self, key: RowKey, loaded: Loaded) -> Room {
        let many = self.rows.len() >= self.rows_max || self.bytes >= self.bytes_max;
        if many && !self.rows.is_empty() {
            self.full = true;
            return Room::None;
        }
        self.bytes += row_bytes(&key, &loaded);
        self.rows.push(KeyedRow {
            key,
            row: loaded.row,
        });
        Room::Some
    }

    /// The last row, if there are more after it.
    pub(super) fn complete_to(&self) -> Option<RowKey> {
        self.rows
            .last()
            .filter(|_| self.full)
            .map(|row| row.key.clone())
    }
}

/// About what a row takes in a message.
fn row_bytes(key: &RowKey, loaded: &Loaded) -> usize {
    32 + key.key.len() + key.subkey.len() + loaded.stored.as_ref().map_or(0, Bytes::len)
}
