//! The life of a node's process: how it starts on its disk, writes to it, stops and dies.

use std::sync::Arc;

use dunlin_engine::membership::Identity;
use dunlin_engine::{Control, Input, Knowledge, Recall, Shard, SyncWhen};
use dunlin_protocol::cluster::AppliedLayout;
use dunlin_protocol::status::StorageState;
use dunlin_ring::{NodeId, PartitionId};
use dunlin_storage::{Batch, BatchId, Kv, MemoryKv, Replica, ReplicaOptions, Start};

use crate::check::{Checker, check_forgotten, check_given_up, check_hints_gone, check_knowledge};
use crate::durable::Footprint;
use crate::faults::FaultEnd;
use crate::ledger::Held;
use crate::mutant::Mutant;
use crate::operator::Standing;
use crate::options::{pick, stream, up_to};
use crate::queue::Event;
use crate::tamper;
use crate::world::{Node, Process, World};
use crate::writer::{Job, Part, Stage, Step, Writer};

/// How long a node takes to notice that its disk is full, or no longer is.
const NOTICE_US_MAX: u64 = 50_000;
/// How long the writer's report takes to the parts.
const REPORT_US: u64 = 1;
/// How long a node with a failed disk lives on.
const DYING_US_MAX: u64 = 20_000;

fn name_of(start: &Start) -> &'static [u8] {
    match start {
        Start::Blank => b"blank",
        Start::Clean => b"clean",
        Start::Unclean => b"unclean",
        Start::Amnesia { .. } => b"amnesia",
    }
}

impl World {
    /// Starts the process of a node on what its disk holds.
    pub(crate) fn boot(&mut self, node: usize) {
        if self.nodes[node].process.is_some() || self.nodes[node].standing != Standing::Serving {
            return;
        }
        let found = self.nodes[node].kv.open();
        let mut start = self.nodes[node].start_owed.take().unwrap_or(found);
        if self.options.mutant == Some(Mutant::AmnesiaDenied)
            && matches!(start, Start::Amnesia { .. })
        {
            start = Start::Unclean;
        }
        self.trace
            .say(self.now, format_args!("n{node} starts, {start:?}"));
        self.trace.add(self.now, node, "start", name_of(&start));
        if !self.may_be_recognised(node, &start) {
            return self.boot_later(node, start);
        }
        if let Start::Amnesia { .. } = start {
            let kv = self.nodes[node].kv.clone();
            self.nodes[node].durable.forgot(&kv);
            self.disks_lost();
        }
        let me = self.nodes[node].id;
        let kv: Arc<dyn Kv> = Arc::new(self.nodes[node].kv.clone());
        let knowledge = match Knowledge::load(&*kv) {
            Ok(Some(knowledge)) => knowledge,
            Ok(None) => match self.introduced(node) {
                Some(knowledge) => knowledge,
                None => return self.boot_later(node, start),
            },
            Err(error) => return self.complain(Checker::Invariants, format!("no start: {error}")),
        };
        let shards = self.options.shards;
        let options = self.options.engine.clone();
        let identity = Identity {
            id: me,
            name: format!("n{node}"),
            address: format!("n{node}:7400"),
            incarnation: self.nodes[node].life + 1 + self.nodes[node].risen,
            instance: self.rng.u64(..),
        };
        let recall = match Recall::load(&*kv, &start, identity.instance, &mut self.rng) {
            Ok(recall) => recall,
            Err(error) => return self.complain(Checker::Invariants, format!("no start: {error}")),
        };
        let rng = self.rng.fork();
        let control = Control::new(
            knowledge,
            identity,
            Vec::new(),
            shards,
            options,
            recall,
            rng,
        );
        let control = match control {
            Ok(control) => control,
            Err(error) => return self.complain(Checker::Invariants, format!("no start: {error}")),
        };
        let view = control.view();
        check_knowledge(self, node, control.knowledge());
        let mut opened = Vec::new();
        for shard in 0..shards {
            let mine = |partition: &PartitionId| usize::from(partition.0) % shards == shard;
            let all: Vec<PartitionId> = self.layout.partitions().iter().filter(mine).collect();
            let owned = all
                .iter()
                .copied()
                .filter(|p| view.is_owner(me, *p))
                .collect();
            let options = ReplicaOptions {
                partitions: self.layout.partitions(),
                owned,
                shard: all,
                start: start.clone(),
                hints_bytes_max: self.options.hints_bytes_max,
            };
            let drawn = self.rng.fork();
            let rng = match self.options.mutant {
                Some(Mutant::ActorReused) => stream(node as u64, "actors", shard as u64),
                _ => drawn,
            };
            match Replica::open(Arc::clone(&kv), options, rng) {
                Ok(mut replica) => {
                    // Ordering: what an amnesia makes void is void on the disk before anything else
                    // happens, for the disk will not report it twice.
                    if let Some((id, batch)) = replica.take_staged() {
                        if !self.write_now(node, &batch) {
                            return self.boot_later(node, start);
                        }
                        replica.committed(id);
                    }
                    opened.push(Shard::new(
                        replica,
                        control.view(),
                        self.options.engine.clone(),
                        self.rng.fork(),
                    ));
                }
                Err(error) => {
                    return self.complain(Checker::Invariants, format!("no start: {error}"));
                }
            }
        }
        let state = &mut self.nodes[node];
        state.process = Some(Process {
            control,
            shards: opened,
        });
        state.life += 1;
        state.started_at = self.now;
        state.pace.starts();
        state.heard.clear();
        state.writer = Writer::new();
        state.storage = StorageState::Ready;
        state.views = vec![view; shards];
        let life = state.life;
        self.feed(node, Part::Control, Input::Started);
        for shard in 0..shards {
            self.feed(node, Part::Shard(shard), Input::Started);
        }
        self.after(
            self.options.disk.sync_every_ms * 1000,
            Event::SyncTick { node, life },
        );
    }

