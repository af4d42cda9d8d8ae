//! What goes wrong, and when it is right again.
//!
//! Faults are numbered. When each comes, which it is, whom it meets and how, all follow from the seed and its
//! number alone: so one can be left out and the others stay what they were.

use dunlin_protocol::status::StorageState;
use dunlin_storage::DiskSpace;

use crate::network::Shape;
use crate::operator::Standing;
use crate::options::{FaultWeights, below, chance, pick, stream, up_to};
use crate::queue::Event;
use crate::world::World;
use crate::writer::Trap;

/// Mostly short, sometimes longer than it takes to be noticed.
const SHORT_US: u64 = 800_000;
const LONG_US: u64 = 6_000_000;
/// How far off a clock is that is hours off.
const FAR_CLOCK_MS: std::ops::Range<i64> = 1_800_000..43_200_000;
/// The longest that a sync takes on a slow disk.
const SLOW_SYNC_US_MAX: u64 = 3_000_000;

/// The faults of a run.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    /// Whether no more come.
    pub(crate) over: bool,
    /// How many there were, those that were left out too.
    pub(crate) drawn: u64,
}

/// Something that is right again, or a consequence that comes later.
#[derive(Clone, Debug)]
pub(crate) enum FaultEnd {
    /// A split is healed.
    Heal(u64),
    /// A node starts.
    Boot(usize),
    /// A node that was thought dead starts.
    Return(usize),
    /// A disk has room.
    Room(usize),
    /// A disk has room for a moment, and so many times more it will have none.
    Breath { node: usize, left: u64 },
    /// It has none again.
    Choke { node: usize, left: u64 },
    /// A process whose disk failed, or that ran into a trap, dies.
    Die { node: usize, life: u64, kept: usize },
    /// A process finds that its disk is older than it was.
    StartAnew { node: usize, life: u64 },
    /// A process finds that its disk is damaged.
    Salvage { node: usize, life: u64 },
    /// All rows of a disk can be read.
    Readable(usize),
    /// A clock is as right as it was.
    RightClock { node: usize, skew_ms: i64 },
}

#[derive(Clone, Copy, Debug)]
enum Fault {
    Split,
    Crash,
    Stop,
    Pause,
    Full,
    Choke,
    SyncFails,
    Amnesia,
    Wipe,
    Clock,
    Rot,
    LostBlock,
    Restore,
    Clone,
    Trap,
    Unreadable,
    SlowDisk,
    SlowNode,
    FarClock,
    LongPause,
}

impl World {
    pub(crate) fn next_fault(&mut self) {
        let mut rng = self.fault_generator();
        let mean_us = self.options.fault_every_ms * 1000;
        let wait = rng.u64(1..=mean_us * 2);
        self.after(wait, Event::Fault);
    }

    /// The generator of the fault that comes next.
    fn fault_generator(&self) -> fastrand::Rng {
        stream(self.options.seed, "fault", self.faults.drawn)
    }

    pub(crate) fn fault(&mut self) {
        if self.faults.over {
            return;
        }
        let is_spared =
            self.now < self.spared_until || self.nodes.iter().any(|node| node.put_back.is_some());
        let (number, mut rng) = (self.faults.drawn, self.fault_generator());
        self.faults.drawn += 1;
        let _wait_before_it = rng.u64(..);
        if let Some(fault) = self.draw_fault(&mut rng) {
            let node = below(&mut rng, self.nodes.len());
            let is_ghost = self.nodes[node].standing == Standing::Ghost;
            let happens = !is_spared && !is_ghost && self.options.overrides.lets_happen(number);
            let but = if happens { "" } else { ", left out" };
            self.trace.say(
                self.now,
                format_args!("FAULT {number} {fault:?} n{node}{but}"),
            );
            if happens {
                self.trace.add(self.now, node, "fault", fault.name());
                self.count("faults");
                self.inflict(fault, node, &mut rng);
            }
        }
        self.next_fault();
    }

