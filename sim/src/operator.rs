//! Operators: they stage changes of the layout, apply them, take them back, all at random, on any side
//! of a split; and nodes that are there to join, that leave, and that die and are replaced.
//!
//! ```text
//!   operator: ask a node for the shape ─> stage, unstage, apply or revert by what it said ─> pause ─> …
//!   node:     Serving ─> Dead, to come back with its old disk, or never
//!                     ─> Retired: no member, and it says itself that nothing is left to hand over
//! ```
//!
//! Left out, because nothing is promised there: more nodes dead for good at a time than a minority of
//! the owners of a partition (one, where there are fewer than five); disks that are lost where there are
//! fewer than three copies; a name that comes back for another node after it was retired.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use dunlin_protocol::cluster::{
    AppliedLayout, Change, ChangeId, ClusterRequest, ClusterState, LayoutId,
};
use dunlin_ring::{Member, MemberState, NodeId};

use crate::history::{Action, Op, Outcome};
use crate::options::{below, chance, pick, up_to};
use crate::queue::Event;
use crate::world::World;

/// How long an operator waits for an answer.
const PATIENCE_MS: u64 = 3_000;
/// Of the seeds, so many of a thousand change layouts.
const ON_PERMILLE: u64 = 500;

/// How layouts change in a run.
#[derive(Clone, Copy, Debug)]
pub struct LayoutOptions {
    /// Nodes that are there and are no members at first.
    pub spares: usize,
    /// Operators, each with one request at a time.
    pub operators: usize,
    /// The longest pause of an operator between two requests.
    pub think_ms_max: u64,
    /// Of a thousand turns of an operator, in so many a node dies for good, or for long.
    pub deaths_permille: u64,
    /// Of a thousand such nodes, so many come back with their disk.
    pub returns_permille: u64,
    /// Of a thousand turns, so many revert.
    pub reverts_permille: u64,
}

impl LayoutOptions {
    /// Draws it, apart from the other options: so that seeds are what they were without.
    pub(crate) fn draw(seed: u64, wanted: Option<bool>) -> Option<Self> {
        let mut rng = fastrand::Rng::with_seed(seed ^ 0x6c61_796f_7574_7331);
        let drawn = chance(&mut rng, ON_PERMILLE);
        let options = Self {
            spares: 1 + below(&mut rng, 3),
            operators: *pick(&mut rng, &[1, 2, 2]),
            think_ms_max: *pick(&mut rng, &[100, 400, 1_500]),
            deaths_permille: *pick(&mut rng, &[0, 20, 80]),
            returns_permille: *pick(&mut rng, &[0, 500, 1_000]),
            reverts_permille: *pick(&mut rng, &[0, 40, 150]),
        };
        wanted.unwrap_or(drawn).then_some(options)
    }
}

/// Whether a node can run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It runs, or will again.
    Serving,
    /// It died, and somebody may replace it.
    Dead {
        /// Whether it comes back with its disk.
        returns: bool,
    },
    /// It has handed over all it had, and was switched off.
    Retired,
    /// Its disk was cloned, and somebody else has its place. It does not start again.
    Ghost,
}

/// One operator.
#[derive(Clone, Debug, Default)]
pub(crate) struct Operator {
    seen: Option<Box<ClusterState>>,
}

impl World {
    /// The nodes that may be asked: all but those that are gone for good.
    pub(crate) fn asked_nodes(&self) -> Vec<usize> {
        let gone = [Standing::Retired, Standing::Ghost];
        let asked = |at: &usize| !gone.contains(&self.nodes[*at].standing);
        (0..self.nodes.len()).filter(asked).collect()
    }

    /// The nodes that run, or will again by themselves.
    pub(crate) fn serving_nodes(&self) -> Vec<usize> {
        let serving = |at: &usize| self.nodes[*at].standing == Standing::Serving;
        (0..self.nodes.len()).filter(serving).collect()
    }

    /// An operator's place among the clients: after the one that checks.
    fn operator_client(&self, operator: usize) -> usize {
        self.clients.len() + 1 + operator
    }

    pub(crate) fn start_operators(&mut self) {
        let Some(layouts) = self.options.layouts else {
            return;
        };
        self.operators = vec![Operator::default(); layouts.operators];
        for operator in 0..layouts.operators {
            let wait = self.rng.u64(..1_000_000);
            self.after(wait, Event::Operate { operator });
        }
    }

    /// An operator's next turn.
    pub(crate) fn operate(&mut self, operator: usize) {
        let (Some(layouts), false) = (self.options.layouts, self.faults.over) else {
            return;
        };
        self.retire_those_that_left();
        if chance(&mut self.rng, layouts.deaths_permille) {
            self.let_one_die(layouts);
        }
        let request = self.draw_request(operator, layouts);
        let nodes = self.asked_nodes();
        let node = *pick(&mut self.rng, &nodes);
        let client = self.operator_client(operator);
        self.ask(client, node, Action::Reshape(request), PATIENCE_MS);
    }

