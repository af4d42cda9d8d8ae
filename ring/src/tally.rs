//! Counting replies: against sets of owners, never as a bare number.
//!
//! While two layouts are active, three replies may be a majority of the one and a minority of the
//! other. So every answer is entered in each owner set it belongs to, and the tally is met when each
//! set has what it needs:
//!
//! | answer | W (nodes) | PW, PR (owners) | DW (synced) |
//! |---|---|---|---|
//! | an owner, in each set that it is in | 1 | 1 | 1 once synced |
//! | a fallback, in each set that the owner it stands for is in | 1 | 0 | 1 once synced |
//!
//! W promises that so many *distinct nodes* hold the write. Hence one fallback standing for two
//! owners counts once, and an owner that answers late, after its fallback, counts beside it: both
//! hold the write. A reply that comes twice counts once.

use crate::id::NodeId;
use crate::plan::ReplicaPlan;

/// What an owner set must reach. Nothing clamps these to the size of a set: a need above it can only
/// be met with fallbacks, or never, and refusing that is up to the caller.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Needed {
    /// W or R: distinct nodes.
    pub nodes: usize,
    /// PW or PR: of these, owners.
    pub owners: usize,
    /// DW: nodes that have synced.
    pub synced: usize,
}

/// What the set that is furthest behind has reached, count by count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reached {
    /// Distinct nodes that answered.
    pub nodes: usize,
    /// Of these, owners.
    pub owners: usize,
    /// Nodes that have synced.
    pub synced: usize,
}

/// Whether the node that answers has the write on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Synced {
    /// It would survive the loss of power.
    Yes,
    /// It is in memory only, for now.
    No,
}

/// The replies to one operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuorumTally {
    sets: Vec<SetTally>,
    /// Nodes from which nothing more will come.
    failed: Vec<NodeId>,
}

impl QuorumTally {
    /// A tally without replies. `needed` says what a set of so many owners must reach: a majority of
    /// three and a majority of five are not the same, and while N changes there are both. The owners
    /// that the plan found unreachable count as failed until they answer all the same.
    #[must_use]
    pub fn new(plan: &ReplicaPlan, needed: impl Fn(usize) -> Needed) -> QuorumTally {
        let sets = plan
            .owner_sets()
            .iter()
            .map(|owners| SetTally {
                needed: needed(owners.len()),
                owners: owners.clone(),
                answers: Vec::new(),
            })
            .collect();
        QuorumTally {
            sets,
            failed: plan.unreachable_owners().to_vec(),
        }
    }

    /// An owner holds the write, or has answered the read. Again with [`Synced::Yes`] once it has
    /// synced; the order doesn't matter. A node that is in no set is ignored.
    pub fn owner_answered(&mut self, node: NodeId, synced: Synced) {
        for set in &mut self.sets {
            if set.owners.contains(&node) {
                set.enter(node, synced);
            }
        }
        self.failed.retain(|failed| *failed != node);
    }

    /// A fallback holds the write, with a hint for the owner `stands_for`.
    pub fn fallback_answered(&mut self, fallback: NodeId, stands_for: NodeId, synced: Synced) {
        for set in &mut self.sets {
            if set.owners.contains(&stands_for) {
                set.enter(fallback, synced);
            }
        }
        self.failed.retain(|failed| *failed != fallback);
    }

    /// Only these sets of owners count from now on: the others belong to layouts that are retired. If
    /// none of them is active all stay: without any, nothing would be promised.
    pub fn keep_sets(&mut self, is_active: impl Fn(&[NodeId]) -> bool) {
        if self.sets.iter().any(|set| is_active(&set.owners)) {
            self.sets.retain(|set| is_active(&set.owners));
        }
    }

    /// Nothing more will come from `node`. What it has answered stands, but a sync it still owed is
    /// no longer counted on.
    pub fn failed(&mut self, node: NodeId) {
        if !self.failed.contains(&node) {
            self.failed.push(node);
        }
    }

    /// Whether every owner set has what it needs. A plan without sets is never met.
    #[must_use]
    pub fn is_met(&self) -> bool {
        !self.sets.is_empty() && self.sets.iter().all(SetTally::is_met)
    }

    /// Whether the tally can't be met any more, even if every owner that hasn't failed answers and
    /// syncs, and so do `fallbacks_left` further fallbacks (those asked and those to be asked).
    ///
    /// `false` is no promise: a fallback left may stand for an owner of one set only.
    #[must_use]
    pub fn is_impossible(&self, fallbacks_left: usize) -> bool {
        self.sets.is_empty()
            || self.sets.iter().any(|set| {
                let pending = set.pending_owners(&self.failed);
                let unsynced = set.pending_syncs(&self.failed);
                set.answers.len() + pending + fallbacks_left < set.needed.nodes
                    || set.owners_answered() + pending < set.needed.owners
                    || set.synced() + unsynced + pending + fallbacks_left < set.needed.synced
            })
    }

    /// How far the set that is furthest behind has come.
    #[must_use]
    pub fn reached(&self) -> Reached {
        let least = |count: fn(&SetTally) -> usize| self.sets.iter().map(count).min().unwrap_or(0);
        Reached {
            nodes: least(|set| set.answers.len()),
            owners: least(SetTally::owners_answered),
            synced: least(SetTally::synced),
        }
    }

    /// What was asked for: count by count, the most that any set must reach.
    #[must_use]
    pub fn needed(&self) -> Needed {
        let most = |count: fn(&Needed) -> usize| {
            let needs = self.sets.iter().map(|set| count(&set.needed));
            needs.max().unwrap_or(0)
        };
        Needed {
            nodes: most(|needed| needed.nodes),
            owners: most(|needed| needed.owners),
            synced: most(|needed| needed.synced),
        }
    }
}

/// The replies that count in one owner set.
#[derive(Debug, Clone, PartialEq, Eq)]
struct SetTally {
    needed: Needed,
    owners: Vec<NodeId>,
    /// Invariant: one answer per node. Searched one by one: there are a handful.
    answers: Vec<Answer>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Answer {
    node: NodeId,
    synced: Synced,
}

impl SetTally {
    fn is_met(&self) -> bool {
        self.answers.len() >= self.needed.nodes
            && self.owners_answered() >= self.needed.owners
            && self.synced() >= self.needed.synced
    }

    fn enter(&mut self, node: NodeId, synced: Synced) {
        match self.answers.iter_mut().find(|answer| answer.node == node) {
            // A sync is not undone by a late reply that doesn't know of it.
            Some(answer) if synced == Synced::Yes => answer.synced = Synced::Yes,
            Some(_) => {}
            None => self.answers.push(Answer { node, synced }),
        }
    }

    fn owners_answered(&self) -> usize {
        self.answers
            .iter()
            .filter(|answer| self.owners.contains(&answer.node))
            .count()
    }

    fn synced(&self) -> usize {
        self.answers
            .iter()
            .filter(|answer| answer.synced == Synced::Yes)
            .count()
    }

    fn pending_owners(&self, failed: &[NodeId]) -> usize {
        self.owners
            .iter()
            .filter(|owner| !failed.contains(owner))
            .filter(|owner| !self.answers.iter().any(|answer| answer.node == **owner))
            .count()
    }

    fn pending_syncs(&self, failed: &[NodeId]) -> usize {
        self.answers
            .iter()
            .filter(|answer| answer.synced == Synced::No && !failed.contains(&answer.node))
            .count()
    }
}
