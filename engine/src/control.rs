//! The part of a node that is not about a partition: who is there, and what the cluster knows of itself.
//!
//! ```text
//!   every ping_every_ms, to each peer:   Ping { digest of what I know }  -> Pong
//!   a digest that differs:               Know { all I know }             -> merged, kept
//!   a change asked of this node:         kept here (synced), then told to every peer that can be
//!                                        reached; answered when they have kept it, or after a while
//!   a newer layout:                      published; when every shard has followed it, said to all
//!   every owner has filled what it owns: the layout is complete
//! ```
//!
//! Whatever changes is published to the shards as a new [`View`]. There is no leader: two operators on
//! two sides of a split may both create a bucket or apply a layout, and
//! [`Knowledge`](crate::cluster::Knowledge) says what stands.

use std::collections::BTreeMap;
use std::sync::Arc;

use dunlin_crdt::HlcClock;
use dunlin_protocol::Failure;
use dunlin_protocol::cluster::{ClusterEntry, LayoutId};
use dunlin_protocol::peer::{AckWhen, ControlMessage, PeerBody, StoreWord};
use dunlin_protocol::response::Answer;
use dunlin_protocol::status::{PeerStatus, StorageState};
use dunlin_ring::NodeId;
use dunlin_storage::{Batch, BatchId};

use crate::cluster::{Knowledge, buckets_of, stage};
use crate::commits::Commits;
use crate::io::{Effect, Follows, Input, Note, Now, ReplyTo, SyncWhen, Time, TimerId};
use crate::membership::{Identity, IdentityError, Membership};
use crate::options::EngineOptions;
use crate::peers::Peers;
use crate::recall::Recall;
use crate::report::Counters;
use crate::view::View;

mod progress;
mod publish;
mod requests;
mod telling;

use publish::{active, near, others};
pub(crate) use telling::Tell;
use telling::Telling;

/// A peer is told how far all are at most once in this time for each node there is.
const TELL_AGAIN_MS_PER_NODE: u64 = 5;
/// So many nodes that share no partition are asked in each round, for what the cluster knows of itself
/// to get around.
const STRANGERS_ASKED: usize = 2;

/// The node-wide part of the engine.
pub struct Control {
    options: EngineOptions,
    me: NodeId,
    pub(crate) knowledge: Knowledge,
    /// How far each shard is.
    shards: Vec<Follows>,
    pub(crate) peers: Peers,
    pub(crate) membership: Membership,
    /// The earliest timer of the membership that has yet to fire.
    pub(crate) membership_wakes_at: Option<Time>,
    pub(crate) rng: fastrand::Rng,
    pub(crate) hlc: HlcClock,
    storage: StorageState,
    recall: Recall,
    /// The newest layout that the disk has and the one that it knows to be complete, and those that are on
    /// their way there.
    layouts_kept: (Option<Milestones>, Option<Milestones>),
    staged: Batch,
    last_batch: BatchId,
    commits: Commits<Kept>,
    telling: BTreeMap<u64, Telling>,
    next_telling: u64,
    counters: Counters,
    /// When this node last said how far it is.
    said_at: Time,
    /// When each peer was last told how far all are.
    told_at: BTreeMap<NodeId, Time>,
    pub(crate) view: Arc<View>,
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
    /// The layouts up to these: this node may say that it follows them.
    Layouts(Milestones),
}

/// The newest layout, and the complete one.
type Milestones = (LayoutId, LayoutId);

