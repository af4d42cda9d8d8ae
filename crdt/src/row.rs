//! The smallest unit of conflict: the cells that nothing has replaced, and the one merge.
//!
//! ```text
//! join((ra, ca), (rb, cb)):      c = the clock that the row is read under
//!   keep (d, cell)  if d is in both rows
//!                or if d in ra and d not in cb ∪ rb.past
//!                or if d in rb and d not in ca ∪ ra.past
//! ```
//!
//! Source: *DottedDB* (SRDS 2017), section 4, with `past` kept per row in place of a filled context.

use bytes::Bytes;

use crate::cell::Cell;
use crate::clock::Clock;
use crate::dot::{ActorId, Dot, order};
use crate::encoding::{DecodeError, Reader, put_u64, put_varint, serde_as_bytes};
use crate::event::Event;
use crate::hlc::Millis;

/// Marks the first byte of an encoded row.
const VERSION: u8 = 1;

/// The cells of one row, and the dots of it that are known to be superseded but are not yet in the
/// clock that the row is stored under.
///
/// Invariants: cells are sorted by dot, each dot once; no cell's dot is in `past`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Row {
    cells: Vec<(Dot, Cell)>,
    past: Clock,
}

serde_as_bytes!(Row);

impl Row {
    /// A row of which nothing is known.
    pub fn new() -> Self {
        Self::default()
    }

    /// The cells, in order of their dots.
    pub fn cells(&self) -> &[(Dot, Cell)] {
        &self.cells
    }

    /// The cell of a dot.
    pub fn cell(&self, dot: &Dot) -> Option<&Cell> {
        self.position(dot)
            .ok()
            .and_then(|at| self.cells.get(at))
            .map(|(_, cell)| cell)
    }

    /// The dots known to be superseded that the clock of the row does not cover yet.
    pub fn past(&self) -> &Clock {
        &self.past
    }

    /// The dots of the cells: what a reader of this row has seen, and may replace.
    pub fn dots(&self) -> Clock {
        self.cells.iter().map(|(dot, _)| *dot).collect()
    }

    /// Whether there is nothing to keep: no cell, and no dot to remember.
    pub fn is_empty(&self) -> bool {
        self.cells.is_empty() && self.past.is_empty()
    }

    /// Joins a row from elsewhere, read under the clock `theirs`, into this one, stored under `mine`.
    ///
    /// Afterwards `past` also holds whatever the other side knew to be settled and `mine` does not
    /// cover; call [`strip`](Self::strip) with the clock under which the row will be stored. That clock
    /// must hold all of `mine`.
    pub fn join(&mut self, mine: &Clock, other: &Row, theirs: &Clock) {
        let gone_there = |dot: &Dot| theirs.contains(dot) || other.past.contains(dot);
        let gone_here = |dot: &Dot| mine.contains(dot) || self.past.contains(dot);
        let arriving: Vec<(Dot, Cell)> = other
            .cells
            .iter()
            .filter(|(dot, _)| self.position(dot).is_err() && !gone_here(dot))
            .cloned()
            .collect();
        self.cells
            .retain(|(dot, _)| other.position(dot).is_ok() || !gone_there(dot));
        if !arriving.is_empty() {
            self.cells.extend(arriving);
            self.cells.sort_unstable_by_key(|(dot, _)| order(dot));
        }
        let mut settled = theirs.minus(mine);
        settled.join(&other.past.minus(mine));
        if !settled.is_empty() {
            self.past.join(&settled.minus(&self.dots()));
        }
    }

    /// Takes one event from elsewhere into this row, stored under `mine`. The same as a join with a row
    /// of that one cell whose context is the event and what it replaces, without building either.
    pub fn take(&mut self, mine: &Clock, event: &Event) {
        let known = mine.contains(&event.dot) || self.past.contains(&event.dot);
        // An event does not replace itself, whatever the context says that its writer sent.
        self.cells
            .retain(|(dot, _)| *dot == event.dot || !event.replaces.contains(dot));
        let shown = match (self.position(&event.dot), &event.cell) {
            (Ok(_), Some(_)) => true,
            (Ok(at), None) => {
                self.cells.remove(at);
                false
            }
            (Err(at), Some(cell)) if !known => {
                self.cells.insert(at, (event.dot, cell.clone()));
                true
            }
            (Err(_), _) => false,
        };
        let own = Clock::from_iter([event.dot]);
        let mut settled = event.replaces.minus(mine);
        if shown {
            settled = settled.minus(&own);
        } else {
            settled.join(&own.minus(mine));
        }
        self.past.join(&settled);
    }

    /// Forgets of `past` what the clock covers.
    pub fn strip(&mut self, clock: &Clock) {
        if !self.past.is_empty() {
            self.past = self.past.minus(clock);
        }
    }

    /// Drops the cells that have expired. Their dots stay in the clock, so they count as removed.
    pub fn drop_expired(&mut self, now: Millis) {
        self.cells.retain(|(_, cell)| !cell.is_expired(now));
    }

    /// The canonical bytes: equal rows have equal bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64);
        self.encode_into(&mut out);
        out
    }

    /// Appends the canonical bytes.
    pub fn encode_into(&self, out: &mut Vec<u8>) {
        out.push(VERSION);
        put_varint(out, self.cells.len() as u64);
        for (dot, cell) in &self.cells {
            put_u64(out, dot.actor.0);
            put_varint(out, dot.counter);
            cell.encode_into(out);
        }
        self.past.encode_into(out);
    }

    /// Reads canonical bytes back; values share the given bytes.
    ///
    /// # Errors
    /// [`DecodeError`] for anything that [`encode`](Self::encode) does not produce.
    pub fn decode(bytes: &Bytes) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        match reader.u8()? {
            VERSION => {}
            other => return Err(DecodeError::Version(other)),
        }
        // The smallest cell takes an actor, a counter, a tag, a stamp and an operation.
        let count = reader.count(8 + 1 + 1 + 8 + 16)?;
        let mut cells: Vec<(Dot, Cell)> = Vec::with_capacity(count);
        for _ in 0..count {
            let dot = Dot::new(ActorId(reader.u64()?), reader.varint()?);
            if dot.counter == 0
                || cells
                    .last()
                    .is_some_and(|(last, _)| order(last) >= order(&dot))
            {
                return Err(DecodeError::NotCanonical);
            }
            cells.push((dot, Cell::read(&mut reader)?));
        }
        let past = Clock::read(&mut reader)?;
        reader.end()?;
        if cells.iter().any(|(dot, _)| past.contains(dot)) {
            return Err(DecodeError::NotCanonical);
        }
        Ok(Self { cells, past })
    }

    fn position(&self, dot: &Dot) -> Result<usize, usize> {
        self.cells
            .binary_search_by_key(&order(dot), |(at, _)| order(at))
    }
}
