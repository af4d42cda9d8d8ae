//! Who is there: SWIM membership over datagrams, with the `foca` crate as the protocol's core.
//!
//! ```text
//!   each node, every 350 ms:   Ping -> another, each in its turn                        Ack back
//!   no Ack after 130 ms:       PingReq -> 4 others, they ask for us                     ForwardedAck back
//!   still none at the end:     suspected; all are told; whoever is suspected says "I live"
//!   silent for 1-2 s more:     down; all are told
//! ```
//!
//! Decides who is alive, and no more than that: data never moves because of it. Sans-IO: datagrams and
//! events go into a [`MembershipOutput`], time comes as an argument, randomness from a seed.
//!
//! What is ours around foca: seeds are called by address (`seeds.rs`), the first word of a stranger says
//! where it can be answered (`wire.rs`), two processes of one node are told apart (`identity.rs`), settings
//! follow the number of nodes (`options.rs`), and a node that overslept does not hold that against others.
//!
//! Das, Gupta, Motivala, "SWIM: scalable weakly-consistent infection-style process group
//! membership protocol", 2002.

mod identity;
mod options;
mod output;
mod runtime;
mod seeds;
mod wire;

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::Arc;

use bytes::Bytes;
use dunlin_ring::NodeId;
use foca::{Foca, Member, Message, NoCustomBroadcast, State};

use self::identity::Life;
use self::runtime::{Random, Timers, Wanted};
use self::seeds::Seeds;
use self::wire::{Codec, Datagram};
use crate::io::Time;

pub use self::identity::{Identity, IdentityError};
pub use self::options::MembershipOptions;
pub use self::output::{MembershipCounters, MembershipEvent, MembershipOutput, Standing, To};
pub use self::wire::DATAGRAM_BYTES_MAX;

/// Nodes that are remembered, dead ones too. A packet that would add to as many is refused.
pub const MEMBERS_MAX: usize = 4_096;
/// How many others hear at first hand that this node leaves; they tell the rest.
const FAREWELLS: NonZeroUsize = NonZeroUsize::new(8).expect("eight is not zero");
/// Known nodes that are asked at a time, while nobody is there or the list grows.
const ANNOUNCEMENTS: usize = 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Running,
    /// Said goodbye, or gave way to a newer process. Says and hears nothing.
    Over,
}

// It lives on whichever thread the driver gives it.
const _: fn() = || {
    fn is_send<T: Send>() {}
    is_send::<Membership>();
};

/// One node's part in the protocol.
pub struct Membership {
    foca: Foca<Life, Codec, Random, NoCustomBroadcast>,
    wanted: Wanted,
    timers: Timers,
    seeds: Seeds,
    options: MembershipOptions,
    rng: fastrand::Rng,
    phase: Phase,
    /// Whether some other node is alive and knows of this process.
    connected: bool,
    /// What was last said of the others. Follows foca's list, and decides what is an event.
    alive: BTreeMap<NodeId, Arc<Identity>>,
    /// How many nodes foca's settings are for.
    sized_for: usize,
    /// The last older process of this node that was reported.
    twin: Option<(u64, u64)>,
    counters: MembershipCounters,
}

impl std::fmt::Debug for Membership {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Membership")
            .field("me", self.foca.identity())
            .field("alive", &self.alive.len())
            .finish_non_exhaustive()
    }
}

impl Membership {
    /// A node that knows nobody. Call [`Membership::wake`] at once: it calls the seeds.
    ///
    /// The seeds may contain this node's own address. One that is alive is enough.
    ///
    /// # Errors
    /// [`IdentityError`] if `me` can't be told to others.
    pub fn new(
        me: Identity,
        seeds: Vec<String>,
        options: &MembershipOptions,
        mut rng: fastrand::Rng,
    ) -> Result<Self, IdentityError> {
        me.check()?;
        let foca_rng = Random(rng.fork());
        Ok(Self {
            foca: Foca::new(Life::new(me), options.config(1), foca_rng, Codec),
            wanted: Wanted::default(),
            timers: Timers::default(),
            seeds: Seeds::new(seeds, options),
            options: options.clone(),
            rng,
            phase: Phase::Running,
            connected: false,
            alive: BTreeMap::new(),
            sized_for: 1,
            twin: None,
            counters: MembershipCounters::default(),
        })
    }