    fn draw_fault(&self, rng: &mut fastrand::Rng) -> Option<Fault> {
        let FaultWeights {
            split,
            crash,
            stop,
            pause,
            full,
            choke,
            sync_fails,
            amnesia,
            wipe,
            clock,
            rot,
            lost_block,
            restore,
            clone,
            trap,
            unreadable,
            slow_disk,
            slow_node,
            far_clock,
            long_pause,
        } = self.options.faults;
        let weights = [
            (Fault::Split, split),
            (Fault::Crash, crash),
            (Fault::Stop, stop),
            (Fault::Pause, pause),
            (Fault::Full, full),
            (Fault::SyncFails, sync_fails),
            (Fault::Amnesia, amnesia),
            (Fault::Wipe, wipe),
            (Fault::Clock, clock),
            (Fault::Rot, rot),
            (Fault::LostBlock, lost_block),
            (Fault::Restore, restore),
            (Fault::Clone, clone),
            (Fault::Choke, choke),
            (Fault::Trap, trap),
            (Fault::Unreadable, unreadable),
            (Fault::SlowDisk, slow_disk),
            (Fault::SlowNode, slow_node),
            (Fault::FarClock, far_clock),
            (Fault::LongPause, long_pause),
        ];
        let sum: u64 = weights.iter().map(|(_, weight)| weight).sum();
        if sum == 0 {
            return None;
        }
        let mut at = rng.u64(..sum);
        for (fault, weight) in weights {
            if at < weight {
                return Some(fault);
            }
            at -= weight;
        }
        None
    }

    fn inflict(&mut self, fault: Fault, node: usize, rng: &mut fastrand::Rng) {
        let long = if chance(rng, 400) { LONG_US } else { SHORT_US };
        let lasts = rng.u64(1_000..long);
        match fault {
            Fault::Split => {
                let shapes = [Shape::TwoWay, Shape::OneWay, Shape::Bridge, Shape::Link];
                let shape = *pick(rng, &shapes);
                let (nodes, clients) = (self.nodes.len(), self.clients.len());
                let split = self.network.split(rng, nodes, nodes + clients, shape);
                self.after(lasts, Event::FaultEnds(FaultEnd::Heal(split)));
            }
            Fault::Crash => {
                let unsynced = self.nodes[node].kv.unsynced();
                // A process that is killed loses nothing that it committed; a machine does.
                let kept = if rng.bool() {
                    usize::MAX
                } else {
                    up_to(rng, unsynced)
                };
                self.crash(node, kept);
                self.after(lasts, Event::FaultEnds(FaultEnd::Boot(node)));
            }
            Fault::Stop => {
                self.stop(node);
                self.after(lasts, Event::FaultEnds(FaultEnd::Boot(node)));
            }
            Fault::Pause => self.pause(node, lasts),
            Fault::Full => {
                self.nodes[node].kv.set_space(DiskSpace::NearlyFull);
                if rng.bool() {
                    self.notice(node, StorageState::Full);
                }
                self.after(lasts, Event::FaultEnds(FaultEnd::Room(node)));
            }
            Fault::Choke => self.choke(node, rng.u64(2..20)),
            Fault::SyncFails => self.nodes[node].kv.fail_next_sync(),
            Fault::Amnesia => {
                let unsynced = self.nodes[node].kv.unsynced();
                let kept = up_to(rng, unsynced);
                self.crash(node, kept);
                let batches = 1 + below(rng, 60);
                self.forget(node, batches);
                self.after(lasts, Event::FaultEnds(FaultEnd::Boot(node)));
            }
            Fault::Wipe => {
                self.crash(node, 0);
                self.wipe(node);
                self.after(lasts, Event::FaultEnds(FaultEnd::Boot(node)));
            }
            Fault::Clock => {
                // Now and then further off than nodes accept of each other.
                let most = self.options.skew_ms_max as i64;
                let factor = if chance(rng, 100) { 5 } else { 1 };
                let skew_ms = rng.i64(-most * factor..=most * factor);
                self.set_clock(node, skew_ms);
            }
            Fault::Rot => self.let_rot(node, rng),
            Fault::LostBlock => self.lose_block(node, rng),
            Fault::Trap => self.nodes[node].writer.trap = Some(Trap::draw(rng, lasts)),
            Fault::Unreadable => self.let_be_unreadable(node, lasts, rng),
            Fault::SlowDisk => {
                let usual = self.options.disk.sync_us_max.max(1);
                let factor = *pick(rng, &[5, 20, 100]);
                let state = &mut self.nodes[node];
                state.slow_disk.factor = factor.min(SLOW_SYNC_US_MAX / usual).max(2);
                state.slow_disk.until = self.now + lasts;
            }
            Fault::SlowNode => {
                let each_us = *pick(rng, &[500, 3_000, 20_000]);
                self.slow_down(node, lasts, each_us);
            }
            Fault::FarClock => {
                let most = self.options.skew_ms_max as i64;
                let skew_ms = rng.i64(-most..=most);
                let off = rng.i64(FAR_CLOCK_MS);
                let is_ahead = rng.bool();
                self.set_clock(node, if is_ahead { off } else { -off });
                let end = FaultEnd::RightClock { node, skew_ms };
                self.after(lasts, Event::FaultEnds(end));
            }
            Fault::LongPause => {
                let all_ms = self.options.engine.request_timeout_ms
                    + self.options.engine.unreachable_after_ms
                    + self.options.client_timeout_ms;
                self.pause(node, all_ms * rng.u64(1_000..1_500));
            }
            Fault::Restore => self.back_up_or_restore(node, lasts),
            Fault::Clone => self.clone_disk(node, lasts, rng),
        }
    }

