//! The network: whether a message arrives, how often, and when.
//!
//! Places are numbered: the nodes first, then the clients. Each directed link between two of them is of its
//! own sort, drawn from the seed and the two places: so the way there may be fast and the way back far, lossy
//! or in disorder. Each has a generator of its own too, so that what happens on one link, or to one message
//! more or less, changes no draw of another.
//!
//! A split is a set of directed links that carry nothing; a link may be cut by several. What is on its way
//! when a link is cut still arrives, so messages overtake each other and come late.

use std::collections::{BTreeMap, BTreeSet};

use dunlin_protocol::peer::{ControlMessage, OperationMessage, PeerBody};

use crate::options::{Links, NetworkOptions, below, chance, stream};

/// A far link's way is so much longer.
pub(crate) const FAR_US: u64 = 30_000;
/// Of a thousand messages of a lossy link, so many are lost.
const LOSSY_PERMILLE: u64 = 250;
/// Of a thousand messages of an uneven link, so many are slow.
const UNEVEN_PERMILLE: u64 = 200;

/// All links.
#[derive(Debug)]
pub(crate) struct Network {
    seed: u64,
    options: NetworkOptions,
    healed: bool,
    /// Which messages are lost because of what they say.
    missed: fastrand::Rng,
    links: Vec<Vec<Link>>,
    splits: BTreeMap<u64, BTreeSet<(usize, usize)>>,
    next_split: u64,
}

/// One directed link.
#[derive(Debug)]
struct Link {
    options: NetworkOptions,
    /// Whether messages arrive in the order in which they were sent.
    in_order: bool,
    last_arrival: u64,
    rng: fastrand::Rng,
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
    pub(crate) fn new(seed: u64, options: NetworkOptions) -> Self {
        Self {
            seed,
            options,
            healed: false,
            missed: stream(seed, "missed messages", 0),
            links: Vec::new(),
            splits: BTreeMap::new(),
            next_split: 0,
        }
    }

    /// The delays after which copies of a message arrive; none if it is lost.
    pub(crate) fn send(
        &mut self,
        now: u64,
        from: usize,
        to: usize,
        repeatable: bool,
    ) -> impl Iterator<Item = u64> + use<> {
        let is_cut = self.is_cut(from, to);
        let link = self.link(from, to);
        // Drawn in any case, so that a split changes nothing of what comes after it.
        let is_lost = chance(&mut link.rng, link.options.loss_permille);
        let first = link.delay(now);
        let is_repeated = chance(&mut link.rng, link.options.duplicate_permille) && repeatable;
        let second = is_repeated.then(|| link.delay(now));
        let delays = match is_cut || is_lost {
            true => [None, None],
            false => [Some(first), second],
        };
        delays.into_iter().flatten()
    }

    /// Whether a message does not arrive because of what it says.
    pub(crate) fn misses(&mut self, body: &PeerBody) -> bool {
        let permille = match body {
            PeerBody::Operation {
                message: OperationMessage::Replicate { .. },
                ..
            } => self.options.missed_permille,
            PeerBody::Control(ControlMessage::Know { .. }) => self.options.news_lost_permille,
            _ => 0,
        };
        !self.healed && chance(&mut self.missed, permille)
    }

    fn link(&mut self, from: usize, to: usize) -> &mut Link {
        while self.links.len() <= from {
            self.links.push(Vec::new());
        }
        let links = &mut self.links[from];
        while links.len() <= to {
            let name = ((from as u64) << 32) | links.len() as u64;
            let mut link = Link::draw(self.seed, name, self.options);
            if self.healed {
                link.heal();
            }
            links.push(link);
        }
        &mut links[to]
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
        let bridge = below(rng, nodes);
        let (a, b) = (below(rng, nodes), below(rng, places));
        let is_cut = |from: usize, to: usize| match shape {
            Shape::TwoWay => side[from] != side[to],
            Shape::OneWay => side[from] && !side[to],
            Shape::Bridge => side[from] != side[to] && from != bridge && to != bridge,
            Shape::Link => from == a && to == b,
        };
        self.cut(places, is_cut)
    }

    /// Cuts these links; returns the name of the split.
    pub(crate) fn cut(&mut self, places: usize, is_cut: impl Fn(usize, usize) -> bool) -> u64 {
        let all = (0..places).flat_map(|from| (0..places).map(move |to| (from, to)));
        let cut = all.filter(|(from, to)| is_cut(*from, *to)).collect();
        self.next_split += 1;
        self.splits.insert(self.next_split, cut);
        self.next_split
    }

    /// Whether a link carries nothing.
    pub(crate) fn is_cut(&self, from: usize, to: usize) -> bool {
        self.splits.values().any(|cut| cut.contains(&(from, to)))
    }

    /// Whether no link is cut, but for those of one split.
    pub(crate) fn is_whole_but(&self, split: Option<u64>) -> bool {
        self.splits.keys().all(|name| Some(*name) == split)
    }

    pub(crate) fn heal(&mut self, split: u64) {
        self.splits.remove(&split);
    }

    /// Every link carries every message, and none is late, from now on. Far places are as far as before.
    pub(crate) fn heal_all(&mut self) {
        self.splits.clear();
        self.healed = true;
        for link in self.links.iter_mut().flatten() {
            link.heal();
        }
    }
}

impl Link {
    fn draw(seed: u64, name: u64, usual: NetworkOptions) -> Self {
        let mut rng = stream(seed, "link", name);
        let mut options = usual;
        let Links {
            far,
            lossy,
            fast,
            uneven,
            in_order,
        } = usual.links;
        let mut at = rng.u64(..1000);
        let mut is = |permille: u64| {
            let is = at < permille;
            at = if is { 1000 } else { at - permille };
            is
        };
        if is(far) {
            options.delay_us_min += FAR_US;
            options.delay_us_max += FAR_US;
        } else if is(lossy) {
            options.loss_permille = LOSSY_PERMILLE;
        } else if is(fast) {
            options.delay_us_max = options.delay_us_min;
            (options.loss_permille, options.slow_permille) = (0, 0);
        } else if is(uneven) {
            options.slow_permille = UNEVEN_PERMILLE;
            options.duplicate_permille = UNEVEN_PERMILLE;
        }
        Self {
            in_order: chance(&mut rng, in_order),
            options,
            last_arrival: 0,
            rng,
        }
    }

    fn heal(&mut self) {
        self.options.loss_permille = 0;
        self.options.slow_permille = 0;
    }

    fn delay(&mut self, now: u64) -> u64 {
        let NetworkOptions {
            delay_us_min,
            delay_us_max,
            slow_permille,
            ..
        } = self.options;
        let usual = self.rng.u64(delay_us_min..=delay_us_max.max(delay_us_min));
        let factor = self.rng.u64(2..=100);
        let delay = match chance(&mut self.rng, slow_permille) {
            true => usual * factor,
            false => usual,
        };
        if !self.in_order {
            return delay;
        }
        self.last_arrival = self.last_arrival.max(now + delay);
        self.last_arrival - now
    }
}
