//! The clients: each has one request on its way, to a node drawn at random, owner or not.

use std::sync::Arc;

use dunlin_crdt::Kind;
use dunlin_engine::ReplyTo;
use dunlin_protocol::request::{Keys, Page, Read, ReadOptions, Request, Write, WriteOp};
use dunlin_protocol::response::{Answer, Found};
use dunlin_protocol::{BucketDefaults, BucketName, Failure, codec};
use dunlin_ring::PartitionCount;

use crate::history::{Action, KnownBucket, Op, Outcome};
use crate::options::{chance, pick, stream};
use crate::queue::Event;
use crate::routing::{After, Routing};
use crate::sessions::{InSession, Sessions};
use crate::tamper;
use crate::workload::{Contexts, Place};
use crate::world::World;

/// How long an answer may be on its way after the node has given up.
const GRACE_US: u64 = 100_000;

/// One client.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    pub(crate) contexts: Contexts,
    pub(crate) values: u64,
    /// Its own, so that what it asks for does not depend on what else happens, as far as that can be.
    rng: fastrand::Rng,
    /// A write to be sent again under its name, as its outcome is unknown.
    again: Option<Action>,
    pub(crate) sessions: Sessions,
    pub(crate) routing: Routing,
    /// Whether it asks for nothing more.
    pub(crate) stopped: bool,
}

impl Client {
    pub(crate) fn new(seed: u64, number: usize, partitions: PartitionCount) -> Self {
        Self {
            contexts: Contexts::default(),
            values: 0,
            rng: stream(seed, "client", number as u64),
            again: None,
            sessions: Sessions::new(seed, number, partitions),
            routing: Routing::default(),
            stopped: false,
        }
    }
}

impl World {
    /// Where the client of a request is in the network.
    pub(crate) fn client_place(&self, reply_to: ReplyTo) -> usize {
        let client = self
            .history
            .ops
            .get(reply_to.0 as usize)
            .map_or(0, |op| op.client);
        self.nodes.len() + client
    }

    /// A client's next request.
    pub(crate) fn act(&mut self, client: usize) {
        if self.clients[client].stopped {
            return;
        }
        std::mem::swap(&mut self.rng, &mut self.clients[client].rng);
        let mut action = match self.clients[client].again.take() {
            Some(action) => action,
            None => self.draw_action(client),
        };
        let node = match self.options.routed {
            true => self.route(client, &action),
            false => {
                let nodes = self.asked_nodes();
                *pick(&mut self.rng, &nodes)
            }
        };
        std::mem::swap(&mut self.rng, &mut self.clients[client].rng);
        let timeout_ms = self.options.client_timeout_ms;
        let session = self.draw_session(client, &mut action);
        let number = self.ask_in(session, client, node, action, timeout_ms);
        if self.options.routed {
            self.routed(client, node, number);
        }
    }

    /// Sends a request. Returns its place in the history.
    pub(crate) fn ask(
        &mut self,
        client: usize,
        node: usize,
        action: Action,
        timeout_ms: u64,
    ) -> usize {
        self.ask_in(None, client, node, action, timeout_ms)
    }

    fn ask_in(
        &mut self,
        mut session: Option<InSession>,
        client: usize,
        node: usize,
        action: Action,
        timeout_ms: u64,
    ) -> usize {
        let number = self.history.ops.len();
        let reply_to = ReplyTo(number as u64);
        let mut request = Box::new(self.request_of(&action));
        if let Some(session) = &mut session {
            self.say_seen(client, session, &mut request);
        }
        let bytes = codec::encode(&*request).unwrap_or_default();
        self.trace.add(self.now, client, "ask", &bytes);
        self.trace.say(
            self.now,
            format_args!("c{client} #{number} asks n{node} {action:?}"),
        );
        let (start, end, outcome) = (self.now, self.now, Outcome::Pending);
        self.history.ops.push(Op {
            client,
            action,
            start,
            end,
            outcome,
            read_among: Vec::new(),
            session,
        });
        let from = self.nodes.len() + client;
        let node = self.reached(from, node);
        for delay in self.network.send(self.now, from, node, false) {
            let request = request.clone();
            let life = self.nodes[node].life;
            self.after(
                delay,
                Event::Request {
                    node,
                    life,
                    reply_to,
                    request,
                    timeout_ms,
                },
            );
        }
        self.after(timeout_ms * 1000 + GRACE_US, Event::GiveUp { reply_to });
        number
    }

