//! A whole cluster on virtual time: the queue of what is to happen, and what happens then.
//!
//! ```text
//!   queue (time, order) -> Event -> Control or Shard::handle -> effects -> queue
//! ```
//!
//! Events at one time happen in the order in which they were put into the queue, all randomness is one
//! generator, and every map is ordered; so a seed has one trace.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use dunlin_engine::{Control, Effect, Input, Now, ReplyTo, Shard, SyncWhen, Time, TimerId, View};
use dunlin_protocol::RowKey;
use dunlin_protocol::cluster::{AppliedLayout, LayoutId};
use dunlin_protocol::codec::{self, CodecLimits};
use dunlin_protocol::peer::{PeerBody, PeerMessage};
use dunlin_protocol::request::Request;
use dunlin_protocol::status::StorageState;
use dunlin_ring::{Layout, NodeId, PartitionId};
use dunlin_storage::{Kv, MemoryKv, Start};

use crate::check::{Checker, Violation, check_bounds, watch_layouts};
use crate::clients::Client;
use crate::clone::Ghost;
use crate::durable::Durable;
use crate::faults::Faults;
use crate::history::History;
use crate::ledger::Ledger;
use crate::network::Network;
use crate::operator::{Operator, Remembered, Standing};
use crate::options::{Options, below, chance};
use crate::pace::Pace;
use crate::queue::{Event, Queue};
use crate::restore::Backup;
use crate::rot::Rot;
use crate::tamper;
use crate::trace::Trace;
use crate::traffic::Traffic;
use crate::writer::{Part, SlowDisk, Writer};

/// More complaints of one run say nothing new.
const VIOLATIONS_MAX: usize = 50;
/// Every so many events the queues of all shards are looked at.
const BOUNDS_EVERY: u64 = 25;
/// How often the control part is told that a peer is there which talks to the shards; as the process has it.
const SIGN_OF_LIFE_EVERY_US: u64 = 50_000;
/// How long a snapshot of the cluster takes from the control part to the shards.
const PUBLISH_US: u64 = 20;

/// The running process of a node.
pub(crate) struct Process {
    pub(crate) control: Control,
    pub(crate) shards: Vec<Shard>,
}

/// A node: a disk that stays, and a process that comes and goes.
pub(crate) struct Node {
    pub(crate) id: NodeId,
    pub(crate) kv: MemoryKv,
    pub(crate) durable: Durable,
    pub(crate) writer: Writer,
    pub(crate) process: Option<Process>,
    /// How many processes there were; what belongs to an earlier one is void.
    pub(crate) life: u64,
    pub(crate) started_at: u64,
    /// When its control part was last told that another one is there.
    pub(crate) heard: BTreeMap<NodeId, u64>,
    pub(crate) pace: Pace,
    pub(crate) slow_disk: SlowDisk,
    /// Whether some of its rows could not be read at some time.
    pub(crate) was_unreadable: bool,
    /// How far its clock is ahead, in milliseconds.
    pub(crate) skew_ms: i64,
    /// When its clock was last set.
    pub(crate) clock_set_at: u64,
    pub(crate) storage: StorageState,
    /// When it last noticed, or will have, how its disk is.
    pub(crate) noticed_at: u64,
    /// When its disk lost what was synced.
    pub(crate) losses: Vec<u64>,
    /// How much higher than by its lives the incarnation of its next process is: one has risen above another.
    pub(crate) risen: u64,
    /// When its process died.
    pub(crate) crashes: Vec<u64>,
    /// When its disk refused a batch.
    pub(crate) refusals: Vec<u64>,
    /// What a start found that could not be written down yet.
    pub(crate) start_owed: Option<Start>,
    /// The last backup of its disk.
    pub(crate) backup: Option<Backup>,
    /// Set when its disk was put back and it was not started since: how often it was let wait.
    pub(crate) put_back: Option<u32>,
    pub(crate) standing: Standing,
    /// Whether it ever owned something by what it knew.
    pub(crate) was_member: bool,
    /// What each shard decides by.
    pub(crate) views: Vec<Arc<View>>,
    /// The complete layout and the newest as this life knows them.
    pub(crate) knows: Option<(Arc<AppliedLayout>, LayoutId)>,
    /// The newest layout of which it told others that it follows it.
    pub(crate) told: Option<LayoutId>,
}

impl Node {
    /// One that has never run.
    pub(crate) fn new(id: NodeId, skew_ms: i64) -> Self {
        Self {
            id,
            kv: MemoryKv::new(),
            durable: Durable::default(),
            writer: Writer::new(),
            process: None,
            life: 0,
            started_at: 0,
            heard: BTreeMap::new(),
            pace: Pace::default(),
            slow_disk: SlowDisk::default(),
            was_unreadable: false,
            skew_ms,
            clock_set_at: 0,
            storage: StorageState::Ready,
            noticed_at: 0,
            losses: Vec::new(),
            risen: 0,
            crashes: Vec::new(),
            refusals: Vec::new(),
            start_owed: None,
            backup: None,
            put_back: None,
            standing: Standing::Serving,
            was_member: false,
            views: Vec::new(),
            knows: None,
            told: None,
        }
    }
}

