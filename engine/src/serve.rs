//! The replica's side of operations that another node coordinates.

use dunlin_crdt::{Clock, FieldPath, Kind, Row, RowKind};
use dunlin_protocol::RowKey;
use dunlin_protocol::peer::{
    AckWhen, KeyedRow, OperationMessage, PeerOp, Refusal, RepairRow, RowDots, RowEvent, RowRange,
};
use dunlin_protocol::status::StorageState;
use dunlin_ring::{NodeId, PartitionId};
use dunlin_storage::{HintRefused, StoreError, Taken};

use crate::io::{Effect, Note, Now};
use crate::shard::{Shard, Waiting, send_operation};

/// Dots outside the asker's clock that are looked up one by one for a range; past that the rows of the
/// page are sent as they are. A lookup costs about what reading a row does.
const RANGE_DOTS_MAX: usize = 4096;

impl Shard {
    /// Does what a coordinator asks of this replica, and answers it.
    pub(crate) fn serve(
        &mut self,
        from: NodeId,
        partition: PartitionId,
        op: PeerOp,
        message: OperationMessage,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        let answer = match message {
            OperationMessage::Replicate {
                events,
                ack,
                hint_for,
            } => match self.hold(from, partition, &events, hint_for, now, effects) {
                Ok(()) => {
                    let to = from;
                    self.wait_for(
                        ack,
                        Waiting::Replicated {
                            to,
                            partition,
                            op,
                            hint_for,
                        },
                    );
                    return;
                }
                Err(refusal) => Err(refusal),
            },
            OperationMessage::Compare { rows, seen } => {
                self.compare(partition, &rows, &seen, effects)
            }
            OperationMessage::CompareRange {
                range,
                clock,
                rows_max,
            } => self.compare_range(partition, &range, &clock, rows_max, effects),
            OperationMessage::ReadHints { key, scope, seen } => {
                let owners = self.view.owners(partition);
                let events = self.replica.hint_events(&owners, &key, scope);
                let found = events.and_then(|events| {
                    let holds = self.hinted_dots(partition, &seen)?;
                    Ok(OperationMessage::HintsRead { events, holds })
                });
                found.map_err(|error| self.failed(&error, effects))
            }
            OperationMessage::ReadRepair { rows, context } => {
                self.take_read_repair(partition, &rows, &context, effects);
                return;
            }
            // Answers; the shard sends them to their operations.
            OperationMessage::Replicated { .. }
            | OperationMessage::Refused(_)
            | OperationMessage::Compared { .. }
            | OperationMessage::RangeCompared { .. }
            | OperationMessage::HintsRead { .. }
            | OperationMessage::Forward { .. }
            | OperationMessage::Forwarded { .. } => return,
        };
        let message = answer.unwrap_or_else(|refusal| {
            self.counters.add("refused");
            OperationMessage::Refused(refusal)
        });
        effects.push(send_operation(from, partition, op, message));
    }

    /// Takes events as an owner, or as hints for one. All or none, as far as can be known before.
    fn hold(
        &mut self,
        from: NodeId,
        partition: PartitionId,
        events: &[RowEvent],
        hint_for: Option<NodeId>,
        now: Now,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Refusal> {
        match self.storage {
            StorageState::Ready => {}
            StorageState::Full => return Err(Refusal::Full),
            StorageState::Failed => return Err(Refusal::Failed),
        }
        if self.must_not_wait() {
            return Err(Refusal::Overloaded);
        }
        for stamp in events
            .iter()
            .filter_map(|e| e.event.cell.as_ref())
            .map(|cell| cell.stamp)
        {
            if let Err(skew) = self
                .hlc
                .observe(stamp, now.wall, self.options.clock_skew_max_ms)
            {
                let ahead_ms = skew.ahead_ms;
                effects.push(Effect::Note(Note::ClockSkew {
                    node: from,
                    ahead_ms,
                }));
                self.counters.add("skewed_stamps");
                return Err(Refusal::Skew);
            }
        }
        match hint_for {
            None if !self.is_owner_here(partition) => Err(Refusal::NotOwner),
            None => self
                .take_events(partition, events, effects)
                .map_err(|e| self.failed(&e, effects)),
            Some(owner) => {
                for event in events {
                    match self.replica.keep_hint(owner, &event.key, &event.event) {
                        Ok(()) => {}
                        Err(HintRefused::Full { .. }) => return Err(Refusal::Full),
                        Err(HintRefused::Store(error)) => return Err(self.failed(&error, effects)),
                    }
                }
                Ok(())
            }
        }
    }

    pub(crate) fn take_events(
        &mut self,
        partition: PartitionId,
        events: &[RowEvent],
        effects: &mut Vec<Effect>,
    ) -> Result<(), StoreError> {
        self.note_rows(partition, events.iter().map(|event| &event.key));
        for RowEvent { key, event } in events {
            let taken = self.replica.take(key, event)?;
            if taken == Taken::New {
                self.note_lww_losers(partition, [key], effects);
            }
        }
        Ok(())
    }

    fn is_lww(&self, key: &RowKey) -> bool {
        match self.view.bucket(key.bucket).map(|bucket| bucket.kind) {
            Some(Kind::Lww) => true,
            Some(Kind::Map) => {
                FieldPath::parse(&key.subkey).is_ok_and(|(_, _, kind)| kind == RowKind::Lww)
            }
            _ => false,
        }
    }

    /// Of concurrent lww writes all but one are lost: that is never silent, by whatever way they met here.
    /// What was taken stays taken if it can't be read again now.
    pub(crate) fn note_lww_losers<'a>(
        &mut self,
        partition: PartitionId,
        taken: impl IntoIterator<Item = &'a RowKey>,
        effects: &mut Vec<Effect>,
    ) {
        if !self.replica.owns(partition) {
            return;
        }
        for key in taken {
            if !self.is_lww(key) {
                continue;
            }
            match self.replica.row(key) {
                Ok(row) => self.note_lww_losers_of(key, &row, effects),
                Err(error) => self.note_store_error(&error, effects),
            }
        }
    }

