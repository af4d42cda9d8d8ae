//! Events kept for owners that are away, and those minted here because no owner was there.
//!
//! A hint is one event under (owner, partition, row, dot): it needs no row beside it, may be
//! delivered twice and in any order, and never expires for safety. What is read here is an index of
//! counts; the events stay in the store.

use std::collections::BTreeMap;

use bytes::Bytes;
use dunlin_crdt::{Clock, Event, Row};
use dunlin_protocol::RowKey;
use dunlin_protocol::peer::{HintScope, RowEvent};
use dunlin_ring::{NodeId, PartitionId};

use super::overlay::Merged;
use super::partition::Actor;
use super::record::{seal_hint, unseal_hint};
use super::write::mint;
use super::{CellMeta, HintRefused, Replica, RowChange, StoreError, WriteError};
use crate::key::{self, Span};
use crate::kv::Keyspace;

/// How many hints there are, and the actors of those minted here.
pub(super) struct Hints {
    bytes_max: u64,
    bytes: u64,
    /// Invariant: no count is 0.
    counts: BTreeMap<(NodeId, PartitionId), u64>,
    /// Actors of events minted as hints. Never stored: each start draws new ones.
    actors: BTreeMap<PartitionId, Actor>,
}

impl Hints {
    pub(super) fn new(bytes_max: u64) -> Self {
        Self {
            bytes_max,
            bytes: 0,
            counts: BTreeMap::new(),
            actors: BTreeMap::new(),
        }
    }

    pub(super) fn entries(&self) -> u64 {
        self.counts.values().sum()
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn actors(&self) -> u64 {
        self.actors.len() as u64
    }

    pub(super) fn counts(&self) -> &BTreeMap<(NodeId, PartitionId), u64> {
        &self.counts
    }

    fn add(&mut self, place: (NodeId, PartitionId), bytes: u64) {
        *self.counts.entry(place).or_insert(0) += 1;
        self.bytes += bytes;
    }

    fn remove(&mut self, place: (NodeId, PartitionId), bytes: u64) {
        self.bytes -= bytes;
        if let Some(count) = self.counts.get_mut(&place) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&place);
            }
        }
    }

    fn check_room(&self, bytes: u64) -> Result<(), HintRefused> {
        if self.bytes + bytes > self.bytes_max {
            return Err(HintRefused::Full {
                bytes: self.bytes,
                bytes_max: self.bytes_max,
            });
        }
        Ok(())
    }
}

impl Replica {
    /// Keeps an event for an owner that is away.
    ///
    /// # Errors
    /// [`HintRefused`]; nothing was staged.
    pub fn keep_hint(
        &mut self,
        owner: NodeId,
        key: &RowKey,
        event: &Event,
    ) -> Result<(), HintRefused> {
        let partition = self.in_shard(self.partition_of(key))?;
        let stored_key = key::hint(owner, partition, key, &event.dot);
        if self
            .overlay
            .get(Keyspace::Hints, &stored_key)
            .map_err(StoreError::Kv)?
            .is_some()
        {
            return Ok(());
        }
        let value = seal_hint(event);
        let bytes = (stored_key.len() + value.len()) as u64;
        self.hints.check_room(bytes)?;
        self.hints.add((owner, partition), bytes);
        self.overlay.put(Keyspace::Hints, stored_key, value);
        Ok(())
    }

