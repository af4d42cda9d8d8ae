//! What one replica sends another, and what that one takes.

use dunlin_crdt::{Clock, Folded, Replaces, RowKind};
use dunlin_protocol::RowKey;
use dunlin_ring::{BucketId, NodeId};
use dunlin_storage::{Horizon, Keyspace, Missing, Progress};

use super::support::{
    BUCKET, EVERYTHING, P, add, commit, element, entries, increment, new, open, pull, put, remove,
    shown, siblings, single, sync,
};

#[test]
fn repair_sends_what_differs_and_not_what_is_stored() {
    let ((_, mut a), (_, mut b)) = (new(1), new(2));
    for n in 0..100 {
        add(&mut a, &element("s", &n.to_string()));
    }
    pull(&a, &mut b);
    assert_eq!(a.clock(P), b.clock(P));
    add(&mut a, &element("s", "one more"));
    remove(&mut a, &element("s", "7"));
    let missing = a
        .missing(P, b.clock(P), Horizon::Everything, EVERYTHING)
        .unwrap();
    let Missing::Rows { rows, clock, more } = missing else {
        panic!("{missing:?}")
    };
    let keys: Vec<_> = rows.iter().map(|row| row.key.clone()).collect();
    assert_eq!(
        (keys, more),
        (vec![element("s", "7"), element("s", "one more")], false)
    );
    assert_eq!(b.take_rows(P, &rows, &clock), Ok(2));
    assert_eq!(b.take_rows(P, &rows, &clock), Ok(0));
    b.check_invariants().unwrap();
    assert_eq!(
        a.digest(P, None, usize::MAX, |_| false),
        b.digest(P, None, usize::MAX, |_| false)
    );
    assert_eq!(b.tally().pending, 0);
}

#[test]
fn events_on_their_way_are_not_pulled_until_two_ticks_have_passed() {
    let ((_, mut a), (_, b)) = (new(1), new(2));
    add(&mut a, &single("k"));
    for ticks in 0..3 {
        let missing = a
            .missing(P, b.clock(P), Horizon::Settled, EVERYTHING)
            .unwrap();
        let Missing::Rows { rows, .. } = missing else {
            panic!("{missing:?}")
        };
        assert_eq!(rows.len(), usize::from(ticks == 2));
        a.settle();
    }
}

/// Removals leave no cell: a peer that took their work without their names would know more than its clock says.
#[test]
fn a_row_that_was_seen_to_be_behind_is_sent_with_each_removal_by_name() {
    let ((_, mut a), (_, mut b)) = (new(1), new(2));
    let key = element("s", "1");
    add(&mut a, &key);
    pull(&a, &mut b);
    remove(&mut a, &key);
    add(&mut a, &element("s", "other"));
    let rows = a.rows_behind(P, b.clock(P), std::slice::from_ref(&key), 10);
    let rows = rows.unwrap().unwrap();
    assert_eq!(rows.len(), 1);
    b.take_rows(P, &rows, a.clock(P)).unwrap();
    assert_eq!(shown(&b, &key, RowKind::Element), None);
    assert_eq!(a.clock(P).minus(b.clock(P)).len(), 1, "the other row's");
    b.check_invariants().unwrap();
}

#[test]
fn a_row_that_is_sent_as_settled_names_the_newer_removals_that_it_shows() {
    let ((_, mut a), (_, mut b)) = (new(1), new(2));
    let key = element("s", "1");
    add(&mut a, &key);
    a.settle();
    a.settle();
    add(&mut a, &key);
    remove(&mut a, &key);
    let missing = a.missing(P, b.clock(P), Horizon::Settled, EVERYTHING);
    let Missing::Rows { rows, clock, .. } = missing.unwrap() else {
        panic!("the log is too short")
    };
    b.take_rows(P, &rows, &clock).unwrap();
    assert_eq!(b.clock(P), a.clock(P));
}

#[test]
fn a_page_of_repair_is_bounded_and_names_each_row_once() {
    let ((_, mut a), (_, mut b)) = (new(1), new(2));
    for n in 0..50 {
        increment(&mut a, &single("hot"));
        add(&mut a, &element("s", &n.to_string()));
    }
    let mut pages = 0;
    loop {
        let missing = a.missing(P, b.clock(P), Horizon::Everything, 300).unwrap();
        let Missing::Rows { rows, clock, more } = missing else {
            panic!("{missing:?}")
        };
        assert!((1..10).contains(&rows.len()));
        assert!(rows.is_sorted_by(|x, y| x.key < y.key));
        b.take_rows(P, &rows, &clock).unwrap();
        b.check_invariants().unwrap();
        pages += 1;
        if !more {
            break;
        }
    }
    assert!(pages > 5);
    assert_eq!(b.clock(P), a.clock(P));
    assert_eq!(
        shown(&b, &single("hot"), RowKind::Counter),
        Some(Folded::Sum(50))
    );
}

