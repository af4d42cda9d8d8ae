//! One run: a cluster is born, clients and faults are let loose, everything heals, and then it is
//! checked what became of it all.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use dunlin_crdt::Kind;
use dunlin_protocol::cluster::ClusterEntry;
use dunlin_protocol::peer::{RangeScope, RowRange};
use dunlin_protocol::request::{Page, Query, ReadOptions};
use dunlin_ring::{
    BucketId, Layout, Member, MemberState, NodeId, PartitionCount, Quorum, RingError,
};

use crate::check::{
    self, Checker, Evidence, NodeEnd, PartitionEnd, Violation, check_damage, check_twins, is_quiet,
};
use crate::clients::Client;
use crate::history::{Action, Op, Outcome};
use crate::operator::Standing;
use crate::options::{Options, pick};
use crate::overrides::Overrides;
use crate::queue::Event;
use crate::trace::Trace;
use crate::world::{Node, World};

/// How long a cluster may take to come to rest, once everything is healed.
const REST_US_MAX: u64 = 60_000_000;
/// How often it is asked whether it has.
const REST_STEP_US: u64 = 1_000_000;
/// How long the cluster has to be born and to make its buckets.
const BIRTH_US: u64 = 3_000_000;
/// How long the last reads may take.
const READS_US: u64 = 12_000_000;

/// What became of a run.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// Everything about the run.
    pub options: Options,
    /// The hash over all that happened.
    pub hash: u64,
    /// How many things happened.
    pub events: u64,
    /// The virtual time that it took, in microseconds.
    pub virtual_us: u64,
    /// How many faults were drawn, those that were left out too.
    pub faults: u64,
    /// Counts of what happened, by name.
    pub counts: BTreeMap<&'static str, u64>,
    /// What does not hold.
    pub violations: Vec<Violation>,
}

/// Runs a seed. With `printed` every event is a line on standard output.
///
/// # Errors
/// [`RingError`] if the overrides make no cluster.
pub fn run(seed: u64, overrides: &Overrides, printed: bool) -> Result<Verdict, RingError> {
    let mut rng = fastrand::Rng::with_seed(seed);
    let options = Options::draw(seed, &mut rng, overrides);
    let layout = Arc::new(layout(&options)?);
    let mut world = World::new(options, rng, layout, Trace::new(printed));
    let ran = catch_unwind(AssertUnwindSafe(|| world.live()));
    if let Err(panic) = ran {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text
            .or(panic.downcast_ref::<&str>().copied())
            .unwrap_or("?");
        world.complain(Checker::Invariants, format!("panicked: {text}"));
    }
    Ok(Verdict {
        hash: world.trace.hash(),
        events: world.trace.events(),
        virtual_us: world.now,
        faults: world.faults.drawn,
        counts: world.counts,
        violations: world.violations,
        options: world.options,
    })
}

pub(crate) fn layout(options: &Options) -> Result<Layout, RingError> {
    let members = (0..options.nodes).map(|at| Member {
        id: NodeId::from_name(&format!("n{at}")),
        name: format!("n{at}"),
        address: format!("n{at}:7400"),
        zone: format!("z{}", at % 3),
        capacity: 1,
        state: MemberState::Active,
    });
    Layout::first(
        members.collect(),
        options.replicas,
        PartitionCount::new(options.partitions)?,
    )
}

impl World {
    fn live(&mut self) {
        self.be_born();
        self.make_buckets();
        for client in 0..self.options.clients {
            self.after(client as u64 * 100, Event::Act { client });
        }
        self.next_fault();
        self.start_operators();
        self.run_until(self.now + self.options.run_ms * 1000);
        self.heal();
        let healed = self.now;
        self.revert_in_the_end();
        let last_acts = self.rng.u64(..2_000_000);
        self.run_until(self.now + last_acts);
        self.clients
            .iter_mut()
            .for_each(|client| client.stopped = true);
        // The last requests come to their end.
        let slowest = self.options.delay_us_max() * 100;
        let patience = (self.options.client_timeout_ms * 1000).max(slowest);
        self.run_until(self.now + patience + 1_000_000);
        self.run_until((healed + self.options.settling_us()).max(self.now));
        self.probe_writes();
        self.come_to_rest();
        self.probe_all();
        self.come_to_rest();
        self.read_all();
        self.come_to_rest();
        self.judge();
    }

