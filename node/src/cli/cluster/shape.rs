//! What the commands about the cluster's shape go by: the shape as one node tells it, and every node's
//! own word on itself.
//!
//! Each member is asked directly; nobody speaks for another. Only of nodes that are no members of the
//! newest layout (newcomers, and those that have left) the word of the node that was asked is all there
//! is.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use dunlin_client::status::NodeStatus;
use dunlin_client::{Client, NodeId, Options};
use dunlin_protocol::cluster::{AppliedLayout, Change, ClusterRequest, ClusterState, NodeState};
use dunlin_ring::{Layout, Member, MemberState, Moves};
use tokio::task::JoinSet;

use crate::cli::fault::{Fault, reason};
use crate::cli::session::Session;
use crate::cli::text::shell_word;

/// How long a node may take to say how it is: it has the answer at hand.
pub(super) const TIMEOUT: Duration = Duration::from_secs(2);
/// How long a change may take: the node that is asked keeps it, and tells the others.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(10);

/// What a node said of itself; `Err` with the reason if it did not answer; absent if it was not asked.
pub(super) type Said = BTreeMap<NodeId, Result<NodeStatus, String>>;

/// The shape of a cluster.
#[derive(Clone, Debug)]
pub(super) struct Shape {
    /// As one node tells it.
    pub(super) state: ClusterState,
    /// What each member said.
    pub(super) said: Said,
}

/// Connects, to change something.
pub(super) async fn connect(session: &Session) -> Result<Client, Fault> {
    session
        .connect(Options::new().timeout(CHANGE_TIMEOUT))
        .await
}

/// Asks one node, the nearest, for the shape of the cluster.
pub(in crate::cli) async fn describe(client: &Client) -> Result<ClusterState, Fault> {
    let described = client.shape(None, ClusterRequest::Describe).await;
    described.map_err(Fault::Read)
}

/// Asks for a change of the shape.
pub(super) async fn change(
    client: &Client,
    request: ClusterRequest,
) -> Result<ClusterState, Fault> {
    client.shape(None, request).await.map_err(Fault::Change)
}

/// The shape, and every member's word.
pub(super) async fn look(client: &Client) -> Result<Shape, Fault> {
    let state = describe(client).await?;
    let asked = client.with_options(Options::new().timeout(TIMEOUT));
    let mut asking = JoinSet::new();
    for member in client.layout().members() {
        let (client, node) = (asked.clone(), member.id);
        asking.spawn(async move { (node, client.status(node).await) });
    }
    let answers = asking.join_all().await.into_iter();
    let said = answers.map(|(node, said)| (node, said.map_err(|error| reason(&error))));
    Ok(Shape {
        state,
        said: said.collect(),
    })
}

impl Shape {
    /// Who is down: members that did not answer, and others that the node asked cannot reach.
    pub(super) fn down(&self) -> BTreeSet<NodeId> {
        let members = members(&self.state).into_iter().map(|member| member.id);
        members.filter(|node| self.is_down(*node)).collect()
    }

    /// Whether this node is.
    pub(super) fn is_down(&self, node: NodeId) -> bool {
        match self.said.get(&node) {
            Some(said) => said.is_err(),
            None => node_state(&self.state, node).is_none_or(|state| !state.reachable),
        }
    }
}

/// The newest layout.
pub(super) fn newest(state: &ClusterState) -> Result<&AppliedLayout, Fault> {
    state.layouts.first().ok_or_else(no_layout)
}

/// The layout that reads go by.
pub(super) fn complete(state: &ClusterState) -> Result<&AppliedLayout, Fault> {
    let mut layouts = state.layouts.iter();
    layouts
        .find(|applied| applied.id == state.complete)
        .ok_or_else(no_layout)
}

fn no_layout() -> Fault {
    Fault::Refused {
        what: "the node that was asked shows no layout".to_owned(),
        advice: "use the version of dunlin that the nodes have".to_owned(),
    }
}

/// Whether a layout is on its way: not complete yet, or those before it not retired.
pub(super) fn is_running(state: &ClusterState) -> bool {
    state.layouts.len() > 1
}

/// The members of all active layouts, each once, as the newest has them; by name. A layout keeps a node
/// that leaves by it, which is none any more when no other layout is active.
pub(super) fn members(state: &ClusterState) -> Vec<&Member> {
    let mut members: BTreeMap<NodeId, &Member> = BTreeMap::new();
    for member in state.layouts.iter().flat_map(|l| l.layout.members()) {
        members.entry(member.id).or_insert(member);
    }
    let layouts = || state.layouts.iter();
    let owners: BTreeSet<NodeId> = layouts()
        .flat_map(|applied| active(&applied.layout))
        .map(|member| member.id)
        .collect();
    let members = members.into_values();
    let mut members: Vec<&Member> = members.filter(|m| owners.contains(&m.id)).collect();
    members.sort_by(|a, b| by_name(&a.name, &b.name));
    members
}

