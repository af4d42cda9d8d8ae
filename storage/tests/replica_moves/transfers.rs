//! Whole transfers that are taken up again, and those that are abandoned.

use dunlin_crdt::Clock;
use dunlin_protocol::RowKey;
use dunlin_storage::{Kv, MemoryKv, Progress, Replica, WholeTaken};

use super::support::{
    OTHER, P, assert_same, commit, key, keys, new, open, pull, pull_whole, put, remove, shown, sync,
};

/// What one batch of a transfer changes at most of our own rows, as documented.
const SLICE_ROWS: usize = 2048;

const EVERYTHING: usize = 1 << 30;

/// A source of so many rows, written in no order.
fn source(seed: u64, many: usize) -> (MemoryKv, Replica) {
    let (kv, mut a) = new(seed);
    let mut order = keys(P, many);
    fastrand::Rng::with_seed(seed).shuffle(&mut order);
    for key in &order {
        put(&mut a, key, "v");
    }
    sync(&kv, &mut a);
    (kv, a)
}

/// A node that begins empty, as its partition was regained.
fn receiver(seed: u64) -> (MemoryKv, Replica) {
    let (kv, mut b) = new(seed);
    b.give_up(P).unwrap();
    b.gain(P).unwrap();
    sync(&kv, &mut b);
    (kv, b)
}

fn page(from: &Replica, to: &mut Replica, after: Option<&RowKey>) -> WholeTaken {
    let (rows, clock, next) = from.whole_page(P, after, 500).unwrap();
    to.take_whole_page(P, after, &rows, next.as_ref(), &clock)
        .unwrap()
}

/// So many pages from the beginning.
fn begin(from: &Replica, to: &mut Replica, pages: usize) {
    let mut after = None;
    for _ in 0..pages {
        let WholeTaken::Taken { next, .. } = page(from, to, after.as_ref()) else {
            panic!("refused")
        };
        after = next;
        assert!(after.is_some(), "the transfer is over already");
    }
}

/// Goes on where the replica says it is, to the end.
fn resume(from: &Replica, to: &mut Replica) {
    while let Some((_, Some(last))) = to.transfer(P) {
        assert!(matches!(
            page(from, to, Some(&last)),
            WholeTaken::Taken { .. }
        ));
        to.check_invariants().unwrap();
    }
    let (context, _) = to.transfer(P).unwrap();
    let context = context.clone();
    assert!(to.claim(P, &context));
}

#[test]
fn a_transfer_goes_on_after_either_side_was_started_anew() {
    let ((kv_a, mut a), (kv_b, mut b)) = (source(1, 200), receiver(2));
    let first = a.clock(P).clone();
    begin(&a, &mut b, 5);
    sync(&kv_b, &mut b);
    let (context, last) = b.transfer(P).unwrap();
    assert_eq!((context, last.is_some()), (&first, true));
    let expected = last.clone();

    kv_b.crash(0);
    let mut b = open(&kv_b, &[P, OTHER], 3);
    assert_eq!(b.transfer(P), Some((&first, expected)));
    for key in keys(P, 20) {
        remove(&mut a, &key);
    }
    sync(&kv_a, &mut a);
    kv_a.crash(0);
    let a = open(&kv_a, &[P, OTHER], 4);
    resume(&a, &mut b);
    assert_eq!(b.transfer(P), None);
    assert!(first.is_subset(b.clock(P)));
    pull(&a, &mut b, P);
    b.strip_pending(P, 1000).unwrap();
    assert_same(&a, &b, P);
    assert_eq!((shown(&b, P).len(), b.tally().pending), (180, 0));
    sync(&kv_b, &mut b);
}

#[test]
fn a_source_that_lost_its_disk_cannot_go_on_where_it_was() {
    let ((kv_a, a), (kv_b, mut b)) = (source(1, 100), receiver(2));
    begin(&a, &mut b, 5);
    let brought = shown(&b, P);
    sync(&kv_b, &mut b);
    drop(a);
    kv_a.wipe();
    let mut a = open(&kv_a, &[P, OTHER], 3);
    put(&mut a, &key(P, 0), "since then");
    let (context, last) = b.transfer(P).unwrap();
    let (context, last) = (context.clone(), last.unwrap());
    assert_eq!(page(&a, &mut b, Some(&last)), WholeTaken::OutOfOrder);
    assert_eq!(b.take_staged(), None);
    assert!(!b.claim(P, &context) && b.clock(P).is_empty());
    // What it brought is not lost with it: abandoned, it is there for all to ask for.
    assert!(b.has_unclaimed(P));
    b.abandon_transfer(P).unwrap();
    assert!(!b.has_unclaimed(P));
    assert_eq!(b.clock(P).len(), brought.len() as u64);
    pull(&b, &mut a, P);
    assert!(brought.is_subset(&shown(&a, P)));
    commit(&kv_b, &mut b);
}

