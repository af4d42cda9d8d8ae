//! What goes wrong, and when it is right again.

use dunlin_protocol::status::StorageState;
use dunlin_storage::DiskSpace;

use crate::network::Shape;
use crate::options::{FaultWeights, chance};
use crate::world::{Event, World};

/// Whether faults still come.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    pub(crate) over: bool,
}

/// Something that is right again, or a consequence that comes later.
#[derive(Clone, Copy, Debug)]
pub(crate) enum FaultEnd {
    /// A split is healed.
    Heal(u64),
    /// A node starts.
    Boot(usize),
    /// A node that was thought dead starts.
    Return(usize),
    /// A disk has room.
    Room(usize),
    /// A process whose disk failed dies.
    Die { node: usize, life: u64, kept: usize },
    /// A process finds that its disk is older than it was.
    StartAnew { node: usize, life: u64 },
}

#[derive(Clone, Copy, Debug)]
enum Fault {
    Split,
    Crash,
    Stop,
    Pause,
    Full,
    SyncFails,
    Amnesia,
    Wipe,
    Clock,
    Rot,
    Restore,
}

impl World {
    pub(crate) fn next_fault(&mut self) {
        let mean_us = self.options.fault_every_ms * 1000;
        let wait = self.rng.u64(1..=mean_us * 2);
        self.after(wait, Event::Fault);
    }

    pub(crate) fn fault(&mut self) {
        if self.faults.over {
            return;
        }
        let is_spared = self.now < self.spared_until;
        let put_back = self.nodes.iter().any(|node| node.put_back.is_some());
        if !is_spared
            && !put_back
            && let Some(fault) = self.draw_fault()
        {
            let node = self.rng.usize(..self.nodes.len());
            self.trace
                .say(self.now, format_args!("FAULT {fault:?} n{node}"));
            self.trace
                .add(self.now, node, "fault", format!("{fault:?}").as_bytes());
            self.count("faults");
            self.inflict(fault, node);
        }
        self.next_fault();
    }

    fn draw_fault(&mut self) -> Option<Fault> {
        let FaultWeights {
            split,
            crash,
            stop,
            pause,
            full,
            sync_fails,
            amnesia,
            wipe,
            clock,
            rot,
            restore,
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
            (Fault::Restore, restore),
        ];
        let sum: u64 = weights.iter().map(|(_, weight)| weight).sum();
        if sum == 0 {
            return None;
        }
        let mut at = self.rng.u64(..sum);
        for (fault, weight) in weights {
            if at < weight {
                return Some(fault);
            }
            at -= weight;
        }
        None
    }

    fn inflict(&mut self, fault: Fault, node: usize) {
        // Mostly short, sometimes longer than it takes to be noticed.
        let long = if chance(&mut self.rng, 400) {
            6_000_000
        } else {
            800_000
        };
        let lasts = self.rng.u64(1_000..long);
        match fault {
            Fault::Split => {
                let shapes = [Shape::TwoWay, Shape::OneWay, Shape::Bridge, Shape::Link];
                let shape = shapes[self.rng.usize(..shapes.len())];
                let (nodes, clients) = (self.nodes.len(), self.clients.len());
                let split = self
                    .network
                    .split(&mut self.rng, nodes, nodes + clients, shape);
                self.after(lasts, Event::FaultEnds(FaultEnd::Heal(split)));
            }
            Fault::Crash => {
                let unsynced = self.nodes[node].kv.unsynced();
                // A process that is killed loses nothing that it committed; a machine does.
                let kept = if self.rng.bool() {
                    usize::MAX
                } else {
                    self.rng.usize(0..=unsynced)
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
                if self.rng.bool() {
                    self.notice(node, StorageState::Full);
                }
                self.after(lasts, Event::FaultEnds(FaultEnd::Room(node)));
            }
            Fault::SyncFails => self.nodes[node].kv.fail_next_sync(),
            Fault::Amnesia => {
                let unsynced = self.nodes[node].kv.unsynced();
                let kept = self.rng.usize(0..=unsynced);
                self.crash(node, kept);
                let batches = self.rng.usize(1..=60);
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
                let factor = if chance(&mut self.rng, 100) { 5 } else { 1 };
                self.nodes[node].skew_ms = self.rng.i64(-most * factor..=most * factor);
            }
            Fault::Rot => self.let_rot(node),
            Fault::Restore => self.back_up_or_restore(node, lasts),
        }
    }

    fn pause(&mut self, node: usize, lasts: u64) {
        let until = self.nodes[node].paused_until.max(self.now + lasts);
        self.nodes[node].paused_until = until;
        self.at(until, Event::GoOn { node });
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
            FaultEnd::Room(node) => {
                self.nodes[node].kv.set_space(DiskSpace::Ample);
                self.notice(node, StorageState::Ready);
            }
            FaultEnd::StartAnew { node, life } => self.start_anew(node, life),
            FaultEnd::Die { node, life, kept } => {
                if self.nodes[node].life == life {
                    self.crash(node, kept);
                    let wait = self.rng.u64(1_000..1_000_000);
                    self.after(wait, Event::FaultEnds(FaultEnd::Boot(node)));
                }
            }
        }
    }

    /// Everything is right from now on, but for nodes that are still paused.
    pub(crate) fn heal(&mut self) {
        self.trace.say(self.now, format_args!("everything heals"));
        self.faults.over = true;
        self.network.heal_all();
        let most = self.options.skew_ms_max as i64;
        for node in 0..self.nodes.len() {
            let state = &mut self.nodes[node];
            state.skew_ms = state.skew_ms.clamp(-most, most);
            state.kv.set_space(DiskSpace::Ample);
            if state.storage == StorageState::Full {
                self.notice(node, StorageState::Ready);
            }
            self.boot(node);
        }
    }
}
