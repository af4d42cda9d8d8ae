//! Bytes from outside never panic, and whatever is accepted is the one form of its value.

use std::fmt::Debug;

use bytes::Bytes;
use dunlin_crdt::{ActorId, Body, Cell, Clock, DecodeError, Event, Hlc, Millis, OpId, Row};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::{Strategy, any, prop_assert_eq, prop_oneof, proptest};
use proptest::sample::Index;
use serde::Deserialize;
use serde::de::value::{BytesDeserializer, Error as SerdeError};

use crate::dot;

fn clocks() -> impl Strategy<Value = Clock> {
    let counter = || prop_oneof![9 => 1u64..40, 1 => any::<u64>()];
    vec((1u64..5, counter(), 0u64..5), 0..8).prop_map(|ranges| {
        let mut clock = Clock::new();
        for (actor, start, more) in ranges {
            clock.add_range(ActorId(actor), start, start.saturating_add(more));
        }
        clock
    })
}

fn bodies() -> impl Strategy<Value = Body> {
    prop_oneof![
        vec(any::<u8>(), 0..40).prop_map(|bytes| Body::Value(Bytes::from(bytes))),
        any::<(u64, u64)>().prop_map(|(plus, minus)| Body::Count { plus, minus }),
        (0u8..1).prop_map(|_| Body::Mark),
        any::<i64>().prop_map(Body::Extreme),
    ]
}

fn cells() -> impl Strategy<Value = Cell> {
    (any::<[u64; 3]>(), option::of(any::<u64>()), bodies()).prop_map(|(ids, expires, body)| Cell {
        stamp: Hlc(ids[0]),
        op: OpId(ids[1], ids[2]),
        expires_at: expires.map(Millis),
        body,
    })
}

fn events() -> impl Strategy<Value = Event> {
    (1u64..5, 1u64..40, option::of(cells()), clocks()).prop_map(
        |(actor, counter, cell, replaces)| Event {
            dot: dot(actor, counter),
            cell,
            replaces,
        },
    )
}

fn rows() -> impl Strategy<Value = Row> {
    (vec(events(), 0..6), clocks()).prop_map(|(events, clock)| {
        let mut row = Row::new();
        for event in events {
            row.take(&clock, &event);
        }
        row
    })
}

/// The whole contract of a format: identity on values, and on the bytes that it accepts.
fn check<T: PartialEq + Debug>(
    value: &T,
    encode: impl Fn(&T) -> Vec<u8>,
    decode: impl Fn(&Bytes) -> Result<T, DecodeError>,
    mutations: &[(Index, u8)],
    cut: Index,
) {
    let bytes = encode(value);
    assert_eq!(decode(&Bytes::from(bytes.clone())).as_ref(), Ok(value));
    let short = Bytes::copy_from_slice(&bytes[..cut.index(bytes.len())]);
    assert!(
        decode(&short).is_err(),
        "no value is the beginning of another"
    );
    let mut long = bytes.clone();
    long.push(0);
    assert_eq!(decode(&Bytes::from(long)), Err(DecodeError::Trailing));
    let mut mutated = bytes;
    for (at, byte) in mutations {
        let at = at.index(mutated.len());
        mutated[at] = *byte;
        accepts_one_form(&mutated, &encode, &decode);
    }
}

fn accepts_one_form<T>(
    bytes: &[u8],
    encode: impl Fn(&T) -> Vec<u8>,
    decode: impl Fn(&Bytes) -> Result<T, DecodeError>,
) {
    if let Ok(value) = decode(&Bytes::copy_from_slice(bytes)) {
        assert_eq!(encode(&value), bytes);
    }
}

proptest! {
    #[test]
    fn clocks_have_one_form(
        value in clocks(), mutations in vec(any::<(Index, u8)>(), 0..4), cut in any::<Index>()
    ) {
        check(&value, Clock::encode, Clock::decode, &mutations, cut);
    }

    #[test]
    fn rows_have_one_form(
        value in rows(), mutations in vec(any::<(Index, u8)>(), 0..4), cut in any::<Index>()
    ) {
        check(&value, Row::encode, Row::decode, &mutations, cut);
    }

    #[test]
    fn events_have_one_form(
        value in events(), mutations in vec(any::<(Index, u8)>(), 0..4), cut in any::<Index>()
    ) {
        check(&value, Event::encode, Event::decode, &mutations, cut);
    }

    #[test]
    fn arbitrary_bytes_are_refused_or_in_the_one_form(
        // Small bytes are counts and tags that lead deep into a decoder.
        bytes in vec(prop_oneof![3 => 0u8..4, 1 => any::<u8>()], 0..80)
    ) {
        accepts_one_form(&bytes, Clock::encode, Clock::decode);
        accepts_one_form(&bytes, Row::encode, Row::decode);
        accepts_one_form(&bytes, Event::encode, Event::decode);
    }

    #[test]
    fn an_accepted_clock_from_outside_can_be_used(
        bytes in vec(prop_oneof![3 => 0u8..4, 1 => any::<u8>()], 0..80), other in clocks()
    ) {
        if let Ok(mut clock) = Clock::decode(&Bytes::from(bytes)) {
            let common = clock.intersection(&other);
            let rest = clock.minus(&other);
            prop_assert_eq!(common.len().saturating_add(rest.len()), clock.len());
            clock.join(&other);
            clock = clock.minus(&rest);
            prop_assert_eq!(clock, other);
        }
    }
}

