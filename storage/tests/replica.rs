//! What one or two replicas promise, claim by claim. Random schedules are in `replica_schedule`.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test may stop at anything unexpected"
)]

use std::sync::Arc;

use bytes::Bytes;
use dunlin_crdt::{
    Change, ChangeError, Clock, Event, Folded, Hlc, Millis, OpId, Replaces, Row, RowKind, fold,
};
use dunlin_protocol::RowKey;
use dunlin_protocol::limits::ROW_BYTES_MAX;
use dunlin_protocol::peer::{Coverage, HintScope, RangeScope, RowRange};
use dunlin_ring::{BucketId, NodeId, PartitionCount, PartitionId};
use dunlin_storage::{
    Batch, CellMeta, DiskSpace, HintRefused, Horizon, Keyspace, Kv, KvError, MemoryKv, Missing,
    Progress, Replica, ReplicaOptions, RowChange, Start, StoreError, Taken, WholeTaken, WriteError,
};

const P: PartitionId = PartitionId(0);
const BUCKET: BucketId = BucketId(1);
const META: CellMeta = CellMeta {
    stamp: Hlc(1_000 << 16),
    op: OpId(0, 1),
    expires_at: None,
};
const EVERYTHING: usize = 1 << 30;

fn element(key: &str, element: &str) -> RowKey {
    let (key, subkey) = (key.to_owned().into(), element.to_owned().into());
    RowKey {
        bucket: BUCKET,
        key,
        subkey,
    }
}

fn single(key: &str) -> RowKey {
    element(key, "")
}

fn options(start: Start) -> ReplicaOptions {
    ReplicaOptions {
        partitions: PartitionCount::new(1).unwrap(),
        owned: vec![P],
        shard: vec![P],
        start,
        hints_bytes_max: 1000,
    }
}

fn open(kv: &MemoryKv, seed: u64) -> Replica {
    let start = kv.open();
    Replica::open(
        Arc::new(kv.clone()),
        options(start),
        fastrand::Rng::with_seed(seed),
    )
    .unwrap()
}

fn new(seed: u64) -> (MemoryKv, Replica) {
    let kv = MemoryKv::new();
    let mut replica = open(&kv, seed);
    replica.mark_whole(P);
    sync(&kv, &mut replica);
    (kv, replica)
}

fn commit(kv: &MemoryKv, replica: &mut Replica) {
    while let Some((id, batch)) = replica.take_staged() {
        kv.commit(&batch).unwrap();
        replica.committed(id);
    }
    replica.check_invariants().unwrap();
}

fn sync(kv: &MemoryKv, replica: &mut Replica) {
    commit(kv, replica);
    kv.sync().unwrap();
}

fn close(kv: &MemoryKv, replica: &mut Replica) {
    replica.close();
    commit(kv, replica);
    kv.close_clean().unwrap();
}

fn put(replica: &mut Replica, key: &RowKey, value: &str, replaces: Replaces) -> Event {
    let change = Change::Value(value.to_owned().into());
    replica
        .write(key, RowKind::Register, &change, &replaces, META)
        .unwrap()
}

fn add(replica: &mut Replica, key: &RowKey) -> Event {
    replica
        .write(key, RowKind::Element, &Change::Mark, &Replaces::Seen, META)
        .unwrap()
}

fn remove(replica: &mut Replica, key: &RowKey) -> Event {
    replica
        .write(
            key,
            RowKind::Register,
            &Change::Remove,
            &Replaces::Seen,
            META,
        )
        .unwrap()
}

fn increment(replica: &mut Replica, key: &RowKey) -> Event {
    replica
        .write(
            key,
            RowKind::Counter,
            &Change::Increment(1),
            &Replaces::Seen,
            META,
        )
        .unwrap()
}

fn shown(replica: &Replica, key: &RowKey, kind: RowKind) -> Option<Folded> {
    fold(kind, &replica.row(key).unwrap(), Millis(0))
}

fn siblings(replica: &Replica, key: &RowKey) -> Vec<Bytes> {
    let row = replica.row(key).unwrap();
    row.cells()
        .iter()
        .map(|(_, cell)| match &cell.body {
            dunlin_crdt::Body::Value(value) => value.clone(),
            other => panic!("not a value: {other:?}"),
        })
        .collect()
}

fn entries(kv: &MemoryKv, keyspace: Keyspace) -> usize {
    kv.range(
        keyspace,
        std::ops::Bound::Unbounded,
        std::ops::Bound::Unbounded,
    )
    .count()
}