    /// As [`Self::note_lww_losers`], of a row that this node has read.
    pub(crate) fn note_lww_losers_of(
        &mut self,
        key: &RowKey,
        row: &Row,
        effects: &mut Vec<Effect>,
    ) {
        if row.cells().len() > 1 {
            self.note_lww_concurrent(key, effects);
        }
    }

    /// Concurrent writes of a row have met, if it is an lww one.
    pub(crate) fn note_lww_concurrent(&mut self, key: &RowKey, effects: &mut Vec<Effect>) {
        if self.is_lww(key) {
            self.counters.add("lww_concurrent");
            effects.push(Effect::Note(Note::LwwConcurrent { key: key.clone() }));
        }
    }

    /// Has something done when all that is staged is held as `ack` says.
    pub(crate) fn wait_for(&mut self, ack: AckWhen, waiting: Waiting) {
        self.commits.wait(ack, waiting);
    }

    /// Whether as much waits for the disk as may.
    pub(crate) fn must_not_wait(&self) -> bool {
        self.commits.len() >= self.options.commits_waiting_max
    }

    /// Whether what is offered again by itself has to be: it leaves half of the waits to requests.
    pub(crate) fn must_put_off(&self) -> bool {
        self.commits.len() * 2 >= self.options.commits_waiting_max
    }

    fn compare(
        &mut self,
        partition: PartitionId,
        rows: &[RowDots],
        seen: &Clock,
        effects: &mut Vec<Effect>,
    ) -> Result<OperationMessage, Refusal> {
        self.check_readable(partition)?;
        let mut differing = Vec::new();
        for RowDots { key, dots } in rows {
            let row = self
                .replica
                .row(key)
                .map_err(|error| self.failed(&error, effects))?;
            if row.dots() != *dots {
                differing.push(KeyedRow {
                    key: key.clone(),
                    row,
                });
            }
        }
        let clock = match differing.is_empty() {
            true => Clock::new(),
            false => self.replica.clock(partition).clone(),
        };
        Ok(OperationMessage::Compared {
            rows: differing,
            clock,
            holds: seen.intersection(self.replica.clock(partition)),
        })
    }

    fn compare_range(
        &mut self,
        partition: PartitionId,
        range: &RowRange,
        clock: &Clock,
        rows_max: u32,
        effects: &mut Vec<Effect>,
    ) -> Result<OperationMessage, Refusal> {
        self.check_readable(partition)?;
        let rows_max = rows_max.clamp(1, dunlin_protocol::limits::PAGE_MAX) as usize;
        let beyond = self
            .replica
            .rows_beyond(partition, clock, range, RANGE_DOTS_MAX, rows_max);
        let beyond = beyond.map_err(|error| self.failed(&error, effects))?;
        Ok(OperationMessage::RangeCompared {
            coverage: beyond.coverage,
            rows: beyond.rows,
            clock: beyond.clock,
            complete_to: beyond.complete_to,
        })
    }

    /// Whether this node owns a partition and takes part in it already. One that it owns no longer it
    /// may still hold, to hand it over; one that it regains it may not hold yet.
    pub(crate) fn is_owner_here(&self, partition: PartitionId) -> bool {
        self.replica.owns(partition) && self.view.is_owner(self.view.me, partition)
    }

    /// Whether this node's copy of a partition counts: it is whole, and nobody remembers more of it.
    pub(crate) fn counts_for_reads(&self, partition: PartitionId) -> bool {
        self.view.vouched && self.replica.is_whole(partition)
    }

    /// Only a whole owner's answer may count for a read.
    fn check_readable(&self, partition: PartitionId) -> Result<(), Refusal> {
        if !self.is_owner_here(partition) {
            Err(Refusal::NotOwner)
        } else if !self.counts_for_reads(partition) {
            Err(Refusal::Filling)
        } else {
            Ok(())
        }
    }

    fn take_read_repair(
        &mut self,
        partition: PartitionId,
        rows: &[RepairRow],
        context: &Clock,
        effects: &mut Vec<Effect>,
    ) {
        if self.is_owner_here(partition) && self.storage == StorageState::Ready {
            self.counters.add("read_repaired");
            if let Err(error) = self.replica.take_rows(partition, rows, context) {
                self.note_store_error(&error, effects);
            }
            self.note_rows(partition, rows.iter().map(|row| &row.key));
            self.note_lww_losers(partition, rows.iter().map(|row| &row.key), effects);
        }
    }

    fn failed(&mut self, error: &StoreError, effects: &mut Vec<Effect>) -> Refusal {
        self.note_store_error(error, effects);
        Refusal::Failed
    }
}
