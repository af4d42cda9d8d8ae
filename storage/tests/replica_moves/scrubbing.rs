//! Rows that the disk has spoiled: found, never read, healed.

use std::collections::BTreeSet;

use bytes::Bytes;
use dunlin_crdt::{Clock, Row};
use dunlin_protocol::RowKey;
use dunlin_storage::{
    Batch, Healed, Horizon, Keyspace, Kv, MemoryKv, PartitionDigest, Replica, ScrubSlice,
    StoreError,
};

use super::support::{
    OTHER, P, assert_same, commit, key, keys, new, pull, put, remove, shown, stored, sync,
};

/// Two owners of the same rows: values, siblings of removals, and rows without a cell.
fn owners(seed: u64, rows: usize) -> ((MemoryKv, Replica), (MemoryKv, Replica)) {
    let ((kv_a, mut a), (kv_b, mut b)) = (new(seed), new(seed + 1000));
    for key in keys(P, rows) {
        put(
            &mut a,
            &key,
            "a longer value, so that most bits are its own",
        );
    }
    put(&mut a, &key(OTHER, 0), "elsewhere");
    pull(&a, &mut b, P);
    for key in keys(P, rows / 10) {
        remove(&mut b, &key);
    }
    pull(&b, &mut a, P);
    sync(&kv_a, &mut a);
    sync(&kv_b, &mut b);
    ((kv_a, a), (kv_b, b))
}

/// Flips one bit of the value of a stored row.
fn spoil(kv: &MemoryKv, stored_key: &Bytes, rng: &mut fastrand::Rng) {
    let mut value = kv
        .get(Keyspace::Rows, stored_key)
        .unwrap()
        .unwrap()
        .to_vec();
    let bit = rng.usize(..8 * value.len());
    value[bit / 8] ^= 1 << (bit % 8);
    let mut batch = Batch::new();
    batch.put(Keyspace::Rows, stored_key.clone(), value.into());
    kv.commit(&batch).unwrap();
}

fn scrub(replica: &Replica, rows_max: usize) -> ScrubSlice {
    let mut all = ScrubSlice::default();
    loop {
        let slice = replica
            .scrub(P, all.next.as_ref(), rows_max, |_| false)
            .unwrap();
        assert!(slice.rows_read <= rows_max as u64);
        all.digest.add(slice.digest);
        all.rows_read += slice.rows_read;
        all.bytes_read += slice.bytes_read;
        all.damaged.extend(slice.damaged);
        all.damaged_keys += slice.damaged_keys;
        all.next = slice.next;
        if all.next.is_none() {
            return all;
        }
    }
}

fn heal(from: &Replica, to: &mut Replica, key: &RowKey) -> Healed {
    let copy = from.row(key).unwrap();
    to.heal_row(P, key, &copy, from.clock(P)).unwrap()
}

#[test]
fn flipped_bits_are_found_and_healed_and_other_rows_untouched() {
    for seed in 0..20 {
        let ((kv, mut a), (_, b)) = owners(seed, 60);
        let mut rng = fastrand::Rng::with_seed(seed);
        let rows = stored(&kv, Keyspace::Rows, P);
        let before: Vec<_> = kv_rows(&kv, &rows);
        let spoiled: BTreeSet<Bytes> = (0..5).map(|_| rng.choice(&rows).unwrap().clone()).collect();
        spoiled.iter().for_each(|key| spoil(&kv, key, &mut rng));
        let found = scrub(&a, 7);
        assert_eq!(found.damaged.len(), spoiled.len(), "seed {seed}");
        assert_eq!((found.rows_read, found.damaged_keys), (54, 0));
        assert!(found.damaged.is_sorted());
        for key in &found.damaged {
            let healed = heal(&b, &mut a, key);
            assert_eq!(healed, Healed::Replaced, "seed {seed}");
        }
        let (id, batch) = a.take_staged().unwrap();
        assert_eq!(
            batch.len(),
            spoiled.len(),
            "nothing but those rows is written"
        );
        kv.commit(&batch).unwrap();
        a.committed(id);
        assert_eq!(kv_rows(&kv, &rows), before, "they are what they were");
        a.check_invariants().unwrap();
        assert_same(&a, &b, P);
        assert_eq!(scrub(&a, 100).damaged, []);
    }
}

fn kv_rows(kv: &MemoryKv, keys: &[Bytes]) -> Vec<Option<Bytes>> {
    let value = |key: &Bytes| kv.get(Keyspace::Rows, key).unwrap();
    keys.iter().map(value).collect()
}

