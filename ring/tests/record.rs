//! A layout that is stored or sent comes back as it was, or not at all.

#![expect(clippy::unwrap_used, reason = "the helpers of tests may fail a test")]

use dunlin_ring::{Layout, Member, MemberState, NodeId, PartitionCount};
use proptest::prelude::*;
use serde::{Deserialize, Serialize};

/// The written form, for tampering with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Written {
    number: u64,
    replicas: u8,
    partitions: u16,
    members: Vec<Member>,
    owners: Vec<u16>,
    digest: u64,
}

fn layout(size: usize) -> Layout {
    let members = (0..size).map(|number| {
        let name = format!("node-{number}");
        Member {
            id: NodeId::from_name(&name),
            address: format!("{name}.example:7400"),
            name,
            zone: format!("zone-{}", number % 3),
            capacity: 1 + number as u32 % 2,
            state: MemberState::Active,
        }
    });
    Layout::first(members.collect(), 3, PartitionCount::new(16).unwrap()).unwrap()
}

fn written(layout: &Layout) -> Written {
    rmp_serde::from_slice(&rmp_serde::to_vec_named(layout).unwrap()).unwrap()
}

/// Why the tampered form of a layout of six nodes is refused.
fn refusal(tamper: impl FnOnce(&mut Written)) -> String {
    let mut record = written(&layout(6));
    tamper(&mut record);
    let bytes = rmp_serde::to_vec_named(&record).unwrap();
    rmp_serde::from_slice::<Layout>(&bytes)
        .unwrap_err()
        .to_string()
}

fn check_refused(why: &str, tamper: impl FnOnce(&mut Written)) {
    let refusal = refusal(tamper);
    assert!(refusal.contains(why), "{refusal}");
}

#[test]
fn a_layout_comes_back_as_it_was() {
    for size in [1, 2, 3, 9] {
        let layout = layout(size);
        let next = layout
            .next(layout.members()[..size.div_ceil(2)].to_vec(), 2)
            .unwrap();
        for layout in [layout, next] {
            for bytes in [
                rmp_serde::to_vec_named(&layout).unwrap(),
                rmp_serde::to_vec(&layout).unwrap(),
            ] {
                assert_eq!(rmp_serde::from_slice::<Layout>(&bytes).unwrap(), layout);
            }
        }
    }
}

#[test]
fn what_is_written_is_members_and_owners_and_nothing_derived() {
    let layout = layout(6);
    let record = written(&layout);
    assert_eq!(record.members, layout.members());
    assert_eq!(record.owners.len(), 16 * 3);
    assert_eq!(record.digest, layout.digest());
}

#[test]
fn a_table_that_cannot_be_is_refused_with_the_reason() {
    check_refused("a layout number must be", |record| record.number = 0);
    check_refused("17 replicas asked for", |record| record.replicas = 17);
    check_refused("48 entries, expected 64", |record| record.replicas = 4);
    check_refused("15 partitions asked for", |record| record.partitions = 15);
    check_refused("at least one member", |record| record.members.clear());
    check_refused("names member 6 of 6", |record| record.owners[5] = 6);
    check_refused("twice", |record| record.owners[4] = record.owners[3]);
    check_refused("48 entries, expected 3", |record| record.partitions = 1);
    check_refused("47 entries", |record| record.owners.truncate(47));
    check_refused("two members have the id", |record| {
        record.members[1].id = record.members[0].id
    });
    check_refused("capacity 0", |record| record.members[1].capacity = 0);
    check_refused("which is leaving", |record| {
        let owner = usize::from(record.owners[0]);
        record.members[owner].state = MemberState::Leaving;
    });
}

#[test]
fn a_table_that_could_be_but_is_not_the_one_written_is_refused() {
    check_refused("digest", |record| record.number += 1);
    check_refused("digest", |record| record.owners.swap(0, 1));
    check_refused("digest", |record| record.members[0].address.push('1'));
    check_refused("digest", |record| record.members[0].zone.push('1'));
    check_refused("digest", |record| record.members[0].capacity += 1);
    check_refused("digest", |record| record.digest ^= 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn no_flipped_byte_goes_unnoticed(at in any::<prop::sample::Index>(), flip in 1..=255u8) {
        let layout = layout(5);
        let mut bytes = rmp_serde::to_vec_named(&layout).unwrap();
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        // The same number can be written in more than one way, so equal is possible; other is not.
        if let Ok(read) = rmp_serde::from_slice::<Layout>(&bytes) {
            prop_assert_eq!(read, layout);
        }
    }
}
