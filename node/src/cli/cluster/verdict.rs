//! The first lines of `dunlin cluster status`: how the cluster is, in words.
//!
//! Four questions, each answered in a line: is every write safe, how many more failures can be taken,
//! what is behind and by how much, is a change running and how far is it.

use std::collections::BTreeSet;

use dunlin_client::NodeId;
use dunlin_client::status::{NodeStatus, StorageState};
use dunlin_ring::{Moves, Tolerance};
use serde_json::{Value, json};

use super::plan_text::{tolerates, tolerates_json};
use super::shape::{
    Progress, Shape, by_name, complete, counted, is_running, members, name_all, newest,
};
use crate::cli::fault::Fault;

/// How the cluster is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    /// Why not every write is at all its owners, synced; nothing if it is.
    unsafe_because: Vec<String>,
    up: usize,
    members: usize,
    tolerance: Tolerance,
    /// Node by node.
    behind: Vec<Behind>,
    change: Option<Change>,
    staged: usize,
}

/// What is behind at one node.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Behind {
    name: String,
    /// Pairs of a partition and another owner that were not equal when last compared.
    pairs: u64,
    /// Events kept for others.
    hints: u64,
    /// Partitions that do not count for reads yet, beside those that it takes over.
    refilling: u64,
    /// Batches that are not synced.
    unsynced: u64,
    /// Rows that are damaged.
    damaged: u64,
    /// Partitions of which some rows can't be read.
    unreadable: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Change {
    layout: String,
    progress: Progress,
}

impl Verdict {
    pub(super) fn of(shape: &Shape) -> Result<Self, Fault> {
        let state = &shape.state;
        let (from, to) = (complete(state)?, newest(state)?);
        let moves = Moves::between(&from.layout, &to.layout);
        let members = members(state);
        // A node that has left may keep hints for others.
        let answers = shape.said.values();
        let mut answered: Vec<&NodeStatus> =
            answers.filter_map(|said| said.as_ref().ok()).collect();
        answered.sort_by(|a, b| by_name(&a.name, &b.name));
        let behind: Vec<Behind> = answered
            .iter()
            .map(|status| {
                let gains = moves.of(status.node).map_or(0, |moves| moves.gains.len());
                Behind {
                    name: status.name.clone(),
                    pairs: status.clocks_behind,
                    hints: status.hints,
                    refilling: status.filling.saturating_sub(gains as u64),
                    unsynced: status.unsynced,
                    damaged: status.damaged,
                    unreadable: status.unreadable,
                }
            })
            .collect();
        let down = shape.down();
        // What is being refilled, or can't be read, is no copy to count on.
        let partial = answered.iter().zip(&behind);
        let partial = partial.filter(|(_, behind)| behind.refilling + behind.unreadable > 0);
        let without: BTreeSet<NodeId> = partial.map(|(status, _)| status.node).collect();
        let without: BTreeSet<NodeId> = without.union(&down).copied().collect();
        let mut tolerance = Tolerance::of(&to.layout, &without);
        for older in state.layouts.iter().skip(1) {
            tolerance = tolerance.worse(Tolerance::of(&older.layout, &without));
        }
        let change = match is_running(state) {
            false => None,
            true => Some(Change {
                layout: to.id.to_string(),
                progress: Progress::of(state)?,
            }),
        };
        Ok(Self {
            unsafe_because: reasons(shape, &down, &answered, &behind),
            up: members.len() - down.len(),
            members: members.len(),
            tolerance,
            behind,
            change,
            staged: state.staged.len(),
        })
    }

    /// Whether every write is at all its owners, synced.
    pub(super) const fn is_safe(&self) -> bool {
        self.unsafe_because.is_empty()
    }

