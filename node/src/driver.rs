//! The loop that drives one part of the engine, on a thread of its own.
//!
//! ```text
//!   inbox ──take all──> handle each ──> flush ──> wait until something arrives or a timer is due
//!                          │              │
//!                          └── effects ───┴──> links (any thread may send), writer, timers, shards
//! ```
//!
//! Effects are carried out here, right after the input that caused them. Nothing in the loop waits
//! for another thread: links and the writer take what they are given or drop it, and what comes back
//! is a message like any other.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;

use dunlin_engine::{Effect, Input, Note, Now, ReplyTo, Time, TimerId};
use dunlin_protocol::response::Answer;
use dunlin_storage::{BatchId, FjallKv, Kv};
use tokio::sync::mpsc::UnboundedSender;

use crate::board::ViewBoard;
use crate::clock::Clock;
use crate::counters::NodeCounters;
use crate::driver::inbox::Inbox;
use crate::driver::notes::NoteLog;
use crate::driver::part::{Part, PartId, PartMessage};
use crate::inspector::Inspector;
use crate::links::PeerLinks;
use crate::listener::clients::Asker;
use crate::server::ServerError;
use crate::writer::{Submission, WriterHandle};

pub(crate) mod inbox;
mod notes;
pub(crate) mod part;

/// How often askers whose link has ended are forgotten.
const SWEEP_MS: u64 = 10_000;

/// The inboxes of all parts of the node.
#[derive(Debug)]
pub(crate) struct Parts {
    control: Arc<Inbox<PartMessage>>,
    /// At least one.
    shards: Vec<Arc<Inbox<PartMessage>>>,
}

impl Parts {
    /// Of these inboxes.
    ///
    /// # Panics
    /// Without a shard.
    pub(crate) fn new(
        control: Arc<Inbox<PartMessage>>,
        shards: Vec<Arc<Inbox<PartMessage>>>,
    ) -> Self {
        assert!(!shards.is_empty(), "a node has at least one shard");
        Self { control, shards }
    }

    /// The control part's inbox.
    pub(crate) fn control(&self) -> &Arc<Inbox<PartMessage>> {
        &self.control
    }

    /// The shards' inboxes, in order.
    pub(crate) fn shards(&self) -> &[Arc<Inbox<PartMessage>>] {
        &self.shards
    }

    /// The inbox of the shard that a partition belongs to.
    #[expect(
        clippy::indexing_slicing,
        reason = "the index is taken modulo the length"
    )]
    pub(crate) fn shard_of(&self, partition: dunlin_ring::PartitionId) -> &Arc<Inbox<PartMessage>> {
        &self.shards[usize::from(partition.0) % self.shards.len()]
    }

    /// All inboxes, in the order of [`PartId::index`].
    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<Inbox<PartMessage>>> {
        std::iter::once(&self.control).chain(&self.shards)
    }

    /// The inbox of a part.
    pub(crate) fn of(&self, part: PartId) -> Option<&Arc<Inbox<PartMessage>>> {
        self.all().nth(part.index())
    }
}

/// What a part's effects act on.
pub(crate) struct Wiring {
    pub(crate) part: PartId,
    pub(crate) parts: Arc<Parts>,
    pub(crate) writer: WriterHandle,
    pub(crate) peers: Arc<PeerLinks>,
    pub(crate) clock: Clock,
    pub(crate) views: Arc<ViewBoard>,
    pub(crate) counters: Arc<NodeCounters>,
    pub(crate) kv: Arc<FjallKv>,
    pub(crate) inspector: Arc<Inspector>,
    /// Where it is said that the node has to end.
    pub(crate) failed: UnboundedSender<ServerError>,
}

/// Drives `part` until it is told to stop.
pub(crate) fn run(part: impl Part, inbox: &Inbox<PartMessage>, wiring: Wiring) {
    let notes = NoteLog::new(wiring.part, Arc::clone(&wiring.peers));
    let mut driver = Driver {
        part,
        wiring,
        notes,
        effects: Vec::new(),
        timers: BinaryHeap::new(),
        askers: BTreeMap::new(),
        next_reply: 0,
        epoch: 0,
        sweep_at: Time::default(),
    };
    driver.handle(Input::Started);
    driver.flush();
    let mut messages = Vec::new();
    loop {
        let next_timer = driver.timers.peek().map(|Reverse((at, _))| *at);
        inbox.take(
            next_timer.map(|at| driver.wiring.clock.instant(at)),
            &mut messages,
        );
        driver.fire_timers();
        for message in messages.drain(..) {
            match message {
                PartMessage::Stop => {
                    driver.handle(Input::Stopping);
                    driver.flush();
                    return;
                }
                other => driver.message(other),
            }
        }
        driver.flush();
        driver.sweep();
    }
}

struct Driver<P> {
    part: P,
    wiring: Wiring,
    notes: NoteLog,
    effects: Vec<Effect>,
    timers: BinaryHeap<Reverse<(Time, TimerId)>>,
    /// Who waits for an answer. Bounded by the operations that the part accepts.
    askers: BTreeMap<ReplyTo, Asker>,
    next_reply: u64,
    /// How many refusals of the writer the part has taken note of.
    epoch: u64,
    sweep_at: Time,
}

