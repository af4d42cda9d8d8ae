//! What each disk has synced, in the terms of the checkers: which events survive what.
//!
//! The batches that go to a disk are read from outside, by their stored form: an independent view of
//! what the replica says. Two things are kept apart, because a disk that lost its memory keeps cells
//! while it forgets what it knew to be superseded:
//!
//! ```text
//!   claims      the clock of each partition: event held, and all that it replaces gone
//!   survivors   cells found on a disk after it forgot; their events are held, nothing else is known
//! ```

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use dunlin_crdt::{ActorId, Clock, Dot, Row};
use dunlin_ring::{NodeId, PartitionId};
use dunlin_storage::{Batch, Keyspace, Kv, MemoryKv};

use crate::ledger::Name;

/// The flag of a partition that was given up.
const GIVEN_UP: u8 = 8;
/// The flag of a partition whose rows lie under an epoch of their own, which is stored beside it.
const ROWS_EPOCH: u8 = 16;

/// What one batch says about events.
#[derive(Clone, Debug, Default)]
pub(crate) struct Footprint {
    logged: Vec<(PartitionId, u32, Dot)>,
    unlogged: Vec<(PartitionId, u32, Dot)>,
    records: Vec<(PartitionId, u32, Clock)>,
    given_up: Vec<PartitionId>,
    hints: Vec<(NodeId, Dot)>,
    hints_gone: Vec<(NodeId, Dot)>,
}

impl Footprint {
    pub(crate) fn of(batch: &Batch) -> Self {
        let mut footprint = Self::default();
        for (keyspace, key, value) in batch.iter() {
            match (keyspace, value) {
                (Keyspace::Log, Some(_)) => footprint.logged.extend(log_key(key)),
                (Keyspace::Log, None) => footprint.unlogged.extend(log_key(key)),
                (Keyspace::Clocks, Some(value)) if value.get(1) == Some(&GIVEN_UP) => {
                    footprint.given_up.extend(partition_at(key));
                }
                (Keyspace::Clocks, Some(value)) => footprint.records.extend(record(key, value)),
                (Keyspace::Hints, Some(_)) => footprint.hints.extend(hint_key(key)),
                (Keyspace::Hints, None) => footprint.hints_gone.extend(hint_key(key)),
                _ => {}
            }
        }
        footprint
    }

    /// The partitions that are not held any more.
    pub(crate) fn given_up(&self) -> &[PartitionId] {
        &self.given_up
    }

    /// The hints that it throws away, each with the node that it was for.
    pub(crate) fn hints_gone(&self) -> &[(NodeId, Dot)] {
        &self.hints_gone
    }

    /// The epoch of a partition's log from this batch on, if it says so.
    fn epoch(&self, partition: PartitionId) -> Option<u32> {
        let mut of = self.records.iter().filter(|(p, ..)| *p == partition);
        of.next_back().map(|(_, epoch, _)| *epoch)
    }

    /// The events that it brings, each as an owner's copy or as a hint for someone.
    pub(crate) fn copies(&self) -> impl Iterator<Item = (Dot, Option<NodeId>)> + '_ {
        let logged = self.logged.iter().map(|(_, _, dot)| (*dot, None));
        logged.chain(self.hints.iter().map(|(owner, dot)| (*dot, Some(*owner))))
    }
}

/// What one disk would still know after a loss of power.
#[derive(Clone, Debug, Default)]
pub(crate) struct Durable {
    claims: BTreeMap<PartitionId, (u32, Clock)>,
    hints: BTreeSet<(Name, NodeId)>,
    survivors: BTreeSet<Name>,
    unsynced: Vec<Footprint>,
}

impl Durable {
    /// A batch was committed.
    pub(crate) fn written(&mut self, footprint: Footprint) {
        self.unsynced.push(footprint);
    }

    /// The log entries that a batch deletes and that were believed until then: not those of an epoch that has
    /// ended.
    pub(crate) fn forgets(&self, footprint: &Footprint) -> Vec<(PartitionId, Dot)> {
        let believed = |(partition, epoch, _): &&(PartitionId, u32, Dot)| {
            let later = self.unsynced.iter().chain([footprint]).rev();
            let later = later.into_iter().find_map(|batch| batch.epoch(*partition));
            let settled = || self.claims.get(partition).map(|(epoch, _)| *epoch);
            later.or_else(settled) == Some(*epoch)
        };
        let forgotten = footprint.unlogged.iter().filter(believed);
        forgotten
            .map(|(partition, _, dot)| (*partition, *dot))
            .collect()
    }

    /// What a backup has of it: all that is synced.
    pub(crate) fn backup(&self) -> Self {
        Self {
            unsynced: Vec::new(),
            ..self.clone()
        }
    }

    /// Everything committed is synced. Returns the copies that came with it.
    pub(crate) fn synced(&mut self) -> Vec<(Dot, Option<NodeId>)> {
        self.crashed(usize::MAX)
    }

    /// The oldest `kept` unsynced batches are on the disk, the others never will be.
    pub(crate) fn crashed(&mut self, kept: usize) -> Vec<(Dot, Option<NodeId>)> {
        let mut copies = Vec::new();
        for footprint in std::mem::take(&mut self.unsynced).into_iter().take(kept) {
            copies.extend(footprint.copies());
            self.settle(footprint);
        }
        copies
    }