    /// This node, as it presents itself now.
    pub fn me(&self) -> &Identity {
        &self.foca.identity().who
    }

    /// The nodes that are alive, the suspected ones too, without this one; by id.
    pub fn members(&self) -> impl Iterator<Item = &Identity> {
        self.alive.values().map(|who| &**who)
    }

    /// How many nodes are alive, with this one.
    pub fn size(&self) -> usize {
        self.alive.len() + 1
    }

    /// Whether the node is a member; this one is.
    pub fn is_alive(&self, node: NodeId) -> bool {
        node == self.me().id || self.alive.contains_key(&node)
    }

    /// What another node counts as; `None` if it is unknown or forgotten.
    pub fn standing(&self, node: NodeId) -> Option<Standing> {
        self.known(node).map(|member| match member.state() {
            State::Alive => Standing::Alive,
            State::Suspect => Standing::Suspect,
            State::Down => Standing::Down,
        })
    }

    /// What happened since the start.
    pub fn counters(&self) -> &MembershipCounters {
        &self.counters
    }

    /// Bytes came in, from anybody.
    pub fn received(&mut self, datagram: &[u8], now: Time, out: &mut MembershipOutput) {
        self.counters.received += 1;
        if self.phase == Phase::Running {
            match Datagram::parse(datagram) {
                Ok(parsed) if datagram.len() <= DATAGRAM_BYTES_MAX => {
                    self.hear(parsed, datagram, now, out);
                }
                Ok(_) | Err(_) => self.counters.malformed += 1,
            }
        }
        self.finish(now, out);
    }

    /// The time asked for has come. Calling it more often does no harm.
    pub fn wake(&mut self, now: Time, out: &mut MembershipOutput) {
        if self.phase == Phase::Running {
            self.forgive_oversleeping(now);
            while let Some(timer) = self.timers.due(now) {
                let done = self.foca.handle_timer(timer, &mut self.wanted);
                self.follow(done, now, out);
            }
            if now >= self.seeds.call_at() {
                self.call(now, out);
            }
            if self.seeds.asks(now, &self.options) {
                self.ask(now, out);
            }
        }
        self.finish(now, out);
    }

    /// A clean stop: the others are told at once, and this node takes part no more.
    pub fn leave(&mut self, now: Time, out: &mut MembershipOutput) {
        if self.phase == Phase::Running {
            let mut config = self.options.config(self.sized_for);
            // foca says goodbye to as many as it asks for indirect probes.
            config.num_indirect_probes = FAREWELLS;
            let done = self.foca.set_config(config);
            self.follow(done, now, out);
            let done = self.foca.leave_cluster(&mut self.wanted);
            self.follow(done, now, out);
            self.phase = Phase::Over;
        }
        self.finish(now, out);
    }

    fn known(&self, node: NodeId) -> Option<&Member<Life>> {
        let mut all = self.foca.iter_membership_state();
        all.find(|member| member.id().id() == node)
    }

    fn hear(&mut self, parsed: Datagram, raw: &[u8], now: Time, out: &mut MembershipOutput) {
        match parsed {
            Datagram::Superseded { by, state } => self.consider(&by, state, now, out),
            // This node's own call, to what turns out to be its own address.
            Datagram::Hello { from, asked } if from == *self.foca.identity() => {
                self.seeds.met(asked, from.id());
            }
            Datagram::Hello { from, asked } => {
                if self.admits(&from, &[], now, out) {
                    let answer = Datagram::introduced(self.foca.identity(), asked);
                    self.say(&from, answer.into(), out);
                }
            }
            Datagram::Introduced { from, asked } => {
                self.seeds.met(asked, from.id());
                if self.admits(&from, &[], now, out) && !self.alive.contains_key(&from.id()) {
                    let up = std::iter::once(Member::alive(from.clone()));
                    let done = self.foca.apply_many(up, true, &mut self.wanted);
                    self.follow(done, now, out);
                    // Asks whom it knows. If one of us holds the other for dead, that comes out now.
                    let done = self.foca.announce(from, &mut self.wanted);
                    self.follow(done, now, out);
                }
            }
            Datagram::Swim { header, members } => {
                if !self.admits(&header.src, &members, now, out) {
                    return;
                }
                for member in &members {
                    if member.id().id() == self.me().id {
                        self.consider(member.id(), member.state(), now, out);
                    }
                }
                if self.phase != Phase::Running {
                    return;
                }
                let before = self.alive.len();
                let done = self.foca.handle_data(raw, &mut self.wanted);
                self.follow(done, now, out);
                if header.message == Message::Feed && self.alive.len() > before {
                    self.seeds.ask_on(now, &self.options);
                }
            }
        }
    }

