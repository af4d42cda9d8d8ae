//! What one or two replicas promise, claim by claim. Random schedules are in `replica_schedule`.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test may stop at anything unexpected"
)]

mod hints;
mod ranges;
mod repairing;
mod starting;
mod support;
mod transferring;
mod writing;
