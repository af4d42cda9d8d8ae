//! Rows in order, staged ones too.

use bytes::Bytes;
use dunlin_protocol::peer::{Coverage, RangeScope, RowRange};
use dunlin_ring::{BucketId, NodeId};

use super::support::{BUCKET, P, add, commit, element, new, pull, remove};

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
