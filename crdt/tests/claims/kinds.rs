//! What each kind's writes replace, and what its readers are shown.

use bytes::Bytes;
use dunlin_crdt::{
    ActorId, Body, Cell, Change, ChangeError, Clock, Dot, Event, FieldKind, Folded, Hlc, Kind,
    Millis, OpId, Replaces, Row, RowKind, fold,
};

use crate::{cell, dot, event, value};

const NOW: Millis = Millis(1_000);
const HERE: ActorId = ActorId(9);

/// A row of these cells, none of which saw another.
fn row(cells: impl IntoIterator<Item = (Dot, Body)>) -> Row {
    let mut row = Row::new();
    for (at, body) in cells {
        row.take(&Clock::new(), &event(at, Some(body), []));
    }
    row
}

fn of_cells(cells: impl IntoIterator<Item = (Dot, Cell)>) -> Row {
    let mut row = Row::new();
    for (dot, cell) in cells {
        let event = Event {
            dot,
            cell: Some(cell),
            replaces: Clock::new(),
        };
        row.take(&Clock::new(), &event);
    }
    row
}

fn count(plus: u64, minus: u64) -> Body {
    Body::Count { plus, minus }
}

fn written(text: &'static str) -> Change {
    Change::Value(Bytes::from_static(text.as_bytes()))
}

/// What a change leaves and replaces, as `HERE` writes it.
fn check(
    kind: RowKind,
    row: &Row,
    change: &Change,
    replaces: &Replaces,
    body: Option<Body>,
    replaced: &[Dot],
) {
    let effect = change.apply(kind, row, HERE, replaces).unwrap();
    assert_eq!(effect.body, body);
    assert_eq!(effect.replaces, replaced.iter().copied().collect::<Clock>());
}

#[test]
fn a_register_replaces_what_its_writer_has_read() {
    let held = row([(dot(1, 1), value("a")), (dot(2, 5), value("b"))]);
    let write = |replaces, replaced: &[Dot]| {
        let body = Some(value("c"));
        check(
            RowKind::Register,
            &held,
            &written("c"),
            &replaces,
            body,
            replaced,
        );
    };
    write(Replaces::Context(Clock::new()), &[]);
    write(
        Replaces::Context(Clock::from_iter([dot(1, 1)])),
        &[dot(1, 1)],
    );
    // What the writer read elsewhere is replaced too, once it arrives.
    let unseen = Clock::from_iter([dot(3, 3)]);
    write(Replaces::Context(unseen), &[dot(3, 3)]);
    write(Replaces::Seen, &[dot(1, 1), dot(2, 5)]);
}

#[test]
fn every_kind_but_registers_and_counters_replaces_what_it_sees_whatever_the_context() {
    let none = Replaces::Context(Clock::new());
    let dots = [dot(1, 1), dot(2, 5)];
    let of = |bodies: [Body; 2]| row(dots.into_iter().zip(bodies));
    let (marks, numbers) = (
        [Body::Mark, Body::Mark],
        [Body::Extreme(3), Body::Extreme(7)],
    );
    let lww = of([value("a"), value("b")]);
    check(
        RowKind::Lww,
        &lww,
        &written("c"),
        &none,
        Some(value("c")),
        &dots,
    );
    for kind in [RowKind::Flag, RowKind::Element] {
        check(
            kind,
            &of(marks.clone()),
            &Change::Mark,
            &none,
            Some(Body::Mark),
            &dots,
        );
    }
    for (kind, seen, left) in [
        (RowKind::Max, 5, 7),
        (RowKind::Max, 9, 9),
        (RowKind::Min, 5, 3),
        (RowKind::Min, -9, -9),
    ] {
        let body = Some(Body::Extreme(left));
        check(
            kind,
            &of(numbers.clone()),
            &Change::Observe(seen),
            &none,
            body,
            &dots,
        );
    }
}

