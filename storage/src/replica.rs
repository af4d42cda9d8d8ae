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

mod check;
mod digest;
mod error;
mod hints;
mod overlay;
mod partition;
mod record;
mod repair;
mod rows;
mod tally;
mod upkeep;
mod whole;
mod write;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use dunlin_crdt::Clock;
use dunlin_protocol::RowKey;
use dunlin_ring::{PartitionCount, PartitionId};

pub use digest::PartitionDigest;
pub use error::{HintRefused, StoreError, WriteError};
pub use overlay::BatchId;
pub use repair::{Horizon, Missing, RangeDiff};
pub use tally::Tally;
pub use whole::WholeTaken;
pub use write::{CellMeta, RowChange, Taken};

use crate::key;
use crate::kv::{Batch, Keyspace, Kv, Start};
use hints::Hints;
use overlay::Overlay;
use partition::Partition;
use record::{CloseRecord, PartitionRecord};
use tally::Count;

/// What a replica is opened with.
#[derive(Clone, Debug)]
pub struct ReplicaOptions {
    /// Q of the cluster.
    pub partitions: PartitionCount,
    /// The partitions that the node owns, of this shard's.
    pub owned: Vec<PartitionId>,
    /// All partitions of this shard: hints are kept for any of them.
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

/// Whether a partition's record could be read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Health {
    Sound,
    Damaged,
}

/// What one shard of a node keeps; see the module.
pub struct Replica {
    count: PartitionCount,
    shard: BTreeSet<PartitionId>,
    overlay: Overlay,
    /// The owned ones.
    partitions: BTreeMap<PartitionId, Partition>,
    hints: Hints,
    rng: fastrand::Rng,
    /// The clock of partitions that are not owned.
    nothing: Clock,
    /// Which partition was checkpointed last.
    checkpointed: Option<PartitionId>,
    /// Which partitions were distrusted when it was opened.
    distrusted: Vec<PartitionId>,
}

impl Replica {
    /// Opens the shard's part of a store, and stages what the start asks for: commit and sync that
    /// before telling the store that an amnesia was noted.
    ///
    /// After [`Start::Amnesia`] every partition is [distrusted](Self::distrust); after any other
    /// start, one whose record is damaged, see [`distrusted`](Self::distrusted).
    ///
    /// Cost: for each owned partition its record, its pending rows, and one seek for each actor in
    /// its log; one pass over the hints.
    ///
    /// # Errors
    /// [`StoreError`]: the store could not be read.
    pub fn open(
        kv: Arc<dyn Kv>,
        options: ReplicaOptions,
        rng: fastrand::Rng,
    ) -> Result<Self, StoreError> {
        let mut replica = Self {
            count: options.partitions,
            shard: options
                .shard
                .into_iter()
                .chain(options.owned.iter().copied())
                .collect(),
            overlay: Overlay::new(kv),
            partitions: BTreeMap::new(),
            hints: Hints::new(options.hints_bytes_max),
            rng,
            nothing: Clock::new(),
            checkpointed: None,
            distrusted: Vec::new(),
        };
        for partition in options.owned {
            let (part, health) = replica.load_partition(partition)?;
            replica.partitions.insert(partition, part);
            if health == Health::Damaged {
                replica.distrusted.push(partition);
            }
        }
        if matches!(options.start, Start::Amnesia { .. }) {
            replica.distrusted = replica.partitions.keys().copied().collect();
        }
        for partition in replica.distrusted.clone() {
            replica.distrust(partition)?;
        }
        replica.read_close_records(&options.start)?;
        replica.load_hints()?;
        Ok(replica)
    }

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

    /// Says that a batch was refused: forgets everything staged or in flight and returns to what
    /// the store holds. Batches taken before must not be committed any more.
    ///
    /// Actors are forgotten, for they no longer hold all that they minted, and counts start anew.
    ///
    /// # Errors
    /// [`StoreError`]: the store could not be read; drop the replica and open it again.
    pub fn roll_back(&mut self) -> Result<(), StoreError> {
        self.overlay.roll_back();
        let owned: Vec<PartitionId> = self.owned().collect();
        for partition in owned {
            let (mut after, health) = self.load_partition(partition)?;
            if let Some(before) = self.partitions.get_mut(&partition) {
                after.peers = std::mem::take(&mut before.peers);
                *before = after;
            }
            if health == Health::Damaged {
                self.distrust(partition)?;
            }
        }
        self.load_hints()
    }

    /// Whether the partition is owned here.
    pub fn owns(&self, partition: PartitionId) -> bool {
        self.partitions.contains_key(&partition)
    }

