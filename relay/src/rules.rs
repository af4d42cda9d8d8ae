//! What is done to the packets of each way: from one place to another.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use fastrand::Rng;

/// How much may wait where the rate is bounded; what comes on top is lost, as in a router.
const QUEUE_MAX: Duration = Duration::from_millis(200);

/// A node or a group of clients: the nodes come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place(
    /// Its number.
    pub usize,
);

/// What happens on the way from one place to another. By itself nothing does.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LinkRule {
    /// Nothing passes.
    pub cut: bool,
    /// How long every packet takes.
    pub delay: Duration,
    /// How much longer it takes at most; drawn evenly.
    pub jitter: Duration,
    /// The share that is lost, of one.
    pub loss: f64,
    /// The share that arrives twice.
    pub duplicate: f64,
    /// The share that is overtaken: it takes another delay and jitter, or a millisecond at least.
    pub reorder: f64,
    /// Bytes that pass in a second at most.
    pub bytes_per_second: Option<u64>,
}

/// When the copies of a packet leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fate {
    first: Option<Duration>,
    second: Option<Duration>,
}

impl Fate {
    /// It is lost.
    pub(crate) const DROPPED: Self = Self {
        first: None,
        second: None,
    };

    /// How long each copy is held back.
    pub(crate) fn copies(self) -> impl Iterator<Item = Duration> {
        self.first.into_iter().chain(self.second)
    }
}

/// The rules of all ways.
#[derive(Debug)]
pub struct Rules {
    places: usize,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    ways: Vec<WayState>,
    rng: Rng,
}

#[derive(Clone, Copy, Debug, Default)]
struct WayState {
    rule: LinkRule,
    /// When what is on its way now will have passed, where the rate is bounded.
    busy_until: Option<Instant>,
}

impl Rules {
    /// Between so many places; nothing happens to packets yet.
    pub(crate) fn new(places: usize, seed: u64) -> Self {
        Self {
            places,
            state: Mutex::new(State {
                ways: vec![WayState::default(); places * places],
                rng: Rng::with_seed(seed),
            }),
        }
    }

    /// Sets the rule of one way.
    pub fn set(&self, from: Place, to: Place, rule: LinkRule) {
        let at = self.at(from, to);
        if let Some(way) = self.lock().ways.get_mut(at) {
            way.rule = rule;
        }
    }

    /// Everything passes again.
    pub fn heal(&self) {
        for way in &mut self.lock().ways {
            *way = WayState::default();
        }
    }

    /// What becomes of a packet.
    pub(crate) fn judge(&self, from: Place, to: Place, bytes: usize) -> Fate {
        let at = self.at(from, to);
        let mut state = self.lock();
        let State { ways, rng } = &mut *state;
        let Some(way) = ways.get_mut(at) else {
            return Fate::DROPPED;
        };
        let rule = way.rule;
        if rule == LinkRule::default() {
            let first = Some(Duration::ZERO);
            return Fate {
                first,
                second: None,
            };
        }
        if rule.cut || rng.f64() < rule.loss {
            return Fate::DROPPED;
        }
        let Some(queued) = way.queue(bytes) else {
            return Fate::DROPPED;
        };
        let mut draw = || rule.delay + rule.jitter.mul_f64(rng.f64());
        let mut held = queued + draw();
        let again = draw();
        if rng.f64() < rule.reorder {
            held += again.max(Duration::from_millis(1));
        }
        let second = (rng.f64() < rule.duplicate).then_some(held + again);
        Fate {
            first: Some(held),
            second,
        }
    }

    fn at(&self, from: Place, to: Place) -> usize {
        from.0 * self.places + to.0
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No operation leaves it half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl WayState {
    /// How long a packet waits for those before it; `None` if it finds no room.
    fn queue(&mut self, bytes: usize) -> Option<Duration> {
        let Some(rate) = self.rule.bytes_per_second else {
            return Some(Duration::ZERO);
        };
        let now = Instant::now();
        let begins = self.busy_until.filter(|until| *until > now).unwrap_or(now);
        if begins - now > QUEUE_MAX {
            return None;
        }
        let ends = begins + Duration::from_secs_f64(bytes as f64 / rate.max(1) as f64);
        self.busy_until = Some(ends);
        Some(ends - now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FROM: Place = Place(0);
    const TO: Place = Place(1);

    fn judged(rule: LinkRule, packets: usize) -> Vec<Vec<Duration>> {
        let rules = Rules::new(2, 1);
        rules.set(FROM, TO, rule);
        let fates = (0..packets).map(|_| rules.judge(FROM, TO, 1000));
        fates.map(|fate| fate.copies().collect()).collect()
    }

    #[test]
    fn shares_of_lost_and_doubled_packets_are_those_of_the_rule() {
        let rule = LinkRule {
            loss: 0.2,
            duplicate: 0.1,
            ..LinkRule::default()
        };
        let judged = judged(rule, 10_000);
        let with = |copies: usize| judged.iter().filter(|fate| fate.len() == copies).count();
        assert!((1_900..2_100).contains(&with(0)), "{} lost", with(0));
        assert!((700..900).contains(&with(2)), "{} doubled", with(2));
    }

    #[test]
    fn a_packet_takes_its_delay_and_at_most_the_jitter_more() {
        let ms = Duration::from_millis;
        let rule = LinkRule {
            delay: ms(20),
            jitter: ms(10),
            ..LinkRule::default()
        };
        let delays: Vec<Duration> = judged(rule, 1000).concat();
        assert!(delays.iter().all(|delay| (ms(20)..=ms(30)).contains(delay)));
        assert!(delays.iter().any(|delay| *delay > ms(28)));
    }

    #[test]
    fn what_a_bounded_rate_does_not_let_through_waits_and_then_is_lost() {
        let rule = LinkRule {
            bytes_per_second: Some(100_000),
            ..LinkRule::default()
        };
        let judged = judged(rule, 100);
        let passed = judged.iter().filter(|fate| !fate.is_empty()).count();
        // Ten milliseconds each: 200 fit into the queue, and one is on its way.
        assert!((20..=23).contains(&passed), "{passed}");
        let last = judged.iter().rev().flatten().next().unwrap();
        assert!(*last > Duration::from_millis(150), "{last:?}");
    }

    #[test]
    fn a_cut_is_of_one_way_and_ends() {
        let rules = Rules::new(2, 1);
        let cut = LinkRule {
            cut: true,
            ..LinkRule::default()
        };
        rules.set(FROM, TO, cut);
        assert_eq!(rules.judge(FROM, TO, 1), Fate::DROPPED);
        assert_ne!(rules.judge(TO, FROM, 1), Fate::DROPPED);
        rules.heal();
        assert_ne!(rules.judge(FROM, TO, 1), Fate::DROPPED);
    }
}
