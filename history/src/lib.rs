//! What clients asked and were told, and whether that can be.
//!
//! A black box: operations, times, values. Nothing here knows of dots, clocks or nodes' insides, so one
//! verdict serves real processes and simulated ones. What is claimed is what the data model promises to
//! clients, and no more; where a promise has a condition, the checker looks for it in the history.
//!
//! ```text
//!  clients ──> Writer ──> lines of JSON ──> Reader ──> verdict ──> Report
//!                                             │  first: every write, by key       (`writes`)
//!                                             └─ then: each read against these    (`check`)
//! ```
//!
//! The one question behind most checkers is in `kinds`: *a read that must know of these writes, can it show
//! this?* They differ in which reads they ask it of, and in what such a read must know:
//!
//! | checker | reads | must know |
//! |---|---|---|
//! | [`Check::Survival`], [`Check::Resurrection`], [`Check::Sets`], [`Check::Flags`], [`Check::Counters`], [`Check::Extremes`] | settled ones | every acknowledged write |
//! | [`Check::Freshness`] | strict ones | every write that a strict quorum held before, if R + W > N |
//! | [`Check::Sessions`] | those of a session | what the session wrote and saw |
//! | [`Check::Provenance`], [`Check::Counters`], [`Check::Extremes`] | all | nothing: but all that is shown was asked for |
//!
//! # What makes it exact
//!
//! - **A value is put once in a history**, so it names its write. Provenance says so if not.
//! - **A put names the values that it replaces**, so what may be gone is known, and by whom.
//! - **An operation is over at its end only if it was acknowledged and sent once.** One whose outcome is
//!   unknown may be applied at any later time; one that was sent again may be applied once more.
//! - **Settled** reads are asked when every owner has everything: the recorder says which these are.
//!
//! All times must be of one clock.

mod check;
mod file;
mod kinds;
mod op;
#[cfg(test)]
mod testing;
mod verdict;
mod writes;

pub use check::{Check, Violation};
pub use file::{FORMAT, LINE_BYTES_MAX, ReadError, Reader, Writer};
pub use op::{Action, Found, Header, History, Kind, Op, Outcome, Replaces};
pub use verdict::{Checked, Report, verdict, verdict_of_file};
