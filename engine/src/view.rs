//! The cluster as one node sees it at one moment: an immutable snapshot that every shard decides by.

use std::collections::BTreeMap;
use std::sync::Arc;

use dunlin_protocol::Bucket;
use dunlin_protocol::cluster::{AppliedLayout, LayoutId};
use dunlin_ring::{BucketId, Layout, MemberState, NodeId, PartitionCount, PartitionId};

/// How far a node counts as whose round trip was not measured: as with one of some 30 ms.
const DISTANCE_UNKNOWN: u32 = 5;

/// Swapped whole, never changed.
#[derive(Clone, Debug)]
pub struct View {
    /// This node.
    pub me: NodeId,
    /// The active layouts.
    pub layouts: Arc<ActiveLayouts>,
    /// Whether every node that can be reached decides by the newest layout, and has no older write in
    /// progress: what is pulled from now on is all that was ever acknowledged under older ones.
    pub settled: bool,
    /// Whether no peer remembers more of this node's store than it held at its start: before that the node
    /// counts for no read, and writes under new actors.
    pub vouched: bool,
    /// Every bucket, dropped ones too.
    pub buckets: Arc<BTreeMap<BucketId, Bucket>>,
    /// The other nodes.
    pub peers: BTreeMap<NodeId, PeerView>,
}

/// The layouts that count now: most of the time one, which is newest and complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActiveLayouts {
    /// The newest first. Invariant: not empty.
    all: Vec<Arc<AppliedLayout>>,
    complete: Arc<AppliedLayout>,
}

impl ActiveLayouts {
    /// These layouts, the newest first, and the one of them that is complete.
    pub fn new(complete: &Arc<AppliedLayout>, mut all: Vec<Arc<AppliedLayout>>) -> Self {
        if all.is_empty() {
            all.push(Arc::clone(complete));
        }
        Self {
            all,
            complete: Arc::clone(complete),
        }
    }

    /// The newest layout.
    pub fn newest(&self) -> &AppliedLayout {
        self.all.first().unwrap_or(&self.complete)
    }

    /// The layout that reads go by: every owner holds what it owns there.
    pub fn complete(&self) -> &AppliedLayout {
        &self.complete
    }

    /// The oldest layout by which some node may still read: those before it are retired.
    pub fn oldest(&self) -> &AppliedLayout {
        self.all.last().unwrap_or(&self.complete)
    }

    /// Whether a change is under way.
    pub fn is_changing(&self) -> bool {
        self.all.len() > 1
    }

    /// All of them, the newest first.
    pub fn all(&self) -> impl Iterator<Item = &AppliedLayout> {
        self.all.iter().map(|layout| &**layout)
    }

    /// Their ids, the newest first.
    pub fn ids(&self) -> Vec<LayoutId> {
        self.all().map(|layout| layout.id).collect()
    }

    /// The members of all of them, each once.
    pub fn members(&self) -> Vec<&dunlin_ring::Member> {
        let mut members: BTreeMap<NodeId, &dunlin_ring::Member> = BTreeMap::new();
        for member in self.all().flat_map(|applied| applied.layout.members()) {
            members.entry(member.id).or_insert(member);
        }
        members.into_values().collect()
    }
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
    /// Q.
    pub fn partitions(&self) -> PartitionCount {
        self.complete().partitions()
    }

    /// The newest layout.
    pub fn newest(&self) -> &Layout {
        &self.layouts.newest().layout
    }

    /// The layout that reads go by.
    pub fn complete(&self) -> &Layout {
        &self.layouts.complete().layout
    }

    /// The owners that reads ask.
    pub fn readers(&self, partition: PartitionId) -> &[NodeId] {
        self.complete().owners(partition)
    }

    /// Whether the node owns the partition under any active layout.
    pub fn is_owner(&self, node: NodeId, partition: PartitionId) -> bool {
        let mut layouts = self.layouts.all();
        layouts.any(|applied| applied.layout.is_owner(node, partition))
    }

    /// The owners under any active layout, each once, those of the newest first.
    pub fn owners(&self, partition: PartitionId) -> Vec<NodeId> {
        let mut owners = Vec::new();
        for applied in self.layouts.all() {
            for owner in applied.layout.owners(partition) {
                if !owners.contains(owner) {
                    owners.push(*owner);
                }
            }
        }
        owners
    }

    /// The other owners of a partition, under any active layout.
    pub fn co_owners(&self, partition: PartitionId) -> Vec<NodeId> {
        let mut owners = self.owners(partition);
        owners.retain(|node| *node != self.me);
        owners
    }

    /// From whom everything has to be pulled before this node counts for a partition: the owners under
    /// any active layout, for any of them may be complete already by what others know, and then they
    /// write by nothing older. Of those that can't be reached the ones are left out that the newest
    /// layout does without: an operator has given them up.
    pub fn sources(&self, partition: PartitionId) -> Vec<NodeId> {
        let given_up = |node: NodeId| {
            let member = self.newest().member(node);
            !self.is_reachable(node)
                && member.is_none_or(|member| member.state == MemberState::Leaving)
        };
        let mut owners = self.co_owners(partition);
        owners.retain(|node| !given_up(*node));
        owners
    }

    /// Whether this node owns a partition under the newest layout, and does not under the complete one or
    /// one since then, so that it has to be filled before the newest is complete.
    pub fn gains(&self, partition: PartitionId) -> bool {
        let owns = |applied: &AppliedLayout| applied.layout.is_owner(self.me, partition);
        let complete = self.layouts.complete().id;
        let mut since = self.layouts.all().filter(|layout| layout.id >= complete);
        owns(self.layouts.newest()) && !since.all(owns)
    }

    /// Whether a message to the node is worth sending. This node always is.
    pub fn is_reachable(&self, node: NodeId) -> bool {
        node == self.me || self.peers.get(&node).is_some_and(|peer| peer.reachable)
    }

    /// Whether every partition that this node holds has other owners, and all of these can be reached.
    pub fn can_be_refilled(&self) -> bool {
        let mut held = self
            .partitions()
            .iter()
            .filter(|p| self.is_owner(self.me, *p));
        held.all(|partition| {
            let others = self.co_owners(partition);
            !others.is_empty() && others.iter().all(|node| self.is_reachable(*node))
        })
    }

    /// The bucket, unless it is unknown, dropped, or was created second under its name.
    pub fn bucket(&self, id: BucketId) -> Option<&Bucket> {
        self.buckets.get(&id).filter(|bucket| !bucket.dropped)
    }

    /// Whether rows of the bucket are to be removed.
    pub fn is_dropped(&self, id: BucketId) -> bool {
        self.buckets.get(&id).is_some_and(|bucket| bucket.dropped)
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
            .map_or(u32::MAX, |peer| match peer.rtt_us {
                0 => DISTANCE_UNKNOWN,
                rtt_us => 64 - (rtt_us / 1024).leading_zeros(),
            })
    }
}
