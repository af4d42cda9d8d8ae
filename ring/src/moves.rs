//! What changes hands between two layouts of one cluster, and how even the loads are afterwards.
//!
//! ```text
//!            from    to
//!   node a   0 1 2   1 2     keeps 1 2, loses 0
//!   node b   3 4     3 4 0   keeps 3 4, gains 0       one copy moved, the least possible
//! ```
//!
//! For operators, who want to see a change before it is made. Nothing here decides anything.

use std::collections::BTreeSet;

use crate::id::NodeId;
use crate::layout::Layout;
use crate::member::MemberState;
use crate::partition::PartitionId;
use crate::share::{Copies, FairShares, Sharer};

/// What changes hands between two layouts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moves {
    /// Sorted by id: every member of either layout.
    nodes: Vec<NodeMoves>,
}

/// What one node takes over and gives up. Partitions are in ring order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeMoves {
    /// Which node.
    pub node: NodeId,
    /// Partitions that it owns in the second layout only.
    pub gains: Vec<PartitionId>,
    /// Partitions that it owns in the first layout only.
    pub loses: Vec<PartitionId>,
    /// Partitions that it owns in both.
    pub keeps: Vec<PartitionId>,
}

impl NodeMoves {
    /// How many partitions it owns in the first layout.
    #[must_use]
    pub fn before(&self) -> usize {
        self.keeps.len() + self.loses.len()
    }

    /// How many partitions it owns in the second layout.
    #[must_use]
    pub fn after(&self) -> usize {
        self.keeps.len() + self.gains.len()
    }
}

impl Moves {
    /// From one layout to another of the same cluster.
    #[must_use]
    pub fn between(from: &Layout, to: &Layout) -> Moves {
        let members = from.members().iter().chain(to.members());
        let nodes: BTreeSet<NodeId> = members.map(|member| member.id).collect();
        let moves_of = |node: NodeId| {
            let before: BTreeSet<PartitionId> = from.owned_by(node).collect();
            let after: BTreeSet<PartitionId> = to.owned_by(node).collect();
            NodeMoves {
                node,
                gains: after.difference(&before).copied().collect(),
                loses: before.difference(&after).copied().collect(),
                keeps: before.intersection(&after).copied().collect(),
            }
        };
        Moves {
            nodes: nodes.into_iter().map(moves_of).collect(),
        }
    }

    /// Every member of either layout, sorted by id.
    #[must_use]
    pub fn nodes(&self) -> &[NodeMoves] {
        &self.nodes
    }

    /// The part of one node.
    #[must_use]
    pub fn of(&self, node: NodeId) -> Option<&NodeMoves> {
        let position = self.nodes.binary_search_by_key(&node, |moves| moves.node);
        position.ok().and_then(|position| self.nodes.get(position))
    }

    /// Copies of partitions that have to be made.
    #[must_use]
    pub fn copies_moved(&self) -> usize {
        self.nodes.iter().map(|moves| moves.gains.len()).sum()
    }

    /// The fewest copies that could be made for every node to own as many partitions as it does in the
    /// second layout.
    #[must_use]
    pub fn copies_moved_least(&self) -> usize {
        let more = |moves: &NodeMoves| moves.after().saturating_sub(moves.before());
        self.nodes.iter().map(more).sum()
    }

    /// Whether every partition has the owners that it had.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.nodes
            .iter()
            .all(|moves| moves.gains.is_empty() && moves.loses.is_empty())
    }
}

/// How much one active member owns, beside what its capacity says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Load {
    /// Which member.
    pub node: NodeId,
    /// Partitions that it owns.
    pub copies: usize,
    /// That, in percent of its fair share by capacity, rounded up. A share is at most one copy of each
    /// partition, and others take up what is over.
    pub percent: u64,
}

/// The load of every active member, sorted by id.
#[must_use]
pub fn loads(layout: &Layout) -> Vec<Load> {
    let active = || {
        let mut members = layout.members().iter();
        std::iter::from_fn(move || members.find(|member| member.state == MemberState::Active))
    };
    let sharers: Vec<Sharer> = active()
        .map(|member| Sharer {
            zone: 0,
            capacity: member.capacity,
            held: 0,
        })
        .collect();
    let copies = Copies {
        partitions: u64::from(layout.partitions().get()),
        per_partition: layout.owners(PartitionId(0)).len() as u64,
    };
    let fair = FairShares::new(&sharers, copies);
    active()
        .enumerate()
        .map(|(position, member)| {
            let copies = layout.owned_by(member.id).count();
            Load {
                node: member.id,
                copies,
                percent: fair.percent(position, copies),
            }
        })
        .collect()
}
