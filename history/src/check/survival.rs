//! Of registers and lww: an acknowledged write is in the settled reads, unless another write can have
//! replaced it that saw it, or that was not over when it was asked.

use super::{Answered, Check, Checker, Tally};
use crate::kinds::{lww, register};
use crate::op::Kind;

#[derive(Debug, Default)]
pub(crate) struct Survival;

impl Checker for Survival {
    fn read(&mut self, read: &Answered<'_>, tally: &mut Tally) {
        if !read.op.settled || !matches!(read.kind, Kind::Register | Kind::Lww) {
            return;
        }
        tally.looked += 1;
        let knows = |_, write: &_| read.follows(write);
        let sight = read.sight(&knows);
        let findings = match read.kind {
            Kind::Lww => lww::missing(&sight),
            _ => register::missing(&sight),
        };
        read.complain(Check::Survival, findings, tally);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::{Found, Op, Replaces};
    use crate::testing::{caught, delete, holds, put, read, settled, values};

    fn seen(of: &[&str]) -> Replaces {
        Replaces::Read(of.iter().map(|value| (*value).to_owned()).collect())
    }

    fn registers(last: &[&str]) -> Vec<Op> {
        vec![
            put("k", "a", seen(&[])),
            put("k", "b", seen(&["a"])),
            put("k", "c", seen(&["a"])),
            settled("k", values(last)),
        ]
    }

    #[test]
    fn concurrent_values_survive_and_what_they_replaced_does_not_have_to() {
        holds(Kind::Register, registers(&["b", "c"]));
    }

    #[test]
    fn a_register_that_lost_a_sibling_is_caught() {
        caught(Check::Survival, Kind::Register, registers(&["b"]), &[3, 4]);
    }

    #[test]
    fn an_overwrite_may_have_replaced_what_was_there_but_not_what_came_after() {
        let ops = |last| {
            vec![
                put("k", "a", seen(&[])),
                put("k", "b", Replaces::Seen),
                put("k", "c", seen(&[])),
                settled("k", values(last)),
            ]
        };
        holds(Kind::Register, ops(&["b", "c"]));
        caught(Check::Survival, Kind::Register, ops(&["b"]), &[3, 4]);
    }

    #[test]
    fn an_overwrite_that_was_sent_twice_may_replace_what_came_after() {
        let mut ops = vec![
            put("k", "b", Replaces::Seen),
            put("k", "c", seen(&[])),
            settled("k", values(&["b"])),
        ];
        ops[0].sent = 2;
        holds(Kind::Register, ops);
    }

    #[test]
    fn a_read_that_is_not_settled_may_miss_it() {
        let mut ops = registers(&["b", "c"]);
        ops.insert(3, read("k", values(&["a"])));
        holds(Kind::Register, ops);
    }

    #[test]
    fn an_lww_shows_something_unless_it_was_deleted() {
        let put = || put("k", "a", Replaces::Seen);
        let nothing = || settled("k", Found::Values(Vec::new()));
        holds(
            Kind::Lww,
            vec![put(), delete("k", Replaces::Seen), nothing()],
        );
        caught(Check::Survival, Kind::Lww, vec![put(), nothing()], &[1, 2]);
    }

    #[test]
    fn an_lww_shows_the_later_of_two_that_clocks_tell_apart() {
        let mut ops = vec![
            put("k", "a", Replaces::Seen),
            put("k", "b", Replaces::Seen),
            settled("k", values(&["b"])),
        ];
        for op in &mut ops[1..] {
            op.start_us += 2_000_000;
            op.end_us += 2_000_000;
        }
        ops[2].start_us += 2_000_000;
        ops[2].end_us += 2_000_000;
        holds(Kind::Lww, ops.clone());
        ops[2].outcome = crate::op::Outcome::Read(values(&["a"]));
        caught(Check::Survival, Kind::Lww, ops.clone(), &[1, 2, 3]);
        // Sent again, it may have been stamped later than it was acknowledged.
        ops[0].sent = 2;
        holds(Kind::Lww, ops);
    }
}
