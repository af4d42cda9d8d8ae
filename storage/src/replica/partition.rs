//! What a replica holds in memory of one partition: its clock, and what hangs on it.
//!
//! ```text
//!   row key:   ........................|......................
//!              rows that a transfer    ^ covered     rows that it has
//!              has brought: read                     not reached: read
//!              under clock ∪ context                 under clock
//! ```
//!
//! A whole transfer brings millions of rows in the order of their keys, and their dots in no order.
//! Were each dot claimed as its row arrives, the clock would break into as many ranges, and so would
//! the `past` of every row. So the context of the first page is held beside the clock, with the row
//! up to which it is true, and joins the clock when the transfer is done.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use dunlin_crdt::{ActorId, Clock, Dot, Row};
use dunlin_ring::{NodeId, PartitionId};

use super::record::PartitionRecord;
use super::seen::PeerClock;
use super::tally::Count;
use crate::key::Place;

/// An actor of this replica: it holds every event that it minted, which makes counters true.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Actor {
    pub(super) id: ActorId,
    /// The counter of its last dot.
    pub(super) last: u64,
}

impl Actor {
    /// An actor that no clock given here knows.
    pub(super) fn draw(rng: &mut fastrand::Rng, clock: &Clock) -> Self {
        loop {
            let id = ActorId(rng.u64(..));
            if clock.highest(id) == 0 {
                return Self { id, last: 0 };
            }
        }
    }

    pub(super) fn mint(&mut self) -> Dot {
        self.last += 1;
        Dot::new(self.id, self.last)
    }
}

/// A whole transfer under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Transfer {
    /// The rows that it has brought.
    pub(super) covered: Covered,
    /// The clock under which they came: that of the first page.
    pub(super) context: Clock,
    /// Set when it was abandoned: the rows up to this one have their context back, and need no
    /// transfer to be read. No page continues it any more.
    pub(super) given_back: Option<Bytes>,
}

/// How far a transfer has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Covered {
    /// Up to and with this row, by its stored key.
    UpTo(Bytes),
    /// To the end.
    All,
}

impl Transfer {
    /// Whether the page after this row is its next one.
    pub(super) fn is_continued_after(&self, row: &Bytes) -> bool {
        self.given_back.is_none() && matches!(&self.covered, Covered::UpTo(last) if last == row)
    }

    pub(super) fn covers(&self, row: &[u8]) -> bool {
        if self
            .given_back
            .as_ref()
            .is_some_and(|last| row <= &last[..])
        {
            return false;
        }
        match &self.covered {
            Covered::UpTo(last) => row <= &last[..],
            Covered::All => true,
        }
    }
}

/// How many ticks until a change of the clock counts as settled: the snapshot that pulls are
/// compared with is then at least one whole tick old.
const TICKS_TO_SETTLE: u8 = 2;

/// Up to so many ranges of dots a row remembers whatever it takes to strip it of those that the clock
/// has. Beyond, it rather keeps some that need not be remembered than break what it remembers into
/// more pieces.
const PAST_PIECES: usize = 32;

pub(super) struct Partition {
    /// The dots whose effect this replica holds.
    clock: Clock,
    /// Where its rows and its pending index lie: under the epoch in which it was gained.
    pub(super) rows_at: Place,
    /// Which log is believed; see `key`. Invariant: not before that of the rows.
    pub(super) epoch: u32,
    whole: bool,
    /// Whether rows may show dots that the clock lacks, as it was given up.
    unvouched: bool,
    transfer: Option<Transfer>,
    /// Whether the record in the store, with the log, may say less than this one.
    dirty: bool,
    /// The clock at the last tick, and at the tick before it.
    at_last_tick: Clock,
    settled: Clock,
    unsettled_ticks: u8,
    /// So much of the clock is known to be on the disk.
    pub(super) synced: Clock,
    /// Drawn when the first dot is minted.
    pub(super) actor: Option<Actor>,
    /// The actor at the last clean close, which may mint again once nobody remembers more of this store
    /// than it holds.
    pub(super) closed_actor: Option<Actor>,
    /// Invariant: the stored keys of the rows whose past is not empty.
    pub(super) pending: BTreeSet<Bytes>,
    /// Where the next round over the pending rows goes on.
    pub(super) strip_after: Option<Bytes>,
    /// The clocks of other owners, as last heard.
    pub(super) peers: BTreeMap<NodeId, PeerClock>,
    /// Dots that surely have no log entry any more.
    pub(super) unlogged: Clock,
    /// Whether entries of older epochs may be left.
    pub(super) stale_log: bool,
    pub(super) rows: Count,
    pub(super) log: Count,
}

impl Partition {
    /// A partition as its record and its log say; nothing is counted yet.
    pub(super) fn new(
        partition: PartitionId,
        record: PartitionRecord,
        pending: BTreeSet<Bytes>,
    ) -> Self {
        Self {
            rows_at: Place {
                partition,
                epoch: record.rows_epoch,
            },
            at_last_tick: record.clock.clone(),
            settled: record.clock.clone(),
            clock: record.clock,
            stale_log: record.epoch > 0,
            epoch: record.epoch,
            whole: record.whole,
            unvouched: record.unvouched,
            transfer: record.transfer,
            dirty: false,
            unsettled_ticks: 0,
            synced: Clock::new(),
            actor: None,
            closed_actor: None,
            pending,
            strip_after: None,
            peers: BTreeMap::new(),
            unlogged: Clock::new(),
            rows: Count::default(),
            log: Count::default(),
        }
    }