    pub(crate) fn fault_ends(&mut self, end: FaultEnd) {
        match end {
            FaultEnd::Heal(split) => {
                self.trace
                    .say(self.now, format_args!("split {split} heals"));
                self.network.heal(split);
            }
            FaultEnd::Boot(node) => self.boot(node),
            FaultEnd::Return(node) => self.comes_back(node),
            FaultEnd::Room(node) => self.has_room(node),
            FaultEnd::Breath { node, left } => {
                self.has_room(node);
                if left > 0 && !self.faults.over {
                    let wait = self.rng.u64(500..60_000);
                    let left = left - 1;
                    self.after(wait, Event::FaultEnds(FaultEnd::Choke { node, left }));
                }
            }
            FaultEnd::Choke { node, left } if !self.faults.over => self.choke(node, left),
            FaultEnd::Choke { .. } => {}
            FaultEnd::StartAnew { node, life } => self.start_anew(node, life),
            FaultEnd::Salvage { node, life } => self.salvage(node, life),
            FaultEnd::Die { node, life, kept } => {
                if self.nodes[node].life == life {
                    self.crash(node, kept);
                    let wait = self.rng.u64(1_000..1_000_000);
                    self.after(wait, Event::FaultEnds(FaultEnd::Boot(node)));
                }
            }
            FaultEnd::Readable(node) => self.nodes[node].kv.let_read(),
            FaultEnd::RightClock { node, skew_ms } => self.set_clock(node, skew_ms),
        }
    }

    /// A disk has no room for a moment: what is committed just then is refused.
    fn choke(&mut self, node: usize, left: u64) {
        self.nodes[node].kv.set_space(DiskSpace::NearlyFull);
        let lasts = self.rng.u64(100..5_000);
        let end = FaultEnd::Breath { node, left };
        self.after(lasts, Event::FaultEnds(end));
    }

    fn has_room(&mut self, node: usize) {
        self.nodes[node].kv.set_space(DiskSpace::Ample);
        self.notice(node, StorageState::Ready);
    }

    fn set_clock(&mut self, node: usize, skew_ms: i64) {
        let state = &mut self.nodes[node];
        (state.skew_ms, state.clock_set_at) = (skew_ms, self.now);
    }

    /// Everything is right from now on.
    pub(crate) fn heal(&mut self) {
        self.trace.say(self.now, format_args!("everything heals"));
        self.faults.over = true;
        self.network.heal_all();
        let most = self.options.skew_ms_max as i64;
        for node in 0..self.nodes.len() {
            let skew_ms = self.nodes[node].skew_ms.clamp(-most, most);
            self.set_clock(node, skew_ms);
            let state = &mut self.nodes[node];
            state.slow_disk.until = self.now;
            state.writer.trap = None;
            state.kv.mend();
            state.kv.set_space(DiskSpace::Ample);
            if state.storage == StorageState::Full {
                self.notice(node, StorageState::Ready);
            }
            self.let_go_on(node);
            self.boot(node);
        }
    }
}

impl Fault {
    fn name(self) -> &'static [u8] {
        match self {
            Self::Split => b"split",
            Self::Crash => b"crash",
            Self::Stop => b"stop",
            Self::Pause => b"pause",
            Self::Full => b"full",
            Self::Choke => b"choke",
            Self::SyncFails => b"sync fails",
            Self::Amnesia => b"amnesia",
            Self::Wipe => b"wipe",
            Self::Clock => b"clock",
            Self::Rot => b"rot",
            Self::LostBlock => b"lost block",
            Self::Restore => b"restore",
            Self::Clone => b"clone",
            Self::Trap => b"trap",
            Self::Unreadable => b"unreadable",
            Self::SlowDisk => b"slow disk",
            Self::SlowNode => b"slow node",
            Self::FarClock => b"far clock",
            Self::LongPause => b"long pause",
        }
    }
}