    /// Whether to listen to a sender: not to one that is this node, or was replaced, and it is told so.
    fn admits(
        &mut self,
        from: &Life,
        members: &[Member<Life>],
        now: Time,
        out: &mut MembershipOutput,
    ) -> bool {
        let me = self.foca.identity().clone();
        if from.id() == me.id() {
            if from.process() < me.process() {
                if self.twin.replace(from.process()) != Some(from.process()) {
                    let twin = Identity::clone(&from.who);
                    out.events.push(MembershipEvent::Twin(twin));
                }
                self.say(from, Datagram::superseded(&me, State::Alive).into(), out);
            }
            self.consider(from, State::Alive, now, out);
            return false;
        }
        match self.known(from.id()) {
            Some(known) if known.id().process() > from.process() => {
                let newer = Datagram::superseded(known.id(), known.state());
                self.say(from, newer.into(), out);
                return false;
            }
            // Its texts are known, if they were left out.
            Some(known) if from.has_address() || known.id().process() == from.process() => {}
            None if from.has_address() => {}
            Some(_) | None => {
                self.counters.refused += 1;
                return false;
            }
        }
        let full = self.foca.iter_membership_state().len() >= MEMBERS_MAX;
        let stranger = |id| id != me.id() && self.known(id).is_none();
        let mut ids = members.iter().map(|m| m.id().id()).chain([from.id()]);
        if full && ids.any(stranger) {
            self.counters.refused += 1;
            return false;
        }
        true
    }

    /// Somebody is or was this node. If it is newer, this process gives way; if it is dead, rises above it.
    fn consider(&mut self, other: &Life, state: State, now: Time, out: &mut MembershipOutput) {
        let me = self.foca.identity();
        if self.phase != Phase::Running || other.id() != me.id() || other.process() <= me.process()
        {
            return;
        }
        let above = other.who.incarnation.checked_add(1);
        if let (State::Down, Some(incarnation)) = (state, above) {
            let raised = Life::new(Identity {
                incarnation,
                ..Identity::clone(&me.who)
            });
            let done = self.foca.change_identity(raised, &mut self.wanted);
            self.wanted.connected = Some(false);
            self.follow(done, now, out);
            out.events.push(MembershipEvent::Raised { incarnation });
        } else {
            self.phase = Phase::Over;
            let by = Identity::clone(&other.who);
            out.events.push(MembershipEvent::Replaced { by });
        }
    }

    /// Calls the seeds that are not there; and while nobody is, others that were once.
    fn call(&mut self, now: Time, out: &mut MembershipOutput) {
        let me = self.foca.identity().clone();
        let mut rng = self.rng.fork();
        let is_there = |address: &str, met: Option<NodeId>| {
            address == me.who.address
                || met.is_some_and(|id| self.is_alive(id))
                || self.members().any(|who| who.address == address)
        };
        let missing = self.seeds.missing(is_there, &mut rng);
        for (asked, address) in missing {
            let hello = Datagram::hello(&me, asked).into();
            self.push(To::Address(address), hello, out);
        }
        if !self.connected {
            let others = self.foca.iter_membership_state();
            let others = others.filter(|member| member.id().id() != me.id());
            let mut others: Vec<Member<Life>> = others.cloned().collect();
            rng.shuffle(&mut others);
            // Those that are alive here come first: they only don't know of this process yet.
            others.sort_by_key(|member| member.state() == State::Down);
            for member in others.into_iter().take(ANNOUNCEMENTS) {
                let done = self.foca.announce(member.id().clone(), &mut self.wanted);
                self.follow(done, now, out);
            }
        }
        self.seeds
            .called(self.connected, now, &self.options, &mut rng);
    }