#[test]
fn another_owner_goes_on_only_if_it_has_all_that_the_source_had() {
    let ((_, mut a), (kv_b, mut b), (_, mut c)) = (source(1, 100), receiver(2), new(3));
    pull(&a, &mut c, P);
    // In the part that the transfer has not reached: the other owner does not have it.
    put(&mut a, &key(P, 99), "newer");
    begin(&a, &mut b, 5);
    let last = b.transfer(P).unwrap().1.unwrap();
    assert_eq!(page(&c, &mut b, Some(&last)), WholeTaken::OutOfOrder);
    pull(&a, &mut c, P);
    put(&mut c, &key(P, 50), "newer still");
    resume(&c, &mut b);
    pull(&c, &mut b, P);
    b.strip_pending(P, 1000).unwrap();
    assert_same(&c, &b, P);
    commit(&kv_b, &mut b);
}

#[test]
fn a_page_that_leads_backwards_is_refused() {
    let ((_, a), (kv, mut b)) = (source(1, 100), receiver(2));
    begin(&a, &mut b, 5);
    commit(&kv, &mut b);
    let last = b.transfer(P).unwrap().1.unwrap();
    for next in [key(P, 0), last.clone()] {
        let taken = b.take_whole_page(P, Some(&last), &[], Some(&next), a.clock(P));
        assert_eq!(taken, Ok(WholeTaken::OutOfOrder));
    }
    assert_eq!(b.take_staged(), None);
}

#[test]
fn a_transfer_is_abandoned_in_small_batches_across_crashes() {
    let ((_, mut a), (kv, mut b), (_, mut c)) = (source(1, 300), receiver(2), new(3));
    pull(&a, &mut c, P);
    put(&mut a, &key(P, 0), "only there");
    begin(&a, &mut b, 12);
    sync(&kv, &mut b);
    let brought = shown(&b, P);
    assert!(brought.len() > 60);
    let last = b.transfer(P).unwrap().1;
    let mut slices = 0;
    while b.abandon_some(P, 5).unwrap() == Progress::More {
        slices += 1;
        assert_eq!(b.transfer(P), None);
        assert_eq!(
            page(&a, &mut b, last.as_ref()),
            WholeTaken::OutOfOrder,
            "nothing continues it"
        );
        b.check_invariants().unwrap();
        // Events go on arriving, for rows on either side of where it is.
        let key = key(P, fastrand::Rng::with_seed(slices).usize(..300));
        let event = put(&mut c, &key, "meanwhile");
        b.take(&key, &event).unwrap();
        if slices % 3 == 0 {
            let (id, batch) = b.take_staged().unwrap();
            // A row, its pending entry, a log entry each; and the context of a row in few pieces,
            // although the dots that are claimed are scattered.
            assert!(batch.len() <= 3 * 3 * (5 + 1) + 1, "{}", batch.len());
            assert!(batch.bytes() < 400 * batch.len(), "{}", batch.bytes());
            kv.commit(&batch).unwrap();
            b.committed(id);
            kv.sync().unwrap();
            // The next two slices of the last time are lost with this.
            kv.crash(0);
            b = open(&kv, &[P, OTHER], slices);
            assert!(b.has_unclaimed(P));
        }
    }
    assert!(slices > 10);
    sync(&kv, &mut b);
    assert!(!b.has_unclaimed(P) && brought.is_subset(&shown(&b, P)));
    // Everybody gets what only the lost source had.
    drop(a);
    pull(&b, &mut c, P);
    pull_whole(&c, &mut b, P);
    b.strip_pending(P, 1000).unwrap();
    c.strip_pending(P, 1000).unwrap();
    assert_same(&c, &b, P);
    assert_eq!(shown(&b, P).len(), 300);
    assert_eq!(b.tally().pending, 0);
    commit(&kv, &mut b);
}

