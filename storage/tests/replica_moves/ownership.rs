//! Gaining and giving up.

use dunlin_crdt::{Clock, Row};
use dunlin_ring::PartitionId;
use dunlin_storage::{
    Batch, Horizon, Keyspace, Kv, MemoryKv, Progress, Start, StoreError, WriteError,
};

use super::support::{
    OTHER, P, assert_same, commit, drop_all, epochs, key, keys, new, open, open_as, pull, put,
    remove, shown, stored, sync,
};

const PLACED: [Keyspace; 3] = [Keyspace::Rows, Keyspace::Pending, Keyspace::Log];

#[test]
fn what_is_given_up_is_gone_at_once_and_from_the_disk_slice_by_slice() {
    let (kv, mut a) = new(1);
    for key in keys(P, 50) {
        put(&mut a, &key, "mine");
    }
    put(&mut a, &key(OTHER, 0), "stays");
    sync(&kv, &mut a);
    let before = a.tally();
    a.give_up(P).unwrap();
    let (id, batch) = a.take_staged().unwrap();
    assert_eq!(batch.len(), 1, "one record, whatever the partition holds");
    kv.commit(&batch).unwrap();
    a.committed(id);
    a.check_invariants().unwrap();

    assert!(!a.owns(P) && a.owned().eq([OTHER]));
    assert!(a.clock(P).is_empty() && shown(&a, P).is_empty());
    assert_eq!(a.row(&key(P, 1)), Ok(Row::new()));
    let not_owned = StoreError::NotOwned(P);
    let nothing = Clock::new();
    assert_eq!(
        a.missing(P, &nothing, Horizon::Everything, 1000),
        Err(not_owned.clone())
    );
    assert_eq!(a.scrub(P, None, 1, |_| false), Err(not_owned.clone()));
    let event = put(&mut new(2).1, &key(P, 1), "late");
    assert_eq!(a.take(&key(P, 1), &event), Err(not_owned.clone()));
    let change = dunlin_crdt::Change::Remove;
    let meta = dunlin_storage::CellMeta {
        stamp: dunlin_crdt::Hlc(1),
        op: dunlin_crdt::OpId(0, 1),
        expires_at: None,
    };
    let kind = dunlin_crdt::RowKind::Register;
    let refused = a.write(
        &key(P, 1),
        kind,
        &change,
        &dunlin_crdt::Replaces::Seen,
        meta,
    );
    assert_eq!(refused, Err(WriteError::Store(not_owned)));

    let mut slices = 0;
    assert!(a.dropping().eq([P]));
    while a.drop_some(7).unwrap() == Progress::More {
        let (id, batch) = a.take_staged().unwrap();
        assert!(batch.len() <= 7 && batch.only_deletes());
        kv.commit(&batch).unwrap();
        a.committed(id);
        a.check_invariants().unwrap();
        slices += 1;
    }
    assert!(slices >= 100 / 7);
    commit(&kv, &mut a);
    assert_eq!(a.dropping().count(), 0);
    assert!(PLACED.iter().all(|ks| stored(&kv, *ks, P).is_empty()));
    assert_eq!(stored(&kv, Keyspace::Rows, OTHER).len(), 1);
    let record = kv.get(Keyspace::Clocks, &P.0.to_be_bytes()).unwrap();
    assert_eq!(record.unwrap().len(), 10);
    let after = a.tally();
    assert_eq!((before.rows, after.rows, after.log_entries), (51, 1, 1));
    assert!(!after.counting);
}

#[test]
fn a_regained_partition_never_meets_its_old_rows_and_mints_under_a_new_actor() {
    let (kv, mut a) = new(1);
    let mut actors = Vec::new();
    for life in 0..4_u32 {
        assert_eq!(shown(&a, P).len(), 0);
        // Each life leaves rows that the later ones do not write.
        let own = key(P, life as usize);
        actors.push(put(&mut a, &own, "v").dot.actor);
        remove(&mut a, &key(P, 9));
        sync(&kv, &mut a);
        assert_eq!(shown(&a, P), [own].into());
        let newest = epochs(&kv, Keyspace::Log, P).pop_last();
        assert_eq!(newest, Some(life), "the epoch grows");
        a.give_up(P).unwrap();
        a.give_up(P).unwrap();
        // Whatever is deleted before it comes back: nothing, a part, in the same batch or not.
        for _ in 0..life {
            a.drop_some(1).unwrap();
        }
        if life == 2 {
            sync(&kv, &mut a);
        }
        a.gain(P).unwrap();
        a.gain(P).unwrap();
        a.check_invariants().unwrap();
        assert!(a.owns(P) && !a.is_whole(P) && a.clock(P).is_empty());
    }
    actors.sort_unstable();
    actors.dedup();
    assert_eq!(actors.len(), 4);
    let event = put(&mut a, &key(P, 7), "last");
    drop_all(&mut a);
    sync(&kv, &mut a);
    assert_eq!(shown(&a, P), [key(P, 7)].into());
    for keyspace in [Keyspace::Rows, Keyspace::Log] {
        assert_eq!(epochs(&kv, keyspace, P), [4].into());
    }
    kv.crash(0);
    let a = open(&kv, &[P, OTHER], 2);
    assert_eq!(shown(&a, P), [key(P, 7)].into());
    assert!(a.clock(P).contains(&event.dot));
    assert_eq!(a.dropping().count(), 0);
}