    /// Nodes that have never run.
    pub(crate) fn add_nodes(&mut self, count: usize) {
        let most = self.options.skew_ms_max as i64;
        for at in 0..count {
            let skew_ms = self.rng.i64(-most..=most);
            let id = NodeId::from_name(&format!("n{at}"));
            self.nodes.push(Node::new(id, skew_ms));
        }
    }

    pub(crate) fn be_born(&mut self) {
        let spares = self.options.layouts.map_or(0, |layouts| layouts.spares);
        let ghosts = usize::from(self.options.faults.clone > 0);
        self.add_nodes(self.options.nodes + spares + ghosts);
        for node in self.nodes.iter_mut().rev().take(ghosts) {
            node.standing = Standing::Ghost;
        }
        for at in 0..self.options.nodes {
            self.boot(at);
        }
        self.run_until(self.now + BIRTH_US);
        let (seed, clients) = (self.options.seed, 0..self.options.clients);
        let partitions = self.layout.partitions();
        self.clients = clients
            .map(|client| Client::new(seed, client, partitions))
            .collect();
        for at in self.options.nodes..self.nodes.len() {
            self.boot(at);
        }
    }

    /// The buckets are made before anything goes wrong, but for what a lossy network does.
    pub(crate) fn make_buckets(&mut self) {
        let checking = self.clients.len();
        for at in 0..self.options.buckets.len() {
            let name = format!("b{at}");
            for attempt in 0..100 {
                let node = (at + attempt) % self.options.nodes;
                let asked = self.ask(checking, node, Action::Create(name.clone()), 1_500);
                self.run_until(self.now + 200_000);
                let mut waits = 0;
                while matches!(self.history.ops[asked].outcome, Outcome::Pending) && waits < 10 {
                    self.run_until(self.now + 200_000);
                    waits += 1;
                }
                if let Outcome::Bucket(bucket) = &self.history.ops[asked].outcome {
                    self.history.lasting.push(bucket.id);
                    break;
                }
            }
        }
        self.run_until(self.now + 500_000);
    }

    pub(crate) fn come_to_rest(&mut self) {
        let until = self.now + REST_US_MAX;
        let from = self.now;
        while self.now < until {
            self.run_until(self.now + REST_STEP_US);
            self.bring_back_members();
            if self.is_at_rest() {
                let seconds = (self.now - from) / 1_000_000;
                self.counts.entry("seconds to rest").or_insert(seconds);
                return;
            }
        }
    }

    fn is_at_rest(&self) -> bool {
        if self.haunted().is_some() {
            return false;
        }
        // Cheap things first: most steps end here.
        let idle = |node: &Node| {
            let goes_on = node.pace.is_usual(self.now);
            goes_on
                && node.process.as_ref().is_some_and(|process| {
                    process.shards.iter().all(|shard| {
                        let tally = shard.replica().tally();
                        shard.is_idle()
                            && tally.hints == 0
                            && tally.log_entries == 0
                            && !tally.counting
                    })
                })
        };
        let mut serving = self
            .nodes
            .iter()
            .filter(|n| n.standing == Standing::Serving);
        let is_damaged = |node| self.has_rotten_rows(node) || self.has_lost_blocks(node);
        if !serving.all(idle) || (0..self.nodes.len()).any(is_damaged) {
            return false;
        }
        let ends = self.ends();
        let up: Vec<&NodeEnd> = ends.iter().filter(|end| end.up).collect();
        let follow = up.iter().all(|end| {
            let alike = up
                .first()
                .is_some_and(|first| first.knowledge == end.knowledge);
            alike && end.complete == end.newest && end.to_follow == 0
        });
        if !follow {
            return false;
        }
        let equal = self.layout.partitions().iter().all(|partition| {
            let of: Vec<_> = ends
                .iter()
                .filter_map(|node| node.partitions.get(&partition))
                .collect();
            of.iter()
                .all(|end| end.whole && of.first().is_some_and(|first| first.clock == end.clock))
        });
        let dropped_gone = ends.iter().all(|node| {
            let dropped = |bucket| node.buckets.get(bucket).is_some_and(|b| b.dropped);
            node.partitions
                .values()
                .all(|end| !end.rows.keys().any(|row| dropped(&row.bucket)))
        });
        equal && dropped_gone && up.into_iter().all(is_quiet)
    }

