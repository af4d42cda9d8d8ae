//! What a start, or a roll-back, finds in the store: which partitions are held, and their clocks.
//!
//! ```text
//!   record of a partition     the layout says: owned       not owned
//!   held                      goes on                      stays, until it is handed over
//!   given up                  is gained                    what is left is deleted
//!   none, and no rows         held, empty                  nothing
//!   none, but rows            held                         held
//!   damaged                   held, distrusted             held, distrusted
//! ```
//!
//! After an amnesia a record may be older than what lies beside it. Rows in an epoch beyond it prove
//! that the partition was gained since; they may be the only copies, so it counts as held.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::Arc;

use dunlin_crdt::Clock;
use dunlin_ring::PartitionId;

use super::hints::Hints;
use super::overlay::Overlay;
use super::record::{self, CloseRecord, PartitionRecord, Standing};
use super::tally::Count;
use super::{Partition, Replica, ReplicaOptions, StoreError};
use crate::key::{self, Place};
use crate::kv::{Keyspace, Kv, Start};

/// What the store says of a partition.
enum Found {
    Nothing,
    Standing(Standing),
    Damaged,
}

impl Replica {
    /// Opens the shard's part of a store, and stages what the start asks for: commit and sync that
    /// before telling the store that an amnesia was noted.
    ///
    /// Held afterwards is every partition that the store holds, and every one in
    /// [`owned`](ReplicaOptions::owned). After [`Start::Amnesia`] all that the store had are
    /// [distrusted](Self::distrust); after any other start, one whose record is damaged, see
    /// [`distrusted`](Self::distrusted).
    ///
    /// Cost: for each partition of the shard its record, and some seeks if that does not say that it
    /// was always held; for each that is held its pending rows, and one seek for each actor in its
    /// log; one pass over the hints.
    ///
    /// # Errors
    /// [`StoreError`]: the store could not be read.
    pub fn open(
        kv: Arc<dyn Kv>,
        options: ReplicaOptions,
        rng: fastrand::Rng,
    ) -> Result<Self, StoreError> {
        let owned: BTreeSet<PartitionId> = options.owned.into_iter().collect();
        let mut replica = Self {
            count: options.partitions,
            shard: options.shard.into_iter().chain(owned.clone()).collect(),
            overlay: Overlay::new(kv),
            partitions: Default::default(),
            leftovers: Default::default(),
            hints: Hints::new(options.hints_bytes_max),
            rng,
            nothing: Clock::new(),
            checkpointed: None,
            distrusted: Vec::new(),
        };
        let amnesia = matches!(options.start, Start::Amnesia { .. });
        for partition in replica.shard.clone() {
            replica.open_partition(partition, owned.contains(&partition), amnesia)?;
        }
        for partition in replica.distrusted.clone() {
            replica.distrust(partition)?;
        }
        replica.read_close_records(&options.start)?;
        // After the close records, for none of them is about what is gained now.
        for partition in owned {
            replica.gain(partition)?;
        }
        replica.load_hints()?;
        Ok(replica)
    }

    /// Says that a batch was refused: forgets everything staged or in flight and returns to what
    /// the store holds. Batches taken before must not be committed any more.
    ///
    /// Actors are forgotten, for they no longer hold all that they minted, and counts start anew.
    /// What is held does not change: a partition whose gain was refused is gained once more, and one
    /// whose giving up was refused is given up once more; commit what is staged then.
    ///
    /// # Errors
    /// [`StoreError`]: the store could not be read; drop the replica and open it again.
    pub fn roll_back(&mut self) -> Result<(), StoreError> {
        self.overlay.roll_back();
        self.leftovers.clear();
        for partition in self.shard.clone() {
            let before = self.partitions.remove(&partition);
            match (before, self.find(partition)?) {
                (Some(before), found) => self.return_to(partition, before, found)?,
                (None, Found::Standing(standing)) => {
                    let epoch = standing.epoch();
                    if matches!(standing, Standing::Held(_)) {
                        self.stage_given_up(partition, epoch);
                    }
                    self.note_leftovers(partition, epoch.saturating_add(1))?;
                }
                (None, Found::Nothing | Found::Damaged) => {}
            }
        }
        // The batch that deleted them may be the one that was refused.
        self.read_close_records(&Start::Unclean)?;
        self.load_hints()
    }

    fn open_partition(
        &mut self,
        partition: PartitionId,
        owned: bool,
        amnesia: bool,
    ) -> Result<(), StoreError> {
        let found = self.find(partition)?;
        let doubted = amnesia || matches!(found, Found::Damaged);
        let recorded = matches!(found, Found::Standing(_));
        let rows_in = if doubted || !recorded {
            let from = Place {
                partition,
                epoch: 0,
            };
            self.newest_epoch(Keyspace::Rows, from)?
        } else {
            None
        };
        let mut record = match found {
            Found::Standing(Standing::GivenUp { epoch }) if rows_in <= Some(epoch) => {
                return self.note_leftovers(partition, epoch.saturating_add(1));
            }
            Found::Nothing if !owned && rows_in.is_none() => return Ok(()),
            Found::Standing(Standing::Held(record)) => record,
            Found::Standing(Standing::GivenUp { .. }) | Found::Nothing | Found::Damaged => {
                PartitionRecord::default()
            }
        };
        if let Some(epoch) = rows_in {
            record.rows_epoch = record.rows_epoch.max(epoch);
            record.epoch = record.epoch.max(epoch);
        }
        self.load_partition(partition, record)?;
        if !recorded {
            // From now on the store knows of it, also when the layout does not any more.
            self.stage_record(partition);
        }
        if doubted {
            self.distrusted.push(partition);
        }
        Ok(())
    }

