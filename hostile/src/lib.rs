//! What must hold whatever the bytes are.
//!
//! One function for each place where bytes come from outside, or where their order does. It takes any
//! bytes, and returns if what it claims holds; if not, it panics. Two callers try to break it:
//!
//! ```text
//! seeds/<target>/*  ── tests/seeds.rs           every test run: the seeds, and each of them harmed
//!                   └─ fuzz/fuzz_targets/       `.ci/fuzz`: the seeds, and what coverage leads to
//! ```
//!
//! The seeds are real encodings, written by `examples/seeds.rs`; what a fuzzer has found is added to
//! them by hand, under a name that says what was wrong.

#![expect(
    clippy::expect_used,
    reason = "a claim that does not hold ends the run"
)]

mod files;
mod identity;
mod merges;
mod values;
mod wire;

pub use files::{cluster_file, server_config};
pub use identity::{NOW_SECONDS, certificates, names};
pub use merges::merges;
pub use values::values;
pub use wire::{frames, messages};

/// A claim about any bytes. It panics if it does not hold.
pub type Claim = fn(&[u8]);

/// Every target, under the name of its seeds and of its fuzzer.
pub const TARGETS: [(&str, Claim); 8] = [
    ("frames", frames),
    ("messages", messages),
    ("values", values),
    ("merges", merges),
    ("cluster_file", cluster_file),
    ("server_config", server_config),
    ("names", names),
    ("certificates", certificates),
];