    /// What every node holds now.
    fn ends(&self) -> Vec<NodeEnd> {
        let buckets: Vec<BucketId> = {
            let views = self.nodes.iter().filter_map(|node| node.process.as_ref());
            let mut all: Vec<BucketId> = views
                .flat_map(|p| p.control.view().buckets.keys().copied().collect::<Vec<_>>())
                .collect();
            all.extend(self.ledger.rows().map(|(row, _)| row.bucket));
            all.sort_unstable();
            all.dedup();
            all
        };
        self.nodes
            .iter()
            .map(|node| self.end_of(node, &buckets))
            .collect()
    }

    fn end_of(&self, node: &Node, buckets: &[BucketId]) -> NodeEnd {
        let mut end = NodeEnd {
            id: node.id,
            losses: node.losses.clone(),
            crashes: node.crashes.clone(),
            unsynced: node.writer.has_unsynced() || !node.writer.queue.is_empty(),
            idle: true,
            ..NodeEnd::default()
        };
        let Some(process) = &node.process else {
            return end;
        };
        let (view, knowledge) = (process.control.view(), process.control.knowledge());
        end.up = true;
        end.buckets = (*view.buckets).clone();
        end.complete = Some(view.layouts.complete().id);
        end.newest = Some(view.layouts.newest().id);
        end.settles.clone_from(&view.layouts.newest().settles);
        end.knowledge = knowledge.digest();
        let progress = knowledge.progress(node.id);
        end.to_follow = progress.map_or(0, |said| said.filling + said.handing_over);
        end.changes = knowledge
            .entries()
            .into_iter()
            .filter_map(|entry| match entry {
                ClusterEntry::Change(change) => Some((change.id, change.cancelled)),
                _ => None,
            })
            .collect();
        for shard in &process.shards {
            let (replica, tally) = (shard.replica(), shard.replica().tally());
            end.hints += tally.hints;
            end.log_entries += tally.log_entries;
            end.idle &= shard.is_idle();
            for partition in replica.owned() {
                let mut held = PartitionEnd {
                    clock: replica.clock(partition).clone(),
                    whole: replica.is_whole(partition),
                    rows: BTreeMap::new(),
                };
                for bucket in buckets {
                    let scope = RangeScope::Keys {
                        prefix: bytes::Bytes::new(),
                        after: None,
                    };
                    let range = RowRange {
                        bucket: *bucket,
                        scope,
                    };
                    held.rows.extend(replica.rows(partition, &range).flatten());
                }
                end.partitions.insert(partition, held);
            }
        }
        end
    }

