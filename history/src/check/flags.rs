//! Flags, in settled reads: one that was turned on is on unless turning off can have come during or after;
//! one that was turned off is off unless it was turned on again, or the off may have missed the on.

use super::{Answered, Check, Checker, Tally};
use crate::kinds::elements;
use crate::op::Kind;

#[derive(Debug, Default)]
pub(crate) struct Flags;

impl Checker for Flags {
    fn read(&mut self, read: &Answered<'_>, tally: &mut Tally) {
        if !read.op.settled || read.kind != Kind::Flag {
            return;
        }
        tally.looked += 1;
        let knows = |_, write: &_| read.follows(write);
        let findings = elements::contradictions(&read.sight(&knows));
        read.complain(Check::Flags, findings, tally);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::{Action, Found, Op};
    use crate::testing::{at, caught, holds, op, settled, strict};

    fn turned(actions: &[Action], last: bool) -> Vec<Op> {
        let mut ops: Vec<Op> = actions.iter().map(|a| op("k", a.clone())).collect();
        ops.push(settled("k", Found::Flag(last)));
        at(&mut ops);
        ops.iter_mut().for_each(strict);
        ops
    }

    #[test]
    fn the_last_of_on_and_off_holds() {
        holds(Kind::Flag, turned(&[Action::Disable, Action::Enable], true));
        holds(
            Kind::Flag,
            turned(&[Action::Enable, Action::Disable], false),
        );
    }

    #[test]
    fn a_lost_on_and_a_lost_off_are_caught() {
        let ops = turned(&[Action::Disable, Action::Enable], false);
        caught(Check::Flags, Kind::Flag, ops, &[2, 3]);
        let ops = turned(&[Action::Enable, Action::Disable], true);
        caught(Check::Flags, Kind::Flag, ops, &[1, 2, 3]);
    }

    #[test]
    fn of_concurrent_ones_on_wins() {
        let mut ops = turned(&[Action::Enable, Action::Disable], true);
        ops[1].start_us = ops[0].start_us;
        holds(Kind::Flag, ops);
    }
}
