//! Clocks, rows, events and paths, as they are stored and sent.

use std::fmt::Debug;

use bytes::Bytes;
use dunlin_crdt::{Clock, DecodeError, Event, FieldPath, Kind, Millis, Row, fold};

/// What is accepted is in the one canonical form, and can be worked with: whatever somebody made up,
/// the merge leaves a row that can be stored and read again.
pub fn values(data: &[u8]) {
    let bytes = Bytes::copy_from_slice(data);
    if let Some(clock) = canonical(&bytes, Clock::decode, Clock::encode) {
        work_with_clock(&clock);
    }
    if let Some(row) = canonical(&bytes, Row::decode, Row::encode) {
        work_with_row(&row);
    }
    if let Some(event) = canonical(&bytes, Event::decode, Event::encode) {
        take(&event);
    }
    if let Ok(path) = FieldPath::parse_exact(&bytes) {
        assert_eq!(path.subkey(), bytes, "a path has one encoding");
    }
    if let Ok((path, element, _)) = FieldPath::parse(&bytes) {
        let again = match element {
            Some(element) => path.element(&element),
            None => path.subkey(),
        };
        assert_eq!(again, bytes, "a path has one encoding");
    }
}

fn canonical<T: PartialEq + Debug>(
    bytes: &Bytes,
    decode: impl Fn(&Bytes) -> Result<T, DecodeError>,
    encode: impl Fn(&T) -> Vec<u8>,
) -> Option<T> {
    let value = decode(bytes).ok()?;
    assert_eq!(encode(&value), *bytes, "there is one form");
    Some(value)
}

/// Takes a clock apart and puts it together again. Cost: its ranges, never its dots.
fn work_with_clock(clock: &Clock) {
    let half: Clock = {
        let mut half = Clock::new();
        for (actor, start, end) in clock.ranges_by_actor() {
            half.add_range(actor, start, start + (end - start) / 2);
        }
        half
    };
    assert!(half.is_subset(clock));
    assert_eq!(clock.intersection(&half), half);
    let rest = clock.minus(&half);
    assert!(rest.intersection(&half).is_empty());
    assert_eq!(rest.len().saturating_add(half.len()), clock.len());
    for (mut one, other) in [(rest.clone(), &half), (half.clone(), &rest)] {
        one.join(other);
        assert_eq!(one, *clock);
        assert_eq!(one.encode(), clock.encode());
    }
    for actor in clock.actors() {
        assert!(clock.contiguous(actor) <= clock.highest(actor));
    }
}

/// Joins and reads a row that anybody may have made up.
fn work_with_row(row: &Row) {
    for kind in Kind::ALL.into_iter().filter_map(Kind::single_row) {
        let shown = fold(kind, row, Millis(0));
        assert!(shown.is_none() || !row.cells().is_empty());
    }
    let clocks = [Clock::new(), row.dots(), row.past().clone()];
    for mine in &clocks {
        for theirs in &clocks {
            let mut joined = row.clone();
            joined.join(mine, row, theirs);
            assert_eq!(joined.cells(), row.cells(), "what both show stays");
            storable(&joined);
            let mut new = Row::new();
            new.join(mine, row, theirs);
            storable(&new);
            new.strip(theirs);
            storable(&new);
        }
    }
}

fn take(event: &Event) {
    let mut row = Row::new();
    for clock in [&Clock::new(), &event.replaces] {
        row.take(clock, event);
        storable(&row);
        let once = row.clone();
        row.take(clock, event);
        assert_eq!(row, once, "an event counts once");
    }
}

fn storable(row: &Row) {
    let bytes = Bytes::from(row.encode());
    assert_eq!(Row::decode(&bytes).as_ref(), Ok(row), "a row can be stored");
}
