//! A clock is a set of dots: every operation agrees with a `BTreeSet` of them.

use std::collections::BTreeSet;

use bytes::Bytes;
use crdts::{CvRDT, ResetRemove, VClock};
use dunlin_crdt::{ActorId, Clock, DecodeError};
use proptest::collection::vec;
use proptest::prelude::{Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest};

use crate::dot;

type Model = BTreeSet<(u64, u64)>;

#[derive(Clone, Debug)]
enum Step {
    Add(u64, u64),
    AddRange(u64, u64, u64),
    Join(Vec<(u64, u64, u64)>),
    Minus(Vec<(u64, u64, u64)>),
    Intersect(Vec<(u64, u64, u64)>),
}

fn ranges() -> impl Strategy<Value = Vec<(u64, u64, u64)>> {
    vec((1u64..4, 0u64..24, 0u64..24), 0..8)
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (1u64..4, 0u64..24).prop_map(|(a, n)| Step::Add(a, n)),
        3 => (1u64..4, 0u64..24, 0u64..24).prop_map(|(a, s, e)| Step::AddRange(a, s, e)),
        2 => ranges().prop_map(Step::Join),
        2 => ranges().prop_map(Step::Minus),
        1 => ranges().prop_map(Step::Intersect),
    ];
    vec(step, 0..24)
}

fn both(ranges: &[(u64, u64, u64)]) -> (Clock, Model) {
    let (mut clock, mut model) = (Clock::new(), Model::new());
    for (actor, start, end) in ranges {
        clock.add_range(ActorId(*actor), *start, *end);
        model.extend((*start..=*end).filter(|n| *n > 0).map(|n| (*actor, n)));
    }
    (clock, model)
}

fn run(steps: &[Step]) -> (Clock, Model) {
    let (mut clock, mut model) = (Clock::new(), Model::new());
    for step in steps {
        match step {
            Step::Add(actor, counter) => {
                clock.add(dot(*actor, *counter));
                model.extend((*counter > 0).then_some((*actor, *counter)));
            }
            Step::AddRange(actor, start, end) => {
                clock.add_range(ActorId(*actor), *start, *end);
                model.extend((*start..=*end).filter(|n| *n > 0).map(|n| (*actor, n)));
            }
            Step::Join(other) => {
                let (other, of_model) = both(other);
                clock.join(&other);
                model.extend(of_model);
            }
            Step::Minus(other) => {
                let (other, of_model) = both(other);
                clock = clock.minus(&other);
                model.retain(|dot| !of_model.contains(dot));
            }
            Step::Intersect(other) => {
                let (other, of_model) = both(other);
                clock = clock.intersection(&other);
                model.retain(|dot| of_model.contains(dot));
            }
        }
    }
    (clock, model)
}

/// The maximal runs of consecutive counters.
fn runs(model: &Model) -> Vec<(u64, u64, u64)> {
    let mut runs: Vec<(u64, u64, u64)> = Vec::new();
    for (actor, n) in model {
        match runs.last_mut() {
            Some((of, _, end)) if of == actor && *end + 1 == *n => *end = *n,
            _ => runs.push((*actor, *n, *n)),
        }
    }
    runs
}

fn check(clock: &Clock, model: &Model) {
    let dots: Vec<_> = clock.dots().map(|d| (d.actor.0, d.counter)).collect();
    assert_eq!(dots, model.iter().copied().collect::<Vec<_>>());
    assert_eq!(clock.len(), model.len() as u64);
    assert_eq!(clock.is_empty(), model.is_empty());
    let ranges: Vec<_> = clock
        .ranges_by_actor()
        .map(|(actor, start, end)| (actor.0, start, end))
        .collect();
    assert_eq!(ranges, runs(model), "ranges are the maximal runs");
    let actors: BTreeSet<_> = model.iter().map(|(actor, _)| *actor).collect();
    assert!(clock.actors().map(|a| a.0).eq(actors));
    for actor in 0..5 {
        let own = || model.iter().filter(|(a, _)| *a == actor).map(|(_, n)| *n);
        let highest = own().max().unwrap_or(0);
        assert_eq!(clock.highest(ActorId(actor)), highest);
        let contiguous = own().zip(1..).take_while(|(n, at)| n == at).count() as u64;
        assert_eq!(clock.contiguous(ActorId(actor)), contiguous);
        for n in 0..26 {
            assert_eq!(clock.contains(&dot(actor, n)), model.contains(&(actor, n)));
        }
    }
    // The same set, built one dot after the other from the far end, has the same bytes.
    let rebuilt: Clock = model.iter().rev().map(|(a, n)| dot(*a, *n)).collect();
    assert_eq!(*clock, rebuilt);
    assert_eq!(clock.encode(), rebuilt.encode());
    let bytes = Bytes::from(clock.encode());
    assert_eq!(Clock::decode(&bytes).as_ref(), Ok(clock));
}

