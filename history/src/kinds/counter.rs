//! Counters: each acknowledged step counts, each other one once or not.
//!
//! Nothing is claimed once somebody may have deleted the counter: what an owner counts at that moment brings
//! its total back, as documented.

use super::{Finding, Sight};
use crate::op::{Action, Found};

/// The sum is less or more than the steps allow.
pub(crate) fn out_of_bounds(sight: &Sight<'_>) -> Vec<Finding> {
    let Found::Sum(sum) = sight.found else {
        return Vec::new();
    };
    let deletes = sight.writes.at(Some(&sight.writes.deletes));
    let mut deletes = deletes.filter(|(_, write)| write.start <= sight.end);
    if deletes.next().is_some() {
        return Vec::new();
    }
    // Wider than any sum of theirs.
    let (mut least, mut most) = (0_i128, 0_i128);
    for (at, write) in sight.writes.all.iter().enumerate() {
        let Action::Increment(by) = write.action else {
            continue;
        };
        if write.start > sight.end {
            continue;
        }
        let is_certain = (sight.knows)(at, write);
        least += i128::from(if is_certain { by } else { by.min(0) });
        most += i128::from(if is_certain { by } else { by.max(0) });
    }
    if (least..=most).contains(&i128::from(*sum)) {
        return Vec::new();
    }
    vec![Finding {
        ops: Vec::new(),
        sentence: match least == most {
            true => format!("shows {sum}; the steps are {least}"),
            false => format!("shows {sum}; the steps are between {least} and {most}"),
        },
    }]
}
