//! A replica plan: whom one operation talks to, decided once.
//!
//! ```text
//! layout 4:  a b c        owners      a b c d      (distinct, in order)
//! layout 5:  b c d        reachable   a   c d
//!                         assigned    e for b      (the first reachable fallback)
//!                         spares      f g          (when e, too, does not answer)
//! ```
//!
//! The plan never changes afterwards: a new layout makes a new plan, and what is counted is counted
//! against the owner sets that stand here. It decides nothing about time; when a spare is used, and
//! for whom, is up to the caller.

use serde::{Deserialize, Serialize};

use crate::id::{LayoutNumber, NodeId};
use crate::layout::{Layout, REPLICAS_MAX};
use crate::partition::PartitionId;

/// How many fallbacks a plan names beyond those it assigns: one more for every owner there can be. A
/// plan is made for each operation, so it must not list the whole of a large cluster.
const SPARES_MAX: usize = REPLICAS_MAX as usize;

/// Whether others may stand in for owners that can't be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fallbacks {
    /// A sloppy quorum: fallbacks take the write, with a hint for the owner.
    Allowed,
    /// A strict quorum: owners only.
    Forbidden,
}

/// Whom to contact for one operation on one partition. Immutable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicaPlan {
    layouts: Vec<LayoutNumber>,
    owner_sets: Vec<Vec<NodeId>>,
    owners: Vec<NodeId>,
    reachable: Vec<NodeId>,
    unreachable: Vec<NodeId>,
    assigned: Vec<(NodeId, NodeId)>,
    spares: Vec<NodeId>,
}

impl ReplicaPlan {
    /// Plans one operation on `partition` under the active `layouts`, whose order decides who comes
    /// first: give the newest first, so that the nodes that stay are asked before those that go.
    ///
    /// `reachable` is a snapshot's answer and must not change while the plan is made.
    #[must_use]
    pub fn new(
        layouts: &[&Layout],
        partition: PartitionId,
        reachable: impl Fn(NodeId) -> bool,
        fallbacks: Fallbacks,
    ) -> ReplicaPlan {
        let owner_sets: Vec<Vec<NodeId>> = layouts
            .iter()
            .map(|layout| layout.owners(partition).to_vec())
            .collect();
        let owners = distinct(owner_sets.iter().flatten().copied(), usize::MAX);
        let (reached, unreachable): (Vec<NodeId>, Vec<NodeId>) =
            owners.iter().partition(|owner| reachable(**owner));

        let mut fallbacks = match fallbacks {
            Fallbacks::Allowed => distinct(
                layouts
                    .iter()
                    .flat_map(|layout| layout.preference(partition))
                    .copied()
                    .filter(|node| !owners.contains(node) && reachable(*node)),
                unreachable.len() + SPARES_MAX,
            ),
            Fallbacks::Forbidden => Vec::new(),
        };
        let spares = fallbacks.split_off(fallbacks.len().min(unreachable.len()));
        let assigned = fallbacks
            .into_iter()
            .zip(unreachable.iter().copied())
            .collect();

        ReplicaPlan {
            layouts: layouts.iter().map(|layout| layout.number()).collect(),
            owner_sets,
            owners,
            reachable: reached,
            unreachable,
            assigned,
            spares,
        }
    }

    /// The layouts this plan was made under, in the order given.
    #[must_use]
    pub fn layouts(&self) -> &[LayoutNumber] {
        &self.layouts
    }

    /// The owners under each layout, in the order of [`ReplicaPlan::layouts`]. A quorum is needed in
    /// each.
    #[must_use]
    pub fn owner_sets(&self) -> &[Vec<NodeId>] {
        &self.owner_sets
    }

    /// The owners under any of the layouts, each once.
    #[must_use]
    pub fn owners(&self) -> &[NodeId] {
        &self.owners
    }

    /// The owners that could be reached when the plan was made.
    #[must_use]
    pub fn reachable_owners(&self) -> &[NodeId] {
        &self.reachable
    }

    /// The owners that could not.
    #[must_use]
    pub fn unreachable_owners(&self) -> &[NodeId] {
        &self.unreachable
    }

    /// `(fallback, owner it stands for)`, for as many of the unreachable owners as there are
    /// reachable fallbacks. No fallback stands for two.
    #[must_use]
    pub fn assigned(&self) -> &[(NodeId, NodeId)] {
        &self.assigned
    }

    /// The reachable fallbacks that were not assigned, in preference order.
    #[must_use]
    pub fn spares(&self) -> &[NodeId] {
        &self.spares
    }
}

/// The first occurrence of each node, up to `most` of them. Quadratic in a number that is small.
fn distinct(nodes: impl Iterator<Item = NodeId>, most: usize) -> Vec<NodeId> {
    let mut seen = Vec::new();
    for node in nodes {
        if seen.len() == most {
            break;
        }
        if !seen.contains(&node) {
            seen.push(node);
        }
    }
    seen
}