#[test]
fn a_partition_that_was_never_given_up_is_not_gained_anew() {
    let (kv, mut a) = new(1);
    let event = put(&mut a, &key(P, 0), "v");
    sync(&kv, &mut a);
    a.gain(P).unwrap();
    assert_eq!(a.take_staged(), None);
    assert!(a.is_whole(P) && a.clock(P).contains(&event.dot));
    assert_eq!(put(&mut a, &key(P, 1), "v").dot.actor, event.dot.actor);
    assert_eq!(
        a.gain(PartitionId(9)),
        Err(StoreError::OtherShard(PartitionId(9)))
    );
    assert_eq!(
        a.give_up(PartitionId(9)),
        Err(StoreError::OtherShard(PartitionId(9)))
    );
}

#[test]
fn a_gained_partition_counts_again_once_it_was_refilled() {
    let ((_, mut a), (kv, mut b)) = (new(1), new(2));
    for key in keys(P, 30) {
        put(&mut a, &key, "v");
    }
    pull(&a, &mut b, P);
    b.give_up(P).unwrap();
    sync(&kv, &mut b);
    for key in keys(P, 10) {
        remove(&mut a, &key);
    }
    b.gain(P).unwrap();
    assert!(!b.is_whole(P));
    pull(&a, &mut b, P);
    b.mark_whole(P);
    sync(&kv, &mut b);
    assert_same(&a, &b, P);
    assert_eq!(shown(&b, P).len(), 20);
    let tally = b.tally();
    assert!(!tally.counting);
    kv.crash(0);
    let b = open(&kv, &[P, OTHER], 3);
    assert!(b.is_whole(P));
    // The digest does not tell in which epoch the rows lie.
    assert_same(&a, &b, P);
}

#[test]
fn what_the_disk_holds_stays_held_when_the_layout_no_longer_names_it() {
    let (kv, mut a) = new(1);
    let event = put(&mut a, &key(P, 0), "only copy");
    sync(&kv, &mut a);
    let mut a = open(&kv, &[OTHER], 2);
    assert!(a.owned().eq([P, OTHER]) && a.is_whole(P));
    assert!(a.clock(P).contains(&event.dot));
    assert_eq!(a.take_staged(), None);
    a.give_up(P).unwrap();
    a.drop_some(1).unwrap();
    sync(&kv, &mut a);
    // Deleting goes on after a restart, and what is dropped is not held by it.
    let mut a = open(&kv, &[OTHER], 3);
    assert!(a.owned().eq([OTHER]) && a.dropping().eq([P]));
    drop_all(&mut a);
    sync(&kv, &mut a);
    assert!(PLACED.iter().all(|ks| stored(&kv, *ks, P).is_empty()));
    let a = open(&kv, &[OTHER], 4);
    assert_eq!(a.dropping().count(), 0);
    // The layout names it again while this node was away: it begins empty.
    let a = open(&kv, &[P, OTHER], 5);
    assert!(a.owns(P) && !a.is_whole(P) && a.clock(P).is_empty());
}

#[test]
fn what_was_written_before_the_first_start_ended_is_held_by_the_next_one() {
    let kv = MemoryKv::new();
    let mut a = open(&kv, &[P], 1);
    let event = put(&mut a, &key(P, 0), "v");
    sync(&kv, &mut a);
    kv.crash(0);
    let a = open(&kv, &[], 2);
    assert!(a.clock(P).contains(&event.dot));
    assert_eq!(shown(&a, P), [key(P, 0)].into());
}

