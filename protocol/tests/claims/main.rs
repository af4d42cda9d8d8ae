//! What the messages promise, one file for each promise.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "these are tests, their helpers too"
)]

mod failures;
mod golden;
mod hostile;
mod samples;
mod texts;
mod versions;
