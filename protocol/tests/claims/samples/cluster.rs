//! What the cluster knows of itself.

use dunlin_crdt::Hlc;
use dunlin_protocol::cluster::{
    AppliedLayout, Change, ChangeId, ClusterEntry, ClusterRequest, ClusterState, LayoutId,
    NodeProgress, NodeState, StagedChange,
};
use dunlin_ring::NodeId;

use super::client::layout;
use super::pieces::{ADA, BEA, bucket};

fn id() -> LayoutId {
    LayoutId {
        applied: Hlc(0x20000),
        ..LayoutId::founding(&layout())
    }
}

fn applied() -> AppliedLayout {
    AppliedLayout {
        id: id(),
        layout: layout(),
        based_on: Some(LayoutId::founding(&layout())),
        settles: vec![ChangeId(4)],
    }
}

fn changes() -> Vec<Change> {
    let member = layout().members()[0].clone();
    vec![
        Change::Join(member.clone()),
        Change::Leave(ADA),
        Change::Replace {
            old: BEA,
            new: member,
        },
        Change::Zone {
            node: ADA,
            zone: "z2".to_owned(),
        },
        Change::Capacity {
            node: ADA,
            capacity: 7,
        },
        Change::Replicas(5),
    ]
}

fn progress() -> NodeProgress {
    NodeProgress {
        node: BEA,
        said: Hlc(0x30000),
        acked: Some(id()),
        synced: None,
        reads: None,
        filling: 2,
        handing_over: 1,
    }
}

fn staged(cancelled: bool) -> impl Iterator<Item = StagedChange> {
    let numbered = changes().into_iter().zip(1..);
    numbered.map(move |(change, number)| StagedChange {
        id: ChangeId(number),
        staged: Hlc(number << 16),
        change,
        cancelled,
    })
}

/// What is said of layouts that are complete.
pub(crate) fn retirement() -> Vec<ClusterEntry> {
    let reads = Some(id());
    vec![
        ClusterEntry::Retired(id()),
        ClusterEntry::Progress(NodeProgress {
            reads,
            ..progress()
        }),
    ]
}

/// One entry of every kind but those of [`retirement`].
pub(crate) fn entries() -> Vec<ClusterEntry> {
    let mut entries = vec![
        ClusterEntry::Bucket(bucket()),
        ClusterEntry::Layout(Box::new(applied())),
        ClusterEntry::Completed(id()),
        ClusterEntry::Progress(progress()),
    ];
    entries.extend(staged(true).map(ClusterEntry::Change));
    entries
}

pub(crate) fn requests() -> Vec<(&'static str, ClusterRequest)> {
    vec![
        ("Cluster.Stage", ClusterRequest::Stage(Change::Replicas(5))),
        ("Cluster.Unstage", ClusterRequest::Unstage),
        ("Cluster.Apply", ClusterRequest::Apply { based_on: id() }),
        ("Cluster.Revert", ClusterRequest::Revert),
    ]
}

pub(crate) fn state() -> ClusterState {
    ClusterState {
        complete: id(),
        layouts: vec![applied()],
        staged: staged(false).collect(),
        next: Some(Err("why not".to_owned())),
        nodes: vec![NodeState {
            node: NodeId(1),
            name: "ada".to_owned(),
            address: "ada:7400".to_owned(),
            reachable: true,
            progress: Some(progress()),
        }],
    }
}