/// Brings everything from one replica to the other, by whichever way the log allows.
fn pull(from: &Replica, to: &mut Replica) {
    loop {
        match from
            .missing(P, to.clock(P), Horizon::Everything, EVERYTHING)
            .unwrap()
        {
            Missing::Rows { rows, clock, more } => {
                to.take_rows(P, &rows, &clock).unwrap();
                if !more {
                    return;
                }
            }
            Missing::LogTooShort => return pull_whole(from, to, 1),
        }
    }
}

fn pull_whole(from: &Replica, to: &mut Replica, bytes_max: usize) {
    let (mut after, mut first) = (None, None);
    loop {
        let (rows, clock, next) = from.whole_page(P, after.as_ref(), bytes_max).unwrap();
        let taken = to
            .take_whole_page(P, after.as_ref(), &rows, next.as_ref(), &clock)
            .unwrap();
        assert!(matches!(taken, WholeTaken::Taken { .. }));
        to.check_invariants().unwrap();
        let first = first.get_or_insert(clock);
        after = next;
        if after.is_none() {
            assert!(to.claim(P, first));
            return;
        }
    }
}

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
fn events_known_already_stage_nothing() {
    let ((_, mut a), (kv, mut b)) = (new(1), new(2));
    let event = put(&mut a, &single("k"), "v", Replaces::Seen);
    assert_eq!(b.take(&single("k"), &event), Ok(Taken::New));
    commit(&kv, &mut b);
    assert_eq!(b.take(&single("k"), &event), Ok(Taken::Known));
    assert_eq!(b.take_staged(), None);
}

#[test]
fn an_event_that_arrives_before_what_it_replaces_suppresses_it() {
    let ((_, mut a), (kv, mut b)) = (new(1), new(2));
    let key = single("k");
    let first = put(&mut a, &key, "old", Replaces::Seen);
    let second = put(&mut a, &key, "new", Replaces::Seen);
    let third = remove(&mut a, &key);
    b.take(&key, &second).unwrap();
    b.take(&key, &third).unwrap();
    assert_eq!(b.tally().pending, 1);
    commit(&kv, &mut b);
    kv.sync().unwrap();
    kv.crash(0);
    let mut b = open(&kv, 3);
    assert_eq!(b.tally().pending, 1);
    b.take(&key, &first).unwrap();
    assert_eq!(siblings(&b, &key), Vec::<Bytes>::new());
    assert_eq!(b.tally().pending, 0);
    commit(&kv, &mut b);
    assert_eq!(
        (
            entries(&kv, Keyspace::Rows),
            entries(&kv, Keyspace::Pending)
        ),
        (0, 0)
    );
}

#[test]
fn several_changes_are_applied_all_or_none() {
    let (_, mut replica) = new(1);
    let change = |subkey: &str, change| RowChange {
        key: element("s", subkey),
        kind: RowKind::Element,
        change,
        replaces: Replaces::Seen,
    };
    let bad = [change("a", Change::Mark), change("b", Change::Increment(1))];
    let refused = replica.write_all(&bad, META);
    assert_eq!(refused, Err(WriteError::Change(ChangeError::WrongKind)));
    assert!(replica.take_staged().is_none() && replica.clock(P).is_empty());
    // The second sees the first.
    let good = [
        change("a", Change::Mark),
        change("a", Change::Remove),
        change("b", Change::Mark),
    ];
    let events = replica.write_all(&good, META).unwrap();
    assert!(events[1].event.replaces.contains(&events[0].event.dot));
    assert_eq!(shown(&replica, &element("s", "a"), RowKind::Element), None);
    assert_eq!(
        shown(&replica, &element("s", "b"), RowKind::Element),
        Some(Folded::Marked)
    );
    replica.check_invariants().unwrap();
}

#[test]
fn a_row_takes_no_more_siblings_than_fit_but_can_be_replaced() {
    let (_, mut replica) = new(1);
    let key = single("k");
    let change = Change::Value(vec![7; 1 << 20].into());
    let alone = Replaces::Context(Clock::new());
    let refused = loop {
        match replica.write(&key, RowKind::Register, &change, &alone, META) {
            Ok(_) => assert!(replica.row(&key).unwrap().cells().len() < 10),
            Err(refused) => break refused,
        }
    };
    assert!(matches!(refused, WriteError::TooManySiblings { bytes } if bytes > ROW_BYTES_MAX));
    replica.check_invariants().unwrap();
    replica
        .write(&key, RowKind::Register, &change, &Replaces::Seen, META)
        .unwrap();
    assert_eq!(replica.row(&key).unwrap().cells().len(), 1);
}