    pub(crate) fn request_of(&mut self, action: &Action) -> Request {
        // The names that the simulator makes up are all valid.
        let parsed = |name: &String| BucketName::try_from(name.clone()).ok();
        match action {
            Action::Write {
                bucket,
                key,
                op,
                id,
                options,
            } => Request::Write(Write {
                bucket: *bucket,
                key: key.clone(),
                op: op.clone(),
                id: *id,
                options: *options,
            }),
            Action::Read {
                bucket,
                key,
                query,
                options,
            } => Request::Read(Read {
                bucket: *bucket,
                key: key.clone(),
                query: query.clone(),
                options: *options,
                seen: None,
            }),
            Action::Keys {
                bucket,
                partition,
                after,
                limit,
            } => Request::Keys(Keys {
                bucket: *bucket,
                partition: *partition,
                prefix: bytes::Bytes::new(),
                page: Page {
                    after: after.clone(),
                    limit: *limit,
                },
                options: ReadOptions::default(),
                seen: None,
            }),
            Action::Create(name) => {
                let plans = &self.options.buckets;
                let plan = name.strip_prefix('b').and_then(|n| n.parse::<usize>().ok());
                let (kind, defaults) = match plan.and_then(|at| plans.get(at)) {
                    Some(plan) => (plan.kind, plan.defaults),
                    None => (*pick(&mut self.rng, &Kind::ALL), BucketDefaults::default()),
                };
                match parsed(name) {
                    Some(name) => Request::CreateBucket {
                        name,
                        kind,
                        defaults,
                    },
                    None => Request::ListBuckets,
                }
            }
            Action::Drop(name) => parsed(name).map_or(Request::ListBuckets, Request::DropBucket),
            Action::Reshape(request) => Request::Cluster(request.clone()),
        }
    }

    pub(crate) fn answered(&mut self, reply_to: ReplyTo, answer: Answer) {
        let outcome = match answer {
            Answer::Written(receipt) => Outcome::Written(receipt),
            Answer::Read(read) => Outcome::Read(read),
            Answer::Created { bucket, .. } => {
                let known = KnownBucket {
                    bucket: bucket.clone(),
                    may_be_dropped: false,
                    is_gone: false,
                };
                self.history.buckets.entry(bucket.id).or_insert(known);
                Outcome::Bucket(Box::new(bucket))
            }
            Answer::Bucket(bucket) => Outcome::Bucket(Box::new(bucket)),
            Answer::Cluster(shape) => Outcome::Shape(shape),
            Answer::Failed(failure) => Outcome::Failed(failure),
            // Never asked for.
            Answer::Layout(_)
            | Answer::Buckets(_)
            | Answer::Status(_)
            | Answer::Digest(_)
            | Answer::Explained(_)
            | Answer::Compacted { .. } => Outcome::Failed(Failure::NotUnderstood),
        };
        self.conclude(reply_to, outcome);
    }

    pub(crate) fn not_sent(&mut self, reply_to: ReplyTo) {
        self.conclude(reply_to, Outcome::NotSent);
    }

    pub(crate) fn give_up(&mut self, reply_to: ReplyTo) {
        self.conclude(reply_to, Outcome::NoAnswer);
    }

