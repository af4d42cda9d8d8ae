//! Disks that come back older than they were: from a backup, or from a snapshot of the whole machine.
//!
//! ```text
//!   a backup is taken ─> the node goes on ─> dies ─> its disk is put back to what the backup has
//!   ... starts, and somebody remembers more of its store ─> starts anew, as one that has forgotten
//! ```
//!
//! Left out, because nothing is promised there: a store of which no node that runs and can be reached
//! remembers more than the backup has. So the node is started when there is such a node, no link is cut and
//! nobody else fails until it was recognised.

use dunlin_engine::{Knowledge, Recall};
use dunlin_protocol::peer::StoreMark;
use dunlin_ring::NodeId;
use dunlin_storage::{MemoryKv, Start};

use crate::durable::Durable;
use crate::faults::FaultEnd;
use crate::mutant::Mutant;
use crate::operator::Standing;
use crate::options::{Options, pick, stream};
use crate::queue::Event;
use crate::world::World;

/// How long the others are spared for a node to be recognised.
const SPARED_US: u64 = 5_000_000;
/// How long after a backup it may be put back: earlier nobody has heard that the store has gone on.
const AGE_US_MIN: u64 = 1_500_000;
/// Times that a node is let wait for somebody who remembers it, 300 ms each; then it gets an empty disk.
const WAITS_MAX: u32 = 40;

/// A backup of a disk.
#[derive(Clone, Debug)]
pub(crate) struct Backup {
    kv: MemoryKv,
    durable: Durable,
    at: u64,
}

/// How often disks are put back. Drawn apart from the other options: so that seeds are what they were
/// without.
pub(crate) fn draw(seed: u64) -> u64 {
    *pick(&mut stream(seed, "restore", 0), &[0, 0, 0, 2, 4])
}

/// Every disk that is put back counts as a lost one.
pub(crate) fn adapt(options: &mut Options) {
    if options.faults.rot > 0 || options.replicas < 3 {
        options.faults.restore = 0;
    }
}

impl World {
    /// Takes a backup of a node's disk, or puts it back to the one that there is.
    pub(crate) fn back_up_or_restore(&mut self, node: usize, lasts: u64) {
        if self.has_old_backup(node) {
            // As after any other end: what was only written may be lost with the rest.
            self.crash(node, 0);
            self.restore(node);
            return self.after(lasts, Event::FaultEnds(FaultEnd::Boot(node)));
        }
        // Only one that looks as if it had been closed in order tempts a node to mint as it did before.
        if self.options.mutant != Some(Mutant::RecallSilent) {
            self.back_up(node);
        }
    }

    /// Whether somebody may have heard by now that a store has gone on since its backup.
    pub(crate) fn has_old_backup(&self, node: usize) -> bool {
        let is_old = |backup: &Backup| self.now >= backup.at + AGE_US_MIN;
        self.nodes[node].backup.as_ref().is_some_and(is_old)
    }

    /// Takes a backup of a node's disk, unless there is one.
    pub(crate) fn back_up(&mut self, node: usize) {
        let state = &mut self.nodes[node];
        let faults = &self.options.faults;
        if faults.restore + faults.clone > 0 && state.backup.is_none() {
            let (kv, durable, at) = (state.kv.backup(), state.durable.backup(), self.now);
            state.backup = Some(Backup { kv, durable, at });
            self.count("backups");
        }
    }

    /// Gives a node that does not run the disk that its backup is of.
    pub(crate) fn restore(&mut self, node: usize) {
        let state = &mut self.nodes[node];
        let Some(backup) = state.backup.take() else {
            return;
        };
        self.trace.say(
            self.now,
            format_args!("n{node} has the disk that it had at {} us", backup.at),
        );
        (state.kv, state.durable) = (backup.kv, backup.durable);
        state.start_owed = None;
        state.told = None;
        state.put_back = Some(0);
        state.losses.push(self.now);
        self.disks_lost();
        self.count("restores");
    }

    /// Whether a node may start: if its disk was put back, once somebody can know of it.
    pub(crate) fn may_be_recognised(&mut self, node: usize, start: &Start) -> bool {
        let Some(waits) = self.nodes[node].put_back else {
            return true;
        };
        let may_look_whole = matches!(start, Start::Clean | Start::Unclean);
        let mut rng = self.rng.clone();
        let Ok(recall) = Recall::load(&self.nodes[node].kv, start, 0, &mut rng) else {
            return true;
        };
        if !may_look_whole
            || (self.network.is_whole_but(self.ghost_split())
                && self.remembers(node, recall.mark()))
        {
            self.nodes[node].put_back = None;
            self.spared_until = self.now + SPARED_US;
            return true;
        }
        self.nodes[node].put_back = Some(waits + 1);
        if waits >= WAITS_MAX {
            self.nodes[node].put_back = None;
            self.wipe(node);
        }
        false
    }

    /// Whether a node that answers remembers more of a store, and is a member as far as the disk knows: it asks
    /// nobody else.
    fn remembers(&self, node: usize, mark: StoreMark) -> bool {
        let id = self.nodes[node].id;
        let Ok(Some(knows)) = Knowledge::load(&self.nodes[node].kv) else {
            return false;
        };
        let is_member = |at: NodeId| {
            let mut layouts = knows.layouts().all();
            layouts.any(|applied| applied.layout.member(at).is_some())
        };
        let meets = |at: &usize| {
            let hears = !self.network.is_cut(node, *at) && !self.network.is_cut(*at, node);
            let other = &self.nodes[*at];
            hears && other.id != id && is_member(other.id) && other.pace.is_usual(self.now)
        };
        let met = (0..self.nodes.len()).filter(meets);
        let mut running = met.filter_map(|at| self.nodes[at].process.as_ref());
        running.any(|process| {
            let recall = process.control.recall();
            recall.remembers_more(id, mark).is_some()
        })
    }

    /// A node was told that its store is older than it was: its process starts anew.
    pub(crate) fn start_anew(&mut self, node: usize, life: u64) {
        if self.nodes[node].life != life {
            return;
        }
        if self.nodes[node].standing == Standing::Ghost {
            // It would start anew, and look for its twin before.
            return self.let_ghost_go(node);
        }
        self.count("old disks recognised");
        self.spared_until = self.now;
        self.crash(node, usize::MAX);
        let evidence = vec!["a peer remembers more of this store".to_owned()];
        self.nodes[node].start_owed = Some(Start::Amnesia { evidence });
        self.boot(node);
    }
}
