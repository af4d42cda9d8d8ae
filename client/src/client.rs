//! The client: a handle on a cluster, cheap to clone, and what is asked of the cluster as a whole.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dunlin_crdt::Kind;
use dunlin_decide::seen::Seen;
use dunlin_protocol::cluster::{ClusterRequest, ClusterState};
use dunlin_protocol::explain::KeyReport;
use dunlin_protocol::request::{Explain, Request};
use dunlin_protocol::response::Answer;
use dunlin_protocol::status::{NodeStatus, PartitionDigest};
use dunlin_protocol::{Bucket as BucketInfo, BucketDefaults, BucketName};
use dunlin_ring::{BucketId, Layout, NodeId, PartitionCount, PartitionId};
use tokio::time::timeout;

use crate::bucket::Bucket;
use crate::builder::ClientBuilder;
use crate::cluster::Cluster;
use crate::cluster::call::{Call, Place};
use crate::cluster::run::Reply;
use crate::error::Error;
use crate::node_ref::NodeRef;
use crate::options::Options;
use crate::session::Session;
use dunlin_decide::retry::Ended;

/// How long to wait for nodes to take note that the client closes.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// A handle on a cluster. Clones share connections, and any number of requests may be under way at
/// once; a request is given up by dropping its future, its outcome being unknown then.
#[derive(Clone)]
pub struct Client {
    cluster: Arc<Cluster>,
    options: Options,
}

/// A bucket that exists now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Created {
    /// The bucket.
    pub bucket: BucketInfo,
    /// The nodes known to have it; the others learn of it in time.
    pub known_by: Vec<NodeRef>,
}

/// A member of the cluster, as this client sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeView {
    /// The node.
    pub node: NodeRef,
    /// Where this client reaches it.
    pub address: String,
    /// Whether it is connected and answering.
    pub ready: bool,
}

/// Bytes on a node's disk before and after it returned what it could.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compacted {
    /// Before.
    pub before: u64,
    /// After.
    pub after: u64,
}

impl Client {
    /// Begins to describe a connection.
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// use dunlin_client::Client;
    ///
    /// let client = Client::builder()
    ///     .cluster_file("dunlin-dev/cluster.toml")
    ///     .connect()
    ///     .await?;
    /// # let _ = client;
    /// # Ok(())
    /// # }
    /// ```
    pub fn builder() -> ClientBuilder {
        ClientBuilder::new()
    }

    pub(crate) fn partitions(&self) -> PartitionCount {
        self.cluster.view().layout.partitions()
    }

    pub(crate) fn new(cluster: Arc<Cluster>, options: Options) -> Self {
        Self { cluster, options }
    }

    /// The same client, asking for this unless a handle says otherwise.
    #[must_use]
    pub fn with_options(&self, options: Options) -> Self {
        Self {
            cluster: self.cluster.clone(),
            options,
        }
    }

    /// Opens a bucket.
    ///
    /// # Errors
    /// [`Error::NoSuchBucket`] if none of the nodes asked knows one of this name.
    pub async fn bucket(&self, name: &str) -> Result<Bucket, Error> {
        let name = bucket_name(name)?;
        let info = open_bucket(&self.cluster, &name, self.options.timeout).await?;
        Ok(Bucket::new(self.cluster.clone(), info, self.options))
    }

    /// Begins a session: see [`Session`].
    pub fn session(&self) -> Session {
        Session::new(self.clone(), Seen::new(self.partitions()))
    }

    /// Creates a bucket. If there is one already that is the same in every respect, that is fine.
    ///
    /// # Errors
    /// [`Failure::BucketExists`](dunlin_protocol::Failure::BucketExists) in [`Error::Refused`] if
    /// there is one that differs.
    pub async fn create_bucket(
        &self,
        name: &str,
        kind: Kind,
        defaults: BucketDefaults,
    ) -> Result<Created, Error> {
        let request = Request::CreateBucket {
            name: bucket_name(name)?,
            kind,
            defaults,
        };
        let reply = self.ask(&request, Place::Anywhere).await?;
        match reply.answer {
            Answer::Created { bucket, known_by } => Ok(Created {
                bucket,
                known_by: reply.view.names(&known_by),
            }),
            _ => Err(unexpected(reply, "request to create a bucket")),
        }
    }

    /// Drops a bucket with all that is in it.
    ///
    /// # Errors
    /// [`Error::NoSuchBucket`] if the node asked knows none of this name.
    pub async fn drop_bucket(&self, name: &str) -> Result<BucketInfo, Error> {
        let bucket = bucket_name(name)?;
        let request = Request::DropBucket(bucket.clone());
        let reply = self
            .ask(&request, Place::Anywhere)
            .await
            .map_err(|error| error.about_bucket(&bucket))?;
        match reply.answer {
            Answer::Bucket(bucket) => Ok(bucket),
            _ => Err(unexpected(reply, "request to drop a bucket")),
        }
    }

    /// Every bucket that is not dropped, as one node knows them.
    ///
    /// # Errors
    /// [`Error`] if no node answers.
    pub async fn buckets(&self) -> Result<Vec<BucketInfo>, Error> {
        let reply = self.ask(&Request::ListBuckets, Place::Anywhere).await?;
        match reply.answer {
            Answer::Buckets(buckets) => Ok(buckets),
            _ => Err(unexpected(reply, "question for the buckets")),
        }
    }

