//! Quorum tallies: what counts for whom.
//!
//! Sets of owners are written as the plan has them; where two layouts are active, a plan is made from
//! real ones whose owners differ by exactly one node.

#![expect(clippy::unwrap_used, reason = "the helpers of tests may fail a test")]

use dunlin_ring::Synced::{No, Yes};
use dunlin_ring::{Fallbacks, Layout, Member, MemberState, Needed, NodeId, PartitionCount};
use dunlin_ring::{PartitionId, QuorumTally, Reached, ReplicaPlan};
use proptest::prelude::*;

const ALONE: PartitionId = PartitionId(0);

fn members(ids: impl IntoIterator<Item = u64>) -> Vec<Member> {
    let member = |id: u64| Member {
        id: NodeId(id),
        name: format!("node-{id}"),
        address: format!("node-{id}.example:7400"),
        zone: "zone".to_owned(),
        capacity: 1,
        state: MemberState::Active,
    };
    ids.into_iter().map(member).collect()
}

/// A layout of one partition, owned by all of 1, 2 and 3.
fn one_two_three() -> Layout {
    Layout::first(members(1..=3), 3, PartitionCount::new(1).unwrap()).unwrap()
}

/// The owners are 1, 2 and 3; 8 and 9 are fallbacks.
fn tally(nodes: usize, owners: usize, synced: usize) -> QuorumTally {
    let plan = ReplicaPlan::new(&[&one_two_three()], ALONE, |_| true, Fallbacks::Allowed);
    QuorumTally::new(&plan, |_| Needed {
        nodes,
        owners,
        synced,
    })
}

/// The owners are 1, 2 and 3 under the old layout, and 2, 3 and 4 under the new one.
fn tally_of_two_layouts(nodes: usize, owners: usize, synced: usize) -> QuorumTally {
    let old = one_two_three();
    let new = old.next(members(2..=4), 3).unwrap();
    let plan = ReplicaPlan::new(&[&new, &old], ALONE, |_| true, Fallbacks::Allowed);
    QuorumTally::new(&plan, |_| Needed {
        nodes,
        owners,
        synced,
    })
}

fn node(id: u64) -> NodeId {
    NodeId(id)
}

#[test]
fn an_owner_counts_once_however_often_it_answers() {
    let mut tally = tally(2, 0, 0);
    tally.owner_answered(node(1), No);
    tally.owner_answered(node(1), No);
    assert!(!tally.is_met());
    tally.owner_answered(node(2), No);
    assert!(tally.is_met());
}

#[test]
fn a_fallback_counts_for_nodes_and_never_for_owners() {
    let mut tally = tally(2, 2, 0);
    tally.owner_answered(node(1), No);
    tally.fallback_answered(node(8), node(2), Yes);
    tally.fallback_answered(node(9), node(3), Yes);
    assert_eq!(
        tally.reached(),
        Reached {
            nodes: 3,
            owners: 1,
            synced: 2
        }
    );
    assert!(!tally.is_met());
    tally.owner_answered(node(3), No);
    assert!(tally.is_met());
}

#[test]
fn a_fallback_that_stands_for_two_owners_is_one_node() {
    let mut tally = tally(2, 0, 0);
    tally.fallback_answered(node(8), node(1), Yes);
    tally.fallback_answered(node(8), node(2), Yes);
    assert_eq!(
        tally.reached(),
        Reached {
            nodes: 1,
            owners: 0,
            synced: 1
        }
    );
    assert!(!tally.is_met());
}

#[test]
fn a_late_owner_and_its_fallback_are_two_nodes_that_hold_the_write() {
    let mut tally = tally(2, 1, 0);
    tally.fallback_answered(node(8), node(1), No);
    tally.owner_answered(node(1), No);
    assert!(tally.is_met());
}

#[test]
fn a_node_that_is_neither_owner_nor_stands_for_one_counts_for_nothing() {
    let mut tally = tally(1, 0, 0);
    tally.owner_answered(node(8), Yes);
    tally.fallback_answered(node(9), node(8), Yes);
    assert_eq!(
        tally.reached(),
        Reached {
            nodes: 0,
            owners: 0,
            synced: 0
        }
    );
}

