//! Zones: as wide as the capacities allow, and a little wider than strictly fair loads would.

use std::collections::BTreeMap;

use dunlin_ring::{Layout, PartitionCount, PartitionId};
use proptest::prelude::*;

use crate::judge::{active, any_members, crowded, fair, member, partitions};

fn copies_per_zone(layout: &Layout, partition: PartitionId) -> BTreeMap<&str, usize> {
    let mut zones: BTreeMap<&str, usize> = active(layout)
        .map(|member| (member.zone.as_str(), 0))
        .collect();
    for owner in layout.owners(partition) {
        let zone = layout
            .member(*owner)
            .expect("owners are members")
            .zone
            .as_str();
        *zones.entry(zone).or_default() += 1;
    }
    zones
}

#[test]
fn zones_that_differ_by_a_node_in_twenty_still_never_hold_a_partition_twice() {
    // 14, 13 and 13 nodes: the first zone would be due 1.05 copies of each partition.
    let members: Vec<_> = (0..40)
        .map(|number| member(number, number % 3, 1))
        .collect();
    let layout = Layout::first(members, 3, PartitionCount::DEFAULT).unwrap();
    assert_eq!(crowded(&layout, None), 0);
}

#[test]
fn a_zone_with_half_of_the_capacity_shares_a_partition_with_itself_no_more_than_it_must() {
    // Zone 0 is due 1.5 copies of each partition, the others 0.75, or 0.7875 with 5 % more: 806.4 of
    // 1024, rounded up for one of them.
    let members = [0, 0, 1, 2]
        .iter()
        .enumerate()
        .map(|(n, zone)| member(n, *zone, 1))
        .collect();
    let layout = Layout::first(members, 3, partitions(1024)).unwrap();
    assert_eq!(crowded(&layout, None), 1024 * 3 - 1024 - 806 - 807);
}

#[test]
fn halving_the_capacity_of_the_larger_zone_spreads_it() {
    let capacities = [(0, 1), (0, 1), (1, 2), (2, 2)];
    let members = capacities
        .iter()
        .enumerate()
        .map(|(n, (zone, weight))| member(n, *zone, *weight))
        .collect();
    let layout = Layout::first(members, 3, PartitionCount::DEFAULT).unwrap();
    assert_eq!(crowded(&layout, None), 0);
}

#[test]
fn the_first_fallbacks_stand_in_zones_not_yet_met() {
    let members = (0..12)
        .map(|number| member(number, number % 4, 1))
        .collect();
    let layout = Layout::first(members, 2, PartitionCount::DEFAULT).unwrap();
    for partition in layout.partitions().iter() {
        let mut zones: Vec<&str> = layout.preference(partition)[..4]
            .iter()
            .map(|node| layout.member(*node).unwrap().zone.as_str())
            .collect();
        zones.sort_unstable();
        zones.dedup();
        assert_eq!(zones.len(), 4, "partition {partition}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_two_owners_share_a_zone_when_no_zone_is_due_more_than_one_copy(
        members in any_members(40),
        replicas in 1..=4u8,
    ) {
        let layout = Layout::first(members, replicas, PartitionCount::DEFAULT).unwrap();
        let mut due: BTreeMap<&str, f64> = BTreeMap::new();
        let fair = fair(&layout);
        for member in active(&layout) {
            *due.entry(member.zone.as_str()).or_default() += fair[&member.id];
        }
        prop_assume!(due.values().all(|due| *due <= 256.0 + 1e-6));
        prop_assert_eq!(crowded(&layout, None), 0);
    }

    #[test]
    fn a_zone_holds_no_partition_twice_more_often_than_another(
        members in any_members(40),
        replicas in 1..=5u8,
    ) {
        let layout = Layout::first(members, replicas, PartitionCount::DEFAULT).unwrap();
        let mut range: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
        for partition in layout.partitions().iter() {
            for (zone, copies) in copies_per_zone(&layout, partition) {
                let (least, most) = range.entry(zone).or_insert((copies, copies));
                (*least, *most) = ((*least).min(copies), (*most).max(copies));
            }
        }
        for (zone, (least, most)) in range {
            prop_assert!(most - least <= 1, "{zone} holds {least} to {most}");
        }
    }
}
