//! What placement promises: even loads, few moves, wide zones, and owners that are distinct.
//!
//! `growth` prints what it measures:
//! `cargo test -p dunlin-ring --test placement growth -- --nocapture`

#![expect(clippy::expect_used, reason = "the helpers of tests may fail a test")]

mod growth;
mod judge;
mod owners;
mod zones;
