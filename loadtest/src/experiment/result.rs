//! What a run was and what came of it: all that the report shows, and can be recomputed from.

use std::collections::BTreeMap;

use dunlin_history::Report;
use serde::Serialize;

use super::observe::Seen;
use super::plan::Plan;
use super::staleness::Visibility;
use super::timeline::{Point, Total};

/// The version of the form.
pub(crate) const FORMAT: u32 = 1;
/// Its file, in the folder of the run.
pub(crate) const RESULT: &str = "result.json";

/// A run.
#[derive(Debug, Serialize)]
pub(crate) struct RunResult {
    pub(crate) format: u32,
    pub(crate) plan: Plan,
    /// The plan as it was written.
    pub(crate) plan_text: String,
    pub(crate) versions: BTreeMap<&'static str, String>,
    /// Seconds since 1970.
    pub(crate) began_at: u64,
    /// The nodes, then the groups of clients.
    pub(crate) places: Vec<String>,
    pub(crate) phases: Vec<PhaseResult>,
    pub(crate) verdict: Verdict,
    pub(crate) timeline: Vec<Point>,
    pub(crate) seen: Seen,
    pub(crate) staleness: Vec<Visibility>,
    pub(crate) staleness_reads: usize,
    pub(crate) convergence: Convergence,
    /// Requests that failed, by a word for why.
    pub(crate) errors: BTreeMap<&'static str, u64>,
    pub(crate) operations: u64,
    pub(crate) relay_packets: u64,
    pub(crate) relay_bytes: u64,
    pub(crate) relay_dropped: u64,
}

/// A phase as it was.
#[derive(Debug, Serialize)]
pub(crate) struct PhaseResult {
    pub(crate) name: String,
    pub(crate) from_ms: u64,
    pub(crate) to_ms: u64,
    /// What went wrong in it, in words.
    pub(crate) faults: String,
    /// All groups together, then each.
    pub(crate) all: Total,
    pub(crate) groups: Vec<Total>,
}

/// Whether anything was wrong.
#[derive(Debug, Serialize)]
pub(crate) struct Verdict {
    pub(crate) holds: bool,
    /// What the history shows.
    pub(crate) history: Report,
    /// Partitions whose owners did not hold the same in the end.
    pub(crate) partitions_differ: u64,
    /// Final reads that failed.
    pub(crate) unreadable: u64,
}

/// From when everything was healed until nothing was on its way between the nodes.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Convergence {
    pub(crate) took_ms: u64,
    /// Bytes of rows that repair brought meanwhile.
    pub(crate) repaired_bytes: u64,
    /// Hints that were delivered meanwhile.
    pub(crate) hints: u64,
}
