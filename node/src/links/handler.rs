//! What arrives on a link between nodes, and where it goes.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use dunlin_client::transport::{CloseCode, FrameHandler, Link, Refusal};
use dunlin_engine::{Input, Time};
use dunlin_protocol::codec::{self, CodecLimits};
use dunlin_protocol::frame::{Frame, FrameKind};
use dunlin_protocol::peer::{ClockDigest, ControlMessage, PeerBody, PeerMessage};
use dunlin_ring::NodeId;
use quinn::ConnectionError;
use tokio::sync::Notify;

use super::{Hello, PeerLinks, Purpose};
use crate::birth::BirthId;
use crate::clock::Clock;
use crate::counters::NodeCounters;
use crate::driver::Parts;
use crate::driver::inbox::Origin;
use crate::driver::part::PartMessage;

/// The control part hears of a peer's messages at most once in this time: a tenth of the interval at
/// which peers are asked whether they are there would do as well.
const SIGN_OF_LIFE_EVERY_MS: u64 = 50;

/// Takes messages of peers to the parts that they are for.
pub(crate) struct PeerRouter {
    parts: Arc<Parts>,
    clock: Clock,
    counters: Arc<NodeCounters>,
}

/// When the control part last heard of a peer by one of its links, in microseconds since the start.
#[derive(Debug, Default)]
pub(crate) struct SignOfLife(AtomicU64);

impl PeerRouter {
    pub(crate) fn new(parts: Arc<Parts>, clock: Clock, counters: Arc<NodeCounters>) -> Self {
        Self {
            parts,
            clock,
            counters,
        }
    }

    /// Takes a message to its part. If too much waits there, it is dropped.
    fn route(&self, from: NodeId, body: PeerBody, bytes: usize, last: &SignOfLife) {
        let offered = match body {
            PeerBody::Operation { partition, .. }
            | PeerBody::Repair { partition, .. }
            | PeerBody::Handoff { partition, .. } => self
                .parts
                .shard_of(partition)
                .offer(Origin::Peer, PartMessage::Said { from, body }, bytes)
                .is_ok(),
            PeerBody::Digests(digests) => self.route_digests(from, digests),
            PeerBody::Control(_) => {
                let control = self.parts.control();
                let offered = control.offer(Origin::Peer, PartMessage::Said { from, body }, bytes);
                if offered.is_err() {
                    self.counters.peer_messages_shed.add();
                }
                return;
            }
        };
        if !offered {
            self.counters.peer_messages_shed.add();
        }
        self.sign_of_life(from, last);
    }

    /// Takes a datagram to the control part.
    fn route_datagram(&self, from: NodeId, bytes: Bytes) {
        let length = bytes.len();
        let message = PartMessage::Told(Input::Datagram { from, bytes });
        let offered = self.parts.control().offer(Origin::Peer, message, length);
        if offered.is_err() {
            self.counters.peer_messages_shed.add();
        }
    }

    /// Each shard compares its own partitions.
    fn route_digests(&self, from: NodeId, digests: Vec<ClockDigest>) -> bool {
        let shards = self.parts.shards();
        let mut split: Vec<Vec<ClockDigest>> = vec![Vec::new(); shards.len()];
        for digest in digests {
            if let Some(part) = split.get_mut(usize::from(digest.partition.0) % shards.len()) {
                part.push(digest);
            }
        }
        let mut all_offered = true;
        for (shard, digests) in shards.iter().zip(split) {
            if !digests.is_empty() {
                let bytes = digests.len() * size_of::<ClockDigest>();
                let body = PeerBody::Digests(digests);
                all_offered &= shard
                    .offer(Origin::Peer, PartMessage::Said { from, body }, bytes)
                    .is_ok();
            }
        }
        all_offered
    }

    fn sign_of_life(&self, from: NodeId, SignOfLife(last): &SignOfLife) {
        let now = self.clock.time();
        let before = last.load(Relaxed);
        let due = before == 0 || now.ms_since(Time(before)) >= SIGN_OF_LIFE_EVERY_MS;
        let claimed = due
            && last
                .compare_exchange(before, now.0.max(1), Relaxed, Relaxed)
                .is_ok();
        if claimed {
            // To the control part any message is a sign of life, and the shortest says the least.
            let body = PeerBody::Digests(Vec::new());
            // One that does not fit is followed by others.
            let _ = self
                .parts
                .control()
                .offer(Origin::Peer, PartMessage::Said { from, body }, 0);
        }
    }
}

/// Which side of a link this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// It dialed, for this purpose.
    Dialed(Purpose),
    /// It accepted, and the other side says what for.
    Accepted,
}

/// What both sides have agreed to talk about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Agreed {
    purpose: Purpose,
    scope: Scope,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scope {
    All,
    /// The other side is no node of this cluster yet: only what the cluster knows of itself.
    Knowledge,
}

