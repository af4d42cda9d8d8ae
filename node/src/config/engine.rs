//! The `[engine]` section: bounds and delays of what a node decides.
//!
//! The names are those of [`EngineOptions`], which says what each is for.

use dunlin_engine::EngineOptions;
use serde::Deserialize;

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct EngineSection {
    operations_max: usize,
    commits_waiting_max: usize,
    request_timeout_ms: u64,
    fallback_after_ms: u64,
    hedge_after_min_ms: u64,
    hedge_after_max_ms: u64,
    clock_skew_max_ms: u64,
    ping_every_ms: u64,
    unreachable_after_ms: u64,
    repair_every_ms: u64,
    repairs_max: usize,
    repair_page_bytes: usize,
    repair_bytes_per_second: u64,
    handoff_every_ms: u64,
    handoff_batch_bytes: usize,
    checkpoint_every_ms: u64,
    slice_rows: usize,
}

impl EngineSection {
    /// The first option whose value cannot work, and why.
    pub(super) fn mistake(&self) -> Option<(&'static str, &'static str)> {
        let not_zero = [
            ("operations_max", self.operations_max as u64),
            ("commits_waiting_max", self.commits_waiting_max as u64),
            ("request_timeout_ms", self.request_timeout_ms),
            ("fallback_after_ms", self.fallback_after_ms),
            ("ping_every_ms", self.ping_every_ms),
            ("unreachable_after_ms", self.unreachable_after_ms),
            ("repair_every_ms", self.repair_every_ms),
            ("repairs_max", self.repairs_max as u64),
            ("repair_page_bytes", self.repair_page_bytes as u64),
            ("repair_bytes_per_second", self.repair_bytes_per_second),
            ("handoff_every_ms", self.handoff_every_ms),
            ("handoff_batch_bytes", self.handoff_batch_bytes as u64),
            ("checkpoint_every_ms", self.checkpoint_every_ms),
            ("slice_rows", self.slice_rows as u64),
        ];
        let zero = not_zero.into_iter().find(|(_, value)| *value == 0);
        if let Some((option, _)) = zero {
            return Some((option, "must not be 0"));
        }
        if self.hedge_after_max_ms < self.hedge_after_min_ms {
            return Some(("hedge_after_max_ms", "must not be below hedge_after_min_ms"));
        }
        if self.unreachable_after_ms <= self.ping_every_ms {
            return Some(("unreachable_after_ms", "must be above ping_every_ms"));
        }
        None
    }
}

impl Default for EngineSection {
    fn default() -> Self {
        let EngineOptions {
            operations_max,
            commits_waiting_max,
            request_timeout_ms,
            fallback_after_ms,
            hedge_after_min_ms,
            hedge_after_max_ms,
            clock_skew_max_ms,
            ping_every_ms,
            unreachable_after_ms,
            repair_every_ms,
            repairs_max,
            repair_page_bytes,
            repair_bytes_per_second,
            handoff_every_ms,
            handoff_batch_bytes,
            checkpoint_every_ms,
            slice_rows,
            ..
        } = EngineOptions::default();
        Self {
            operations_max,
            commits_waiting_max,
            request_timeout_ms,
            fallback_after_ms,
            hedge_after_min_ms,
            hedge_after_max_ms,
            clock_skew_max_ms,
            ping_every_ms,
            unreachable_after_ms,
            repair_every_ms,
            repairs_max,
            repair_page_bytes,
            repair_bytes_per_second,
            handoff_every_ms,
            handoff_batch_bytes,
            checkpoint_every_ms,
            slice_rows,
        }
    }
}

impl From<EngineSection> for EngineOptions {
    fn from(section: EngineSection) -> Self {
        Self {
            operations_max: section.operations_max,
            commits_waiting_max: section.commits_waiting_max,
            request_timeout_ms: section.request_timeout_ms,
            fallback_after_ms: section.fallback_after_ms,
            hedge_after_min_ms: section.hedge_after_min_ms,
            hedge_after_max_ms: section.hedge_after_max_ms,
            clock_skew_max_ms: section.clock_skew_max_ms,
            ping_every_ms: section.ping_every_ms,
            unreachable_after_ms: section.unreachable_after_ms,
            repair_every_ms: section.repair_every_ms,
            repairs_max: section.repairs_max,
            repair_page_bytes: section.repair_page_bytes,
            repair_bytes_per_second: section.repair_bytes_per_second,
            handoff_every_ms: section.handoff_every_ms,
            handoff_batch_bytes: section.handoff_batch_bytes,
            checkpoint_every_ms: section.checkpoint_every_ms,
            slice_rows: section.slice_rows,
            // What is left is for the simulator.
            ..Self::default()
        }
    }
}
