//! The part of a node that is not about a partition: who is there, which buckets there are.
//!
//! ```text
//!   every ping_every_ms, to each peer:   Ping { digest of my buckets }  -> Pong
//!   a digest that differs:               Buckets { all I know }          -> merged, kept
//!   CreateBucket, DropBucket:            kept here (synced), then told to every peer that can be
//!                                        reached; answered when they have kept it, or after a while
//! ```
//!
//! Whatever changes is published to the shards as a new [`View`]. There is no leader: two operators on
//! two sides of a split may both create a bucket, and [`Buckets`] says which of the two stands.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use dunlin_crdt::HlcClock;
use dunlin_protocol::peer::{AckWhen, ControlMessage, PeerBody};
use dunlin_protocol::request::Request;
use dunlin_protocol::response::Answer;
use dunlin_protocol::status::{PeerStatus, StorageState};
use dunlin_protocol::{Bucket, BucketName, Failure, codec};
use dunlin_ring::{BucketId, Layout, NodeId};
use dunlin_storage::{Batch, BatchId, Keyspace, Kv, KvError};

use crate::buckets::Buckets;
use crate::commits::Commits;
use crate::io::{Effect, Input, Note, Now, ReplyTo, SyncWhen, Time, TimerId};
use crate::options::EngineOptions;
use crate::peers::Peers;
use crate::report::Counters;
use crate::view::View;

/// Before the id of each bucket in the `meta` keyspace.
const BUCKET_KEY: &[u8] = b"bucket/";
/// Marks the first byte of a stored bucket.
const BUCKET_VERSION: u8 = 1;
/// How long a creation waits for peers that do not answer.
const TELL_MS: u64 = 1_000;

/// The node-wide part of the engine.
pub struct Control {
    options: EngineOptions,
    me: NodeId,
    layout: Arc<Layout>,
    buckets: Buckets,
    peers: Peers,
    rng: fastrand::Rng,
    hlc: HlcClock,
    storage: StorageState,
    staged: Batch,
    last_batch: BatchId,
    commits: Commits<Kept>,
    telling: BTreeMap<u64, Telling>,
    next_telling: u64,
    counters: Counters,
    view: Arc<View>,
}

impl std::fmt::Debug for Control {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Control")
            .field("me", &self.me)
            .finish_non_exhaustive()
    }
}

/// What waits for a commit.
#[derive(Clone, Debug)]
enum Kept {
    /// A change of this node's own: tell the others.
    Own(u64),
    /// A change that a peer wants confirmed.
    Peer { to: NodeId, confirm: u64 },
}

/// A change that peers are being told of.
#[derive(Debug)]
struct Telling {
    reply_to: ReplyTo,
    entries: Vec<Bucket>,
    answer: Tell,
    /// Who has not said yet that it keeps the change; `None` while this node does not keep it itself.
    waiting: Option<BTreeSet<NodeId>>,
    known_by: Vec<NodeId>,
    until: Time,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tell {
    Created,
    Dropped,
}

impl Control {
    /// Loads what the disk knows of the buckets.
    ///
    /// # Errors
    /// [`KvError`] if it can't be read.
    pub fn open(
        kv: &dyn Kv,
        me: NodeId,
        layout: Arc<Layout>,
        options: EngineOptions,
        rng: fastrand::Rng,
    ) -> Result<Self, KvError> {
        let mut buckets = Buckets::default();
        let (from, to) = (
            std::ops::Bound::Included(BUCKET_KEY),
            std::ops::Bound::Unbounded,
        );
        for entry in kv.range(Keyspace::Meta, from, to) {
            let (key, value) = entry?;
            if !key.starts_with(BUCKET_KEY) {
                break;
            }
            if let Some((&BUCKET_VERSION, body)) = value.split_first()
                && let Ok(bucket) = codec::decode::<Bucket>(body, codec::CodecLimits::default())
            {
                buckets.merge(bucket);
            }
        }
        let others = layout
            .members()
            .iter()
            .map(|member| member.id)
            .filter(|id| *id != me);
        let peers = Peers::new(others);
        let view = Arc::new(View {
            me,
            layout: Arc::clone(&layout),
            buckets: Arc::new(buckets.for_shards()),
            peers: peers.view(),
        });
        Ok(Self {
            options,
            me,
            layout,
            buckets,
            peers,
            rng,
            hlc: HlcClock::default(),
            storage: StorageState::Ready,
            staged: Batch::default(),
            last_batch: BatchId {
                generation: 0,
                number: 0,
            },
            commits: Commits::default(),
            telling: BTreeMap::new(),
            next_telling: 0,
            counters: Counters::default(),
            view,
        })
    }