    /// In words.
    pub(super) fn lines(&self) -> Vec<String> {
        let writes = match self.is_safe() {
            true => format!(
                "every write is safe: all {} are up, all owners are equal, no hints wait, all is synced",
                counted(self.members as u64, "node", "nodes")
            ),
            false => format!(
                "not every write is at all its owners: {}",
                self.unsafe_because.join("; ")
            ),
        };
        let behind: Vec<String> = self.behind.iter().filter_map(Behind::words).collect();
        let behind = match behind.is_empty() {
            true => "nothing".to_owned(),
            false => behind.join("; "),
        };
        let mut change = match &self.change {
            None => "none is running".to_owned(),
            Some(Change { layout, progress }) => format!(
                "layout {layout} is on its way, {} % done; dunlin cluster moves shows it",
                progress.percent()
            ),
        };
        if self.staged > 0 {
            change.push_str(&format!(
                "; {} staged, dunlin cluster plan shows what for",
                counted(self.staged as u64, "is", "are")
            ));
        }
        let mut lines = vec![
            format!("writes:    {writes}"),
            format!("tolerates: {}", tolerates(self.tolerance)),
            format!("behind:    {behind}"),
            format!("change:    {change}"),
        ];
        let short = [
            (
                self.tolerance.last_copy.short,
                "no living copy: they are not readable",
            ),
            (
                self.tolerance.majority.short,
                "fewer living owners than a majority: requests that need one fail there",
            ),
        ];
        for (partitions, what) in short.into_iter().filter(|(partitions, _)| *partitions > 0) {
            let partitions = counted(partitions as u64, "partition has", "partitions have");
            lines.push(format!("attention: {partitions} {what}"));
        }
        lines
    }

    /// For programs.
    pub(super) fn json(&self) -> Value {
        let change = self.change.as_ref().map(|change| {
            json!({
                "layout": change.layout,
                "percent": change.progress.percent(),
                "copies": change.progress.all,
                "copies_made": change.progress.done,
            })
        });
        json!({
            "safe": self.is_safe(),
            "unsafe_because": self.unsafe_because,
            "members": self.members,
            "tolerates": tolerates_json(self.tolerance),
            "change": change,
            "staged": self.staged,
        })
    }
}

impl Behind {
    fn words(&self) -> Option<String> {
        let parts = [
            (
                self.pairs,
                "comparison with another owner",
                "comparisons with other owners",
            ),
            (self.hints, "hint for others", "hints for others"),
            (
                self.refilling,
                "partition to refill",
                "partitions to refill",
            ),
            (self.unsynced, "batch to sync", "batches to sync"),
            (
                self.damaged,
                "damaged row to fetch",
                "damaged rows to fetch",
            ),
            (
                self.unreadable,
                "partition that can't be read",
                "partitions that can't be read",
            ),
        ];
        let parts = parts.into_iter().filter(|(number, ..)| *number > 0);
        let parts: Vec<String> = parts
            .map(|(number, one, many)| counted(number, one, many))
            .collect();
        (!parts.is_empty()).then(|| format!("{}: {}", self.name, parts.join(", ")))
    }
}

