//! With R + W > N, and only owners counted, a read knows of each write that was acknowledged before it was
//! asked: their quorums have an owner in common.
//!
//! Not claimed: that a read knows what an earlier read has shown. A write that is still under way may be
//! seen, then not, then seen.

use super::{Answered, Check, Checker, Tally};
use crate::kinds::contradictions;
use crate::writes::Write;

#[derive(Debug, Default)]
pub(crate) struct Freshness;

impl Checker for Freshness {
    fn read(&mut self, read: &Answered<'_>, tally: &mut Tally) {
        let Some(r) = read.op.r.filter(|_| read.op.strict) else {
            return;
        };
        tally.looked += 1;
        let owners = read.header.owners;
        let knows = |_, write: &Write| {
            read.follows(write) && write.w.is_some_and(|w| r.saturating_add(w) > owners)
        };
        let findings = contradictions(&read.sight(&knows));
        read.complain(Check::Freshness, findings, tally);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::{Action, Found, Kind, Op, Replaces};
    use crate::testing::{add, at, caught, elements, holds, op, put, read, remove, strict, values};

    fn quorums(mut ops: Vec<Op>) -> Vec<Op> {
        at(&mut ops);
        ops.iter_mut().for_each(strict);
        ops
    }

    fn stale() -> Vec<Op> {
        quorums(vec![
            put("k", "a", Replaces::Read(Vec::new())),
            put("k", "b", Replaces::Read(vec!["a".into()])),
            read("k", values(&["a"])),
        ])
    }

    #[test]
    fn a_stale_read_of_strict_quorums_is_caught() {
        caught(Check::Freshness, Kind::Register, stale(), &[2, 3]);
        caught(Check::Freshness, Kind::Register, stale(), &[1, 2, 3]);
    }

    #[test]
    fn fallbacks_and_smaller_quorums_and_overlap_in_time_excuse_it() {
        let mut ops = stale();
        ops[2].r = Some(1);
        holds(Kind::Register, ops);
        let mut ops = stale();
        ops[1].strict = false;
        holds(Kind::Register, ops);
        let mut ops = stale();
        ops[2].start_us = ops[1].end_us;
        holds(Kind::Register, ops);
    }

    #[test]
    fn stale_reads_of_the_other_kinds_are_caught() {
        let ops = vec![op("k", Action::Increment(2)), read("k", Found::Sum(0))];
        caught(Check::Freshness, Kind::Counter, quorums(ops), &[2]);
        let ops = vec![op("k", Action::Observe(2)), read("k", Found::Number(None))];
        caught(Check::Freshness, Kind::Max, quorums(ops), &[1, 2]);
        let ops = vec![op("k", Action::Enable), read("k", Found::Flag(false))];
        caught(Check::Freshness, Kind::Flag, quorums(ops), &[1, 2]);
        let ops = vec![
            add("k", &["x"]),
            remove("k", &["x"]),
            read("k", elements(&["x"])),
        ];
        caught(Check::Freshness, Kind::Set, quorums(ops), &[1, 2, 3]);
        let ops = vec![put("k", "a", Replaces::Seen), read("k", values(&[]))];
        caught(Check::Freshness, Kind::Lww, quorums(ops), &[1, 2]);
    }
}
