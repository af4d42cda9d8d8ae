//! `dunlin cluster status`: what every node says of itself.
//!
//! Each node of the cluster file, and each other member of the layout, is asked directly; nobody
//! speaks for another. A node that does not answer is shown as down, with the reason.

use std::time::Duration;

use dunlin_client::cluster_file::ClusterFile;
use dunlin_client::status::{NodeStatus, StartReport, StorageState};
use dunlin_client::{Client, ConnectError, NodeId, Options};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::cli::ended::Ended;
use crate::cli::fault::{Fault, reason};
use crate::cli::output::Output;
use crate::cli::progress::{bytes, count, time};
use crate::cli::session::Session;
use crate::cli::table::{Lean, Table};

/// How long a node may take to say how it is: it has the answer at hand.
const TIMEOUT: Duration = Duration::from_secs(2);

/// A node that is asked.
struct Node {
    name: String,
    address: String,
    /// What it said, or why it did not.
    said: Result<NodeStatus, String>,
}

/// `dunlin cluster status`
pub(super) async fn run(session: &Session, out: &mut Output) -> Result<Ended, Fault> {
    let nodes = ask_all(session).await?;
    let up = nodes.iter().filter(|node| node.said.is_ok()).count();
    if out.is_json() {
        let all: Value = nodes.iter().map(json_of).collect();
        out.json_line(&json!({ "nodes": all, "up": up }))?;
    } else {
        table(&nodes).show(out)?;
        for node in &nodes {
            for line in remarks(node) {
                let name = out.alarming(&node.name);
                out.line(&format!("{name}: {line}"))?;
            }
        }
    }
    Ok(Ended::answer(up == nodes.len()))
}

async fn ask_all(session: &Session) -> Result<Vec<Node>, Fault> {
    let file = ClusterFile::load(session.cluster_file()).map_err(ConnectError::from)?;
    let mut places: Vec<(String, String)> = file
        .nodes
        .into_iter()
        .map(|node| (node.name, node.address))
        .collect();
    let client = match session.connect(Options::new().timeout(TIMEOUT)).await {
        Ok(client) => client,
        Err(Fault::Connect(ConnectError::NoneReachable { reasons, .. })) => {
            return Ok(all_down(places, &reasons));
        }
        Err(fault) => return Err(fault),
    };
    for member in client.layout().members() {
        if places.iter().all(|(name, _)| *name != member.name) {
            places.push((member.name.clone(), member.address.clone()));
        }
    }
    let mut asking = JoinSet::new();
    for (position, (name, address)) in places.into_iter().enumerate() {
        let client = client.clone();
        asking.spawn(async move { (position, ask(&client, name, address).await) });
    }
    let mut nodes = asking.join_all().await;
    nodes.sort_by_key(|(position, _)| *position);
    Ok(nodes.into_iter().map(|(_, node)| node).collect())
}

async fn ask(client: &Client, name: String, address: String) -> Node {
    let id = NodeId::from_name(&name);
    let said = match client.layout().member(id) {
        None => Err("not a member of the layout".to_owned()),
        Some(_) => client.status(id).await.map_err(|error| reason(&error)),
    };
    Node {
        name,
        address,
        said,
    }
}

fn all_down(places: Vec<(String, String)>, reasons: &[(String, String)]) -> Vec<Node> {
    let reason = |address: &str| {
        let found = reasons.iter().find(|(at, _)| at == address);
        found.map_or_else(|| "no answer".to_owned(), |(_, reason)| reason.clone())
    };
    places
        .into_iter()
        .map(|(name, address)| Node {
            said: Err(reason(&address)),
            name,
            address,
        })
        .collect()
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
        let cells = match &node.said {
            Ok(status) => cells(status),
            Err(_) => vec!["down".to_owned()],
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

/// What a number in a table does not say.
fn remarks(node: &Node) -> Vec<String> {
    let status = match &node.said {
        Ok(status) => status,
        Err(reason) => return vec![format!("down: {reason}")],
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
        .filter(|peer| !peer.reachable)
        .map(|peer| peer.name.as_str())
        .collect();
    if !away.is_empty() {
        remarks.push(format!("it cannot reach {}", away.join(", ")));
    }
    remarks
}

fn json_of(node: &Node) -> Value {
    let mut object = match &node.said {
        Ok(status) => json!({ "up": true, "status": status }),
        Err(reason) => json!({ "up": false, "reason": reason }),
    };
    object["name"] = json!(node.name);
    object["address"] = json!(node.address);
    object
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(said: Result<NodeStatus, &str>) -> Node {
        Node {
            name: "n1".to_owned(),
            address: "127.0.0.1:7101".to_owned(),
            said: said.map_err(str::to_owned),
        }
    }

    #[test]
    fn a_node_that_is_well_needs_no_remark() {
        assert_eq!(
            remarks(&node(Ok(NodeStatus::default()))),
            Vec::<String>::new()
        );
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
        let remarks = remarks(&node(Ok(status))).join("\n");
        for part in ["journal ends early", "3 partitions", "refused"] {
            assert!(remarks.contains(part), "{remarks}");
        }
    }

    #[test]
    fn a_node_that_is_down_is_shown_with_the_reason() {
        let down = node(Err("timed out"));
        assert_eq!(remarks(&down), ["down: timed out"]);
        assert_eq!(json_of(&down)["up"], json!(false));
        assert_eq!(json_of(&down)["reason"], json!("timed out"));
    }

    #[test]
    fn when_none_answers_each_has_its_reason() {
        let places = vec![
            ("n1".to_owned(), "a:1".to_owned()),
            ("n2".to_owned(), "b:2".to_owned()),
        ];
        let nodes = all_down(places, &[("b:2".to_owned(), "refused".to_owned())]);
        let said: Vec<_> = nodes
            .iter()
            .map(|node| node.said.clone().unwrap_err())
            .collect();
        assert_eq!(said, ["no answer", "refused"]);
    }
}