    /// What an operator was told.
    pub(crate) fn operator_heard(&mut self, client: usize, op: &Op) {
        if let (Action::Reshape(ClusterRequest::Stage(change)), Outcome::Shape(shape)) =
            (&op.action, &op.outcome)
        {
            let of_it = shape
                .staged
                .iter()
                .filter(|staged| staged.change == *change);
            let newest = of_it.max_by_key(|staged| staged.staged);
            self.remembered
                .staged
                .extend(newest.map(|staged| staged.id));
        }
        self.count_operation(op);
        let Some(operator) = client.checked_sub(self.clients.len() + 1) else {
            return;
        };
        if operator >= self.operators.len() {
            return;
        }
        self.operators[operator].seen = match &op.outcome {
            Outcome::Shape(shape) => Some(shape.clone()),
            _ => None,
        };
        let most = self.options.layouts.map_or(1, |l| l.think_ms_max) * 1000;
        let wait = self.rng.u64(1..=most);
        self.after(wait, Event::Operate { operator });
    }

    fn count_operation(&mut self, op: &Op) {
        let (Action::Reshape(request), Outcome::Shape(_)) = (&op.action, &op.outcome) else {
            return;
        };
        match request {
            ClusterRequest::Describe => {}
            ClusterRequest::Stage(_) => self.count("changes staged"),
            ClusterRequest::Unstage => self.count("changes unstaged"),
            ClusterRequest::Apply { .. } => self.count("layouts applied"),
            ClusterRequest::Revert => self.count("layouts reverted"),
        }
    }

    fn draw_request(&mut self, operator: usize, layouts: LayoutOptions) -> ClusterRequest {
        let Some(seen) = self.operators[operator].seen.clone() else {
            return ClusterRequest::Describe;
        };
        let Some(newest) = seen.layouts.first() else {
            return ClusterRequest::Describe;
        };
        if chance(&mut self.rng, layouts.reverts_permille) && seen.layouts.len() > 1 {
            return ClusterRequest::Revert;
        }
        let based_on = newest.id;
        let stuck = matches!(&seen.next, Some(Err(_)));
        match self.rng.u64(..100) {
            0..10 => ClusterRequest::Describe,
            10..15 => ClusterRequest::Unstage,
            15..60 if stuck => ClusterRequest::Unstage,
            15..60 if !seen.staged.is_empty() => ClusterRequest::Apply { based_on },
            _ => self
                .draw_change(&newest.layout)
                .map_or(ClusterRequest::Describe, ClusterRequest::Stage),
        }
    }

    fn draw_change(&mut self, layout: &dunlin_ring::Layout) -> Option<Change> {
        let active = |member: &&Member| member.state == MemberState::Active;
        let members: Vec<NodeId> = layout
            .members()
            .iter()
            .filter(active)
            .map(|m| m.id)
            .collect();
        let place = |world: &Self, id: NodeId| world.nodes.iter().position(|node| node.id == id);
        let dead: Vec<NodeId> = members
            .iter()
            .copied()
            .filter(|id| {
                let standing = place(self, *id).map(|at| self.nodes[at].standing);
                matches!(standing, Some(Standing::Dead { .. }))
            })
            .collect();
        let spares: Vec<usize> = self
            .serving_nodes()
            .into_iter()
            .filter(|at| !members.contains(&self.nodes[*at].id))
            .collect();
        let spare = (!spares.is_empty()).then(|| *pick(&mut self.rng, &spares));
        let new = spare.map(|at| self.draw_member(at));
        let node = *pick(&mut self.rng, &members);
        if !dead.is_empty() && chance(&mut self.rng, 600) {
            let old = *pick(&mut self.rng, &dead);
            return Some(match new {
                Some(new) => Change::Replace { old, new },
                None => Change::Leave(old),
            });
        }
        Some(match (self.rng.u64(..100), new) {
            (0..35, Some(new)) => Change::Join(new),
            (35..55, Some(new)) => Change::Replace { old: node, new },
            (0..80, _) => Change::Leave(node),
            (80..86, _) => {
                let zone = format!("z{}", self.rng.u64(..4));
                Change::Zone { node, zone }
            }
            (86..93, _) => {
                let capacity = self.rng.u32(1..=4);
                Change::Capacity { node, capacity }
            }
            _ => {
                let founded = self.options.replicas;
                let least = founded.saturating_sub(1).max(1);
                Change::Replicas(self.rng.u8(least..=(founded + 1).min(5)))
            }
        })
    }

    fn draw_member(&mut self, node: usize) -> Member {
        let name = format!("n{node}");
        Member {
            id: NodeId::from_name(&name),
            address: format!("{name}:7400"),
            name,
            zone: format!("z{}", self.rng.u64(..4)),
            capacity: self.rng.u32(1..=2),
            state: MemberState::Active,
        }
    }

    /// Nodes that are no members any more, and say that they have handed over all, are switched off.
    fn retire_those_that_left(&mut self) {
        for node in self.nodes_that_left() {
            if chance(&mut self.rng, 500) {
                self.retire(node);
            }
        }
    }

