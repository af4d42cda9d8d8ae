//! `dunlin cluster status`: how the cluster is, and what every node says of itself.
//!
//! Each node of the cluster file, and each other member of an active layout, is asked directly; nobody
//! speaks for another. A node that does not answer is shown as down, with the reason. Nodes that were
//! heard of and are no members are listed too: they wait to be taken in, or have left.

use std::time::Duration;

use dunlin_client::cluster_file::{ClusterFile, ClusterFileNode};
use dunlin_client::status::{NodeStatus, StartReport, StorageState};
use dunlin_client::{ConnectError, NodeId, Options};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::peers;
use super::shape::{Shape, look, members, newcomers, paste};
use super::verdict::Verdict;
use crate::cli::ended::Ended;
use crate::cli::fault::Fault;
use crate::cli::output::Output;
use crate::cli::progress::{bytes, count, time};
use crate::cli::session::Session;
use crate::cli::table::{Lean, Table};

/// How long it may take to find out the shape of the cluster.
const TIMEOUT: Duration = Duration::from_secs(2);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(500);

/// A node, and what is known of it.
struct Node {
    name: String,
    address: String,
    word: Word,
}

/// What is known of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Word {
    /// What it said.
    Said(Box<NodeStatus>),
    /// Why it did not.
    Down(String),
    /// It is there, and no member of the newest layout.
    Outside,
    /// It has left: it owns nothing, and need not be there.
    Left,
    /// The cluster file lists it, and nobody has heard of it.
    Unheard,
}

/// What was found at one look.
struct Look {
    nodes: Vec<Node>,
    /// Nothing if no node answers.
    found: Option<(Shape, Verdict)>,
}

/// `dunlin cluster status`
pub(super) async fn run(
    session: &Session,
    out: &mut Output,
    with_peers: bool,
    wait: Option<Duration>,
) -> Result<Ended, Fault> {
    let deadline = Instant::now() + wait.unwrap_or_default();
    let mut seen = Look::take(session).await?;
    while !seen.is_safe() && Instant::now() < deadline {
        sleep(PAUSE).await;
        seen = Look::take(session).await?;
    }
    let verdict = seen.found.as_ref().map(|(_, verdict)| verdict);
    show(out, session, &seen.nodes, verdict)?;
    if let Some((shape, _)) = seen.found.as_ref().filter(|_| with_peers && !out.is_json()) {
        let said = shape.said.values().filter_map(|said| said.as_ref().ok());
        out.line("")?;
        peers::table(said).show(out)?;
    }
    let is_well = match wait {
        Some(_) => seen.is_safe(),
        None => seen.found.is_some(),
    };
    Ok(if is_well { Ended::Done } else { Ended::No })
}

impl Look {
    async fn take(session: &Session) -> Result<Self, Fault> {
        let file = ClusterFile::load(session.cluster_file()).map_err(ConnectError::from)?;
        let listed: Vec<ClusterFileNode> = file.listed().cloned().collect();
        let client = match session.connect(Options::new().timeout(TIMEOUT)).await {
            Ok(client) => client,
            Err(Fault::Connect(ConnectError::NoneReachable { reasons, .. })) => {
                let nodes = all_down(listed, &reasons);
                return Ok(Self { nodes, found: None });
            }
            Err(fault) => return Err(fault),
        };
        let shape = look(&client).await?;
        let verdict = Verdict::of(&shape)?;
        let nodes = nodes_of(listed, &shape);
        let found = Some((shape, verdict));
        Ok(Self { nodes, found })
    }

    fn is_safe(&self) -> bool {
        let verdict = self.found.as_ref().map(|(_, verdict)| verdict);
        verdict.is_some_and(Verdict::is_safe)
    }
}

