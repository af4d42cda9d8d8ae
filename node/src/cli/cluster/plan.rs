//! What the staged changes would do: who takes over what, how much there is to copy and how long that
//! takes at least, how even the loads are afterwards, and what the cluster survives meanwhile.
//!
//! Decided here, shown by `plan_text`. Nothing is asked of the cluster but how it is.

use std::collections::BTreeSet;

use dunlin_client::NodeId;
use dunlin_protocol::cluster::LayoutId;
use dunlin_ring::{Layout, Moves, PartitionId, Tolerance, last_copies, loads};

use super::shape::{Shape, active, complete, counted, is_running, name, name_all, newest};
use crate::cli::fault::Fault;

/// The plan.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    /// The newest layout as this plan knows it.
    pub(super) based_on: LayoutId,
    /// What comes of the staged changes, or why nothing does.
    pub(super) next: Result<Next, String>,
}

/// What the staged changes come to.
#[derive(Clone, Debug)]
pub(super) struct Next {
    /// The layout that they make.
    pub(super) layout: Layout,
    /// Every member before or after, by name.
    pub(super) nodes: Vec<NodePlan>,
    /// Copies of partitions that have to be made, and the fewest that could be.
    pub(super) copies: usize,
    pub(super) copies_least: usize,
    /// Bytes of rows in those copies, by what nodes hold on average.
    pub(super) bytes: u64,
    /// How long the node with the most to copy takes, at the rate given.
    pub(super) seconds_least: u64,
    /// The highest load now and afterwards, in percent of a fair share.
    pub(super) load_now: u64,
    pub(super) load_after: u64,
    /// What is survived now, until the change is done, and afterwards.
    pub(super) now: Tolerance,
    pub(super) during: Tolerance,
    pub(super) after: Tolerance,
    /// What to think of first.
    pub(super) warnings: Vec<String>,
}

/// What becomes of one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NodePlan {
    pub(super) name: String,
    /// Its zone afterwards; before, if it leaves.
    pub(super) zone: String,
    pub(super) now: usize,
    pub(super) after: usize,
    pub(super) gains: usize,
    pub(super) loses: usize,
    pub(super) bytes: u64,
    /// In percent of its fair share; `None` if it is due nothing.
    pub(super) load: Option<u64>,
}

impl Plan {
    /// What becomes of what is staged; `None` if nothing is.
    pub(super) fn of(shape: &Shape, bytes_per_second: u64) -> Result<Option<Plan>, Fault> {
        let based_on = newest(&shape.state)?.id;
        let next = match &shape.state.next {
            None => return Ok(None),
            Some(Err(why)) => Err(why.clone()),
            Some(Ok(layout)) => Ok(next(shape, layout, bytes_per_second)?),
        };
        Ok(Some(Plan { based_on, next }))
    }
}

fn next(shape: &Shape, after: &Layout, bytes_per_second: u64) -> Result<Next, Fault> {
    let before = &newest(&shape.state)?.layout;
    let moves = Moves::between(before, after);
    let sizes = Sizes::of(shape);
    let loads_after = loads(after);
    let mut nodes = Vec::new();
    for moves in moves.nodes() {
        let member = after
            .member(moves.node)
            .or_else(|| before.member(moves.node));
        let bytes = moves.gains.iter().map(|p| sizes.of_copy(before, *p)).sum();
        let load = loads_after.iter().find(|load| load.node == moves.node);
        nodes.push(NodePlan {
            name: member.map_or_else(|| name(&shape.state, moves.node), |m| m.name.clone()),
            zone: member.map_or_else(String::new, |m| m.zone.clone()),
            now: moves.before(),
            after: moves.after(),
            gains: moves.gains.len(),
            loses: moves.loses.len(),
            bytes,
            load: load.map(|load| load.percent),
        });
    }
    nodes.sort_by(|a, b| super::shape::by_name(&a.name, &b.name));
    let down = shape.down();
    let mut now = Tolerance::of(before, &down);
    for older in shape.state.layouts.iter().skip(1) {
        now = now.worse(Tolerance::of(&older.layout, &down));
    }
    let absent: BTreeSet<NodeId> = active(after).map(|member| member.id).collect();
    let absent = absent
        .into_iter()
        .filter(|node| shape.is_down(*node))
        .collect();
    let later = Tolerance::of(after, &absent);
    let slowest = nodes.iter().map(|node| node.bytes).max().unwrap_or(0);
    let highest = |layout| {
        loads(layout)
            .iter()
            .map(|load| load.percent)
            .max()
            .unwrap_or(0)
    };
    Ok(Next {
        copies: moves.copies_moved(),
        copies_least: moves.copies_moved_least(),
        bytes: nodes.iter().map(|node| node.bytes).sum(),
        seconds_least: slowest.div_ceil(bytes_per_second.max(1)),
        load_now: highest(before),
        load_after: highest(after),
        now,
        during: now.worse(later),
        after: later,
        warnings: warnings(shape, after, now, later)?,
        nodes,
        layout: after.clone(),
    })
}

