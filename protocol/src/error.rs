//! Why a request failed, and what that means for the data: the one error enum of the wire.

use dunlin_crdt::Kind;
use dunlin_ring::{NodeId, Quorum};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::bucket::BucketName;
use crate::response::HeldBy;

/// What a failed request did to the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DataEffect {
    /// Nothing: no node has written anything, and none will.
    NotApplied,
    /// It may be applied, now or later, at some or all owners.
    Unknown,
}

/// Whether the same request may be sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// It would fail in the same way.
    Useless,
    /// At once, at this node or another: nothing was done.
    Safe,
    /// If it is idempotent: the same request id writes one value once. Never an increment.
    IfIdempotent,
}

/// Why a request failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Error)]
pub enum Failure {
    /// Not applied. The bucket does not exist (any more).
    #[error("there is no such bucket; nothing was written")]
    NoSuchBucket,
    /// Not applied. The bucket exists already, and differs from what was asked for.
    #[error(
        "bucket {name} exists already, of kind {kind}, or with other defaults; nothing was changed"
    )]
    BucketExists {
        /// The bucket.
        name: BucketName,
        /// What it is.
        kind: Kind,
    },
    /// Not applied. The operation does not fit the kind of the bucket.
    #[error("the bucket is of kind {kind}, which this operation does not fit; nothing was written")]
    WrongKind {
        /// What the bucket is.
        kind: Kind,
    },
    /// Not applied. Something in the request is larger than it may be.
    #[error("{what} is too large: {is} where {max} is the most; nothing was written")]
    TooLarge {
        /// What is too large.
        what: Part,
        /// Its size.
        is: u64,
        /// The largest that is accepted.
        max: u64,
    },
    /// Not applied. Something in the request is not what it must be.
    #[error("{what} is not valid; nothing was written")]
    Invalid {
        /// What is not valid.
        what: Part,
    },
    /// Not applied. More copies are asked for than the key has owners.
    #[error("quorum {asked} was asked for, but a key has {owners} owners; nothing was written")]
    QuorumTooLarge {
        /// What was asked for.
        asked: Quorum,
        /// How many owners a key has.
        owners: u8,
    },
    /// Not applied. Not enough nodes can be reached.
    #[error("{needed} nodes are needed and {} can be reached; nothing was written", reachable.len())]
    Unavailable {
        /// How many are needed.
        needed: u8,
        /// The nodes that would do and can be reached.
        reachable: Vec<NodeId>,
    },
    /// Not applied. The node has as much to do as it accepts.
    #[error("the node is at its limit of requests; nothing was written, try again later")]
    Overloaded,
    /// Not applied. The coordinator's disk is full.
    #[error("the disk of the node is full; nothing was written")]
    StorageFull,
    /// Not applied. The coordinator's disk failed; it is stopping.
    #[error("the disk of the node failed; nothing was written there")]
    StorageFailed,
    /// Not applied. A counter of one owner would leave its range.
    #[error(
        "the counter would exceed 2^63-1 increments or decrements at one owner; nothing was written"
    )]
    CounterOverflow,
    /// Not applied. The row has so many siblings that it takes no more until they are settled.
    #[error(
        "the row holds {bytes} bytes of siblings; read them and write with their context; nothing was written"
    )]
    TooManySiblings {
        /// The size of the row.
        bytes: u64,
    },
    /// Not applied. The deadline had passed before the work began.
    #[error("the deadline passed before the work began; nothing was written")]
    Expired,
    /// Not applied. The node that the request was passed on to is no owner either.
    #[error("the layouts of two nodes differ; nothing was written, try again")]
    NotOwner,
    /// Not applied. The layout cannot change like that.
    #[error("{why}; nothing was changed")]
    ChangeRefused {
        /// Why not.
        why: String,
    },
    /// Not applied. The node does not know this request; it may be of another version.
    #[error("the node does not understand the request; nothing was written")]
    NotUnderstood,
    /// Unknown. Too few nodes said in time that they hold the write. It is not undone, and may reach
    /// all owners yet.
    #[error("timed out: {needed} nodes were to hold it and {} said so; it may be applied", copies.len())]
    WriteTimeout {
        /// How many were needed.
        needed: u8,
        /// Those that said so.
        copies: Vec<HeldBy>,
    },
    /// Nothing was to be written. Too few nodes answered in time.
    #[error("timed out: {needed} nodes were to answer and {} did; nothing was written", answered.len())]
    ReadTimeout {
        /// How many were needed.
        needed: u8,
        /// Those that answered.
        answered: Vec<NodeId>,
    },
    /// Nothing was to be written. What the session of a read has seen is not held by enough of the nodes that
    /// could be asked; an older answer is not given. It passes when those that have it can be asked again.
    #[error(
        "{missing} writes that the session has seen were not found; nothing older is shown, nothing was written, try again"
    )]
    BehindSession {
        /// How many of the dots that the session has seen were not found.
        missing: u64,
        /// The owners that answered.
        answered: Vec<NodeId>,
    },
    /// Unknown. The node that the request was passed on to did not answer.
    #[error("the request was passed on to node {to}, which did not answer; it may be applied")]
    Lost {
        /// The node that it was passed on to.
        to: NodeId,
    },
    /// Unknown. Some nodes refused the write after others took it.
    #[error("nodes refused the write after {} took it; it may be applied", copies.len())]
    Partial {
        /// How many were needed.
        needed: u8,
        /// Those that hold it.
        copies: Vec<HeldBy>,
    },
}

