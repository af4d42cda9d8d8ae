//! Real processes on loopback with real disks: what a node is as a whole.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may fail"
)]

mod growth;
mod harness;
mod outage;
mod refusals;
mod serving;
mod twins;
