//! What can be wrong with a layout, and with the text of a quorum.
//!
//! Every refusal here happens before anything is built: the layout in force stays as it was, and the
//! same input will be refused again.

use thiserror::Error;

use crate::id::NodeId;
use crate::layout::{MEMBERS_MAX, REPLICAS_MAX};
use crate::member::TEXT_BYTES_MAX;

/// Why a layout was refused. Nothing was changed; asking again with the same input fails again.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RingError {
    /// The list of members is empty.
    #[error("a layout needs at least one member")]
    NoMembers,
    /// Every member is leaving, so nobody is left to own a partition.
    #[error("every member is leaving: at least one has to stay")]
    NoActiveMember,
    /// More members than a layout holds.
    #[error("{count} members, but a layout holds at most {MEMBERS_MAX}")]
    TooManyMembers {
        /// How many were given.
        count: usize,
    },
    /// Two members have one id.
    #[error("two members have the id {id}")]
    DuplicateId {
        /// The id both have.
        id: NodeId,
    },
    /// Two members have one name.
    #[error("two members are named {name:?}")]
    DuplicateName {
        /// The name both have.
        name: String,
    },
    /// A member of no weight could own nothing.
    #[error("member {name:?} has capacity 0; the least is 1")]
    ZeroCapacity {
        /// The member's name.
        name: String,
    },
    /// A member's name, address or zone is longer than a layout carries.
    #[error("a text of member {id} has {bytes} bytes; the most is {TEXT_BYTES_MAX}")]
    TextTooLong {
        /// The member's id.
        id: NodeId,
        /// How long the text is.
        bytes: usize,
    },
    /// N is zero or too large.
    #[error("{replicas} replicas asked for; 1 to {REPLICAS_MAX} are possible")]
    ReplicasOutOfRange {
        /// The N that was asked for.
        replicas: u8,
    },
    /// Q is not a power of two, or out of range.
    #[error("{count} partitions asked for; a power of two from 1 to 4096 is needed")]
    BadPartitionCount {
        /// The Q that was asked for.
        count: u16,
    },
    /// Layout numbers start at one, and the last one has no successor.
    #[error("a layout number must be between 1 and 2^64 - 1")]
    NumberOutOfRange,
    /// The owner table has not one set of the right size per partition.
    #[error("the owner table has {entries} entries, expected {expected}")]
    OwnerTableSize {
        /// How many entries it has.
        entries: usize,
        /// How many Q, N and the members call for.
        expected: usize,
    },
    /// The owner table names a member that does not exist.
    #[error("the owner table names member {index} of {members}")]
    UnknownOwner {
        /// The position named.
        index: u16,
        /// How many members there are.
        members: usize,
    },
    /// The owner table gives a partition to a member that is leaving.
    #[error("the owner table gives a partition to {id}, which is leaving")]
    LeavingOwner {
        /// The leaving member.
        id: NodeId,
    },
    /// One partition has the same owner twice.
    #[error("the owner table gives one partition to {id} twice")]
    RepeatedOwner {
        /// The repeated owner.
        id: NodeId,
    },
    /// A stored or received layout is sound in form, but it isn't what was written.
    #[error("layout digest is {found:016x}, but {stated:016x} was written with it")]
    DigestMismatch {
        /// The digest that came with the layout.
        stated: u64,
        /// The digest of what came.
        found: u64,
    },
}

/// Why a text isn't a quorum.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{text:?} is no quorum: write one, majority, all, or a number up to 255")]
pub struct QuorumParseError {
    /// What was written instead.
    pub text: String,
}