    /// What a node that knows nothing of its cluster starts with: what a node that runs knows; at the
    /// birth of the cluster, and if nobody knows any more, a founder's own layout.
    fn introduced(&mut self, node: usize) -> Option<Knowledge> {
        let is_founder = node < self.options.nodes;
        let founding = || Knowledge::new(AppliedLayout::founding((*self.layout).clone()));
        if is_founder && (self.options.layouts.is_none() || self.clients.is_empty()) {
            return Some(founding());
        }
        let running = self.nodes.iter().filter_map(|other| other.process.as_ref());
        let known: Vec<&Knowledge> = running.map(|process| process.control.knowledge()).collect();
        if !known.is_empty() {
            return Some((*pick(&mut self.rng, &known)).clone());
        }
        let knows = |other: &Node| {
            let disk = Knowledge::load(&other.kv);
            other.standing == Standing::Serving && disk.is_ok_and(|known| known.is_some())
        };
        (is_founder && !self.nodes.iter().any(knows)).then(founding)
    }

    /// A node that cannot write down what its start means tries again when its disk may have room.
    fn boot_later(&mut self, node: usize, start: Start) {
        self.nodes[node].start_owed = Some(start);
        self.after(300_000, Event::FaultEnds(FaultEnd::Boot(node)));
    }

    /// Writes and syncs a batch, between two lives of a process; whether that could be done.
    fn write_now(&mut self, node: usize, batch: &Batch) -> bool {
        let state = &mut self.nodes[node];
        if state.kv.commit(batch).is_err() {
            return false;
        }
        state.durable.written(Footprint::of(batch));
        if state.kv.sync().is_err() {
            return false;
        }
        for (dot, hint_for) in state.durable.synced() {
            self.ledger.copy(&dot, node, hint_for, Held::Synced);
        }
        true
    }