impl Control {
    /// A node that knows this of its cluster, from its disk or from whoever it first met, and whose
    /// partitions are split among so many shards, on a store of which it and others remember this. It
    /// calls the members and the seeds, by address.
    ///
    /// # Errors
    /// [`IdentityError`] if its name and address can't be told to others.
    pub fn new(
        knowledge: Knowledge,
        identity: Identity,
        mut seeds: Vec<String>,
        shards: usize,
        options: EngineOptions,
        recall: Recall,
        mut rng: fastrand::Rng,
    ) -> Result<Self, IdentityError> {
        let me = identity.id;
        let layouts = active(&knowledge);
        let members = layouts.members().into_iter();
        let members = members.filter(|member| member.id != me);
        seeds.extend(members.map(|member| member.address.clone()));
        seeds.sort_unstable();
        seeds.dedup();
        let membership = Membership::new(identity, seeds, &options.membership, rng.fork())?;
        let near = near(&layouts, me);
        let peers = Peers::new(&others(&layouts, me), &near);
        let view = Arc::new(View {
            me,
            layouts: Arc::new(layouts),
            settled: false,
            vouched: recall.is_vouched(&near, false),
            buckets: Arc::new(knowledge.buckets().for_shards()),
            peers: peers.view(|_| false),
        });
        let mut staged = Batch::default();
        // What it was told and not what it read: the disk may not have it.
        for entry in knowledge.entries() {
            stage(&mut staged, &entry);
        }
        recall.stage_own(&mut staged);
        Ok(Self {
            options,
            me,
            knowledge,
            membership,
            membership_wakes_at: None,
            shards: vec![Follows::default(); shards],
            peers,
            rng,
            hlc: HlcClock::default(),
            storage: StorageState::Ready,
            recall,
            layouts_kept: (None, None),
            staged,
            last_batch: BatchId {
                generation: 0,
                number: 0,
            },
            commits: Commits::default(),
            telling: BTreeMap::new(),
            next_telling: 0,
            counters: Counters::default(),
            said_at: Time::default(),
            told_at: BTreeMap::new(),
            view,
        })
    }

    /// The cluster as it is seen now.
    pub fn view(&self) -> Arc<View> {
        Arc::clone(&self.view)
    }

    /// What it thinks of the other nodes.
    pub fn peer_statuses(&self, now: Now) -> Vec<PeerStatus> {
        let members = self.view.layouts.members();
        let name = |node| {
            let member = members.iter().find(|member| member.id == node);
            member.map_or(String::new(), |m| m.name.clone())
        };
        let status = |(node, peer): (&NodeId, &crate::view::PeerView)| PeerStatus {
            node: *node,
            name: name(*node),
            reachable: peer.reachable,
            silent_ms: now
                .time
                .ms_since(self.peers.heard(*node).unwrap_or_default()),
            rtt_us: peer.rtt_us,
            ..PeerStatus::default()
        };
        self.view.peers.iter().map(status).collect()
    }

    /// What it knows of its cluster: a node that knows nothing yet starts with it.
    pub fn knowledge(&self) -> &Knowledge {
        &self.knowledge
    }

    /// What it remembers of the others' stores.
    pub fn recall(&self) -> &Recall {
        &self.recall
    }

