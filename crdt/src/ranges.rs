//! A set of counters as sorted, disjoint, non-adjacent inclusive ranges.

/// Invariant: `start <= end` in each range, and each start is at least two past the end before it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ranges(Vec<(u64, u64)>);

impl Ranges {
    pub(crate) fn one(start: u64, end: u64) -> Self {
        Self(if start <= end {
            vec![(start, end)]
        } else {
            Vec::new()
        })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.0.iter().copied()
    }

    pub(crate) fn contains(&self, counter: u64) -> bool {
        let after = self.0.partition_point(|(start, _)| *start <= counter);
        after
            .checked_sub(1)
            .and_then(|i| self.0.get(i))
            .is_some_and(|(_, end)| counter <= *end)
    }

    /// Adds a range at the end; merges it with the last one where they touch.
    pub(crate) fn push(&mut self, start: u64, end: u64) {
        match self.0.last_mut() {
            Some(last) if start <= last.1.saturating_add(1) => last.1 = last.1.max(end),
            _ => self.0.push((start, end)),
        }
    }

    pub(crate) fn pop_first(&mut self) -> Option<(u64, u64)> {
        if self.0.is_empty() {
            None
        } else {
            Some(self.0.remove(0))
        }
    }

    pub(crate) fn first(&self) -> Option<(u64, u64)> {
        self.0.first().copied()
    }

    pub(crate) fn union(&self, other: &Self) -> Self {
        let mut out = Self::default();
        let (mut left, mut right) = (self.iter().peekable(), other.iter().peekable());
        loop {
            let next = match (left.peek(), right.peek()) {
                (Some(a), Some(b)) if a.0 <= b.0 => left.next(),
                (_, Some(_)) => right.next(),
                (Some(_), None) => left.next(),
                (None, None) => return out,
            };
            if let Some((start, end)) = next {
                out.push(start, end);
            }
        }
    }

    pub(crate) fn minus(&self, other: &Self) -> Self {
        let mut out = Self::default();
        let mut cuts = other.iter().peekable();
        for (start, end) in self.iter() {
            let mut from = start;
            let mut whole = false;
            while let Some(&(cut_start, cut_end)) = cuts.peek() {
                if cut_start > end {
                    break;
                }
                if cut_end >= from {
                    if cut_start > from {
                        out.push(from, cut_start - 1);
                    }
                    if cut_end >= end {
                        whole = true;
                        break;
                    }
                    from = cut_end + 1;
                }
                cuts.next();
            }
            if !whole && from <= end {
                out.push(from, end);
            }
        }
        out
    }

    pub(crate) fn intersection(&self, other: &Self) -> Self {
        self.minus(&self.minus(other))
    }
}