/// Has the receiver hold many rows which the source has seen go.
fn full_receiver(many: usize, value: &str) -> (Replica, MemoryKv, Replica) {
    let ((_, mut a), (kv, mut b)) = (new(1), new(2));
    for key in keys(P, many) {
        put(&mut a, &key, value);
    }
    pull(&a, &mut b, P);
    for key in keys(P, many) {
        remove(&mut a, &key);
    }
    a.strip_pending(P, many).unwrap();
    sync(&kv, &mut b);
    (a, kv, b)
}

#[test]
fn a_page_that_passes_over_many_rows_changes_a_bounded_number_of_them() {
    let (a, kv, mut b) = full_receiver(5000, "v");
    let (mut after, mut slices) = (None, 0);
    loop {
        let WholeTaken::Taken { next, rows_changed } = page(&a, &mut b, after.as_ref()) else {
            panic!("refused")
        };
        assert!(rows_changed <= SLICE_ROWS);
        let (id, batch) = b.take_staged().unwrap();
        assert!(batch.len() <= 3 * SLICE_ROWS + 1);
        kv.commit(&batch).unwrap();
        b.committed(id);
        slices += 1;
        after = next;
        if after.is_none() {
            break;
        }
        assert!(!b.claim(P, &Clock::new()), "it is not at its end");
    }
    assert_eq!(slices, 5000 / SLICE_ROWS + 1);
    let context = b.transfer(P).unwrap().0.clone();
    assert!(b.claim(P, &context));
    while b.strip_pending(P, SLICE_ROWS).unwrap() > 0 {}
    assert_same(&a, &b, P);
    assert!(shown(&b, P).is_empty());
    commit(&kv, &mut b);
}

#[test]
fn a_page_that_passes_over_large_rows_reads_a_bounded_number_of_bytes() {
    let (a, kv, mut b) = full_receiver(9, &"x".repeat(1 << 20));
    let taken = page(&a, &mut b, None);
    let next = Some(key(P, 3));
    let rows_changed = 4;
    assert_eq!(taken, WholeTaken::Taken { rows_changed, next });
    resume(&a, &mut b);
    commit(&kv, &mut b);
    assert!(shown(&b, P).is_empty());
}

#[test]
fn a_transfer_begins_once_an_unfinished_one_was_abandoned_slice_by_slice() {
    let ((_, a), (kv, mut b), (_, mut c)) = (source(1, 3000), receiver(2), new(3));
    pull(&a, &mut c, P);
    let (rows, clock, next) = a.whole_page(P, None, 220_000).unwrap();
    assert!(rows.len() > SLICE_ROWS && next.is_some());
    b.take_whole_page(P, None, &rows, next.as_ref(), &clock)
        .unwrap();
    commit(&kv, &mut b);
    assert_eq!(page(&c, &mut b, None), WholeTaken::OutOfOrder);
    let (id, batch) = b.take_staged().unwrap();
    assert!(batch.len() <= 3 * SLICE_ROWS + 1);
    kv.commit(&batch).unwrap();
    b.committed(id);
    let (clock, mut after) = (c.clock(P).clone(), None);
    loop {
        let (rows, _, next) = c.whole_page(P, after.as_ref(), EVERYTHING).unwrap();
        let taken = b.take_whole_page(P, after.as_ref(), &rows, next.as_ref(), &clock);
        let Ok(WholeTaken::Taken { next, .. }) = taken else {
            panic!("{taken:?}")
        };
        after = next;
        if after.is_none() {
            break;
        }
    }
    assert!(b.claim(P, &clock));
    while b.strip_pending(P, SLICE_ROWS).unwrap() > 0 {}
    assert_same(&c, &b, P);
    commit(&kv, &mut b);
}

#[test]
fn a_transfer_does_not_outlive_giving_up() {
    let ((_, a), (kv, mut b)) = (source(1, 100), receiver(2));
    begin(&a, &mut b, 3);
    sync(&kv, &mut b);
    let last = b.transfer(P).unwrap().1;
    b.give_up(P).unwrap();
    b.gain(P).unwrap();
    assert_eq!(b.transfer(P), None);
    assert_eq!(page(&a, &mut b, last.as_ref()), WholeTaken::OutOfOrder);
    sync(&kv, &mut b);
    assert_eq!(open(&kv, &[P, OTHER], 3).transfer(P), None);
}
