//! The network: whether a message arrives, how often, and when.
//!
//! Places are numbered: the nodes first, then the clients. A split is a set of directed links that
//! carry nothing; a link may be cut by several. What is on its way when a link is cut still arrives,
//! so messages overtake each other and come late.

use std::collections::{BTreeMap, BTreeSet};

use crate::options::{NetworkOptions, chance};

/// All links.
#[derive(Debug)]
pub(crate) struct Network {
    options: NetworkOptions,
    splits: BTreeMap<u64, BTreeSet<(usize, usize)>>,
    next_split: u64,
}

/// The shape of a split.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Two groups that do not hear each other.
    TwoWay,
    /// One group does not hear the other.
    OneWay,
    /// Two groups that do not hear each other, and one node that hears both.
    Bridge,
    /// One directed link.
    Link,
}

impl Network {
    pub(crate) fn new(options: NetworkOptions) -> Self {
        Self {
            options,
            splits: BTreeMap::new(),
            next_split: 0,
        }
    }

    /// The delays after which copies of a message arrive; none if it is lost.
    pub(crate) fn send(
        &self,
        rng: &mut fastrand::Rng,
        from: usize,
        to: usize,
        repeatable: bool,
    ) -> Vec<u64> {
        if self.splits.values().any(|cut| cut.contains(&(from, to)))
            || chance(rng, self.options.loss_permille)
        {
            return Vec::new();
        }
        let mut delays = vec![self.delay(rng)];
        if repeatable && chance(rng, self.options.duplicate_permille) {
            delays.push(self.delay(rng));
        }
        delays
    }

    fn delay(&self, rng: &mut fastrand::Rng) -> u64 {
        let NetworkOptions {
            delay_us_min,
            delay_us_max,
            slow_permille,
            ..
        } = self.options;
        let usual = rng.u64(delay_us_min..=delay_us_max.max(delay_us_min));
        if chance(rng, slow_permille) {
            usual * rng.u64(2..=100)
        } else {
            usual
        }
    }

    /// Cuts links between places; returns the name of the split.
    pub(crate) fn split(
        &mut self,
        rng: &mut fastrand::Rng,
        nodes: usize,
        places: usize,
        shape: Shape,
    ) -> u64 {
        let side: Vec<bool> = (0..places).map(|_| rng.bool()).collect();
        let bridge = rng.usize(..nodes);
        let (a, b) = (rng.usize(..nodes), rng.usize(..places));
        let is_cut = |from: usize, to: usize| match shape {
            Shape::TwoWay => side[from] != side[to],
            Shape::OneWay => side[from] && !side[to],
            Shape::Bridge => side[from] != side[to] && from != bridge && to != bridge,
            Shape::Link => from == a && to == b,
        };
        let all = (0..places).flat_map(|from| (0..places).map(move |to| (from, to)));
        let cut = all.filter(|(from, to)| is_cut(*from, *to)).collect();
        self.next_split += 1;
        self.splits.insert(self.next_split, cut);
        self.next_split
    }

    /// Whether no link is cut.
    pub(crate) fn is_whole(&self) -> bool {
        self.splits.is_empty()
    }

    pub(crate) fn heal(&mut self, split: u64) {
        self.splits.remove(&split);
    }

    /// Every link carries every message, once and fast, from now on.
    pub(crate) fn heal_all(&mut self) {
        self.splits.clear();
        self.options.loss_permille = 0;
        self.options.slow_permille = 0;
    }
}
