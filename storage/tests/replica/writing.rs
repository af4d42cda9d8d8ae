//! Events and writes, one row at a time.

use bytes::Bytes;
use dunlin_crdt::{Change, ChangeError, Clock, Folded, Hlc, Millis, OpId, Replaces, Row, RowKind};
use dunlin_protocol::limits::ROW_BYTES_MAX;
use dunlin_storage::{CellMeta, Keyspace, Kv, Replica, RowChange, Taken, WriteError};

use super::support::{
    META, P, add, commit, element, entries, new, open, put, remove, shown, siblings, single,
};

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