#[test]
fn a_refused_batch_does_not_change_what_is_held() {
    let (kv, mut a) = new(1);
    put(&mut a, &key(P, 0), "old");
    put(&mut a, &key(OTHER, 0), "old");
    sync(&kv, &mut a);
    // One was given up and gained again, the other given up, and none of it was committed.
    a.give_up(P).unwrap();
    a.gain(P).unwrap();
    put(&mut a, &key(P, 1), "lost");
    a.give_up(OTHER).unwrap();
    drop_all(&mut a);
    a.take_staged().unwrap();
    a.roll_back().unwrap();
    a.check_invariants().unwrap();
    assert!(a.owned().eq([P]) && a.dropping().eq([P, OTHER]));
    assert!(shown(&a, P).is_empty() && a.clock(P).is_empty());
    put(&mut a, &key(P, 2), "new");
    drop_all(&mut a);
    sync(&kv, &mut a);
    kv.crash(0);
    let a = open(&kv, &[P], 2);
    assert!(a.owned().eq([P]));
    assert_eq!(shown(&a, P), [key(P, 2)].into());
    assert!(stored(&kv, Keyspace::Rows, OTHER).is_empty());
}

#[test]
fn an_actor_kept_by_a_clean_close_does_not_outlive_giving_up() {
    let (kv, mut a) = new(1);
    let first = put(&mut a, &key(P, 0), "v").dot.actor;
    a.close();
    commit(&kv, &mut a);
    kv.close_clean().unwrap();
    let mut a = open(&kv, &[P, OTHER], 2);
    a.give_up(P).unwrap();
    a.close();
    commit(&kv, &mut a);
    kv.close_clean().unwrap();
    let mut a = open(&kv, &[P, OTHER], 3);
    assert!(a.clock(P).is_empty());
    assert_ne!(put(&mut a, &key(P, 0), "v").dot.actor, first);
}

fn amnesia() -> Start {
    Start::Amnesia {
        evidence: vec!["a hole".to_owned()],
    }
}

#[test]
fn after_amnesia_rows_beyond_the_record_prove_a_gain() {
    let (kv, mut a) = new(1);
    put(&mut a, &key(P, 0), "old");
    a.give_up(P).unwrap();
    sync(&kv, &mut a);
    let given_up = kv.get(Keyspace::Clocks, &P.0.to_be_bytes()).unwrap();
    a.gain(P).unwrap();
    put(&mut a, &key(P, 1), "only copy");
    sync(&kv, &mut a);
    // The batch with the gain is lost, those after it are not.
    let mut hole = Batch::new();
    let record = P.0.to_be_bytes().to_vec().into();
    hole.put(Keyspace::Clocks, record, given_up.unwrap());
    kv.commit(&hole).unwrap();
    for owned in [&[P, OTHER][..], &[OTHER]] {
        let a = open_as(&kv, owned, amnesia(), 2);
        assert_eq!(a.distrusted(), [P, OTHER]);
        assert_eq!(shown(&a, P), [key(P, 1)].into());
        assert!(a.has_unclaimed(P) && !a.is_whole(P) && a.dropping().eq([P]));
    }
}

#[test]
fn after_amnesia_deleted_rows_that_are_back_are_deleted_again() {
    let (kv, mut a) = new(1);
    put(&mut a, &key(P, 0), "old");
    sync(&kv, &mut a);
    let back: Vec<_> = stored(&kv, Keyspace::Rows, P)
        .into_iter()
        .map(|key| (key.clone(), kv.get(Keyspace::Rows, &key).unwrap().unwrap()))
        .collect();
    a.give_up(P).unwrap();
    drop_all(&mut a);
    sync(&kv, &mut a);
    let mut batch = Batch::new();
    for (key, value) in back {
        batch.put(Keyspace::Rows, key, value);
    }
    kv.commit(&batch).unwrap();
    let mut a = open_as(&kv, &[P, OTHER], amnesia(), 2);
    assert!(a.owns(P) && shown(&a, P).is_empty() && a.dropping().eq([P]));
    drop_all(&mut a);
    sync(&kv, &mut a);
    assert!(stored(&kv, Keyspace::Rows, P).is_empty());
    // Even if nothing is known of it any more but its rows.
    batch.delete(Keyspace::Clocks, P.0.to_be_bytes().to_vec().into());
    kv.commit(&batch).unwrap();
    let a = open_as(&kv, &[OTHER], amnesia(), 3);
    assert!(a.owns(P) && a.has_unclaimed(P));
}
