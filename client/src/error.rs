//! Why a request failed: who was asked, who answered, what was needed, and what it means for the data.

use std::fmt;
use std::time::Duration;

use dunlin_crdt::{FieldPath, Kind};
use dunlin_decide::seen::SessionFull;
use dunlin_protocol::{BucketName, DataEffect, Failure};
use thiserror::Error;

use crate::node_ref::{Names, NodeRef};
use crate::transport::{RequestError, SendError};

/// Why a request failed. [`effect`](Self::effect) says what that means for the data.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Error {
    /// Not applied: nothing was sent. The text is no name of a bucket.
    #[error("{reason}")]
    BadBucketName {
        /// What is wrong with it.
        reason: String,
    },
    /// Not applied. No node that was asked knows a bucket of this name.
    #[error("there is no bucket {bucket}; create it first")]
    NoSuchBucket {
        /// Its name.
        bucket: BucketName,
    },
    /// Not applied: nothing was sent. The keys of the bucket are of another kind.
    #[error("bucket {bucket} holds keys of kind {is}, not {asked}")]
    WrongKind {
        /// The bucket.
        bucket: BucketName,
        /// What its keys are.
        is: Kind,
        /// What was asked for.
        asked: Kind,
    },
    /// Not applied: nothing was sent. The field that the path leads to is of another kind.
    #[error("field {path} is of kind {}, not {asked}", path.kind())]
    WrongFieldKind {
        /// The field.
        path: FieldPath,
        /// What was asked for.
        asked: Kind,
    },
    /// Not applied: nothing was sent. The client's layout has no such node.
    #[error("the layout has no {node}")]
    NoSuchNode {
        /// Which.
        node: NodeRef,
    },
    /// Not applied. The last node said why; whether it is worth trying again is in the failure.
    #[error("{failure} ({asked})")]
    Refused {
        /// What the last node said.
        failure: Failure,
        /// Everyone asked, and what became of it.
        asked: Asked,
    },
    /// Not applied. No node could be reached in time; nothing was sent.
    #[error(
        "no node could be reached within {} ms ({}); nothing was sent", after.as_millis(), Reasons(away)
    )]
    Unreachable {
        /// The timeout of the request.
        after: Duration,
        /// Who was needed, and why it could not be reached.
        away: Vec<(NodeRef, String)>,
    },
    /// Unknown. The request was sent, its outcome is not known, and sending it again by itself might
    /// do harm or did not help.
    #[error("it may be applied, now or later: {asked}")]
    Unknown {
        /// Everyone asked, and what became of it.
        asked: Asked,
    },
    /// The time was up. Unknown for a write that was sent.
    #[error(
        "timed out after {} ms{}: {asked}",
        after.as_millis(),
        match effect {
            DataEffect::NotApplied => "; nothing was written",
            DataEffect::Unknown => "; it may be applied, now or later",
        }
    )]
    Timeout {
        /// The timeout of the request.
        after: Duration,
        /// What it means for the data.
        effect: DataEffect,
        /// Everyone asked, and what became of it.
        asked: Asked,
    },
    /// Unknown. A removal of many rows, in several requests, did not come to its end: what earlier
    /// requests removed stays removed.
    #[error("removed {removed_pages} pages of rows, then: {source}")]
    Incomplete {
        /// Requests that were done.
        removed_pages: u32,
        /// Why the next one was not.
        source: Box<Error>,
    },
    /// Unknown for a write. A node answered something that does not fit the question: a node or a
    /// client of a version too far away, or a defect.
    #[error("{node} answered a {question} with something else")]
    Unexpected {
        /// Which node.
        node: NodeRef,
        /// What it had been asked.
        question: &'static str,
    },
    /// Not applied: a write was not sent, or a read is not shown. The session has seen more than it can remember.
    #[error("{0}; nothing was written")]
    SessionFull(SessionFull),
    /// Not applied: nothing was sent. The request cannot be encoded; a defect of this library.
    #[error("the request cannot be encoded: {reason}")]
    Encoding {
        /// Why.
        reason: String,
    },
}

impl Error {
    /// What it means for the data. Reads have no effect in any case.
    pub fn effect(&self) -> DataEffect {
        match self {
            Self::BadBucketName { .. }
            | Self::NoSuchBucket { .. }
            | Self::WrongKind { .. }
            | Self::WrongFieldKind { .. }
            | Self::NoSuchNode { .. }
            | Self::Refused { .. }
            | Self::Unreachable { .. }
            | Self::SessionFull(_)
            | Self::Encoding { .. } => DataEffect::NotApplied,
            Self::Timeout { effect, .. } => *effect,
            Self::Unknown { .. } | Self::Incomplete { .. } | Self::Unexpected { .. } => {
                DataEffect::Unknown
            }
        }
    }