/// Everything.
pub(crate) struct World {
    pub(crate) options: Options,
    pub(crate) rng: fastrand::Rng,
    pub(crate) now: u64,
    pub(crate) queue: Queue,
    /// The layout that the cluster is born with.
    pub(crate) layout: Arc<Layout>,
    pub(crate) nodes: Vec<Node>,
    pub(crate) network: Network,
    pub(crate) faults: Faults,
    pub(crate) clients: Vec<Client>,
    pub(crate) operators: Vec<Operator>,
    pub(crate) remembered: Remembered,
    pub(crate) rot: Rot,
    pub(crate) ghost: Option<Ghost>,
    /// Whether a damaged store was opened without what could not be read.
    pub(crate) has_salvaged: bool,
    /// Until when nothing fails, for a node to be recognised.
    pub(crate) spared_until: u64,
    /// Requests that are to succeed in time, and are on their way: their number and the node that was asked.
    pub(crate) probes: Vec<(usize, usize)>,
    /// Rows of which some node said that concurrent writes met.
    pub(crate) lww_noted: BTreeSet<RowKey>,
    pub(crate) traffic: Traffic,
    pub(crate) history: History,
    pub(crate) ledger: Ledger,
    pub(crate) trace: Trace,
    pub(crate) violations: Vec<Violation>,
    /// The wall clock at the start, in milliseconds.
    pub(crate) epoch_ms: u64,
    until_check: u64,
    pub(crate) counts: BTreeMap<&'static str, u64>,
}

impl World {
    pub(crate) fn new(
        options: Options,
        rng: fastrand::Rng,
        layout: Arc<Layout>,
        trace: Trace,
    ) -> Self {
        Self {
            network: Network::new(options.seed, options.network),
            faults: Faults::default(),
            clients: Vec::new(),
            operators: Vec::new(),
            remembered: Remembered::default(),
            rot: Rot::default(),
            ghost: None,
            has_salvaged: false,
            spared_until: 0,
            probes: Vec::new(),
            lww_noted: BTreeSet::new(),
            traffic: Traffic::default(),
            history: History::default(),
            ledger: Ledger::default(),
            violations: Vec::new(),
            epoch_ms: 1_700_000_000_000,
            until_check: options.check_every,
            counts: BTreeMap::new(),
            now: 0,
            queue: Queue::default(),
            nodes: Vec::new(),
            options,
            rng,
            layout,
            trace,
        }
    }

    pub(crate) fn at(&mut self, at: u64, event: Event) {
        self.queue.put(at.max(self.now), event);
    }

    pub(crate) fn after(&mut self, us: u64, event: Event) {
        self.at(self.now + us, event);
    }

    /// Lets happen what is to happen up to a time.
    pub(crate) fn run_until(&mut self, until: u64) {
        while let Some((at, event)) = self.queue.take(until) {
            self.now = at;
            self.step(event);
            if self.violations.len() >= VIOLATIONS_MAX {
                return;
            }
        }
        self.now = until;
    }

    pub(crate) fn complain(&mut self, checker: Checker, sentence: String) {
        self.trace
            .say(self.now, format_args!("VIOLATION {checker}: {sentence}"));
        let known = self
            .violations
            .iter()
            .filter(|known| known.checker == checker)
            .count();
        if known < 5 {
            self.violations.push(Violation { checker, sentence });
        }
    }

    pub(crate) fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    pub(crate) fn clock(&self, node: usize) -> Now {
        let node = &self.nodes[node];
        let wall = (self.epoch_ms + self.now / 1000).saturating_add_signed(node.skew_ms);
        Now {
            time: Time(self.now.saturating_sub(node.started_at)),
            wall: dunlin_crdt::Millis(wall),
        }
    }

    /// Where a message for a partition goes in a node.
    pub(crate) fn shard_of(&self, partition: PartitionId) -> Part {
        Part::Shard(usize::from(partition.0) % self.options.shards)
    }

    fn step(&mut self, event: Event) {
        let node = match &event {
            Event::Deliver { to: node, .. }
            | Event::Request { node, .. }
            | Event::Input { node, .. }
            | Event::Flush { node, .. }
            | Event::Disk { node, .. }
            | Event::SyncTick { node, .. } => Some(*node),
            Event::Act { .. }
            | Event::Answered { .. }
            | Event::NotSent { .. }
            | Event::GiveUp { .. }
            | Event::Hedge { .. }
            | Event::Fault
            | Event::FaultEnds(_)
            | Event::Operate { .. }
            | Event::GoOn { .. } => None,
        };
        match node {
            Some(node) => self.come(node, event),
            None => self.happen(event),
        }
        self.check_now_and_then();
    }

