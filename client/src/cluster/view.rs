//! The layout with a node behind each member: an immutable snapshot, swapped whole.

use std::sync::Arc;

use dunlin_protocol::Failure;
use dunlin_ring::{Layout, NodeId};

use super::node::Node;
use crate::node_ref::NodeRef;

pub(crate) struct View {
    pub(crate) layout: Layout,
    /// In the order of the layout's members, which is that of their ids.
    pub(crate) nodes: Vec<Arc<Node>>,
}

impl View {
    /// The node of that id.
    pub(crate) fn node(&self, id: NodeId) -> Option<&Arc<Node>> {
        self.nodes
            .binary_search_by_key(&id, |node| node.id())
            .ok()
            .and_then(|position| self.nodes.get(position))
    }

    /// The name of a node, members or not.
    pub(crate) fn name(&self, id: NodeId) -> NodeRef {
        match self.node(id) {
            Some(node) => node.name().clone(),
            None => NodeRef { id, name: None },
        }
    }

    /// The names of several.
    pub(crate) fn names(&self, ids: &[NodeId]) -> Vec<NodeRef> {
        ids.iter().map(|id| self.name(*id)).collect()
    }

    /// The nodes that a failure speaks of.
    pub(crate) fn named_in(&self, failure: &Failure) -> Vec<NodeRef> {
        match failure {
            Failure::Unavailable { reachable, .. } => self.names(reachable),
            Failure::ReadTimeout { answered, .. } | Failure::BehindSession { answered, .. } => {
                self.names(answered)
            }
            Failure::WriteTimeout { copies, .. } | Failure::Partial { copies, .. } => {
                copies.iter().map(|copy| self.name(copy.node)).collect()
            }
            Failure::Lost { to } => vec![self.name(*to)],
            Failure::NoSuchBucket
            | Failure::BucketExists { .. }
            | Failure::WrongKind { .. }
            | Failure::TooLarge { .. }
            | Failure::Invalid { .. }
            | Failure::QuorumTooLarge { .. }
            | Failure::Overloaded
            | Failure::StorageFull
            | Failure::StorageFailed
            | Failure::CounterOverflow
            | Failure::TooManySiblings { .. }
            | Failure::Expired
            | Failure::NotOwner
            | Failure::ChangeRefused { .. }
            | Failure::NotUnderstood => Vec::new(),
        }
    }
}