/// Serves one link between nodes.
pub(crate) struct PeerHandler {
    pub(crate) node: NodeId,
    pub(crate) name: String,
    pub(crate) side: Side,
    pub(crate) birth: BirthId,
    pub(crate) links: Arc<PeerLinks>,
    pub(crate) router: Arc<PeerRouter>,
    pub(crate) counters: Arc<NodeCounters>,
    /// What the link is for, once both sides have agreed to talk.
    pub(crate) agreed: OnceLock<Agreed>,
    pub(crate) sign_of_life: SignOfLife,
    /// Tells whoever dialed that it is agreed.
    pub(crate) ready: Notify,
    /// Whether the link has ended: frames may come after it.
    pub(crate) ended: AtomicBool,
}

impl PeerHandler {
    fn hello(&self, link: &Link, frame: &Frame) {
        let hello: Hello = match codec::decode(&frame.body, CodecLimits::default()) {
            Ok(hello) => hello,
            Err(error) => {
                self.counters.not_understood.add();
                tracing::warn!(peer = self.name, %error, "a peer's hello makes no sense");
                link.close(CloseCode::BadFrame, "hello not understood");
                return;
            }
        };
        let scope = match (hello.birth, self.side) {
            (Some(birth), _) if birth == self.birth => Scope::All,
            (None, Side::Accepted) => Scope::Knowledge,
            (None | Some(_), _) => return self.refuse(link),
        };
        let purpose = match self.side {
            Side::Dialed(purpose) => purpose,
            Side::Accepted => hello.purpose,
        };
        if self.agreed.set(Agreed { purpose, scope }).is_err() {
            link.close(CloseCode::BadFrame, "a second hello");
            return;
        }
        if self.side == Side::Accepted {
            let answer = Hello::new(purpose, Some(self.birth));
            let Some(frame) = answer.frame() else { return };
            // A link that takes no frame has ended, and says so itself.
            let _ = link.send(frame, 0);
        }
        self.links.enter(self.node, &self.name, purpose, link);
        if self.ended.load(Relaxed) {
            self.links.forget(self.node, purpose, link);
            return;
        }
        if (purpose, scope) == (Purpose::Requests, Scope::All) {
            let (node, router) = (self.node, Arc::clone(&self.router));
            let connection = link.connection().clone();
            tokio::spawn(async move {
                while let Ok(bytes) = connection.read_datagram().await {
                    router.route_datagram(node, bytes);
                }
            });
        }
        if scope == Scope::Knowledge {
            tracing::info!(
                peer = self.name,
                "a node asks what the cluster knows of itself"
            );
            return;
        }
        tracing::info!(peer = self.name, %purpose, version = hello.version, "linked");
        self.ready.notify_one();
    }

    /// Whether the other side may say this, as far as is agreed.
    fn admits(&self, body: &PeerBody) -> bool {
        match (self.agreed.get(), self.side) {
            (Some(agreed), _) => match agreed.scope {
                Scope::All => true,
                Scope::Knowledge => {
                    matches!(body, PeerBody::Control(ControlMessage::Ping { .. }))
                }
            },
            // The answer to the hello may come later, on another lane.
            (None, Side::Dialed(_)) => true,
            (None, Side::Accepted) => false,
        }
    }

    fn refuse(&self, link: &Link) {
        self.counters.not_allowed.add();
        tracing::error!(
            peer = self.name,
            "the peer belongs to a cluster of another birth: when it was founded, its cluster file had \
             other nodes, addresses, zones, capacities, N or Q; make the files equal and remove the data \
             of the side that is to go, or list a node that shall join under [[seed]]"
        );
        link.close(CloseCode::NotAllowed, "the clusters have different births");
    }
}

impl FrameHandler for PeerHandler {
    fn frame(&self, link: &Link, frame: Frame) {
        match frame.kind {
            FrameKind::Peer => {
                let bytes = frame.body.len();
                match codec::decode::<PeerMessage>(&frame.body, CodecLimits::default()) {
                    Ok(PeerMessage { body, .. }) if self.admits(&body) => {
                        let sign = &self.sign_of_life;
                        self.router.route(self.node, body, bytes, sign);
                    }
                    Ok(_) => self.counters.not_understood.add(),
                    Err(error) => {
                        self.counters.not_understood.add();
                        tracing::warn!(peer = self.name, %error, "a peer's message makes no sense");
                    }
                }
            }
            FrameKind::Hello => self.hello(link, &frame),
            FrameKind::Lane | FrameKind::Request | FrameKind::Response => {
                self.counters.not_understood.add();
            }
        }
    }

    fn refused(&self, _: &Link, refusal: &Refusal) {
        self.counters.links_broken.add();
        tracing::warn!(peer = self.name, %refusal, "the peer broke the protocol");
    }

    fn closed(&self, link: &Link, reason: &ConnectionError) {
        self.ended.store(true, Relaxed);
        self.ready.notify_one();
        if let Some(Agreed { purpose, .. }) = self.agreed.get() {
            self.links.forget(self.node, *purpose, link);
            tracing::info!(peer = self.name, %purpose, %reason, "link lost");
        }
    }
}
