//! Cloned disks: two processes with one identity.
//!
//! ```text
//!   a copy of n1's disk is taken ─> n1 goes on ─> is out of sight of the copy's machine
//!   ... the copy starts as n1: somebody remembers more of its store, so it starts anew, as one that has forgotten
//!   ... they hear of each other ─> the one that started first ends
//! ```
//!
//! A copy that stood still may be taken for dead. A ghost that hears so rises above it and goes on as n1, as does the
//! process of a node whose clock was put back; then it is the copy that ends.
//!
//! The copy has n1's place, and n1 goes on at a place of its own, as its ghost. Some of the nodes and clients talk
//! to the one and some to the other; a node answers whichever it heard last.
//!
//! Left out, because a node looks for its twin before it starts: a copy that can reach the ghost. And as with a
//! backup: one of which nobody remembers more, see `restore.rs`.

use crate::faults::FaultEnd;
use crate::mutant::Mutant;
use crate::operator::Standing;
use crate::options::{Options, chance, pick, stream};
use crate::queue::Event;
use crate::world::{Node, World};

/// A start that is later by the clock has a higher incarnation, however often the earlier process raised its own.
const LATER: u64 = 1_000;

/// The process that ran on a disk when that was cloned, while it lives.
#[derive(Debug)]
pub(crate) struct Ghost {
    /// Where the copy is.
    node: usize,
    /// What it is cut off by.
    split: u64,
    /// The places that heard it last, and not the copy.
    heard_by: Vec<usize>,
}

/// How often disks are cloned. Drawn apart, as in `restore.rs`.
pub(crate) fn draw(seed: u64) -> u64 {
    *pick(&mut stream(seed, "clone", 0), &[0, 0, 0, 0, 0, 6, 20])
}

/// What only the ghost holds is lost with it.
pub(crate) fn adapt(options: &mut Options) {
    if options.faults.rot > 0 || options.faults.lost_block > 0 || options.replicas < 3 {
        options.faults.clone = 0;
    }
}

impl World {
    /// Clones the disk of a node that runs, or takes the copies that may be started later.
    pub(crate) fn clone_disk(&mut self, node: usize, lasts: u64, rng: &mut fastrand::Rng) {
        let takes_sides = chance(rng, 700);
        let state = &self.nodes[node];
        let runs = state.process.is_some() && state.standing == Standing::Serving;
        let goes = runs && self.has_old_backup(node) && self.network.is_whole_but(None);
        if !goes || self.ghost.is_some() {
            return (0..self.nodes.len()).for_each(|node| self.back_up(node));
        }
        let place = self.nodes.len() - 1;
        self.move_out(node, place);
        // Who is on the ghost's side does not see the copy, the others do not see the ghost.
        let places = self.nodes.len() + self.clients.len();
        let mut sides: Vec<bool> = (0..places).map(|_| chance(rng, 400)).collect();
        (sides[place], sides[node]) = (true, false);
        let is_cut = |from: usize, to: usize| match takes_sides {
            true => sides[from] != sides[to],
            false => [from, to] == [place, node] || [from, to] == [node, place],
        };
        let split = self.network.cut(places, is_cut);
        self.ghost = Some(Ghost {
            node,
            split,
            heard_by: Vec::new(),
        });
        let since = (self.nodes[node].id, self.now..u64::MAX);
        self.remembered.haunted.push(since);
        self.count("clones");
        self.trace.say(
            self.now,
            format_args!("the disk of n{node} is cloned; who ran on it is now at place {place}"),
        );
        self.restore(node);
        self.after(1_000, Event::FaultEnds(FaultEnd::Boot(node)));
        self.after(lasts, Event::FaultEnds(FaultEnd::Heal(split)));
    }

    /// The split that keeps a ghost out of the copy's sight.
    pub(crate) fn ghost_split(&self) -> Option<u64> {
        self.ghost.as_ref().map(|ghost| ghost.split)
    }