    /// What happened since the start.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    pub(crate) fn counters_mut(&mut self) -> &mut Counters {
        &mut self.counters
    }

    /// Takes one input; see [`Shard::handle`](crate::Shard::handle).
    pub fn handle(&mut self, input: Input, now: Now, effects: &mut Vec<Effect>) {
        match input {
            Input::Started => {
                self.wake_membership(now, effects);
                self.ping_round(now, effects);
            }
            Input::TimerFired(TimerId::Ping) => self.ping_round(now, effects),
            Input::TimerFired(TimerId::Membership) => self.wake_membership(now, effects),
            Input::Datagram { bytes, .. } => self.take_datagram(&bytes, now, effects),
            Input::StoreSynced(batch) => self.recall.synced(batch),
            Input::Stopping => {
                self.recall.stage_all(&mut self.staged);
                self.leave_membership(now, effects);
            }
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
                    self.publish(now, effects);
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
                self.layouts_kept.1 = None;
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
                for entry in self.knowledge.entries() {
                    stage(&mut self.staged, &entry);
                }
                self.recall.refused(&mut self.staged);
            }
            Input::StorageChanged(state) => self.storage = state,
            Input::ShardFollows { shard, follows } => {
                if let Some(known) = self.shards.get_mut(shard) {
                    *known = follows;
                }
                self.follow(now, effects);
            }
            Input::TimerFired(_) | Input::ViewChanged(_) | Input::Inspected { .. } => {}
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

    /// Takes over what is new, to be kept and published.
    fn merge(&mut self, entries: &[ClusterEntry], now: Now, effects: &mut Vec<Effect>) {
        let before = self.layouts_seen();
        let mut news = false;
        for entry in entries {
            if let Some(entry) = self.knowledge.merge(entry.clone()) {
                news = true;
                stage(&mut self.staged, &entry);
            }
        }
        if !news {
            return;
        }
        for bucket in buckets_of(entries) {
            let standing = self.knowledge.buckets().standing(&bucket.name);
            if !bucket.dropped && standing.is_some_and(|standing| standing.id != bucket.id) {
                let name = bucket.name.to_string();
                effects.push(Effect::Note(Note::BucketLost { name }));
            }
        }
        self.note_layouts(&before, effects);
        self.keep_layouts();
        self.follow(now, effects);
        self.publish(now, effects);
    }

    /// Whether a message to another node is worth sending.
    pub(crate) fn is_reachable(&self, node: NodeId) -> bool {
        self.peers
            .is_reachable(node, |node| self.membership.is_alive(node))
    }

    /// Whether a peer is to be told again how far each node is: in a large cluster less often, for there
    /// are as many to tell as there is to tell of.
    fn may_tell(&mut self, peer: NodeId, now: Now) -> bool {
        let every_ms = self.peers.nodes().len() as u64 * TELL_AGAIN_MS_PER_NODE;
        let told = self.told_at.get(&peer);
        let may = told.is_none_or(|told| now.time.ms_since(*told) >= every_ms);
        if may {
            self.told_at.insert(peer, now.time);
        }
        may
    }

    fn kept(&mut self, kept: Kept, now: Now, effects: &mut Vec<Effect>) {
        match kept {
            Kept::Layouts(layouts) => {
                self.layouts_kept.0 = Some(layouts);
                self.follow(now, effects);
            }
            Kept::Peer { to, confirm } => {
                let message = ControlMessage::Kept { confirm };
                effects.push(Effect::Send {
                    to,
                    body: PeerBody::Control(message),
                });
            }
            Kept::Own(number) => self.tell(number, now, effects),
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
            ControlMessage::Ping {
                nonce,
                knows,
                progress,
                store,
            } => {
                say(ControlMessage::Pong {
                    nonce,
                    store: store.map(|mark| StoreWord {
                        life: mark.life,
                        remembers: self.recall.heard(from, mark),
                    }),
                });
                let mut entries = Vec::new();
                if knows != self.knowledge.digest() {
                    entries.extend(self.knowledge.lasting_entries());
                }
                if progress != self.knowledge.progress_digest() && self.may_tell(from, now) {
                    entries.extend(self.knowledge.progress_entries());
                }
                if !entries.is_empty() {
                    let confirm = None;
                    say(ControlMessage::Know { entries, confirm });
                }
            }
            ControlMessage::Pong { nonce, store } => {
                self.peers.answered(from, nonce, now.time);
                let denied = store.and_then(|word| self.recall.answered(from, word));
                if let Some(remembers) = denied {
                    let holds = self.recall.mark().opened;
                    effects.push(Effect::Note(Note::Forgot {
                        by: from,
                        remembers,
                        holds,
                    }));
                }
                if !self.view.vouched {
                    self.publish(now, effects);
                }
            }
            ControlMessage::Know { entries, confirm } => {
                self.merge(&entries, now, effects);
                if let (Some(confirm), StorageState::Ready) = (confirm, self.storage) {
                    self.commits
                        .wait(AckWhen::Synced, Kept::Peer { to: from, confirm });
                }
            }
            ControlMessage::Kept { confirm } => self.kept_by(from, confirm, now, effects),
        }
    }

    fn ping_round(&mut self, now: Now, effects: &mut Vec<Effect>) {
        self.follow(now, effects);
        let (knows, progress) = (self.knowledge.digest(), self.knowledge.progress_digest());
        let is_alive = |node| self.membership.is_alive(node);
        let askable = self.peers.to_ask(STRANGERS_ASKED, is_alive, &mut self.rng);
        for to in askable {
            let nonce = self.peers.ask(to, now.time);
            let message = ControlMessage::Ping {
                nonce,
                knows,
                progress,
                store: Some(self.recall.mark()),
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
        self.keep_layouts();
        self.recall.stage_others(now.time, &mut self.staged);
        // Round trips change with every round, and shards choose by them.
        self.publish(now, effects);
        let at = now.time.plus_ms(self.options.ping_every_ms);
        effects.push(Effect::SetTimer {
            id: TimerId::Ping,
            at,
        });
    }
}

fn failed(to: ReplyTo, failure: Failure) -> Effect {
    Effect::Reply {
        to,
        answer: Answer::Failed(failure),
    }
}
