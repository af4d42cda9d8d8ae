//! What is left of a replica after every kind of start, crash and loss.

use dunlin_crdt::{Folded, Replaces, Row, RowKind};
use dunlin_ring::NodeId;
use dunlin_storage::{
    Batch, DiskSpace, Keyspace, Kv, KvError, Progress, Replica, Start, StoreError, Taken,
};
use std::sync::Arc;

use super::support::{
    P, add, close, commit, element, entries, increment, new, open, options, pull, pull_whole, put,
    remove, shown, siblings, single, sync,
};

#[test]
fn a_write_is_read_at_once_and_after_every_kind_of_start() {
    let (kv, mut replica) = new(1);
    let key = single("k");
    put(&mut replica, &key, "v", Replaces::Seen);
    assert_eq!(siblings(&replica, &key), ["v"]);
    replica.check_invariants().unwrap();
    sync(&kv, &mut replica);
    assert_eq!(siblings(&replica, &key), ["v"]);
    let clock = replica.clock(P).clone();

    kv.crash(0);
    let mut replica = open(&kv, 2);
    assert_eq!(
        (siblings(&replica, &key), replica.clock(P)),
        (vec!["v".into()], &clock)
    );
    close(&kv, &mut replica);
    let replica = open(&kv, 3);
    assert_eq!(
        (siblings(&replica, &key), replica.clock(P)),
        (vec!["v".into()], &clock)
    );
    replica.check_invariants().unwrap();
}

#[test]
fn a_crash_takes_back_what_was_not_synced_and_the_clock_says_so() {
    let (kv, mut replica) = new(1);
    put(&mut replica, &single("kept"), "v", Replaces::Seen);
    replica.checkpoint();
    sync(&kv, &mut replica);
    put(&mut replica, &single("logged"), "v", Replaces::Seen);
    sync(&kv, &mut replica);
    let clock = replica.clock(P).clone();
    put(&mut replica, &single("committed"), "v", Replaces::Seen);
    commit(&kv, &mut replica);
    put(&mut replica, &single("staged"), "v", Replaces::Seen);
    kv.crash(0);
    let replica = open(&kv, 2);
    assert_eq!(replica.clock(P), &clock);
    assert_eq!(replica.row(&single("committed")).unwrap(), Row::new());
    assert_eq!(siblings(&replica, &single("logged")), ["v"]);
    assert!(replica.is_whole(P));
    replica.check_invariants().unwrap();
}

#[test]
fn a_store_for_which_nobody_vouches_mints_under_a_new_actor() {
    let (kv, mut replica) = new(1);
    let first = increment(&mut replica, &single("c")).dot.actor;
    close(&kv, &mut replica);
    let backup = kv.backup();
    let mut replica = open(&kv, 2);
    replica.resume_actors();
    let more = increment(&mut replica, &single("c")).dot;
    assert_eq!(more.actor, first);
    // The whole machine is put back: it looks as closed in order as it was then.
    let mut replica = open(&backup, 3);
    assert_ne!(increment(&mut replica, &single("c")).dot.actor, first);
    replica.resume_actors();
    let later = increment(&mut replica, &single("c")).dot;
    assert_ne!(later.actor, first, "it has another one by now");
}

#[test]
fn actors_outlive_a_clean_close_and_nothing_else() {
    let (kv, mut replica) = new(1);
    let first = increment(&mut replica, &single("c")).dot.actor;
    close(&kv, &mut replica);
    let mut replica = open(&kv, 2);
    replica.resume_actors();
    assert_eq!(increment(&mut replica, &single("c")).dot.actor, first);
    sync(&kv, &mut replica);
    kv.crash(0);
    let mut replica = open(&kv, 3);
    let second = increment(&mut replica, &single("c")).dot.actor;
    assert_ne!(second, first);
    sync(&kv, &mut replica);
    // A record of the first close must not come back.
    let mut replica = open(&kv, 4);
    replica.checkpoint();
    commit(&kv, &mut replica);
    kv.close_clean().unwrap();
    let mut replica = open(&kv, 5);
    let third = increment(&mut replica, &single("c")).dot.actor;
    assert!(third != first && third != second);
    assert_eq!(
        shown(&replica, &single("c"), RowKind::Counter),
        Some(Folded::Sum(4))
    );
}

#[test]
fn a_roll_back_returns_to_the_store_and_forgets_the_actor() {
    let (kv, mut replica) = new(1);
    let before = increment(&mut replica, &single("c"));
    sync(&kv, &mut replica);
    let clock = replica.clock(P).clone();
    let lost = increment(&mut replica, &single("c"));
    replica.keep_hint(NodeId(9), &single("c"), &lost).unwrap();
    kv.set_space(DiskSpace::NearlyFull);
    let (refused, batch) = replica.take_staged().unwrap();
    assert_eq!(kv.commit(&batch), Err(KvError::Full));
    increment(&mut replica, &single("d"));
    replica.roll_back().unwrap();
    replica.committed(refused);
    replica.check_invariants().unwrap();
    assert_eq!(replica.take_staged(), None);
    assert_eq!(replica.clock(P), &clock);
    assert_eq!(
        shown(&replica, &single("c"), RowKind::Counter),
        Some(Folded::Sum(1))
    );
    assert!(replica.hinted().is_empty());
    kv.set_space(DiskSpace::Ample);
    let after = increment(&mut replica, &single("c"));
    assert_ne!(after.dot.actor, before.dot.actor);
    sync(&kv, &mut replica);
    // The lost one had reached another owner, and comes back from there.
    assert_eq!(replica.take(&single("c"), &lost), Ok(Taken::New));
    assert_eq!(
        shown(&replica, &single("c"), RowKind::Counter),
        Some(Folded::Sum(3))
    );
}