    /// The process ends in order: everything is written, and the next start is a clean one.
    pub(crate) fn stop(&mut self, node: usize) {
        if self.nodes[node].process.is_none() || self.nodes[node].storage != StorageState::Ready {
            return self.crash(node, usize::MAX);
        }
        self.feed(node, Part::Control, Input::Stopping);
        self.flush(node, Part::Control);
        for shard in 0..self.options.shards {
            self.feed(node, Part::Shard(shard), Input::Stopping);
            self.flush(node, Part::Shard(shard));
        }
        let jobs: Vec<Job> = self.nodes[node].writer.queue.drain(..).collect();
        for job in jobs {
            if !self.nodes[node].writer.is_void(&job) && !self.commit(node, &job) {
                return self.crash(node, usize::MAX);
            }
        }
        let state = &mut self.nodes[node];
        if state.kv.close_clean().is_err() {
            return self.crash(node, usize::MAX);
        }
        for (dot, hint_for) in state.durable.synced() {
            self.ledger.copy(&dot, node, hint_for, Held::Synced);
        }
        let state = &mut self.nodes[node];
        state.process = None;
        state.life += 1;
        state.crashes.push(self.now);
        self.trace.say(self.now, format_args!("n{node} stops"));
        self.back_up(node);
    }

    /// The process dies. Of what was not synced, the oldest `kept` batches are on the disk.
    pub(crate) fn crash(&mut self, node: usize, kept: usize) {
        let state = &mut self.nodes[node];
        if state.process.take().is_none() {
            return;
        }
        state.life += 1;
        let lost = state.kv.crash(kept);
        for (dot, hint_for) in state.durable.crashed(kept) {
            self.ledger.copy(&dot, node, hint_for, Held::Synced);
        }
        self.nodes[node].crashes.push(self.now);
        self.trace
            .say(self.now, format_args!("n{node} dies, {lost} batches lost"));
        self.trace
            .add(self.now, node, "crash", &(lost as u64).to_be_bytes());
        self.count("crashes");
        if self.nodes[node].standing == Standing::Ghost {
            self.ghost_ended(node);
        }
    }

    /// A disk has lost what it had synced: notes what no disk holds any more.
    pub(crate) fn disks_lost(&mut self) {
        let partitions = self.layout.partitions();
        let nodes = &self.nodes;
        let place = |owner: NodeId| nodes.iter().position(|node| node.id == owner);
        self.ledger.disks_lost(|minted| {
            let (partition, dot) = (minted.row.partition(partitions), &minted.event.dot);
            // A hint that its owner has taken is being forgotten.
            let taken = |owner| {
                let copy = place(owner).and_then(|place| minted.copies.get(&(place, None)));
                copy == Some(&Held::Synced)
            };
            let claimed = nodes.iter().any(|node| node.durable.claims(partition, dot));
            // Who found it after damage claims it in the end without knowing what it replaced.
            let known = nodes
                .iter()
                .any(|node| node.durable.claims(partition, dot) && !node.durable.survives(dot));
            let hinted = || {
                let mut hints = nodes.iter().flat_map(|node| node.durable.hinted(dot));
                hints.any(|owner| !taken(owner))
            };
            let survives = || nodes.iter().any(|node| node.durable.survives(dot));
            let held = claimed || hinted() || (minted.event.cell.is_some() && survives());
            (held, known)
        });
    }

    /// The disk is another, empty one. The process must not run.
    pub(crate) fn wipe(&mut self, node: usize) {
        self.trace
            .say(self.now, format_args!("n{node} has an empty disk"));
        let state = &mut self.nodes[node];
        state.kv = MemoryKv::new();
        state.start_owed = None;
        state.told = None;
        if self.options.mutant == Some(Mutant::SecretWipe) {
            return;
        }
        state.durable.wiped();
        state.losses.push(self.now);
        self.disks_lost();
        self.count("wipes");
    }