    /// Where the log lies that is believed.
    pub(super) fn log_at(&self) -> Place {
        Place {
            epoch: self.epoch,
            ..self.rows_at
        }
    }

    pub(super) fn clock(&self) -> &Clock {
        &self.clock
    }

    pub(super) fn settled(&self) -> &Clock {
        &self.settled
    }

    pub(super) fn is_whole(&self) -> bool {
        self.whole
    }

    pub(super) fn mark_whole(&mut self) {
        self.whole = true;
    }

    pub(super) fn is_unvouched(&self) -> bool {
        self.unvouched
    }

    /// Says that every dot that a row shows is claimed.
    pub(super) fn mark_vouched(&mut self) {
        self.unvouched = false;
        self.dirty = true;
    }

    pub(super) fn mark_filling(&mut self) {
        self.whole = false;
    }

    pub(super) fn transfer(&self) -> Option<&Transfer> {
        self.transfer.as_ref()
    }

    pub(super) fn set_transfer(&mut self, transfer: Option<Transfer>) {
        self.transfer = transfer;
        self.dirty = true;
    }

    /// Says that a part of the clock is in the log alone: pruning has to write the clock down first.
    pub(super) fn mark_dirty(&mut self) {
        self.dirty = true;
    }

    pub(super) fn is_dirty(&self) -> bool {
        self.dirty
    }

    /// The record to store; the caller stages it.
    pub(super) fn record(&mut self) -> PartitionRecord {
        self.dirty = false;
        PartitionRecord {
            whole: self.whole,
            unvouched: self.unvouched,
            epoch: self.epoch,
            rows_epoch: self.rows_at.epoch,
            clock: self.clock.clone(),
            transfer: self.transfer.clone(),
        }
    }

    /// Whether the effect of this event on this row is held, be it by way of a transfer that has not
    /// ended yet and whose dots are not claimed.
    pub(super) fn holds(&self, row: &[u8], dot: &Dot) -> bool {
        self.clock.contains(dot)
            || self
                .transfer
                .as_ref()
                .is_some_and(|t| t.context.contains(dot) && t.covers(row))
    }

    /// Adds a dot whose effect is staged in the same batch.
    pub(super) fn claim(&mut self, dot: Dot) {
        // A dot of our own that we never minted: someone runs a copy of this disk. It keeps the
        // actor; we draw another.
        let is_true = |own: &Actor| own.id != dot.actor || dot.counter <= own.last;
        self.actor = self.actor.filter(is_true);
        self.closed_actor = self.closed_actor.filter(is_true);
        self.clock.add(dot);
        self.changed();
    }

    /// Adds the dots of a clock whose effects are held.
    pub(super) fn claim_all(&mut self, clock: &Clock) {
        let is_true = |own: &Actor| clock.highest(own.id) <= own.last;
        self.actor = self.actor.filter(is_true);
        self.closed_actor = self.closed_actor.filter(is_true);
        self.clock.join(clock);
        self.changed();
    }

    fn changed(&mut self) {
        self.dirty = true;
        self.unsettled_ticks = TICKS_TO_SETTLE;
    }

    pub(super) fn settle(&mut self) {
        if self.unsettled_ticks > 0 {
            self.unsettled_ticks -= 1;
            self.settled = std::mem::replace(&mut self.at_last_tick, self.clock.clone());
        }
    }

    /// Gives a row that was just loaded the context under which it was stored, as far as the clock
    /// does not say it: from here on it is a row under the clock, like any other.
    pub(super) fn unfold(&self, stored: &[u8], row: &mut Row) {
        if let Some(transfer) = self
            .transfer
            .as_ref()
            .filter(|transfer| transfer.covers(stored))
        {
            // Joined with itself, a row keeps its cells and remembers the context.
            let same = row.clone();
            row.join(&self.clock, &same, &transfer.context);
            row.strip(&self.clock);
        }
    }

    /// A row as it may leave the node: without cells that were found after damage and that the clock
    /// does not hold yet. A peer would take such a cell for its event, and claim it without knowing
    /// what the event replaced.
    pub(super) fn vouched_row(&self, stored: &[u8], mut row: Row) -> Row {
        if self.unvouched {
            let doubtful: Clock = row
                .cells()
                .iter()
                .filter(|(dot, _)| !self.holds(stored, dot))
                .map(|(dot, _)| *dot)
                .collect();
            row.join(&self.clock, &Row::new(), &doubtful);
            row.strip(&doubtful);
        }
        row
    }

    /// Takes from a row that is about to be stored what is remembered for it elsewhere. One without a
    /// cell keeps it: it would be erased, and should the transfer be given up, nobody would find it
    /// to give it the context back under which an event that we hold has emptied it.
    pub(super) fn fold(&self, stored: &[u8], row: &mut Row) {
        if !row.past().is_empty() {
            let stripped = row.past().minus(&self.clock);
            let pieces = stripped.ranges_by_actor().count();
            // What is left on the way of an abandoned transfer is its context with a hole for each
            // row that it brought: as many in each of as many rows.
            if pieces <= PAST_PIECES || pieces <= row.past().ranges_by_actor().count() {
                row.strip(&self.clock);
            }
        }
        if let Some(transfer) = self
            .transfer
            .as_ref()
            .filter(|transfer| transfer.covers(stored) && !row.cells().is_empty())
        {
            row.strip(&transfer.context);
        }
    }
}
