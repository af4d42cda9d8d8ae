//! Clusters for the tests of the commands about their shape.

use dunlin_client::NodeId;
use dunlin_client::status::NodeStatus;
use dunlin_crdt::Hlc;
use dunlin_protocol::cluster::{
    AppliedLayout, Change, ChangeId, ClusterState, LayoutId, NodeProgress, NodeState, StagedChange,
};
use dunlin_ring::{Layout, Member, MemberState, PartitionCount};

use super::shape::Shape;

pub(super) fn member(number: usize) -> Member {
    let name = format!("n{number}");
    Member {
        id: NodeId::from_name(&name),
        address: format!("{name}:7400"),
        zone: format!("z{number}"),
        name,
        capacity: 2,
        state: MemberState::Active,
    }
}

fn node(member: &Member) -> NodeState {
    NodeState {
        node: member.id,
        name: member.name.clone(),
        address: member.address.clone(),
        reachable: true,
        progress: None,
    }
}

/// `n1` to `n<nodes>`, three owners of each of 16 partitions; the node after them was heard of.
pub(super) fn state(nodes: usize) -> ClusterState {
    let members: Vec<Member> = (1..=nodes).map(member).collect();
    let mut known: Vec<NodeState> = members.iter().map(node).collect();
    known.push(node(&member(nodes + 1)));
    let layout = Layout::first(members, 3, PartitionCount::new(16).unwrap()).unwrap();
    let founding = AppliedLayout::founding(layout);
    ClusterState {
        complete: founding.id,
        layouts: vec![founding],
        staged: Vec::new(),
        next: None,
        nodes: known,
    }
}

/// Three nodes, with these changes staged, which make no layout.
pub(super) fn staged(changes: Vec<Change>) -> ClusterState {
    let numbered = (0..).zip(changes);
    let staged = numbered.map(|(number, change)| StagedChange {
        id: ChangeId(number),
        staged: Hlc(number),
        change,
        cancelled: false,
    });
    ClusterState {
        staged: staged.collect(),
        next: Some(Err("why not".to_owned())),
        ..state(3)
    }
}

/// Three nodes, and a fourth that is staged to join.
pub(super) fn joining() -> ClusterState {
    let mut state = staged(vec![Change::Join(member(4))]);
    let now = &state.layouts[0].layout;
    let next = now.next((1..=4).map(member).collect(), 3).unwrap();
    state.next = Some(Ok(Box::new(next)));
    state
}

/// The same, applied: a change is running.
pub(super) fn running() -> ClusterState {
    let mut state = joining();
    let layout = *state.next.take().unwrap().unwrap();
    state.staged.clear();
    let id = LayoutId {
        applied: Hlc(9),
        ..LayoutId::founding(&layout)
    };
    let based_on = Some(state.complete);
    let settles = vec![ChangeId(0)];
    state.layouts.insert(
        0,
        AppliedLayout {
            id,
            layout,
            based_on,
            settles,
        },
    );
    state
}

/// A node has said how far it is with the newest layout.
pub(super) fn says(state: &mut ClusterState, name: &str, filling: u32, handing_over: u32) {
    let newest = state.layouts[0].id;
    let node = NodeId::from_name(name);
    let known = state
        .nodes
        .iter_mut()
        .find(|known| known.node == node)
        .unwrap();
    known.progress = Some(NodeProgress {
        node,
        said: Hlc(10),
        acked: Some(newest),
        synced: (filling == 0).then_some(newest),
        reads: None,
        filling,
        handing_over,
    });
}

/// Every member is well; those named are down.
pub(super) fn shape(mut state: ClusterState, down: &[&str]) -> Shape {
    for known in &mut state.nodes {
        known.reachable = !down.contains(&&known.name[..]);
    }
    let newest = &state.layouts[0].layout;
    let said = newest.members().iter().map(|member| {
        let partitions = newest.owned_by(member.id).count() as u64;
        let status = NodeStatus {
            node: member.id,
            name: member.name.clone(),
            partitions,
            rows: partitions * 10,
            row_bytes: partitions * 1024,
            ..NodeStatus::default()
        };
        let said = match down.contains(&&member.name[..]) {
            true => Err("timed out".to_owned()),
            false => Ok(status),
        };
        (member.id, said)
    });
    let said = said.collect();
    Shape { state, said }
}