#[test]
fn a_removal_of_any_kind_leaves_nothing_and_replaces_what_was_read() {
    for (kind, body) in [
        (RowKind::Register, value("a")),
        (RowKind::Lww, value("a")),
        (RowKind::Counter, count(3, 0)),
        (RowKind::Flag, Body::Mark),
        (RowKind::Max, Body::Extreme(1)),
        (RowKind::Min, Body::Extreme(1)),
        (RowKind::Element, Body::Mark),
    ] {
        let held = row([(dot(1, 1), body.clone()), (dot(2, 5), body)]);
        let read = Replaces::Context(Clock::from_iter([dot(2, 5)]));
        check(kind, &held, &Change::Remove, &read, None, &[dot(2, 5)]);
        check(
            kind,
            &held,
            &Change::Remove,
            &Replaces::Seen,
            None,
            &[dot(1, 1), dot(2, 5)],
        );
    }
}

#[test]
fn a_counter_folds_its_own_actors_cells_and_no_others() {
    let own = dot(HERE.0, 4);
    let held = row([
        (dot(1, 1), count(10, 1)),
        (own, count(5, 2)),
        (dot(20, 1), count(0, 7)),
    ]);
    let none = Replaces::Context(Clock::new());
    let step = |by, body| {
        check(
            RowKind::Counter,
            &held,
            &Change::Increment(by),
            &none,
            Some(body),
            &[own],
        );
    };
    step(3, count(8, 2));
    step(-3, count(5, 5));
    step(0, count(5, 2));
    step(i64::MIN + 3, count(5, 2 + (i64::MAX as u64 - 2)));
    let first = Some(count(1, 0));
    check(
        RowKind::Counter,
        &Row::new(),
        &Change::Increment(1),
        &none,
        first,
        &[],
    );
    assert_eq!(
        fold(RowKind::Counter, &held, NOW),
        Some(Folded::Sum(10 - 1 + 5 - 2 - 7))
    );
}

#[test]
fn a_step_that_does_not_fit_the_running_total_is_refused() {
    let most = i64::MAX as u64;
    let held = row([(dot(HERE.0, 1), count(most - 1, most))]);
    let step = |by| Change::Increment(by).apply(RowKind::Counter, &held, HERE, &Replaces::Seen);
    assert!(step(1).is_ok());
    for refused in [step(2), step(i64::MAX), step(-1), step(i64::MIN)] {
        assert_eq!(refused, Err(ChangeError::CounterOverflow));
    }
}

#[test]
fn a_sum_beyond_the_range_stops_at_its_end() {
    let most = i64::MAX as u64;
    for (plus, minus, shown) in [(most, 0, i64::MAX), (0, most, i64::MIN), (most, most, 0)] {
        let held = row((1..4).map(|actor| (dot(actor, 1), count(plus, minus))));
        assert_eq!(fold(RowKind::Counter, &held, NOW), Some(Folded::Sum(shown)));
    }
}

#[test]
fn a_later_total_of_one_actor_stands_for_the_earlier() {
    let held = row([
        (dot(1, 1), count(5, 0)),
        (dot(1, 3), count(9, 0)),
        (dot(2, 1), count(1, 0)),
    ]);
    assert_eq!(fold(RowKind::Counter, &held, NOW), Some(Folded::Sum(10)));
    let effect = Change::Increment(1).apply(RowKind::Counter, &held, ActorId(1), &Replaces::Seen);
    let effect = effect.unwrap();
    assert_eq!(effect.body, Some(count(10, 0)));
    assert_eq!(effect.replaces, Clock::from_iter([dot(1, 1), dot(1, 3)]));
}

#[test]
fn siblings_are_shown_in_order_of_their_dots() {
    let held = row([
        (dot(2, 1), value("b")),
        (dot(1, 9), value("a2")),
        (dot(1, 3), value("a1")),
    ]);
    let Some(Folded::Siblings(shown)) = fold(RowKind::Register, &held, NOW) else {
        panic!("a register with cells shows siblings");
    };
    assert_eq!(shown, ["a1", "a2", "b"]);
}