    fn settle(&mut self, footprint: Footprint) {
        for (partition, epoch, clock) in footprint.records {
            let held = self.claims.entry(partition).or_default();
            if held.0 == epoch {
                held.1.join(&clock)
            } else {
                *held = (epoch, clock)
            }
        }
        for (partition, epoch, dot) in footprint.logged {
            let held = self.claims.entry(partition).or_default();
            if held.0 == epoch {
                held.1.add(dot);
            }
        }
        for partition in footprint.given_up {
            self.claims.remove(&partition);
        }
        let named = |(owner, dot): (NodeId, Dot)| (Name::of(&dot), owner);
        self.hints.extend(footprint.hints.into_iter().map(named));
        for gone in footprint.hints_gone {
            self.hints.remove(&named(gone));
        }
    }

    /// The disk is another one.
    pub(crate) fn wiped(&mut self) {
        *self = Self::default();
    }

    /// The disk has forgotten something, and the node will believe nothing but cells and hints.
    pub(crate) fn forgot(&mut self, kv: &MemoryKv) {
        self.wiped();
        let all = (std::ops::Bound::Unbounded, std::ops::Bound::Unbounded);
        for (key, _) in kv.range(Keyspace::Hints, all.0, all.1).flatten() {
            self.hints
                .extend(hint_key(&key).map(|(owner, dot)| (Name::of(&dot), owner)));
        }
        for (_, value) in kv.range(Keyspace::Rows, all.0, all.1).flatten() {
            let row = Row::decode(&value.slice(..value.len().saturating_sub(4)));
            for (dot, _) in row.iter().flat_map(Row::cells) {
                self.survivors.insert(Name::of(dot));
            }
        }
    }

    /// Whether the disk holds the event as an owner's does, and so knows what it replaced.
    pub(crate) fn claims(&self, partition: PartitionId, dot: &Dot) -> bool {
        self.claims
            .get(&partition)
            .is_some_and(|(_, clock)| clock.contains(dot))
    }

    /// Whether the disk holds the partition at all.
    pub(crate) fn holds(&self, partition: PartitionId) -> bool {
        self.claims.contains_key(&partition)
    }

    /// Whether the disk holds all these events as an owner's does.
    pub(crate) fn claims_all(&self, partition: PartitionId, events: &Clock) -> bool {
        self.claims
            .get(&partition)
            .is_some_and(|(_, clock)| events.is_subset(clock))
    }

    /// For whom the disk holds the event as a hint, and is not about to throw it away.
    pub(crate) fn hinted(&self, dot: &Dot) -> impl Iterator<Item = NodeId> + '_ {
        let (name, dot) = (Name::of(dot), *dot);
        let from = self.hints.range((name, NodeId(0))..);
        let goes = move |owner: &NodeId| {
            let mut batches = self.unsynced.iter();
            batches.any(|batch| batch.hints_gone.contains(&(*owner, dot)))
        };
        from.take_while(move |(at, _)| *at == name)
            .map(|(_, owner)| *owner)
            .filter(move |owner| !goes(owner))
    }

    /// Whether the event's cell was found on the disk after it had forgotten something.
    pub(crate) fn survives(&self, dot: &Dot) -> bool {
        self.survivors.contains(&Name::of(dot))
    }
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    let bytes = bytes.get(at..at + 8)?;
    Some(u64::from_be_bytes(bytes.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at + 4)?;
    Some(u32::from_be_bytes(bytes.try_into().ok()?))
}

fn partition_at(bytes: &[u8]) -> Option<PartitionId> {
    Some(PartitionId(u16::from_be_bytes(
        bytes.get(..2)?.try_into().ok()?,
    )))
}

/// partition 2 | epoch 4 | actor 8 | counter 8
fn log_key(key: &[u8]) -> Option<(PartitionId, u32, Dot)> {
    let dot = Dot::new(ActorId(u64_at(key, 6)?), u64_at(key, 14)?);
    Some((partition_at(key)?, u32_at(key, 2)?, dot))
}

/// owner 8 | ... | actor 8 | counter 8
fn hint_key(key: &[u8]) -> Option<(NodeId, Dot)> {
    let end = key.len().checked_sub(16)?;
    let dot = Dot::new(ActorId(u64_at(key, end)?), u64_at(key, end + 8)?);
    Some((NodeId(u64_at(key, 0)?), dot))
}

/// version 1 | flags 1 | epoch 4 | rows' epoch 4, if there is a flag | length 4 | clock ...
fn record(key: &[u8], value: &Bytes) -> Option<(PartitionId, u32, Clock)> {
    let at = match value.get(1)? & ROWS_EPOCH {
        0 => 6,
        _ => 10,
    };
    let end = at + 4 + u32_at(value, at)? as usize;
    let clock = (end <= value.len()).then(|| Clock::decode(&value.slice(at + 4..end)).ok())??;
    Some((partition_at(key)?, u32_at(value, 2)?, clock))
}