    /// Names the bucket, if that there is none is all that happened.
    pub(crate) fn about_bucket(self, bucket: &BucketName) -> Self {
        match self {
            Self::Refused {
                failure: Failure::NoSuchBucket,
                ..
            } => Self::NoSuchBucket {
                bucket: bucket.clone(),
            },
            other => other,
        }
    }

    /// The nodes that the request was sent to, in order.
    pub fn asked(&self) -> &[Attempt] {
        match self {
            Self::Refused { asked, .. } | Self::Unknown { asked } | Self::Timeout { asked, .. } => {
                &asked.0
            }
            Self::Incomplete { source, .. } => source.asked(),
            Self::BadBucketName { .. }
            | Self::NoSuchBucket { .. }
            | Self::WrongKind { .. }
            | Self::WrongFieldKind { .. }
            | Self::NoSuchNode { .. }
            | Self::Unreachable { .. }
            | Self::Unexpected { .. }
            | Self::SessionFull(_)
            | Self::Encoding { .. } => &[],
        }
    }

    /// What the last node that answered said, if one did.
    pub fn failure(&self) -> Option<&Failure> {
        match self {
            Self::Refused { failure, .. } => Some(failure),
            _ => self
                .asked()
                .iter()
                .rev()
                .find_map(|attempt| match &attempt.end {
                    AttemptEnd::Failed(failure) => Some(failure),
                    AttemptEnd::Unanswered(_) | AttemptEnd::Garbled(_) => None,
                }),
        }
    }
}

/// Everyone that a request was sent to, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked(pub Vec<Attempt>);

impl Asked {
    /// What the attempts together mean for the data, if the request was a write.
    pub(crate) fn effect(&self) -> DataEffect {
        match self.unknown() {
            0 => DataEffect::NotApplied,
            _ => DataEffect::Unknown,
        }
    }

    /// The attempts that may have been applied, if the request was a write.
    pub(crate) fn unknown(&self) -> u32 {
        let unknown = |attempt: &&Attempt| attempt.end.effect() == DataEffect::Unknown;
        u32::try_from(self.0.iter().filter(unknown).count()).unwrap_or(u32::MAX)
    }
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("no node was asked");
        }
        for (at, attempt) in self.0.iter().enumerate() {
            let semicolon = if at == 0 { "" } else { "; " };
            write!(f, "{semicolon}{attempt}")?;
        }
        Ok(())
    }
}

/// One node that a request was sent to, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// The node.
    pub node: NodeRef,
    /// What became of it.
    pub end: AttemptEnd,
    /// The nodes that its answer names: those that hold the write, answered the read, or could be
    /// reached, as the failure says.
    pub named: Vec<NodeRef>,
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { node, end, named } = self;
        match end {
            AttemptEnd::Unanswered(error) => write!(f, "{node}: {error}")?,
            AttemptEnd::Garbled(reason) => write!(f, "{node}: its answer is not valid: {reason}")?,
            AttemptEnd::Failed(failure) => write!(f, "{node} said: {failure}")?,
        }
        match named.is_empty() {
            true => Ok(()),
            false => write!(f, " [{}]", Names(named)),
        }
    }
}

/// What became of one attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AttemptEnd {
    /// It was not sent, or not answered.
    Unanswered(RequestError),
    /// The answer was not valid.
    Garbled(String),
    /// The node said why not.
    Failed(Failure),
}

impl AttemptEnd {
    fn effect(&self) -> DataEffect {
        match self {
            Self::Unanswered(error) if error.outcome_unknown() => DataEffect::Unknown,
            Self::Unanswered(_) => DataEffect::NotApplied,
            Self::Garbled(_) => DataEffect::Unknown,
            Self::Failed(failure) => failure.effect(),
        }
    }

    /// Whether the request is too long for any node.
    pub(crate) fn is_too_long(&self) -> bool {
        matches!(
            self,
            Self::Unanswered(RequestError::NotSent(SendError::TooLong { .. }))
        )
    }
}

/// Nodes with the reasons why they are away.
struct Reasons<'a>(&'a [(NodeRef, String)]);

impl fmt::Display for Reasons<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (node, reason)) in self.0.iter().enumerate() {
            let semicolon = if at == 0 { "" } else { "; " };
            write!(f, "{semicolon}{node}: {reason}")?;
        }
        Ok(())
    }
}