fn show(
    out: &mut Output,
    session: &Session,
    nodes: &[Node],
    verdict: Option<&Verdict>,
) -> Result<(), Fault> {
    let up = nodes
        .iter()
        .filter(|node| matches!(node.word, Word::Said(_)));
    let up = up.count();
    if out.is_json() {
        let all: Value = nodes.iter().map(json_of).collect();
        let mut object = verdict.map_or_else(|| json!({ "safe": false }), Verdict::json);
        object["nodes"] = all;
        object["up"] = json!(up);
        out.json_line(&object)?;
        return Ok(());
    }
    match verdict {
        Some(verdict) => verdict.lines().iter().try_for_each(|line| out.line(line))?,
        None => out.line("no node answers: nothing can be read or written from here")?,
    }
    out.line("")?;
    table(nodes).show(out)?;
    let left = nodes.iter().filter(|node| node.word == Word::Left);
    let left: Vec<&str> = left.map(|node| &*node.name).collect();
    for node in nodes {
        for line in remarks(node, &left, session) {
            let name = out.alarming(&node.name);
            out.line(&format!("{name}: {line}"))?;
        }
    }
    Ok(())
}

/// The nodes of the cluster file in its order, then other members, then newcomers.
fn nodes_of(listed: Vec<ClusterFileNode>, shape: &Shape) -> Vec<Node> {
    let members = members(&shape.state);
    let members = members.iter().map(|m| (m.name.clone(), m.address.clone()));
    let heard = newcomers(&shape.state).into_iter();
    let heard = heard.map(|node| (node.name.clone(), node.address.clone()));
    let mut places: Vec<(String, String)> = Vec::new();
    let listed = listed.into_iter().map(|node| (node.name, node.address));
    for (name, address) in listed.chain(members).chain(heard) {
        if places.iter().all(|(known, _)| *known != name) {
            places.push((name, address));
        }
    }
    let node = |(name, address): (String, String)| Node {
        word: word(shape, &name),
        name,
        address,
    };
    places.into_iter().map(node).collect()
}

fn word(shape: &Shape, name: &str) -> Word {
    let id = NodeId::from_name(name);
    let known = super::shape::node_state(&shape.state, id);
    let is_member = members(&shape.state).iter().any(|member| member.id == id);
    if !is_member && shape.said.contains_key(&id) {
        return Word::Left;
    }
    match (shape.said.get(&id), known) {
        (Some(Ok(status)), _) => Word::Said(Box::new(status.clone())),
        (Some(Err(reason)), _) => Word::Down(reason.clone()),
        (None, Some(known)) if known.reachable => Word::Outside,
        (None, Some(_)) => Word::Down("other nodes do not reach it".to_owned()),
        (None, None) => Word::Unheard,
    }
}

fn all_down(listed: Vec<ClusterFileNode>, reasons: &[(String, String)]) -> Vec<Node> {
    let reason = |address: &str| {
        let found = reasons.iter().find(|(at, _)| at == address);
        found.map_or_else(|| "no answer".to_owned(), |(_, reason)| reason.clone())
    };
    let down = |node: ClusterFileNode| Node {
        word: Word::Down(reason(&node.address)),
        name: node.name,
        address: node.address,
    };
    listed.into_iter().map(down).collect()
}

/// Colour would count as width, so it is left to the remarks.
fn table(nodes: &[Node]) -> Table {
    let mut table = Table::new([
        ("NODE", Lean::Left),
        ("ADDRESS", Lean::Left),
        ("STATE", Lean::Left),
        ("LAYOUT", Lean::Right),
        ("UP FOR", Lean::Right),
        ("PARTITIONS", Lean::Right),
        ("ROWS", Lean::Right),
        ("BYTES", Lean::Right),
        ("HINTS", Lean::Right),
        ("BEHIND", Lean::Right),
        ("ACTORS", Lean::Right),
        ("DISK", Lean::Right),
        ("FREE", Lean::Right),
        ("SYNCED", Lean::Left),
    ]);
    for node in nodes {
        let cells = match &node.word {
            Word::Said(status) => cells(status),
            Word::Down(_) => vec!["down".to_owned()],
            Word::Left => vec!["has left".to_owned()],
            Word::Outside | Word::Unheard => vec!["no member".to_owned()],
        };
        let place = [node.name.clone(), node.address.clone()];
        table.row(place.into_iter().chain(cells));
    }
    table
}