    /// Asks some of those that are there whom they know: an answer holds only as many as fit in a datagram.
    fn ask(&mut self, now: Time, out: &mut MembershipOutput) {
        let mut others: Vec<Life> = self
            .foca
            .iter_members()
            .map(|member| member.id().clone())
            .collect();
        self.rng.shuffle(&mut others);
        for to in others.into_iter().take(ANNOUNCEMENTS) {
            let done = self.foca.announce(to, &mut self.wanted);
            self.follow(done, now, out);
        }
    }

    /// If this node itself stood still, answers to it may lie unread: time stood still for all.
    fn forgive_oversleeping(&mut self, now: Time) {
        if let Some(due) = self.timers.next_at()
            && now.ms_since(due) > self.options.probe_rtt_ms
        {
            self.counters.overslept += 1;
            self.timers.postpone(now.0 - due.0);
        }
    }

    /// Carries out what foca wanted.
    fn follow(&mut self, done: Result<(), foca::Error>, now: Time, out: &mut MembershipOutput) {
        if done.is_err() {
            self.counters.refused += 1;
        }
        let wanted = std::mem::take(&mut self.wanted);
        for (after, timer) in wanted.timers {
            let after_us = u64::try_from(after.as_micros()).unwrap_or(u64::MAX);
            self.timers.set(Time(now.0.saturating_add(after_us)), timer);
        }
        for node in wanted.changed {
            self.changed(node, out);
        }
        for (to, packet) in wanted.sends {
            let me = self.foca.identity();
            // foca remembers earlier processes of this node among the dead, and would ask after them.
            if to.id() == me.id() {
                continue;
            }
            let is_bare = me.who.text_bytes() > wire::INLINE_TEXT_BYTES_MAX;
            if is_bare && !wire::is_announcement(&packet) {
                let introduced = Datagram::introduced(me, 0);
                self.say(&to, introduced.into(), out);
            }
            self.say(&to, packet, out);
        }
        if wanted.rejoined {
            out.events.push(MembershipEvent::Rejoined);
        }
        if let Some(connected) = wanted.connected {
            self.connected = connected;
            if !connected {
                self.seeds.hurry(now, &self.options);
            }
        }
    }

    /// Says what happened to a node by comparing what was said last with what foca knows now.
    fn changed(&mut self, node: NodeId, out: &mut MembershipOutput) {
        if node == self.me().id {
            return;
        }
        let known = self.known(node).filter(|m| m.state() != State::Down);
        let known = known.map(|member| Arc::clone(&member.id().who));
        let said = match &known {
            Some(who) => self.alive.insert(node, Arc::clone(who)),
            None => self.alive.remove(&node),
        };
        let event = match (said, known) {
            (None, Some(who)) => MembershipEvent::Up(Identity::clone(&who)),
            (Some(_), None) => MembershipEvent::Down(node),
            (Some(old), Some(new)) if *old != *new => {
                MembershipEvent::Restarted(Identity::clone(&new))
            }
            (Some(_), Some(_)) | (None, None) => return,
        };
        out.events.push(event);
    }

    /// Sends to a node at the address it says itself, or the one that is known of it.
    fn say(&mut self, to: &Life, datagram: Bytes, out: &mut MembershipOutput) {
        let known = self.known(to.id()).map(|member| &member.id().who.address);
        let said = Some(&to.who.address).filter(|_| to.has_address());
        match said.or(known).cloned() {
            Some(address) => self.push(
                To::Node {
                    id: to.id(),
                    address,
                },
                datagram,
                out,
            ),
            None => self.counters.unaddressed += 1,
        }
    }

    fn push(&mut self, to: To, datagram: Bytes, out: &mut MembershipOutput) {
        assert!(datagram.len() <= DATAGRAM_BYTES_MAX, "a datagram too long");
        self.counters.sent += 1;
        self.counters.sent_bytes += datagram.len() as u64;
        out.datagrams.push((to, datagram));
    }

    fn finish(&mut self, now: Time, out: &mut MembershipOutput) {
        if self.phase == Phase::Over {
            out.wake_at = None;
            return;
        }
        if self.sized_for != self.size() {
            self.sized_for = self.size();
            let done = self.foca.set_config(self.options.config(self.sized_for));
            self.follow(done, now, out);
        }
        let seeds = self.seeds.next_at();
        out.wake_at = Some(self.timers.next_at().map_or(seeds, |at| at.min(seeds)));
    }
}