    /// The owned partitions, in order.
    pub fn owned(&self) -> impl Iterator<Item = PartitionId> + '_ {
        self.partitions.keys().copied()
    }

    /// The partition of a row.
    pub fn partition_of(&self, key: &RowKey) -> PartitionId {
        key.partition(self.count)
    }

    /// The clock of a partition: every dot whose effect is held. Empty for one that is not owned.
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

    /// Says that the partition may lack what its owners hold: it was regained, and refills.
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
    /// [`StoreError::Kv`]; nothing was changed. Nothing happens to a partition that is not owned.
    pub fn distrust(&mut self, partition: PartitionId) -> Result<(), StoreError> {
        let Some(before) = self.partitions.get(&partition) else {
            return Ok(());
        };
        // The record that named the newest epoch may be lost too, so the log itself is asked.
        let mut epoch = before.epoch;
        while let Some(entry) = self
            .overlay
            .range(Keyspace::Log, &key::log_since(partition, epoch))
            .next()
        {
            let (found, _) =
                key::parse_log(&entry?.0).ok_or(StoreError::CorruptKey { partition })?;
            epoch = found.saturating_add(1);
        }
        self.forget_pasts(partition)?;
        if let Some(before) = self.partitions.get_mut(&partition) {
            let record = PartitionRecord {
                epoch: epoch.max(before.epoch + 1),
                unvouched: true,
                ..Default::default()
            };
            let mut after = Partition::new(record, std::mem::take(&mut before.pending));
            after.rows = before.rows.clone();
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

    /// A partition as the store has it. If its record is damaged, nothing is believed but its rows.
    fn load_partition(&self, partition: PartitionId) -> Result<(Partition, Health), StoreError> {
        let mut pending = BTreeSet::new();
        for entry in self
            .overlay
            .range(Keyspace::Pending, &key::rows_of(partition))
        {
            pending.insert(entry?.0);
        }
        let stored = self
            .overlay
            .get(Keyspace::Clocks, &record::partition_key(partition))?;
        let record = match stored {
            None => Some(PartitionRecord::default()),
            Some(sealed) => PartitionRecord::unseal(&sealed),
        };
        let Some(mut record) = record else {
            return Ok((
                Partition::new(PartitionRecord::default(), pending),
                Health::Damaged,
            ));
        };
        let logged = self.logged_beyond(partition, &record)?;
        record.clock.join(&logged);
        let mut part = Partition::new(record, pending);
        if !logged.is_empty() {
            part.mark_dirty();
        }
        Ok((part, Health::Sound))
    }

    /// The dots that the log has and the stored clock lacks. Skips from actor to actor, and over
    /// what the clock covers.
    fn logged_beyond(
        &self,
        partition: PartitionId,
        record: &PartitionRecord,
    ) -> Result<Clock, StoreError> {
        let all = key::log_in(partition, record.epoch);
        let mut logged = Clock::new();
        let mut from = all.from.clone();
        loop {
            let mut skip = None;
            for entry in self
                .overlay
                .range(Keyspace::Log, &all.clone().narrowed(from.clone()))
            {
                let (stored, _) = entry?;
                let (_, dot) =
                    key::parse_log(&stored).ok_or(StoreError::CorruptKey { partition })?;
                let covered = record.clock.contiguous(dot.actor);
                if dot.counter <= covered {
                    let last = key::log(partition, record.epoch, dot.actor, covered);
                    skip = Some(std::ops::Bound::Excluded(last));
                    break;
                }
                if !record.clock.contains(&dot) {
                    logged.add(dot);
                }
            }
            match skip {
                Some(next) => from = next,
                None => return Ok(logged),
            }
        }
    }

    /// Takes over what a clean close promised, and sees to it that no later start does so too.
    fn read_close_records(&mut self, start: &Start) -> Result<(), StoreError> {
        if *start == Start::Blank {
            for part in self.partitions.values_mut() {
                (part.rows, part.log) = (Count::exact(0, 0), Count::exact(0, 0));
            }
        }
        for partition in self.shard.clone() {
            let key = record::close_key(partition);
            let Some(sealed) = self.overlay.get(Keyspace::Meta, &key)? else {
                continue;
            };
            if let (Start::Clean, Some(part), Some(close)) = (
                start,
                self.partitions.get_mut(&partition),
                CloseRecord::unseal(&sealed),
            ) {
                part.actor = close.actor;
                if let Some(counts) = close.counts {
                    part.rows = Count::exact(counts.rows, counts.row_bytes);
                    part.log = Count::exact(counts.log_entries, counts.log_bytes);
                }
            }
            // Invariant: an actor that mints again must not be found by a later clean start that
            // follows an unclean one. Batches are in order, so any later close record comes after
            // this deletion.
            self.overlay.delete(Keyspace::Meta, key);
        }
        Ok(())
    }
}
