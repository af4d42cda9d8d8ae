//! What a cluster of shards does, on a network without delay whose links the test cuts.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

mod explaining;
mod harness;
mod layouts;

mod found;
mod membership;
mod reading;
mod refusals;
mod repairing;
mod sessions;
mod writing;
