//! What placement promises: even loads, few moves, wide zones, and owners that are distinct.
//!
//! `growth` prints what it measures:
//! `cargo test -p dunlin-ring --test placement growth -- --nocapture`

mod growth;
mod judge;
mod owners;
mod zones;