    pub(crate) fn happen(&mut self, event: Event) {
        match event {
            Event::Deliver {
                to,
                life,
                from,
                bytes,
            } if self.nodes[to].life == life => {
                self.deliver(to, from, &bytes);
            }
            Event::Request {
                node,
                life,
                reply_to,
                request,
                timeout_ms,
            } if self.nodes[node].life == life => {
                let request = tamper::request(self.options.mutant, *request);
                self.request(node, reply_to, request, timeout_ms);
            }
            Event::Input {
                node,
                life,
                part,
                input,
            } if self.nodes[node].life == life => {
                self.feed(node, part, *input);
            }
            Event::Flush { node, life, part } if self.nodes[node].life == life => {
                self.flush(node, part);
            }
            Event::Disk { node, life } if self.nodes[node].life == life => self.disk_step(node),
            Event::SyncTick { node, life } if self.nodes[node].life == life => {
                self.sync_tick(node);
            }
            // Of an earlier life.
            Event::Deliver { .. }
            | Event::Request { .. }
            | Event::Input { .. }
            | Event::Flush { .. }
            | Event::Disk { .. }
            | Event::SyncTick { .. } => {}
            Event::Act { client } => self.act(client),
            Event::Answered { reply_to, answer } => self.answered(reply_to, *answer),
            Event::NotSent { reply_to } => self.not_sent(reply_to),
            Event::GiveUp { reply_to } => self.give_up(reply_to),
            Event::Hedge { number } => self.hedge(number),
            Event::Fault => self.fault(),
            Event::FaultEnds(end) => self.fault_ends(end),
            Event::GoOn { node } => self.go_on(node),
            Event::Operate { operator } => self.operate(operator),
        }
    }

    fn check_now_and_then(&mut self) {
        self.until_check = self.until_check.saturating_sub(1);
        if self.until_check.is_multiple_of(BOUNDS_EVERY) {
            for node in 0..self.nodes.len() {
                check_bounds(self, node);
            }
        }
        if self.until_check == 0 {
            self.until_check = self.options.check_every;
            let node = below(&mut self.rng, self.nodes.len());
            self.check_node(node);
        }
    }

    /// Checks all that a node holds in memory.
    pub(crate) fn check_node(&mut self, node: usize) {
        // A damaged row is no row, and counts as one.
        let is_readable = self.nodes[node].kv.is_readable();
        if !is_readable || self.has_rotten_rows(node) {
            return;
        }
        let Some(process) = &self.nodes[node].process else {
            return;
        };
        let broken: Vec<String> = process
            .shards
            .iter()
            .filter_map(|shard| shard.check_invariants().err())
            .collect();
        for sentence in broken {
            self.complain(Checker::Invariants, format!("node {node}: {sentence}"));
        }
    }

    fn deliver(&mut self, to: usize, from: usize, bytes: &[u8]) {
        if self.nodes[to].process.is_none() {
            return;
        }
        let message = match codec::decode::<PeerMessage>(bytes, CodecLimits::default()) {
            Ok(message) => message,
            Err(error) => {
                let sentence = format!("a message of node {from} to {to} can't be read: {error}");
                return self.complain(Checker::Invariants, sentence);
            }
        };
        self.trace.add(self.now, to, "deliver", bytes);
        let from = self.nodes[from].id;
        let heard = |body| Input::Received { from, body };
        match message.body {
            PeerBody::Control(body) => {
                self.feed(to, Part::Control, heard(PeerBody::Control(body)));
                return;
            }
            PeerBody::Operation { partition, .. }
            | PeerBody::Repair { partition, .. }
            | PeerBody::Handoff { partition, .. } => {
                self.feed(to, self.shard_of(partition), heard(message.body));
            }
            PeerBody::Digests(entries) => {
                let mut by_part = BTreeMap::new();
                for entry in entries {
                    let part = self.shard_of(entry.partition);
                    by_part.entry(part).or_insert_with(Vec::new).push(entry);
                }
                for (part, entries) in by_part {
                    self.feed(to, part, heard(PeerBody::Digests(entries)));
                }
            }
        }
        // Whatever a peer says shows that it is there; a node does not say so to itself every time.
        let last = self.nodes[to].heard.entry(from).or_default();
        if *last == 0 || *last + SIGN_OF_LIFE_EVERY_US <= self.now {
            *last = self.now;
            self.feed(to, Part::Control, heard(PeerBody::Digests(Vec::new())));
        }
    }

