//! `dunlin cluster moves`: how far the running change is, and whom it waits for.
//!
//! ```text
//!   applied ── every node goes by it ── every owner is filled: complete ── handed over: done
//! ```

use std::time::Duration;

use dunlin_client::{Client, NodeId, Options};
use dunlin_protocol::cluster::{ClusterRequest, ClusterState};
use dunlin_ring::{MemberState, Moves};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::shape::{
    Progress, TIMEOUT, active, complete, connect, counted, describe, is_running, members,
    newcomers, newest, node_state, to_fill,
};
use crate::cli::ended::Ended;
use crate::cli::fault::Fault;
use crate::cli::output::Output;
use crate::cli::progress::count;
use crate::cli::session::Session;
use crate::cli::table::{Lean, Table};

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(500);

/// `dunlin cluster moves`
pub(super) async fn run(session: &Session, out: &mut Output, watch: bool) -> Result<Ended, Fault> {
    let client = connect(session).await?;
    let mut shown = None;
    loop {
        let mut report = Report::of(&describe(&client).await?)?;
        if report.is_done() {
            report = confirmed(&client, report).await?;
        }
        if shown.as_ref() != Some(&report) {
            report.show(out, watch && shown.is_some())?;
            out.flush()?;
        }
        if !watch || report.is_done() {
            return Ok(Ended::Done);
        }
        shown = Some(report);
        tokio::time::sleep(PAUSE).await;
    }
}

/// A report of a change that is done, if no other node knows better: the one that was asked may not have
/// heard of the newest layout, or of a node that has still something to do.
async fn confirmed(client: &Client, report: Report) -> Result<Report, Fault> {
    let asked = client.with_options(Options::new().timeout(TIMEOUT));
    let mut asking = JoinSet::new();
    for member in client.layout().members() {
        let (client, node) = (asked.clone(), member.id);
        let describe = ClusterRequest::Describe;
        asking.spawn(async move { client.shape(Some(node), describe).await.ok() });
    }
    for state in asking.join_all().await.into_iter().flatten() {
        let other = Report::of(&state)?;
        if !other.is_done() {
            return Ok(other);
        }
    }
    Ok(report)
}

/// How far a change is.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Report {
    layout: String,
    from: String,
    is_running: bool,
    progress: Progress,
    nodes: Vec<NodeReport>,
    waits: Vec<String>,
}

/// How far a node is.
#[derive(Clone, Debug, PartialEq, Eq)]
struct NodeReport {
    name: String,
    state: &'static str,
    gains: u64,
    to_fill: u64,
    to_hand_over: u64,
    follows: bool,
    is_leaving: bool,
}

impl Report {
    fn of(state: &ClusterState) -> Result<Self, Fault> {
        let (from, to) = (complete(state)?, newest(state)?);
        let moves = Moves::between(&from.layout, &to.layout);
        let (mut nodes, mut waits) = (Vec::new(), Vec::new());
        let members = members(state).into_iter();
        let members = members.map(|member| (member.id, member.name.clone()));
        let others = newcomers(state).into_iter();
        let others = others
            .filter(|other| has_something(state, other.node))
            .map(|other| (other.node, other.name.clone()));
        for (node, name) in members.chain(others) {
            let known = node_state(state, node);
            let said = known.and_then(|known| known.progress.as_ref());
            let gains = moves.of(node).map_or(0, |moves| moves.gains.len()) as u64;
            let report = NodeReport {
                state: match known.is_some_and(|known| known.reachable) {
                    true if is_leaving(state, node) => "leaving",
                    true => "up",
                    false => "down",
                },
                gains,
                to_fill: to_fill(state, node, gains),
                to_hand_over: said.map_or(0, |said| u64::from(said.handing_over)),
                follows: said.is_some_and(|said| said.acked == Some(to.id)),
                is_leaving: is_leaving(state, node),
                name,
            };
            let is_owner = active(&to.layout).any(|member| member.id == node);
            let is_synced = said.is_some_and(|said| said.synced == Some(to.id));
            let is_complete = state.complete == to.id;
            let reads = said.is_some_and(|said| said.reads >= Some(state.complete));
            waits.extend(match is_complete {
                _ if !is_running(state) => None,
                false => report.waits_for(is_owner && !is_synced),
                true => report.waits_to_read(!reads),
            });
            nodes.push(report);
        }
        Ok(Self {
            layout: to.id.to_string(),
            from: from.id.to_string(),
            is_running: is_running(state),
            progress: Progress::of(state)?,
            nodes,
            waits,
        })
    }

