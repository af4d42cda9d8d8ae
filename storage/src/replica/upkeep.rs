//! What is done now and then: forgetting what nobody needs, writing clocks down, closing.

use std::ops::Bound;

use bytes::Bytes;
use dunlin_crdt::{Clock, Millis};
use dunlin_protocol::RowKey;
use dunlin_ring::{BucketId, NodeId, PartitionId};

use super::record::{self, CloseRecord, Counts};
use super::rows::Loaded;
use super::{Progress, Replica, StoreError};
use crate::key;
use crate::kv::Keyspace;

/// Partitions whose clocks one checkpoint writes: some ten kilobytes with ordinary clocks.
const CHECKPOINT_PARTITIONS: usize = 64;

impl Replica {
    /// Notes the clock of another owner, in place of what was known of it: it may have lost events.
    pub fn note_peer_clock(&mut self, partition: PartitionId, node: NodeId, clock: &Clock) {
        if let Some(part) = self.partitions.get_mut(&partition) {
            part.peers.entry(node).or_default().hear(clock);
        }
    }

    /// Forgets up to so many log entries that every co-owner's clock has; none if the clock of one
    /// was not heard yet. Returns how many.
    ///
    /// # Errors
    /// [`StoreError`]; what was staged so far is sound.
    pub fn prune(
        &mut self,
        partition: PartitionId,
        co_owners: &[NodeId],
        entries_max: usize,
    ) -> Result<usize, StoreError> {
        let part = self.owned_part(partition)?;
        let (epoch, log_at, stale_log) = (part.epoch, part.log_at(), part.stale_log);
        let mut forgotten = 0;
        if stale_log {
            let stale = self.log_keys(&key::all_before(log_at), entries_max)?;
            forgotten += stale.len();
            if stale.len() < entries_max
                && let Some(part) = self.partitions.get_mut(&partition)
            {
                part.stale_log = false;
            }
            stale
                .into_iter()
                .for_each(|key| self.overlay.delete(Keyspace::Log, key));
        }
        let part = self.owned_part(partition)?;
        let mut common = part.clock().clone();
        for owner in co_owners {
            match part.peers.get(owner) {
                Some(peer) => common = common.intersection(&peer.heard),
                None => return Ok(forgotten),
            }
        }
        let mut staged_clock = !part.is_dirty();
        for (actor, first, last) in common.minus(&part.unlogged).ranges_by_actor() {
            let left = entries_max - forgotten;
            if left == 0 {
                break;
            }
            let keys = self.log_keys(&key::log_of(partition, epoch, (actor, first, last)), left)?;
            // Where the budget ended, entries may be left after the last one met.
            let cleared = match keys.last().and_then(|key| key::parse_log(key)) {
                Some(dot) if keys.len() == left => dot.counter,
                Some(_) | None => last,
            };
            if !keys.is_empty() && !staged_clock {
                // Ordering: in one batch with the first deletion, for the clock that a start
                // computes must not need an entry that is gone.
                self.stage_record(partition);
                staged_clock = true;
            }
            forgotten += keys.len();
            for key in keys {
                let before = self
                    .overlay
                    .get(Keyspace::Log, &key)?
                    .map(|value| value.len());
                if let Some(part) = self.partitions.get_mut(&partition) {
                    part.log.follow(&key, before, None);
                }
                self.overlay.delete(Keyspace::Log, key);
            }
            if let Some(part) = self.partitions.get_mut(&partition) {
                part.unlogged.add_range(actor, first, cleared);
            }
        }
        Ok(forgotten)
    }

    fn log_keys(&self, span: &key::Span, entries_max: usize) -> Result<Vec<Bytes>, StoreError> {
        let entries = self.overlay.range(Keyspace::Log, span).take(entries_max);
        entries.map(|entry| Ok(entry?.0)).collect()
    }

