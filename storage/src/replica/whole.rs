//! All rows of a partition, page by page: for an owner that the log can no longer help.
//!
//! ```text
//!   source                        receiver
//!   page 1 under clock c1  ──>    context = c1; rows up to r1 are true under clock ∪ c1
//!   page 2 under clock c2  ──>    c1 ⊆ c2, so rows up to r2 are
//!   ...
//!   last page              ──>    all rows are: claim c1
//! ```
//!
//! The receiver stores how far it is, so a transfer can be taken up again after a crash, from any
//! owner whose clock has all of the first page's. Until its end the partition's clock does not grow
//! by what the pages bring; see `partition`.

use std::collections::BTreeMap;

use bytes::Bytes;
use dunlin_crdt::{Clock, Dot, Row};
use dunlin_protocol::RowKey;
use dunlin_protocol::peer::KeyedRow;
use dunlin_ring::PartitionId;

use super::abandon::{SLICE_ROWS, Slice};
use super::partition::{Covered, Transfer};
use super::repair::{Page, Room};
use super::rows::Loaded;
use super::{Partition, Progress, Replica, StoreError};
use crate::key;

/// What became of a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WholeTaken {
    /// It was taken, and staged.
    Taken {
        /// How many of our rows changed.
        rows_changed: usize,
        /// After which row the next page starts; `None` if this was the last. Before the one that the
        /// page named if it passes over more rows of ours than one batch should change.
        next: Option<RowKey>,
    },
    /// It does not continue the transfer: another page came before it, or its sender knows less than
    /// the sender of the first page; or another transfer has to be abandoned first. Nothing was
    /// taken. Ask after the row of [`Replica::transfer`], or abandon that one and begin anew.
    OutOfOrder,
}

