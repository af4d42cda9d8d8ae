//! A node as people know it: its id with its name.

use std::fmt;
use std::sync::Arc;

use dunlin_ring::NodeId;

/// A node, and what operators call it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NodeRef {
    /// Its id.
    pub id: NodeId,
    /// Its name, or nothing if the client's layout does not have the node.
    pub name: Option<Arc<str>>,
}

impl fmt::Display for NodeRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => f.pad(name),
            None => write!(f, "node {}", self.id),
        }
    }
}

/// Names in a row, for messages: `n1, n2`.
pub(crate) struct Names<'a>(pub(crate) &'a [NodeRef]);

impl fmt::Display for Names<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, node) in self.0.iter().enumerate() {
            let comma = if at == 0 { "" } else { ", " };
            write!(f, "{comma}{node}")?;
        }
        Ok(())
    }
}