    /// The layout that this client goes by. It follows newer ones by itself.
    pub fn layout(&self) -> Layout {
        self.cluster.view().layout.clone()
    }

    /// The members of that layout.
    pub fn nodes(&self) -> Vec<NodeView> {
        let view = self.cluster.view();
        view.nodes
            .iter()
            .map(|node| NodeView {
                node: node.name().clone(),
                address: node.address().to_owned(),
                ready: node.is_ready(),
            })
            .collect()
    }

    /// How a node is.
    ///
    /// # Errors
    /// [`Error`] if it does not answer; no other can.
    pub async fn status(&self, node: NodeId) -> Result<NodeStatus, Error> {
        let reply = self.ask(&Request::Status, Place::Node(node)).await?;
        match reply.answer {
            Answer::Status(status) => Ok(*status),
            _ => Err(unexpected(reply, "question for its status")),
        }
    }

    /// The digest of what a node holds of a partition, for comparing owners.
    ///
    /// # Errors
    /// [`Error`] if it does not answer; no other can.
    pub async fn digest(
        &self,
        node: NodeId,
        partition: PartitionId,
    ) -> Result<PartitionDigest, Error> {
        let reply = self
            .ask(&Request::Digest(partition), Place::Node(node))
            .await?;
        match reply.answer {
            Answer::Digest(digest) => Ok(digest),
            _ => Err(unexpected(reply, "question for a digest")),
        }
    }

    /// What a node itself holds under a key, to the dot: for finding out why a key reads as it does.
    ///
    /// # Errors
    /// [`Error`] if it does not answer; no other can.
    pub async fn explain(
        &self,
        node: NodeId,
        bucket: BucketId,
        key: impl Into<Bytes>,
    ) -> Result<KeyReport, Error> {
        let key = key.into();
        let request = Request::Explain(Explain { bucket, key });
        let reply = self.ask(&request, Place::Node(node)).await?;
        match reply.answer {
            Answer::Explained(report) => Ok(*report),
            _ => Err(unexpected(reply, "question for what it holds under a key")),
        }
    }

    /// Makes a node return the disk space of what was overwritten and deleted. That may take longer
    /// than a request usually may: give it a timeout to match.
    ///
    /// # Errors
    /// [`Error`] if it does not answer; no other can.
    pub async fn compact(&self, node: NodeId) -> Result<Compacted, Error> {
        let reply = self.ask(&Request::Compact, Place::Node(node)).await?;
        match reply.answer {
            Answer::Compacted { before, after } => Ok(Compacted { before, after }),
            _ => Err(unexpected(reply, "request to compact")),
        }
    }

    /// Asks a node about the shape of the cluster, or to change it: see [`ClusterRequest`]. Any node
    /// will do; without one named, the nearest is asked.
    ///
    /// # Errors
    /// [`Error`] if it does not answer, or refuses the change and says why.
    pub async fn shape(
        &self,
        node: Option<NodeId>,
        request: ClusterRequest,
    ) -> Result<ClusterState, Error> {
        let place = node.map_or(Place::Anywhere, Place::Node);
        let reply = self.ask(&Request::Cluster(request), place).await?;
        match reply.answer {
            Answer::Cluster(state) => Ok(*state),
            _ => Err(unexpected(reply, "request about the cluster's shape")),
        }
    }

    /// Closes the connections of this client and its clones, and waits until the nodes know, a second
    /// at most. Without it, nodes learn by a time-out when the process ends. Requests under way fail.
    pub async fn close(self) {
        // The nodes that did not hear of it notice by themselves.
        let _ = timeout(CLOSE_TIMEOUT, self.cluster.close()).await;
    }

    async fn ask(&self, request: &Request, place: Place) -> Result<Reply, Error> {
        let call = Call::new(request, place, self.options.timeout)?;
        self.cluster.run(&call).await
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("nodes", &self.nodes().len())
            .finish_non_exhaustive()
    }
}

/// The bucket of that name, as the first node says that knows it.
pub(crate) async fn open_bucket(
    cluster: &Arc<Cluster>,
    name: &BucketName,
    timeout: Duration,
) -> Result<BucketInfo, Error> {
    let request = Request::OpenBucket(name.clone());
    // A bucket may be so new that not every node has heard of it.
    let call = Call::new(&request, Place::Anywhere, timeout)?.no_such_bucket_is(Ended::NotHere);
    let reply = cluster
        .run(&call)
        .await
        .map_err(|error| error.about_bucket(name))?;
    match reply.answer {
        Answer::Bucket(bucket) => Ok(bucket),
        _ => Err(unexpected(reply, "question for a bucket")),
    }
}

pub(crate) fn unexpected(reply: Reply, question: &'static str) -> Error {
    Error::Unexpected {
        node: reply.coordinator,
        question,
    }
}

fn bucket_name(name: &str) -> Result<BucketName, Error> {
    name.parse()
        .map_err(|reason| Error::BadBucketName { reason })
}
