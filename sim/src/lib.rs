//! Whole clusters under a seed, with faults and checkers.
//!
//! ```text
//!   seed -> options -> world: clients ⇄ network ⇄ nodes (engine, writer, disk), on virtual time
//!                        │ faults                                            │
//!                        └ heal, come to rest, read everything ──────────────┴─> checkers
//! ```
//!
//! The nodes run the real engine on the real replica; what is simulated is time, the network, the
//! writer and the disk ([`dunlin_storage::MemoryKv`]). Everything about a run follows from its seed,
//! so a failure is replayed by one command. Safety is checked first, under faults; then everything
//! heals, and the cluster must converge and come to rest.
//!
//! To follow a run, open `run.rs`; what can happen, `world.rs`; what goes wrong, `faults.rs`; what is
//! demanded, `check`. For each checker there is a [`Mutant`] of the system that it must catch.
//!
//! In about half of the seeds operators change the layout meanwhile, see `operator.rs`. In some
//! of the others rows rot on the disk, see `rot.rs`, and disks come back older than they were, see `restore.rs`. Two reports watch calm clusters: `size.rs` and
//! `absence.rs`.
//!
//! What it does not do: a transport that loses a stream and its order is the only one there is.

mod absence;
mod check;
mod clients;
mod durable;
mod faults;
mod history;
mod ledger;
mod mutant;
mod network;
mod operator;
mod options;
mod process;
mod restore;
mod rot;
mod run;
mod size;
mod tamper;
mod trace;
mod traffic;
mod workload;
mod world;
mod writer;

pub use absence::{AbsenceReport, absence};
pub use check::{Checker, Violation};
pub use mutant::Mutant;
pub use operator::LayoutOptions;
pub use options::{BucketPlan, DiskOptions, FaultWeights, NetworkOptions, Options, Overrides};
pub use run::{Verdict, run};
pub use size::{SizeReport, size};
pub use traffic::{Rate, What};
