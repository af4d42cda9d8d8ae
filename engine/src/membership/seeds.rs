//! When to call: the seeds that are missing, and anybody as long as there are more members to learn of.

use dunlin_ring::NodeId;

use super::options::MembershipOptions;
use crate::io::Time;

/// Seeds called at a time.
const CALLS_MAX: usize = 3;
/// Seeds that can be told apart in an answer.
const SEEDS_MAX: usize = 255;

/// Rounds of asking that bring nothing new before the list counts as complete. At 14 members an answer, with
/// two answers a round, one of 100 members stays unknown after that with a chance of a tenth; it is then
/// learned when it probes or at the next periodic question.
const IDLE_ROUNDS: u32 = 8;

/// The addresses this node was given, and when it calls there next.
#[derive(Debug)]
pub(crate) struct Seeds {
    seeds: Vec<Seed>,
    call_at: Time,
    wait_ms: u64,
    /// When to ask on, and how many rounds are left without news.
    ask_at: Time,
    rounds_left: u32,
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
            call_at: Time::default(),
            wait_ms: options.join_first_ms.max(1),
            ask_at: Time::default(),
            rounds_left: 0,
        }
    }

    /// When something is to be done next.
    pub(crate) fn next_at(&self) -> Time {
        match self.rounds_left {
            0 => self.call_at,
            _ => self.call_at.min(self.ask_at),
        }
    }

    pub(crate) fn call_at(&self) -> Time {
        self.call_at
    }

    /// An answer held members that were not known: there may be more.
    pub(crate) fn ask_on(&mut self, now: Time, options: &MembershipOptions) {
        if self.rounds_left == 0 {
            self.ask_at = now.plus_ms(options.ask_on_ms.max(1));
        }
        self.rounds_left = IDLE_ROUNDS;
    }

    /// Whether to ask now; it is then done until the next time.
    pub(crate) fn asks(&mut self, now: Time, options: &MembershipOptions) -> bool {
        if self.rounds_left == 0 || now < self.ask_at {
            return false;
        }
        self.rounds_left -= 1;
        self.ask_at = now.plus_ms(options.ask_on_ms.max(1));
        true
    }

    /// Nobody is there (any more): call now, and soon again.
    pub(crate) fn hurry(&mut self, now: Time, options: &MembershipOptions) {
        self.call_at = now;
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
        self.call_at = now.plus_ms(wait_ms + rng.u64(0..=wait_ms / 4));
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
