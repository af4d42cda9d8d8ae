//! Values that every build on every platform must reproduce: data lies where they say.
//!
//! A change of one of these is a change of format. Clients in other languages test against them too.

use dunlin_ring::{BucketId, Layout, Member, MemberState, NodeId, PartitionCount, PartitionId};

fn members(zones: usize, capacities: &[u32]) -> Vec<Member> {
    let named = |(number, capacity): (usize, &u32)| {
        let name = format!("node-{number}");
        Member {
            id: NodeId::from_name(&name),
            address: format!("{name}.example:7400"),
            name,
            zone: format!("zone-{}", number % zones),
            capacity: *capacity,
            state: MemberState::Active,
        }
    };
    capacities.iter().enumerate().map(named).collect()
}

#[test]
fn names_hash_to_the_same_ids_everywhere() {
    let ids = ["", "node-0", "dünlin"].map(|name| NodeId::from_name(name).to_string());
    assert_eq!(
        ids,
        ["2d06800538d394c2", "982acdf804e97d99", "f66c5366ebb32d2b"]
    );
}

#[test]
fn keys_fall_into_the_same_partitions_everywhere() {
    let check = |bucket: u64, key: &[u8], expected: [u16; 4]| {
        let found = [1, 16, 256, 4096].map(|count| {
            PartitionCount::new(count)
                .unwrap()
                .partition_of(BucketId(bucket), key)
                .0
        });
        assert_eq!(
            found,
            expected,
            "bucket {bucket}, key of {} bytes",
            key.len()
        );
    };
    check(0, b"", [0, 3, 52, 836]);
    check(1, b"", [0, 12, 192, 3075]);
    check(1, b"cart:42", [0, 8, 129, 2072]);
    check(u64::MAX, b"cart:42", [0, 8, 140, 2251]);
    check(7, &[0], [0, 12, 204, 3274]);
    check(7, &[0xff; 231], [0, 1, 24, 385]);
    check(7, &[0xff; 232], [0, 1, 17, 276]);
    check(7, &[0xff; 247], [0, 0, 10, 160]);
    check(7, &[0xff; 248], [0, 1, 20, 327]);
    check(7, &[0xff; 5_000], [0, 0, 1, 18]);
}

#[test]
fn layouts_have_the_same_digests_everywhere() {
    let check = |members: Vec<Member>, replicas, count, expected: [&str; 2]| {
        let partitions = PartitionCount::new(count).unwrap();
        let first = Layout::first(members.clone(), replicas, partitions).unwrap();
        let fewer = first.next(members[1..].to_vec(), replicas).unwrap();
        let digests = [first, fewer].map(|layout| format!("{:016x}", layout.digest()));
        assert_eq!(digests, expected);
    };
    check(
        members(1, &[1, 1]),
        3,
        1,
        ["9b9d9062424545b2", "5aeaca558d48cb79"],
    );
    check(
        members(1, &[1, 1, 1]),
        3,
        256,
        ["da799656b8141ed7", "efce0493e2aeca99"],
    );
    check(
        members(3, &[1; 7]),
        3,
        256,
        ["850c72d5e5ffd381", "736aabd0f82443ad"],
    );
    check(
        members(3, &[100, 200, 300, 400, 500]),
        2,
        64,
        ["7e09f1120783bfd8", "c7b6745ac9889617"],
    );
    check(
        members(4, &[4; 40]),
        3,
        256,
        ["cb901bbeb18b1df5", "72db315e1e1891ea"],
    );
}

#[test]
fn the_walk_prefers_the_same_nodes_everywhere() {
    let layout = Layout::first(members(3, &[1; 6]), 3, PartitionCount::DEFAULT).unwrap();
    let names = |partition| -> Vec<&str> {
        let preference = layout.preference(PartitionId(partition)).iter();
        preference
            .map(|node| layout.member(*node).unwrap().name.as_str())
            .collect()
    };
    assert_eq!(
        names(0),
        ["node-5", "node-0", "node-4", "node-2", "node-3", "node-1"]
    );
    assert_eq!(
        names(255),
        ["node-0", "node-2", "node-1", "node-5", "node-4", "node-3"]
    );
}