    /// Applies changes of a client where no owner can: what they replace is judged by the hints that
    /// are kept here for `owners`, the owners of the partition, and the events are kept as hints for
    /// `stands_for`. All, or none.
    ///
    /// The dots are minted under an actor of their own, which lives as long as its hints: an actor
    /// must hold every event it minted.
    ///
    /// # Errors
    /// [`WriteError`]; nothing was staged.
    pub fn write_as_fallback(
        &mut self,
        owners: &[NodeId],
        stands_for: NodeId,
        changes: &[RowChange],
        meta: CellMeta,
    ) -> Result<Vec<RowEvent>, WriteError> {
        let nothing = Clock::new();
        let mut actors: BTreeMap<PartitionId, Actor> = BTreeMap::new();
        let mut rows: BTreeMap<&RowKey, Row> = BTreeMap::new();
        let mut staged = Vec::with_capacity(changes.len());
        let mut bytes_added = 0;
        for RowChange {
            key,
            kind,
            change,
            replaces,
        } in changes
        {
            let partition = self.in_shard(self.partition_of(key))?;
            let actor = match actors.get_mut(&partition) {
                Some(actor) => actor,
                None => {
                    let kept = self.hints.actors.get(&partition).copied();
                    let clock = self.partitions.get(&partition).map(|part| part.clock());
                    let drawn = kept.unwrap_or_else(|| {
                        Actor::draw(&mut self.rng, clock.unwrap_or(&self.nothing))
                    });
                    actors.entry(partition).or_insert(drawn)
                }
            };
            if !rows.contains_key(key) {
                let mut row = Row::new();
                for hint in self.hint_events(owners, key, HintScope::Row)? {
                    row.take(&nothing, &hint.event);
                }
                rows.insert(key, row);
            }
            let Some(row) = rows.get_mut(key) else {
                continue;
            };
            let event = mint(row, *kind, change, replaces, meta, actor)?;
            row.take(&nothing, &event);
            let stored_key = key::hint(stands_for, partition, key, &event.dot);
            let value = seal_hint(&event);
            let bytes = (stored_key.len() + value.len()) as u64;
            bytes_added += bytes;
            self.hints
                .check_room(bytes_added)
                .map_err(WriteError::Hint)?;
            staged.push((
                partition,
                stored_key,
                value,
                bytes,
                RowEvent {
                    key: key.clone(),
                    event,
                },
            ));
        }
        self.hints.actors.extend(actors);
        let mut events = Vec::with_capacity(staged.len());
        for (partition, stored_key, value, bytes, event) in staged {
            self.hints.add((stands_for, partition), bytes);
            self.overlay.put(Keyspace::Hints, stored_key, value);
            events.push(event);
        }
        Ok(events)
    }

    /// For which owners and partitions there are hints, in order.
    pub fn hinted(&self) -> Vec<(NodeId, PartitionId)> {
        self.hints.counts.keys().copied().collect()
    }

    /// The first hints for an owner of a partition, of some `bytes_max`, at least one.
    ///
    /// # Errors
    /// [`StoreError::CorruptHint`], see [`drop_damaged_hints`](Self::drop_damaged_hints);
    /// [`StoreError::Kv`].
    pub fn hints(
        &self,
        owner: NodeId,
        partition: PartitionId,
        bytes_max: usize,
    ) -> Result<Vec<RowEvent>, StoreError> {
        let mut events = Vec::new();
        let mut bytes = 0;
        for entry in self.hint_entries(&key::hints_for(owner, partition)) {
            let (stored_key, value) = entry?;
            events.push(read_hint(owner, partition, &stored_key, &value)?);
            bytes += stored_key.len() + value.len();
            if bytes >= bytes_max {
                break;
            }
        }
        Ok(events)
    }

    /// Forgets hints: their owner holds the events, or there is a better place for them.
    ///
    /// # Errors
    /// [`StoreError::Kv`]; what was forgotten so far is.
    pub fn forget_hints(
        &mut self,
        owner: NodeId,
        partition: PartitionId,
        events: &[RowEvent],
    ) -> Result<(), StoreError> {
        for RowEvent { key, event } in events {
            let stored_key = key::hint(owner, partition, key, &event.dot);
            self.forget_hint((owner, partition), stored_key)?;
            // The next write would not see what this one did.
            let own = self.hints.actors.get(&partition);
            if own.is_some_and(|own| own.id == event.dot.actor) {
                self.hints.actors.remove(&partition);
            }
        }
        Ok(())
    }

    /// The bytes of all hints that are kept here.
    pub fn hints_bytes(&self) -> u64 {
        self.hints.bytes()
    }

