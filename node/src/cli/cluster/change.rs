//! `dunlin cluster join|leave|replace|zone|capacity|n`: staging one change of the layout.
//!
//! Nothing moves yet. Staged changes gather until `apply` makes one layout of them, so that data moves
//! once, whatever was asked for.

use dunlin_client::cluster_file::{ClusterFile, ClusterFileNode};
use dunlin_client::{ConnectError, NodeId};
use dunlin_protocol::cluster::{Change, ClusterRequest, ClusterState};
use dunlin_ring::{Layout, Member, MemberState};
use serde_json::{Value, json};

use super::shape::{active, change, connect, describe, is_running, name, newest, paste, words};
use crate::cli::args::{ChangeCommand, PlaceArgs};
use crate::cli::ended::Ended;
use crate::cli::fault::Fault;
use crate::cli::output::Output;
use crate::cli::session::Session;

/// The zone of a node that names none: the same as that of a founding member.
const ZONE_DEFAULT: &str = "default";

/// `dunlin cluster join …` and the others that stage.
pub(super) async fn run(
    session: &Session,
    out: &mut Output,
    command: ChangeCommand,
) -> Result<Ended, Fault> {
    let file = ClusterFile::load(session.cluster_file()).map_err(ConnectError::from)?;
    let client = connect(session).await?;
    let state = describe(&client).await?;
    let asked = change_of(&state, &file, session, command)?;
    let state = change(&client, ClusterRequest::Stage(asked)).await?;
    show_staged(session, out, &state)
}

/// Shows what is staged, and the next step.
fn show_staged(session: &Session, out: &mut Output, state: &ClusterState) -> Result<Ended, Fault> {
    if out.is_json() {
        out.json_line(&json!({ "staged": staged_json(state), "running": is_running(state) }))?;
        return Ok(Ended::Done);
    }
    for line in staged_lines(state) {
        out.line(&line)?;
    }
    out.line(&format!(
        "nothing moves yet. next: {}, then {}",
        paste(session, "cluster plan"),
        paste(session, "cluster apply")
    ))?;
    Ok(Ended::Done)
}

/// What is staged, a line for each change.
pub(super) fn staged_lines(state: &ClusterState) -> Vec<String> {
    let mut lines = vec!["staged:".to_owned()];
    let changes = state.staged.iter();
    lines.extend(changes.map(|staged| format!("  {}", words(state, &staged.change))));
    lines
}

/// What is staged, for programs.
pub(super) fn staged_json(state: &ClusterState) -> Value {
    let member = |member: &Member| {
        json!({
            "node": member.name,
            "address": member.address,
            "zone": member.zone,
            "capacity": member.capacity,
        })
    };
    let change = |change: &Change| match change {
        Change::Join(new) => json!({ "join": member(new) }),
        Change::Leave(node) => json!({ "leave": name(state, *node) }),
        Change::Replace { old, new } => {
            json!({ "replace": { "old": name(state, *old), "new": member(new) } })
        }
        Change::Zone { node, zone } => {
            json!({ "zone": { "node": name(state, *node), "zone": zone } })
        }
        Change::Capacity { node, capacity } => {
            json!({ "capacity": { "node": name(state, *node), "capacity": capacity } })
        }
        Change::Replicas(n) => json!({ "n": n }),
    };
    let staged = state.staged.iter();
    staged.map(|staged| change(&staged.change)).collect()
}

fn change_of(
    state: &ClusterState,
    file: &ClusterFile,
    session: &Session,
    command: ChangeCommand,
) -> Result<Change, Fault> {
    let layout = &newest(state)?.layout;
    let source = Source {
        state,
        layout,
        file,
        session,
    };
    let member = |node: &str| known_member(state, layout, node);
    Ok(match command {
        ChangeCommand::Join { node, place } => Change::Join(source.newcomer(&node, &place, None)?),
        ChangeCommand::Leave { node } => Change::Leave(member(&node)?),
        ChangeCommand::Replace { old, new, place } => {
            let old = member(&old)?;
            if old == NodeId::from_name(&new) {
                return Err(Fault::Usage(format!("{new} cannot take its own place")));
            }
            let new = source.newcomer(&new, &place, layout.member(old))?;
            Change::Replace { old, new }
        }
        ChangeCommand::Zone { node, zone } => {
            let node = member(&node)?;
            Change::Zone { node, zone }
        }
        ChangeCommand::Capacity { node, capacity } => {
            let node = member(&node)?;
            Change::Capacity { node, capacity }
        }
        ChangeCommand::N { n } => Change::Replicas(n),
    })
}

/// A member that owns something, or one that is staged to join.
fn known_member(state: &ClusterState, layout: &Layout, node: &str) -> Result<NodeId, Fault> {
    let id = NodeId::from_name(node);
    let joins = |change: &Change| match change {
        Change::Join(new) | Change::Replace { new, .. } => new.id == id,
        Change::Leave(_) | Change::Zone { .. } | Change::Capacity { .. } | Change::Replicas(_) => {
            false
        }
    };
    let mut members = active(layout);
    if members.any(|member| member.id == id) || state.staged.iter().any(|s| joins(&s.change)) {
        return Ok(id);
    }
    let members: Vec<NodeId> = active(layout).map(|member| member.id).collect();
    Err(Fault::Refused {
        what: format!("{node} is no member"),
        advice: format!("the members are {}", super::shape::name_all(state, members)),
    })
}

/// Where what is not given about a newcomer is looked up.
struct Source<'a> {
    state: &'a ClusterState,
    layout: &'a Layout,
    file: &'a ClusterFile,
    session: &'a Session,
}

