//! What the other files measure with, written independently of the code under test (floats and all).

use std::collections::{BTreeMap, BTreeSet};

use dunlin_ring::{Layout, Member, MemberState, NodeId, PartitionCount};
use proptest::prelude::*;

/// As many zones as [`any_members`] draws from.
pub(crate) const ZONES: usize = 6;

/// Node `number`, with everything that follows from its number.
pub(crate) fn member(number: usize, zone: usize, capacity: u32) -> Member {
    let name = format!("node-{number}");
    Member {
        id: NodeId::from_name(&name),
        address: format!("{name}.example:7400"),
        name,
        zone: format!("zone-{zone}"),
        capacity,
        state: MemberState::Active,
    }
}

/// `size` equal nodes, dealt out to `zones` zones in turn.
pub(crate) fn equal_members(size: usize, zones: usize) -> Vec<Member> {
    (0..size)
        .map(|number| member(number, number % zones, 1))
        .collect()
}

/// Up to `most` nodes of any zones and capacities.
pub(crate) fn any_members(most: usize) -> impl Strategy<Value = Vec<Member>> {
    prop::collection::vec((0..ZONES, 1..=8u32), 1..=most).prop_map(|nodes| {
        let numbered = nodes.into_iter().enumerate();
        numbered
            .map(|(number, (zone, capacity))| member(number, zone, capacity * 100))
            .collect()
    })
}

pub(crate) fn partitions(count: u16) -> PartitionCount {
    PartitionCount::new(count).expect("a power of two")
}

pub(crate) fn active(layout: &Layout) -> impl Iterator<Item = &Member> {
    layout
        .members()
        .iter()
        .filter(|member| member.state == MemberState::Active)
}

/// How many copies each active member has.
pub(crate) fn loads(layout: &Layout) -> BTreeMap<NodeId, usize> {
    active(layout)
        .map(|member| (member.id, layout.owned_by(member.id).count()))
        .collect()
}

/// Copies that are somewhere in `after` where they were not in `before`.
pub(crate) fn moved(before: &Layout, after: &Layout) -> usize {
    let new_owners = |p| {
        after
            .owners(p)
            .iter()
            .filter(|owner| !before.is_owner(**owner, p))
            .count()
    };
    after.partitions().iter().map(new_owners).sum()
}

/// Copies beyond the first of their zone, over all partitions, those of `except` left out.
pub(crate) fn crowded(layout: &Layout, except: Option<NodeId>) -> usize {
    let crowd = |p| {
        let zones: Vec<&str> = layout
            .owners(p)
            .iter()
            .filter(|owner| Some(**owner) != except)
            .filter_map(|owner| layout.member(*owner))
            .map(|member| member.zone.as_str())
            .collect();
        zones.len() - zones.iter().collect::<BTreeSet<_>>().len()
    };
    layout.partitions().iter().map(crowd).sum()
}

/// The fair share of each active member: all copies split by capacity, but nobody above one copy of
/// each partition.
pub(crate) fn fair(layout: &Layout) -> BTreeMap<NodeId, f64> {
    let partitions = f64::from(layout.partitions().get());
    let copies = usize::from(layout.replicas()).min(active(layout).count()) as f64;
    let mut full: BTreeSet<NodeId> = BTreeSet::new();
    loop {
        let left = partitions * (copies - full.len() as f64);
        let open = || active(layout).filter(|member| !full.contains(&member.id));
        let capacity: f64 = open().map(|member| f64::from(member.capacity)).sum();
        let share = |member: &Member| left * f64::from(member.capacity) / capacity;
        let over: Vec<NodeId> = open()
            .filter(|member| share(member) > partitions + 1e-6)
            .map(|member| member.id)
            .collect();
        if over.is_empty() {
            let mut fair: BTreeMap<NodeId, f64> =
                open().map(|member| (member.id, share(member))).collect();
            fair.extend(full.iter().map(|node| (*node, partitions)));
            return fair;
        }
        full.extend(over);
    }
}

/// The highest load as a multiple of the fair share.
pub(crate) fn worst_load(layout: &Layout) -> f64 {
    let fair = fair(layout);
    let ratios = loads(layout)
        .into_iter()
        .map(|(node, load)| load as f64 / fair[&node]);
    ratios.fold(0.0, f64::max)
}