    /// The nodes that have left by all they say themselves.
    fn nodes_that_left(&self) -> Vec<usize> {
        let has_left = |at: &usize| {
            let node = &self.nodes[*at];
            let Some(process) = &node.process else {
                return false;
            };
            let view = process.control.view();
            let layouts = view.layouts.all();
            let mut members = layouts.flat_map(|applied| applied.layout.members());
            let progress = process.control.knowledge().progress(node.id);
            let newest = view.layouts.newest().id;
            node.was_member
                && self.haunted() != Some(*at)
                && !view.layouts.is_changing()
                && !members.any(|m| m.id == node.id && m.state == MemberState::Active)
                && progress.is_some_and(|p| p.acked == Some(newest) && p.handing_over == 0)
                && process
                    .shards
                    .iter()
                    .all(|s| s.replica().tally().hints == 0 && s.is_idle())
        };
        self.serving_nodes().into_iter().filter(has_left).collect()
    }

    fn retire(&mut self, node: usize) {
        self.count("nodes retired");
        self.trace.say(self.now, format_args!("n{node} is retired"));
        self.stop(node);
        self.nodes[node].standing = Standing::Retired;
        self.nodes[node].durable.wiped();
    }

    fn let_one_die(&mut self, layouts: LayoutOptions) {
        let dead = |node: &&crate::world::Node| matches!(node.standing, Standing::Dead { .. });
        let most = usize::from(self.options.replicas.saturating_sub(1) / 2).max(1);
        if self.nodes.iter().filter(dead).count() >= most {
            return;
        }
        let nodes = self.serving_nodes();
        let node = *pick(&mut self.rng, &nodes);
        // Nobody takes a node for dead of which a process goes on.
        if self.haunted() == Some(node) {
            return;
        }
        let returns = chance(&mut self.rng, layouts.returns_permille) || self.options.replicas < 3;
        let kept = up_to(&mut self.rng, self.nodes[node].kv.unsynced());
        self.count("nodes dead for long");
        self.crash(node, kept);
        self.nodes[node].standing = Standing::Dead { returns };
        if returns {
            let wait = self.rng.u64(1_000_000..20_000_000);
            let end = crate::faults::FaultEnd::Return(node);
            self.after(wait, Event::FaultEnds(end));
        } else {
            self.nodes[node].durable.wiped();
            self.nodes[node].losses.push(self.now);
            self.disks_lost();
        }
    }

    /// A node that was thought dead is there again.
    pub(crate) fn comes_back(&mut self, node: usize) {
        if self.nodes[node].standing != Standing::Serving {
            self.trace.say(self.now, format_args!("n{node} comes back"));
            self.count("dead nodes that came back");
            self.nodes[node].standing = Standing::Serving;
            self.boot(node);
        }
    }

    /// Whoever died and is a member still must come back for a change to end: with its disk, or, where
    /// that is lost, with an empty one.
    pub(crate) fn bring_back_members(&mut self) {
        for node in 0..self.nodes.len() {
            let returns = match self.nodes[node].standing {
                Standing::Serving | Standing::Ghost => continue,
                Standing::Dead { returns } => returns,
                // A change that was staged before had it join again.
                Standing::Retired => false,
            };
            let id = self.nodes[node].id;
            let is_needed = self
                .nodes
                .iter()
                .filter_map(|n| n.process.as_ref())
                .any(|process| {
                    let view = process.control.view();
                    view.newest()
                        .member(id)
                        .is_some_and(|m| m.state == MemberState::Active)
                });
            if returns || is_needed {
                if !returns {
                    self.wipe(node);
                }
                self.comes_back(node);
            }
        }
    }

    /// When everything has healed an operator may go back on a change that still runs.
    pub(crate) fn revert_in_the_end(&mut self) {
        let Some(layouts) = self.options.layouts else {
            return;
        };
        self.bring_back_members();
        if layouts.reverts_permille == 0 || !self.rng.bool() {
            return;
        }
        let nodes = self.serving_nodes();
        let (node, client) = (*pick(&mut self.rng, &nodes), self.clients.len());
        self.ask(
            client,
            node,
            Action::Reshape(ClusterRequest::Revert),
            PATIENCE_MS,
        );
    }
}

/// What the world remembers of layouts and nodes, for the checkers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Remembered {
    /// Nodes of which two processes ran, from when to when.
    pub(crate) haunted: Vec<(NodeId, Range<u64>)>,
    /// Who said of which layout that it holds all of it.
    pub(crate) synced: BTreeSet<(NodeId, LayoutId)>,
    /// Layouts that some node takes for complete.
    pub(crate) complete: BTreeSet<LayoutId>,
    /// Every layout, as the node that applied it knows it.
    pub(crate) layouts: BTreeMap<LayoutId, Arc<AppliedLayout>>,
    /// Staged changes that operators were told are staged.
    pub(crate) staged: BTreeSet<ChangeId>,
}

impl Remembered {
    /// Whether two processes of a node ran at some time between: the one knows nothing of what the other takes, and
    /// has not forgotten anything that it would be refilled with.
    pub(crate) fn was_haunted(&self, node: NodeId, from: u64, to: u64) -> bool {
        let mut haunted = self.haunted.iter();
        haunted.any(|(id, when)| *id == node && when.start <= to && from <= when.end)
    }
}
