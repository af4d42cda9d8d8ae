//! The counters of one actor, as sorted, disjoint, non-adjacent inclusive ranges.
//!
//! Cost: adding, looking up and cutting out are logarithmic in the number of ranges, wherever they
//! happen, so an actor with many gaps is no slower to fill than one with few.

use std::collections::BTreeMap;
use std::iter;

/// Invariant: `start -> end` with `start <= end`, each start at least two past the end before it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ranges(BTreeMap<u64, u64>);

impl Ranges {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.0.iter().map(|(start, end)| (*start, *end))
    }

    pub(crate) fn last_end(&self) -> Option<u64> {
        self.0.last_key_value().map(|(_, end)| *end)
    }

    pub(crate) fn contains(&self, counter: u64) -> bool {
        let at_or_before = self.0.range(..=counter).next_back();
        at_or_before.is_some_and(|(_, end)| counter <= *end)
    }

    /// The ranges that do not end before `start`.
    fn from(&self, start: u64) -> impl Iterator<Item = (u64, u64)> + '_ {
        let around = self.0.range(..start).next_back();
        around
            .filter(|(_, end)| start <= **end)
            .into_iter()
            .chain(self.0.range(start..))
            .map(|(start, end)| (*start, *end))
    }

    /// Adds `start..=end`, which must not be empty.
    pub(crate) fn insert(&mut self, mut start: u64, mut end: u64) {
        if let Some((before, before_end)) = self.0.range(..=start).next_back()
            && start <= before_end.saturating_add(1)
        {
            if end <= *before_end {
                return;
            }
            start = *before;
        }
        while let Some((touched, touched_end)) =
            self.0.range(start..=end.saturating_add(1)).next_back()
        {
            let touched = *touched;
            end = end.max(*touched_end);
            self.0.remove(&touched);
        }
        self.0.insert(start, end);
    }

    /// Takes out the ranges that `1..=end` overlaps or touches, and returns where their union ends.
    pub(crate) fn absorb(&mut self, mut end: u64) -> u64 {
        while let Some(first) = self.0.first_entry()
            && *first.key() <= end.saturating_add(1)
        {
            end = end.max(first.remove());
        }
        end
    }
}

impl FromIterator<(u64, u64)> for Ranges {
    /// Collects ranges that are sorted, disjoint and non-adjacent already.
    fn from_iter<I: IntoIterator<Item = (u64, u64)>>(ranges: I) -> Self {
        Self(ranges.into_iter().collect())
    }
}

/// All that a clock holds of one actor: the counters `1..=prefix`, and ranges that do not touch them.
#[derive(Clone, Copy)]
pub(crate) struct Held<'a> {
    pub(crate) prefix: u64,
    pub(crate) beyond: Option<&'a Ranges>,
}

impl<'a> Held<'a> {
    pub(crate) fn len(self) -> usize {
        usize::from(self.prefix > 0) + self.beyond.map_or(0, Ranges::len)
    }

    pub(crate) fn iter(self) -> impl Iterator<Item = (u64, u64)> + 'a {
        self.from(0)
    }

    /// The ranges that do not end before `start`.
    fn from(self, start: u64) -> impl Iterator<Item = (u64, u64)> + 'a {
        let prefix = (self.prefix > 0 && start <= self.prefix).then_some((1, self.prefix));
        let beyond = self.beyond.into_iter();
        prefix
            .into_iter()
            .chain(beyond.flat_map(move |ranges| ranges.from(start)))
    }

    /// Whether all of `start..=end` is held: then it lies in one range, as no two ranges are adjacent.
    pub(crate) fn covers(self, start: u64, end: u64) -> bool {
        let first = self.from(start).next();
        first.is_some_and(|(from, to)| from <= start && end <= to)
    }

    /// What is held of `start..=end`.
    pub(crate) fn within(self, start: u64, end: u64) -> impl Iterator<Item = (u64, u64)> + 'a {
        self.from(start)
            .take_while(move |(from, _)| *from <= end)
            .map(move |(from, to)| (from.max(start), to.min(end)))
    }

    /// What the other lacks. Cost: linear where both have many ranges, and a search in the other for
    /// each range where this one has few.
    pub(crate) fn minus(self, other: Held<'a>) -> impl Iterator<Item = (u64, u64)> + 'a {
        let mut held = self.iter();
        let mut rest = None;
        let mut cuts = other.from(0).peekable();
        iter::from_fn(move || {
            loop {
                let (start, end) = rest.take().or_else(|| held.next())?;
                let behind = |(_, to): &(u64, u64)| *to < start;
                if cuts.next_if(behind).is_some() && cuts.peek().is_some_and(behind) {
                    cuts = other.from(start).peekable();
                }
                match cuts.peek() {
                    Some(&(from, to)) if from <= end => {
                        rest = (to < end).then(|| (to + 1, end));
                        if start < from {
                            return Some((start, from - 1));
                        }
                    }
                    _ => return Some((start, end)),
                }
            }
        })
    }
}