    /// Strips up to so many rows of what the clock covers by now, and erases those of which nothing
    /// is left; the next call goes on where this one ended. Returns how many rows changed.
    ///
    /// # Errors
    /// [`StoreError`]; what was staged so far is sound.
    pub fn strip_pending(
        &mut self,
        partition: PartitionId,
        rows_max: usize,
    ) -> Result<usize, StoreError> {
        let Some(part) = self.partitions.get_mut(&partition) else {
            return Ok(0);
        };
        let after = part
            .strip_after
            .take()
            .map_or(Bound::Unbounded, Bound::Excluded);
        let keys: Vec<Bytes> = part
            .pending
            .range((after, Bound::Unbounded))
            .take(rows_max)
            .cloned()
            .collect();
        if keys.len() == rows_max {
            part.strip_after = keys.last().cloned();
        }
        let mut changed = 0;
        for key in keys {
            let loaded = self.load(partition, self.owned_part(partition)?, &key)?;
            changed += usize::from(self.store(partition, &key, loaded));
        }
        Ok(changed)
    }

    /// Drops the cells of up to so many rows that have expired, after the row given. Returns where
    /// to go on, `None` at the end. Their dots stay in the clock: they count as removed.
    ///
    /// # Errors
    /// [`StoreError`]; what was staged so far is sound.
    pub fn drop_expired(
        &mut self,
        partition: PartitionId,
        after: Option<&RowKey>,
        now: Millis,
        rows_max: usize,
    ) -> Result<Option<RowKey>, StoreError> {
        let part = self.owned_part(partition)?;
        let span = key::all_in(part.rows_at).after(after.map(|row| key::row(part.rows_at, row)));
        let mut expired = Vec::new();
        let mut last = None;
        for (met, found) in self.scan(partition, part, &span).enumerate() {
            let (stored_key, key, mut loaded) = found?;
            if loaded
                .row
                .cells()
                .iter()
                .any(|(_, cell)| cell.is_expired(now))
            {
                loaded.row.drop_expired(now);
                expired.push((stored_key, loaded));
            }
            if met + 1 >= rows_max {
                last = Some(key);
                break;
            }
        }
        for (stored_key, loaded) in expired {
            self.store(partition, &stored_key, loaded);
        }
        Ok(last)
    }

    /// Removes up to so many rows of a bucket that was dropped. Their dots stay in the clock.
    ///
    /// # Errors
    /// [`StoreError`]; what was staged so far is sound.
    pub fn drop_bucket(
        &mut self,
        partition: PartitionId,
        bucket: BucketId,
        rows_max: usize,
    ) -> Result<Progress, StoreError> {
        let part = self.owned_part(partition)?;
        let span = key::rows_of_bucket(part.rows_at, bucket);
        let mut dropped = Vec::new();
        for entry in self.overlay.range(Keyspace::Rows, &span).take(rows_max) {
            dropped.push(entry?);
        }
        let progress = if dropped.len() < rows_max {
            Progress::Done
        } else {
            Progress::More
        };
        for (stored_key, value) in dropped {
            let gone = Loaded {
                row: dunlin_crdt::Row::new(),
                stored: Some(value),
            };
            self.store(partition, &stored_key, gone);
        }
        Ok(progress)
    }

    /// Writes down the clocks that have changed, a bounded number of them, in turn. It bounds what a
    /// start has to read of the log.
    pub fn checkpoint(&mut self) {
        let after = self.checkpointed.map_or(Bound::Unbounded, Bound::Excluded);
        let dirty: Vec<PartitionId> = self
            .partitions
            .range((after, Bound::Unbounded))
            .filter(|(_, part)| part.is_dirty())
            .map(|(partition, _)| *partition)
            .take(CHECKPOINT_PARTITIONS)
            .collect();
        self.checkpointed = if dirty.len() == CHECKPOINT_PARTITIONS {
            dirty.last().copied()
        } else {
            None
        };
        dirty
            .into_iter()
            .for_each(|partition| self.stage_record(partition));
    }

    /// Stages what a clean close promises: clocks, actors and counts. Commit it, close the store in
    /// order, and use the replica no more.
    pub fn close(&mut self) {
        let owned: Vec<PartitionId> = self.owned().collect();
        for partition in owned {
            self.stage_record(partition);
            let Some(part) = self.partitions.get(&partition) else {
                continue;
            };
            let exact = part.rows.is_exact() && part.log.is_exact();
            let counts = exact.then_some(Counts {
                rows: part.rows.entries,
                row_bytes: part.rows.bytes,
                log_entries: part.log.entries,
                log_bytes: part.log.bytes,
            });
            let close = CloseRecord {
                actor: part.actor.or(part.closed_actor),
                counts,
            };
            self.overlay
                .put(Keyspace::Meta, record::close_key(partition), close.seal());
        }
    }
}
