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

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use dunlin_crdt::{Clock, Dot, Row};
use dunlin_protocol::RowKey;
use dunlin_protocol::peer::KeyedRow;
use dunlin_ring::PartitionId;

use super::partition::{Covered, Transfer};
use super::repair::{Page, Room};
use super::rows::Loaded;
use super::{Partition, Replica, StoreError};
use crate::key;
use crate::kv::Keyspace;

/// What became of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WholeTaken {
    /// It was taken, and staged.
    Taken {
        /// How many of our rows changed.
        rows_changed: usize,
    },
    /// It does not continue the transfer: another page came before it, or its sender knows less than
    /// the sender of the first page. Nothing was staged; ask from the beginning, or after
    /// [`Replica::transferred_to`].
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
        let span = key::rows_of(partition).after(after.map(|row| key::row(partition, row)));
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
    /// of ours that it passes over. A damaged row of ours is replaced by what came.
    ///
    /// A page without `after` begins a transfer, in place of one that is under way.
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
        let after = after.map(|row| key::row(partition, row));
        let continued = self
            .owned_part(partition)?
            .transfer()
            .filter(|_| after.is_some());
        let transfer_context = match (&after, continued) {
            (None, _) => {
                self.abandon_transfer(partition)?;
                context.clone()
            }
            (Some(after), Some(transfer))
                if transfer.covered == Covered::UpTo(after.clone())
                    && transfer.context.is_subset(context) =>
            {
                transfer.context.clone()
            }
            (Some(_), _) => return Ok(WholeTaken::OutOfOrder),
        };
        let next = next.map(|row| key::row(partition, row));
        let mut span = key::rows_of(partition).after(after);
        if let Some(last) = &next {
            span = span.up_to(last.clone());
        }

        let empty = Row::new();
        let mut ours = self.load_damaged_too(partition, &span)?;
        let mut theirs: BTreeMap<Bytes, &Row> = BTreeMap::new();
        for sent in rows
            .iter()
            .filter(|sent| self.partition_of(&sent.key) == partition)
        {
            let stored_key = key::row(partition, &sent.key);
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
        if let Some(part) = self.partitions.get_mut(&partition) {
            let covered = next.map_or(Covered::All, Covered::UpTo);
            part.set_transfer(Some(Transfer {
                covered,
                context: transfer_context,
            }));
        }
        let mut rows_changed = 0;
        for (stored_key, loaded) in ours {
            rows_changed += usize::from(self.store(partition, &stored_key, loaded));
        }
        self.stage_record(partition);
        Ok(WholeTaken::Taken { rows_changed })
    }

    /// The row up to which a transfer under way has come: it can be taken up after it. `None` if
    /// none is, or if it has come to the end.
    pub fn transferred_to(&self, partition: PartitionId) -> Option<RowKey> {
        match &self.partitions.get(&partition)?.transfer()?.covered {
            Covered::UpTo(row) => key::parse_row(row),
            Covered::All => None,
        }
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
        let rows = self.load_damaged_too(partition, &key::rows_of(partition))?;
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
        if transfer.covered != Covered::All || !clock.is_subset(&transfer.context) {
            return false;
        }
        let context = transfer.context.clone();
        part.set_transfer(None);
        part.claim_all(&context);
        self.stage_record(partition);
        true
    }

    /// Gives up a transfer, if one is under way, but nothing that it brought: the rows get their
    /// context back, and their dots are claimed one by one. For one that will not be taken up again:
    /// until then, no clock tells of what only it has brought.
    ///
    /// Cost: every row that the transfer covered is read and written, in one batch.
    ///
    /// # Errors
    /// [`StoreError`]; nothing was staged.
    pub fn abandon_transfer(&mut self, partition: PartitionId) -> Result<(), StoreError> {
        let Some(transfer) = self.owned_part(partition)?.transfer().cloned() else {
            return Ok(());
        };
        let mut span = key::rows_of(partition);
        if let Covered::UpTo(last) = &transfer.covered {
            span = span.up_to(last.clone());
        }
        let rows = self.load_damaged_too(partition, &span)?;
        if let Some(part) = self.partitions.get_mut(&partition) {
            part.set_transfer(None);
        }
        let mut new = BTreeMap::new();
        for (stored_key, loaded) in rows {
            for (dot, _) in loaded.row.cells() {
                if transfer.context.contains(dot) && !self.clock(partition).contains(dot) {
                    new.insert((dot.actor, dot.counter), stored_key.clone());
                }
            }
            // Before their dots are claimed: so their pasts are the context less a clock in one
            // piece, and not less one in thousands.
            self.store(partition, &stored_key, loaded);
        }
        for ((actor, counter), stored_key) in new {
            self.claim_and_log(partition, Dot::new(actor, counter), &stored_key);
        }
        self.stage_record(partition);
        Ok(())
    }

    /// Our rows of a span; one that is damaged counts as empty, as its data is lost here. So do
    /// pending entries without a row.
    fn load_damaged_too(
        &self,
        partition: PartitionId,
        span: &key::Span,
    ) -> Result<BTreeMap<Bytes, Loaded>, StoreError> {
        let part = self.owned_part(partition)?;
        let mut keys = BTreeSet::new();
        for entry in self.overlay.range(Keyspace::Rows, span) {
            keys.insert(entry?.0);
        }
        keys.extend(
            part.pending
                .iter()
                .filter(|key| span.contains(key))
                .cloned(),
        );
        let mut rows = BTreeMap::new();
        for stored_key in keys {
            let loaded = match self.load(partition, part, &stored_key) {
                Err(StoreError::CorruptRow { .. } | StoreError::CorruptKey { .. }) => Loaded {
                    row: Row::new(),
                    stored: self.overlay.get(Keyspace::Rows, &stored_key)?,
                },
                other => other?,
            };
            rows.insert(stored_key, loaded);
        }
        Ok(rows)
    }
}