    fn is_done(&self) -> bool {
        !self.is_running && self.to_hand_over() == 0
    }

    fn to_hand_over(&self) -> u64 {
        let reachable = self.nodes.iter().filter(|node| node.state != "down");
        reachable.map(|node| node.to_hand_over).sum()
    }

    /// How far it is, in a line.
    fn line(&self) -> String {
        let (layout, from) = (&self.layout, &self.from);
        match (self.is_running, self.to_hand_over()) {
            (true, _) => format!(
                "layout {layout} is on its way from {from}: {} % done, {} of {} copies made",
                self.progress.percent(),
                count(self.progress.done),
                count(self.progress.all)
            ),
            (false, 0) => format!("layout {layout} is complete, and nothing is left to move: done"),
            (false, left) => format!(
                "layout {layout} is complete; {} to be deleted where they are owned no longer",
                counted(left, "copy has", "copies have")
            ),
        }
    }

    fn show(&self, out: &mut Output, again: bool) -> Result<(), Fault> {
        if out.is_json() {
            out.json_line(&self.json())?;
            return Ok(());
        }
        out.line(&self.line())?;
        if !again && !self.is_done() {
            self.table().show(out)?;
        }
        for wait in &self.waits {
            out.line(&format!("  {wait}"))?;
        }
        Ok(())
    }

    fn table(&self) -> Table {
        let mut table = Table::new([
            ("NODE", Lean::Left),
            ("STATE", Lean::Left),
            ("GAINS", Lean::Right),
            ("TO FILL", Lean::Right),
            ("TO HAND OVER", Lean::Right),
            ("FOLLOWS", Lean::Left),
        ]);
        for node in &self.nodes {
            table.row([
                node.name.clone(),
                node.state.to_owned(),
                count(node.gains),
                count(node.to_fill),
                count(node.to_hand_over),
                if node.follows { "yes" } else { "not yet" }.to_owned(),
            ]);
        }
        table
    }

    fn json(&self) -> Value {
        let node = |node: &NodeReport| {
            json!({
                "node": node.name,
                "state": node.state,
                "gains": node.gains,
                "to_fill": node.to_fill,
                "to_hand_over": node.to_hand_over,
                "follows": node.follows,
            })
        };
        let nodes: Value = self.nodes.iter().map(node).collect();
        json!({
            "layout": self.layout,
            "from": self.from,
            "running": self.is_running,
            "done": self.is_done(),
            "percent": self.progress.percent(),
            "copies": self.progress.all,
            "copies_made": self.progress.done,
            "nodes": nodes,
            "waits_for": self.waits,
        })
    }
}

impl NodeReport {
    /// What is waited for, if the layout waits for this node.
    fn waits_for(&self, is_awaited: bool) -> Option<String> {
        let name = &self.name;
        match self.state {
            _ if !is_awaited => None,
            "down" => Some(format!(
                "waits for {name}: it is down; start it, or replace it or have it leave"
            )),
            _ if !self.follows => Some(format!(
                "waits for {name}: it does not go by this layout yet"
            )),
            _ => Some(format!(
                "waits for {name}: {} to fill",
                counted(self.to_fill, "partition", "partitions")
            )),
        }
    }

    /// What is waited for, if the layouts before the complete one wait for this node to be retired.
    fn waits_to_read(&self, is_awaited: bool) -> Option<String> {
        let name = &self.name;
        match self.state {
            _ if !is_awaited => None,
            "down" if self.is_leaving => None,
            "down" => Some(format!(
                "waits for {name}: it is down, and may not know that the layout is complete; start it, or \
                 replace it or have it leave"
            )),
            _ => Some(format!(
                "waits for {name}: its reads do not go by this layout yet"
            )),
        }
    }
}

