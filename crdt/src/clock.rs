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
use std::{fmt, iter};

use bytes::Bytes;
use crdts::{CvRDT, ResetRemove, VClock};

use crate::dot::{ActorId, Dot};
use crate::encoding::{DecodeError, Reader, put_u64, put_varint, serde_as_bytes};
use crate::ranges::{Held, Ranges};

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
        self.add_range(dot.actor, dot.counter, dot.counter);
    }

    /// Adds the dots `(actor, start..=end)`, none if `start > end`.
    pub fn add_range(&mut self, actor: ActorId, start: u64, end: u64) {
        let prefix = self.base.get(&actor);
        if end <= prefix || end < start {
            return;
        }
        // There is a counter past the prefix, as `end` is one.
        if start > prefix + 1 {
            self.beyond.entry(actor).or_default().insert(start, end);
            return;
        }
        let mut reached = end;
        if let Some(ranges) = self.beyond.get_mut(&actor) {
            reached = ranges.absorb(end);
            if ranges.is_empty() {
                self.beyond.remove(&actor);
            }
        }
        self.base.dots.insert(actor, reached);
    }

    /// The highest counter held of an actor, 0 if none.
    pub fn highest(&self, actor: ActorId) -> u64 {
        let beyond = self.beyond.get(&actor).and_then(Ranges::last_end);
        beyond.unwrap_or_else(|| self.base.get(&actor))
    }

    /// The counter up to which every dot of the actor is held.
    pub fn contiguous(&self, actor: ActorId) -> u64 {
        self.base.get(&actor)
    }

    /// The actors that have a dot in it, in order.
    pub fn actors(&self) -> impl Iterator<Item = ActorId> + '_ {
        self.by_actor().map(|(actor, _)| actor)
    }

    /// Adds every dot of the other. Cost: what the other holds, not what this one does.
    pub fn join(&mut self, other: &Clock) {
        if self.is_empty() {
            self.clone_from(other);
            return;
        }
        for (actor, counter) in &other.base.dots {
            self.add_range(*actor, 1, *counter);
        }
        for (actor, ranges) in &other.beyond {
            for (start, end) in ranges.iter() {
                self.add_range(*actor, start, end);
            }
        }
    }

    /// The dots of this one that the other lacks.
    pub fn minus(&self, other: &Clock) -> Clock {
        let mut left = Clock::new();
        for (actor, held) in self.by_actor() {
            // Most actors are quiet: nothing of them is missing and nothing is beyond.
            if held.beyond.is_some() || held.prefix > other.base.get(&actor) {
                left.put(actor, held.minus(other.held(actor)));
            }
        }
        left
    }

    /// The dots that are in both.
    pub fn intersection(&self, other: &Clock) -> Clock {
        let mut both = Clock::new();
        for (actor, held) in self.by_actor() {
            let (mut few, mut many) = (held, other.held(actor));
            if many.len() < few.len() {
                (few, many) = (many, few);
            }
            let common = few
                .iter()
                .flat_map(move |(start, end)| many.within(start, end));
            both.put(actor, common);
        }
        both
    }

    /// Whether every dot of this one is in the other.
    pub fn is_subset(&self, other: &Clock) -> bool {
        self.by_actor().all(|(actor, held)| {
            let container = other.held(actor);
            held.iter().all(|(start, end)| container.covers(start, end))
        })
    }

    /// How many dots it holds; `u64::MAX` if there are more than that.
    pub fn len(&self) -> u64 {
        self.ranges_by_actor()
            .map(|(_, start, end)| end - start + 1)
            .fold(0, u64::saturating_add)
    }

    /// The dots as inclusive ranges `(actor, start, end)`, in order. Cost: the number of ranges.
    pub fn ranges_by_actor(&self) -> impl Iterator<Item = (ActorId, u64, u64)> + '_ {
        self.by_actor()
            .flat_map(|(actor, held)| held.iter().map(move |(start, end)| (actor, start, end)))
    }

    /// Every dot, in order of actor and counter.
    ///
    /// Unfit for: clocks from outside. Cost is the number of dots, and a few bytes can name 2^64 of
    /// them; [`ranges_by_actor`](Self::ranges_by_actor) is safe.
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
            let count = reader.count(2)?;
            let mut ranges = Vec::with_capacity(count);
            let mut last_end = 0u64;
            let mut least = clock.base.get(&actor).checked_add(2);
            for _ in 0..count {
                let start = last_end.checked_add(reader.varint()?);
                let start = start.filter(|start| least.is_some_and(|least| least <= *start));
                let start = start.ok_or(DecodeError::NotCanonical)?;
                let end = start.checked_add(reader.varint()?);
                last_end = end.ok_or(DecodeError::NotCanonical)?;
                least = last_end.checked_add(2);
                ranges.push((start, last_end));
            }
            if ranges.is_empty() {
                return Err(DecodeError::NotCanonical);
            }
            let ranges = ranges.into_iter().collect();
            clock.beyond.insert(actor, ranges);
        }
        Ok(clock)
    }

    fn held(&self, actor: ActorId) -> Held<'_> {
        Held {
            prefix: self.base.get(&actor),
            beyond: self.beyond.get(&actor),
        }
    }

    /// Both maps, side by side.
    fn by_actor(&self) -> impl Iterator<Item = (ActorId, Held<'_>)> {
        let mut base = self.base.dots.iter().peekable();
        let mut beyond = self.beyond.iter().peekable();
        iter::from_fn(move || {
            let actor = match (base.peek(), beyond.peek()) {
                (Some((left, _)), Some((right, _))) => **left.min(right),
                (Some((actor, _)), None) => **actor,
                (None, Some((actor, _))) => **actor,
                (None, None) => return None,
            };
            let prefix = base.next_if(|(at, _)| **at == actor);
            let ranges = beyond.next_if(|(at, _)| **at == actor);
            let held = Held {
                prefix: prefix.map_or(0, |(_, counter)| *counter),
                beyond: ranges.map(|(_, ranges)| ranges),
            };
            Some((actor, held))
        })
    }

    /// Fills in an actor that has no dot yet, from canonical ranges: the prefix goes to `base`, the rest
    /// to `beyond`.
    fn put(&mut self, actor: ActorId, ranges: impl Iterator<Item = (u64, u64)>) {
        let mut ranges = ranges.peekable();
        if let Some((_, prefix)) = ranges.next_if(|(start, _)| *start == 1) {
            self.base.dots.insert(actor, prefix);
        }
        if ranges.peek().is_some() {
            self.beyond.insert(actor, ranges.collect());
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