impl Source<'_> {
    /// The member that a node becomes. What is not given about it comes from the newest layout, if it is
    /// on its way out there, from the cluster file, or from the member whose place it takes; its address
    /// last from what the cluster has heard.
    fn newcomer(
        &self,
        node: &str,
        given: &PlaceArgs,
        takes_place_of: Option<&Member>,
    ) -> Result<Member, Fault> {
        let id = NodeId::from_name(node);
        let leaving = self.layout.member(id);
        if let Some(member) = leaving
            && member.state == MemberState::Active
        {
            return Err(Fault::Refused {
                what: format!("{node} is a member already"),
                advice: "dunlin cluster zone, capacity and leave change a member".to_owned(),
            });
        }
        let listed = self.file.listed().find(|listed| listed.name == node);
        let heard = self.state.nodes.iter().find(|known| known.node == id);
        let address = (given.address.as_ref())
            .or(listed.map(|listed| &listed.address))
            .or(leaving.map(|member| &member.address))
            .or(heard.map(|known| &known.address));
        let address = address.ok_or_else(|| Fault::Refused {
            what: format!(
                "where is {node}? Neither {} nor the cluster knows",
                self.session.cluster_file().display()
            ),
            advice: "start it first, or say where it will be with --address HOST:PORT".to_owned(),
        })?;
        let zone = (given.zone.as_ref())
            .or(leaving.map(|member| &member.zone))
            .or(listed.and_then(|listed: &ClusterFileNode| listed.zone.as_ref()))
            .or(takes_place_of.map(|member| &member.zone));
        let capacity = (given.capacity)
            .or(leaving.map(|member| member.capacity))
            .or(listed.and_then(|listed| listed.capacity))
            .or(takes_place_of.map(|member| member.capacity));
        Ok(Member {
            id,
            name: node.to_owned(),
            address: address.clone(),
            zone: zone.cloned().unwrap_or_else(|| ZONE_DEFAULT.to_owned()),
            capacity: capacity.unwrap_or(1),
            state: MemberState::Active,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::samples;
    use super::*;
    use crate::cli::args::Global;

    fn stage(state: &ClusterState, command: ChangeCommand) -> Result<Change, Fault> {
        let text = "cluster = \"dev\"\nca = \"ca.pem\"\n\
            [[node]]\nname = \"n5\"\naddress = \"listed:1\"\nzone = \"e\"\ncapacity = 4\n";
        let file = ClusterFile::parse(text, Path::new("c.toml")).unwrap();
        let session = Session::new(&Global {
            cluster: Some("c.toml".into()),
            json: false,
            hex: false,
        });
        change_of(state, &file, &session, command)
    }

    fn join(node: &str, place: PlaceArgs) -> ChangeCommand {
        let node = node.to_owned();
        ChangeCommand::Join { node, place }
    }

    fn joined(change: Result<Change, Fault>) -> (String, String, u32) {
        match change {
            Ok(Change::Join(new) | Change::Replace { new, .. }) => {
                (new.address, new.zone, new.capacity)
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_given_of_a_newcomer_counts_before_what_is_known() {
        let state = samples::state(3);
        let all = PlaceArgs {
            zone: Some("z".to_owned()),
            capacity: Some(9),
            address: Some("given:1".to_owned()),
        };
        let given = joined(stage(&state, join("n5", all)));
        assert_eq!(given, ("given:1".to_owned(), "z".to_owned(), 9));
        let listed = joined(stage(&state, join("n5", PlaceArgs::default())));
        assert_eq!(listed, ("listed:1".to_owned(), "e".to_owned(), 4));
        let heard = joined(stage(&state, join("n4", PlaceArgs::default())));
        assert_eq!(heard, ("n4:7400".to_owned(), "default".to_owned(), 1));
    }

    #[test]
    fn a_node_of_which_nothing_is_known_is_asked_for_its_address() {
        let fault = stage(&samples::state(3), join("n9", PlaceArgs::default())).unwrap_err();
        assert_eq!(fault.ended(), Ended::Failed);
        assert!(
            fault.text().contains("--address HOST:PORT"),
            "{}",
            fault.text()
        );
    }

    #[test]
    fn who_takes_a_place_takes_its_zone_and_capacity() {
        let command = ChangeCommand::Replace {
            old: "n2".to_owned(),
            new: "n4".to_owned(),
            place: PlaceArgs::default(),
        };
        let new = joined(stage(&samples::state(3), command));
        assert_eq!(new, ("n4:7400".to_owned(), "z2".to_owned(), 2));
    }

    #[test]
    fn only_members_change_or_leave_and_no_member_joins() {
        let state = samples::state(3);
        let leave = |node: &str| ChangeCommand::Leave {
            node: node.to_owned(),
        };
        let fault = stage(&state, leave("n9")).unwrap_err();
        assert!(fault.text().contains("n1, n2, n3"), "{}", fault.text());
        assert!(stage(&state, leave("n3")).is_ok());
        let fault = stage(&state, join("n1", PlaceArgs::default())).unwrap_err();
        assert!(fault.text().contains("member already"), "{}", fault.text());
        let itself = ChangeCommand::Replace {
            old: "n1".to_owned(),
            new: "n1".to_owned(),
            place: PlaceArgs::default(),
        };
        assert_eq!(stage(&state, itself).unwrap_err().ended(), Ended::Usage);
    }

    #[test]
    fn what_is_staged_is_shown_in_words() {
        let state = samples::staged(vec![
            Change::Leave(NodeId::from_name("n1")),
            Change::Replicas(2),
        ]);
        assert_eq!(
            staged_lines(&state),
            ["staged:", "  n1 leaves", "  2 copies of everything"]
        );
        let json = staged_json(&state);
        assert_eq!(json, json!([{ "leave": "n1" }, { "n": 2 }]));
    }
}
