//! What a cluster of shards does, on a network without delay whose links the test cuts.

mod harness;

mod membership;
mod reading;
mod repairing;
mod writing;