#[test]
fn a_damaged_row_is_an_error_to_everyone_who_asks_and_is_not_written_over() {
    let ((kv, mut a), (_, mut b)) = owners(1, 20);
    let rows = stored(&kv, Keyspace::Rows, P);
    let mut rng = fastrand::Rng::with_seed(1);
    spoil(&kv, &rows[4], &mut rng);
    let bad = scrub(&a, 100).damaged.pop().unwrap();
    let error = StoreError::CorruptRow {
        partition: P,
        key: bad.clone(),
    };
    assert_eq!(a.row(&bad), Err(error.clone()));
    assert_eq!(a.digest(P, None, 100, |_| false), Err(error.clone()));
    assert_eq!(a.whole_page(P, None, 1 << 20), Err(error.clone()));
    let nothing = Clock::new();
    assert_eq!(
        a.missing(P, &nothing, Horizon::Everything, 1 << 20),
        Err(error.clone())
    );
    let behind = a.rows_behind(P, &nothing, std::slice::from_ref(&bad), 1000);
    assert_eq!(behind, Err(error.clone()));
    let event = put(&mut b, &bad, "newer");
    assert_eq!(a.take(&bad, &event), Err(error.clone()));
    // Nor does a whole transfer pass over it as if it were empty: its events are in the clock.
    let (page, clock, _) = b.whole_page(P, None, 1 << 20).unwrap();
    let taken = a.take_whole_page(P, None, &page, None, &clock);
    assert_eq!(taken, Err(error));
    assert_eq!(a.take_staged(), None);
}

#[test]
fn healing_claims_what_the_copy_brings_and_no_more() {
    let ((kv, mut a), (_, mut b)) = owners(1, 20);
    let bad = key(P, 10);
    let newer = put(&mut b, &bad, "newer");
    let elsewhere = put(&mut b, &key(P, 11), "newer too");
    spoil_row(&kv, &a, &bad);
    assert_eq!(heal(&b, &mut a, &bad), Healed::Replaced);
    assert!(a.clock(P).contains(&newer.dot) && !a.clock(P).contains(&elsewhere.dot));
    commit(&kv, &mut a);
    pull(&b, &mut a, P);
    a.strip_pending(P, 100).unwrap();
    assert_same(&a, &b, P);
    commit(&kv, &mut a);
}

/// Spoils a row that one replica stores.
fn spoil_row(kv: &MemoryKv, replica: &Replica, row: &RowKey) {
    for stored_key in stored(kv, Keyspace::Rows, P) {
        let before = kv.get(Keyspace::Rows, &stored_key).unwrap().unwrap();
        spoil(kv, &stored_key, &mut fastrand::Rng::with_seed(1));
        if replica.row(row).is_err() {
            return;
        }
        let mut batch = Batch::new();
        batch.put(Keyspace::Rows, stored_key, before);
        kv.commit(&batch).unwrap();
    }
    panic!("there is no such row");
}

#[test]
fn a_copy_that_lacks_an_event_of_the_row_is_refused_and_one_that_has_it_is_taken() {
    let ((kv, mut a), (_, b)) = owners(1, 20);
    let (_, mut c) = new(7);
    let bad = key(P, 10);
    // Known here and to a third owner, but not to the one that gives the first copy.
    let first = put(&mut a, &bad, "newer");
    let other = put(&mut a, &key(P, 11), "not of this row");
    pull(&a, &mut c, P);
    sync(&kv, &mut a);
    spoil_row(&kv, &a, &bad);
    let clock = a.clock(P).clone();
    assert_eq!(heal(&b, &mut a, &bad), Healed::TooOld);
    assert_eq!((a.take_staged(), a.clock(P)), (None, &clock));
    assert!(a.row(&bad).is_err(), "it is damaged still, and not absent");
    assert_eq!(heal(&c, &mut a, &bad), Healed::Replaced);
    assert!(a.row(&bad).unwrap().cell(&first.dot).is_some());
    assert!(a.clock(P).contains(&other.dot));
    commit(&kv, &mut a);
}

#[test]
fn a_copy_that_lacks_events_of_other_rows_is_taken() {
    let ((kv, mut a), (_, b)) = owners(1, 20);
    let bad = key(P, 10);
    put(&mut a, &key(P, 11), "not of this row");
    sync(&kv, &mut a);
    spoil_row(&kv, &a, &bad);
    assert_eq!(heal(&b, &mut a, &bad), Healed::Replaced);
    assert_eq!(a.row(&bad), b.row(&bad));
    commit(&kv, &mut a);
}

