//! Join is a lattice join: under clocks, on the rows of reachable histories.

use bytes::Bytes;
use dunlin_crdt::{Body, Clock, Dot, Event, Row};

use crate::schedule::{KINDS, Rule, Schedule};
use crate::{dot, event, value};

type Copy = (Row, Clock);

/// The join of two copies, as it would be stored: under both clocks.
fn join((row, mine): &Copy, (other, theirs): &Copy) -> Copy {
    let (mut row, mut clock) = (row.clone(), mine.clone());
    row.join(mine, other, theirs);
    clock.join(theirs);
    row.strip(&clock);
    let bytes = Bytes::from(row.encode());
    assert_eq!(
        Row::decode(&bytes).as_ref(),
        Ok(&row),
        "joins keep the invariants of rows"
    );
    (row, clock)
}

/// Calls `claim` with copies of one row that owners and hints hold somewhere in the middle of things.
fn for_reachable_copies(seeds: u64, claim: impl Fn(&Schedule, usize, &[Copy])) {
    for seed in 0..seeds {
        let mut schedule = Schedule::new(seed, Rule::Sound);
        for _ in 0..3 {
            for _ in 0..40 {
                assert_eq!(schedule.step(), Ok(()), "seed {seed}");
            }
            for row in 0..KINDS.len() {
                claim(&schedule, row, &schedule.copies(row));
            }
        }
    }
}

#[test]
fn join_is_commutative() {
    for_reachable_copies(40, |_, _, copies| {
        for a in copies {
            for b in copies {
                assert_eq!(join(a, b), join(b, a));
            }
        }
    });
}

#[test]
fn join_is_associative() {
    for_reachable_copies(12, |_, _, copies| {
        for a in copies {
            for b in copies {
                for c in copies {
                    assert_eq!(join(&join(a, b), c), join(a, &join(b, c)));
                }
            }
        }
    });
}

#[test]
fn join_is_idempotent() {
    for_reachable_copies(40, |_, _, copies| {
        for a in copies {
            assert_eq!(join(a, a), *a);
            for b in copies {
                let joined = join(a, b);
                assert_eq!(join(&joined, b), joined);
                assert_eq!(join(a, &joined), joined);
            }
        }
    });
}

#[test]
fn taking_an_event_is_a_join_with_its_one_cell() {
    for_reachable_copies(30, |schedule, row, copies| {
        for event in schedule.events_of(row) {
            for copy in copies {
                check_take(copy, &event);
            }
        }
    });
}

fn check_take((row, clock): &Copy, event: &Event) {
    let mut one = Row::new();
    let alone = Event {
        replaces: Clock::new(),
        ..event.clone()
    };
    one.take(&Clock::new(), &alone);
    one.strip(&Clock::from_iter([event.dot]));
    let mut context = event.replaces.clone();
    context.add(event.dot);

    let (mut taken, mut joined) = (row.clone(), row.clone());
    taken.take(clock, event);
    joined.join(clock, &one, &context);
    assert_eq!(taken, joined);
    let bytes = Bytes::from(taken.encode());
    assert_eq!(Row::decode(&bytes), Ok(taken));
}

#[test]
fn no_event_from_outside_breaks_a_row() {
    // Contexts that no honest writer sends: they name the event itself, others to come, or all.
    let mut all = Clock::new();
    all.add_range(dot(1, 1).actor, 1, u64::MAX);
    let contexts = [
        Clock::new(),
        Clock::from_iter([dot(1, 2)]),
        Clock::from_iter([dot(1, 3)]),
        all,
    ];
    for mine in [
        Clock::new(),
        Clock::from_iter([dot(1, 1)]),
        Clock::from_iter([dot(1, 2)]),
    ] {
        for first in &contexts {
            for second in &contexts {
                for body in [None, Some(Body::Mark)] {
                    let mut row = Row::new();
                    let of = |at: Dot, replaces: &Clock| {
                        event(at, body.clone(), replaces.dots().take(9))
                    };
                    check_take(&(row.clone(), mine.clone()), &of(dot(1, 2), first));
                    row.take(&mine, &of(dot(1, 2), first));
                    check_take(&(row.clone(), mine.clone()), &of(dot(1, 2), second));
                    check_take(&(row, mine.clone()), &of(dot(1, 3), second));
                }
            }
        }
    }
}

#[test]
fn a_write_whose_context_names_itself_is_kept() {
    let (mut row, mut clock) = (Row::new(), Clock::new());
    let write = event(dot(1, 1), Some(value("mine")), [dot(1, 1)]);
    row.take(&clock, &write);
    clock.add(write.dot);
    row.take(&clock, &write);
    row.strip(&clock);
    assert!(row.cell(&write.dot).is_some());
    assert!(row.past().is_empty());
}

#[test]
fn an_overwrite_that_arrives_first_hides_what_it_replaced() {
    let (old, new) = (
        event(dot(1, 1), Some(value("old")), []),
        event(dot(2, 1), Some(value("new")), [dot(1, 1)]),
    );
    let (mut row, mut clock) = (Row::new(), Clock::new());
    for event in [&new, &old, &new] {
        row.take(&clock, event);
        clock.add(event.dot);
        row.strip(&clock);
        assert_eq!(row.dots(), Clock::from_iter([new.dot]));
    }
    assert!(row.past().is_empty());
}

/// One owner removes a value; the other learns so from the row alone, of which no dot is new to it; then
/// the first forgets the removal. Whoever repairs by clocks alone leaves them apart for ever.
#[test]
fn copies_under_equal_clocks_can_differ_in_what_only_a_past_knows() {
    let (write, removal) = (
        event(dot(1, 1), Some(value("v")), []),
        event(dot(1, 2), None, [dot(1, 1)]),
    );
    let clock = Clock::from_iter([write.dot]);
    let mut before = Row::new();
    before.take(&Clock::new(), &write);

    let (mut remover, mut remover_clock) = (before.clone(), clock.clone());
    remover.take(&remover_clock, &removal);
    remover_clock.add(removal.dot);
    remover.strip(&remover_clock);
    assert!(remover.is_empty());

    let mut other = before.clone();
    other.join(&clock, &remover, &remover_clock);
    other.strip(&clock);
    assert_eq!(
        (other.cells().len(), other.past()),
        (0, &Clock::from_iter([removal.dot]))
    );

    // The remover is back at `before`, under the very clock that the other has.
    let mut restored = before;
    restored.join(&clock, &other, &clock);
    restored.strip(&clock);
    assert_eq!(
        restored, other,
        "a row with a past is to be repaired, whatever the clocks say"
    );
}

#[test]
fn an_expired_cell_that_was_dropped_counts_as_removed() {
    let mut write = event(dot(1, 1), Some(value("v")), []);
    if let Some(cell) = &mut write.cell {
        cell.expires_at = Some(dunlin_crdt::Millis(10));
    }
    let (mut dropped, clock) = (Row::new(), Clock::from_iter([write.dot]));
    dropped.take(&Clock::new(), &write);
    let mut kept = dropped.clone();
    dropped.drop_expired(dunlin_crdt::Millis(9));
    assert_eq!(dropped, kept);
    dropped.drop_expired(dunlin_crdt::Millis(10));
    dropped.take(&clock, &write);
    assert!(dropped.is_empty());
    kept.join(&clock, &dropped, &clock);
    assert!(kept.is_empty());
}