    /// Takes a partition that is held back to what the store says.
    fn return_to(
        &mut self,
        partition: PartitionId,
        before: Partition,
        found: Found,
    ) -> Result<(), StoreError> {
        let rows_epoch = before.rows_at.epoch;
        match found {
            Found::Standing(Standing::Held(record)) if record.rows_epoch == rows_epoch => {
                self.load_partition(partition, record)?;
            }
            // Its first record was refused. It may have rows: a store of the first version, whose
            // layout never changed, had records only now and then.
            Found::Nothing if rows_epoch == 0 => {
                self.load_partition(partition, PartitionRecord::default())?;
                self.stage_record(partition);
            }
            Found::Damaged => {
                let record = PartitionRecord {
                    epoch: before.epoch,
                    rows_epoch,
                    ..Default::default()
                };
                self.load_partition(partition, record)?;
                self.distrust(partition)?;
            }
            // The store does not know that it was gained.
            Found::Nothing | Found::Standing(_) => self.begin(partition)?,
        }
        if let Some(after) = self.partitions.get_mut(&partition) {
            after.peers = before.peers;
        }
        Ok(())
    }

    fn find(&self, partition: PartitionId) -> Result<Found, StoreError> {
        let stored = self
            .overlay
            .get(Keyspace::Clocks, &record::partition_key(partition))?;
        Ok(match stored.map(|sealed| Standing::unseal(&sealed)) {
            None => Found::Nothing,
            Some(None) => Found::Damaged,
            Some(Some(standing)) => Found::Standing(standing),
        })
    }

    /// The last epoch that the record of a partition knows, if there is one that can be read.
    pub(super) fn recorded_epoch(&self, partition: PartitionId) -> Result<Option<u32>, StoreError> {
        Ok(match self.find(partition)? {
            Found::Standing(standing) => Some(standing.epoch()),
            Found::Nothing | Found::Damaged => None,
        })
    }

    /// The newest epoch from this one on under which a keyspace has anything of a partition.
    ///
    /// Cost: one seek for each epoch that is found.
    pub(super) fn newest_epoch(
        &self,
        keyspace: Keyspace,
        mut from: Place,
    ) -> Result<Option<u32>, StoreError> {
        let partition = from.partition;
        let mut newest = None;
        while let Some(entry) = self.overlay.range(keyspace, &key::all_since(from)).next() {
            let epoch = key::parse_epoch(&entry?.0).ok_or(StoreError::CorruptKey { partition })?;
            newest = Some(epoch);
            match epoch.checked_add(1) {
                Some(next) => from.epoch = next,
                None => break,
            }
        }
        Ok(newest)
    }

    /// Holds a partition as its record and its log say.
    fn load_partition(
        &mut self,
        partition: PartitionId,
        mut record: PartitionRecord,
    ) -> Result<(), StoreError> {
        let mut pending = BTreeSet::new();
        let rows_at = Place {
            partition,
            epoch: record.rows_epoch,
        };
        for entry in self.overlay.range(Keyspace::Pending, &key::all_in(rows_at)) {
            pending.insert(entry?.0);
        }
        let logged = self.logged_beyond(partition, &record)?;
        record.clock.join(&logged);
        let mut part = Partition::new(partition, record, pending);
        if !logged.is_empty() {
            part.mark_dirty();
        }
        self.partitions.insert(partition, part);
        self.note_leftovers(partition, rows_at.epoch)
    }

    /// The dots that the log has and the stored clock lacks. Skips from actor to actor, and over
    /// what the clock covers.
    fn logged_beyond(
        &self,
        partition: PartitionId,
        record: &PartitionRecord,
    ) -> Result<Clock, StoreError> {
        let epoch = record.epoch;
        let all = key::all_in(Place { partition, epoch });
        let mut logged = Clock::new();
        let mut from = all.from.clone();
        loop {
            let mut skip = None;
            for entry in self
                .overlay
                .range(Keyspace::Log, &all.clone().narrowed(from.clone()))
            {
                let (stored, _) = entry?;
                let dot = key::parse_log(&stored).ok_or(StoreError::CorruptKey { partition })?;
                let covered = record.clock.contiguous(dot.actor);
                if dot.counter <= covered {
                    let last = key::log(partition, epoch, dot.actor, covered);
                    skip = Some(Bound::Excluded(last));
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
                part.closed_actor = close.actor;
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
