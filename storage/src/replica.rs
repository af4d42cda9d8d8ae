//! What one shard of a node keeps: the rows, clocks, logs and hints of its partitions.
//!
//! ```text
//!   write, take, take_rows ... ──> staged ──take_staged──> the node's one writer ──> Kv
//!                                    │                            │
//!   row, rows, missing ... <── overlay, Kv        committed <─────┴──> roll_back (it was refused)
//! ```
//!
//! A replica is pure and synchronous. It never commits: it stages, sees what it staged at once, and
//! is told when the writer has committed it, in order. A row and its log entry are always in one
//! batch, and the clock is what its stored record and the log say; so whichever batches survive a
//! crash, clock and rows agree.
//!
//! Three rules from `crdt` are kept here: *a row is never stored or sent without its context*; *a
//! clock grows only with the rows that its new dots touched*; *an actor holds every event that it
//! ever minted*. Hence an actor is forgotten whenever something it minted may be: at every start but
//! a clean one, and at a roll-back.
//!
//! Source: Gonçalves, Almeida, Baquero, Fonte, *DottedDB* (SRDS 2017), sections 4 and 5.

mod abandon;
mod check;
mod digest;
mod error;
mod heal;
mod hints;
mod load;
mod overlay;
mod ownership;
mod partition;
mod record;
mod repair;
mod rows;
mod scrub;
mod seen;
mod tally;
mod upkeep;
mod whole;
mod write;

use std::collections::{BTreeMap, BTreeSet};

use dunlin_crdt::Clock;
use dunlin_protocol::RowKey;
use dunlin_ring::{PartitionCount, PartitionId};

pub use digest::PartitionDigest;
pub use error::{HintRefused, StoreError, WriteError};
pub use heal::Healed;
pub use overlay::BatchId;
pub use repair::{Horizon, Missing, RangeDiff};
pub use scrub::ScrubSlice;
pub use tally::Tally;
pub use whole::WholeTaken;
pub use write::{CellMeta, RowChange, Taken};

use crate::kv::{Batch, Keyspace, Start};
use hints::Hints;
use overlay::Overlay;
use partition::Partition;
use record::PartitionRecord;
use tally::Count;

/// What a replica is opened with.
#[derive(Clone, Debug)]
pub struct ReplicaOptions {
    /// Q of the cluster.
    pub partitions: PartitionCount,
    /// The partitions that the node owns, of this shard's. Those that the store does not hold are
    /// gained; those that it holds beside them stay, for they may still have to be handed over.
    pub owned: Vec<PartitionId>,
    /// All partitions of this shard: it looks for any of them in the store, and keeps hints for any.
    pub shard: Vec<PartitionId>,
    /// What the store remembers.
    pub start: Start,
    /// How much the hints of this shard may take, keys and values.
    pub hints_bytes_max: u64,
}

/// Whether a task that is done in slices has come to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Nothing is left.
    Done,
    /// Call again.
    More,
}

/// What one shard of a node keeps; see the module.
pub struct Replica {
    count: PartitionCount,
    shard: BTreeSet<PartitionId>,
    overlay: Overlay,
    /// Those that are held.
    partitions: BTreeMap<PartitionId, Partition>,
    /// What is left of partitions that were given up, held again or not: all that lies before this
    /// epoch. Invariant: nothing that is held lies before it.
    leftovers: BTreeMap<PartitionId, u32>,
    hints: Hints,
    rng: fastrand::Rng,
    /// The clock of partitions that are not held.
    nothing: Clock,
    /// Which partition was checkpointed last.
    checkpointed: Option<PartitionId>,
    /// Which partitions were distrusted when it was opened.
    distrusted: Vec<PartitionId>,
}

impl Replica {
    /// The partitions that were distrusted when the replica was opened: tell the operator, and
    /// refill them.
    pub fn distrusted(&self) -> &[PartitionId] {
        &self.distrusted
    }

    /// Ends the batch that is being staged, if anything was staged. Batches must be committed in
    /// order, by one writer, none left out.
    pub fn take_staged(&mut self) -> Option<(BatchId, Batch)> {
        self.overlay.take_staged()
    }

    /// Says that this batch and all before it are committed. Ignored for batches of a generation
    /// that was rolled back.
    pub fn committed(&mut self, id: BatchId) {
        self.overlay.committed(id);
    }

    /// How often it was rolled back: batches of an earlier generation are void.
    pub fn generation(&self) -> u32 {
        self.overlay.generation()
    }

    /// Says that this store is not an older state of itself, as far as anybody remembers: after a clean
    /// start the actors of before mint again. Until then new ones do, for a store that came back from a
    /// backup of its whole machine looks as if it had just been closed in order.
    pub fn resume_actors(&mut self) {
        for part in self.partitions.values_mut() {
            let closed = part.closed_actor.take();
            part.actor = part.actor.or(closed);
        }
    }