/// The same request, coordinated twice: by actor 1 and, later and retried, by actor 2.
fn retried() -> [(Dot, Cell); 2] {
    let of = |at: Dot, text, stamp| {
        let of_request = Cell {
            op: OpId(7, 7),
            stamp: Hlc::at(Millis(stamp)),
            ..cell(at, value(text))
        };
        (at, of_request)
    };
    [of(dot(1, 1), "first", 10), of(dot(2, 1), "second", 30)]
}

#[test]
fn a_retried_write_is_shown_once_with_its_lower_dot() {
    let held = of_cells(retried());
    let once = |text: &'static str| Some(Folded::Siblings(vec![Bytes::from(text)]));
    assert_eq!(fold(RowKind::Register, &held, NOW), once("first"));
    let other = of_cells(
        retried()
            .into_iter()
            .chain([(dot(3, 1), cell(dot(3, 1), value("other")))]),
    );
    let shown = fold(RowKind::Register, &other, NOW);
    let siblings = ["first", "other"].map(Bytes::from).to_vec();
    assert_eq!(shown, Some(Folded::Siblings(siblings)));
}

#[test]
fn a_retried_write_does_not_win_over_what_was_written_since_its_lower_dot() {
    let between = Cell {
        stamp: Hlc::at(Millis(20)),
        ..cell(dot(3, 1), value("between"))
    };
    let held = of_cells(retried().into_iter().chain([(dot(3, 1), between)]));
    let expected = Folded::Latest {
        value: Bytes::from("between"),
        stamp: Hlc::at(Millis(20)),
        losers: 1,
    };
    assert_eq!(fold(RowKind::Lww, &held, NOW), Some(expected));
}

#[test]
fn the_latest_stamp_wins_and_the_higher_dot_settles_ties() {
    let at = |dot: Dot, text, stamp| {
        let stamped = Cell {
            stamp: Hlc::at(Millis(stamp)),
            ..cell(dot, value(text))
        };
        (dot, stamped)
    };
    for (cells, winner) in [
        (
            [
                at(dot(1, 1), "a", 8),
                at(dot(2, 1), "b", 7),
                at(dot(3, 1), "c", 6),
            ],
            "a",
        ),
        (
            [
                at(dot(1, 1), "a", 7),
                at(dot(2, 1), "b", 8),
                at(dot(2, 2), "c", 8),
            ],
            "c",
        ),
        (
            [
                at(dot(1, 9), "a", 8),
                at(dot(2, 1), "b", 8),
                at(dot(1, 2), "c", 8),
            ],
            "b",
        ),
    ] {
        let expected = Folded::Latest {
            value: Bytes::from(winner),
            stamp: Hlc::at(Millis(8)),
            losers: 2,
        };
        assert_eq!(fold(RowKind::Lww, &of_cells(cells), NOW), Some(expected));
    }
}

#[test]
fn expired_cells_are_hidden_from_every_kind() {
    for (kind, body) in [
        (RowKind::Register, value("a")),
        (RowKind::Lww, value("a")),
        (RowKind::Counter, count(3, 0)),
        (RowKind::Flag, Body::Mark),
        (RowKind::Max, Body::Extreme(1)),
        (RowKind::Min, Body::Extreme(1)),
        (RowKind::Element, Body::Mark),
    ] {
        let ends = |at: Dot, ms| {
            let expiring = Cell {
                expires_at: Some(Millis(ms)),
                ..cell(at, body.clone())
            };
            (at, expiring)
        };
        let both = of_cells([ends(dot(1, 1), 1_000), ends(dot(2, 1), 1_001)]);
        let later = of_cells([ends(dot(2, 1), 1_001)]);
        assert!(fold(kind, &both, NOW).is_some());
        assert_eq!(fold(kind, &both, NOW), fold(kind, &later, NOW));
        assert_eq!(fold(kind, &both, Millis(1_001)), None);
    }
}