#[test]
fn a_sync_is_counted_when_it_comes_and_never_taken_back() {
    let mut tally = tally(1, 1, 1);
    tally.owner_answered(node(1), No);
    assert!(!tally.is_met());
    tally.owner_answered(node(1), Yes);
    assert!(tally.is_met());
    tally.owner_answered(node(1), No);
    assert!(tally.is_met());
}

#[test]
fn a_need_of_nothing_is_met_at_once() {
    assert!(tally(0, 0, 0).is_met());
}

#[test]
fn a_plan_of_no_layout_is_never_met() {
    let plan = ReplicaPlan::new(&[], ALONE, |_| true, Fallbacks::Allowed);
    let tally = QuorumTally::new(&plan, |_| Needed {
        nodes: 0,
        owners: 0,
        synced: 0,
    });
    assert!(!tally.is_met());
    assert!(tally.is_impossible(9));
}

#[test]
fn two_layouts_need_a_quorum_each() {
    let mut tally = tally_of_two_layouts(2, 2, 0);
    tally.owner_answered(node(1), No);
    tally.owner_answered(node(2), No);
    // A majority of 1, 2, 3, but 2 alone of 2, 3, 4.
    assert_eq!(tally.reached().owners, 1);
    assert!(!tally.is_met());
    tally.owner_answered(node(4), No);
    assert!(tally.is_met());
}

#[test]
fn a_set_that_is_retired_needs_nothing_and_never_are_all() {
    let mut tally = tally_of_two_layouts(2, 0, 0);
    let sets = tally.clone();
    tally.keep_sets(|_| false);
    assert_eq!(tally, sets, "without any set nothing would be promised");
    tally.owner_answered(node(2), No);
    tally.owner_answered(node(4), No);
    tally.failed(node(1));
    tally.failed(node(3));
    assert!(tally.is_impossible(0), "1 and 3 know of the old one's end");
    tally.keep_sets(|owners| owners.contains(&node(4)));
    assert!(tally.is_met());
}

#[test]
fn an_owner_of_both_layouts_counts_in_both() {
    let mut tally = tally_of_two_layouts(2, 2, 2);
    tally.owner_answered(node(2), Yes);
    tally.owner_answered(node(3), Yes);
    assert!(tally.is_met());
}

#[test]
fn a_fallback_counts_only_where_the_owner_it_stands_for_does() {
    let mut tally = tally_of_two_layouts(1, 0, 0);
    tally.fallback_answered(node(8), node(1), Yes);
    assert!(!tally.is_met(), "1 owns nothing under the new layout");
    tally.fallback_answered(node(8), node(4), Yes);
    assert!(tally.is_met());
}

#[test]
fn a_tally_is_impossible_once_too_few_are_left() {
    let mut tally = tally(2, 0, 0);
    tally.failed(node(1));
    assert!(!tally.is_impossible(0));
    tally.failed(node(2));
    assert!(tally.is_impossible(0));
    assert!(
        !tally.is_impossible(1),
        "a fallback can still make up for it"
    );
}

#[test]
fn no_fallback_makes_up_for_a_failed_owner_that_is_needed() {
    let mut tally = tally(1, 2, 0);
    tally.failed(node(1));
    tally.failed(node(2));
    assert!(tally.is_impossible(9));
}

#[test]
fn a_failed_node_that_answers_all_the_same_counts() {
    let mut tally = tally(3, 3, 0);
    tally.failed(node(1));
    assert!(tally.is_impossible(0));
    for owner in 1..=3 {
        tally.owner_answered(node(owner), No);
    }
    assert!(tally.is_met());
}

#[test]
fn a_node_that_fails_after_its_answer_keeps_it_but_owes_no_sync() {
    let mut tally = tally(2, 0, 3);
    for owner in 1..=3 {
        tally.owner_answered(node(owner), No);
    }
    assert!(!tally.is_impossible(0));
    tally.failed(node(3));
    assert_eq!(tally.reached().nodes, 3);
    assert!(tally.is_impossible(0));
}