#[test]
fn after_amnesia_nothing_is_believed_and_nothing_thrown_away() {
    let ((kv_a, mut a), (_, mut b)) = (new(1), new(2));
    for n in 0..20 {
        add(&mut a, &element("s", &n.to_string()));
    }
    pull(&a, &mut b);
    let only_here = add(&mut a, &element("s", "only here"));
    let actor = only_here.dot.actor;
    sync(&kv_a, &mut a);
    // Rows are gone that the clock vouches for, and one is damaged.
    let mut holes = Batch::new();
    for (n, entry) in kv_a
        .range(
            Keyspace::Rows,
            std::ops::Bound::Unbounded,
            std::ops::Bound::Unbounded,
        )
        .enumerate()
    {
        match n {
            3..=8 => holes.delete(Keyspace::Rows, entry.unwrap().0),
            9 => holes.put(Keyspace::Rows, entry.unwrap().0, "damaged".into()),
            _ => {}
        }
    }
    kv_a.commit(&holes).unwrap();
    let start = Start::Amnesia {
        evidence: vec!["a hole".to_owned()],
    };
    let rng = fastrand::Rng::with_seed(7);
    let mut a = Replica::open(Arc::new(kv_a.clone()), options(start), rng).unwrap();
    assert_eq!(
        (a.is_whole(P), a.clock(P).is_empty(), a.distrusted()),
        (false, true, &[P][..])
    );
    sync(&kv_a, &mut a);
    // A second start, before anything was refilled, believes no more.
    let mut a = open(&kv_a, 8);
    assert_eq!((a.is_whole(P), a.clock(P).is_empty()), (false, true));
    pull_whole(&b, &mut a, 1);
    a.mark_whole(P);
    pull(&a, &mut b);
    a.strip_pending(P, 1000).unwrap();
    a.check_invariants().unwrap();
    assert_eq!(
        a.digest(P, None, usize::MAX, |_| false),
        b.digest(P, None, usize::MAX, |_| false)
    );
    assert_eq!(
        shown(&b, &element("s", "only here"), RowKind::Element),
        Some(Folded::Marked)
    );
    assert_eq!(a.digest(P, None, usize::MAX, |_| false).unwrap().0.rows, 21);
    assert_ne!(add(&mut a, &element("s", "new")).dot.actor, actor);
    // The entries of the log that is not believed any more are forgotten in time.
    a.prune(P, &[], 1000).unwrap();
    sync(&kv_a, &mut a);
    assert_eq!(entries(&kv_a, Keyspace::Log), 0);
}

#[test]
fn a_lone_owner_vouches_for_what_amnesia_left() {
    let (kv, mut a) = new(1);
    let event = add(&mut a, &element("s", "a"));
    sync(&kv, &mut a);
    a.distrust(P).unwrap();
    assert!(a.clock(P).is_empty());
    a.mark_whole(P);
    sync(&kv, &mut a);
    assert!(a.clock(P).contains(&event.dot));
}

#[test]
fn a_damaged_row_is_reported_and_a_damaged_clock_distrusted() {
    let (kv, mut a) = new(1);
    let key = single("k");
    put(&mut a, &key, "v", Replaces::Seen);
    a.checkpoint();
    sync(&kv, &mut a);
    let damage = |keyspace| {
        let mut batch = Batch::new();
        for entry in kv.range(
            keyspace,
            std::ops::Bound::Unbounded,
            std::ops::Bound::Unbounded,
        ) {
            let (stored_key, value) = entry.unwrap();
            let mut bad = value.to_vec();
            bad[3] ^= 1;
            batch.put(keyspace, stored_key, bad.into());
        }
        kv.commit(&batch).unwrap();
    };
    damage(Keyspace::Rows);
    assert_eq!(
        a.row(&key),
        Err(StoreError::CorruptRow {
            partition: P,
            key: key.clone()
        })
    );
    assert!(a.digest(P, None, 10, |_| false).is_err());
    assert_eq!(a.distrusted(), []);
    damage(Keyspace::Clocks);
    let a = open(&kv, 2);
    assert_eq!((a.distrusted(), a.is_whole(P)), (&[P][..], false));
}

#[test]
fn counts_are_exact_again_after_an_unclean_start_while_writes_go_on() {
    let (kv, mut replica) = new(1);
    for n in 0..100 {
        add(&mut replica, &element("s", &format!("{n:03}")));
    }
    sync(&kv, &mut replica);
    let mut replica = open(&kv, 2);
    assert!(replica.tally().counting);
    let mut rng = fastrand::Rng::with_seed(5);
    let mut slices = 0;
    while replica.count_some(7) == Progress::More {
        slices += 1;
        for _ in 0..3 {
            let key = element("s", &format!("{:03}", rng.u32(..200)));
            if rng.bool() {
                add(&mut replica, &key);
            } else {
                remove(&mut replica, &key);
            }
            replica.check_invariants().unwrap();
        }
    }
    assert!(slices > 20);
    let tally = replica.tally();
    assert!(!tally.counting && tally.rows > 50);
    replica.check_invariants().unwrap();
    close(&kv, &mut replica);
    let mut replica = open(&kv, 3);
    replica.resume_actors();
    let actor_kept = replica.tally();
    assert_eq!(actor_kept, tally);
}

#[test]
fn a_copied_disk_does_not_make_two_of_one_actor() {
    let (kv, mut a) = new(1);
    let first = increment(&mut a, &single("c"));
    // Another process mints under the same actor.
    let mut copied = first.clone();
    copied.dot.counter += 1;
    a.take(&single("c"), &copied).unwrap();
    assert_ne!(increment(&mut a, &single("c")).dot.actor, first.dot.actor);
    commit(&kv, &mut a);
}
