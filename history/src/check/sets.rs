//! Sets, in settled reads: an element that was added is there unless a removal can have come during or after
//! the adding; one that was removed is away unless an adding can, or the removal may have missed it.

use super::{Answered, Check, Checker, Tally};
use crate::kinds::elements;
use crate::op::Kind;

#[derive(Debug, Default)]
pub(crate) struct Sets;

impl Checker for Sets {
    fn read(&mut self, read: &Answered<'_>, tally: &mut Tally) {
        if !read.op.settled || read.kind != Kind::Set {
            return;
        }
        tally.looked += 1;
        let knows = |_, write: &_| read.follows(write);
        let findings = elements::contradictions(&read.sight(&knows));
        read.complain(Check::Sets, findings, tally);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::{Op, Outcome};
    use crate::testing::{add, caught, elements, holds, remove, settled, strict};

    fn removed(last: &[&str]) -> Vec<Op> {
        vec![
            add("k", &["x", "y"]),
            remove("k", &["x"]),
            add("k", &["z"]),
            settled("k", elements(last)),
        ]
    }

    #[test]
    fn what_was_added_is_there_and_what_was_removed_is_not() {
        holds(Kind::Set, removed(&["y", "z"]));
    }

    #[test]
    fn a_lost_element_is_caught() {
        caught(Check::Sets, Kind::Set, removed(&["z"]), &[1, 4]);
    }

    #[test]
    fn a_removed_element_that_is_back_is_caught_where_the_removal_must_have_seen_it() {
        let mut ops = removed(&["x", "y", "z"]);
        holds(Kind::Set, ops.clone());
        ops.iter_mut().for_each(strict);
        caught(Check::Sets, Kind::Set, ops, &[1, 2, 4]);
    }

    #[test]
    fn an_adding_of_unknown_outcome_may_come_at_any_later_time() {
        let mut ops = removed(&["x", "y", "z"]);
        ops.iter_mut().for_each(strict);
        ops.insert(1, add("k", &["x"]));
        ops[1].outcome = Outcome::Unknown;
        ops[1].strict = true;
        holds(Kind::Set, ops);
    }

    #[test]
    fn adding_wins_over_a_concurrent_removal() {
        let mut ops = vec![
            remove("k", &["x"]),
            add("k", &["x"]),
            settled("k", elements(&["x"])),
        ];
        ops.iter_mut().for_each(strict);
        holds(Kind::Set, ops.clone());
        // One that was over before can't have taken it.
        ops[2].outcome = Outcome::Read(elements(&[]));
        caught(Check::Sets, Kind::Set, ops, &[2, 3]);
    }
}