#[test]
fn the_log_is_kept_while_an_absent_owner_needs_it() {
    let ((kv, mut a), (_, mut b), (_, mut c)) = (new(1), new(2), new(3));
    let (b_id, c_id) = (NodeId(2), NodeId(3));
    for n in 0..20 {
        add(&mut a, &element("s", &n.to_string()));
    }
    pull(&a, &mut b);
    a.note_peer_clock(P, b_id, b.clock(P));
    assert_eq!(
        a.prune(P, &[b_id, c_id], 1000),
        Ok(0),
        "nothing is known of the third"
    );
    a.note_peer_clock(P, c_id, c.clock(P));
    assert_eq!(
        a.prune(P, &[b_id, c_id], 1000),
        Ok(0),
        "the third lacks everything"
    );
    let missing = a
        .missing(P, c.clock(P), Horizon::Everything, EVERYTHING)
        .unwrap();
    assert!(matches!(missing, Missing::Rows { rows, .. } if rows.len() == 20));
    pull(&a, &mut c);
    a.note_peer_clock(P, c_id, c.clock(P));
    assert_eq!(a.prune(P, &[b_id, c_id], 15), Ok(15));
    a.check_invariants().unwrap();
    assert_eq!(a.prune(P, &[b_id, c_id], 15), Ok(5));
    sync(&kv, &mut a);
    assert_eq!(entries(&kv, Keyspace::Log), 0);
    // And the clock is still known.
    let clock = a.clock(P).clone();
    let a = open(&kv, 4);
    assert_eq!(a.clock(P), &clock);
    assert_eq!(
        a.missing(P, &Clock::new(), Horizon::Everything, EVERYTHING),
        Ok(Missing::LogTooShort)
    );
}

#[test]
fn a_delete_leaves_no_byte_behind() {
    let ((kv_a, mut a), (kv_b, mut b)) = (new(1), new(2));
    for n in 0..30 {
        add(&mut a, &element("s", &n.to_string()));
    }
    pull(&a, &mut b);
    for n in 0..30 {
        remove(&mut b, &element("s", &n.to_string()));
    }
    pull(&b, &mut a);
    for (replica, other) in [(&mut a, NodeId(2)), (&mut b, NodeId(1))] {
        let clock = replica.clock(P).clone();
        replica.note_peer_clock(P, other, &clock);
        replica.strip_pending(P, 1000).unwrap();
        replica.prune(P, &[other], 1000).unwrap();
    }
    commit(&kv_a, &mut a);
    commit(&kv_b, &mut b);
    for kv in [&kv_a, &kv_b] {
        for keyspace in [Keyspace::Rows, Keyspace::Log, Keyspace::Pending] {
            assert_eq!(entries(kv, keyspace), 0, "{keyspace:?}");
        }
    }
}

#[test]
fn a_dropped_bucket_goes_slice_by_slice_and_its_dots_stay() {
    let (kv, mut replica) = new(1);
    for n in 0..25 {
        add(&mut replica, &element("s", &n.to_string()));
    }
    let other = RowKey {
        bucket: BucketId(2),
        ..single("k")
    };
    put(&mut replica, &other, "v", Replaces::Seen);
    replica.count_some(1000);
    let clock = replica.clock(P).clone();
    assert_eq!(replica.drop_bucket(P, BUCKET, 20), Ok(Progress::More));
    assert_eq!(replica.drop_bucket(P, BUCKET, 20), Ok(Progress::Done));
    commit(&kv, &mut replica);
    assert_eq!((replica.clock(P), replica.tally().rows), (&clock, 1));
    assert_eq!(siblings(&replica, &other), ["v"]);
}

#[test]
fn digests_do_not_depend_on_slices() {
    let (_, mut a) = new(1);
    for n in 0..40 {
        add(&mut a, &element("s", &n.to_string()));
    }
    let (whole, end) = a.digest(P, None, usize::MAX, |_| false).unwrap();
    assert_eq!((whole.rows, end), (40, None));
    let mut sliced = dunlin_storage::PartitionDigest::default();
    let mut after = None;
    loop {
        let (slice, next) = a.digest(P, after.as_ref(), 7, |_| false).unwrap();
        sliced.add(slice);
        after = next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(sliced, whole);
    remove(&mut a, &element("s", "1"));
    assert_ne!(a.digest(P, None, usize::MAX, |_| false).unwrap().0, whole);
}
