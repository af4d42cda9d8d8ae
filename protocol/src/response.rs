//! What a node answers a client.

use bytes::Bytes;
use dunlin_crdt::Hlc;
use dunlin_ring::{Layout, LayoutNumber, NodeId};
use serde::{Deserialize, Serialize};

use crate::bucket::Bucket;
use crate::cluster::ClusterState;
use crate::context::Context;
use crate::error::Failure;
use crate::explain::KeyReport;
use crate::status::{NodeStatus, PartitionDigest};

/// An answer, and the layout of the node that gives it, so that a client notices a newer one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Response {
    /// The newest layout that the node knows.
    #[serde(rename = "l")]
    pub layout: LayoutNumber,
    /// The answer.
    #[serde(rename = "a")]
    pub answer: Answer,
}

/// The answer to a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// To `Write`.
    #[serde(rename = "w")]
    Written(Receipt),
    /// To `Read` and `Keys`.
    #[serde(rename = "r")]
    Read(ReadAnswer),
    /// To `Layout`.
    Layout(Box<Layout>),
    /// To `OpenBucket` and `DropBucket`.
    Bucket(Bucket),
    /// To `CreateBucket`.
    Created {
        /// The bucket.
        bucket: Bucket,
        /// The nodes known to have it; the others learn of it in time.
        known_by: Vec<NodeId>,
    },
    /// To `ListBuckets`.
    Buckets(Vec<Bucket>),
    /// To `Status`.
    Status(Box<NodeStatus>),
    /// To `Digest`.
    Digest(PartitionDigest),
    /// To `Explain`.
    Explained(Box<KeyReport>),
    /// To `Compact`: bytes on disk before and after.
    Compacted {
        /// Before.
        before: u64,
        /// After.
        after: u64,
    },
    /// The shape of the cluster.
    Cluster(Box<ClusterState>),
    /// To any request.
    #[serde(rename = "f")]
    Failed(Failure),
}

/// Who holds a write.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// The nodes that said so before the answer; others may hold it by now.
    #[serde(rename = "c")]
    pub copies: Vec<HeldBy>,
    /// The dots of this write: a context that has seen it, and nothing else.
    #[serde(rename = "x")]
    pub context: Context,
    /// Only for a delete of a set or map: there was more than one request removes.
    #[serde(rename = "m", default, skip_serializing_if = "is_done")]
    pub rest: Rest,
}

/// Whether a delete in pages has come to the end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Rest {
    /// Nothing is left to remove.
    #[default]
    Done,
    /// Ask again.
    More,
}

fn is_done(rest: &Rest) -> bool {
    *rest == Rest::Done
}

/// One copy of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct HeldBy {
    /// The node that holds it.
    #[serde(rename = "n")]
    pub node: NodeId,
    /// `None` if it is an owner; else the owner for which it keeps a hint.
    #[serde(rename = "h", default, skip_serializing_if = "Option::is_none")]
    pub hint_for: Option<NodeId>,
    /// Whether it has synced it.
    #[serde(rename = "s")]
    pub synced: bool,
}

/// What was read, and who said so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadAnswer {
    /// What was read.
    #[serde(rename = "v")]
    pub found: Found,
    /// The owners that answered.
    #[serde(rename = "o")]
    pub owners: Vec<NodeId>,
    /// The fallbacks whose hints were joined in. If there are any, owners did not suffice: the answer
    /// shows acknowledged writes but may miss others.
    #[serde(rename = "h", default, skip_serializing_if = "Vec::is_empty")]
    pub fallbacks: Vec<NodeId>,
    /// Only in a session, and always then: what to say there instead of what the request said, for all
    /// that it reflects. It can be less: what every owner holds for good need not be said again.
    #[serde(rename = "s", default, skip_serializing_if = "Option::is_none")]
    pub seen: Option<Context>,
}

/// What was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Found {
    /// Nothing is there. The quorum says so.
    #[serde(rename = "n")]
    Nothing,
    /// A register.
    #[serde(rename = "s")]
    Siblings {
        /// One value for each concurrent write.
        #[serde(rename = "v")]
        values: Vec<Bytes>,
        /// To be given with the write that settles them.
        #[serde(rename = "x")]
        context: Context,
    },
    /// An lww.
    #[serde(rename = "l")]
    Latest {
        /// The value.
        #[serde(rename = "v")]
        value: Bytes,
        /// When it was written.
        #[serde(rename = "t")]
        stamp: Hlc,
    },
    /// A counter.
    #[serde(rename = "c")]
    Sum(i64),
    /// A flag that is on.
    On,
    /// A max or min.
    Extreme(i64),
    /// A set has the element.
    Present,
    /// A page of elements.
    #[serde(rename = "e")]
    Elements {
        /// In order.
        items: Vec<Bytes>,
        /// Where the next page starts (its `after`), if there may be one.
        next: Option<Bytes>,
    },
    /// A page of a map's rows.
    Fields {
        /// In order of their encoded paths.
        items: Vec<FieldItem>,
        /// Where the next page starts, if there may be one.
        next: Option<Bytes>,
    },
    /// How many rows a page has.
    Count {
        /// How many.
        count: u64,
        /// Where the next page starts, if there may be one.
        next: Option<Bytes>,
    },
    /// A page of keys.
    Keys {
        /// In order.
        items: Vec<Bytes>,
        /// Where the next page starts, if there may be one.
        next: Option<Bytes>,
    },
}

/// One row of a map.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldItem {
    /// The encoded path, with the element after it below a set.
    #[serde(rename = "p")]
    pub path: Bytes,
    /// What it holds.
    #[serde(rename = "v")]
    pub value: Found,
}