#[test]
fn owners_that_the_plan_could_not_reach_have_failed_from_the_start() {
    let plan = ReplicaPlan::new(
        &[&one_two_three()],
        ALONE,
        |node| node == NodeId(1),
        Fallbacks::Forbidden,
    );
    let tally = QuorumTally::new(&plan, |_| Needed {
        nodes: 2,
        owners: 0,
        synced: 0,
    });
    assert!(tally.is_impossible(0));
}

#[test]
fn more_than_there_are_owners_is_impossible_without_fallbacks() {
    assert!(tally(4, 0, 0).is_impossible(0));
    assert!(!tally(4, 0, 0).is_impossible(1));
    assert!(tally(0, 4, 0).is_impossible(9));
}

#[derive(Debug, Clone, Copy)]
enum Reply {
    Owner(u64, bool),
    Fallback(u64, u64, bool),
    Failed(u64),
}

fn any_reply() -> impl Strategy<Value = Reply> {
    prop_oneof![
        (1..=4u64, any::<bool>()).prop_map(|(owner, synced)| Reply::Owner(owner, synced)),
        (8..=9u64, 1..=4u64, any::<bool>())
            .prop_map(|(node, owner, synced)| Reply::Fallback(node, owner, synced)),
        (1..=4u64).prop_map(Reply::Failed),
    ]
}

fn enter(tally: &mut QuorumTally, reply: Reply) {
    let synced = |synced| if synced { Yes } else { No };
    match reply {
        Reply::Owner(owner, disk) => tally.owner_answered(node(owner), synced(disk)),
        Reply::Fallback(fallback, owner, disk) => {
            tally.fallback_answered(node(fallback), node(owner), synced(disk));
        }
        Reply::Failed(failed) => tally.failed(node(failed)),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn what_was_met_stays_met_and_is_never_impossible(
        needs in (0..=3usize, 0..=3usize, 0..=3usize),
        replies in prop::collection::vec(any_reply(), 0..16),
    ) {
        let mut tally = tally_of_two_layouts(needs.0, needs.1, needs.2);
        let mut met = tally.is_met();
        for reply in replies {
            enter(&mut tally, reply);
            prop_assert!(tally.is_met() || !met);
            met = tally.is_met();
            prop_assert!(!(met && tally.is_impossible(0)));
        }
    }

    #[test]
    fn the_order_and_the_repetition_of_replies_do_not_matter(
        replies in prop::collection::vec(any_reply(), 0..12),
    ) {
        let mut forwards = tally_of_two_layouts(2, 1, 1);
        let mut backwards = forwards.clone();
        for reply in &replies {
            enter(&mut forwards, *reply);
        }
        for reply in replies.iter().rev().chain(&replies) {
            enter(&mut backwards, *reply);
        }
        prop_assert_eq!(forwards.reached(), backwards.reached());
        prop_assert_eq!(forwards.is_met(), backwards.is_met());
    }
}

#[test]
fn each_set_needs_its_own_majority_while_n_changes() {
    let one = PartitionCount::new(1).unwrap();
    let before = Layout::first(members(1..=5), 3, one).unwrap();
    let after = before.next(members(1..=5), 5).unwrap();
    let plan = ReplicaPlan::new(&[&after, &before], ALONE, |_| true, Fallbacks::Forbidden);
    let majority = |owners: usize| Needed {
        nodes: owners / 2 + 1,
        ..Needed::default()
    };
    let mut tally = QuorumTally::new(&plan, majority);
    assert_eq!(tally.needed().nodes, 3);
    let (old, new) = (before.owners(ALONE), after.owners(ALONE));
    for node in new.iter().filter(|node| !old.contains(node)) {
        tally.owner_answered(*node, Yes);
    }
    tally.owner_answered(old[0], Yes);
    assert!(!tally.is_met(), "three of five, but one of three");
    tally.owner_answered(old[1], Yes);
    assert!(tally.is_met(), "two of three are enough for that set");
}