/// Nodes that were heard of and are members of no active layout; by name.
pub(super) fn newcomers(state: &ClusterState) -> Vec<&NodeState> {
    let members: BTreeSet<NodeId> = members(state).iter().map(|member| member.id).collect();
    let others = state.nodes.iter();
    let mut others: Vec<&NodeState> = others
        .filter(|node| !members.contains(&node.node))
        .collect();
    others.sort_by(|a, b| by_name(&a.name, &b.name));
    others
}

/// `n2` comes before `n10`.
pub(super) fn by_name(a: &str, b: &str) -> std::cmp::Ordering {
    let key = |name: &str| {
        let head = name.trim_end_matches(|c: char| c.is_ascii_digit()).len();
        let (head, digits) = name.split_at_checked(head).unwrap_or((name, ""));
        (head.to_owned(), digits.parse::<u64>().unwrap_or(0))
    };
    key(a).cmp(&key(b)).then_with(|| a.cmp(b))
}

/// What the node that was asked knows of another.
pub(super) fn node_state(state: &ClusterState, node: NodeId) -> Option<&NodeState> {
    state.nodes.iter().find(|known| known.node == node)
}

/// The members that own something.
pub(super) fn active(layout: &Layout) -> impl Iterator<Item = &Member> {
    let members = layout.members().iter();
    members.filter(|member| member.state == MemberState::Active)
}

/// What operators call a node: a member, one that was heard of, or one in a staged change.
pub(in crate::cli) fn name(state: &ClusterState, node: NodeId) -> String {
    let members = members(state);
    let member = members.iter().find(|member| member.id == node);
    let joining = state.staged.iter().find_map(|staged| match &staged.change {
        Change::Join(new) | Change::Replace { new, .. } if new.id == node => Some(&new.name),
        _ => None,
    });
    let known = member.map(|member| &member.name).or(joining);
    let known = known.or_else(|| node_state(state, node).map(|known| &known.name));
    known.cloned().unwrap_or_else(|| format!("node {node}"))
}

/// Several, for people: `n1, n2`.
pub(super) fn name_all(state: &ClusterState, nodes: impl IntoIterator<Item = NodeId>) -> String {
    let mut names: Vec<String> = nodes.into_iter().map(|node| name(state, node)).collect();
    names.sort_by(|a, b| by_name(a, b));
    names.join(", ")
}

/// A staged change, for people.
pub(super) fn words(state: &ClusterState, change: &Change) -> String {
    let place = |member: &Member| format!("zone {}, capacity {}", member.zone, member.capacity);
    match change {
        Change::Join(member) => {
            format!(
                "{} joins, at {}, {}",
                member.name,
                member.address,
                place(member)
            )
        }
        Change::Leave(node) => format!("{} leaves", name(state, *node)),
        Change::Replace { old, new } => format!(
            "{} takes the place of {}, at {}, {}",
            new.name,
            name(state, *old),
            new.address,
            place(new)
        ),
        Change::Zone { node, zone } => format!("{} is in zone {zone}", name(state, *node)),
        Change::Capacity { node, capacity } => {
            format!("{} has capacity {capacity}", name(state, *node))
        }
        Change::Replicas(n) => format!("{n} copies of everything"),
    }
}

/// How far the running change is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Progress {
    /// Partitions that nodes have to take over.
    pub(super) all: u64,
    /// Of those, how many they have.
    pub(super) done: u64,
}

impl Progress {
    /// Of the newest layout, by what nodes have said.
    pub(super) fn of(state: &ClusterState) -> Result<Self, Fault> {
        let (from, to) = (complete(state)?, newest(state)?);
        let moves = Moves::between(&from.layout, &to.layout);
        let (mut all, mut done) = (0, 0);
        for node in moves.nodes() {
            let gains = node.gains.len() as u64;
            all += gains;
            done += gains.saturating_sub(to_fill(state, node.node, gains));
        }
        Ok(Self { all, done })
    }

    /// In percent; all of nothing is 100.
    pub(super) fn percent(self) -> u64 {
        (self.done * 100).checked_div(self.all).unwrap_or(100)
    }
}

/// Of so many partitions that a node gains, how many it has yet to fill. Until it has said that it goes
/// by the newest layout, that is all of them.
pub(super) fn to_fill(state: &ClusterState, node: NodeId, gains: u64) -> u64 {
    let newest = state.layouts.first().map(|newest| newest.id);
    let progress = node_state(state, node).and_then(|known| known.progress.as_ref());
    match progress {
        Some(progress) if progress.synced == newest => 0,
        Some(progress) if progress.acked == newest => u64::from(progress.filling).min(gains),
        Some(_) | None => gains,
    }
}

/// A command of ours, to be pasted: with the cluster file, if it was named.
pub(super) fn paste(session: &Session, command: &str) -> String {
    let file = session.named_file().map(|file| file.to_string_lossy());
    match file {
        None => format!("dunlin {command}"),
        Some(file) => format!("dunlin {command} --cluster {}", shell_word(&file)),
    }
}

/// `1 node`, `2 nodes`.
pub(in crate::cli) fn counted(number: u64, one: &str, many: &str) -> String {
    let number_text = crate::cli::progress::count(number);
    format!("{number_text} {}", if number == 1 { one } else { many })
}
