//! Where a key lives: partitions, layouts, preference lists and quorums.

mod error;
mod flow;
mod id;
mod layout;
mod member;
mod partition;
mod place;
mod plan;
mod quorum;
mod record;
mod share;
mod tally;
mod walk;

pub use error::{QuorumParseError, RingError};
pub use id::{BucketId, LayoutNumber, NodeId};
pub use layout::{Layout, MEMBERS_MAX, REPLICAS_MAX};
pub use member::{Member, MemberState, TEXT_BYTES_MAX};
pub use partition::{PartitionCount, PartitionId};
pub use plan::{Fallbacks, ReplicaPlan};
pub use quorum::Quorum;
pub use tally::{Needed, QuorumTally, Reached, Synced};