fn reasons(
    shape: &Shape,
    down: &BTreeSet<NodeId>,
    answered: &[&NodeStatus],
    behind: &[Behind],
) -> Vec<String> {
    let mut reasons = Vec::new();
    if !down.is_empty() {
        let names = name_all(&shape.state, down.iter().copied());
        let are = if down.len() == 1 { "is" } else { "are" };
        reasons.push(format!("{names} {are} down"));
    }
    for status in answered {
        match status.storage {
            StorageState::Ready => {}
            StorageState::Full => reasons.push(format!("the disk of {} is full", status.name)),
            StorageState::Failed => reasons.push(format!("the disk of {} has failed", status.name)),
        }
    }
    let sum = |of: fn(&Behind) -> u64| behind.iter().map(of).sum::<u64>();
    let sums = [
        (
            sum(|b| b.refilling),
            "partition is being refilled",
            "partitions are being refilled",
        ),
        (
            sum(|b| b.pairs),
            "comparison of owners found them differing, or is still to come",
            "comparisons of owners found them differing, or are still to come",
        ),
        (
            sum(|b| b.hints),
            "hint waits for its owner",
            "hints wait for their owners",
        ),
        (
            sum(|b| b.unsynced),
            "batch is not synced yet",
            "batches are not synced yet",
        ),
        (
            sum(|b| b.damaged),
            "damaged row is being fetched from another owner",
            "damaged rows are being fetched from other owners",
        ),
        (
            sum(|b| b.unreadable),
            "partition has rows that can't be read at one of its owners",
            "partitions have rows that can't be read at one of their owners",
        ),
    ];
    let sums = sums.into_iter().filter(|(number, ..)| *number > 0);
    reasons.extend(sums.map(|(number, one, many)| counted(number, one, many)));
    reasons
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;

    fn lines(shape: &Shape) -> Vec<String> {
        Verdict::of(shape).unwrap().lines()
    }

    fn status<'a>(shape: &'a mut Shape, name: &str) -> &'a mut NodeStatus {
        let said = shape.said.get_mut(&NodeId::from_name(name)).unwrap();
        said.as_mut().unwrap()
    }

    #[test]
    fn a_cluster_that_is_well_says_so_in_four_lines() {
        let shape = samples::shape(samples::state(3), &[]);
        assert_eq!(
            lines(&shape),
            [
                "writes:    every write is safe: all 3 nodes are up, all owners are equal, no hints wait, \
                 all is synced",
                "tolerates: 1 node or 1 zone by majority; 2 nodes or 2 zones by last copy",
                "behind:    nothing",
                "change:    none is running",
            ]
        );
        assert_eq!(Verdict::of(&shape).unwrap().json()["safe"], true);
    }

    #[test]
    fn a_node_that_is_down_and_what_waits_for_it_are_named() {
        let mut shape = samples::shape(samples::state(3), &["n3"]);
        status(&mut shape, "n1").hints = 5;
        status(&mut shape, "n1").clocks_behind = 16;
        status(&mut shape, "n2").unsynced = 1;
        status(&mut shape, "n2").damaged = 2;
        assert_eq!(
            lines(&shape),
            [
                "writes:    not every write is at all its owners: n3 is down; 16 comparisons of owners found \
                 them differing, or are still to come; 5 hints wait for their owners; 1 batch is not synced \
                 yet; 2 damaged rows are being fetched from other owners",
                "tolerates: 0 nodes or 0 zones by majority; 1 node or 1 zone by last copy",
                "behind:    n1: 16 comparisons with other owners, 5 hints for others; n2: 1 batch to sync, \
                 2 damaged rows to fetch",
                "change:    none is running",
            ]
        );
    }

    #[test]
    fn an_owner_that_cannot_read_all_its_rows_is_no_copy_to_count_on() {
        let mut shape = samples::shape(samples::state(3), &[]);
        status(&mut shape, "n2").unreadable = 1;
        assert_eq!(
            lines(&shape),
            [
                "writes:    not every write is at all its owners: 1 partition has rows that can't be read at one \
                 of its owners",
                "tolerates: 0 nodes or 0 zones by majority; 1 node or 1 zone by last copy",
                "behind:    n2: 1 partition that can't be read",
                "change:    none is running",
            ]
        );
    }

    #[test]
    fn too_few_owners_call_for_attention() {
        let two = lines(&samples::shape(samples::state(3), &["n1", "n2"])).join("\n");
        assert!(
            two.contains("attention: 16 partitions have fewer living owners"),
            "{two}"
        );
        assert!(!two.contains("no living copy"), "{two}");
        let mut shape = samples::shape(samples::state(3), &["n1", "n2"]);
        status(&mut shape, "n3").filling = 16;
        let none = lines(&shape).join("\n");
        assert!(
            none.contains("attention: 16 partitions have no living copy"),
            "{none}"
        );
    }

    #[test]
    fn a_change_that_is_running_is_no_reason_for_worry() {
        let mut state = samples::running();
        samples::says(&mut state, "n4", 6, 0);
        let mut shape = samples::shape(state, &[]);
        status(&mut shape, "n4").filling = 6;
        let lines = lines(&shape);
        assert!(lines[0].contains("every write is safe"), "{lines:?}");
        assert!(lines[3].contains("on its way, 50 % done"), "{lines:?}");
        let staged = samples::shape(samples::joining(), &[]);
        let lines = self::lines(&staged);
        assert!(
            lines[3].ends_with("none is running; 1 is staged, dunlin cluster plan shows what for"),
            "{lines:?}"
        );
    }
}