    /// The process of a node goes on at another place, with its disk and all that is on its way to it.
    fn move_out(&mut self, node: usize, place: usize) {
        let old = &self.nodes[node];
        let stays = Node {
            life: old.life + LATER,
            skew_ms: old.skew_ms,
            clock_set_at: old.clock_set_at,
            losses: old.losses.clone(),
            risen: old.risen,
            crashes: old.crashes.clone(),
            refusals: old.refusals.clone(),
            was_member: old.was_member,
            ..Node::new(old.id, 0)
        };
        let mut ghost = std::mem::replace(&mut self.nodes[node], stays);
        self.nodes[node].backup = ghost.backup.take();
        ghost.standing = Standing::Ghost;
        ghost.pace.move_to(node, place);
        self.nodes[place] = ghost;
        self.queue.move_all(node, place);
    }

    /// Who gets what goes to a node: the ghost, where it was heard last or the copy can't be reached.
    pub(crate) fn reached(&self, from: usize, to: usize) -> usize {
        let place = self.nodes.len() - 1;
        let Some(ghost) = self.ghost.as_ref().filter(|ghost| ghost.node == to) else {
            return to;
        };
        let reaches =
            |at: usize| self.nodes[at].process.is_some() && !self.network.is_cut(from, at);
        let (first, other) = match ghost.heard_by.contains(&from) {
            true => (place, to),
            false => (to, place),
        };
        if reaches(first) || !reaches(other) {
            first
        } else {
            other
        }
    }

    /// Something of one process goes to another, which answers to the one that it heard last.
    pub(crate) fn is_heard(&mut self, from: usize, by: usize) {
        let Some(ghost) = &mut self.ghost else { return };
        let is_ghost = self.nodes[from].standing == Standing::Ghost;
        if is_ghost || from == ghost.node {
            ghost.heard_by.retain(|at| *at != by);
            ghost.heard_by.extend(is_ghost.then_some(by));
        }
        // What a ghost says it holds, the copy does not.
        if is_ghost {
            self.nodes[ghost.node].losses.push(self.now);
        }
    }

    /// A ghost was told that there is a later process of its node: it ends.
    pub(crate) fn let_ghost_go(&mut self, place: usize) {
        if self.options.mutant != Some(Mutant::GhostStays) {
            self.crash(place, usize::MAX);
        }
    }

    /// The node of which two processes run.
    pub(crate) fn haunted(&self) -> Option<usize> {
        self.ghost.as_ref().map(|ghost| ghost.node)
    }

    fn note_end_of_haunting(&mut self) {
        if let Some((_, haunted)) = self.remembered.haunted.last_mut() {
            haunted.end = self.now;
        }
    }

    /// A copy was told that there is a process above it: the ghost, which goes on as the node.
    pub(crate) fn let_copy_go(&mut self, node: usize) {
        let Some(ghost) = self.ghost.take() else {
            return;
        };
        self.note_end_of_haunting();
        let place = self.nodes.len() - 1;
        self.crash(node, usize::MAX);
        self.nodes[node].durable.wiped();
        self.nodes.swap(node, place);
        (self.nodes[node].standing, self.nodes[place].standing) =
            (Standing::Serving, Standing::Ghost);
        self.nodes[node].risen = self.nodes[place].risen + 2 * LATER;
        self.nodes[node].pace.move_to(place, node);
        self.queue.move_all(place, node);
        self.network.heal(ghost.split);
        self.nodes[node].losses.push(self.now);
        self.disks_lost();
        self.count("ghosts that rose");
    }

    /// The process of a ghost has ended, and its disk is not used again.
    pub(crate) fn ghost_ended(&mut self, place: usize) {
        if let Some(ghost) = self.ghost.take() {
            self.note_end_of_haunting();
            self.network.heal(ghost.split);
            self.nodes[ghost.node].losses.push(self.now);
            self.nodes[place].durable.wiped();
            self.disks_lost();
            self.count("ghosts that ended");
        }
    }
}