impl Replica {
    /// A page of all rows of a partition in order, of some `bytes_max`, at least one row; the clock
    /// under which they were read; and the last row if there are more.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn whole_page(
        &self,
        partition: PartitionId,
        after: Option<&RowKey>,
        bytes_max: usize,
    ) -> Result<(Vec<KeyedRow>, Clock, Option<RowKey>), StoreError> {
        let part = self.owned_part(partition)?;
        let span = key::all_in(part.rows_at).after(after.map(|row| key::row(part.rows_at, row)));
        let mut page = Page::of_bytes(usize::MAX, bytes_max);
        for found in self.scan(partition, part, &span) {
            let (stored_key, key, mut loaded) = found?;
            loaded.row = part.vouched_row(&stored_key, loaded.row);
            if page.push(key, loaded) == Room::None {
                break;
            }
        }
        let next = page.complete_to();
        Ok((page.rows, part.clock().clone(), next))
    }

    /// Takes a page: joins its rows, read under `context`, into ours, and the empty row into those
    /// of ours that it passes over. If these are many, it takes only the first part of the page, so
    /// that the batch stays bounded; see [`WholeTaken::Taken`].
    ///
    /// In a partition that was distrusted a damaged row of ours is replaced by what came. In any
    /// other it is an error, for the clock has its events, and they would count as removed:
    /// [heal](Self::heal_row) it before.
    ///
    /// A page without `after` begins a transfer. One that is under way is abandoned before, a slice
    /// each time: until that is done, the page is refused.
    ///
    /// A page with `after` continues the transfer, and is refused unless its sender's clock covers
    /// the [context](Self::transfer) of the first page. At the end that context is claimed for all
    /// rows. A sender that lacks an event of it, because it is another owner or because it lost its
    /// disk meanwhile, does not send what the event did; claimed nevertheless, it would read as
    /// removed, here and then everywhere.
    ///
    /// # Errors
    /// [`StoreError`]; nothing was staged of the page.
    pub fn take_whole_page(
        &mut self,
        partition: PartitionId,
        after: Option<&RowKey>,
        rows: &[KeyedRow],
        next: Option<&RowKey>,
        context: &Clock,
    ) -> Result<WholeTaken, StoreError> {
        let rows_at = self.owned_part(partition)?.rows_at;
        let after = after.map(|row| key::row(rows_at, row));
        let next = next.map(|row| key::row(rows_at, row));
        if next.is_some() && next <= after {
            return Ok(WholeTaken::OutOfOrder);
        }
        if after.is_none() && self.abandon_some(partition, SLICE_ROWS)? == Progress::More {
            return Ok(WholeTaken::OutOfOrder);
        }
        let transfer_context = match (&after, self.owned_part(partition)?.transfer()) {
            (None, _) => context.clone(),
            (Some(after), Some(transfer))
                if transfer.is_continued_after(after) && transfer.context.is_subset(context) =>
            {
                transfer.context.clone()
            }
            (Some(_), _) => return Ok(WholeTaken::OutOfOrder),
        };
        let mut span = key::all_in(rows_at).after(after);
        if let Some(last) = &next {
            span = span.up_to(last.clone());
        }

        let empty = Row::new();
        let Slice {
            rows: mut ours,
            cut,
        } = self.load_slice(partition, &span, SLICE_ROWS)?;
        if let Some(last) = &cut {
            span = span.up_to(last.clone());
        }
        let next = cut.or(next);
        let mut theirs: BTreeMap<Bytes, &Row> = BTreeMap::new();
        for sent in rows
            .iter()
            .filter(|sent| self.partition_of(&sent.key) == partition)
        {
            let stored_key = key::row(rows_at, &sent.key);
            if span.contains(&stored_key) {
                ours.entry(stored_key.clone()).or_insert_with(|| Loaded {
                    row: Row::new(),
                    stored: None,
                });
                theirs.insert(stored_key, &sent.row);
            }
        }
        let clock = self.clock(partition);
        let mut new = BTreeMap::new();
        for (stored_key, loaded) in &mut ours {
            let sent = theirs.get(stored_key).copied().unwrap_or(&empty);
            loaded.row.join(clock, sent, context);
            for (dot, _) in sent.cells() {
                if !clock.contains(dot) && !transfer_context.contains(dot) {
                    new.insert((dot.actor, dot.counter), stored_key.clone());
                }
            }
        }
        for ((actor, counter), stored_key) in &new {
            self.claim_and_log(partition, Dot::new(*actor, *counter), stored_key);
        }
        let go_on_after = next.as_ref().and_then(key::parse_row);
        if let Some(part) = self.partitions.get_mut(&partition) {
            let covered = next.map_or(Covered::All, Covered::UpTo);
            part.set_transfer(Some(Transfer {
                covered,
                context: transfer_context,
                given_back: None,
            }));
        }
        let mut rows_changed = 0;
        for (stored_key, loaded) in ours {
            rows_changed += usize::from(self.store(partition, &stored_key, loaded));
        }
        self.stage_record(partition);
        Ok(WholeTaken::Taken {
            rows_changed,
            next: go_on_after,
        })
    }

    /// The transfer under way, over restarts too: the clock of its first page, and the last row that
    /// it has brought; no row if it has come to the end and waits for [`claim`](Self::claim). One
    /// that is being abandoned is none.
    ///
    /// It can be taken up after that row, from any owner whose clock covers that of the first page.
    /// The source of the first page does, whether it or this node was started anew, unless it lost
    /// events with its disk; another owner does only once it was sent all that the source held then.
    /// [`take_whole_page`](Self::take_whole_page) refuses the pages of those that do not.
    pub fn transfer(&self, partition: PartitionId) -> Option<(&Clock, Option<RowKey>)> {
        let transfer = self.partitions.get(&partition)?.transfer()?;
        if transfer.given_back.is_some() {
            return None;
        }
        let last = match &transfer.covered {
            Covered::UpTo(row) => Some(key::parse_row(row)?),
            Covered::All => None,
        };
        Some((&transfer.context, last))
    }

    /// Claims every dot that a row shows, if the partition was distrusted or has a transfer under way.
    pub(super) fn vouch(&mut self, partition: PartitionId) -> Result<(), StoreError> {
        self.abandon_transfer(partition)?;
        if !self
            .partitions
            .get(&partition)
            .is_some_and(Partition::is_unvouched)
        {
            return Ok(());
        }
        let mut span = key::all_in(self.owned_part(partition)?.rows_at);
        loop {
            let Slice { rows, cut } = self.load_slice(partition, &span, SLICE_ROWS)?;
            let mut new = BTreeMap::new();
            for (stored_key, loaded) in rows {
                for (dot, _) in loaded.row.cells() {
                    if !self.clock(partition).contains(dot) {
                        new.insert((dot.actor, dot.counter), stored_key.clone());
                    }
                }
                self.store(partition, &stored_key, loaded);
            }
            for ((actor, counter), stored_key) in new {
                self.claim_and_log(partition, Dot::new(actor, counter), &stored_key);
            }
            if cut.is_none() {
                break;
            }
            span = span.after(cut);
        }
        if let Some(part) = self.partitions.get_mut(&partition) {
            part.mark_vouched();
        }
        self.stage_record(partition);
        Ok(())
    }

    /// Ends a whole transfer: the clock of its first page joins ours. Nothing is claimed unless the
    /// last page was taken and `clock` is that of the first one, or a part of it; returns whether it
    /// was. Who took a transfer up after a restart, and did not see its first page, gives the empty
    /// clock.
    pub fn claim(&mut self, partition: PartitionId, clock: &Clock) -> bool {
        let Some(part) = self.partitions.get_mut(&partition) else {
            return false;
        };
        let Some(transfer) = part.transfer() else {
            return false;
        };
        let ended = transfer.covered == Covered::All && transfer.given_back.is_none();
        if !ended || !clock.is_subset(&transfer.context) {
            return false;
        }
        let context = transfer.context.clone();
        part.set_transfer(None);
        part.claim_all(&context);
        self.stage_record(partition);
        true
    }
}
