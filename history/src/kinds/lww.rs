//! Last writer wins: one value, that of the highest stamp.
//!
//! Stamps are given by nodes whose clocks differ, and a concurrent write with a higher one wins, also over
//! one that was asked later by real time. So of two writes nothing is claimed unless the header bounds how
//! far clocks are apart, and then only where one was asked later than that after the other was over. What
//! holds always: while nobody deletes, an acknowledged write leaves *something*.

use super::{Finding, Sight};
use crate::op::{Action, Found};

/// Stamps count milliseconds.
const GRAIN_US: u64 = 1_000;

/// Nothing is shown where something must be; or a value that a later write must have beaten.
pub(crate) fn missing(sight: &Sight<'_>) -> Vec<Finding> {
    let Found::Values(shown) = sight.found else {
        return Vec::new();
    };
    let is_put = |action: &Action| matches!(action, Action::Put { .. });
    let mut known = sight.known().filter(|write| is_put(&write.action));
    let Some(value) = shown.first() else {
        let deletes = &sight.writes.deletes;
        let missing = known.find(|write| !sight.any_after(Some(deletes), write));
        let finding = missing.map(|write| Finding {
            ops: vec![write.number],
            sentence: "shows nothing, and nobody can have deleted it".into(),
        });
        return finding.into_iter().collect();
    };
    let put = sight.writes.puts.get(value);
    let put = put.and_then(|at| sight.writes.all.get(*at));
    let (Some(put), Some(skew)) = (put, sight.header.clock_skew_us) else {
        return Vec::new();
    };
    let Some(over) = put.over() else {
        return Vec::new();
    };
    let from = over.saturating_add(skew).saturating_add(GRAIN_US);
    // A delete takes the later one, and leaves an earlier one that it has not seen.
    let may_be_deleted = |write| sight.any_after(Some(&sight.writes.deletes), write);
    let later = known.find(|write| write.start > from && !may_be_deleted(write));
    let finding = later.map(|later| Finding {
        ops: vec![put.number, later.number],
        sentence: format!("shows {value:?}, which a later write must have beaten"),
    });
    finding.into_iter().collect()
}