    /// The disk forgets the newest of what it has synced. The process must not run.
    pub(crate) fn forget(&mut self, node: usize, batches: usize) {
        let lost = self.nodes[node].kv.forget(batches);
        self.nodes[node].told = None;
        self.trace.say(
            self.now,
            format_args!("n{node} has forgotten {lost} batches"),
        );
        if self.options.mutant != Some(Mutant::AmnesiaDenied) && lost > 0 {
            self.nodes[node].losses.push(self.now);
            self.count("amnesias");
        }
    }

    pub(crate) fn enqueue(
        &mut self,
        node: usize,
        part: Part,
        id: BatchId,
        mut batch: Batch,
        sync: SyncWhen,
    ) {
        tamper::batch(self.options.mutant, &mut batch);
        if self.options.mutant == Some(Mutant::AckBeforeCommit) {
            let life = self.nodes[node].life;
            let input = Box::new(Input::Committed {
                written: id,
                synced: id,
            });
            self.after(
                1,
                Event::Input {
                    node,
                    life,
                    part,
                    input,
                },
            );
        }
        let writer = &mut self.nodes[node].writer;
        writer.queue.push_back(Job {
            part,
            id,
            batch,
            sync,
        });
        self.start_commit(node);
    }

    fn start_commit(&mut self, node: usize) {
        let writer = &mut self.nodes[node].writer;
        if writer.stage == Stage::Idle && !writer.queue.is_empty() {
            writer.stage = Stage::Committing;
            let took = self.rng.u64(1..=self.options.disk.commit_us_max);
            self.disk_after(node, took);
        }
    }

    fn disk_after(&mut self, node: usize, mut us: u64) {
        let (life, slow) = (self.nodes[node].life, self.nodes[node].slow_disk);
        if slow.until > self.now {
            us *= slow.factor;
        }
        self.after(us, Event::Disk { node, life });
    }

    pub(crate) fn disk_step(&mut self, node: usize) {
        match self.nodes[node].writer.stage {
            Stage::Idle => {}
            Stage::Committing => self.commit_group(node),
            Stage::Syncing => self.sync(node),
        }
    }

    fn commit_group(&mut self, node: usize) {
        if self.dies_at(node, Step::Idle) {
            return;
        }
        let jobs: Vec<Job> = self.nodes[node].writer.queue.drain(..).collect();
        let mut wants_sync = false;
        for (at, job) in jobs.into_iter().enumerate() {
            if at > 0 && self.dies_at(node, Step::BetweenBatches(at)) {
                return;
            }
            if self.nodes[node].writer.is_void(&job) {
                continue;
            }
            if self.commit(node, &job) {
                wants_sync |= job.sync == SyncWhen::Now;
            } else {
                self.nodes[node].writer.refuse(&job);
                let now = self.now;
                self.nodes[node].refusals.push(now);
                let life = self.nodes[node].life;
                let (part, input) = (job.part, Box::new(Input::CommitRefused(job.id)));
                self.after(
                    1,
                    Event::Input {
                        node,
                        life,
                        part,
                        input,
                    },
                );
                self.count("refused commits");
                self.notice(node, StorageState::Full);
            }
        }
        if self.dies_at(node, Step::Committed) {
            return;
        }
        if wants_sync {
            // Some writers report what is written before they sync it.
            if self.rng.bool() {
                self.report_progress(node);
            }
            self.start_sync(node);
        } else {
            self.report_progress(node);
            self.nodes[node].writer.stage = Stage::Idle;
            self.start_commit(node);
        }
    }

    fn commit(&mut self, node: usize, job: &Job) -> bool {
        let state = &mut self.nodes[node];
        if state.kv.commit(&job.batch).is_err() {
            return false;
        }
        state.writer.wrote(job.part, job.id);
        if !job.batch.is_empty() {
            let footprint = Footprint::of(&job.batch);
            check_given_up(self, node, footprint.given_up());
            check_hints_gone(self, node, footprint.hints_gone());
            let forgotten = self.nodes[node].durable.forgets(&footprint);
            check_forgotten(self, node, &forgotten);
            for (dot, hint_for) in footprint.copies() {
                self.ledger.copy(&dot, node, hint_for, Held::Written);
            }
            self.nodes[node].durable.written(footprint);
        }
        true
    }

