//! A set of dots, stored compactly: the only notion of causality there is.
//!
//! ```text
//! base    actor -> n        the dots (actor, 1..=n)
//! beyond  actor -> ranges   the dots after a gap
//! ```
//!
//! A clock means *exactly* the dots in it; no operation adds one that was not given. It serves as the
//! clock of a partition, as the `past` of a row and as the causal context that a client carries.

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;
use crdts::{CvRDT, ResetRemove, VClock};

use crate::dot::{ActorId, Dot};
use crate::encoding::{DecodeError, Reader, put_u64, put_varint, serde_as_bytes};
use crate::ranges::Ranges;

/// A set of dots. Invariant: `beyond` never touches `base` (a range that reached the prefix has been
/// folded into it), and holds no empty entry; so equal sets are equal values with equal bytes.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Clock {
    base: VClock<ActorId>,
    beyond: BTreeMap<ActorId, Ranges>,
}

serde_as_bytes!(Clock);

impl Clock {
    /// The empty set.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether there is no dot in it.
    pub fn is_empty(&self) -> bool {
        self.base.dots.is_empty() && self.beyond.is_empty()
    }

    /// Whether it holds the dot.
    pub fn contains(&self, dot: &Dot) -> bool {
        dot.counter > 0
            && (dot.counter <= self.base.get(&dot.actor)
                || self
                    .beyond
                    .get(&dot.actor)
                    .is_some_and(|r| r.contains(dot.counter)))
    }

    /// Adds one dot. Dots with counter 0 do not exist and are ignored.
    pub fn add(&mut self, dot: Dot) {
        if dot.counter == 0 || self.contains(&dot) {
            return;
        }
        if !self.beyond.contains_key(&dot.actor) && self.base.get(&dot.actor) + 1 == dot.counter {
            self.base.dots.insert(dot.actor, dot.counter);
            return;
        }
        self.add_range(dot.actor, dot.counter, dot.counter);
    }

    /// Adds the dots `(actor, start..=end)`.
    pub fn add_range(&mut self, actor: ActorId, start: u64, end: u64) {
        if start.max(1) <= end {
            let joined = self.ranges(actor).union(&Ranges::one(start.max(1), end));
            self.set(actor, joined);
        }
    }

    /// The highest counter held of an actor, 0 if none.
    pub fn highest(&self, actor: ActorId) -> u64 {
        let beyond = self.beyond.get(&actor).and_then(|r| r.iter().last());
        beyond.map_or_else(|| self.base.get(&actor), |(_, end)| end)
    }

    /// The counter up to which every dot of the actor is held.
    pub fn contiguous(&self, actor: ActorId) -> u64 {
        self.base.get(&actor)
    }

