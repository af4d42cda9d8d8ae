//! Sets, and flags as sets of one: adding wins over what is concurrent, and removing takes what it sees.
//!
//! An element that was added is there unless a removal can have come during or after the adding. One that was
//! removed is away unless an adding can: but only where the removal must have seen what was added, since it
//! removes what a quorum shows and no more.

use super::{Finding, Sight};
use crate::op::{Action, Found, Kind};
use crate::writes::{ON, Write};

/// Elements that are missing or back.
pub(crate) fn contradictions(sight: &Sight<'_>) -> Vec<Finding> {
    let on = [ON.to_owned()];
    let shown: std::collections::BTreeSet<&String> = match sight.found {
        Found::Elements(elements) => elements.iter().collect(),
        Found::Flag(true) => on.iter().collect(),
        Found::Flag(false) | Found::Values(_) | Found::Sum(_) | Found::Number(_) => {
            Default::default()
        }
    };
    let mut findings = Vec::new();
    for (element, adds) in &sight.writes.adds {
        match shown.contains(element) {
            true => findings.extend(back(sight, element, adds)),
            false => findings.extend(missing(sight, element, adds)),
        }
    }
    findings
}

fn missing(sight: &Sight<'_>, element: &String, adds: &Vec<usize>) -> Option<Finding> {
    let writes = sight.writes;
    let can_be_gone = |add: &Write| {
        sight.any_after(writes.removes.get(element), add)
            || sight.any_after(Some(&writes.deletes), add)
    };
    let mut known = writes.at(Some(adds));
    let (_, add) = known.find(|(at, add)| (sight.knows)(*at, add) && !can_be_gone(add))?;
    let what = name(sight.kind, element);
    Some(Finding {
        ops: vec![add.number],
        sentence: format!("does not show {what}, which nothing can have removed"),
    })
}

fn back(sight: &Sight<'_>, element: &String, adds: &Vec<usize>) -> Option<Finding> {
    let writes = sight.writes;
    let owners = sight.header.owners;
    let removes = writes.at(writes.removes.get(element));
    let mut removals = removes.chain(writes.at(Some(&writes.deletes)));
    let sees_all = |removal: &Write| {
        let mut adds = writes.at(Some(adds)).filter(|(_, a)| a.start <= sight.end);
        adds.all(|(_, add)| removal.must_see(add, owners))
    };
    let (_, removal) =
        removals.find(|(at, removal)| (sight.knows)(*at, removal) && sees_all(removal))?;
    let added = writes.at(Some(adds)).map(|(_, add)| add.number);
    let what = name(sight.kind, element);
    let how = match removal.action {
        Action::Delete { .. } => "deleted",
        _ => "removed",
    };
    Some(Finding {
        ops: added.chain([removal.number]).collect(),
        sentence: format!("shows {what}, which was {how} after it was last added"),
    })
}

fn name(kind: Kind, element: &str) -> String {
    match kind {
        Kind::Flag => "the flag on".into(),
        _ => format!("{element:?}"),
    }
}
