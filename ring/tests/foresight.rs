//! What operators are shown before a change: each claim against a count by brute force.

#![expect(clippy::unwrap_used, reason = "the helpers of tests may fail a test")]

use std::collections::BTreeSet;

use dunlin_ring::{
    Layout, Member, MemberState, Moves, NodeId, PartitionCount, PartitionId, Tolerance,
    last_copies, loads,
};
use proptest::prelude::*;

fn member(number: usize, zone: usize, capacity: u32) -> Member {
    Member {
        id: NodeId(number as u64 + 1),
        name: format!("n{number}"),
        address: format!("n{number}.example:7400"),
        zone: format!("z{zone}"),
        capacity,
        state: MemberState::Active,
    }
}

fn any_members() -> impl Strategy<Value = Vec<Member>> {
    let node = (0..4_usize, 1..4_u32);
    proptest::collection::vec(node, 1..8).prop_map(|nodes| {
        let numbered = nodes.into_iter().enumerate();
        numbered
            .map(|(number, (zone, capacity))| member(number, zone, capacity))
            .collect()
    })
}

fn first(members: Vec<Member>, replicas: u8) -> Layout {
    Layout::first(members, replicas, PartitionCount::new(16).unwrap()).unwrap()
}

/// Every set of so many of these.
fn choices<T: Copy + Ord>(of: &[T], many: usize) -> Vec<BTreeSet<T>> {
    match (many, of.split_first()) {
        (0, _) => vec![BTreeSet::new()],
        (_, None) => Vec::new(),
        (many, Some((head, rest))) => {
            let mut with = choices(rest, many - 1);
            for set in &mut with {
                set.insert(*head);
            }
            with.extend(choices(rest, many));
            with
        }
    }
}

/// Partitions of which fewer than `needed(owners)` owners are outside of `gone`.
fn short(layout: &Layout, gone: &BTreeSet<NodeId>, needed: fn(usize) -> usize) -> usize {
    let is_short = |p: &PartitionId| {
        let owners = layout.owners(*p);
        owners.iter().filter(|o| !gone.contains(o)).count() < needed(owners.len())
    };
    layout.partitions().iter().filter(is_short).count()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn what_moves_is_exactly_what_differs(
        before in any_members(), after in any_members(), n in 1..4_u8, m in 1..4_u8,
    ) {
        let from = first(before, n);
        let to = from.next(after, m).unwrap();
        let moves = Moves::between(&from, &to);
        for partition in from.partitions().iter() {
            for moves in moves.nodes() {
                let node = moves.node;
                let (was, is) = (from.is_owner(node, partition), to.is_owner(node, partition));
                prop_assert_eq!(moves.gains.contains(&partition), !was && is);
                prop_assert_eq!(moves.loses.contains(&partition), was && !is);
                prop_assert_eq!(moves.keeps.contains(&partition), was && is);
            }
        }
        for layout in [&from, &to] {
            for member in layout.members() {
                prop_assert!(moves.of(member.id).is_some());
            }
        }
        prop_assert!(moves.copies_moved() >= moves.copies_moved_least());
        prop_assert_eq!(moves.is_empty(), from.partitions().iter().all(|p| {
            let set = |layout: &Layout| layout.owners(p).iter().copied().collect::<BTreeSet<_>>();
            set(&from) == set(&to)
        }));
    }

    #[test]
    fn any_so_many_may_fail_and_some_one_more_may_not(
        members in any_members(), n in 1..5_u8, down in proptest::collection::btree_set(1..8_u64, 0..4),
    ) {
        let layout = first(members, n);
        let down: BTreeSet<NodeId> = down.into_iter().map(NodeId).collect();
        let up: Vec<NodeId> = layout.members().iter().map(|m| m.id).filter(|m| !down.contains(m)).collect();
        let zones: BTreeSet<&str> = layout.members().iter().map(|m| &m.zone[..]).collect();
        let zones: Vec<&str> = zones.into_iter().collect();
        let tolerance = Tolerance::of(&layout, &down);
        let needs: [fn(usize) -> usize; 2] = [|_| 1, |owners| owners / 2 + 1];
        for (faults, needed) in [tolerance.last_copy, tolerance.majority].into_iter().zip(needs) {
            prop_assert_eq!(faults.short, short(&layout, &down, needed));
            if faults.short > 0 {
                prop_assert_eq!((faults.nodes, faults.zones), (0, 0));
                continue;
            }
            let fails = |more: BTreeSet<NodeId>| {
                short(&layout, &more.union(&down).copied().collect(), needed) > 0
            };
            prop_assert!(!choices(&up, faults.nodes).into_iter().any(fails));
            prop_assert!(choices(&up, faults.nodes + 1).into_iter().any(fails));
            let in_zones = |zones: BTreeSet<&str>| {
                let within = layout.members().iter().filter(|m| zones.contains(&m.zone[..]));
                within.map(|m| m.id).collect::<BTreeSet<_>>()
            };
            prop_assert!(!choices(&zones, faults.zones).into_iter().map(in_zones).any(fails));
            prop_assert!(choices(&zones, faults.zones + 1).into_iter().map(in_zones).any(fails));
        }
    }

    #[test]
    fn last_copies_are_those_that_go_with_the_nodes_named(
        members in any_members(), n in 1..4_u8,
        down in proptest::collection::btree_set(1..8_u64, 0..4),
        going in proptest::collection::btree_set(1..8_u64, 0..4),
    ) {
        let layout = first(members, n);
        let [down, going]: [BTreeSet<NodeId>; 2] =
            [down, going].map(|set| set.into_iter().map(NodeId).collect());
        let last = last_copies(&layout, &down, &going);
        let both = down.union(&going).copied().collect();
        for partition in layout.partitions().iter() {
            let owners = layout.owners(partition);
            let lives = |gone: &BTreeSet<NodeId>| owners.iter().any(|o| !gone.contains(o));
            prop_assert_eq!(last.contains(&partition), lives(&down) && !lives(&both));
        }
    }

    #[test]
    fn loads_are_of_every_active_member_and_stay_within_what_placement_promises(
        members in any_members(), n in 1..4_u8,
    ) {
        let layout = first(members, n);
        let loads = loads(&layout);
        prop_assert_eq!(loads.len(), layout.members().len());
        let copies: usize = loads.iter().map(|load| load.copies).sum();
        prop_assert_eq!(copies, 16 * layout.owners(PartitionId(0)).len());
        for load in &loads {
            prop_assert_eq!(load.copies, layout.owned_by(load.node).count());
            // 5 % over, and rounded up to a whole copy.
            let without_rounding = load.percent * (load.copies as u64).saturating_sub(1);
            prop_assert!(without_rounding <= 106 * load.copies as u64, "{load:?}");
        }
    }
}