/// How large partitions are, by what their owners say.
struct Sizes<'a> {
    shape: &'a Shape,
    /// For partitions of which no owner answers.
    average: u64,
}

impl<'a> Sizes<'a> {
    fn of(shape: &'a Shape) -> Self {
        let statuses = || shape.said.values().filter_map(|said| said.as_ref().ok());
        let bytes: u64 = statuses().map(|status| status.row_bytes).sum();
        let partitions: u64 = statuses().map(|status| status.partitions).sum();
        Self {
            shape,
            average: bytes.checked_div(partitions).unwrap_or(0),
        }
    }

    fn of_copy(&self, layout: &Layout, partition: PartitionId) -> u64 {
        let owners = layout.owners(partition).iter();
        let statuses = owners.filter_map(|owner| self.shape.said.get(owner)?.as_ref().ok());
        let (mut sum, mut answered) = (0, 0);
        for status in statuses {
            if let Some(size) = status.row_bytes.checked_div(status.partitions) {
                sum += size;
                answered += 1;
            }
        }
        u64::checked_div(sum, answered).unwrap_or(self.average)
    }
}

fn warnings(
    shape: &Shape,
    after: &Layout,
    now: Tolerance,
    later: Tolerance,
) -> Result<Vec<String>, Fault> {
    let state = &shape.state;
    let (reads, before) = (&complete(state)?.layout, &newest(state)?.layout);
    let down = shape.down();
    let mut warnings = Vec::new();
    if is_running(state) {
        warnings.push(format!(
            "layout {} is on its way already: both end together, when every owner holds what it owns",
            before.number()
        ));
    }
    for member in active(after).filter(|member| shape.is_down(member.id)) {
        let node = &member.name;
        warnings.push(match before.member(member.id) {
            Some(_) => format!(
                "{node} is down: the change waits for it; start it, or replace it or have it leave in the \
                 same change"
            ),
            None => format!("{node} was not heard of yet: the change waits for it; start it first"),
        });
    }
    let stays = |node: &NodeId| active(after).any(|member| member.id == *node);
    let going: BTreeSet<NodeId> = reads.members().iter().map(|member| member.id).collect();
    let going: BTreeSet<NodeId> = going.into_iter().filter(|node| !stays(node)).collect();
    let given_up: BTreeSet<NodeId> = going.intersection(&down).copied().collect();
    let lost = last_copies(reads, &BTreeSet::new(), &given_up);
    if !lost.is_empty() {
        warnings.push(format!(
            "DATA LOSS: all copies of {} are on {}, which {} down and given up",
            counted(lost.len() as u64, "partition", "partitions"),
            name_all(state, given_up.iter().copied()),
            if given_up.len() == 1 { "is" } else { "are" }
        ));
    }
    let last = last_copies(reads, &down, &going);
    if !last.is_empty() {
        let holders = going.difference(&down).copied();
        warnings.push(format!(
            "{} {} only living copy on a node that leaves ({}): keep it running until dunlin cluster moves \
             says done",
            counted(last.len() as u64, "partition", "partitions"),
            if last.len() == 1 { "has its" } else { "have their" },
            name_all(state, holders)
        ));
    }
    let silent = now.last_copy.short;
    if silent > 0 {
        warnings.push(format!(
            "{} no living copy now: start {} before anything else",
            if silent == 1 {
                "1 partition has".to_owned()
            } else {
                format!("{silent} partitions have")
            },
            name_all(state, down.iter().copied())
        ));
    }
    let fewer =
        later.majority.nodes < now.majority.nodes || later.majority.zones < now.majority.zones;
    if fewer {
        warnings.push("afterwards fewer failures are tolerated than now".to_owned());
    }
    Ok(warnings)
}

