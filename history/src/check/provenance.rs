//! What is read was written: asked for before the read ended, and not denied. So of registers, lww, sets and
//! flags; numbers have checkers of their own. A value that is put twice is told here too, since it could not
//! be said which of the two is read.

use super::{Answered, Check, Checker, Tally, Violation};
use crate::kinds::unwritten;
use crate::op::Kind;
use crate::writes::Writes;

#[derive(Debug, Default)]
pub(crate) struct Provenance;

impl Provenance {
    /// Values that were put more than once.
    pub(crate) fn unique(writes: &Writes, tally: &mut Tally) {
        for (place, value, ops) in &writes.repeated {
            tally.violations.push(Violation {
                check: Check::Provenance,
                bucket: place.bucket.clone(),
                key: place.key.clone(),
                ops: ops.to_vec(),
                sentence: format!("{value:?} is put twice: this history can't be judged"),
            });
        }
    }
}

impl Checker for Provenance {
    fn read(&mut self, read: &Answered<'_>, tally: &mut Tally) {
        match read.kind {
            Kind::Register | Kind::Lww | Kind::Set | Kind::Flag => {}
            Kind::Counter | Kind::Max | Kind::Min => return,
        }
        tally.looked += 1;
        let findings = unwritten(&read.sight(&|_, _| false));
        read.complain(Check::Provenance, findings, tally);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::{Outcome, Replaces};
    use crate::testing::{add, caught, elements, holds, put, read, values};

    #[test]
    fn a_write_of_unknown_outcome_may_be_read() {
        let mut ops = vec![put("k", "a", Replaces::Seen), read("k", values(&["a"]))];
        ops[0].outcome = Outcome::Unknown;
        holds(Kind::Register, ops);
    }

    #[test]
    fn a_denied_write_that_is_read_is_caught() {
        let mut ops = vec![put("k", "a", Replaces::Seen), read("k", values(&["a"]))];
        ops[0].outcome = Outcome::NotApplied;
        caught(Check::Provenance, Kind::Lww, ops, &[1, 2]);
        let mut ops = vec![add("k", &["x"]), read("k", elements(&["x"]))];
        ops[0].outcome = Outcome::NotApplied;
        caught(Check::Provenance, Kind::Set, ops, &[1, 2]);
    }

    #[test]
    fn a_value_of_nobody_and_one_of_another_key_and_one_of_the_future_are_caught() {
        let ops = vec![put("other", "a", Replaces::Seen), read("k", values(&["a"]))];
        caught(Check::Provenance, Kind::Register, ops, &[2]);
        let ops = vec![read("k", values(&["a"])), put("k", "a", Replaces::Seen)];
        caught(Check::Provenance, Kind::Register, ops, &[1]);
    }

    #[test]
    fn an_answer_of_another_kind_is_caught() {
        caught(
            Check::Provenance,
            Kind::Set,
            vec![read("k", values(&["a"]))],
            &[1],
        );
    }

    #[test]
    fn a_value_that_is_put_twice_is_told() {
        let ops = vec![put("k", "a", Replaces::Seen), put("l", "a", Replaces::Seen)];
        caught(Check::Provenance, Kind::Register, ops, &[1, 2]);
    }
}
