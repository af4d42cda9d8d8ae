//! What the cluster knows of itself: layouts, the changes that operators stage, and how far each node
//! has followed. Every piece is an entry of one map that all nodes merge alike, see
//! [`ClusterEntry`].

use std::fmt;

use dunlin_crdt::Hlc;
use dunlin_ring::{Layout, LayoutNumber, Member, NodeId};
use serde::{Deserialize, Serialize};

use crate::bucket::Bucket;

/// Names a layout that was applied. Two operators on two sides of a split can apply two layouts under
/// one number; of these the later by stamp stands, then the one with the higher digest: the order of
/// ids.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LayoutId {
    /// Its number.
    #[serde(rename = "n")]
    pub number: LayoutNumber,
    /// When it was applied; zero for the layout that the cluster was born with.
    #[serde(rename = "t")]
    pub applied: Hlc,
    /// The layout's digest.
    #[serde(rename = "d")]
    pub digest: u64,
}

impl LayoutId {
    /// The id of the layout that a cluster was born with: every founder finds the same.
    pub fn founding(layout: &Layout) -> Self {
        Self {
            number: layout.number(),
            applied: Hlc::default(),
            digest: layout.digest(),
        }
    }
}

impl fmt::Display for LayoutId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:08x}", self.number, self.digest >> 32)
    }
}

/// A layout that was applied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppliedLayout {
    /// Its id.
    #[serde(rename = "i")]
    pub id: LayoutId,
    /// Who owns what.
    #[serde(rename = "l")]
    pub layout: Layout,
    /// The newest layout when it was applied; `None` for the first.
    #[serde(rename = "b", default, skip_serializing_if = "Option::is_none")]
    pub based_on: Option<LayoutId>,
    /// Every staged change that this layout or one that it is based on has carried out.
    #[serde(rename = "s", default, skip_serializing_if = "Vec::is_empty")]
    pub settles: Vec<ChangeId>,
}

impl AppliedLayout {
    /// The layout that a cluster is born with.
    pub fn founding(layout: Layout) -> Self {
        Self {
            id: LayoutId::founding(&layout),
            layout,
            based_on: None,
            settles: Vec::new(),
        }
    }
}

/// Names a staged change; drawn at random.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ChangeId(pub u64);

/// A change of the layout that an operator has staged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StagedChange {
    /// Its id.
    #[serde(rename = "i")]
    pub id: ChangeId,
    /// When it was staged: of two changes to one thing the later counts.
    #[serde(rename = "t")]
    pub staged: Hlc,
    /// What shall change.
    #[serde(rename = "c")]
    pub change: Change,
    /// Whether it was taken back; for ever.
    #[serde(rename = "x", default, skip_serializing_if = "std::ops::Not::not")]
    pub cancelled: bool,
}

/// One change of a layout.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// This node becomes a member, or a leaving one stays.
    #[serde(rename = "j")]
    Join(Member),
    /// This member gives up all that it owns.
    #[serde(rename = "l")]
    Leave(NodeId),
    /// One member takes the place of another, which leaves.
    #[serde(rename = "r")]
    Replace {
        /// Who leaves.
        #[serde(rename = "o")]
        old: NodeId,
        /// Who takes its place.
        #[serde(rename = "n")]
        new: Member,
    },
    /// A member is in another zone.
    #[serde(rename = "z")]
    Zone {
        /// Which member.
        #[serde(rename = "o")]
        node: NodeId,
        /// Its zone from now on.
        #[serde(rename = "z")]
        zone: String,
    },
    /// A member carries more or less.
    #[serde(rename = "w")]
    Capacity {
        /// Which member.
        #[serde(rename = "o")]
        node: NodeId,
        /// Its capacity from now on.
        #[serde(rename = "w")]
        capacity: u32,
    },
    /// N changes.
    #[serde(rename = "n")]
    Replicas(u8),
}

/// How far one node has followed the active layouts. Only that node writes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeProgress {
    /// Which node.
    #[serde(rename = "o")]
    pub node: NodeId,
    /// When it said so: its later word counts.
    #[serde(rename = "t")]
    pub said: Hlc,
    /// The newest layout that it decides by, none of its writes in progress being older.
    #[serde(rename = "a", default, skip_serializing_if = "Option::is_none")]
    pub acked: Option<LayoutId>,
    /// The newest layout of which it holds all that it owns.
    #[serde(rename = "s", default, skip_serializing_if = "Option::is_none")]
    pub synced: Option<LayoutId>,
    /// The complete layout that all its reads go by.
    #[serde(rename = "r", default, skip_serializing_if = "Option::is_none")]
    pub reads: Option<LayoutId>,
    /// Partitions of the newest layout that it has yet to fill.
    #[serde(rename = "f", default)]
    pub filling: u32,
    /// Partitions that it holds, does not own by the newest layout, and has yet to hand over.
    #[serde(rename = "h", default)]
    pub handing_over: u32,
}

/// One piece of what the cluster knows of itself. Nodes merge these in any order and any number of
/// times, and end with the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ClusterEntry {
    /// A creation of a bucket.
    #[serde(rename = "b")]
    Bucket(Bucket),
    /// A layout that was applied.
    #[serde(rename = "l")]
    Layout(Box<AppliedLayout>),
    /// Every owner of this layout holds what it owns: reads go by it.
    #[serde(rename = "d")]
    Completed(LayoutId),
    /// Every node's reads go by this layout, or a newer one: those before it are retired.
    #[serde(rename = "r")]
    Retired(LayoutId),
    /// A staged change.
    #[serde(rename = "c")]
    Change(StagedChange),
    /// How far a node is.
    #[serde(rename = "p")]
    Progress(NodeProgress),
}

/// What an operator asks of the cluster's shape.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ClusterRequest {
    /// How is it?
    Describe,
    /// Stage this change.
    Stage(Change),
    /// Take back every change that is staged.
    Unstage,
    /// Make the staged changes the next layout, provided that the newest is still this one.
    Apply {
        /// The newest layout as the operator knows it.
        based_on: LayoutId,
    },
    /// Go back to the last layout that was completed.
    Revert,
}

/// The cluster's shape as one node sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterState {
    /// The last layout that was completed: reads go by it.
    pub complete: LayoutId,
    /// The active layouts, the newest first. Writes satisfy each. Behind the completed one are those by which
    /// some node may still read.
    pub layouts: Vec<AppliedLayout>,
    /// Staged changes that no layout has carried out, in the order in which they were staged.
    pub staged: Vec<StagedChange>,
    /// The layout that the staged changes would make, or why they make none.
    pub next: Option<Result<Box<Layout>, String>>,
    /// What is known of each node.
    pub nodes: Vec<NodeState>,
}

/// A node as another one sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeState {
    /// Which node.
    pub node: NodeId,
    /// Its name.
    pub name: String,
    /// Where it is reached.
    pub address: String,
    /// Whether it can be reached.
    pub reachable: bool,
    /// How far it is, as last heard.
    pub progress: Option<NodeProgress>,
}