#[cfg(test)]
mod tests {
    use dunlin_protocol::cluster::Change;

    use super::super::samples;
    use super::*;

    fn plan(shape: &Shape) -> Next {
        Plan::of(shape, 1024).unwrap().unwrap().next.unwrap()
    }

    /// Nodes 1 to 3 with N copies, of which some leave.
    fn leaving(replicas: u8, names: &[&str]) -> dunlin_protocol::cluster::ClusterState {
        let mut state = samples::joining();
        let now = state.layouts[0].layout.clone();
        let mut members = now.members().to_vec();
        for member in &mut members {
            if names.contains(&&member.name[..]) {
                member.state = dunlin_ring::MemberState::Leaving;
            }
        }
        state.next = Some(Ok(Box::new(now.next(members, replicas).unwrap())));
        state
    }

    #[test]
    fn nothing_staged_is_no_plan_and_an_impossible_change_has_its_reason() {
        let nothing = samples::shape(samples::state(3), &[]);
        assert!(Plan::of(&nothing, 1).unwrap().is_none());
        let impossible = samples::shape(samples::staged(vec![Change::Replicas(9)]), &[]);
        let plan = Plan::of(&impossible, 1).unwrap().unwrap();
        assert_eq!(plan.next.unwrap_err(), "why not");
    }

    #[test]
    fn a_join_takes_its_share_from_all_and_is_measured_by_what_they_hold() {
        let shape = samples::shape(samples::joining(), &[]);
        let next = plan(&shape);
        let names: Vec<&str> = next.nodes.iter().map(|node| &node.name[..]).collect();
        assert_eq!(names, ["n1", "n2", "n3", "n4"]);
        let new = &next.nodes[3];
        assert_eq!((new.now, new.after, new.gains, new.loses), (0, 12, 12, 0));
        assert_eq!((new.bytes, next.bytes), (12 * 1024, 12 * 1024));
        assert_eq!((next.copies, next.copies_least), (12, 12));
        assert_eq!(next.seconds_least, 12);
        assert_eq!((next.load_now, next.load_after), (100, 100));
        assert_eq!(
            (next.now.majority.nodes, next.during.majority.nodes),
            (1, 1)
        );
        assert!(next.warnings.is_empty(), "{:?}", next.warnings);
    }

    #[track_caller]
    fn check_warns(shape: &Shape, parts: &[&str]) {
        let warnings = plan(shape).warnings.join("\n");
        for part in parts {
            assert!(warnings.contains(part), "{part:?} is not in {warnings}");
        }
    }

    #[test]
    fn a_member_that_is_down_and_a_newcomer_that_is_not_there_are_waited_for() {
        check_warns(
            &samples::shape(samples::joining(), &["n2", "n4"]),
            &["n2 is down: the change waits", "n4 was not heard of"],
        );
    }

    #[test]
    fn what_only_a_leaving_node_has_needs_it_and_what_only_given_up_nodes_have_is_lost() {
        let one_left = samples::shape(leaving(2, &["n1"]), &["n2", "n3"]);
        check_warns(
            &one_left,
            &["16 partitions have their only living copy", "(n1)"],
        );
        assert!(!plan(&one_left).warnings.join("\n").contains("DATA LOSS"));
        let mut state = leaving(1, &["n1", "n2"]);
        // With one copy of each, those of two nodes are only there.
        let members = state.layouts[0].layout.members().to_vec();
        let single = Layout::first(members, 1, state.layouts[0].layout.partitions()).unwrap();
        state.layouts[0].layout = single;
        check_warns(
            &samples::shape(state, &["n1", "n2"]),
            &["DATA LOSS", "n1, n2", "no living copy now"],
        );
    }

    #[test]
    fn fewer_tolerated_failures_and_a_change_on_its_way_are_said() {
        check_warns(
            &samples::shape(leaving(2, &["n1"]), &[]),
            &["fewer failures are tolerated"],
        );
        let mut running = samples::running();
        let newest = running.layouts[0].layout.clone();
        running.next = Some(Ok(Box::new(
            newest.next(newest.members().to_vec(), 2).unwrap(),
        )));
        check_warns(&samples::shape(running, &[]), &["layout 2 is on its way"]);
    }
}
