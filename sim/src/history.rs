//! What clients asked and were told, with the times: all that the checkers may believe of clients.

use std::collections::BTreeMap;

use bytes::Bytes;
use dunlin_crdt::{Clock, Dot, Kind, OpId};
use dunlin_protocol::cluster::{ClusterRequest, ClusterState};
use dunlin_protocol::request::{Query, ReadOptions, WriteOp, WriteOptions};
use dunlin_protocol::response::{ReadAnswer, Receipt};
use dunlin_protocol::{Bucket, DataEffect, Failure};
use dunlin_ring::{BucketId, NodeId, PartitionId};

use crate::sessions::InSession;

/// One request of a client.
#[derive(Clone, Debug)]
pub(crate) struct Op {
    /// Which client; the checking one after the end has the number after the last.
    pub(crate) client: usize,
    /// What was asked.
    pub(crate) action: Action,
    /// When it left the client.
    pub(crate) start: u64,
    /// When the client heard, or gave up.
    pub(crate) end: u64,
    /// What the client knows of it.
    pub(crate) outcome: Outcome,
    /// The owners among whom the node that was asked looked for an answer, where it did so itself.
    pub(crate) read_among: Vec<NodeId>,
    /// The session that it belongs to.
    pub(crate) session: Option<InSession>,
}

/// What was asked.
#[derive(Clone, Debug)]
pub(crate) enum Action {
    /// A change.
    Write {
        /// The bucket.
        bucket: BucketId,
        /// The key.
        key: Bytes,
        /// What to do.
        op: WriteOp,
        /// Names it across its retries.
        id: OpId,
        /// The quorums asked for.
        options: WriteOptions,
    },
    /// A read of a key.
    Read {
        /// The bucket.
        bucket: BucketId,
        /// The key.
        key: Bytes,
        /// What of it.
        query: Query,
        /// The quorums asked for.
        options: ReadOptions,
    },
    /// A page of keys.
    Keys {
        /// The bucket.
        bucket: BucketId,
        /// The partition.
        partition: PartitionId,
        /// Start after this key.
        after: Option<Bytes>,
        /// At most so many.
        limit: u32,
    },
    /// A bucket is made.
    Create(String),
    /// A bucket is dropped, by its name.
    Drop(String),
    /// An operator asks something of the cluster's shape.
    Reshape(ClusterRequest),
}

/// What a client knows of its request.
#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    /// It has no answer yet.
    Pending,
    /// It holds.
    Written(Receipt),
    /// It was read.
    Read(ReadAnswer),
    /// The bucket is there, or gone.
    Bucket(Box<Bucket>),
    /// This is the cluster's shape now.
    Shape(Box<ClusterState>),
    /// It failed, and the failure says what that means.
    Failed(Failure),
    /// It never left: nobody listened.
    NotSent,
    /// No answer came in time.
    NoAnswer,
}

impl Outcome {
    /// Whether the client was told that nothing was written.
    pub(crate) fn is_not_applied(&self) -> bool {
        match self {
            Self::Failed(failure) => failure.effect() == DataEffect::NotApplied,
            Self::NotSent => true,
            Self::Pending
            | Self::Written(_)
            | Self::Read(_)
            | Self::Bucket(_)
            | Self::Shape(_)
            | Self::NoAnswer => false,
        }
    }
}

/// A bucket as the clients came to know it.
#[derive(Clone, Debug)]
pub(crate) struct KnownBucket {
    /// The creation.
    pub(crate) bucket: Bucket,
    /// Whether some client asked to drop its name, and was not told that nothing was done.
    pub(crate) may_be_dropped: bool,
    /// Whether some client was told that it is not there.
    pub(crate) is_gone: bool,
}

/// All requests, in order of their start.
#[derive(Clone, Debug, Default)]
pub(crate) struct History {
    /// The requests.
    pub(crate) ops: Vec<Op>,
    /// Every bucket that was ever made.
    pub(crate) buckets: BTreeMap<BucketId, KnownBucket>,
    /// Those that no client drops.
    pub(crate) lasting: Vec<BucketId>,
    /// From this request on, nothing was going on but reading.
    pub(crate) final_from: usize,
}

impl History {
    /// The kind of a bucket's keys.
    pub(crate) fn kind(&self, bucket: BucketId) -> Option<Kind> {
        self.buckets.get(&bucket).map(|known| known.bucket.kind)
    }

    /// Whether the rows of a bucket may be gone because it was dropped.
    pub(crate) fn may_be_dropped(&self, bucket: BucketId) -> bool {
        self.buckets
            .get(&bucket)
            .is_none_or(|known| known.may_be_dropped)
    }

    /// Whether some client was told that a bucket is not there.
    pub(crate) fn is_gone(&self, bucket: BucketId) -> bool {
        self.buckets.get(&bucket).is_none_or(|known| known.is_gone)
    }

    /// The writes, each with its receipt and the dots that it names.
    pub(crate) fn receipts(&self) -> impl Iterator<Item = (&Op, &Receipt, Vec<Dot>)> {
        self.ops
            .iter()
            .filter_map(|op| match (&op.action, &op.outcome) {
                (Action::Write { .. }, Outcome::Written(receipt)) => {
                    let clock = receipt.context.clock().unwrap_or_else(|_| Clock::new());
                    Some((op, receipt, clock.dots().collect()))
                }
                _ => None,
            })
    }

    /// The attempts of each write, by its name.
    pub(crate) fn writes(&self) -> BTreeMap<OpId, Vec<&Op>> {
        let mut writes: BTreeMap<OpId, Vec<&Op>> = BTreeMap::new();
        for op in &self.ops {
            if let Action::Write { id, .. } = &op.action {
                writes.entry(*id).or_default().push(op);
            }
        }
        writes
    }
}
