//! What one node decides: coordinate, replicate, repair, hand off.
//!
//! The engine does no I/O and knows no time of its own. A driver (the process, or the simulator) gives
//! it [`Input`]s with the moment at which they are handled, and carries out the [`Effect`]s:
//!
//! ```text
//!             Requested, Received, TimerFired, Committed …
//!   driver  ───────────────────────────────────────────────>  Control      one per node
//!           <───────────────────────────────────────────────  Shard × n    partitions p mod n
//!             Send, Reply, Commit, SetTimer, Publish …
//! ```
//!
//! To follow a put, open `write.rs`; a read, `read.rs` and `gather.rs`; the replica's side of both, `serve.rs`;
//! anti-entropy, `repair.rs`; bit rot, `scrub.rs`; slow peers,
//! `health.rs`; hints, `handoff.rs`; a change of layout, `cluster/layouts.rs`, `follow.rs`
//! and `handover.rs`; buckets and who can be reached, `control.rs`.

mod changes;
mod cluster;
mod commits;
mod control;
mod digest;
mod explain;
mod follow;
mod forward;
mod gather;
mod handoff;
mod handover;
mod health;
mod io;
pub mod membership;
mod options;
mod peers;
mod read;
mod read_repair;
mod recall;
mod repair;
mod report;
mod reshape;
mod scan;
mod scrub;
mod serve;
mod session;
mod shard;
mod show;
mod swim;
mod transfer;
mod upkeep;
mod view;
mod write;

pub use cluster::Knowledge;
pub use control::Control;
pub use health::{Demoted, PeerHealth};
pub use io::{Effect, Follows, Input, Note, Now, ReplyTo, SyncWhen, Time, TimerId};
pub use options::EngineOptions;
pub use recall::Recall;
pub use report::{Counters, Queues, ShardReport};
pub use shard::{Shard, partition_of};
pub use view::{ActiveLayouts, PeerView, View};
