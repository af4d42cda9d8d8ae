//! Replica plans: whom an operation talks to, given who can be reached.

#![expect(clippy::unwrap_used, reason = "the helpers of tests may fail a test")]

use dunlin_ring::{Fallbacks, Layout, LayoutNumber, Member, MemberState, NodeId, PartitionCount};
use dunlin_ring::{PartitionId, ReplicaPlan};
use proptest::prelude::*;

const PARTITION: PartitionId = PartitionId(3);

fn members(size: u64) -> Vec<Member> {
    let member = |id: u64| Member {
        id: NodeId(id),
        name: format!("node-{id}"),
        address: format!("node-{id}.example:7400"),
        zone: format!("zone-{id}"),
        capacity: 1,
        state: MemberState::Active,
    };
    (1..=size).map(member).collect()
}

fn layout(size: u64) -> Layout {
    Layout::first(members(size), 3, PartitionCount::new(16).unwrap()).unwrap()
}

#[test]
fn owners_alone_are_asked_while_all_are_reachable() {
    let layout = layout(6);
    let plan = ReplicaPlan::new(&[&layout], PARTITION, |_| true, Fallbacks::Allowed);
    assert_eq!(plan.layouts(), [LayoutNumber(1)]);
    assert_eq!(plan.owner_sets(), [layout.owners(PARTITION).to_vec()]);
    assert_eq!(plan.owners(), layout.owners(PARTITION));
    assert_eq!(plan.reachable_owners(), layout.owners(PARTITION));
    assert!(plan.unreachable_owners().is_empty());
    assert!(plan.assigned().is_empty());
    assert_eq!(plan.spares(), &layout.preference(PARTITION)[3..]);
}

#[test]
fn each_unreachable_owner_gets_the_next_fallback_that_is_reachable() {
    let layout = layout(7);
    let order = layout.preference(PARTITION).to_vec();
    let down = [order[0], order[2], order[4]];
    let plan = ReplicaPlan::new(
        &[&layout],
        PARTITION,
        |node| !down.contains(&node),
        Fallbacks::Allowed,
    );
    assert_eq!(plan.reachable_owners(), [order[1]]);
    assert_eq!(plan.unreachable_owners(), [order[0], order[2]]);
    assert_eq!(
        plan.assigned(),
        [(order[3], order[0]), (order[5], order[2])]
    );
    assert_eq!(plan.spares(), [order[6]]);
}

#[test]
fn a_strict_plan_names_no_fallback() {
    let layout = layout(7);
    let plan = ReplicaPlan::new(&[&layout], PARTITION, |_| false, Fallbacks::Forbidden);
    assert_eq!(plan.unreachable_owners(), layout.owners(PARTITION));
    assert!(plan.assigned().is_empty() && plan.spares().is_empty());
}

#[test]
fn with_too_few_fallbacks_the_first_owners_are_served() {
    let layout = layout(4);
    let order = layout.preference(PARTITION);
    let plan = ReplicaPlan::new(
        &[&layout],
        PARTITION,
        |node| node == order[3],
        Fallbacks::Allowed,
    );
    assert_eq!(plan.assigned(), [(order[3], order[0])]);
}

#[test]
fn spares_are_bounded_in_a_large_cluster() {
    let layout = layout(60);
    let plan = ReplicaPlan::new(&[&layout], PARTITION, |_| true, Fallbacks::Allowed);
    assert_eq!(plan.spares(), &layout.preference(PARTITION)[3..19]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_plan_of_two_layouts_satisfies_both(
        sizes in (1..12u64, 1..12u64),
        down in prop::collection::btree_set(1..12u64, 0..6),
        partition in 0..16u16,
    ) {
        let old = layout(sizes.0);
        let new = old.next(members(sizes.1), 3).unwrap();
        let partition = PartitionId(partition);
        let up = |node: NodeId| !down.contains(&node.0);
        let plan = ReplicaPlan::new(&[&new, &old], partition, up, Fallbacks::Allowed);

        prop_assert_eq!(plan.layouts(), [LayoutNumber(2), LayoutNumber(1)]);
        prop_assert_eq!(&plan.owner_sets()[0], new.owners(partition));
        prop_assert_eq!(&plan.owner_sets()[1], old.owners(partition));
        for owner in plan.owner_sets().iter().flatten() {
            prop_assert_eq!(plan.owners().iter().filter(|node| *node == owner).count(), 1);
            prop_assert_eq!(plan.reachable_owners().contains(owner), up(*owner));
            prop_assert_eq!(plan.unreachable_owners().contains(owner), !up(*owner));
        }
        let mut standing: Vec<NodeId> = plan.assigned().iter().map(|(node, _)| *node).collect();
        standing.extend(plan.spares());
        for node in &standing {
            prop_assert!(up(*node) && !plan.owners().contains(node));
            prop_assert_eq!(standing.iter().filter(|other| *other == node).count(), 1);
        }
        let served: Vec<NodeId> = plan.assigned().iter().map(|(_, owner)| *owner).collect();
        prop_assert_eq!(&served[..], &plan.unreachable_owners()[..served.len()]);
        if served.len() < plan.unreachable_owners().len() {
            prop_assert!(plan.spares().is_empty());
        }
    }
}
