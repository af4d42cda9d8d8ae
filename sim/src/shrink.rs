//! From a run that fails to the smallest one that fails by the same checker.
//!
//! ```text
//!   shorter ─> fewer faults (halves, quarters, … single ones) ─> fewer clients, partitions, shards, nodes,
//!   no layouts ─> and again, until nothing gets smaller or the runs are used up
//! ```
//!
//! A fault that is left out changes no draw of those that remain; whatever else is made smaller may change
//! everything, so it is kept only if the run still fails. Source of the search over faults: Zeller and
//! Hildebrandt, *Simplifying and Isolating Failure-Inducing Input* (2002), without its second half: what is
//! left need not be tried alone.

use dunlin_ring::RingError;

use crate::check::{Checker, Violation};
use crate::fault_set::FaultSet;
use crate::overrides::{Case, Overrides};
use crate::run::{Verdict, run};

/// A run gets no shorter than this by shrinking.
const RUN_MS_MIN: u64 = 100;

/// What is left of a run that fails.
#[derive(Clone, Debug)]
pub struct Shrunk {
    /// The smallest case that was found.
    pub case: Case,
    /// What does not hold in it.
    pub violation: Violation,
    /// How many runs it took.
    pub runs: u64,
}

/// Makes a failing case smaller, within so many runs. `told` hears of every one that still fails. `None` if
/// the case does not fail.
///
/// # Errors
/// [`RingError`] if the case makes no cluster.
pub fn shrink(
    case: &Case,
    runs_max: u64,
    told: impl FnMut(&Case),
) -> Result<Option<Shrunk>, RingError> {
    let verdict = run(case.seed, &case.overrides, false)?;
    let Some(violation) = verdict.violations.first().cloned() else {
        return Ok(None);
    };
    let mut search = Search {
        checker: violation.checker,
        best: case.clone(),
        verdict,
        violation,
        runs: 1,
        runs_max,
        told,
    };
    while search.round() {}
    Ok(Some(Shrunk {
        case: search.best,
        violation: search.violation,
        runs: search.runs,
    }))
}

struct Search<T> {
    checker: Checker,
    best: Case,
    /// What became of the best one.
    verdict: Verdict,
    violation: Violation,
    runs: u64,
    runs_max: u64,
    told: T,
}

impl<T: FnMut(&Case)> Search<T> {
    /// Whether anything got smaller, and there are runs left to go on with.
    fn round(&mut self) -> bool {
        let before = self.best.to_string();
        self.shorten();
        self.leave_out_faults();
        self.make_smaller();
        self.best.to_string() != before && self.runs < self.runs_max
    }

    /// Whether it fails by the same checker; then it is the best one.
    fn fails(&mut self, change: impl FnOnce(&mut Overrides)) -> bool {
        if self.runs >= self.runs_max {
            return false;
        }
        let mut case = self.best.clone();
        change(&mut case.overrides);
        if case.to_string() == self.best.to_string() {
            return false;
        }
        self.runs += 1;
        // What makes no cluster does not fail.
        let Ok(verdict) = run(case.seed, &case.overrides, false) else {
            return false;
        };
        let mut same = verdict.violations.iter();
        let Some(violation) = same.find(|found| found.checker == self.checker) else {
            return false;
        };
        self.violation = violation.clone();
        (self.told)(&case);
        self.best = case;
        self.verdict = verdict;
        true
    }

    fn shorten(&mut self) {
        for (part, of) in [(1, 2), (3, 4), (7, 8)] {
            loop {
                let wanted = self.best.overrides.run_ms;
                let shorter = wanted.unwrap_or(self.verdict.options.run_ms) * part / of;
                let is_short = shorter < RUN_MS_MIN;
                if is_short || !self.fails(|overrides| overrides.run_ms = Some(shorter)) {
                    break;
                }
            }
        }
    }

    fn leave_out_faults(&mut self) {
        let mut kept = self.kept();
        let mut chunk = kept.len();
        while chunk > 0 {
            let mut at = 0;
            while at < kept.len() {
                let end = (at + chunk).min(kept.len());
                let fewer = [&kept[..at], &kept[end..]].concat();
                let set: FaultSet = fewer.iter().copied().collect();
                let left_out = self.fails(|overrides| {
                    overrides.without = None;
                    overrides.only_faults = Some(set);
                });
                match left_out {
                    true => kept = fewer,
                    false => at = end,
                }
            }
            chunk /= 2;
        }
    }

    /// The faults that happen in the best case.
    fn kept(&self) -> Vec<u64> {
        let happens = |fault: &u64| self.best.overrides.lets_happen(*fault);
        (0..self.verdict.faults).filter(happens).collect()
    }

    fn make_smaller(&mut self) {
        self.fails(|overrides| overrides.layouts = Some(false));
        // What was asked for, for a mutant may have made more of it.
        let (asked, drawn) = (&self.best.overrides, &self.verdict.options);
        let clients = asked.clients.unwrap_or(drawn.clients);
        let partitions = asked.partitions.unwrap_or(drawn.partitions);
        let (shards, nodes) = (
            asked.shards.unwrap_or(drawn.shards),
            asked.nodes.unwrap_or(drawn.nodes),
        );
        let nodes_min = usize::from(drawn.replicas);
        for fewer in [1, 2, clients / 2, clients * 3 / 4] {
            if (1..clients).contains(&fewer)
                && self.fails(|overrides| overrides.clients = Some(fewer))
            {
                break;
            }
        }
        for fewer in [1, 2, 4, 8, 16].into_iter().filter(|q| *q < partitions) {
            if self.fails(|overrides| overrides.partitions = Some(fewer)) {
                break;
            }
        }
        if shards > 1 {
            self.fails(|overrides| overrides.shards = Some(1));
        }
        for fewer in nodes_min..nodes {
            if self.fails(|overrides| overrides.nodes = Some(fewer)) {
                break;
            }
        }
    }
}
