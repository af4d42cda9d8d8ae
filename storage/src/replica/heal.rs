//! Putting one damaged row right with a co-owner's copy of it, in place of refilling its partition.
//!
//! ```text
//!   our clock    ################....####      what we claim to hold, the damaged row's events too
//!   its clock    ######..#################     what the copy is true under
//!                      ^^ of these none may have touched the row
//! ```
//!
//! What the log says of the dots that the copy's clock lacks decides. With an event of this row among them
//! the copy won't do: this owner has said that it holds the event, and reads rely on that.

use std::collections::BTreeMap;

use dunlin_crdt::{Clock, Row};
use dunlin_protocol::RowKey;
use dunlin_ring::PartitionId;

use super::record::unseal_row;
use super::repair::Untraced;
use super::rows::Loaded;
use super::{Replica, StoreError};
use crate::key;
use crate::kv::Keyspace;

/// Log entries that are looked up for one row.
const LOG_ENTRIES: u64 = 8192;

/// What became of a damaged row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Healed {
    /// The copy took its place.
    Replaced,
    /// It is not damaged, or counts as no row until its partition is refilled. Nothing was staged.
    Sound,
    /// The copy lacks events of the row, or its clock so many that which of them touched the row cannot be
    /// told.
    /// Nothing was staged. Take a copy from another owner, or join the copies of several; if none
    /// will do, distrust the partition.
    TooOld,
}

impl Replica {
    /// Replaces a damaged row by an intact copy that a co-owner read under the clock `context`.
    ///
    /// Copies of several co-owners can be joined before ([`Row::join`], and the clocks too).
    ///
    /// # Errors
    /// [`StoreError`]; nothing was staged.
    pub fn heal_row(
        &mut self,
        partition: PartitionId,
        key: &RowKey,
        copy: &Row,
        context: &Clock,
    ) -> Result<Healed, StoreError> {
        let part = self.owned_part(partition)?;
        let stored_key = key::row(part.rows_at, key);
        let Some(damaged) = self.overlay.get(Keyspace::Rows, &stored_key)? else {
            return Ok(Healed::Sound);
        };
        if part.is_unvouched()
            || unseal_row(&damaged).is_some()
            || self.partition_of(key) != partition
        {
            return Ok(Healed::Sound);
        }
        // No log tells what a transfer has brought.
        let transferred = part.transfer().filter(|t| t.covers(&stored_key));
        if transferred.is_some_and(|transfer| !transfer.context.is_subset(context)) {
            return Ok(Healed::TooOld);
        }
        let unknown = part.clock().minus(context);
        if unknown.len() > LOG_ENTRIES {
            return Ok(Healed::TooOld);
        }
        for touched in self.touched(partition, part, unknown) {
            match touched {
                Ok((dot, row)) if row == *key && copy.cell(&dot).is_none() => {
                    return Ok(Healed::TooOld);
                }
                Ok(_) => {}
                Err(Untraced::LogTooShort) => return Ok(Healed::TooOld),
                Err(Untraced::Store(error)) => return Err(error),
            }
        }

        // Under the empty clock, for ours has the dots of the cells that are to come back.
        let mut row = Row::new();
        row.join(&Clock::new(), copy, context);
        let mut new = BTreeMap::new();
        for (dot, _) in row.cells() {
            let held = self.partitions.get(&partition);
            if held.is_some_and(|part| !part.holds(&stored_key, dot)) {
                new.insert((dot.actor, dot.counter), *dot);
            }
        }
        for dot in new.into_values() {
            self.claim_and_log(partition, dot, &stored_key);
        }
        let stored = Some(damaged);
        self.store(partition, &stored_key, Loaded { row, stored });
        Ok(Healed::Replaced)
    }
}