    /// Forgets the hints for an owner of a partition that cannot be read. Returns how many; what
    /// they held reaches the owner by repair, if another owner has it.
    ///
    /// # Errors
    /// [`StoreError::Kv`]; what was forgotten so far is.
    pub fn drop_damaged_hints(
        &mut self,
        owner: NodeId,
        partition: PartitionId,
    ) -> Result<usize, StoreError> {
        let mut damaged = Vec::new();
        for entry in self.hint_entries(&key::hints_for(owner, partition)) {
            let (stored_key, value) = entry?;
            if read_hint(owner, partition, &stored_key, &value).is_err() {
                damaged.push(stored_key);
            }
        }
        let dropped = damaged.len();
        for stored_key in damaged {
            self.forget_hint((owner, partition), stored_key)?;
        }
        // One of them may have been minted here.
        self.hints.actors.remove(&partition);
        Ok(dropped)
    }

    /// The events kept for any of these owners of a row, or of all rows of its key whose subkeys
    /// start with its own; each once, in order.
    ///
    /// # Errors
    /// [`StoreError::CorruptHint`], [`StoreError::Kv`].
    pub fn hint_events(
        &self,
        owners: &[NodeId],
        key: &RowKey,
        scope: HintScope,
    ) -> Result<Vec<RowEvent>, StoreError> {
        let partition = self.partition_of(key);
        let mut events = BTreeMap::new();
        for owner in owners {
            if !self.keeps_hints_for(*owner, partition) {
                continue;
            }
            for entry in self.hint_entries(&key::hints_of(*owner, partition, key, scope)) {
                let (stored_key, value) = entry?;
                let hint = read_hint(*owner, partition, &stored_key, &value)?;
                let name = (
                    hint.key.clone(),
                    hint.event.dot.actor,
                    hint.event.dot.counter,
                );
                events.insert(name, hint);
            }
        }
        Ok(events.into_values().collect())
    }

    /// Whether there are hints for an owner of a partition.
    pub(super) fn keeps_hints_for(&self, owner: NodeId, partition: PartitionId) -> bool {
        self.hints.counts.contains_key(&(owner, partition))
    }

    /// Counts the hints of this shard anew.
    pub(super) fn load_hints(&mut self) -> Result<(), StoreError> {
        let mut hints = Hints::new(self.hints.bytes_max);
        let all = Span {
            from: std::ops::Bound::Unbounded,
            to: std::ops::Bound::Unbounded,
        };
        for entry in self.hint_entries(&all) {
            let (stored_key, value) = entry?;
            let Some((owner, partition)) = key::parse_hint_place(&stored_key) else {
                continue;
            };
            if self.shard.contains(&partition) {
                hints.add((owner, partition), (stored_key.len() + value.len()) as u64);
            }
        }
        self.hints = hints;
        Ok(())
    }

    pub(super) fn hint_entries(&self, span: &Span) -> Merged<'_> {
        self.overlay.range(Keyspace::Hints, span)
    }

    fn forget_hint(
        &mut self,
        place: (NodeId, PartitionId),
        stored_key: Bytes,
    ) -> Result<(), StoreError> {
        if let Some(value) = self.overlay.get(Keyspace::Hints, &stored_key)? {
            self.hints
                .remove(place, (stored_key.len() + value.len()) as u64);
            self.overlay.delete(Keyspace::Hints, stored_key);
        }
        Ok(())
    }

    pub(super) fn in_shard(&self, partition: PartitionId) -> Result<PartitionId, StoreError> {
        if self.shard.contains(&partition) {
            Ok(partition)
        } else {
            Err(StoreError::OtherShard(partition))
        }
    }
}

fn read_hint(
    owner: NodeId,
    partition: PartitionId,
    stored_key: &Bytes,
    value: &Bytes,
) -> Result<RowEvent, StoreError> {
    let parsed = key::parse_hint(stored_key).zip(unseal_hint(value));
    match parsed {
        Some(((key, dot), event)) if dot == event.dot => Ok(RowEvent { key, event }),
        Some(_) | None => Err(StoreError::CorruptHint { owner, partition }),
    }
}
