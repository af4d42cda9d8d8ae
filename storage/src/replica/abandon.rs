//! Giving up a whole transfer that will not be taken up again, without giving up what it brought.
//!
//! ```text
//!   row key:   ..........|...................|.......................
//!      have their context ^ given back        ^ covered: the rows between are still
//!      back, dots claimed   (stored)            read under clock ∪ context
//! ```
//!
//! Slice by slice, each row gets the context back under which it came, and the dots that it shows are
//! claimed one by one: no other owner could ask for them otherwise. It goes on after a restart.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use dunlin_crdt::{Clock, Dot};
use dunlin_ring::PartitionId;

use super::partition::{Covered, Transfer};
use super::rows::Loaded;
use super::{Progress, Replica, StoreError};
use crate::key::{self, Span};
use crate::kv::Keyspace;

/// Rows of ours that one batch of a transfer changes at most, beside those that are sent.
pub(super) const SLICE_ROWS: usize = 2048;
/// Their bytes, the last row not counted: a writer's merge has room for two such batches.
const SLICE_BYTES: usize = 4 << 20;

/// Rows of ours at the start of a span.
pub(super) struct Slice {
    pub(super) rows: BTreeMap<Bytes, Loaded>,
    /// The last of them, if there may be more.
    pub(super) cut: Option<Bytes>,
}

impl Replica {
    /// Abandons a transfer, if one is under way, but nothing that it brought: up to so many of its
    /// rows get their context back, and their dots are claimed. For one that will not be taken up
    /// again: until then, no clock tells of what only it has brought. From the first call on it
    /// cannot be continued.
    ///
    /// # Errors
    /// [`StoreError`]; nothing was staged.
    pub fn abandon_some(
        &mut self,
        partition: PartitionId,
        rows_max: usize,
    ) -> Result<Progress, StoreError> {
        let part = self.owned_part(partition)?;
        let Some(transfer) = part.transfer().cloned() else {
            return Ok(Progress::Done);
        };
        let mut span = key::all_in(part.rows_at).after(transfer.given_back.clone());
        if let Covered::UpTo(last) = &transfer.covered {
            span = span.up_to(last.clone());
        }
        let Slice { rows, cut } = self.load_slice(partition, &span, rows_max)?;
        let progress = match &cut {
            Some(_) => Progress::More,
            None => Progress::Done,
        };
        if let Some(part) = self.partitions.get_mut(&partition) {
            part.set_transfer(cut.map(|last| Transfer {
                given_back: Some(last),
                ..transfer.clone()
            }));
        }
        let mut new = BTreeMap::new();
        for (stored_key, mut loaded) in rows {
            for (dot, _) in loaded.row.cells() {
                if transfer.context.contains(dot) && !self.clock(partition).contains(dot) {
                    new.insert((dot.actor, dot.counter), stored_key.clone());
                }
            }
            // All of it, also what the clock has by now: that is one piece, and the rest thousands.
            let same = loaded.row.clone();
            loaded.row.join(&Clock::new(), &same, &transfer.context);
            self.store(partition, &stored_key, loaded);
        }
        for ((actor, counter), stored_key) in new {
            self.claim_and_log(partition, Dot::new(actor, counter), &stored_key);
        }
        self.stage_record(partition);
        Ok(progress)
    }

    /// Abandons a transfer, if one is under way, at once.
    ///
    /// Unfit for: large ones, as all their rows are changed in one batch; see
    /// [`abandon_some`](Self::abandon_some).
    ///
    /// # Errors
    /// [`StoreError`]; what was staged so far is sound.
    pub fn abandon_transfer(&mut self, partition: PartitionId) -> Result<(), StoreError> {
        while self.abandon_some(partition, SLICE_ROWS)? == Progress::More {}
        Ok(())
    }

    /// The first of our rows in a span, so many or of so many bytes. Pending entries without a row
    /// count as empty ones.
    pub(super) fn load_slice(
        &self,
        partition: PartitionId,
        span: &Span,
        rows_max: usize,
    ) -> Result<Slice, StoreError> {
        let part = self.owned_part(partition)?;
        let (mut keys, mut bytes, mut cut) = (BTreeSet::new(), 0, None);
        for entry in self.overlay.range(Keyspace::Rows, span) {
            let (stored_key, value) = entry?;
            bytes += stored_key.len() + value.len();
            keys.insert(stored_key.clone());
            // Where to go on is named by a row, so a key that is none ends no slice.
            if (keys.len() >= rows_max || bytes >= SLICE_BYTES)
                && key::parse_row(&stored_key).is_some()
            {
                cut = Some(stored_key);
                break;
            }
        }
        let slice = match &cut {
            Some(last) => span.clone().up_to(last.clone()),
            None => span.clone(),
        };
        if !slice.encloses_nothing() {
            let pending = part.pending.range((slice.from, slice.to));
            keys.extend(pending.cloned());
        }
        let mut rows = BTreeMap::new();
        for stored_key in keys {
            let loaded = self.load(partition, part, &stored_key)?;
            rows.insert(stored_key, loaded);
        }
        Ok(Slice { rows, cut })
    }
}
