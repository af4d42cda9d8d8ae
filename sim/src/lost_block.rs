//! Blocks of a disk that can never be read again: a stretch of rows, nobody knows any more which.
//!
//! ```text
//!   some rows of which all other owners have on their disks what this node knows ─> unreadable for good
//!   ... are scrubbed ─> the driver is asked to look at the files ─> the process starts anew on what can be
//!   read, as one that has forgotten
//! ```
//!
//! As with rows that rot, that the others hold them is what is promised to be enough: so there is none of this
//! where disks are lost in other ways too, or owners change.

use std::ops::Bound;

use bytes::Bytes;
use dunlin_storage::{Keyspace, Kv};

use crate::faults::FaultEnd;
use crate::mutant::Mutant;
use crate::options::{Options, below, pick, stream};
use crate::queue::Event;
use crate::world::World;

/// How long the driver takes to read all files.
const LOOK_US: u64 = 20_000;
/// Rows of a block.
const ROWS_MAX: usize = 12;

/// How often blocks are lost. Drawn apart from the other options: so that seeds are what they were without.
pub(crate) fn draw(seed: u64) -> u64 {
    *pick(&mut stream(seed, "lost block", 0), &[0, 0, 0, 2, 4])
}

/// Nothing else may lose what this node no longer has.
pub(crate) fn adapt(options: &mut Options) {
    if options.faults.rot > 0 {
        options.faults.lost_block = 0;
    }
    if options.faults.lost_block > 0 {
        crate::rot::adapt(options);
        options.faults.restore = 0;
        options
            .left_out
            .push("lost disks: blocks are lost, and what was in them may be on one of these only");
    }
}

impl World {
    /// Some rows of this node can't be read any more, if there are some that others hold.
    pub(crate) fn lose_block(&mut self, node: usize, rng: &mut fastrand::Rng) {
        let kv = self.nodes[node].kv.clone();
        // One node at a time: of two the other one may have the copy.
        if self.nodes.iter().any(|other| other.kv.has_lost_blocks()) {
            return;
        }
        let all = kv.range(Keyspace::Rows, Bound::Unbounded, Bound::Unbounded);
        let rows: Vec<Bytes> = all.flatten().map(|(key, _)| key).collect();
        if rows.is_empty() {
            return;
        }
        let (first, count) = (below(rng, rows.len()), 1 + below(rng, ROWS_MAX));
        let block = rows.into_iter().skip(first).take(count);
        let block: Vec<Bytes> = block
            .take_while(|row| self.others_hold(node, row))
            .collect();
        if block.is_empty() {
            return;
        }
        self.trace.say(
            self.now,
            format_args!("n{node} has lost a block of {} rows", block.len()),
        );
        self.count("lost blocks");
        self.nodes[node].was_unreadable = true;
        kv.lose_block(block);
    }

    /// A node asks to have its files looked at.
    pub(crate) fn look_at_files(&mut self, node: usize) {
        if self.nodes[node].kv.has_lost_blocks()
            && self.options.mutant != Some(Mutant::DamageUnheard)
        {
            let life = self.nodes[node].life;
            self.after(LOOK_US, Event::FaultEnds(FaultEnd::Salvage { node, life }));
        }
    }

    /// A process whose files are damaged starts anew on what can be read.
    pub(crate) fn salvage(&mut self, node: usize, life: u64) {
        if self.nodes[node].life != life {
            return;
        }
        self.count("stores salvaged");
        self.has_salvaged = true;
        self.crash(node, usize::MAX);
        let state = &mut self.nodes[node];
        state.kv.salvage();
        if self.options.mutant == Some(Mutant::SalvageDenied) {
            // The sentence of the disk is not heard.
            state.kv.open();
        } else {
            state.losses.push(self.now);
        }
        state.told = None;
        self.boot(node);
    }

    /// Whether a disk has rows that can never be read.
    pub(crate) fn has_lost_blocks(&self, node: usize) -> bool {
        self.nodes[node].kv.has_lost_blocks()
    }
}
