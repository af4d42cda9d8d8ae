//! What a client asks of a node.

use bytes::Bytes;
use dunlin_crdt::{Kind, OpId};
use dunlin_ring::{BucketId, Fallbacks, PartitionId, Quorum};
use serde::{Deserialize, Serialize};

use crate::bucket::{BucketDefaults, BucketName};
use crate::cluster::ClusterRequest;
use crate::context::Context;

/// One request. The frame around it carries its id and its deadline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// Change the data under one key.
    #[serde(rename = "w")]
    Write(Write),
    /// Read the data under one key.
    #[serde(rename = "r")]
    Read(Read),
    /// One page of the keys of a bucket in one partition.
    Keys(Keys),
    /// The active layout.
    Layout,
    /// The bucket that stands under a name.
    OpenBucket(BucketName),
    /// Create a bucket; answers the existing one if it is the same in every respect.
    CreateBucket {
        /// Its name.
        name: BucketName,
        /// What its keys are.
        kind: Kind,
        /// What requests get that ask for nothing else.
        defaults: BucketDefaults,
    },
    /// Drop a bucket with all that is in it.
    DropBucket(BucketName),
    /// Every bucket.
    ListBuckets,
    /// How this node is.
    Status,
    /// The digest of what this node holds of one partition, for comparing owners.
    Digest(PartitionId),
    /// What this node itself holds under one key, to the dot. Answered with `Explained`.
    Explain(Explain),
    /// Return the disk space of what was overwritten and deleted, now.
    Compact,
    /// To this node: about the shape of the cluster. Answered with `Cluster`.
    Cluster(ClusterRequest),
}

/// A change of the data under one key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Write {
    /// The bucket.
    #[serde(rename = "b")]
    pub bucket: BucketId,
    /// The key.
    #[serde(rename = "k")]
    pub key: Bytes,
    /// What to do.
    #[serde(rename = "o")]
    pub op: WriteOp,
    /// Names this request across its retries.
    #[serde(rename = "i")]
    pub id: OpId,
    /// How many must hold it.
    #[serde(rename = "q", default)]
    pub options: WriteOptions,
}

/// What to do to a key. Each fits the buckets that it names; others refuse it with `WrongKind`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WriteOp {
    /// `register`, `lww`: hold this value. In a register it replaces what `replaces` says.
    #[serde(rename = "p")]
    Put {
        /// The value.
        #[serde(rename = "v")]
        value: Bytes,
        /// What it replaces.
        #[serde(rename = "r")]
        replaces: Replace,
    },
    /// `counter`: add this much.
    #[serde(rename = "inc")]
    Increment(i64),
    /// `flag`: on.
    Enable,
    /// `flag`: off, as far as it was seen on.
    Disable,
    /// `max`, `min`: take a number into account.
    Observe(i64),
    /// `set`: add elements.
    #[serde(rename = "add")]
    Add(Vec<Bytes>),
    /// `set`: remove elements, as far as they were seen.
    Remove(Vec<Bytes>),
    /// `map`: change fields, all or none at each owner.
    #[serde(rename = "f")]
    Fields(Vec<FieldChange>),
    /// Any kind: remove what is there, as far as it was seen. A set or a map loses at most
    /// [`CHANGES_MAX`](crate::limits::CHANGES_MAX) rows a request; the receipt says if there are more.
    #[serde(rename = "d")]
    Delete(Replace),
}

/// One change of one field of a map.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldChange {
    /// The encoded path: [`FieldPath::subkey`](dunlin_crdt::FieldPath::subkey).
    #[serde(rename = "p")]
    pub path: Bytes,
    /// What to do; not `Fields` again.
    #[serde(rename = "o")]
    pub op: WriteOp,
}

/// What a write replaces.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Replace {
    /// What a read quorum shows at the moment. The coordinator reads first.
    #[serde(rename = "s")]
    Seen,
    /// What the context was given for, and nothing else. The empty context replaces nothing.
    #[serde(rename = "c")]
    Context(Context),
}

/// How many nodes must hold a write. `None` is the bucket's default.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WriteOptions {
    /// Nodes that hold it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub w: Option<Quorum>,
    /// Of those, owners.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pw: Option<Quorum>,
    /// Of those, nodes that have synced it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dw: Option<Quorum>,
    /// Whether others may hold it for owners that are away.
    #[serde(rename = "f", default = "allowed")]
    pub fallbacks: Fallbacks,
}

impl Default for WriteOptions {
    fn default() -> Self {
        Self {
            w: None,
            pw: None,
            dw: None,
            fallbacks: Fallbacks::Allowed,
        }
    }
}

/// A read of the data under one key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Read {
    /// The bucket.
    #[serde(rename = "b")]
    pub bucket: BucketId,
    /// The key.
    #[serde(rename = "k")]
    pub key: Bytes,
    /// What of it.
    #[serde(rename = "o")]
    pub query: Query,
    /// How many must answer.
    #[serde(rename = "q", default)]
    pub options: ReadOptions,
    /// For a read in a session: the dots of the partition that the session has seen or written, empty
    /// if none. The answer reflects them all, and says what the session has seen with it; or the read
    /// fails with `BehindSession`, or with `Unavailable` if no owner answers. A node that knows no sessions skips this field, and then its answer
    /// does not say: it must not be believed.
    #[serde(rename = "s", default, skip_serializing_if = "Option::is_none")]
    pub seen: Option<Context>,
}

/// What to read of a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Query {
    /// The value of a key of a kind with one row.
    #[serde(rename = "v")]
    Value,
    /// `set`: whether it has this element.
    #[serde(rename = "h")]
    Has(Bytes),
    /// `set`: a page of elements, in order.
    #[serde(rename = "e")]
    Elements(Page),
    /// `map`: one row, by its encoded path: a field of a kind with one row, or an element of a set.
    #[serde(rename = "f")]
    Field(Bytes),
    /// `map`: a page of rows whose encoded path starts with `prefix`.
    Fields {
        /// The encoded path of a set or a map in the map; empty for everything.
        prefix: Bytes,
        /// Which page.
        page: Page,
    },
    /// `set`, `map`: how many rows there are in a page of them.
    Count(Page),
}

/// A page: what comes after, and how much.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page {
    /// Start after this element, encoded path or key; from the beginning if `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Bytes>,
    /// At most this many, and never more than [`PAGE_MAX`](crate::limits::PAGE_MAX).
    pub limit: u32,
}

/// How many nodes must answer a read. `None` is the bucket's default.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadOptions {
    /// Nodes that answer. A fallback counts only if it shows something.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub r: Option<Quorum>,
    /// Of those, owners.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pr: Option<Quorum>,
    /// Whether fallbacks may answer where owners are away.
    #[serde(rename = "f", default = "allowed")]
    pub fallbacks: Fallbacks,
}

impl Default for ReadOptions {
    fn default() -> Self {
        Self {
            r: None,
            pr: None,
            fallbacks: Fallbacks::Allowed,
        }
    }
}

/// One page of the keys of a bucket in one partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keys {
    /// The bucket.
    pub bucket: BucketId,
    /// The partition.
    pub partition: PartitionId,
    /// Only keys that start with this.
    pub prefix: Bytes,
    /// Which page.
    pub page: Page,
    /// How many must answer.
    #[serde(default)]
    pub options: ReadOptions,
    /// As in a [`Read`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen: Option<Context>,
}

/// Which key to report on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explain {
    /// The bucket.
    #[serde(rename = "b")]
    pub bucket: BucketId,
    /// The key.
    #[serde(rename = "k")]
    pub key: Bytes,
}

fn allowed() -> Fallbacks {
    Fallbacks::Allowed
}
