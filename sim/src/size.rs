//! What a cluster of so many nodes costs while nothing happens, and how fast news get around in it.
//!
//! ```text
//!   all start ─> all see all ─> rest ─> one node joins: known to all, complete ─> one dies: known to all
//! ```
//!
//! A report, and no check: there are no clients, no data and no faults but that one death.

use dunlin_protocol::cluster::{Change, ClusterRequest};
use dunlin_ring::{Member, MemberState, NodeId, RingError};

use crate::history::{Action, Outcome};
use crate::operator::Standing;
use crate::options::{FaultWeights, Links, Options};
use crate::overrides::Overrides;
use crate::run::layout;
use crate::trace::Trace;
use crate::traffic::{Rate, Traffic, What};
use crate::world::World;

/// How exact the times are.
const STEP_US: u64 = 20_000;
/// For how long a cluster at rest is watched.
const REST_US: u64 = 10_000_000;
/// How long anything may take.
const PATIENCE_US: u64 = 120_000_000;

/// What was seen of a cluster.
#[derive(Clone, Debug)]
pub struct SizeReport {
    /// Nodes, before one joins.
    pub nodes: usize,
    /// Q.
    pub partitions: u16,
    /// Until each saw all others, in milliseconds; `None` if that never came, as with all of these.
    pub all_known_ms: Option<u64>,
    /// Until each knew the layout with one node more, from when an operator staged it.
    pub layout_known_ms: Option<u64>,
    /// Until that was complete by what each knows.
    pub layout_complete_ms: Option<u64>,
    /// Until each saw that a node had died.
    pub death_known_ms: Option<u64>,
    /// How often one that lived was not seen by some other, at the end of a step.
    pub false_deaths: u64,
    /// Membership's datagrams for each node and second, at rest.
    pub membership: Rate,
    /// What the cluster says of itself, for each node and second, at rest.
    pub control: Rate,
    /// What shards say to each other, for each node and second, at rest.
    pub shards: Rate,
    /// The same three together, while the layout changed.
    pub changing: Rate,
}

/// Builds a cluster of so many nodes and watches it.
///
/// # Errors
/// [`RingError`] if there is no such cluster.
pub fn size(nodes: usize, partitions: u16) -> Result<SizeReport, RingError> {
    let mut rng = fastrand::Rng::with_seed(nodes as u64);
    let options = calm(Options::draw(0, &mut rng, &Overrides::default()));
    let options = Options {
        nodes,
        partitions,
        shards: 1,
        buckets: Vec::new(),
        ..options
    };
    let founded = std::sync::Arc::new(layout(&options)?);
    let mut world = World::new(options, rng, founded, Trace::new(false));
    Ok(world.measure(nodes, partitions))
}

/// A run in which nothing goes wrong, on a network of one place.
pub(crate) fn calm(mut options: Options) -> Options {
    options.replicas = 3;
    options.faults = FaultWeights::NONE;
    options.layouts = None;
    options.network.delay_us_min = 200;
    options.network.delay_us_max = 600;
    options.network.loss_permille = 0;
    options.network.slow_permille = 0;
    options.network.duplicate_permille = 0;
    options.network.links = Links::ALIKE;
    options.skew_ms_max = 0;
    options.late_flush_permille = 0;
    options.check_every = u64::MAX;
    options.hints_bytes_max = 1 << 30;
    options.disk.commit_us_max = 500;
    options.disk.sync_us_max = 2_000;
    options.engine = dunlin_engine::EngineOptions {
        notes_minted: true,
        ..dunlin_engine::EngineOptions::default()
    };
    options
}

