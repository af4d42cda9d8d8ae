//! Whom to call when nobody is there, and which seeds are still missing.

use dunlin_ring::NodeId;

use super::options::MembershipOptions;
use crate::io::Time;

/// Seeds called at a time.
const CALLS_MAX: usize = 3;
/// Seeds that can be told apart in an answer.
const SEEDS_MAX: usize = 255;

/// The addresses this node was given, and when it calls there next.
#[derive(Debug)]
pub(crate) struct Seeds {
    seeds: Vec<Seed>,
    next: Time,
    wait_ms: u64,
}

#[derive(Debug)]
struct Seed {
    address: String,
    /// Who answered there.
    met: Option<NodeId>,
}

impl Seeds {
    pub(crate) fn new(addresses: Vec<String>, options: &MembershipOptions) -> Self {
        let seed = |address| Seed { address, met: None };
        Self {
            seeds: addresses.into_iter().take(SEEDS_MAX).map(seed).collect(),
            next: Time::default(),
            wait_ms: options.join_first_ms.max(1),
        }
    }

    pub(crate) fn next_at(&self) -> Time {
        self.next
    }

    /// Nobody is there (any more): call now, and soon again.
    pub(crate) fn hurry(&mut self, now: Time, options: &MembershipOptions) {
        self.next = now;
        self.wait_ms = options.join_first_ms.max(1);
    }

    /// Sets the next time to call, later each time while nobody answers, and not all nodes at once.
    pub(crate) fn called(
        &mut self,
        connected: bool,
        now: Time,
        options: &MembershipOptions,
        rng: &mut fastrand::Rng,
    ) {
        let wait_ms = match connected {
            true => options.seeds_every_ms.max(1),
            false => self.wait_ms,
        };
        self.wait_ms = (self.wait_ms * 2).min(options.join_max_ms.max(1));
        self.next = now.plus_ms(wait_ms + rng.u64(0..=wait_ms / 4));
    }

    /// A few of the seeds that are not there, each with its number.
    pub(crate) fn missing(
        &self,
        is_there: impl Fn(&str, Option<NodeId>) -> bool,
        rng: &mut fastrand::Rng,
    ) -> Vec<(u8, String)> {
        let numbered = (1..=u8::MAX).zip(&self.seeds);
        let missing = numbered.filter(|(_, seed)| !is_there(&seed.address, seed.met));
        let mut missing: Vec<_> = missing.map(|(n, seed)| (n, seed.address.clone())).collect();
        rng.shuffle(&mut missing);
        missing.truncate(CALLS_MAX);
        missing
    }

    /// Somebody answered a call.
    pub(crate) fn met(&mut self, asked: u8, who: NodeId) {
        let seed = usize::from(asked).checked_sub(1);
        if let Some(seed) = seed.and_then(|at| self.seeds.get_mut(at)) {
            seed.met = Some(who);
        }
    }
}