fn cells(status: &NodeStatus) -> Vec<String> {
    vec![
        state(status).to_owned(),
        status.layout.to_string(),
        time(status.uptime_ms),
        count(status.partitions),
        count(status.rows),
        bytes(status.row_bytes),
        count(status.hints),
        count(status.clocks_behind),
        count(status.actors),
        bytes(status.disk_bytes),
        bytes(status.disk_free_bytes),
        match status.unsynced {
            0 => "yes".to_owned(),
            batches => format!("{} to go", count(batches)),
        },
    ]
}

fn state(status: &NodeStatus) -> &'static str {
    match status.storage {
        StorageState::Full => "disk full",
        StorageState::Failed => "disk failed",
        StorageState::Ready if status.filling > 0 => "filling",
        StorageState::Ready => "up",
    }
}

/// What a number in a table does not say. Nodes that have left are not missed.
fn remarks(node: &Node, left: &[&str], session: &Session) -> Vec<String> {
    let status = match &node.word {
        Word::Said(status) => status,
        Word::Down(reason) => return vec![format!("down: {reason}")],
        Word::Outside => {
            let join = paste(session, &format!("cluster join {}", node.name));
            return vec![format!("it is there, and no member: {join} takes it in")];
        }
        Word::Left => return Vec::new(),
        Word::Unheard => {
            return vec!["in the cluster file; no member, and nobody has heard of it".to_owned()];
        }
    };
    let mut remarks = Vec::new();
    match &status.start {
        StartReport::Blank | StartReport::Clean | StartReport::Unclean => {}
        StartReport::Amnesia(reasons) => remarks.push(format!(
            "it may have forgotten acknowledged writes, and refills from its peers: {}",
            reasons.join("; ")
        )),
    }
    if status.filling > 0 {
        remarks.push(format!(
            "{} partitions are being refilled and do not count for reads",
            count(status.filling)
        ));
    }
    match status.storage {
        StorageState::Ready => {}
        StorageState::Full => remarks.push(
            "the disk is full: writes are refused, and taken again when there is space".to_owned(),
        ),
        StorageState::Failed => {
            remarks
                .push("the disk failed: the node takes no writes and must be replaced".to_owned());
        }
    }
    if status.counting {
        remarks.push("rows and bytes are still being counted".to_owned());
    }
    let away: Vec<&str> = status
        .peers
        .iter()
        .filter(|peer| !peer.reachable && !left.contains(&&*peer.name))
        .map(|peer| peer.name.as_str())
        .collect();
    if !away.is_empty() {
        remarks.push(format!("it cannot reach {}", away.join(", ")));
    }
    for peer in &status.peers {
        if let Some(why) = &peer.demoted {
            remarks.push(format!("it asks {} last, which is {why}", peer.name));
        }
    }
    remarks
}

fn json_of(node: &Node) -> Value {
    let mut object = match &node.word {
        Word::Said(status) => json!({ "up": true, "member": true, "status": status }),
        Word::Down(reason) => json!({ "up": false, "member": true, "reason": reason }),
        Word::Outside => json!({ "up": true, "member": false }),
        Word::Left => json!({ "up": false, "member": false, "left": true }),
        Word::Unheard => json!({ "up": false, "member": false }),
    };
    object["name"] = json!(node.name);
    object["address"] = json!(node.address);
    object
}

#[cfg(test)]
mod tests {
    use dunlin_client::status::PeerStatus;
    use dunlin_ring::MemberState;

    use super::super::samples;
    use super::*;
    use crate::cli::args::Global;

    fn node(word: Word) -> Node {
        Node {
            name: "n1".to_owned(),
            address: "127.0.0.1:7101".to_owned(),
            word,
        }
    }

    fn said(status: NodeStatus) -> Node {
        node(Word::Said(Box::new(status)))
    }

