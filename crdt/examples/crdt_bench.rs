//! What the operations of this crate cost, in nanoseconds each.
//!
//! ```text
//! cargo run --release -p dunlin-crdt --example crdt_bench
//! ```
//!
//! Each line is the median of several rounds on one thread. Unfit for: comparing machines, or anything
//! that a difference of a tenth decides.

#![expect(
    clippy::disallowed_methods,
    reason = "a benchmark reads the wall clock"
)]

use std::hint::black_box;
use std::time::Instant;

use bytes::Bytes;
use dunlin_crdt::{
    ActorId, Body, Cell, Clock, Dot, Event, Folded, Hlc, Millis, OpId, Row, RowKind, fold,
};

const ROUNDS: usize = 7;

fn main() {
    println!("{:<52} {:>14}", "operation", "ns");
    clocks();
    for cells in [1, 10, 1_000] {
        rows(cells);
    }
}

/// Prints what one call of `work` costs, when it is called `times` times on a fresh `setup()`.
fn report<S, T>(name: &str, times: u64, setup: impl Fn() -> S, work: impl Fn(&mut S, u64) -> T) {
    let mut rounds: Vec<u128> = (0..ROUNDS)
        .map(|_| {
            let mut state = setup();
            let start = Instant::now();
            for n in 0..times {
                black_box(work(&mut state, n));
            }
            start.elapsed().as_nanos() / u128::from(times)
        })
        .collect();
    rounds.sort_unstable();
    println!("{name:<52} {:>14}", rounds[ROUNDS / 2]);
}

/// One actor's odd dots from 3 on: nothing is contiguous.
fn gaps(actor: u64, ranges: u64) -> Clock {
    let mut clock = Clock::new();
    for n in 1..=ranges {
        clock.add(Dot::new(ActorId(actor), 2 * n + 1));
    }
    clock
}

fn actors(count: u64) -> Clock {
    let mut clock = Clock::new();
    for actor in 1..=count {
        clock.add_range(ActorId(actor), 1, 1_000);
    }
    clock
}

fn clocks() {
    report(
        "clock: add the next dot",
        100_000,
        Clock::new,
        |clock, n| clock.add(Dot::new(ActorId(1), n + 1)),
    );
    for ranges in [10u64, 1_000, 100_000] {
        let (odd, times) = (gaps(1, ranges), ranges.min(1_000));
        let from = 2 * (ranges - times) / 2;
        let odd = || odd.clone();
        report(
            &format!("clock: add beyond {ranges} ranges"),
            times,
            odd,
            |clock, n| clock.add(Dot::new(ActorId(1), 2 * (ranges + n) + 5)),
        );
        report(
            &format!("clock: fill one of {ranges} gaps, ascending"),
            times,
            odd,
            |clock, n| clock.add(Dot::new(ActorId(1), 2 * n + 2)),
        );
        report(
            &format!("clock: fill one of {ranges} gaps, in the middle"),
            times,
            odd,
            |clock, n| clock.add(Dot::new(ActorId(1), from + 2 * (n % times) + 2)),
        );
        let other = gaps(2, ranges);
        let full = odd();
        let mut nearly = odd();
        nearly.add(Dot::new(ActorId(1), ranges + ranges % 2));
        let few = 200_000 / ranges.max(200);
        report(
            &format!("clock: join {ranges} ranges of the same actor"),
            few,
            odd,
            |clock, _| clock.join(&nearly),
        );
        report(
            &format!("clock: join {ranges} ranges of another actor"),
            few,
            odd,
            |clock, _| clock.join(&other),
        );
        report(
            &format!("clock: {ranges} ranges minus nearly the same"),
            few,
            || (),
            |(), _| nearly.minus(&full),
        );
        report(
            &format!("clock: one dot minus {ranges} ranges"),
            few,
            || Clock::from_iter([Dot::new(ActorId(1), ranges)]),
            |one, _| one.minus(&full),
        );
        report(
            &format!("clock: encode {ranges} ranges"),
            few,
            || (),
            |(), _| full.encode(),
        );
        let bytes = Bytes::from(full.encode());
        report(
            &format!("clock: decode {ranges} ranges"),
            few,
            || (),
            |(), _| Clock::decode(&bytes),
        );
    }
    let thousand = actors(1_000);
    report(
        "clock: join 1000 actors, nothing new",
        200,
        || actors(1_000),
        |clock, _| clock.join(&thousand),
    );
    report(
        "clock: 1000 actors minus the same",
        200,
        || (),
        |(), _| thousand.minus(&thousand),
    );
}

fn event(actor: u64, counter: u64, replaces: Clock) -> Event {
    Event {
        dot: Dot::new(ActorId(actor), counter),
        cell: Some(Cell {
            stamp: Hlc::at(Millis(counter)),
            op: OpId(actor, counter),
            expires_at: None,
            body: Body::Value(Bytes::from_static(&[7; 100])),
        }),
        replaces,
    }
}

/// A row of so many concurrent cells of actors `from..`, and the clock of exactly those.
fn siblings(from: u64, cells: u64) -> (Row, Clock) {
    let (mut row, mut clock) = (Row::new(), actors(5));
    for actor in from..from + cells {
        row.take(&clock, &event(actor, 2_000, Clock::new()));
        clock.add(Dot::new(ActorId(actor), 2_000));
    }
    row.strip(&clock);
    (row, clock)
}

fn rows(cells: u64) {
    let (row, clock) = siblings(1_000, cells);
    let fresh = || row.clone();
    report(&format!("row of {cells}: clone"), 1_000, fresh, |row, _| {
        row.clone()
    });
    report(
        &format!("row of {cells}: clone and take a concurrent event"),
        1_000,
        fresh,
        |row, n| {
            let mut row = row.clone();
            row.take(&clock, &event(1, 5_000 + n, Clock::new()));
            row
        },
    );
    let all = row.dots();
    report(
        &format!("row of {cells}: clone and take an event that replaces all"),
        1_000,
        fresh,
        |row, n| {
            let mut row = row.clone();
            row.take(&clock, &event(1, 5_000 + n, all.clone()));
            row
        },
    );
    for (name, from) in [("the same row", 1_000), ("as many other cells", 500_000)] {
        let (other, theirs) = siblings(from, cells);
        report(
            &format!("row of {cells}: clone, join {name}, strip"),
            200,
            fresh,
            |row, _| {
                let mut row = row.clone();
                row.join(&clock, &other, &theirs);
                row.strip(&clock);
                row
            },
        );
    }
    report(&format!("row of {cells}: dots"), 1_000, fresh, |row, _| {
        row.dots()
    });
    report(
        &format!("row of {cells}: encode"),
        1_000,
        fresh,
        |row, _| row.encode(),
    );
    let bytes = Bytes::from(row.encode());
    report(&format!("row of {cells}: decode"), 1_000, fresh, |_, _| {
        Row::decode(&bytes)
    });
    report(
        &format!("row of {cells}: fold as a register"),
        200,
        fresh,
        |row, _| match fold(RowKind::Register, row, Millis(0)) {
            Some(Folded::Siblings(values)) => values.len(),
            _ => 0,
        },
    );
}
