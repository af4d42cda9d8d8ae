//! Where a key lives: partitions, layouts, preference lists and quorums.
//!
//! ```text
//! (bucket, key) ──hash──> partition ──layout──> owners, then fallbacks ──plan──> whom to ask now
//!                                                                                     │
//!                           done, not yet, or impossible <──tally── answers <─────────┘
//! ```
//!
//! **Partitions.** The hash ring is cut into Q equal slices, and Q never changes (strategy 3 of the
//! Dynamo paper). So what moves between nodes is always a whole partition, and where a key belongs is
//! known without knowing the members.
//!
//! **Layouts.** A [`Layout`] is a numbered, immutable value: the members, N, Q, and who owns what. Only
//! operators make a new one. The table of owners is computed once and travels; the order of the
//! fallbacks is derived from it by everyone alike.
//!
//! **Placement** settles three wishes that pull against each other, in this order:
//!
//! 1. *Even loads.* A node takes its fair share by capacity, at most 5 % over where that lets zones
//!    spread wider, and rounded up to a whole copy. (One node can't own a partition twice, so in a cluster of
//!    up to N nodes all own everything, whatever their capacity.)
//! 2. *Distinct zones*, as far as such loads allow: no other table with the same quotas puts fewer
//!    copies beside another of their zone.
//! 3. *Few moves.* Among all those tables, the one that keeps the most copies where they are.
//!
//! It is computed exactly, as a cheapest flow, rather than greedily: skipping full nodes along the ring
//! leaves the last partitions without a choice, and they are then crowded or moved at random. The ring
//! still decides everything that these wishes leave open, and the order of the fallbacks.
//!
//! Measured with equal nodes, Q = 256, N = 3, one joining at a time up to 44, in one zone, 5 and 3: the
//! highest load is 1.04, 1.04 and 1.09 times the fair share, and a join moves at most 1.00, 1.04 and
//! 1.13 times the new node's share. What is over is due to zones: one whose share reaches one copy of
//! each partition has to enter just those that it was missing from. Among few nodes of very different
//! capacity that is common; there, moves are tested to stay within twice what is needed. Rounding to
//! whole copies weighs more with every node; far above 60, choose a larger Q.
//!
//! Unfit for: zones at any price. Three zones of 2, 1 and 1 equal nodes hold some partitions twice in
//! the first, since the others would be a third over their share. To have them spread, give the zones
//! equal capacity.
//!
//! **Plans and tallies.** A [`ReplicaPlan`] is decided once per operation and never changes. While two
//! layouts are active it has two sets of owners, and a [`QuorumTally`] demands a quorum in each.
//!
//! ```
//! use dunlin_ring::{
//!     BucketId, Fallbacks, Layout, Member, MemberState, Needed, NodeId, PartitionCount, Quorum,
//!     QuorumTally, ReplicaPlan, Synced,
//! };
//!
//! let members = ["ada", "bea", "cat", "dan"].map(|name| Member {
//!     id: NodeId::from_name(name),
//!     name: name.to_owned(),
//!     address: format!("{name}.example:7400"),
//!     zone: name.to_owned(),
//!     capacity: 1,
//!     state: MemberState::Active,
//! });
//! let layout = Layout::first(members.to_vec(), 3, PartitionCount::DEFAULT)?;
//!
//! let partition = layout.partitions().partition_of(BucketId(1), b"cart:42");
//! let down = layout.owners(partition)[0];
//! let plan = ReplicaPlan::new(&[&layout], partition, |node| node != down, Fallbacks::Allowed);
//! assert_eq!(plan.reachable_owners().len(), 2);
//! assert_eq!(plan.assigned().len(), 1);
//!
//! let majority = Quorum::Majority.needed(layout.owners(partition).len());
//! let needed = Needed { nodes: 3, owners: majority, synced: 0 };
//! let mut tally = QuorumTally::new(&plan, |_| needed);
//! for owner in plan.reachable_owners() {
//!     tally.owner_answered(*owner, Synced::Yes);
//! }
//! assert!(!tally.is_met());
//! for (fallback, stands_for) in plan.assigned() {
//!     tally.fallback_answered(*fallback, *stands_for, Synced::No);
//! }
//! assert!(tally.is_met());
//! # Ok::<(), dunlin_ring::RingError>(())
//! ```
//!
//! **Foresight.** [`Moves`] says what changes hands between two layouts, [`loads`] how even they are, and
//! [`Tolerance`] how many more nodes and zones may fail. Operators are shown these before a change.
//!
//! This crate is pure: no clock, no I/O, no randomness, whole numbers only. Every answer is a function
//! of the arguments and the same on every platform, which golden values hold it to.
//!
//! DeCandia et al., *Dynamo: Amazon's Highly Available Key-value Store* (SOSP 2007), section 6.2;
//! Mirrokni, Thorup, Zadimoghaddam, *Consistent Hashing with Bounded Loads* (2018).

mod error;
mod flow;
mod id;
mod layout;
mod member;
mod moves;
mod partition;
mod place;
mod plan;
mod quorum;
mod record;
mod share;
mod tally;
mod tolerance;
mod walk;

pub use error::{QuorumParseError, RingError};
pub use id::{BucketId, LayoutNumber, NodeId};
pub use layout::{Layout, MEMBERS_MAX, REPLICAS_MAX};
pub use member::{Member, MemberState, TEXT_BYTES_MAX};
pub use moves::{Load, Moves, NodeMoves, loads};
pub use partition::{PartitionCount, PartitionId};
pub use plan::{Fallbacks, ReplicaPlan};
pub use quorum::Quorum;
pub use tally::{Needed, QuorumTally, Reached, Synced};
pub use tolerance::{Faults, Tolerance, last_copies};
