//! Hints, and the writes of a fallback.

use dunlin_crdt::{Change, Folded, Replaces, RowKind};
use dunlin_protocol::peer::HintScope;
use dunlin_ring::NodeId;
use dunlin_storage::{HintRefused, Keyspace, RowChange, Taken};

use super::support::{
    META, P, add, commit, element, entries, increment, new, open, shown, single, sync,
};

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