impl Failure {
    /// What it means for the data.
    pub fn effect(&self) -> DataEffect {
        match self {
            Self::NoSuchBucket
            | Self::BucketExists { .. }
            | Self::WrongKind { .. }
            | Self::TooLarge { .. }
            | Self::Invalid { .. }
            | Self::QuorumTooLarge { .. }
            | Self::Unavailable { .. }
            | Self::Overloaded
            | Self::StorageFull
            | Self::StorageFailed
            | Self::CounterOverflow
            | Self::TooManySiblings { .. }
            | Self::Expired
            | Self::NotOwner
            | Self::ChangeRefused { .. }
            | Self::NotUnderstood
            | Self::BehindSession { .. }
            | Self::ReadTimeout { .. } => DataEffect::NotApplied,
            Self::WriteTimeout { .. } | Self::Lost { .. } | Self::Partial { .. } => {
                DataEffect::Unknown
            }
        }
    }

    /// Whether to send the same request again.
    pub fn retry(&self) -> Retry {
        match self {
            Self::NoSuchBucket
            | Self::BucketExists { .. }
            | Self::WrongKind { .. }
            | Self::TooLarge { .. }
            | Self::Invalid { .. }
            | Self::QuorumTooLarge { .. }
            | Self::CounterOverflow
            | Self::TooManySiblings { .. }
            | Self::ChangeRefused { .. }
            | Self::NotUnderstood => Retry::Useless,
            Self::Unavailable { .. }
            | Self::Overloaded
            | Self::StorageFull
            | Self::StorageFailed
            | Self::Expired
            | Self::NotOwner
            | Self::BehindSession { .. }
            | Self::ReadTimeout { .. } => Retry::Safe,
            Self::WriteTimeout { .. } | Self::Lost { .. } | Self::Partial { .. } => {
                Retry::IfIdempotent
            }
        }
    }
}

/// A part of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Part {
    /// The key.
    Key,
    /// The value.
    Value,
    /// An element of a set.
    Element,
    /// A field path.
    Field,
    /// The number of elements or fields in one request.
    Changes,
    /// A context.
    Context,
    /// A partition number.
    Partition,
    /// The limit of a page.
    Page,
}

impl std::fmt::Display for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Key => "the key",
            Self::Value => "the value",
            Self::Element => "an element",
            Self::Field => "a field path",
            Self::Changes => "the number of changes in one request",
            Self::Context => "the context",
            Self::Partition => "the partition",
            Self::Page => "the page limit",
        })
    }
}
