//! The cluster as one node sees it at one moment: an immutable snapshot that every shard decides by.

use std::collections::BTreeMap;
use std::sync::Arc;

use dunlin_protocol::Bucket;
use dunlin_ring::{BucketId, Layout, NodeId, PartitionId};

/// Swapped whole, never changed.
#[derive(Clone, Debug)]
pub struct View {
    /// This node.
    pub me: NodeId,
    /// The newest layout.
    pub layout: Arc<Layout>,
    /// Every bucket, dropped ones too.
    pub buckets: Arc<BTreeMap<BucketId, Bucket>>,
    /// The other nodes.
    pub peers: BTreeMap<NodeId, PeerView>,
}

/// What this node thinks of another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PeerView {
    /// Whether it has been heard of lately.
    pub reachable: bool,
    /// The smoothed round trip in microseconds.
    pub rtt_us: u64,
}

impl View {
    /// Whether a message to the node is worth sending. This node always is.
    pub fn is_reachable(&self, node: NodeId) -> bool {
        node == self.me || self.peers.get(&node).is_some_and(|peer| peer.reachable)
    }

    /// The bucket, unless it is unknown, dropped, or was created second under its name.
    pub fn bucket(&self, id: BucketId) -> Option<&Bucket> {
        self.buckets.get(&id).filter(|bucket| !bucket.dropped)
    }

    /// Whether rows of the bucket are to be removed.
    pub fn is_dropped(&self, id: BucketId) -> bool {
        self.buckets.get(&id).is_some_and(|bucket| bucket.dropped)
    }

    /// The other owners of a partition.
    pub fn co_owners(&self, partition: PartitionId) -> Vec<NodeId> {
        let owners = self.layout.owners(partition).iter();
        owners.copied().filter(|node| *node != self.me).collect()
    }

    /// The nodes given, reachable ones only, nearest first; those as near stay in the order given.
    pub fn nearest(&self, nodes: impl IntoIterator<Item = NodeId>) -> Vec<NodeId> {
        let mut reachable: Vec<NodeId> = nodes
            .into_iter()
            .filter(|node| *node != self.me && self.is_reachable(*node))
            .collect();
        reachable.sort_by_key(|node| self.distance(*node));
        reachable
    }

    /// Round trips in steps of a power of two, so that noise does not send all reads to one node.
    fn distance(&self, node: NodeId) -> u32 {
        self.peers
            .get(&node)
            .map_or(u32::MAX, |peer| 64 - (peer.rtt_us / 1024).leading_zeros())
    }
}
