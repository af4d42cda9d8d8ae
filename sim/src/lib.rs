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
//! To follow a run, open `run.rs`; what can happen, `queue.rs` and `world.rs`; what goes wrong, `faults.rs`
//! and `network.rs`; what is demanded, `check`. For each checker there is a [`Mutant`] of the system that it
//! must catch. A failing run is made smaller by [`shrink`]; those that once failed are in `seeds.txt`.
//!
//! In about half of the seeds clients choose nodes, repeat and hedge by the rules of the client library, see
//! `routing.rs`. In about half operators change the layout meanwhile, see `operator.rs`. In some
//! of the others rows rot on the disk, see `rot.rs`, blocks of it are lost, see `lost_block.rs`, and disks
//! come back older than they were, see `restore.rs`, or are cloned, see `clone.rs`. Two reports watch calm clusters: `size.rs` and `absence.rs`.
//!
//! What it does not do: a transport that loses a stream and its order is the only one there is.

mod absence;
mod check;
mod clients;
mod clone;
mod durable;
mod fault_set;
mod faults;
mod history;
mod ledger;
mod lost_block;
mod mutant;
mod network;
mod notes;
mod operator;
mod options;
mod output;
mod overrides;
mod pace;
mod probes;
mod process;
mod queue;
mod restore;
mod rot;
mod routing;
mod run;
mod sending;
mod sessions;
mod shrink;
mod size;
mod speed;
mod tamper;
mod trace;
mod traffic;
mod unreadable;
mod workload;
mod world;
mod writer;

pub use absence::{AbsenceReport, absence};
pub use check::{Checker, Violation};
pub use fault_set::FaultSet;
pub use mutant::Mutant;
pub use operator::LayoutOptions;
pub use options::{
    BucketPlan, DiskOptions, FaultWeights, Links, NetworkOptions, Options, Promised,
};
pub use output::write_line;
pub use overrides::{Case, Overrides};
pub use run::{Verdict, run};
pub use shrink::{Shrunk, shrink};
pub use size::{SizeReport, size};
pub use speed::{SpeedReport, speed};
pub use traffic::{Rate, What};