    /// Whether the process is dead by now, for a trap waited for it at this step.
    fn dies_at(&mut self, node: usize, step: Step) -> bool {
        let writer = &mut self.nodes[node].writer;
        let Some(trap) = writer.trap.take_if(|trap| trap.at == step) else {
            return false;
        };
        self.count("deaths at a step of the writer");
        let kept = trap.kept(self.nodes[node].kv.unsynced());
        if step == Step::Reported {
            // The report is handled first.
            let life = self.nodes[node].life;
            let end = FaultEnd::Die { node, life, kept };
            self.after(REPORT_US + 1, Event::FaultEnds(end));
            return false;
        }
        self.crash(node, kept);
        self.after(trap.lasts, Event::FaultEnds(FaultEnd::Boot(node)));
        true
    }

    fn start_sync(&mut self, node: usize) {
        self.nodes[node].writer.stage = Stage::Syncing;
        let took = self.rng.u64(1..=self.options.disk.sync_us_max);
        self.disk_after(node, took);
    }

    fn sync(&mut self, node: usize) {
        let state = &mut self.nodes[node];
        match state.kv.sync() {
            Ok(()) => {
                state.writer.synced();
                for (dot, hint_for) in state.durable.synced() {
                    self.ledger.copy(&dot, node, hint_for, Held::Synced);
                }
                if self.dies_at(node, Step::Synced) {
                    return;
                }
                self.report_progress(node);
                self.dies_at(node, Step::Reported);
                self.nodes[node].writer.stage = Stage::Idle;
                self.start_commit(node);
            }
            Err(_) => {
                self.count("failed syncs");
                self.notice(node, StorageState::Failed);
                let kept = up_to(&mut self.rng, 3);
                let wait = self.rng.u64(1..=DYING_US_MAX);
                let life = self.nodes[node].life;
                let end = FaultEnd::Die { node, life, kept };
                self.after(wait, Event::FaultEnds(end));
            }
        }
    }

    fn report_progress(&mut self, node: usize) {
        let life = self.nodes[node].life;
        for (part, progress) in self.nodes[node].writer.news() {
            let (written, synced) = (progress.written, progress.synced);
            let input = Box::new(Input::Committed { written, synced });
            self.after(
                REPORT_US,
                Event::Input {
                    node,
                    life,
                    part,
                    input,
                },
            );
        }
    }

    pub(crate) fn sync_tick(&mut self, node: usize) {
        let life = self.nodes[node].life;
        self.after(
            self.options.disk.sync_every_ms * 1000,
            Event::SyncTick { node, life },
        );
        let writer = &self.nodes[node].writer;
        if writer.stage == Stage::Idle && writer.has_unsynced() {
            self.start_sync(node);
        }
    }

    /// The process notices, in a while, how its disk is.
    pub(crate) fn notice(&mut self, node: usize, state: StorageState) {
        if self.nodes[node].process.is_none() || self.nodes[node].storage == state {
            return;
        }
        self.nodes[node].storage = state;
        let life = self.nodes[node].life;
        // One look after the other: what is noticed last is what is true.
        let wait = self.rng.u64(1..NOTICE_US_MAX);
        let at = (self.now + wait).max(self.nodes[node].noticed_at + 1);
        self.nodes[node].noticed_at = at;
        let parts = (0..self.options.shards)
            .map(Part::Shard)
            .chain([Part::Control]);
        for part in parts {
            let input = Box::new(Input::StorageChanged(state));
            self.at(
                at,
                Event::Input {
                    node,
                    life,
                    part,
                    input,
                },
            );
        }
    }
}