    /// The actors that have a dot in it, in order.
    pub fn actors(&self) -> impl Iterator<Item = ActorId> + '_ {
        let beyond = self
            .beyond
            .keys()
            .filter(|a| !self.base.dots.contains_key(*a));
        let mut all: Vec<ActorId> = self.base.dots.keys().chain(beyond).copied().collect();
        all.sort_unstable();
        all.into_iter()
    }

    /// Adds every dot of the other.
    pub fn join(&mut self, other: &Clock) {
        for (actor, counter) in &other.base.dots {
            if self.beyond.contains_key(actor) {
                self.add_range(*actor, 1, *counter);
            } else if self.base.get(actor) < *counter {
                self.base.dots.insert(*actor, *counter);
            }
        }
        for (actor, ranges) in &other.beyond {
            let joined = self.ranges(*actor).union(ranges);
            self.set(*actor, joined);
        }
    }

    /// The dots of this one that the other lacks.
    pub fn minus(&self, other: &Clock) -> Clock {
        if other.is_empty() || self.is_empty() {
            return self.clone();
        }
        let mut left = Clock::new();
        for actor in self.actors() {
            if self.beyond.contains_key(&actor) || self.base.get(&actor) > other.base.get(&actor) {
                left.set(actor, self.ranges(actor).minus(&other.ranges(actor)));
            }
        }
        left
    }

    /// The dots that are in both.
    pub fn intersection(&self, other: &Clock) -> Clock {
        let mut both = Clock::new();
        for actor in self.actors() {
            both.set(actor, self.ranges(actor).intersection(&other.ranges(actor)));
        }
        both
    }

    /// Whether every dot of this one is in the other.
    pub fn is_subset(&self, other: &Clock) -> bool {
        self.minus(other).is_empty()
    }

    /// How many dots it holds.
    pub fn len(&self) -> u64 {
        self.ranges_by_actor()
            .map(|(_, start, end)| end - start + 1)
            .sum()
    }

    /// The dots as inclusive ranges `(actor, start, end)`, in order. Cost: the number of ranges.
    pub fn ranges_by_actor(&self) -> impl Iterator<Item = (ActorId, u64, u64)> + '_ {
        self.actors().flat_map(|actor| {
            let ranges = self.ranges(actor);
            ranges
                .iter()
                .map(|(s, e)| (actor, s, e))
                .collect::<Vec<_>>()
        })
    }

    /// Every dot, in order of actor and counter. Cost: the number of dots.
    pub fn dots(&self) -> impl Iterator<Item = Dot> + '_ {
        self.ranges_by_actor()
            .flat_map(|(actor, start, end)| (start..=end).map(move |n| Dot::new(actor, n)))
    }

    /// The canonical bytes: equal clocks have equal bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(2 + 12 * self.base.dots.len());
        self.encode_into(&mut out);
        out
    }

    pub(crate) fn encode_into(&self, out: &mut Vec<u8>) {
        put_varint(out, self.base.dots.len() as u64);
        for (actor, counter) in &self.base.dots {
            put_u64(out, actor.0);
            put_varint(out, *counter);
        }
        put_varint(out, self.beyond.len() as u64);
        for (actor, ranges) in &self.beyond {
            put_u64(out, actor.0);
            put_varint(out, ranges.len() as u64);
            let mut last = 0;
            for (start, end) in ranges.iter() {
                put_varint(out, start - last);
                put_varint(out, end - start);
                last = end;
            }
        }
    }

    /// Reads canonical bytes back.
    ///
    /// # Errors
    /// [`DecodeError`] for anything that [`encode`](Self::encode) does not produce.
    pub fn decode(bytes: &Bytes) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let clock = Self::read(&mut reader)?;
        reader.end()?;
        Ok(clock)
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let mut clock = Self::new();
        let mut last = None;
        for _ in 0..reader.count(9)? {
            let actor = ActorId(reader.u64()?);
            let counter = reader.varint()?;
            if counter == 0 || last >= Some(actor) {
                return Err(DecodeError::NotCanonical);
            }
            last = Some(actor);
            clock.base.dots.insert(actor, counter);
        }
        let mut last = None;
        for _ in 0..reader.count(11)? {
            let actor = ActorId(reader.u64()?);
            if last >= Some(actor) {
                return Err(DecodeError::NotCanonical);
            }
            last = Some(actor);
            let mut ranges = Ranges::default();
            let mut end = clock.base.get(&actor);
            let mut gap = end.checked_add(2).ok_or(DecodeError::NotCanonical)?;
            for _ in 0..reader.count(2)? {
                let step = reader.varint()?;
                let start = match ranges.is_empty() {
                    true => step,
                    false => end.checked_add(step).ok_or(DecodeError::NotCanonical)?,
                };
                if start < gap {
                    return Err(DecodeError::NotCanonical);
                }
                end = start
                    .checked_add(reader.varint()?)
                    .ok_or(DecodeError::NotCanonical)?;
                gap = end.checked_add(2).ok_or(DecodeError::NotCanonical)?;
                ranges.push(start, end);
            }
            if ranges.is_empty() {
                return Err(DecodeError::NotCanonical);
            }
            clock.beyond.insert(actor, ranges);
        }
        Ok(clock)
    }

    fn ranges(&self, actor: ActorId) -> Ranges {
        let prefix = Ranges::one(1, self.base.get(&actor));
        match self.beyond.get(&actor) {
            Some(beyond) => prefix.union(beyond),
            None => prefix,
        }
    }

    /// Restores the invariant: the prefix goes to `base`, the rest to `beyond`.
    fn set(&mut self, actor: ActorId, mut ranges: Ranges) {
        self.base.dots.remove(&actor);
        self.beyond.remove(&actor);
        if let Some((1, end)) = ranges.first() {
            ranges.pop_first();
            self.base.dots.insert(actor, end);
        }
        if !ranges.is_empty() {
            self.beyond.insert(actor, ranges);
        }
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.ranges_by_actor()).finish()
    }
}

impl FromIterator<Dot> for Clock {
    fn from_iter<I: IntoIterator<Item = Dot>>(dots: I) -> Self {
        let mut clock = Clock::new();
        for dot in dots {
            clock.add(dot);
        }
        clock
    }
}

impl CvRDT for Clock {
    type Validation = std::convert::Infallible;

    fn validate_merge(&self, _: &Self) -> Result<(), Self::Validation> {
        Ok(())
    }

    fn merge(&mut self, other: Self) {
        self.join(&other);
    }
}

impl ResetRemove<ActorId> for Clock {
    fn reset_remove(&mut self, clock: &VClock<ActorId>) {
        *self = self.minus(&Clock {
            base: clock.clone(),
            beyond: BTreeMap::new(),
        });
    }
}