    fn remarks(node: &Node) -> Vec<String> {
        let session = Session::new(&Global {
            cluster: None,
            json: false,
            hex: false,
        });
        super::remarks(node, &["n7"], &session)
    }

    fn listed(name: &str, address: &str) -> ClusterFileNode {
        ClusterFileNode {
            name: name.to_owned(),
            address: address.to_owned(),
            zone: None,
            capacity: None,
        }
    }

    #[test]
    fn a_node_that_is_well_needs_no_remark() {
        assert_eq!(remarks(&said(NodeStatus::default())), Vec::<String>::new());
        assert_eq!(state(&NodeStatus::default()), "up");
    }

    #[test]
    fn what_is_wrong_is_said() {
        let status = NodeStatus {
            start: StartReport::Amnesia(vec!["the journal ends early".to_owned()]),
            storage: StorageState::Full,
            filling: 3,
            ..NodeStatus::default()
        };
        assert_eq!(state(&status), "disk full");
        let remarks = remarks(&said(status)).join("\n");
        for part in ["journal ends early", "3 partitions", "refused"] {
            assert!(remarks.contains(part), "{remarks}");
        }
    }

    #[test]
    fn a_node_that_has_left_is_not_missed() {
        let peer = |name: &str| PeerStatus {
            name: name.to_owned(),
            ..PeerStatus::default()
        };
        let status = NodeStatus {
            peers: vec![peer("n7"), peer("n8")],
            ..NodeStatus::default()
        };
        assert_eq!(remarks(&said(status)), ["it cannot reach n8"]);
        let mut shape = samples::shape(samples::state(3), &["n2"]);
        for applied in &mut shape.state.layouts {
            let mut members = applied.layout.members().to_vec();
            for member in members.iter_mut().filter(|member| member.name == "n2") {
                member.state = MemberState::Leaving;
            }
            let mut new = members[0].clone();
            (new.id, new.name) = (NodeId::from_name("n4"), "n4".to_owned());
            new.state = MemberState::Active;
            members.push(new);
            applied.layout = applied.layout.next(members, 2).unwrap();
        }
        assert_eq!(word(&shape, "n2"), Word::Left);
        assert!(!shape.down().contains(&NodeId::from_name("n2")));
    }

    #[test]
    fn a_node_that_is_down_is_shown_with_the_reason() {
        let down = node(Word::Down("timed out".to_owned()));
        assert_eq!(remarks(&down), ["down: timed out"]);
        assert_eq!(json_of(&down)["up"], json!(false));
        assert_eq!(json_of(&down)["reason"], json!("timed out"));
    }

    #[test]
    fn members_newcomers_and_nodes_nobody_heard_of_are_all_shown() {
        let shape = samples::shape(samples::state(3), &["n2"]);
        let file = vec![listed("n3", "elsewhere:1"), listed("n9", "n9:1")];
        let nodes = nodes_of(file, &shape);
        let names: Vec<&str> = nodes.iter().map(|node| &node.name[..]).collect();
        assert_eq!(names, ["n3", "n9", "n1", "n2", "n4"]);
        assert_eq!(nodes[0].address, "elsewhere:1");
        assert!(matches!(nodes[0].word, Word::Said(_)));
        assert_eq!(nodes[1].word, Word::Unheard);
        assert_eq!(nodes[3].word, Word::Down("timed out".to_owned()));
        assert_eq!(nodes[4].word, Word::Outside);
        let says = remarks(&nodes[4]).join("\n");
        assert!(says.contains("dunlin cluster join n4"), "{says}");
        assert_eq!(table(&nodes).lines().len(), 6);
    }

    #[test]
    fn when_none_answers_each_has_its_reason() {
        let places = vec![listed("n1", "a:1"), listed("n2", "b:2")];
        let nodes = all_down(places, &[("b:2".to_owned(), "refused".to_owned())]);
        let words: Vec<Word> = nodes.into_iter().map(|node| node.word).collect();
        let down = |reason: &str| Word::Down(reason.to_owned());
        assert_eq!(words, [down("no answer"), down("refused")]);
    }
}
