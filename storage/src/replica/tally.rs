//! How much there is: exact counts that follow every change, and are recounted after a crash.
//!
//! ```text
//!   keys:   counted ...........| seen up to here | not counted ............
//!   a change here adjusts                          a change here will be met later
//! ```
//!
//! Counts live in memory and are stored at a clean close only. After any other start they begin at
//! nothing and grow slice by slice while writes go on; they are exact again when the slices reach
//! the end.

use bytes::Bytes;
use dunlin_ring::PartitionId;

use super::{Progress, Replica, StoreError};
use crate::key;
use crate::kv::Keyspace;

/// How much a replica holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Rows of owned partitions, those without a cell too.
    pub rows: u64,
    /// The bytes of their stored keys and values.
    pub row_bytes: u64,
    /// Whether rows and log entries are still being counted; what is said of them is then too low.
    pub counting: bool,
    /// Entries in the logs.
    pub log_entries: u64,
    /// Rows that remember dots which the clock does not cover.
    pub pending: u64,
    /// Hints kept.
    pub hints: u64,
    /// The bytes of their stored keys and values.
    pub hint_bytes: u64,
    /// Actors under which this replica mints dots now, those for hints too.
    pub actors: u64,
    /// Actors in the clocks of all owned partitions, one for each clock it is in.
    pub actors_known: u64,
}

/// How far entries are counted, in the order of their keys.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Seen {
    None,
    UpTo(Bytes),
    All,
}

/// A count of entries and bytes in one contiguous range of keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Count {
    pub(super) entries: u64,
    pub(super) bytes: u64,
    seen: Seen,
}

impl Default for Count {
    fn default() -> Self {
        Self {
            entries: 0,
            bytes: 0,
            seen: Seen::None,
        }
    }
}

impl Count {
    /// A count that is known to be exact.
    pub(super) fn exact(entries: u64, bytes: u64) -> Self {
        Self {
            entries,
            bytes,
            seen: Seen::All,
        }
    }

    pub(super) fn is_exact(&self) -> bool {
        self.seen == Seen::All
    }

    /// Follows a change of the value under `key`; lengths of the values, `None` where there is none.
    pub(super) fn follow(&mut self, key: &[u8], before: Option<usize>, after: Option<usize>) {
        let counted = match &self.seen {
            Seen::None => false,
            Seen::UpTo(last) => key <= &last[..],
            Seen::All => true,
        };
        if counted {
            let size = |value: usize| (key.len() + value) as u64;
            self.entries -= u64::from(before.is_some());
            self.entries += u64::from(after.is_some());
            self.bytes -= before.map_or(0, size);
            self.bytes += after.map_or(0, size);
        }
    }

    fn after(&self) -> Option<Bytes> {
        match &self.seen {
            Seen::None | Seen::All => None,
            Seen::UpTo(last) => Some(last.clone()),
        }
    }
}

impl Replica {
    /// How much there is.
    pub fn tally(&self) -> Tally {
        let mut tally = Tally {
            hints: self.hints.entries(),
            hint_bytes: self.hints.bytes(),
            actors: self.hints.actors(),
            ..Tally::default()
        };
        for part in self.partitions.values() {
            tally.rows += part.rows.entries;
            tally.row_bytes += part.rows.bytes;
            tally.counting |= !part.rows.is_exact() || !part.log.is_exact();
            tally.log_entries += part.log.entries;
            tally.pending += part.pending.len() as u64;
            tally.actors += u64::from(part.actor.is_some());
            tally.actors_known += part.clock().actors().count() as u64;
        }
        tally
    }

    /// Counts up to so many rows and log entries further, if anything is left to count. What can't be read
    /// stays uncounted until it can: the [scrub](Self::scrub) tells of it.
    pub fn count_some(&mut self, rows_max: usize) -> Progress {
        let mut budget = rows_max.max(1);
        let mut unreadable = false;
        let partitions: Vec<PartitionId> = self.partitions.keys().copied().collect();
        for partition in partitions {
            for keyspace in [Keyspace::Rows, Keyspace::Log] {
                if budget == 0 {
                    return Progress::More;
                }
                match self.count_slice(partition, keyspace, budget) {
                    Ok(met) => budget -= met,
                    Err(_) => unreadable = true,
                }
            }
        }
        match self.tally().counting && !unreadable {
            true => Progress::More,
            false => Progress::Done,
        }
    }

    /// Returns how many entries it met.
    fn count_slice(
        &mut self,
        partition: PartitionId,
        keyspace: Keyspace,
        entries_max: usize,
    ) -> Result<usize, StoreError> {
        let Some(part) = self.partitions.get_mut(&partition) else {
            return Ok(0);
        };
        let (count, span) = match keyspace {
            Keyspace::Log => {
                let span = key::all_in(part.log_at());
                (&mut part.log, span)
            }
            _ => {
                let span = key::all_in(part.rows_at);
                (&mut part.rows, span)
            }
        };
        if count.is_exact() {
            return Ok(0);
        }
        let mut met = 0;
        for entry in self.overlay.range(keyspace, &span.after(count.after())) {
            let (key, value) = entry?;
            met += 1;
            count.entries += 1;
            count.bytes += (key.len() + value.len()) as u64;
            count.seen = Seen::UpTo(key);
            if met == entries_max {
                return Ok(met);
            }
        }
        count.seen = Seen::All;
        Ok(met)
    }
}