#[test]
fn expired_cells_are_replaced_by_the_next_write_and_dropped_by_upkeep() {
    let (_, mut replica) = new(1);
    let key = single("c");
    let write = |replica: &mut Replica, at: u64| {
        let meta = CellMeta {
            stamp: Hlc::at(Millis(at)),
            op: OpId(0, at),
            expires_at: Some(Millis(at + 10)),
        };
        let one = Change::Increment(1);
        replica
            .write(&key, RowKind::Counter, &one, &Replaces::Seen, meta)
            .unwrap()
    };
    let first = write(&mut replica, 100);
    let second = write(&mut replica, 200);
    assert!(second.replaces.contains(&first.dot));
    assert_eq!(
        shown(&replica, &key, RowKind::Counter),
        Some(Folded::Sum(1))
    );
    assert_eq!(replica.drop_expired(P, None, Millis(205), 100), Ok(None));
    assert_eq!(replica.row(&key).unwrap().cells().len(), 1);
    assert_eq!(replica.drop_expired(P, None, Millis(210), 100), Ok(None));
    assert_eq!(replica.row(&key).unwrap(), Row::new());
    assert!(replica.clock(P).contains(&second.dot));
    replica.check_invariants().unwrap();
}

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
fn a_whole_transfer_takes_live_writes_meanwhile_and_keeps_the_clock_in_one_piece() {
    let ((_, mut a), (kv, _)) = (new(1), new(2));
    let mut rng = fastrand::Rng::with_seed(3);
    let mut order: Vec<u32> = (0..300).collect();
    rng.shuffle(&mut order);
    for n in &order {
        add(&mut a, &element("s", &n.to_string()));
    }
    for n in 0..50 {
        remove(&mut a, &element("s", &n.to_string()));
    }
    kv.wipe();
    let mut b = open(&kv, 4);
    assert!(!b.is_whole(P));
    let (mut after, mut first) = (None, None);
    for page in 0.. {
        let (rows, clock, next) = a.whole_page(P, after.as_ref(), 500).unwrap();
        b.take_whole_page(P, after.as_ref(), &rows, next.as_ref(), &clock)
            .unwrap();
        b.check_invariants().unwrap();
        let pieces = b.clock(P).ranges_by_actor().count();
        assert!(pieces <= 1 + 2 * page, "the clock is in {pieces} pieces");
        assert!(b.tally().pending <= page as u64);
        let first = first.get_or_insert(clock);
        after = next;
        if after.is_none() {
            assert!(page > 20);
            assert!(b.claim(P, first));
            break;
        }
        let event = add(&mut a, &element("live", &page.to_string()));
        b.take(&element("live", &page.to_string()), &event).unwrap();
        if page == 10 {
            // It goes on where it was after a crash.
            sync(&kv, &mut b);
            b = open(&kv, 5);
            assert_eq!(b.transfer(P), Some((&*first, after.clone())));
        }
    }
    pull(&a, &mut b);
    b.strip_pending(P, 1000).unwrap();
    assert_eq!((b.clock(P), b.tally().pending), (a.clock(P), 0));
    assert_eq!(
        a.digest(P, None, usize::MAX, |_| false),
        b.digest(P, None, usize::MAX, |_| false)
    );
}