#[test]
fn serde_reads_the_same_bytes_and_refuses_the_same() {
    let clock = Clock::from_iter([dot(1, 1), dot(2, 7)]);
    let read = |bytes: &[u8]| Clock::deserialize(BytesDeserializer::<SerdeError>::new(bytes));
    assert_eq!(read(&clock.encode()), Ok(clock));
    let refused = read(&[0, 0, 0]).unwrap_err();
    assert_eq!(refused.to_string(), DecodeError::Trailing.to_string());
}

#[test]
fn a_count_that_the_bytes_cannot_hold_is_refused_before_allocating() {
    let mut bytes = vec![1];
    bytes.extend_from_slice(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]);
    bytes.extend_from_slice(&[0; 64]);
    assert_eq!(
        Row::decode(&Bytes::from(bytes)),
        Err(DecodeError::Truncated)
    );
}

#[test]
fn a_row_of_another_format_version_says_so() {
    assert_eq!(
        Row::decode(&Bytes::from_static(&[2, 0, 0, 0])),
        Err(DecodeError::Version(2))
    );
}

#[test]
fn an_overlong_number_is_refused() {
    // Zero spelled in two bytes, then in place of the second map's count.
    for bytes in [&[0x80, 0x00, 0x00][..], &[0x00, 0x80, 0x00]] {
        let decoded = Clock::decode(&Bytes::copy_from_slice(bytes));
        assert_eq!(decoded, Err(DecodeError::NotCanonical));
    }
}

#[test]
fn a_clock_in_any_other_form_is_refused() {
    let prefix = |actor: u8, counter: u8| [0, 0, 0, 0, 0, 0, 0, actor, counter];
    let beyond = |actor: u8, spans: &[u8]| {
        let mut out = vec![0, 0, 0, 0, 0, 0, 0, actor, (spans.len() / 2) as u8];
        out.extend_from_slice(spans);
        out
    };
    let decode = |prefixes: &[[u8; 9]], ranges: &[Vec<u8>]| {
        let mut out = vec![prefixes.len() as u8];
        out.extend(prefixes.concat());
        out.push(ranges.len() as u8);
        out.extend(ranges.concat());
        Clock::decode(&Bytes::from(out))
    };
    assert!(decode(&[prefix(1, 3), prefix(2, 1)], &[beyond(1, &[5, 0, 2, 0])]).is_ok());
    for (prefixes, ranges) in [
        (vec![prefix(1, 0)], vec![]),
        (vec![prefix(1, 3), prefix(1, 4)], vec![]),
        (vec![prefix(2, 3), prefix(1, 4)], vec![]),
        // Touching the prefix, inside it, from zero, or from one: then there would be a prefix.
        (vec![prefix(1, 3)], vec![beyond(1, &[4, 0])]),
        (vec![prefix(1, 3)], vec![beyond(1, &[2, 9])]),
        (vec![], vec![beyond(1, &[0, 1])]),
        (vec![], vec![beyond(1, &[1, 1])]),
        // Ranges that touch or overlap, no range, actors twice or out of order.
        (vec![], vec![beyond(1, &[5, 0, 1, 0])]),
        (vec![], vec![beyond(1, &[5, 0, 0, 4])]),
        (vec![], vec![beyond(1, &[])]),
        (vec![], vec![beyond(1, &[5, 0]), beyond(1, &[9, 0])]),
        (vec![], vec![beyond(2, &[5, 0]), beyond(1, &[9, 0])]),
    ] {
        let decoded = decode(&prefixes, &ranges);
        assert!(
            decoded.is_err(),
            "{prefixes:?} and {ranges:?} are {decoded:?}"
        );
    }
}

#[test]
fn cells_out_of_order_twice_or_of_no_event_are_refused() {
    // A mark under a stamp and a request of zeroes.
    let cell = |actor: u8, counter: u8| {
        let mut out = vec![0, 0, 0, 0, 0, 0, 0, actor, counter, 2];
        out.extend_from_slice(&[0; 24]);
        out
    };
    let decode = |cells: [Vec<u8>; 2]| {
        let mut out = vec![1, 2];
        out.extend(cells.concat());
        out.extend_from_slice(&[0, 0]);
        Row::decode(&Bytes::from(out))
    };
    assert!(decode([cell(1, 2), cell(2, 1)]).is_ok());
    for cells in [
        [cell(1, 2), cell(1, 2)],
        [cell(1, 2), cell(1, 1)],
        [cell(2, 1), cell(1, 2)],
        [cell(1, 0), cell(1, 2)],
    ] {
        assert_eq!(decode(cells), Err(DecodeError::NotCanonical));
    }
}

#[test]
fn a_row_that_shows_what_it_knows_to_be_superseded_is_refused() {
    let mut row = Row::new();
    row.take(
        &Clock::new(),
        &crate::event(dot(1, 1), Some(Body::Mark), []),
    );
    let mut bytes = row.encode();
    let past = bytes.len() - Clock::new().encode().len();
    bytes.truncate(past);
    bytes.extend(Clock::from_iter([dot(1, 1)]).encode());
    assert_eq!(
        Row::decode(&Bytes::from(bytes)),
        Err(DecodeError::NotCanonical)
    );
}

#[test]
fn values_of_a_decoded_row_share_its_bytes() {
    let mut row = Row::new();
    row.take(
        &Clock::new(),
        &crate::event(dot(1, 1), Some(crate::value("shared")), []),
    );
    let bytes = Bytes::from(row.encode());
    let decoded = Row::decode(&bytes).unwrap();
    let Body::Value(value) = &decoded.cells()[0].1.body else {
        panic!("a value was written");
    };
    assert!(bytes.as_ptr_range().contains(&value.as_ptr()));
}
