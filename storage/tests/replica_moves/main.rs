//! Partitions that move: gained, handed over by transfers, given up, gained again; and rows that the
//! disk spoils meanwhile. Claim by claim, and as random schedules that crash between any two batches.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test may stop at anything unexpected"
)]

mod crashes;
mod ownership;
mod scrubbing;
mod support;
mod transfers;
