//! Of registers: what was replaced or deleted with knowledge of it is not in the settled reads.
//!
//! Sets and flags have no contexts: what a removal must have seen is looked at with these kinds.

use super::{Answered, Check, Checker, Tally};
use crate::kinds::register;
use crate::op::Kind;

#[derive(Debug, Default)]
pub(crate) struct Resurrection;

impl Checker for Resurrection {
    fn read(&mut self, read: &Answered<'_>, tally: &mut Tally) {
        if !read.op.settled || read.kind != Kind::Register {
            return;
        }
        tally.looked += 1;
        let knows = |_, write: &_| read.follows(write);
        let findings = register::back(&read.sight(&knows));
        read.complain(Check::Resurrection, findings, tally);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::{Op, Outcome, Replaces};
    use crate::testing::{caught, delete, holds, put, settled, strict, values};

    fn deleted(last: &[&str]) -> Vec<Op> {
        vec![
            put("k", "a", Replaces::Read(Vec::new())),
            delete("k", Replaces::Read(vec!["a".into()])),
            settled("k", values(last)),
        ]
    }

    #[test]
    fn what_was_deleted_stays_so() {
        holds(Kind::Register, deleted(&[]));
    }

    #[test]
    fn a_deleted_value_that_is_back_is_caught() {
        caught(
            Check::Resurrection,
            Kind::Register,
            deleted(&["a"]),
            &[1, 2, 3],
        );
    }

    #[test]
    fn a_delete_that_nobody_acknowledged_may_not_have_been() {
        let mut ops = deleted(&["a"]);
        ops[1].outcome = Outcome::Unknown;
        holds(Kind::Register, ops);
    }

    #[test]
    fn a_value_that_was_sent_again_may_come_back_as_one_more_sibling() {
        let mut ops = deleted(&["a"]);
        ops[0].sent = 2;
        holds(Kind::Register, ops);
    }

    #[test]
    fn an_overwrite_takes_what_it_must_have_seen_and_nothing_is_claimed_of_others() {
        let mut ops = vec![
            put("k", "a", Replaces::Seen),
            put("k", "b", Replaces::Seen),
            settled("k", values(&["a", "b"])),
        ];
        holds(Kind::Register, ops.clone());
        ops.iter_mut().for_each(strict);
        caught(Check::Resurrection, Kind::Register, ops, &[1, 2, 3]);
    }
}