    /// Whether the partition is of this shard.
    pub fn is_in_shard(&self, partition: PartitionId) -> bool {
        self.shard.contains(&partition)
    }

    /// Whether the partition is held: owned, or still to be handed over. See [`gain`](Self::gain)
    /// and [`give_up`](Self::give_up).
    pub fn owns(&self, partition: PartitionId) -> bool {
        self.partitions.contains_key(&partition)
    }

    /// The partitions that are held, in order.
    pub fn owned(&self) -> impl Iterator<Item = PartitionId> + '_ {
        self.partitions.keys().copied()
    }

    /// The partition of a row.
    pub fn partition_of(&self, key: &RowKey) -> PartitionId {
        key.partition(self.count)
    }

    /// The clock of a partition: every dot whose effect is held. Empty for one that is not held.
    pub fn clock(&self, partition: PartitionId) -> &Clock {
        self.partitions
            .get(&partition)
            .map_or(&self.nothing, Partition::clock)
    }

    /// Whether the partition counts for reads: it was marked whole, and was not distrusted since. A
    /// partition that was never marked is not, over restarts too.
    pub fn is_whole(&self, partition: PartitionId) -> bool {
        self.partitions
            .get(&partition)
            .is_some_and(Partition::is_whole)
    }

    /// Says that the partition holds what its owners hold, or that there was nothing to refill. One
    /// that was distrusted claims now what else its rows show: let everything be pulled from every
    /// co-owner before, so that this is only what nobody else has.
    ///
    /// Cost: nothing, but for a partition that was distrusted a pass over its rows. If that fails to
    /// read the store, the partition is not whole.
    pub fn mark_whole(&mut self, partition: PartitionId) {
        let vouched = self.vouch(partition);
        if let (Ok(()), Some(part)) = (vouched, self.partitions.get_mut(&partition)) {
            part.mark_whole();
            self.stage_record(partition);
        }
    }

    /// Says that the partition may lack what its owners hold, and refills.
    pub fn mark_filling(&mut self, partition: PartitionId) {
        if let Some(part) = self.partitions.get_mut(&partition) {
            part.mark_filling();
            self.stage_record(partition);
        }
    }

    /// Gives up what is believed of a partition: its clock is empty and its log unread from now on,
    /// and it is not whole. Rows stay, and meet those of the peers when it is refilled; a damaged row
    /// counts as no row until then.
    ///
    /// For damage: a clock must not be believed about rows that may be gone, or their absence would
    /// count as their removal.
    ///
    /// # Errors
    /// [`StoreError::Kv`]; nothing was changed. Nothing happens to a partition that is not held.
    pub fn distrust(&mut self, partition: PartitionId) -> Result<(), StoreError> {
        let Some(before) = self.partitions.get(&partition) else {
            return Ok(());
        };
        // The record that named the newest epoch may be lost too, so the log itself is asked.
        let log_at = before.log_at();
        let newest = self
            .newest_epoch(Keyspace::Log, log_at)?
            .unwrap_or(log_at.epoch);
        self.forget_pasts(partition)?;
        if let Some(before) = self.partitions.get_mut(&partition) {
            let record = PartitionRecord {
                epoch: newest.saturating_add(1),
                rows_epoch: before.rows_at.epoch,
                unvouched: true,
                ..Default::default()
            };
            let mut after = Partition::new(partition, record, std::mem::take(&mut before.pending));
            // Rows are counted anew: whatever gave cause for distrust may have changed them.
            after.log = Count::exact(0, 0);
            *before = after;
            self.stage_record(partition);
        }
        Ok(())
    }

    /// Rows forget what they know to be superseded. It came with events that the clock is about to
    /// forget, so no co-owner would ever ask for it; and they would differ for ever in rows whose
    /// clocks are equal.
    fn forget_pasts(&mut self, partition: PartitionId) -> Result<(), StoreError> {
        let pending: Vec<_> = self
            .owned_part(partition)?
            .pending
            .iter()
            .cloned()
            .collect();
        for stored_key in pending {
            match self.load(partition, self.owned_part(partition)?, &stored_key) {
                Ok(mut loaded) => {
                    let past = loaded.row.past().clone();
                    loaded.row.strip(&past);
                    self.store(partition, &stored_key, loaded);
                }
                // It counts as no row from now on.
                Err(StoreError::CorruptRow { .. } | StoreError::CorruptKey { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn owned_part(&self, partition: PartitionId) -> Result<&Partition, StoreError> {
        self.partitions
            .get(&partition)
            .ok_or(StoreError::NotOwned(partition))
    }

    fn stage_record(&mut self, partition: PartitionId) {
        if let Some(part) = self.partitions.get_mut(&partition) {
            let sealed = part.record().seal();
            self.overlay
                .put(Keyspace::Clocks, record::partition_key(partition), sealed);
        }
    }
}