/// Whether a node that is no member any more has still something of its own to do.
fn has_something(state: &ClusterState, node: NodeId) -> bool {
    let progress = node_state(state, node).and_then(|known| known.progress.as_ref());
    progress.is_some_and(|progress| progress.handing_over > 0)
}

fn is_leaving(state: &ClusterState, node: NodeId) -> bool {
    let newest = state.layouts.first();
    let member = newest.and_then(|newest| newest.layout.member(node));
    member.is_none_or(|member| member.state == MemberState::Leaving)
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;

    fn report(state: &ClusterState) -> Report {
        Report::of(state).unwrap()
    }

    #[test]
    fn a_change_that_nobody_has_heard_of_has_all_before_it() {
        let report = report(&samples::running());
        assert_eq!((report.progress.all, report.progress.percent()), (12, 0));
        assert!(!report.is_done());
        assert_eq!(report.waits.len(), 4);
        assert!(report.waits[0].contains("does not go by this layout yet"));
    }

    #[test]
    fn a_change_waits_for_those_that_fill_and_those_that_are_down() {
        let mut state = samples::running();
        samples::says(&mut state, "n1", 0, 4);
        samples::says(&mut state, "n4", 3, 0);
        let state = samples::shape(state, &["n2"]).state;
        let report = report(&state);
        assert_eq!((report.progress.done, report.progress.percent()), (9, 75));
        assert!(
            report.line().contains("75 % done, 9 of 12"),
            "{}",
            report.line()
        );
        assert_eq!(
            report.waits,
            [
                "waits for n2: it is down; start it, or replace it or have it leave",
                "waits for n3: it does not go by this layout yet",
                "waits for n4: 3 partitions to fill",
            ]
        );
        assert_eq!(
            report.table().lines(),
            [
                "NODE  STATE  GAINS  TO FILL  TO HAND OVER  FOLLOWS",
                "n1    up         0        0             4  yes",
                "n2    down       0        0             0  not yet",
                "n3    up         0        0             0  not yet",
                "n4    up        12        3             0  yes",
            ]
        );
    }

    #[test]
    fn a_complete_layout_is_done_once_all_is_handed_over() {
        let mut state = samples::running();
        state.layouts.truncate(1);
        state.complete = state.layouts[0].id;
        for (name, left) in [("n1", 4), ("n2", 0), ("n3", 0), ("n4", 0)] {
            samples::says(&mut state, name, 0, left);
        }
        let before = report(&state);
        assert!(
            !before.is_done() && before.line().contains("4 copies have"),
            "{}",
            before.line()
        );
        samples::says(&mut state, "n1", 0, 0);
        let after = report(&state);
        assert!(after.is_done() && after.waits.is_empty());
        assert!(after.line().ends_with("done"), "{}", after.line());
        assert_eq!(after.json()["percent"], 100);
    }

    #[test]
    fn the_layouts_before_a_complete_one_wait_for_those_who_read_by_them() {
        let mut state = samples::running();
        state.complete = state.layouts[0].id;
        for name in ["n1", "n2", "n3", "n4"] {
            samples::says(&mut state, name, 0, 0);
        }
        for known in &mut state.nodes {
            if let Some(said) = known.progress.as_mut().filter(|_| known.name == "n1") {
                said.reads = Some(state.complete);
            }
        }
        let state = samples::shape(state, &["n2"]).state;
        let report = report(&state);
        assert!(!report.is_done());
        assert_eq!(
            report.waits,
            [
                "waits for n2: it is down, and may not know that the layout is complete; start it, or replace it \
                 or have it leave",
                "waits for n3: its reads do not go by this layout yet",
                "waits for n4: its reads do not go by this layout yet",
            ]
        );
    }

    #[test]
    fn without_a_change_there_is_nothing_to_wait_for() {
        let report = report(&samples::state(3));
        assert!(report.is_done() && report.waits.is_empty());
    }
}
