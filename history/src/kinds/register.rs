//! Registers: every value that nothing has replaced.
//!
//! A put with a context replaces exactly the values that its client names. One that replaces what it sees may
//! have seen whatever was not yet to come when it was over. So a value may be gone if some such write can have
//! taken effect; and one that a write with a context replaced does not come back.
//!
//! Nothing is claimed of the return of a value that was sent more than once: its second attempt is a write of
//! its own, which nobody may have seen, and shows the value again.

use super::{Finding, Sight};
use crate::op::{Action, Found, Replaces};
use crate::writes::Write;

fn values<'a>(sight: &Sight<'a>) -> &'a [String] {
    match sight.found {
        Found::Values(values) => values,
        Found::Sum(_) | Found::Number(_) | Found::Elements(_) | Found::Flag(_) => &[],
    }
}

/// Values that it must know, does not show, and that nothing can have replaced.
pub(crate) fn missing(sight: &Sight<'_>) -> Vec<Finding> {
    let shown = values(sight);
    let mut findings = Vec::new();
    for write in sight.known() {
        let Action::Put { value, .. } = &write.action else {
            continue;
        };
        let replacers = sight.writes.at(sight.writes.replacers.get(value));
        let mut replacers = replacers.filter(|(_, w)| w.start <= sight.end);
        let is_there = shown.contains(value)
            || replacers.next().is_some()
            || sight.any_after(Some(&sight.writes.takers), write);
        if !is_there {
            findings.push(Finding {
                ops: vec![write.number],
                sentence: format!("does not show {value:?}, which nothing can have replaced"),
            });
        }
    }
    findings
}

/// Values that it shows though it must know that they were replaced.
pub(crate) fn back(sight: &Sight<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for value in values(sight) {
        let put = sight.writes.puts.get(value);
        let Some(put) = put.and_then(|at| sight.writes.all.get(*at)) else {
            continue;
        };
        if put.sent > 1 {
            continue;
        }
        let mut replacers = sight.known_at(sight.writes.replacers.get(value));
        let mut takers = sight.known_at(Some(&sight.writes.takers));
        let must_have_seen = |taker: &&Write| taker.must_see(put, sight.header.owners);
        if let Some(replacer) = replacers.next().or_else(|| takers.find(must_have_seen)) {
            let what = match &replacer.action {
                Action::Delete { .. } => "deleted",
                _ => "replaced",
            };
            findings.push(Finding {
                ops: vec![put.number, replacer.number],
                sentence: format!("shows {value:?}, which was {what}{}", by(replacer)),
            });
        }
    }
    findings
}

fn by(write: &Write) -> String {
    match &write.action {
        Action::Put {
            value,
            replaces: Replaces::Read(_),
        } => format!(" by {value:?}, whose writer had read it"),
        Action::Put { value, .. } => format!(" by {value:?}"),
        _ => String::new(),
    }
}
