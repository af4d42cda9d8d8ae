//! Counters: a settled read is the sum of the acknowledged steps, and of each other one once or not. Any
//! read is between what was taken off and what was put on before it ended.
//!
//! What a strict read must know is looked at under freshness.

use super::{Answered, Check, Checker, Tally};
use crate::kinds::counter;
use crate::op::Kind;

#[derive(Debug, Default)]
pub(crate) struct Counters;

impl Checker for Counters {
    fn read(&mut self, read: &Answered<'_>, tally: &mut Tally) {
        if read.kind != Kind::Counter {
            return;
        }
        tally.looked += 1;
        let knows = |_, write: &_| read.op.settled && read.follows(write);
        let findings = counter::out_of_bounds(&read.sight(&knows));
        read.complain(Check::Counters, findings, tally);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::{Action, Found, Op, Outcome, Replaces};
    use crate::testing::{caught, delete, holds, op, read, settled};

    fn counted(last: Op) -> Vec<Op> {
        let mut ops = vec![
            op("k", Action::Increment(5)),
            op("k", Action::Increment(-2)),
            op("k", Action::Increment(10)),
            op("k", Action::Increment(100)),
            last,
        ];
        ops[2].outcome = Outcome::Unknown;
        ops[3].outcome = Outcome::NotApplied;
        ops
    }

    #[test]
    fn a_step_of_unknown_outcome_counts_once_or_not() {
        for sum in [3, 13] {
            holds(Kind::Counter, counted(settled("k", Found::Sum(sum))));
        }
    }

    #[test]
    fn a_lost_step_and_a_denied_one_that_counts_and_one_that_counts_twice_are_caught() {
        for sum in [-2, 103, 23] {
            let ops = counted(settled("k", Found::Sum(sum)));
            caught(Check::Counters, Kind::Counter, ops, &[5]);
        }
    }

    #[test]
    fn any_read_is_within_what_was_asked_for() {
        for sum in [-2, 0, 15] {
            holds(Kind::Counter, counted(read("k", Found::Sum(sum))));
        }
        for sum in [-3, 16] {
            let ops = counted(read("k", Found::Sum(sum)));
            caught(Check::Counters, Kind::Counter, ops, &[5]);
        }
    }

    #[test]
    fn of_a_counter_that_was_deleted_nothing_is_claimed() {
        let mut ops = counted(settled("k", Found::Sum(0)));
        ops.insert(4, delete("k", Replaces::Seen));
        holds(Kind::Counter, ops);
    }
}