    /// The first thing that a client hears of its request counts.
    fn conclude(&mut self, reply_to: ReplyTo, outcome: Outcome) {
        let number = reply_to.0 as usize;
        let pending = |op: &Op| matches!(op.outcome, Outcome::Pending);
        if !self.history.ops.get(number).is_some_and(pending) {
            return;
        }
        let outcome = tamper::outcome(self, outcome);
        self.trace
            .say(self.now, format_args!("#{number} -> {outcome:?}"));
        self.count(match &outcome {
            Outcome::Written(_) => "writes acknowledged",
            Outcome::Read(_) => "reads answered",
            Outcome::Bucket(_) => "bucket changes",
            Outcome::Shape(_) => "operators answered",
            Outcome::Failed(_) if outcome.is_not_applied() => "requests refused",
            Outcome::Failed(_) | Outcome::NoAnswer | Outcome::Pending => "outcomes unknown",
            Outcome::NotSent => "requests not sent",
        });
        let op = &mut self.history.ops[number];
        op.outcome = outcome;
        op.end = self.now;
        let (client, op) = (op.client, op.clone());
        self.note_gone(&op);
        if client >= self.clients.len() {
            self.operator_heard(client, &op);
            return;
        }
        self.learn(client, &op);
        self.learn_seen(&op);
        let after = match self.options.routed {
            true => self.after_request(client, number, &op),
            false => After::Something,
        };
        let unknown = !op.outcome.is_not_applied();
        let failed = matches!(op.outcome, Outcome::NoAnswer | Outcome::Failed(_));
        let routed = self.options.routed;
        let asking = &mut self.clients[client];
        match after {
            After::Nothing => return,
            After::Again(action) => asking.again = Some(action),
            After::Something => {}
        }
        if !routed && failed && unknown && is_idempotent(&op.action) && chance(&mut asking.rng, 300)
        {
            asking.again = Some(op.action);
        }
        let think = asking.rng.u64(1..=self.options.think_us_max);
        self.after(think, Event::Act { client });
    }

    fn note_gone(&mut self, op: &Op) {
        let Outcome::Failed(Failure::NoSuchBucket) = op.outcome else {
            return;
        };
        if let Action::Write { bucket, .. }
        | Action::Read { bucket, .. }
        | Action::Keys { bucket, .. } = &op.action
            && let Some(known) = self.history.buckets.get_mut(bucket)
            && !self.history.lasting.contains(bucket)
        {
            known.is_gone = true;
        }
    }

    fn learn(&mut self, client: usize, op: &Op) {
        let contexts = &mut self.clients[client].contexts;
        match (&op.action, &op.outcome) {
            (
                Action::Write {
                    bucket, key, op, ..
                },
                Outcome::Written(receipt),
            ) => {
                let path = match op {
                    WriteOp::Fields(changes) if changes.len() == 1 => changes[0].path.clone(),
                    _ => bytes::Bytes::new(),
                };
                let place = Place {
                    bucket: *bucket,
                    key: key.clone(),
                    path,
                };
                contexts.learn(place, receipt.context.clone());
            }
            (
                Action::Read {
                    bucket, key, query, ..
                },
                Outcome::Read(answer),
            ) => {
                let (bucket, key) = (*bucket, key.clone());
                match &answer.found {
                    Found::Siblings { context, .. } => {
                        let path = match query {
                            dunlin_protocol::request::Query::Field(path) => path.clone(),
                            _ => bytes::Bytes::new(),
                        };
                        contexts.learn(Place { bucket, key, path }, context.clone());
                    }
                    Found::Fields { items, .. } => {
                        for item in items {
                            if let Found::Siblings { context, .. } = &item.value {
                                let (key, path) = (key.clone(), item.path.clone());
                                contexts.learn(Place { bucket, key, path }, context.clone());
                            }
                        }
                    }
                    _ => {}
                }
            }
            _ => {}
        }
    }

    /// A message that no node has sent, for mutants.
    pub(crate) fn inject(&mut self, from: usize, to: usize, body: dunlin_protocol::peer::PeerBody) {
        let message = dunlin_protocol::peer::PeerMessage {
            layout: self.layout.number(),
            body,
        };
        if let Ok(bytes) = dunlin_protocol::codec::encode(&message) {
            let bytes: Arc<[u8]> = bytes.into();
            let life = self.nodes[to].life;
            self.after(
                100,
                Event::Deliver {
                    to,
                    life,
                    from,
                    bytes,
                },
            );
        }
    }
}

/// Whether a write under one name may be sent twice.
fn is_idempotent(action: &Action) -> bool {
    fn plain(op: &WriteOp) -> bool {
        match op {
            WriteOp::Increment(_) => false,
            WriteOp::Fields(changes) => changes.iter().all(|change| plain(&change.op)),
            WriteOp::Put { .. }
            | WriteOp::Enable
            | WriteOp::Disable
            | WriteOp::Observe(_)
            | WriteOp::Add(_)
            | WriteOp::Remove(_)
            | WriteOp::Delete(_) => true,
        }
    }
    match action {
        Action::Write { op, .. } => plain(op),
        Action::Read { .. }
        | Action::Keys { .. }
        | Action::Create(_)
        | Action::Drop(_)
        | Action::Reshape(_) => false,
    }
}
