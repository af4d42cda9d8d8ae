//! Whole transfers: all rows of a partition, in the order of their keys, where the log does not tell
//! what is missing.
//!
//! ```text
//!   Pull { Everything } ─> Whole { rows, clock, next } ─> Pull { WholeAfter(next) } ─> … ─> the first
//!                                                                        page's clock is claimed
//!   interrupted: taken up after the last row, from whoever knows all that the first page's sender knew
//!   not continued: abandoned, slice by slice; nothing that it brought is lost
//! ```
//!
//! Until it has ended the partition is not filled, so it answers for nothing.

use dunlin_crdt::Clock;
use dunlin_protocol::RowKey;
use dunlin_protocol::peer::KeyedRow;
use dunlin_ring::{NodeId, PartitionId};
use dunlin_storage::{Progress, StoreError, WholeTaken};

use crate::io::{Effect, Now};
use crate::shard::Shard;

/// A page of a whole transfer.
pub(crate) struct WholePage {
    pub(crate) after: Option<RowKey>,
    pub(crate) rows: Vec<KeyedRow>,
    pub(crate) clock: Clock,
    pub(crate) next: Option<RowKey>,
}

impl Shard {
    /// Where a transfer was interrupted, for a pull that takes it up. The clock of its first page is
    /// the store's to know by then.
    pub(crate) fn resumed_transfer(
        &mut self,
        partition: PartitionId,
    ) -> Option<(Clock, Option<RowKey>)> {
        match self.replica.transfer(partition)? {
            (_, Some(last)) => Some((Clock::new(), Some(last))),
            (_, None) => {
                self.replica.claim(partition, &Clock::new());
                None
            }
        }
    }

    pub(crate) fn take_whole_page(
        &mut self,
        from: NodeId,
        partition: PartitionId,
        page: WholePage,
        now: Now,
        effects: &mut Vec<Effect>,
    ) -> Result<(), StoreError> {
        let pull = self.repair.pulls.get_mut(&partition);
        let Some(pull) = pull.filter(|pull| pull.from == from) else {
            return Ok(());
        };
        // Rows of earlier pages are as old as their page: only its clock may be claimed at the end.
        let first_clock = match (&pull.whole, &page.after) {
            (_, None) => page.clock.clone(),
            (Some((clock, expected)), after) if expected == after => clock.clone(),
            _ => return Ok(()),
        };
        pull.asked = false;
        let counts = pull.counts;
        self.spend(page.rows.iter().map(|r| &r.row));
        let WholePage {
            after,
            rows,
            clock,
            next,
        } = page;
        let taken = self.replica.take_whole_page(
            partition,
            after.as_ref(),
            &rows,
            next.as_ref(),
            &clock,
        )?;
        self.note_rows(partition, rows.iter().map(|row| &row.key));
        self.note_lww_losers(partition, rows.iter().map(|row| &row.key), effects);
        match taken {
            WholeTaken::Taken {
                next: next @ Some(_),
                ..
            } => {
                if let Some(pull) = self.repair.pulls.get_mut(&partition) {
                    pull.whole = Some((first_clock, next));
                }
                self.ask_page(partition, now, effects);
            }
            WholeTaken::Taken { next: None, .. } => {
                self.replica.claim(partition, &first_clock);
                self.counters.add("whole_transfers");
                self.pull_is_over(partition, from, counts, now, effects);
            }
            WholeTaken::OutOfOrder => {
                // This source does not know all that the interrupted transfer's did.
                self.repair.pulls.remove(&partition);
                self.repair.abandoning.insert(partition);
            }
        }
        Ok(())
    }

    /// Abandons a slice of a transfer that nobody continues. No clock tells of what only it has
    /// brought, so in a partition that counts none is left standing.
    pub(crate) fn tidy_transfer(&mut self, partition: PartitionId) -> Result<(), StoreError> {
        let abandoned = self.repair.abandoning.contains(&partition)
            || (!self.repair.pulls.contains_key(&partition) && !self.is_unfilled(partition));
        if abandoned
            && self
                .replica
                .abandon_some(partition, self.options.slice_rows)?
                == Progress::Done
        {
            self.repair.abandoning.remove(&partition);
        }
        Ok(())
    }
}
