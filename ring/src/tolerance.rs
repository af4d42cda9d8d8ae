//! What a layout survives: how many more nodes, and how many whole zones, may fail whichever they are.
//!
//! ```text
//!   partition 0: [a b c]   c is down: one more may fail with a copy left, none with two of three
//!   zones: a and b in one: that zone takes both copies with it, so no zone may fail
//! ```
//!
//! The answer is of the worst partition and the worst choice of nodes; most choices do less harm. For
//! operators: nothing here decides anything.

use std::collections::{BTreeMap, BTreeSet};

use crate::id::NodeId;
use crate::layout::Layout;
use crate::partition::PartitionId;
use crate::quorum::Quorum;

/// What a layout survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tolerance {
    /// With at least one owner of every partition left.
    pub last_copy: Faults,
    /// With a majority of the owners of every partition left.
    pub majority: Faults,
}

/// How many more may fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Faults {
    /// Nodes, whichever.
    pub nodes: usize,
    /// Whole zones, whichever.
    pub zones: usize,
    /// Partitions for which too few are left already. While there are any, the other two are 0.
    pub short: usize,
}

impl Tolerance {
    /// What a layout survives, given who is down now.
    #[must_use]
    pub fn of(layout: &Layout, down: &BTreeSet<NodeId>) -> Tolerance {
        Tolerance {
            last_copy: faults(layout, down, Quorum::One),
            majority: faults(layout, down, Quorum::Majority),
        }
    }

    /// What both layouts survive: while a change is under way, both count.
    #[must_use]
    pub fn worse(self, other: Tolerance) -> Tolerance {
        Tolerance {
            last_copy: self.last_copy.worse(other.last_copy),
            majority: self.majority.worse(other.majority),
        }
    }
}

impl Faults {
    fn worse(self, other: Faults) -> Faults {
        Faults {
            nodes: self.nodes.min(other.nodes),
            zones: self.zones.min(other.zones),
            short: self.short.max(other.short),
        }
    }
}

fn faults(layout: &Layout, down: &BTreeSet<NodeId>, quorum: Quorum) -> Faults {
    let mut worst = Faults {
        nodes: usize::MAX,
        zones: usize::MAX,
        short: 0,
    };
    for partition in layout.partitions().iter() {
        let owners = layout.owners(partition);
        let mut zones: BTreeMap<&str, usize> = BTreeMap::new();
        let up = owners.iter().filter(|owner| !down.contains(owner));
        for member in up.filter_map(|owner| layout.member(*owner)) {
            *zones.entry(&member.zone).or_default() += 1;
        }
        let left: usize = zones.values().sum();
        let Some(spare) = left.checked_sub(quorum.needed(owners.len())) else {
            worst.short += 1;
            continue;
        };
        // The zones that hold most of the partition do the most harm.
        let mut largest: Vec<usize> = zones.into_values().collect();
        largest.sort_unstable_by(|a, b| b.cmp(a));
        let mut harm = 0;
        let survived = largest.iter().take_while(|copies| {
            harm += **copies;
            harm <= spare
        });
        worst.nodes = worst.nodes.min(spare);
        worst.zones = worst.zones.min(survived.count());
    }
    match worst.short {
        0 => worst,
        short => Faults {
            nodes: 0,
            zones: 0,
            short,
        },
    }
}

/// The partitions that have a living owner now, and would have none without these nodes.
#[must_use]
pub fn last_copies(
    layout: &Layout,
    down: &BTreeSet<NodeId>,
    going: &BTreeSet<NodeId>,
) -> Vec<PartitionId> {
    let is_last = |partition: &PartitionId| {
        let owners = layout.owners(*partition).iter();
        let mut up = owners.filter(|owner| !down.contains(owner)).peekable();
        up.peek().is_some() && up.all(|owner| going.contains(owner))
    };
    layout.partitions().iter().filter(is_last).collect()
}
