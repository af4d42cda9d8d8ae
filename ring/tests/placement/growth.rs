//! A cluster of equal nodes that grows one by one, as far as a default Q is meant for, with a node
//! taken away at each size. All bounds here are literal: no allowance for rounding.

use dunlin_ring::{Layout, PartitionCount};
use proptest::prelude::*;

use crate::judge::{
    ZONES, any_members, crowded, equal_members, fair, loads, member, moved, worst_load,
};

const LOAD_BOUND: f64 = 1.10;
const MOVED_BOUND: f64 = 1.3;

/// What was moved, beside what had to be: the copies of the node that comes or goes, and those that
/// the change lets, and so makes, leave a zone which holds their partition twice.
#[derive(Debug)]
struct Moves {
    made: usize,
    needed: usize,
}

impl Moves {
    fn ratio(&self) -> f64 {
        self.made as f64 / self.needed as f64
    }

    /// What zones may add. Zones of any size are due fractions of a copy, which a change can round
    /// the other way; and a zone whose due reaches one copy of each partition has to enter just those
    /// that it was missing from, wherever the free copies are. The moves are still the fewest that
    /// such a table can be reached with.
    fn are_at_most_doubled_by_zones(&self) -> bool {
        self.made <= 2 * self.needed + ZONES
    }
}

fn leave(before: &Layout, position: usize) -> Moves {
    let mut members = before.members().to_vec();
    let gone = members.remove(position);
    let after = before
        .next(members, before.replicas())
        .expect("others are left");
    let owned = before.owned_by(gone.id).count();
    let unzoned = crowded(before, Some(gone.id)).saturating_sub(crowded(&after, None));
    Moves {
        made: moved(before, &after),
        needed: owned + unzoned,
    }
}

#[test]
fn loads_and_moves_stay_bounded_while_a_cluster_grows() {
    for zones in [1, 3, 5] {
        let (mut load, mut join, mut left) = (0.0f64, 0.0f64, 0.0f64);
        let mut layout =
            Layout::first(equal_members(1, zones), 3, PartitionCount::DEFAULT).expect("one node");
        for size in 2..=44 {
            let next = layout
                .next(equal_members(size, zones), 3)
                .expect("one more");
            load = load.max(worst_load(&next));
            if size > 3 {
                let newest = member(size - 1, 0, 1).id;
                join = join.max(moved(&layout, &next) as f64 / fair(&next)[&newest]);
                left = left.max(leave(&next, size / 2).ratio());
            }
            layout = next;
        }
        println!("{zones} zones, to 44 nodes: load {load:.3} join {join:.3} leave {left:.3}");
        assert!(load <= LOAD_BOUND, "{zones} zones: load {load}");
        assert!(join <= MOVED_BOUND, "{zones} zones: join {join}");
        assert!(left <= MOVED_BOUND, "{zones} zones: leave {left}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn no_node_goes_above_its_share_but_by_5_percent_and_rounding(
        members in any_members(40),
        replicas in 1..=5u8,
    ) {
        let layout = Layout::first(members, replicas, PartitionCount::DEFAULT).unwrap();
        let fair = fair(&layout);
        for (node, load) in loads(&layout) {
            let bound = (fair[&node] * 1.05 - 1e-6).ceil();
            prop_assert!(load as f64 <= bound, "{load} copies, fair is {}", fair[&node]);
        }
    }

    #[test]
    fn no_node_is_left_without_its_share(members in any_members(40)) {
        // A zone due more than one copy of each partition is relieved by at most 5 % of the others,
        // and not below one: with N = 3 that is from 1.095 copies to 1.
        let layout = Layout::first(members, 3, PartitionCount::DEFAULT).unwrap();
        let fair = fair(&layout);
        let load: usize = loads(&layout).values().sum();
        let due: f64 = fair.values().sum();
        prop_assert!((load as f64 - due).abs() < 1e-3, "{load} copies of {due}");
        for (node, load) in loads(&layout) {
            prop_assert!(load as f64 >= (fair[&node] * 0.91).floor(), "{load} of {}", fair[&node]);
        }
    }

    #[test]
    fn among_equals_exactly_the_copies_of_the_node_that_comes_or_goes_move(
        size in 5..=40usize,
        position in any::<prop::sample::Index>(),
    ) {
        let members = equal_members(size, 1);
        let whole = Layout::first(members.clone(), 3, PartitionCount::DEFAULT).unwrap();
        let position = position.index(members.len());
        let left = leave(&whole, position);
        prop_assert_eq!(left.made, left.needed);

        let mut fewer = whole.members().to_vec();
        let gone = fewer.remove(position);
        let before = Layout::first(fewer, 3, PartitionCount::DEFAULT).unwrap();
        let after = before.next(members, 3).unwrap();
        prop_assert_eq!(moved(&before, &after), after.owned_by(gone.id).count());
    }

    #[test]
    fn a_weighted_join_moves_what_the_new_node_takes_and_what_zones_ask_for(
        members in any_members(40),
        zone in 0..ZONES,
        capacity in 1..=8u32,
    ) {
        prop_assume!(members.len() >= 3);
        let before = Layout::first(members.clone(), 3, PartitionCount::DEFAULT).unwrap();
        let newest = member(members.len(), zone, capacity * 100);
        let after = before.next([members, vec![newest.clone()]].concat(), 3).unwrap();
        let unzoned = crowded(&before, None).saturating_sub(crowded(&after, None));
        let needed = after.owned_by(newest.id).count() + unzoned;
        let moves = Moves { made: moved(&before, &after), needed };
        prop_assert!(moves.are_at_most_doubled_by_zones(), "{moves:?}");
    }

    #[test]
    fn a_weighted_leave_moves_what_the_node_had_and_what_zones_ask_for(
        members in any_members(40),
        position in any::<prop::sample::Index>(),
    ) {
        prop_assume!(members.len() > 3);
        let before = Layout::first(members, 3, PartitionCount::DEFAULT).unwrap();
        let moves = leave(&before, position.index(before.members().len()));
        prop_assert!(moves.are_at_most_doubled_by_zones(), "{moves:?}");
    }
}
