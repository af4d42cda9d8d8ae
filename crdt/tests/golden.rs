//! The stored and sent form of clocks, rows and events, byte for byte.
//!
//! A change here is a change of format: it needs a new version and a reader for the old one.

use bytes::Bytes;
use dunlin_crdt::{
    ActorId, Body, Cell, Clock, Dot, Event, FieldKind, FieldPath, Hlc, Millis, OpId, Row,
};

fn bytes(hex: &str) -> Bytes {
    let digits: Vec<u32> = hex.chars().filter_map(|c| c.to_digit(16)).collect();
    assert_eq!(digits.len() % 2, 0, "two digits a byte");
    digits
        .chunks(2)
        .map(|pair| (pair[0] * 16 + pair[1]) as u8)
        .collect()
}

/// `actor` 0x0a, its counters 1..=300; 0x0b, the counters 2, 5..=6 and 200.
fn clock() -> Clock {
    let mut clock = Clock::new();
    clock.add_range(ActorId(0x0a), 1, 300);
    clock.add(Dot::new(ActorId(0x0b), 2));
    clock.add_range(ActorId(0x0b), 5, 6);
    clock.add(Dot::new(ActorId(0x0b), 200));
    clock
}

const CLOCK: &str = "
    01                          one prefix:
      000000000000000a ac02       actor, 300
    01                          one actor beyond its prefix:
      000000000000000b 03         actor, three ranges:
        02 00                       2, no more
        03 01                       3 after that, one more
        c201 00                     194 after that, no more";

/// The hex of a commented spelling: each line up to the first double space after its digits.
fn spelled(text: &str) -> Bytes {
    let line = |line: &str| {
        let line = line.trim_start().to_owned();
        line.split("  ").next().unwrap_or_default().to_owned()
    };
    bytes(&text.lines().map(line).collect::<String>())
}

fn cell(body: Body, expires_at: Option<Millis>) -> Cell {
    Cell {
        stamp: Hlc(0x0102_0304_0506_0708),
        op: OpId(0x11, 0x12),
        expires_at,
        body,
    }
}

fn row(body: Body, expires_at: Option<Millis>) -> Row {
    let mut row = Row::new();
    let event = Event {
        dot: Dot::new(ActorId(0x0c), 128),
        cell: Some(cell(body, expires_at)),
        replaces: Clock::from_iter([Dot::new(ActorId(0x0c), 1)]),
    };
    row.take(&Clock::new(), &event);
    row
}

fn check_row(row: &Row, spelling: &str) {
    let golden = spelled(spelling);
    assert_eq!(Bytes::from(row.encode()), golden);
    assert_eq!(Row::decode(&golden).as_ref(), Ok(row));
}

#[test]
fn a_clock_is_spelled_as_ever() {
    let golden = spelled(CLOCK);
    assert_eq!(Bytes::from(clock().encode()), golden);
    assert_eq!(Clock::decode(&golden), Ok(clock()));
    assert_eq!(Clock::new().encode(), [0, 0]);
}

#[test]
fn a_row_without_cells_is_spelled_as_ever() {
    check_row(&Row::new(), "01  version\n00  no cells\n0000  no past");
}

#[test]
fn a_row_of_a_value_is_spelled_as_ever() {
    check_row(
        &row(Body::Value(Bytes::from_static(b"duck")), None),
        "01                  version
         01                  one cell:
         000000000000000c    actor
         8001                counter 128
         00                  tag: a value that never expires
         0102030405060708    stamp
         00000000000000110000000000000012    request
         04 6475636b         four bytes
         01 000000000000000c 01 00    past: (0c, 1)",
    );
}

#[test]
fn a_row_of_a_value_that_expires_is_spelled_as_ever() {
    check_row(
        &row(Body::Value(Bytes::new()), Some(Millis(1_000))),
        "01 01 000000000000000c 8001
         80                  tag: a value that expires
         0102030405060708 00000000000000110000000000000012
         e807                at 1000 ms
         00                  no bytes
         01 000000000000000c 01 00",
    );
}

#[test]
fn a_row_of_a_count_is_spelled_as_ever() {
    let body = Body::Count {
        plus: 5,
        minus: i64::MAX as u64,
    };
    check_row(
        &row(body, None),
        "01 01 000000000000000c 8001
         01                  tag: a count
         0102030405060708 00000000000000110000000000000012
         05                  plus 5
         ffffffffffffffff7f    minus 2^63-1
         01 000000000000000c 01 00",
    );
}

#[test]
fn a_row_of_a_mark_is_spelled_as_ever() {
    check_row(
        &row(Body::Mark, None),
        "01 01 000000000000000c 8001
         02                  tag: a mark
         0102030405060708 00000000000000110000000000000012
         01 000000000000000c 01 00",
    );
}

#[test]
fn a_row_of_an_extreme_is_spelled_as_ever() {
    check_row(
        &row(Body::Extreme(-2), None),
        "01 01 000000000000000c 8001
         03                  tag: an extreme
         0102030405060708 00000000000000110000000000000012
         fffffffffffffffe    -2
         01 000000000000000c 01 00",
    );
}

#[test]
fn events_are_spelled_as_ever() {
    let write = Event {
        dot: Dot::new(ActorId(0x0c), 128),
        cell: Some(cell(Body::Mark, None)),
        replaces: clock(),
    };
    let golden = [
        spelled("000000000000000c 8001"),
        spelled(CLOCK),
        spelled("01 02 0102030405060708 00000000000000110000000000000012"),
    ]
    .concat();
    assert_eq!(write.encode(), golden);
    assert_eq!(Event::decode(&Bytes::from(golden)), Ok(write));

    let removal = Event {
        dot: Dot::new(ActorId(0x0c), 1),
        cell: None,
        replaces: Clock::new(),
    };
    let golden = spelled("000000000000000c 01  dot\n0000  replaces nothing\n00  no cell");
    assert_eq!(Bytes::from(removal.encode()), golden);
    assert_eq!(Event::decode(&golden), Ok(removal));
}

#[test]
fn a_field_path_is_spelled_as_ever() {
    let steps = FieldKind::ALL.map(|kind| FieldPath::field(&b"f\0"[..], kind).subkey());
    for (tag, subkey) in (1..).zip(steps) {
        assert_eq!(&subkey[..], [b'f', 0, 0xff, 0, 1, tag]);
    }
}