    /// The cluster as it is seen now.
    pub fn view(&self) -> Arc<View> {
        Arc::clone(&self.view)
    }

    /// What it thinks of the other nodes.
    pub fn peer_statuses(&self, now: Now) -> Vec<PeerStatus> {
        let name = |node| {
            self.layout
                .member(node)
                .map_or(String::new(), |m| m.name.clone())
        };
        let status = |(node, peer): (&NodeId, &crate::view::PeerView)| PeerStatus {
            node: *node,
            name: name(*node),
            reachable: peer.reachable,
            silent_ms: now
                .time
                .ms_since(self.peers.heard(*node).unwrap_or_default()),
            rtt_us: peer.rtt_us,
        };
        self.peers.view().iter().map(status).collect()
    }

    /// What happened since the start.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Takes one input; see [`Shard::handle`](crate::Shard::handle).
    pub fn handle(&mut self, input: Input, now: Now, effects: &mut Vec<Effect>) {
        match input {
            Input::Started | Input::TimerFired(TimerId::Ping) => self.ping_round(now, effects),
            Input::Requested {
                reply_to,
                request,
                deadline,
            } => {
                if now.time >= deadline {
                    effects.push(failed(reply_to, Failure::Expired));
                } else if let Err(failure) = self.request(reply_to, request, now, effects) {
                    effects.push(failed(reply_to, failure));
                }
            }
            Input::Received { from, body } => {
                if self.peers.heard_from(from, now.time) {
                    effects.push(Effect::Note(Note::PeerReachable {
                        node: from,
                        reachable: true,
                    }));
                    self.publish(effects);
                }
                if let PeerBody::Control(message) = body {
                    self.message(from, message, now, effects);
                }
            }
            Input::Committed { written, synced } => {
                for (_, kept) in self.commits.committed(written, synced) {
                    self.kept(kept, now, effects);
                }
            }
            Input::CommitRefused(_) => {
                for kept in self.commits.refused() {
                    if let Kept::Own(number) = kept
                        && let Some(telling) = self.telling.remove(&number)
                    {
                        // It is known here and spreads; only this node's disk has not got it yet.
                        let failure = Failure::Partial {
                            needed: 1,
                            copies: Vec::new(),
                        };
                        effects.push(failed(telling.reply_to, failure));
                    }
                }
                // What the disk refused is still known here, and goes to the disk with the next change.
                for bucket in self.buckets.all() {
                    stage(&mut self.staged, bucket);
                }
            }
            Input::StorageChanged(state) => self.storage = state,
            Input::TimerFired(_)
            | Input::ViewChanged(_)
            | Input::Inspected { .. }
            | Input::Stopping => {}
        }
    }

    /// Hands over what was staged; see [`Shard::flush`](crate::Shard::flush).
    pub fn flush(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let batch = std::mem::take(&mut self.staged);
        // What something waits for goes to the writer whatever the disk is believed to be, for otherwise
        // it would count as kept.
        let goes = self.storage == StorageState::Ready || self.commits.has_unbound();
        let id = (!batch.is_empty() && goes).then(|| {
            self.last_batch.number += 1;
            self.last_batch
        });
        let ready = self.commits.bind(id);
        match id {
            Some(id) => effects.push(Effect::Commit {
                id,
                batch,
                sync: SyncWhen::Now,
            }),
            None => self.staged = batch,
        }
        for (_, kept) in ready {
            self.kept(kept, now, effects);
        }
    }

