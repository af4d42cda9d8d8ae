//! All settled reads of a key are equal, whichever node is asked.

use std::collections::BTreeMap;

use super::{Answered, Check, Checker, Tally, place};
use crate::kinds::Finding;
use crate::op::Found;
use crate::writes::{Number, Place};

#[derive(Debug, Default)]
pub(crate) struct Convergence {
    /// The first of each key.
    first: BTreeMap<Place, (Number, Found)>,
}

impl Checker for Convergence {
    fn read(&mut self, read: &Answered<'_>, tally: &mut Tally) {
        if !read.op.settled {
            return;
        }
        tally.looked += 1;
        let found = read.found.sorted();
        let first = self.first.entry(place(read));
        let (number, first) = first.or_insert_with(|| (read.number, found.clone()));
        if *first != found {
            let finding = Finding {
                ops: vec![*number],
                sentence: format!("shows {found:?}; another one {first:?}"),
            };
            read.complain(Check::Convergence, vec![finding], tally);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::{Kind, Op, Outcome, Replaces};
    use crate::testing::{caught, holds, put, read, settled, values};

    fn reads(second: &[&str]) -> Vec<Op> {
        let mut ops = vec![
            put("k", "a", Replaces::Read(Vec::new())),
            put("k", "b", Replaces::Read(Vec::new())),
            read("k", values(&["a"])),
            settled("k", values(&["a", "b"])),
            settled("k", values(second)),
        ];
        ops[1].outcome = Outcome::Unknown;
        ops
    }

    #[test]
    fn the_order_of_siblings_and_unsettled_reads_do_not_matter() {
        holds(Kind::Register, reads(&["b", "a"]));
    }

    #[test]
    fn a_node_that_shows_something_else_is_caught() {
        caught(Check::Convergence, Kind::Register, reads(&["a"]), &[4, 5]);
    }
}