#[test]
fn a_page_out_of_order_is_refused() {
    let ((_, mut a), (_, mut b)) = (new(1), new(2));
    for n in 0..9 {
        add(&mut a, &element("s", &n.to_string()));
    }
    let (rows, clock, next) = a.whole_page(P, None, 1).unwrap();
    let out_of_order = b.take_whole_page(P, next.as_ref(), &rows, None, &clock);
    assert_eq!(out_of_order, Ok(WholeTaken::OutOfOrder));
    b.take_whole_page(P, None, &rows, next.as_ref(), &clock)
        .unwrap();
    assert!(!b.claim(P, &clock), "there are more pages");
    let older = b.take_whole_page(P, next.as_ref(), &[], None, &Clock::new());
    assert_eq!(older, Ok(WholeTaken::OutOfOrder), "its sender knows less");
    // Beginning anew keeps what came, and claims it.
    pull_whole(&a, &mut b, EVERYTHING);
    assert_eq!(b.clock(P), a.clock(P));
    b.check_invariants().unwrap();
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
fn an_addition_to_a_large_set_touches_as_many_keys_as_to_a_small_one() {
    let (kv, mut replica) = new(1);
    let mut sizes = Vec::new();
    for n in 0..2000 {
        add(&mut replica, &element("s", &format!("{n:06}")));
        let (id, batch) = replica.take_staged().unwrap();
        sizes.push((batch.len(), batch.bytes()));
        kv.commit(&batch).unwrap();
        replica.committed(id);
    }
    assert!(
        sizes.iter().all(|(keys, bytes)| *keys == 2 && *bytes < 250),
        "{:?}",
        sizes.last()
    );
}

fn whole_key(key: &str, prefix: &str, after: Option<&str>) -> RowRange {
    let after = after.map(|after| after.to_owned().into());
    let (key, prefix) = (key.to_owned().into(), prefix.to_owned().into());
    RowRange {
        bucket: BUCKET,
        scope: RangeScope::Key { key, prefix, after },
    }
}

fn keys_from(prefix: &str, after: Option<&str>) -> RowRange {
    let after = after.map(|after| after.to_owned().into());
    RowRange {
        bucket: BUCKET,
        scope: RangeScope::Keys {
            prefix: prefix.to_owned().into(),
            after,
        },
    }
}

#[test]
fn ranges_hold_exactly_their_rows_in_order_staged_ones_too() {
    let (kv, mut replica) = new(1);
    let keys = ["", "a", "a\0", "a\0b", "a\u{1}", "ab", "b"];
    for (n, key) in keys.iter().enumerate() {
        for subkey in ["", "x", "x\0", "xy", "y"] {
            add(&mut replica, &element(key, subkey));
            if n % 2 == 0 {
                commit(&kv, &mut replica);
            }
        }
    }
    remove(&mut replica, &element("ab", "xy"));
    let found = |range: &RowRange| -> Vec<(String, String)> {
        let text = |bytes: &Bytes| String::from_utf8(bytes.to_vec()).unwrap();
        replica
            .rows(P, range)
            .map(|row| row.unwrap().0)
            .map(|key| (text(&key.key), text(&key.subkey)))
            .collect()
    };
    let subkeys = |range: &RowRange| -> Vec<String> {
        found(range).into_iter().map(|(_, subkey)| subkey).collect()
    };
    assert_eq!(
        subkeys(&whole_key("a", "", None)),
        ["", "x", "x\0", "xy", "y"]
    );
    assert_eq!(subkeys(&whole_key("a", "x", None)), ["x", "x\0", "xy"]);
    assert_eq!(subkeys(&whole_key("a", "x", Some("x"))), ["x\0", "xy"]);
    assert_eq!(
        subkeys(&whole_key("a", "x", Some("z"))),
        Vec::<String>::new()
    );
    assert_eq!(subkeys(&whole_key("ab", "x", Some(""))), ["x", "x\0"]);
    let keys_of = |range: &RowRange| {
        let mut keys: Vec<_> = found(range).into_iter().map(|(key, _)| key).collect();
        keys.dedup();
        keys
    };
    assert_eq!(keys_of(&keys_from("", None)), keys);
    assert_eq!(keys_of(&keys_from("a", None)), &keys[1..6]);
    assert_eq!(keys_of(&keys_from("a\0", None)), &keys[2..4]);
    for (n, key) in keys.iter().enumerate() {
        assert_eq!(keys_of(&keys_from("", Some(key))), &keys[n + 1..]);
    }
    let other = RowRange {
        bucket: BucketId(2),
        ..keys_from("", None)
    };
    assert_eq!(found(&other), []);
}

#[test]
fn a_range_is_compared_by_what_the_asker_lacks() {
    let ((_, mut a), (_, mut b)) = (new(1), new(2));
    for n in 0..50 {
        add(&mut a, &element("s", &format!("{n:02}")));
    }
    pull(&a, &mut b);
    remove(&mut a, &element("s", "11"));
    add(&mut a, &element("s", "22"));
    add(&mut a, &element("other", "x"));
    let range = whole_key("s", "", None);
    let diff = a.rows_beyond(P, b.clock(P), &range, 100, 100).unwrap();
    let rows: Vec<_> = diff.rows.iter().map(|row| row.key.subkey.clone()).collect();
    assert_eq!(
        (rows, diff.coverage, diff.complete_to),
        (
            vec![Bytes::from("11"), Bytes::from("22")],
            Coverage::Differences,
            None
        )
    );
    assert!(diff.rows[0].row.cells().is_empty());
    let diff = a.rows_beyond(P, b.clock(P), &range, 100, 1).unwrap();
    assert_eq!(
        (diff.rows.len(), diff.complete_to),
        (1, Some(element("s", "11")))
    );
    // Too much differs: the first rows, all of them.
    let diff = a.rows_beyond(P, b.clock(P), &range, 2, 10).unwrap();
    assert_eq!((diff.rows.len(), diff.coverage), (10, Coverage::All));
    assert_eq!(diff.complete_to, Some(element("s", "09")));
    let clock = a.clock(P).clone();
    a.note_peer_clock(P, NodeId(2), &clock);
    a.prune(P, &[NodeId(2)], 1000).unwrap();
    let diff = a.rows_beyond(P, b.clock(P), &range, 100, 100).unwrap();
    assert_eq!(
        (diff.rows.len(), diff.coverage, diff.complete_to),
        (49, Coverage::All, None)
    );
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
fn hints_are_kept_delivered_forgotten_and_bounded() {
    let ((kv, mut fallback), (_, mut writer), (_, mut owner)) = (new(1), new(2), new(3));
    let away = NodeId(3);
    let mut kept = 0;
    let refused = loop {
        let key = element("s", &kept.to_string());
        let event = add(&mut writer, &key);
        match fallback.keep_hint(away, &key, &event) {
            Ok(()) => kept += 1,
            Err(refused) => break refused,
        }
        fallback.keep_hint(away, &key, &event).unwrap();
    };
    assert!(matches!(
        refused,
        HintRefused::Full {
            bytes_max: 1000,
            ..
        }
    ));
    assert!((5..30).contains(&kept));
    sync(&kv, &mut fallback);
    let mut fallback = open(&kv, 4);
    assert_eq!(fallback.hinted(), [(away, P)]);
    assert_eq!(fallback.tally().hints, kept);
    while fallback.tally().hints > 0 {
        let hints = fallback.hints(away, P, 150).unwrap();
        assert!((1..4).contains(&hints.len()));
        for hint in &hints {
            assert_eq!(owner.take(&hint.key, &hint.event), Ok(Taken::New));
        }
        fallback.forget_hints(away, P, &hints).unwrap();
        fallback.check_invariants().unwrap();
    }
    commit(&kv, &mut fallback);
    assert_eq!(
        (fallback.hinted(), entries(&kv, Keyspace::Hints)),
        (vec![], 0)
    );
    assert_eq!(fallback.tally().hint_bytes, 0);
}

#[test]
fn a_fallback_sees_its_own_writes_and_mints_apart() {
    let ((_, mut fallback), (_, mut owner)) = (new(1), new(2));
    let owners = [NodeId(7), NodeId(8)];
    let own = increment(&mut fallback, &single("c"));
    let change = |key, change| RowChange {
        key,
        kind: RowKind::Counter,
        change,
        replaces: Replaces::Seen,
    };
    let one = [change(single("c"), Change::Increment(1))];
    let mut events = Vec::new();
    for _ in 0..3 {
        events.extend(
            fallback
                .write_as_fallback(&owners, NodeId(7), &one, META)
                .unwrap(),
        );
    }
    assert!(
        events
            .iter()
            .all(|event| event.event.dot.actor != own.dot.actor)
    );
    assert_eq!(
        fallback
            .hint_events(&owners, &single("c"), HintScope::Row)
            .unwrap(),
        events
    );
    for event in events.iter().rev() {
        owner.take(&event.key, &event.event).unwrap();
    }
    assert_eq!(
        shown(&owner, &single("c"), RowKind::Counter),
        Some(Folded::Sum(3))
    );
    // Once it has given some away, it no longer knows what it counted.
    fallback.forget_hints(NodeId(7), P, &events[..1]).unwrap();
    let fourth = fallback
        .write_as_fallback(&owners, NodeId(7), &one, META)
        .unwrap();
    assert_ne!(fourth[0].event.dot.actor, events[0].event.dot.actor);
    owner.take(&fourth[0].key, &fourth[0].event).unwrap();
    assert_eq!(
        shown(&owner, &single("c"), RowKind::Counter),
        Some(Folded::Sum(4))
    );
    fallback.check_invariants().unwrap();
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

#[test]
fn a_made_up_context_cannot_suppress_later_writes() {
    let (_, mut a) = new(1);
    let key = single("k");
    let event = put(&mut a, &key, "one", Replaces::Seen);
    let mut made_up = Clock::new();
    made_up.add_range(event.dot.actor, 1, u64::MAX - 1);
    let second = put(&mut a, &key, "two", Replaces::Context(made_up));
    assert_eq!(second.replaces, [event.dot].into_iter().collect());
    put(&mut a, &key, "three", Replaces::Context(Clock::new()));
    assert_eq!(siblings(&a, &key), ["two", "three"]);
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
