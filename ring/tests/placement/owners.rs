//! Owners and fallbacks: who they are, whatever the members.

use std::collections::BTreeSet;

use dunlin_ring::{Layout, LayoutNumber, Member, MemberState, NodeId, PartitionCount, PartitionId};
use dunlin_ring::{MEMBERS_MAX, REPLICAS_MAX, RingError, TEXT_BYTES_MAX};
use proptest::prelude::*;

use crate::judge::{any_members, equal_members, member, moved, partitions};

fn check_rows(layout: &Layout) -> Result<(), TestCaseError> {
    let active: BTreeSet<NodeId> = layout
        .members()
        .iter()
        .filter(|member| member.state == MemberState::Active)
        .map(|member| member.id)
        .collect();
    for partition in layout.partitions().iter() {
        let (owners, preference) = (layout.owners(partition), layout.preference(partition));
        prop_assert_eq!(
            owners.len(),
            active.len().min(usize::from(layout.replicas()))
        );
        prop_assert_eq!(owners, &preference[..owners.len()]);
        prop_assert_eq!(preference.len(), active.len());
        prop_assert_eq!(
            &preference.iter().copied().collect::<BTreeSet<_>>(),
            &active
        );
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn owners_are_distinct_active_and_as_many_as_there_can_be(
        members in any_members(20),
        leaving in prop::collection::vec(any::<bool>(), 20),
        replicas in 1..=REPLICAS_MAX,
        bits in 0..=9u32,
    ) {
        let partitions = partitions(1 << bits);
        let first = Layout::first(members.clone(), replicas, partitions).unwrap();
        check_rows(&first)?;
        let mut changed = members;
        for (member, leaving) in changed.iter_mut().skip(1).zip(leaving) {
            member.state = if leaving { MemberState::Leaving } else { MemberState::Active };
        }
        check_rows(&first.next(changed, replicas).unwrap())?;
    }

    #[test]
    fn a_layout_does_not_depend_on_the_order_in_which_members_are_given(
        members in any_members(12),
    ) {
        let mut turned = members.clone();
        turned.reverse();
        prop_assert_eq!(
            Layout::first(members, 3, PartitionCount::DEFAULT).unwrap(),
            Layout::first(turned, 3, PartitionCount::DEFAULT).unwrap()
        );
    }

    #[test]
    fn a_new_layout_of_the_same_members_moves_nothing(
        earlier in any_members(30),
        members in any_members(30),
    ) {
        let first = Layout::first(earlier, 3, PartitionCount::DEFAULT).unwrap();
        let before = first.next(members.clone(), 3).unwrap();
        let after = before.next(members, 3).unwrap();
        prop_assert_eq!(moved(&before, &after), 0);
        prop_assert_eq!(after.number(), LayoutNumber(3));
    }
}

#[test]
fn a_change_of_address_or_name_moves_nothing() {
    let before = Layout::first(equal_members(9, 3), 3, PartitionCount::DEFAULT).unwrap();
    let mut members = before.members().to_vec();
    members[4].address = "elsewhere.example:1".to_owned();
    members[5].name = "renamed".to_owned();
    let after = before.next(members, 3).unwrap();
    assert_eq!(moved(&before, &after), 0);
    assert_ne!(before.digest(), after.digest());
}

#[test]
fn raising_the_replicas_keeps_every_owner() {
    let before = Layout::first(equal_members(12, 4), 2, PartitionCount::DEFAULT).unwrap();
    let after = before.next(equal_members(12, 4), 3).unwrap();
    assert_eq!(moved(&before, &after), 256);
    let lowered = after.next(equal_members(12, 4), 2).unwrap();
    assert_eq!(moved(&after, &lowered), 0);
}

#[test]
fn a_leaving_member_stays_a_member_and_owns_nothing() {
    let before = Layout::first(equal_members(5, 5), 3, PartitionCount::DEFAULT).unwrap();
    let mut members = equal_members(5, 5);
    members[2].state = MemberState::Leaving;
    let leaving = members[2].id;
    let owned = before.owned_by(leaving).count();
    let after = before.next(members, 3).unwrap();
    assert_eq!(after.owned_by(leaving).count(), 0);
    assert_eq!(after.member(leaving).map(|member| member.id), Some(leaving));
    assert!(
        after
            .partitions()
            .iter()
            .all(|p| !after.preference(p).contains(&leaving))
    );
    assert_eq!(moved(&before, &after), owned);
}

#[test]
fn a_partition_or_node_that_does_not_exist_has_nothing() {
    let layout = Layout::first(equal_members(5, 5), 3, partitions(8)).unwrap();
    assert!(layout.owners(PartitionId(8)).is_empty());
    assert!(layout.preference(PartitionId(u16::MAX)).is_empty());
    assert_eq!(layout.owned_by(NodeId(1)).count(), 0);
    assert_eq!(layout.member(NodeId(1)), None);
}

fn check_refused(members: Vec<Member>, replicas: u8, why: RingError) {
    assert_eq!(Layout::first(members, replicas, partitions(8)), Err(why));
}

#[test]
fn impossible_layouts_are_refused_with_the_reason() {
    let two = || equal_members(2, 1);
    let with = |change: fn(&mut Member)| {
        let mut members = two();
        change(&mut members[1]);
        members
    };
    let [first, second] = [0, 1].map(|number| member(number, 0, 1).id);
    let many = (0..=MEMBERS_MAX)
        .map(|number| member(number, 0, 1))
        .collect();

    check_refused(vec![], 3, RingError::NoMembers);
    check_refused(two(), 0, RingError::ReplicasOutOfRange { replicas: 0 });
    check_refused(two(), 17, RingError::ReplicasOutOfRange { replicas: 17 });
    check_refused(
        many,
        3,
        RingError::TooManyMembers {
            count: MEMBERS_MAX + 1,
        },
    );
    check_refused(
        with(|member| member.id = NodeId::from_name("node-0")),
        3,
        RingError::DuplicateId { id: first },
    );
    check_refused(
        with(|member| member.name = "node-0".to_owned()),
        3,
        RingError::DuplicateName {
            name: "node-0".to_owned(),
        },
    );
    check_refused(
        with(|member| member.capacity = 0),
        3,
        RingError::ZeroCapacity {
            name: "node-1".to_owned(),
        },
    );
    check_refused(
        with(|member| member.zone = "z".repeat(TEXT_BYTES_MAX + 1)),
        3,
        RingError::TextTooLong {
            id: second,
            bytes: TEXT_BYTES_MAX + 1,
        },
    );
    let mut leaving = two();
    leaving
        .iter_mut()
        .for_each(|member| member.state = MemberState::Leaving);
    check_refused(leaving, 3, RingError::NoActiveMember);
}

#[test]
fn the_widest_capacities_there_are_still_place() {
    let mut members = equal_members(6, 3);
    members
        .iter_mut()
        .skip(1)
        .for_each(|member| member.capacity = u32::MAX);
    let layout = Layout::first(members, 3, partitions(4096)).unwrap();
    let small = layout.owned_by(member(0, 0, 1).id).count();
    assert!(small <= 1, "{small} copies for one part in 2^32");
}
