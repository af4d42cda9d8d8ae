//! Throughput, latency and failures over time, of each group of clients.

use std::collections::BTreeMap;
use std::time::Duration;

use dunlin_history::{Action, Outcome};
use serde::Serialize;

use super::recorder::Ended;
use crate::histogram::Histogram;

/// How long one step of the timeline is.
pub(crate) const STEP: Duration = Duration::from_millis(500);

/// The steps of a run.
#[derive(Debug)]
pub(crate) struct Timeline {
    groups: usize,
    /// By step, then by group.
    steps: BTreeMap<u64, Vec<Cell>>,
    errors: BTreeMap<&'static str, u64>,
}

#[derive(Clone, Debug, Default)]
struct Cell {
    reads: Histogram,
    writes: Histogram,
    refused: u64,
    unknown: u64,
    siblings: u64,
}

/// One step of one group, as the report has it. Latencies in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Point {
    /// The middle of the step, from the start.
    pub(crate) at_ms: u64,
    pub(crate) group: usize,
    pub(crate) reads: u64,
    pub(crate) writes: u64,
    /// Nothing was written, or read.
    pub(crate) refused: u64,
    /// It may have been applied.
    pub(crate) unknown: u64,
    pub(crate) read_p50: u64,
    pub(crate) read_p99: u64,
    pub(crate) write_p50: u64,
    pub(crate) write_p99: u64,
    pub(crate) max: u64,
    /// Values beside the first, of registers that were read.
    pub(crate) siblings: u64,
}

/// A stretch of a run, all groups together. Latencies in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Total {
    pub(crate) done: u64,
    pub(crate) refused: u64,
    pub(crate) unknown: u64,
    pub(crate) p50: u64,
    pub(crate) p90: u64,
    pub(crate) p99: u64,
    pub(crate) p999: u64,
    pub(crate) max: u64,
}

impl Timeline {
    pub(crate) fn new(groups: usize) -> Self {
        Self {
            groups,
            steps: BTreeMap::new(),
            errors: BTreeMap::new(),
        }
    }

    /// Enters an operation where it was due.
    pub(crate) fn add(&mut self, ended: &Ended) {
        if ended.op.settled {
            return;
        }
        let latency = u64::try_from(ended.latency.as_micros()).unwrap_or(u64::MAX);
        let due_us = ended.op.end_us.saturating_sub(latency);
        let step = due_us / STEP.as_micros() as u64;
        let groups = self.groups;
        let cells = self
            .steps
            .entry(step)
            .or_insert_with(|| vec![Cell::default(); groups]);
        let Some(cell) = cells.get_mut(ended.group) else {
            return;
        };
        if let Some(error) = ended.error {
            *self.errors.entry(error).or_default() += 1;
        }
        match (&ended.op.outcome, &ended.op.action) {
            (Outcome::NotApplied, _) => cell.refused += 1,
            (Outcome::Unknown, _) => cell.unknown += 1,
            (Outcome::Read(found), _) => {
                cell.reads.record(ended.latency);
                if let dunlin_history::Found::Values(values) = found {
                    cell.siblings += values.len().saturating_sub(1) as u64;
                }
            }
            (Outcome::Done, Action::Read) => cell.reads.record(ended.latency),
            (Outcome::Done, _) => cell.writes.record(ended.latency),
        }
    }

    /// Every step of every group, in order of time.
    pub(crate) fn points(&self) -> Vec<Point> {
        let step_ms = STEP.as_millis() as u64;
        let mut points = Vec::new();
        for (step, cells) in &self.steps {
            for (group, cell) in cells.iter().enumerate() {
                points.push(Point {
                    at_ms: step * step_ms + step_ms / 2,
                    group,
                    reads: cell.reads.count(),
                    writes: cell.writes.count(),
                    refused: cell.refused,
                    unknown: cell.unknown,
                    read_p50: micros(&cell.reads, 500),
                    read_p99: micros(&cell.reads, 990),
                    write_p50: micros(&cell.writes, 500),
                    write_p99: micros(&cell.writes, 990),
                    max: micros(&cell.reads, 1000).max(micros(&cell.writes, 1000)),
                    siblings: cell.siblings,
                });
            }
        }
        points
    }

    /// What there was of one group, or all, between two moments.
    pub(crate) fn total(&self, group: Option<usize>, from: Duration, to: Duration) -> Total {
        let step_of = |at: Duration| (at.as_micros() / STEP.as_micros()) as u64;
        let mut all = Histogram::default();
        let (mut refused, mut unknown) = (0, 0);
        for cells in self
            .steps
            .range(step_of(from)..step_of(to))
            .map(|(_, cells)| cells)
        {
            for (at, cell) in cells.iter().enumerate() {
                if group.is_none_or(|group| group == at) {
                    all.merge(&cell.reads);
                    all.merge(&cell.writes);
                    refused += cell.refused;
                    unknown += cell.unknown;
                }
            }
        }
        Total {
            done: all.count(),
            refused,
            unknown,
            p50: micros(&all, 500),
            p90: micros(&all, 900),
            p99: micros(&all, 990),
            p999: micros(&all, 999),
            max: micros(&all, 1000),
        }
    }

    /// How many failed, by a word for why.
    pub(crate) fn errors(&self) -> &BTreeMap<&'static str, u64> {
        &self.errors
    }
}

fn micros(histogram: &Histogram, per_mille: u64) -> u64 {
    let latency = match per_mille {
        1000 => histogram.max(),
        _ => histogram.per_mille(per_mille),
    };
    u64::try_from(latency.as_micros()).unwrap_or(u64::MAX)
}