#[test]
fn a_change_that_does_not_fit_the_kind_is_refused() {
    let kinds = [
        RowKind::Register,
        RowKind::Lww,
        RowKind::Counter,
        RowKind::Flag,
        RowKind::Max,
        RowKind::Min,
        RowKind::Element,
    ];
    let changes = [
        written("v"),
        Change::Increment(1),
        Change::Mark,
        Change::Observe(1),
        Change::Remove,
    ];
    let fits = |kind, change: &Change| match change {
        Change::Value(_) => matches!(kind, RowKind::Register | RowKind::Lww),
        Change::Increment(_) => kind == RowKind::Counter,
        Change::Mark => matches!(kind, RowKind::Flag | RowKind::Element),
        Change::Observe(_) => matches!(kind, RowKind::Max | RowKind::Min),
        Change::Remove => true,
    };
    for kind in kinds {
        for change in &changes {
            let outcome = change.apply(kind, &Row::new(), HERE, &Replaces::Seen);
            match fits(kind, change) {
                true => assert!(outcome.is_ok(), "{change:?} fits {kind:?}"),
                false => assert_eq!(outcome, Err(ChangeError::WrongKind)),
            }
        }
    }
}

#[test]
fn cells_of_another_kind_show_nothing_of_themselves() {
    // A peer may send anything: a fold shows what fits and does not fail.
    let held = row([
        (dot(1, 1), value("a")),
        (dot(2, 1), count(2, 0)),
        (dot(3, 1), Body::Extreme(4)),
    ]);
    assert_eq!(fold(RowKind::Counter, &held, NOW), Some(Folded::Sum(2)));
    assert_eq!(fold(RowKind::Max, &held, NOW), Some(Folded::Extreme(4)));
    let marks = row([(dot(1, 1), Body::Mark)]);
    for kind in [RowKind::Register, RowKind::Lww, RowKind::Max, RowKind::Min] {
        assert_eq!(fold(kind, &marks, NOW), None);
    }
}

/// Two owners change one row at a time when neither knows of the other's change.
fn concurrently(kind: RowKind, one: &Change, other: &Change) -> Option<Folded> {
    let (start, clock) = (
        row([(dot(1, 1), Body::Mark)]),
        Clock::from_iter([dot(1, 1)]),
    );
    let mut merged = (start.clone(), clock.clone());
    for (at, change) in [(dot(2, 1), one), (dot(3, 1), other)] {
        let effect = change
            .apply(kind, &start, at.actor, &Replaces::Seen)
            .unwrap();
        let event = Event {
            dot: at,
            cell: effect.body.map(|body| cell(at, body)),
            replaces: effect.replaces,
        };
        let (mut changed, mut theirs) = (start.clone(), clock.clone());
        changed.take(&theirs, &event);
        theirs.add(at);
        merged.0.join(&merged.1, &changed, &theirs);
        merged.1.join(&theirs);
    }
    fold(kind, &merged.0, NOW)
}

#[test]
fn an_enable_or_an_add_wins_over_a_concurrent_removal() {
    for kind in [RowKind::Flag, RowKind::Element] {
        assert_eq!(
            concurrently(kind, &Change::Mark, &Change::Remove),
            Some(Folded::Marked)
        );
        assert_eq!(
            concurrently(kind, &Change::Remove, &Change::Mark),
            Some(Folded::Marked)
        );
        assert_eq!(concurrently(kind, &Change::Remove, &Change::Remove), None);
    }
}

#[test]
fn names_of_kinds_come_back() {
    for kind in Kind::ALL {
        assert_eq!(kind.to_string().parse(), Ok(kind));
    }
    for kind in FieldKind::ALL {
        assert_eq!(kind.to_string().parse(), Ok(kind));
        assert_eq!(kind.kind().name(), kind.to_string());
    }
    let unknown = "gauge".parse::<Kind>().unwrap_err();
    assert!(unknown.contains("\"gauge\"") && unknown.contains("register, lww, counter"));
    assert!("max".parse::<FieldKind>().is_err());
}

#[test]
fn only_sets_and_maps_have_many_rows() {
    let many: Vec<_> = Kind::ALL
        .into_iter()
        .filter(|kind| kind.single_row().is_none())
        .collect();
    assert_eq!(many, [Kind::Set, Kind::Map]);
}