impl World {
    fn measure(&mut self, nodes: usize, partitions: u16) -> SizeReport {
        self.add_nodes(nodes + 1);
        let mut report = SizeReport {
            nodes,
            partitions,
            all_known_ms: None,
            layout_known_ms: None,
            layout_complete_ms: None,
            death_known_ms: None,
            false_deaths: 0,
            membership: Rate::default(),
            control: Rate::default(),
            shards: Rate::default(),
            changing: Rate::default(),
        };
        (0..nodes).for_each(|node| self.boot(node));
        report.all_known_ms = self.until(|world| world.unseen(0..nodes, 0..nodes) == 0);
        self.run_until(self.now + REST_US);

        self.traffic = Traffic::default();
        let from = self.now;
        while self.now < from + REST_US {
            self.run_until(self.now + STEP_US * 5);
            report.false_deaths += self.unseen(0..nodes, 0..nodes);
        }
        let rate = |world: &Self, what| world.traffic.rate(what, nodes, world.now - from);
        report.membership = rate(self, What::Membership);
        report.control = rate(self, What::Control);
        report.shards = rate(self, What::Repair) + rate(self, What::Operation);

        self.clients
            .push(crate::clients::Client::new(0, 0, self.layout.partitions()));
        self.boot(nodes);
        self.run_until(self.now + REST_US);
        self.traffic = Traffic::default();
        let from = self.now;
        self.let_join(nodes);
        let known = self.until(|world| world.all_go_by_the_newest(false));
        report.layout_known_ms = known.map(|_| (self.now - from) / 1000);
        let complete = self.until(|world| world.all_go_by_the_newest(true));
        report.layout_complete_ms = complete.map(|_| (self.now - from) / 1000);
        for what in [
            What::Membership,
            What::Control,
            What::Repair,
            What::Operation,
        ] {
            let all = nodes + 1;
            report.changing += self.traffic.rate(what, all, self.now - from);
        }
        self.run_until(self.now + REST_US);

        let dead = nodes - 1;
        self.crash(dead, usize::MAX);
        self.nodes[dead].standing = Standing::Dead { returns: false };
        report.death_known_ms =
            self.until(|world| world.unseen(0..dead, dead..nodes) == dead as u64);
        report.false_deaths += self.unseen(0..dead, 0..dead);
        report
    }

    /// Lets time pass until something holds; how long that took, in milliseconds.
    pub(crate) fn until(&mut self, holds: impl Fn(&Self) -> bool) -> Option<u64> {
        let from = self.now;
        while !holds(self) {
            if self.now >= from + PATIENCE_US {
                return None;
            }
            self.run_until(self.now + STEP_US);
        }
        Some((self.now - from) / 1000)
    }

    /// How often one of `these` takes one of `those` for unreachable.
    fn unseen(&self, these: std::ops::Range<usize>, those: std::ops::Range<usize>) -> u64 {
        let mut unseen = 0;
        for at in these {
            let Some(process) = &self.nodes[at].process else {
                continue;
            };
            let view = process.control.view();
            let others = those.clone().filter(|other| *other != at);
            let misses = others.filter(|other| !view.is_reachable(self.nodes[*other].id));
            unseen += misses.count() as u64;
        }
        unseen
    }

    /// An operator has a node join.
    pub(crate) fn let_join(&mut self, node: usize) {
        let name = format!("n{node}");
        let member = Member {
            id: NodeId::from_name(&name),
            address: format!("{name}:7400"),
            name,
            zone: format!("z{}", node % 3),
            capacity: 1,
            state: MemberState::Active,
        };
        self.change_layout(Change::Join(member));
    }

    /// An operator stages a change and applies it.
    pub(crate) fn change_layout(&mut self, change: Change) {
        let Some(Outcome::Shape(shape)) = self.told(ClusterRequest::Stage(change)) else {
            return;
        };
        if let Some(newest) = shape.layouts.first() {
            let based_on = newest.id;
            self.told(ClusterRequest::Apply { based_on });
        }
    }

    /// What the first node answers to an operator.
    fn told(&mut self, request: ClusterRequest) -> Option<Outcome> {
        let asked = self.ask(self.clients.len(), 0, Action::Reshape(request), 5_000);
        let is_answered =
            |world: &Self| !matches!(world.history.ops[asked].outcome, Outcome::Pending);
        self.until(is_answered)?;
        Some(self.history.ops[asked].outcome.clone())
    }

    /// Whether every node that runs knows the newest layout there is; or knows, too, that it is complete.
    fn all_go_by_the_newest(&self, complete: bool) -> bool {
        let running = self.nodes.iter().filter_map(|node| node.process.as_ref());
        let views: Vec<_> = running.map(|process| process.control.view()).collect();
        let newest = views.iter().map(|view| view.layouts.newest().id).max();
        views.iter().all(|view| {
            let at = match complete {
                true => view.layouts.complete().id,
                false => view.layouts.newest().id,
            };
            Some(at) == newest
        })
    }
}
