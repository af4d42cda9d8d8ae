//! Max and min: the extreme of what was observed.

use super::{Finding, Sight};
use crate::op::{Action, Found, Kind};
use crate::writes::Write;

fn observed(write: &Write) -> Option<i64> {
    match write.action {
        Action::Observe(number) => Some(number),
        _ => None,
    }
}

/// Less extreme than what the read must know of. Nothing is claimed once somebody may have deleted it.
pub(crate) fn missing(sight: &Sight<'_>) -> Vec<Finding> {
    let Found::Number(shown) = sight.found else {
        return Vec::new();
    };
    let is_worse = |than: i64| match (shown, sight.kind) {
        (None, _) => true,
        (Some(shown), Kind::Min) => *shown > than,
        (Some(shown), _) => *shown < than,
    };
    let deletes = Some(&sight.writes.deletes);
    let mut known = sight.known().filter(|w| !sight.any_after(deletes, w));
    let beaten = known.find_map(|write| {
        let number = observed(write).filter(|number| is_worse(*number))?;
        Some((write, number))
    });
    let finding = beaten.map(|(write, number)| Finding {
        ops: vec![write.number],
        sentence: match shown {
            Some(shown) => format!("shows {shown}, and {number} was observed"),
            None => format!("shows nothing, and {number} was observed"),
        },
    });
    finding.into_iter().collect()
}

/// A number that nobody observed.
pub(crate) fn unwritten(sight: &Sight<'_>) -> Vec<Finding> {
    let Found::Number(Some(shown)) = sight.found else {
        return Vec::new();
    };
    if sight
        .possible()
        .any(|write| observed(write) == Some(*shown))
    {
        return Vec::new();
    }
    let denied = sight.writes.denied_numbers.get(shown);
    vec![Finding {
        ops: denied.into_iter().copied().collect(),
        sentence: match denied {
            Some(_) => format!("shows {shown}, whose observation was denied"),
            None => format!("shows {shown}, which nobody had observed"),
        },
    }]
}
