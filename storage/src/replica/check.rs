//! What must hold after every step, over everything that a replica keeps. For the simulator.

use std::collections::BTreeMap;

use bytes::Bytes;
use dunlin_ring::PartitionId;

use super::record::{PartitionRecord, Standing, partition_key, unseal_row};
use super::{Partition, Replica, StoreError};
use crate::key::{self, Place};
use crate::kv::Keyspace;

impl Replica {
    /// Checks every invariant of the whole replica, staged changes included.
    ///
    /// Cost: reads everything.
    ///
    /// # Errors
    /// The first invariant that does not hold, in words.
    pub fn check_invariants(&self) -> Result<(), String> {
        for (partition, part) in &self.partitions {
            self.check_rows(*partition, part)
                .and_then(|pending| self.check_pending(part, &pending))
                .and_then(|()| self.check_clock(*partition, part))
                .map_err(|broken| format!("partition {partition}: {broken}"))?;
        }
        self.check_leftovers()?;
        self.check_hints()
    }

    /// What lies in epochs that are over is on the list of what is to be deleted.
    fn check_leftovers(&self) -> Result<(), String> {
        for partition in self
            .shard
            .iter()
            .filter(|p| !self.leftovers.contains_key(*p))
        {
            let held = self.partitions.get(partition);
            let epoch = held.map_or(u32::MAX, |part| part.rows_at.epoch);
            let span = key::all_before(Place {
                partition: *partition,
                epoch,
            });
            for keyspace in [Keyspace::Rows, Keyspace::Pending, Keyspace::Log] {
                if self.overlay.range(keyspace, &span).next().is_some() {
                    let name = keyspace.name();
                    return Err(format!("{name} of partition {partition} are left behind"));
                }
            }
        }
        for (partition, epoch) in &self.leftovers {
            let held = self.partitions.get(partition);
            if held.is_some_and(|part| part.rows_at.epoch < *epoch) {
                return Err(format!("what partition {partition} holds is to be deleted"));
            }
        }
        Ok(())
    }

    /// Returns the rows whose stored past is not empty.
    fn check_rows(&self, partition: PartitionId, part: &Partition) -> Result<Vec<Bytes>, String> {
        let (mut rows, mut bytes) = (0, 0);
        let mut pending = Vec::new();
        for found in self.scan(partition, part, &key::all_in(part.rows_at)) {
            let (stored_key, key, loaded) = match found {
                // A partition that is being refilled after damage may still have it.
                Err(StoreError::CorruptRow { .. }) if part.is_unvouched() => return Ok(pending),
                found => found.map_err(|error| error.to_string())?,
            };
            rows += 1;
            let value = loaded.stored.unwrap_or_default();
            bytes += (stored_key.len() + value.len()) as u64;
            let stored = unseal_row(&value);
            if self.partition_of(&key) != partition || key::row(part.rows_at, &key) != stored_key {
                return Err(format!("row {key:?} lies where it does not belong"));
            }
            for (dot, _) in loaded.row.cells() {
                // A partition that was distrusted has rows that it cannot vouch for yet.
                if !part.is_unvouched() && !part.holds(&stored_key, dot) {
                    return Err(format!(
                        "row {key:?} shows {dot:?}, which is not in the clock"
                    ));
                }
                if loaded.row.past().contains(dot) {
                    return Err(format!("row {key:?} both shows and supersedes {dot:?}"));
                }
            }
            match stored {
                Some(row) if !row.past().is_empty() => pending.push(stored_key),
                Some(row) if !row.is_empty() => {}
                _ => return Err(format!("row {key:?} is kept for nothing")),
            }
        }
        if part.rows.is_exact() && (part.rows.entries, part.rows.bytes) != (rows, bytes) {
            return Err(format!(
                "{rows} rows of {bytes} bytes were counted as {} of {}",
                part.rows.entries, part.rows.bytes
            ));
        }
        Ok(pending)
    }

    fn check_clock(&self, partition: PartitionId, part: &Partition) -> Result<(), String> {
        let stored = self
            .overlay
            .get(Keyspace::Clocks, &partition_key(partition))
            .map_err(|error| error.to_string())?;
        let record = match stored {
            None => PartitionRecord::default(),
            Some(sealed) => match Standing::unseal(&sealed) {
                Some(Standing::Held(record)) => record,
                Some(Standing::GivenUp { .. }) => return Err("it was given up".to_owned()),
                None => return Err("its record is damaged".to_owned()),
            },
        };
        let mut clock = record.clock;
        let mut entries = 0;
        for entry in self
            .overlay
            .range(Keyspace::Log, &key::all_in(part.log_at()))
        {
            let (stored_key, value) = entry.map_err(|error| error.to_string())?;
            let dot = key::parse_log(&stored_key).ok_or("a log entry has a damaged key")?;
            let row = key::parse_log_value(&value).ok_or("a log entry has a damaged value")?;
            if !part.clock().contains(&dot) {
                return Err(format!("{dot:?} is logged and not in the clock"));
            }
            if part.unlogged.contains(&dot) {
                return Err(format!("{dot:?} is logged and believed pruned"));
            }
            if self.partition_of(&row) != partition {
                return Err(format!(
                    "{dot:?} is logged for {row:?}, of another partition"
                ));
            }
            entries += 1;
            clock.add(dot);
        }
        if clock != *part.clock() {
            return Err(format!(
                "a start would find the clock {clock:?}, not {:?}",
                part.clock()
            ));
        }
        if (record.epoch, record.rows_epoch) != (part.epoch, part.rows_at.epoch)
            || record.whole != part.is_whole()
            || record.transfer.as_ref() != part.transfer()
        {
            return Err("a start would find another epoch, wholeness or transfer".to_owned());
        }
        if !part.settled().is_subset(part.clock()) {
            return Err("what is settled is not in the clock".to_owned());
        }
        if part.log.is_exact() && part.log.entries != entries {
            return Err(format!(
                "{entries} log entries were counted as {}",
                part.log.entries
            ));
        }
        Ok(())
    }

    /// The pending index, in memory and stored, names exactly the rows whose stored past is not empty.
    fn check_pending(&self, part: &Partition, pending: &[Bytes]) -> Result<(), String> {
        let mut indexed = Vec::new();
        for entry in self
            .overlay
            .range(Keyspace::Pending, &key::all_in(part.rows_at))
        {
            indexed.push(entry.map_err(|error| error.to_string())?.0);
        }
        if !indexed.iter().eq(part.pending.iter()) {
            return Err("the pending index in memory is not the stored one".to_owned());
        }
        // After damage the index is put right as the transfer passes over the rows.
        if !part.is_unvouched() && pending != indexed {
            return Err(format!(
                "{} rows are pending, {} indexed",
                pending.len(),
                indexed.len()
            ));
        }
        Ok(())
    }

    fn check_hints(&self) -> Result<(), String> {
        let (mut counts, mut bytes) = (BTreeMap::new(), 0);
        let all = key::Span {
            from: std::ops::Bound::Unbounded,
            to: std::ops::Bound::Unbounded,
        };
        for entry in self.overlay.range(Keyspace::Hints, &all) {
            let (stored_key, value) = entry.map_err(|error| error.to_string())?;
            let place = key::parse_hint_place(&stored_key).ok_or("a hint has a damaged key")?;
            if self.shard.contains(&place.1) {
                *counts.entry(place).or_insert(0) += 1;
                bytes += (stored_key.len() + value.len()) as u64;
            }
        }
        if counts != *self.hints.counts() || bytes != self.hints.bytes() {
            return Err("hints are not what was counted".to_owned());
        }
        Ok(())
    }
}