    fn request(
        &mut self,
        reply_to: ReplyTo,
        request: Request,
        now: Now,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Failure> {
        let answer = match request {
            Request::Layout => Answer::Layout(Box::new((*self.layout).clone())),
            Request::OpenBucket(name) => {
                let bucket = self.buckets.standing(&name).ok_or(Failure::NoSuchBucket)?;
                Answer::Bucket(bucket.clone())
            }
            Request::ListBuckets => Answer::Buckets(self.buckets.listed()),
            Request::CreateBucket {
                name,
                kind,
                defaults,
            } => {
                self.check_storage()?;
                let id = BucketId(self.rng.u64(1..));
                let created = self.hlc.tick(now.wall);
                let bucket = self.buckets.creation(name, kind, defaults, id, created)?;
                self.change(reply_to, vec![bucket], Tell::Created, now, effects);
                return Ok(());
            }
            Request::DropBucket(name) => {
                self.check_storage()?;
                let dropped = self.dropped(&name)?;
                self.change(reply_to, dropped, Tell::Dropped, now, effects);
                return Ok(());
            }
            Request::Write(_)
            | Request::Read(_)
            | Request::Keys(_)
            | Request::Digest(_)
            | Request::Status
            | Request::Compact => return Err(Failure::NotUnderstood),
        };
        effects.push(Effect::Reply {
            to: reply_to,
            answer,
        });
        Ok(())
    }

    fn check_storage(&self) -> Result<(), Failure> {
        match self.storage {
            StorageState::Ready => Ok(()),
            StorageState::Full => Err(Failure::StorageFull),
            StorageState::Failed => Err(Failure::StorageFailed),
        }
    }

    /// Every living creation of a name, dropped; the one that stands first.
    fn dropped(&self, name: &BucketName) -> Result<Vec<Bucket>, Failure> {
        let standing = self.buckets.standing(name).ok_or(Failure::NoSuchBucket)?.id;
        let living = self.buckets.all().filter(|b| !b.dropped && b.name == *name);
        let mut dropped: Vec<Bucket> = living
            .map(|b| Bucket {
                dropped: true,
                ..b.clone()
            })
            .collect();
        dropped.sort_by_key(|bucket| bucket.id != standing);
        Ok(dropped)
    }

    fn change(
        &mut self,
        reply_to: ReplyTo,
        entries: Vec<Bucket>,
        answer: Tell,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        self.merge(&entries, effects);
        self.next_telling += 1;
        let number = self.next_telling;
        let telling = Telling {
            reply_to,
            entries,
            answer,
            waiting: None,
            known_by: vec![self.me],
            until: now.time.plus_ms(TELL_MS),
        };
        self.telling.insert(number, telling);
        self.commits.wait(AckWhen::Synced, Kept::Own(number));
    }

    /// Takes over what is new, to be kept and published.
    fn merge(&mut self, entries: &[Bucket], effects: &mut Vec<Effect>) {
        let mut news = false;
        for entry in entries {
            if let Some(bucket) = self.buckets.merge(entry.clone()) {
                news = true;
                stage(&mut self.staged, &bucket);
                let stands = self
                    .buckets
                    .standing(&bucket.name)
                    .is_some_and(|s| s.id == bucket.id);
                if !stands && !bucket.dropped {
                    let name = bucket.name.to_string();
                    effects.push(Effect::Note(Note::BucketLost { name }));
                }
            }
        }
        if news {
            self.publish(effects);
        }
    }

    fn kept(&mut self, kept: Kept, now: Now, effects: &mut Vec<Effect>) {
        match kept {
            Kept::Peer { to, confirm } => {
                let message = ControlMessage::BucketsKept { confirm };
                effects.push(Effect::Send {
                    to,
                    body: PeerBody::Control(message),
                });
            }
            Kept::Own(number) => {
                let reachable: BTreeSet<NodeId> = self
                    .peers
                    .nodes()
                    .into_iter()
                    .filter(|n| self.peers.is_reachable(*n))
                    .collect();
                if let Some(telling) = self.telling.get_mut(&number) {
                    for to in &reachable {
                        let message = ControlMessage::Buckets {
                            entries: telling.entries.clone(),
                            confirm: Some(number),
                        };
                        effects.push(Effect::Send {
                            to: *to,
                            body: PeerBody::Control(message),
                        });
                    }
                    telling.waiting = Some(reachable);
                    telling.until = now.time.plus_ms(TELL_MS);
                }
                self.settle_telling(number, now, effects);
            }
        }
    }

    /// Answers once every peer that could be reached has kept the change, or has had its time.
    fn settle_telling(&mut self, number: u64, now: Now, effects: &mut Vec<Effect>) {
        let over = |telling: &Telling| {
            let waiting = telling.waiting.as_ref();
            waiting.is_some_and(|waiting| waiting.is_empty() || now.time >= telling.until)
        };
        if !self.telling.get(&number).is_some_and(over) {
            return;
        }
        if let Some(mut telling) = self.telling.remove(&number)
            && let Some(bucket) = telling.entries.drain(..).next()
        {
            let answer = match telling.answer {
                Tell::Created => Answer::Created {
                    bucket,
                    known_by: telling.known_by,
                },
                Tell::Dropped => Answer::Bucket(bucket),
            };
            effects.push(Effect::Reply {
                to: telling.reply_to,
                answer,
            });
        }
    }

    fn message(
        &mut self,
        from: NodeId,
        message: ControlMessage,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        let mut say = |message| {
            effects.push(Effect::Send {
                to: from,
                body: PeerBody::Control(message),
            })
        };
        match message {
            ControlMessage::Ping { nonce, buckets } => {
                say(ControlMessage::Pong { nonce });
                if buckets != self.buckets.digest() {
                    let entries = self.buckets.all().cloned().collect();
                    say(ControlMessage::Buckets {
                        entries,
                        confirm: None,
                    });
                }
            }
            ControlMessage::Pong { nonce } => self.peers.answered(from, nonce, now.time),
            ControlMessage::Buckets { entries, confirm } => {
                self.merge(&entries, effects);
                if let (Some(confirm), StorageState::Ready) = (confirm, self.storage) {
                    self.commits
                        .wait(AckWhen::Synced, Kept::Peer { to: from, confirm });
                }
            }
            ControlMessage::BucketsKept { confirm } => {
                if let Some(telling) = self.telling.get_mut(&confirm)
                    && telling
                        .waiting
                        .as_mut()
                        .is_some_and(|waiting| waiting.remove(&from))
                {
                    telling.known_by.push(from);
                }
                self.settle_telling(confirm, now, effects);
            }
        }
    }

    fn ping_round(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let digest = self.buckets.digest();
        for to in self.peers.nodes() {
            let nonce = self.peers.ask(to, now.time);
            let message = ControlMessage::Ping {
                nonce,
                buckets: digest,
            };
            effects.push(Effect::Send {
                to,
                body: PeerBody::Control(message),
            });
        }
        let silent = self
            .peers
            .fallen_silent(now.time, self.options.unreachable_after_ms);
        for node in silent {
            effects.push(Effect::Note(Note::PeerReachable {
                node,
                reachable: false,
            }));
            self.counters.add("peers_lost");
        }
        let late: Vec<u64> = self.telling.keys().copied().collect();
        for number in late {
            self.settle_telling(number, now, effects);
        }
        // Round trips change with every round, and shards choose by them.
        self.publish(effects);
        let at = now.time.plus_ms(self.options.ping_every_ms);
        effects.push(Effect::SetTimer {
            id: TimerId::Ping,
            at,
        });
    }

    fn publish(&mut self, effects: &mut Vec<Effect>) {
        let buckets = self.buckets.for_shards();
        let peers = self.peers.view();
        if peers == self.view.peers && buckets == *self.view.buckets {
            return;
        }
        self.view = Arc::new(View {
            me: self.me,
            layout: Arc::clone(&self.layout),
            buckets: Arc::new(buckets),
            peers,
        });
        effects.push(Effect::Publish(self.view()));
    }
}

fn failed(to: ReplyTo, failure: Failure) -> Effect {
    Effect::Reply {
        to,
        answer: Answer::Failed(failure),
    }
}

fn stage(batch: &mut Batch, bucket: &Bucket) {
    let mut key = BUCKET_KEY.to_vec();
    key.extend_from_slice(&bucket.id.0.to_be_bytes());
    // A bucket is a closed record of names, numbers and unit variants: it always has an encoding.
    if let Ok(body) = codec::encode(bucket) {
        let mut value = vec![BUCKET_VERSION];
        value.extend_from_slice(&body);
        batch.put(Keyspace::Meta, Bytes::from(key), Bytes::from(value));
    }
}