proptest! {
    #[test]
    fn every_operation_agrees_with_a_set_of_dots(steps in steps()) {
        let (clock, model) = run(&steps);
        check(&clock, &model);
    }

    #[test]
    fn subset_is_that_of_sets(left in steps(), right in ranges()) {
        let ((clock, model), (other, of_other)) = (run(&left), both(&right));
        prop_assert_eq!(clock.is_subset(&other), model.is_subset(&of_other));
        prop_assert_eq!(other.is_subset(&clock), of_other.is_subset(&model));
        prop_assert!(clock.intersection(&other).is_subset(&clock));
        let mut union = clock.clone();
        union.merge(other.clone());
        prop_assert!(clock.is_subset(&union) && other.is_subset(&union));
    }

    #[test]
    fn equal_sets_have_equal_bytes_in_whatever_order_they_were_built(
        ranges in ranges(), seed in any::<u64>()
    ) {
        let (clock, _) = both(&ranges);
        let mut shuffled = ranges;
        fastrand::Rng::with_seed(seed).shuffle(&mut shuffled);
        let (again, _) = both(&shuffled);
        prop_assert_eq!(clock.encode(), again.encode());
    }

    #[test]
    fn reset_remove_takes_out_what_the_vector_clock_covers(steps in steps(), upto in vec(0u64..24, 3)) {
        let (mut clock, mut model) = run(&steps);
        let prefix: VClock<ActorId> = VClock {
            dots: (1..).map(ActorId).zip(upto.iter().copied()).collect(),
        };
        clock.reset_remove(&prefix);
        model.retain(|(actor, n)| *n > prefix.get(&ActorId(*actor)));
        check(&clock, &model);
    }
}

#[test]
fn filling_the_last_gap_leaves_a_prefix_only() {
    let mut clock: Clock = (2..=100).step_by(2).map(|n| dot(1, n)).collect();
    assert_eq!(clock.contiguous(ActorId(1)), 0);
    for n in (1..100).step_by(2) {
        clock.add(dot(1, n));
    }
    let mut prefix = Clock::new();
    prefix.add_range(ActorId(1), 1, 100);
    assert_eq!(clock.encode(), prefix.encode());
}

#[test]
fn a_hundred_thousand_gaps_are_made_and_filled_in_moments() {
    // Quadratic behaviour would take minutes here.
    let last = 200_001;
    let mut clock: Clock = (3..=last).step_by(2).map(|n| dot(1, n)).collect();
    assert_eq!(clock.ranges_by_actor().count(), 100_000);
    let odd = clock.clone();
    for n in (2..=last).step_by(2) {
        clock.add(dot(1, n));
    }
    assert_eq!(clock.ranges_by_actor().count(), 1);
    assert_eq!(clock.minus(&odd).len(), 100_000);
    assert!(odd.is_subset(&clock));
}

#[test]
fn the_largest_counters_are_counters_like_others() {
    let last = u64::MAX;
    for (start, end) in [
        (1, last),
        (2, last),
        (last - 1, last),
        (last, last),
        (3, last - 1),
    ] {
        let mut clock = Clock::new();
        clock.add_range(ActorId(7), start, end);
        assert_eq!(clock.highest(ActorId(7)), end);
        assert_eq!(clock.len(), end - start + 1);
        assert_eq!(
            Clock::decode(&Bytes::from(clock.encode())),
            Ok(clock.clone())
        );
        clock.add_range(ActorId(7), 1, last);
        clock.add(dot(7, last));
        assert_eq!(
            clock.ranges_by_actor().collect::<Vec<_>>(),
            [(ActorId(7), 1, last)]
        );
        assert!(clock.minus(&clock).is_empty());
    }
}

#[test]
fn a_clock_of_more_dots_than_can_be_counted_says_as_many_as_can() {
    let mut clock = Clock::new();
    for actor in 1..4 {
        clock.add_range(ActorId(actor), 1, u64::MAX);
    }
    assert_eq!(clock.len(), u64::MAX);
}

#[test]
fn a_range_past_the_last_counter_is_refused() {
    // No prefix, one actor beyond: a range that starts at 2^64-1 and is two long.
    let mut bytes = vec![0, 1, 0, 0, 0, 0, 0, 0, 0, 7, 1];
    bytes.extend_from_slice(&[0xff; 9]);
    bytes.extend_from_slice(&[0x01, 0x01]);
    assert_eq!(
        Clock::decode(&Bytes::from(bytes)),
        Err(DecodeError::NotCanonical)
    );
}
