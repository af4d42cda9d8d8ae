//! Max and min: any read shows a number that was observed; a settled one none less extreme than what was
//! acknowledged.

use super::{Answered, Check, Checker, Tally};
use crate::kinds::extreme;
use crate::op::Kind;

#[derive(Debug, Default)]
pub(crate) struct Extremes;

impl Checker for Extremes {
    fn read(&mut self, read: &Answered<'_>, tally: &mut Tally) {
        if !matches!(read.kind, Kind::Max | Kind::Min) {
            return;
        }
        tally.looked += 1;
        let knows = |_, write: &_| read.op.settled && read.follows(write);
        let sight = read.sight(&knows);
        let mut findings = extreme::unwritten(&sight);
        findings.extend(extreme::missing(&sight));
        read.complain(Check::Extremes, findings, tally);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::{Action, Found, Op, Outcome};
    use crate::testing::{caught, holds, op, settled};

    fn observed(last: Option<i64>) -> Vec<Op> {
        let mut ops = vec![
            op("k", Action::Observe(3)),
            op("k", Action::Observe(9)),
            op("k", Action::Observe(12)),
            op("k", Action::Observe(1)),
            settled("k", Found::Number(last)),
        ];
        ops[2].outcome = Outcome::Unknown;
        ops[3].outcome = Outcome::NotApplied;
        ops
    }

    #[test]
    fn the_extreme_of_what_was_acknowledged_or_a_further_one_is_shown() {
        holds(Kind::Max, observed(Some(9)));
        holds(Kind::Max, observed(Some(12)));
        holds(Kind::Min, observed(Some(3)));
    }

    #[test]
    fn a_lost_observation_is_caught() {
        caught(Check::Extremes, Kind::Max, observed(Some(3)), &[2, 5]);
        caught(Check::Extremes, Kind::Max, observed(None), &[1, 5]);
        caught(Check::Extremes, Kind::Min, observed(Some(9)), &[1, 5]);
    }

    #[test]
    fn a_number_that_nobody_observed_and_a_denied_one_are_caught() {
        caught(Check::Extremes, Kind::Max, observed(Some(99)), &[5]);
        caught(Check::Extremes, Kind::Min, observed(Some(1)), &[4, 5]);
    }
}