    /// Reads everything once more, in every way there is, from all owners.
    pub(crate) fn read_all(&mut self) {
        self.history.final_from = self.history.ops.len();
        let mut keys: Vec<(BucketId, bytes::Bytes)> = self
            .ledger
            .rows()
            .map(|(row, _)| (row.bucket, row.key.clone()))
            .collect();
        keys.dedup();
        let stands = |world: &World, bucket: &BucketId| {
            let serving = world
                .nodes
                .iter()
                .filter(|n| n.standing == Standing::Serving);
            serving.into_iter().all(|node| {
                let view = node.process.as_ref().map(|process| process.control.view());
                view.is_some_and(|view| view.bucket(*bucket).is_some())
            })
        };
        let mut actions = Vec::new();
        let page = Page {
            after: None,
            limit: 10_000,
        };
        for (bucket, key) in keys {
            if !stands(self, &bucket) {
                continue;
            }
            let (count, all) = (Query::Count(page.clone()), page.clone());
            let queries = match self.history.kind(bucket) {
                Some(Kind::Set) => vec![Query::Elements(all), count],
                Some(Kind::Map) => vec![
                    Query::Fields {
                        prefix: bytes::Bytes::new(),
                        page: all,
                    },
                    count,
                ],
                Some(_) => vec![Query::Value],
                None => Vec::new(),
            };
            let options = ReadOptions {
                r: Some(Quorum::All),
                ..ReadOptions::default()
            };
            actions.extend(queries.into_iter().map(|query| {
                let key = key.clone();
                Action::Read {
                    bucket,
                    key,
                    query,
                    options,
                }
            }));
        }
        let buckets: Vec<BucketId> = self.history.buckets.keys().copied().collect();
        for bucket in buckets.into_iter().filter(|bucket| stands(self, bucket)) {
            for partition in self.layout.partitions().iter() {
                actions.push(Action::Keys {
                    bucket,
                    partition,
                    after: None,
                    limit: 10_000,
                });
            }
        }
        let (checking, serving) = (self.clients.len(), self.serving_nodes());
        for action in actions {
            let node = *pick(&mut self.rng, &serving);
            self.ask(checking, node, action, 8_000);
            self.run_until(self.now + 500);
            // Each takes a place in two queues at most.
            let most = self.options.engine.operations_max / 4;
            while self.open_from(self.history.final_from, most) {
                self.run_until(self.now + 500);
            }
        }
        let last = self.now + READS_US;
        let pending = |op: &Op| matches!(op.outcome, Outcome::Pending);
        while self.now < last
            && self.history.ops[self.history.final_from..]
                .iter()
                .any(pending)
        {
            self.run_until(self.now + 100_000);
        }
    }

    /// Whether so many of the requests from this one on are on their way.
    fn open_from(&self, first: usize, most: usize) -> bool {
        let ops = self.history.ops[first..].iter();
        let open = ops
            .rev()
            .filter(|op| matches!(op.outcome, Outcome::Pending));
        open.take(most).count() == most
    }

    pub(crate) fn judge(&mut self) {
        for node in 0..self.nodes.len() {
            self.check_node(node);
        }
        self.note_drops();
        let ends = self.ends();
        let mut running = self.nodes.iter().filter_map(|node| node.process.as_ref());
        let last = running.next().map(|process| process.control.view());
        let layout = last.as_ref().map_or(&*self.layout, |view| view.complete());
        let calm = self.options.is_calm();
        let evidence = Evidence::new(
            &self.history,
            &self.ledger,
            layout,
            &ends,
            &self.remembered,
            &self.lww_noted,
            calm,
        );
        let found = check::all(&evidence);
        for Violation { checker, sentence } in found {
            self.complain(checker, sentence);
        }
        check_damage(self);
        check_twins(self);
    }

    /// A bucket may be gone if a client asked for that and was not told that nothing was done.
    fn note_drops(&mut self) {
        let names: Vec<String> = self
            .history
            .ops
            .iter()
            .filter(|op| !op.outcome.is_not_applied())
            .filter_map(|op| match &op.action {
                Action::Drop(name) => Some(name.clone()),
                _ => None,
            })
            .collect();
        for known in self.history.buckets.values_mut() {
            known.may_be_dropped = names.iter().any(|name| name == known.bucket.name.as_str());
        }
    }
}
