//! What can be set about a node's decisions. Every bound has its name here.

use crate::membership::MembershipOptions;

/// Bounds and delays. Times are in milliseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineOptions {
    /// Operations in progress in one shard; more are refused with `Overloaded`.
    pub operations_max: usize,
    /// What waits for the disk in one shard: writes of this node and of others, hints that came home,
    /// partitions that are handed over. More is refused, or left to be offered again.
    pub commits_waiting_max: usize,
    /// How long a request may take that says nothing about it.
    pub request_timeout_ms: u64,
    /// After this silence of an owner a fallback takes its copy of a write.
    pub fallback_after_ms: u64,
    /// After this silence of a replica the next one is asked as well, at the earliest.
    pub hedge_after_min_ms: u64,
    /// After this silence of a replica the next one is asked as well, at the latest.
    pub hedge_after_max_ms: u64,
    /// How far ahead of this node's clock a stamp may be.
    pub clock_skew_max_ms: u64,
    /// How often a peer is asked whether it is there.
    pub ping_every_ms: u64,
    /// After this silence a peer counts as unreachable.
    pub unreachable_after_ms: u64,
    /// How nodes find each other and notice death.
    pub membership: MembershipOptions,
    /// How often clocks are compared with co-owners.
    pub repair_every_ms: u64,
    /// Partitions that one shard repairs at a time.
    pub repairs_max: usize,
    /// Bytes of rows in one page of a repair.
    pub repair_page_bytes: usize,
    /// Bytes of rows that one shard pulls in a second of repair; a quarter while clients wait long.
    pub repair_bytes_per_second: u64,
    /// How often the scrub reads a slice.
    pub scrub_every_ms: u64,
    /// Rows of one slice.
    pub scrub_rows: usize,
    /// How long a partition that was read to its end is left alone.
    pub scrub_interval_ms: u64,
    /// How often hints are offered to owners that are back.
    pub handoff_every_ms: u64,
    /// Bytes of events in one batch of hints.
    pub handoff_batch_bytes: usize,
    /// How often the clocks that changed are stored, so that little of the log is read at a start.
    pub checkpoint_every_ms: u64,
    /// Rows that one slice of background work looks at before it lets requests pass.
    pub slice_rows: usize,
    /// Whether every event is noted when it is minted: for whoever checks what becomes of it.
    pub notes_minted: bool,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            operations_max: 4096,
            commits_waiting_max: 16_384,
            request_timeout_ms: 5_000,
            fallback_after_ms: 250,
            hedge_after_min_ms: 5,
            hedge_after_max_ms: 50,
            clock_skew_max_ms: 500,
            ping_every_ms: 200,
            unreachable_after_ms: 1_000,
            membership: MembershipOptions::default(),
            repair_every_ms: 1_000,
            repairs_max: 4,
            repair_page_bytes: 256 << 10,
            repair_bytes_per_second: 64 << 20,
            scrub_every_ms: 500,
            scrub_rows: 512,
            scrub_interval_ms: 6 * 3_600_000,
            handoff_every_ms: 500,
            handoff_batch_bytes: 256 << 10,
            checkpoint_every_ms: 10_000,
            slice_rows: 512,
            notes_minted: false,
        }
    }
}
