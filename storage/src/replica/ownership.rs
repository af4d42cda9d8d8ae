//! Partitions come and go: a node gains one and refills it, hands it over and gives it up, and may
//! gain it again.
//!
//! ```text
//!   gain ──> filling ──mark_whole──> whole ──give_up──> given up ──gain──> filling, in a new epoch
//!                                                          │
//!                                                      drop_some: rows, pending, log, slice by slice
//! ```
//!
//! Everything that a partition stores lies under an epoch, and each gain begins one above all that the
//! partition ever had. So what is still to be deleted and what is held share no key, and a partition can
//! be gained again at once. What remains of one that was given up is a record of ten bytes with its last
//! epoch: after an amnesia, deleted rows may be back.

use std::collections::BTreeSet;

use bytes::Bytes;
use dunlin_ring::PartitionId;

use super::record::{self, PartitionRecord, Standing};
use super::tally::Count;
use super::{Partition, Progress, Replica, StoreError};
use crate::key::{self, Place};
use crate::kv::Keyspace;

/// The keyspaces whose keys begin with a place.
const PLACED: [Keyspace; 3] = [Keyspace::Rows, Keyspace::Pending, Keyspace::Log];

impl Replica {
    /// Holds a partition from now on. If it is held already, nothing changes, be it to be handed over
    /// or not. Else it begins to fill: it is empty, does not count for reads, and will draw an actor
    /// of its own; whatever an earlier time here has left is not met.
    ///
    /// # Errors
    /// [`StoreError::OtherShard`], [`StoreError::Kv`]; nothing was staged.
    pub fn gain(&mut self, partition: PartitionId) -> Result<(), StoreError> {
        if self.owns(self.in_shard(partition)?) {
            return Ok(());
        }
        self.begin(partition)
    }

    /// Forgets a partition: its clock, its actor, and what it stores. It is not held from now on, and
    /// [`drop_some`](Self::drop_some) deletes what is left. Nothing happens if it is not held.
    ///
    /// Let every owner's clock cover this one's before, and nothing be
    /// [unclaimed](Self::has_unclaimed), or writes are lost that only this node holds.
    ///
    /// # Errors
    /// [`StoreError::OtherShard`]; nothing was staged.
    pub fn give_up(&mut self, partition: PartitionId) -> Result<(), StoreError> {
        if let Some(part) = self.partitions.remove(&self.in_shard(partition)?) {
            self.stage_given_up(partition, part.epoch);
            self.leftovers
                .insert(partition, part.epoch.saturating_add(1));
        }
        Ok(())
    }

    /// Whether rows may show events that the clock does not tell of, so that no other owner could ask
    /// for them: a whole transfer is under way, or the partition was distrusted and is not refilled.
    pub fn has_unclaimed(&self, partition: PartitionId) -> bool {
        let part = self.partitions.get(&partition);
        part.is_some_and(|part| part.is_unvouched() || part.transfer().is_some())
    }

    /// Whether the partition was distrusted and has not been marked whole since: its rows may show events that
    /// nobody else has.
    pub fn is_distrusted(&self, partition: PartitionId) -> bool {
        let part = self.partitions.get(&partition);
        part.is_some_and(Partition::is_unvouched)
    }

    /// Deletes up to so many entries of partitions that were given up. It goes on after a restart.
    ///
    /// # Errors
    /// [`StoreError::Kv`]; what was staged so far is sound.
    pub fn drop_some(&mut self, entries_max: usize) -> Result<Progress, StoreError> {
        let mut left = entries_max.max(1);
        while let Some((&partition, &epoch)) = self.leftovers.first_key_value() {
            let span = key::all_before(Place { partition, epoch });
            for keyspace in PLACED {
                let entries = self.overlay.range(keyspace, &span).take(left);
                let keys: Vec<Bytes> = entries
                    .map(|entry| entry.map(|(key, _)| key))
                    .collect::<Result<_, _>>()?;
                left -= keys.len();
                for key in keys {
                    self.overlay.delete(keyspace, key);
                }
                if left == 0 {
                    return Ok(Progress::More);
                }
            }
            self.leftovers.remove(&partition);
        }
        Ok(Progress::Done)
    }

    /// The partitions of which something is still to be deleted, in order; some may be held again.
    pub fn dropping(&self) -> impl Iterator<Item = PartitionId> + '_ {
        self.leftovers.keys().copied()
    }

    /// Begins an empty partition in an epoch above all that it ever had.
    pub(super) fn begin(&mut self, partition: PartitionId) -> Result<(), StoreError> {
        let recorded = self.recorded_epoch(partition)?;
        let mut newest = recorded;
        let from = Place {
            partition,
            epoch: recorded.unwrap_or(0),
        };
        // An amnesia may have lost the record that named it, or brought back what was deleted.
        for keyspace in PLACED {
            newest = newest.max(self.newest_epoch(keyspace, from)?);
        }
        let epoch = newest.map_or(0, |newest| newest.saturating_add(1));
        let record = PartitionRecord {
            epoch,
            rows_epoch: epoch,
            ..Default::default()
        };
        self.note_leftovers(partition, epoch)?;
        let mut part = Partition::new(partition, record, BTreeSet::new());
        (part.rows, part.log) = (Count::exact(0, 0), Count::exact(0, 0));
        self.partitions.insert(partition, part);
        self.stage_record(partition);
        Ok(())
    }

    /// Has everything before an epoch of a partition deleted, if there is anything.
    pub(super) fn note_leftovers(
        &mut self,
        partition: PartitionId,
        epoch: u32,
    ) -> Result<(), StoreError> {
        if epoch == 0 {
            return Ok(());
        }
        let span = key::all_before(Place { partition, epoch });
        for keyspace in PLACED {
            if let Some(entry) = self.overlay.range(keyspace, &span).next() {
                entry?;
                self.leftovers.insert(partition, epoch);
                break;
            }
        }
        Ok(())
    }

    pub(super) fn stage_given_up(&mut self, partition: PartitionId, epoch: u32) {
        let sealed = Standing::GivenUp { epoch }.seal();
        self.overlay
            .put(Keyspace::Clocks, record::partition_key(partition), sealed);
    }
}