#[test]
fn equal_nodes_carry_about_a_hundred_percent_and_a_leaving_one_is_not_counted() {
    let members: Vec<Member> = (0..4).map(|number| member(number, number, 1)).collect();
    let layout = first(members.clone(), 2);
    let percents: Vec<u64> = loads(&layout).iter().map(|load| load.percent).collect();
    assert_eq!(percents, [100; 4]);
    let mut leaving = members;
    leaving[3].state = MemberState::Leaving;
    let after = layout.next(leaving, 2).unwrap();
    assert_eq!(loads(&after).len(), 3);
    let moves = Moves::between(&layout, &after);
    let gone = moves.of(NodeId(4)).unwrap();
    assert_eq!((gone.before(), gone.after()), (8, 0));
    assert_eq!((moves.copies_moved(), moves.copies_moved_least()), (8, 8));
}

#[test]
fn in_three_zones_of_one_node_each_one_may_fail_by_majority_and_two_by_last_copy() {
    let layout = first((0..3).map(|number| member(number, number, 1)).collect(), 3);
    let nobody = BTreeSet::new();
    let all_up = Tolerance::of(&layout, &nobody);
    assert_eq!((all_up.majority.nodes, all_up.majority.zones), (1, 1));
    assert_eq!((all_up.last_copy.nodes, all_up.last_copy.zones), (2, 2));
    let one_down = Tolerance::of(&layout, &[NodeId(1)].into());
    assert_eq!((one_down.majority.nodes, one_down.majority.short), (0, 0));
    let two_down = Tolerance::of(&layout, &[NodeId(1), NodeId(2)].into());
    assert_eq!(two_down.majority.short, 16);
    assert_eq!(two_down.last_copy.nodes, 0);
    let worse = all_up.worse(two_down);
    assert_eq!(worse, two_down);
}