impl<P: Part> Driver<P> {
    fn message(&mut self, message: PartMessage) {
        match message {
            PartMessage::Asked {
                asker,
                request,
                deadline,
            } => {
                self.next_reply += 1;
                let reply_to = ReplyTo(self.next_reply);
                self.askers.insert(reply_to, asker);
                self.handle(Input::Requested {
                    reply_to,
                    request,
                    deadline,
                });
            }
            PartMessage::Said { from, body } => self.handle(Input::Received { from, body }),
            PartMessage::Told(input) => self.handle(input),
            PartMessage::Refused { id } => {
                // Ordering: what is handed over from here on was staged after the roll-back.
                self.epoch += 1;
                self.handle(Input::CommitRefused(id));
            }
            PartMessage::Inspect(asker) => {
                let report = self.part.inspect(self.wiring.clock.now());
                // Whoever asked may have given up.
                let _ = asker.send(report);
            }
            PartMessage::Stop => {}
        }
    }

    fn handle(&mut self, input: Input) {
        let now = self.wiring.clock.now();
        self.part.handle(input, now, &mut self.effects);
        self.carry_out();
    }

    fn flush(&mut self) {
        let now: Now = self.wiring.clock.now();
        self.part.flush(now, &mut self.effects);
        self.carry_out();
    }

    fn fire_timers(&mut self) {
        let now = self.wiring.clock.time();
        // A timer that is set for now while timers fire waits for the next turn, after the inbox.
        let mut due = Vec::new();
        while let Some(Reverse((at, _))) = self.timers.peek()
            && *at <= now
        {
            due.extend(self.timers.pop());
        }
        for Reverse((_, id)) in due {
            if id == TimerId::Ping {
                self.handle(Input::StoreSynced(self.wiring.kv.synced()));
            }
            self.handle(Input::TimerFired(id));
        }
    }

    fn carry_out(&mut self) {
        let mut effects = std::mem::take(&mut self.effects);
        for effect in effects.drain(..) {
            self.carry_out_one(effect);
        }
        // Kept for its room.
        self.effects = effects;
    }

    fn carry_out_one(&mut self, effect: Effect) {
        match effect {
            Effect::Send { to, body } => self.wiring.peers.send(to, body),
            Effect::Datagram { to, bytes } => self.wiring.peers.send_datagram(to, bytes),
            Effect::Reply { to, answer } => self.reply(to, answer),
            Effect::Commit { id, batch, sync } => self.submit(id, batch, sync),
            Effect::SetTimer { id, at } => self.timers.push(Reverse((at, id))),
            Effect::Publish(view) => {
                self.wiring.views.publish(Arc::clone(&view));
                for shard in self.wiring.parts.shards() {
                    shard.push(PartMessage::Told(Input::ViewChanged(Arc::clone(&view))));
                }
            }
            Effect::Follows(follows) => {
                if let Some(shard) = self.wiring.part.as_shard() {
                    let input = Input::ShardFollows { shard, follows };
                    self.wiring.parts.control().push(PartMessage::Told(input));
                }
            }
            // Inspections are answered where they are asked.
            Effect::Report { .. } => {}
            Effect::Note(note) => {
                if note == Note::Unreadable {
                    self.wiring
                        .inspector
                        .look(&self.wiring.kv, &self.wiring.failed);
                }
                self.ends_the_node(&note);
                self.notes.write(note);
            }
        }
    }

    /// Says that the node has to end, if that is what a note means.
    fn ends_the_node(&self, note: &Note) {
        let reason = match note {
            Note::Replaced { address } => ServerError::Replaced {
                address: address.clone(),
            },
            Note::NotRolledBack { .. } => ServerError::NotRolledBack,
            Note::Forgot {
                by,
                remembers,
                holds,
            } => {
                let by = self.wiring.peers.name(*by);
                let by = by.unwrap_or_else(|| "a peer".to_owned());
                let evidence = format!(
                    "{by} remembers batch {remembers} of this store, which held {holds} when it was opened: \
                     it came back from an older state"
                );
                match self.wiring.kv.doubt(evidence) {
                    Ok(()) => ServerError::Forgot,
                    Err(error) => ServerError::Store(error),
                }
            }
            _ => return,
        };
        // Nobody is left to tell if the node is gone already.
        let _ = self.wiring.failed.send(reason);
    }

    fn reply(&mut self, to: ReplyTo, answer: Answer) {
        if let Some(asker) = self.askers.remove(&to) {
            let newest = self.wiring.views.newest();
            asker.answer(newest, answer, &self.wiring.counters);
        }
    }

    fn submit(&mut self, id: BatchId, batch: dunlin_storage::Batch, sync: dunlin_engine::SyncWhen) {
        self.wiring.writer.submit(Submission {
            part: self.wiring.part,
            epoch: self.epoch,
            id,
            batch,
            sync,
        });
    }

    fn sweep(&mut self) {
        let now = self.wiring.clock.time();
        if now >= self.sweep_at {
            self.sweep_at = now.plus_ms(SWEEP_MS);
            self.askers.retain(|_, asker| !asker.is_gone());
        }
    }
}