#[test]
fn a_copy_is_refused_if_what_it_lacks_cannot_be_traced() {
    let ((kv, mut a), (_, b)) = owners(1, 20);
    let bad = key(P, 10);
    put(&mut a, &key(P, 11), "later");
    // The log no longer tells which row that was.
    a.prune(P, &[], 1000).unwrap();
    sync(&kv, &mut a);
    spoil_row(&kv, &a, &bad);
    let clock = a.clock(P).clone();
    assert_eq!(heal(&b, &mut a, &bad), Healed::TooOld);
    assert_eq!((a.take_staged(), a.clock(P)), (None, &clock));
    assert!(a.row(&bad).is_err());
}

#[test]
fn a_sound_row_is_not_replaced() {
    let ((_, mut a), (_, mut b)) = owners(1, 20);
    let row = a.row(&key(P, 10)).unwrap();
    put(&mut b, &key(P, 10), "newer");
    assert_eq!(heal(&b, &mut a, &key(P, 10)), Healed::Sound);
    assert_eq!(heal(&b, &mut a, &key(P, 19)), Healed::Sound);
    assert_eq!((a.take_staged(), a.row(&key(P, 10))), (None, Ok(row)));
}

#[test]
fn a_row_that_a_transfer_brought_is_healed_under_its_context_only() {
    let ((_, mut a), (kv, mut b), (_, mut c)) = (new(1), new(2), new(3));
    for key in keys(P, 20) {
        put(&mut a, &key, "v");
    }
    pull(&a, &mut c, P);
    let late = put(&mut a, &key(P, 19), "late");
    let (rows, clock, next) = a.whole_page(P, None, 800).unwrap();
    b.take_whole_page(P, None, &rows, next.as_ref(), &clock)
        .unwrap();
    sync(&kv, &mut b);
    let bad = key(P, 1);
    spoil_row(&kv, &b, &bad);
    assert_eq!(heal(&c, &mut b, &bad), Healed::TooOld);
    assert_eq!(heal(&a, &mut b, &bad), Healed::Replaced);
    assert!(b.clock(P).is_empty() && !b.clock(P).contains(&late.dot));
    commit(&kv, &mut b);
    assert!(shown(&b, P).contains(&bad));
}

#[test]
fn digests_are_those_of_the_visible_rows_whatever_else_is_stored() {
    let ((kv_a, mut a), (_, mut b)) = (new(1), new(2));
    // The second owner learns of removals before it learns of what they removed.
    let events: Vec<_> = keys(P, 10)
        .iter()
        .flat_map(|key| [put(&mut a, key, "one"), put(&mut a, key, "two")])
        .zip(keys(P, 10).into_iter().flat_map(|key| [key.clone(), key]))
        .collect();
    for (event, key) in events.iter().rev() {
        b.take(key, event).unwrap();
    }
    a.give_up(P).unwrap();
    a.gain(P).unwrap();
    pull(&b, &mut a, P);
    sync(&kv_a, &mut a);
    let (ours, theirs) = (scrub(&a, 3), scrub(&b, 1000));
    assert_eq!(a.clock(P), b.clock(P));
    assert_eq!(ours.digest, theirs.digest);
    assert_eq!(
        ours.digest,
        a.digest(P, None, usize::MAX, |_| false).unwrap().0
    );
    assert_eq!((ours.rows_read, ours.digest.rows), (10, 10));
    remove(&mut b, &key(P, 3));
    assert_ne!(scrub(&b, 3).digest, ours.digest);
    assert_ne!(ours.digest, PartitionDigest::default());
    assert_eq!(a.row(&key(OTHER, 0)), Ok(Row::new()));
}

#[test]
fn a_row_under_a_key_that_cannot_be_right_is_counted() {
    let ((kv, a), _) = owners(1, 20);
    let elsewhere = stored(&kv, Keyspace::Rows, OTHER).pop().unwrap();
    let value = kv.get(Keyspace::Rows, &elsewhere).unwrap().unwrap();
    let mut misplaced = elsewhere.to_vec();
    misplaced[..2].copy_from_slice(&P.0.to_be_bytes());
    let mut batch = Batch::new();
    batch.put(Keyspace::Rows, misplaced.into(), value.clone());
    batch.put(
        Keyspace::Rows,
        Bytes::from_static(b"\0\0\0\0\0\0short"),
        value,
    );
    kv.commit(&batch).unwrap();
    let found = scrub(&a, 100);
    assert_eq!((found.damaged_keys, found.damaged.len()), (2, 0));
    let error = StoreError::CorruptKey { partition: P };
    assert_eq!(a.digest(P, None, 100, |_| false), Err(error));
}