    fn request(&mut self, node: usize, reply_to: ReplyTo, request: Request, timeout_ms: u64) {
        let Some(process) = &self.nodes[node].process else {
            let client = self.client_place(reply_to);
            for delay in self.network.send(self.now, node, client, false) {
                self.after(delay, Event::NotSent { reply_to });
            }
            return;
        };
        let view = process.control.view();
        let part = match dunlin_engine::partition_of(&request, &view) {
            Some(partition) => self.shard_of(partition),
            None => Part::Control,
        };
        let deadline = self.clock(node).time.plus_ms(timeout_ms);
        self.feed(
            node,
            part,
            Input::Requested {
                reply_to,
                request,
                deadline,
            },
        );
    }

    /// Gives an input to a part of a node, and does what it says.
    pub(crate) fn feed(&mut self, node: usize, part: Part, mut input: Input) {
        let now = self.clock(node);
        if self.trace.is_printed() {
            self.trace.say(
                self.now,
                format_args!("n{node} {part:?} <- {}", short(&input)),
            );
        }
        if let (Part::Shard(at), Input::ViewChanged(view)) = (part, &mut input) {
            if let Some(known) = self.nodes[node].views.get_mut(at) {
                *known = Arc::clone(view);
            }
            tamper::view(self.options.mutant, view);
        }
        // A paused process hears of it later than the disk refused it.
        if matches!(input, Input::CommitRefused(_)) {
            let now = self.now;
            self.nodes[node].refusals.push(now);
        }
        let synced = self.nodes[node].kv.synced();
        let Some(process) = &mut self.nodes[node].process else {
            return;
        };
        let mut effects = Vec::new();
        match part {
            Part::Control => {
                if matches!(input, Input::TimerFired(TimerId::Ping)) {
                    let synced = Input::StoreSynced(synced);
                    process.control.handle(synced, now, &mut effects);
                }
                process.control.handle(input, now, &mut effects);
            }
            Part::Shard(at) => process.shards[at].handle(input, now, &mut effects),
        }
        if part == Part::Control {
            watch_layouts(self, node);
        }
        self.carry_out(node, part, effects);
        if chance(&mut self.rng, self.options.late_flush_permille) {
            let life = self.nodes[node].life;
            let wait = self.rng.u64(1..300);
            self.after(wait, Event::Flush { node, life, part });
        } else {
            self.flush(node, part);
        }
    }

    pub(crate) fn flush(&mut self, node: usize, part: Part) {
        let now = self.clock(node);
        let Some(process) = &mut self.nodes[node].process else {
            return;
        };
        let mut effects = Vec::new();
        match part {
            Part::Control => process.control.flush(now, &mut effects),
            Part::Shard(at) => process.shards[at].flush(now, &mut effects),
        }
        self.carry_out(node, part, effects);
    }

    fn carry_out(&mut self, node: usize, part: Part, effects: Vec<Effect>) {
        let life = self.nodes[node].life;
        for effect in effects {
            match effect {
                Effect::Send { to, body } => self.send(node, to, body),
                Effect::Datagram { to, bytes } => self.send_datagram(node, to, bytes),
                Effect::Reply { to, answer } => self.reply(node, to, answer),
                Effect::Commit { id, batch, sync } => {
                    let mut bytes = id.number.to_be_bytes().to_vec();
                    bytes.extend(id.generation.to_be_bytes());
                    bytes.push(u8::from(sync == SyncWhen::Now));
                    for (_, key, value) in batch.iter() {
                        bytes.extend_from_slice(key);
                        bytes.extend_from_slice(value.map_or(&[][..], |value| value));
                    }
                    self.trace.add(self.now, node, "commit", &bytes);
                    self.enqueue(node, part, id, batch, sync);
                }
                Effect::SetTimer { id, at } => {
                    self.trace.add(self.now, node, "timer", &at.0.to_be_bytes());
                    self.set_timer(node, life, part, id, at);
                }
                Effect::Publish(view) => self.publish(node, life, &view),
                Effect::Follows(follows) => {
                    if let Part::Shard(shard) = part {
                        let input = Box::new(Input::ShardFollows { shard, follows });
                        let part = Part::Control;
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
                }
                Effect::Report { .. } => {}
                Effect::Note(note) => self.note(node, part, note),
            }
        }
    }

    fn set_timer(&mut self, node: usize, life: u64, part: Part, id: TimerId, at: Time) {
        let at = self.nodes[node].started_at + at.0;
        let input = Box::new(Input::TimerFired(id));
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

    fn publish(&mut self, node: usize, life: u64, view: &Arc<View>) {
        for shard in 0..self.options.shards {
            let input = Box::new(Input::ViewChanged(Arc::clone(view)));
            let part = Part::Shard(shard);
            self.after(
                PUBLISH_US,
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

fn short(input: &Input) -> String {
    let mut text = format!("{input:?}");
    if let Some((end, _)) = text.char_indices().nth(6000) {
        text.truncate(end);
        text.push('…');
    }
    text
}
