//! Links between nodes: for each pair one for requests, and one for bulk so that it delays nothing.
//!
//! ```text
//!   smaller NodeId                                        larger NodeId
//!     dial (links/dial.rs) ── Hello { purpose, birth } ──> checks, enters the link
//!     enters the link      <──────────── Hello ───────────┘
//! ```
//!
//! Members of the active layouts are dialed. Whoever is not a member, or not where the layout says, dials
//! all of them, for they don't know where it is; it is let in with the certificate of a node of this
//! cluster, and stays for as long as its link lives. So newcomers and former members can talk to
//! everybody they have to.
//!
//! Each direction of a link carries messages of either side, and the one for requests also datagrams.
//! Whoever has no live link drops what it would send, and counts it: the engine expects messages to be
//! lost. Nothing is ever queued for a link that is not there.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use dunlin_client::transport::{CloseCode, Link, SendError};
use dunlin_engine::membership::To;
use dunlin_protocol::codec;
use dunlin_protocol::frame::{Frame, FrameKind, RequestId};
use dunlin_protocol::peer::{PeerBody, PeerMessage};
use dunlin_ring::NodeId;
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, mpsc};

use crate::birth::BirthId;
use crate::board::ViewBoard;
use crate::counters::NodeCounters;

pub(crate) mod dial;
pub(crate) mod handler;

/// Datagrams that wait for a link to an address that has none yet. Whoever sends them tries again.
const CALLS_MAX: usize = 64;

/// What a link is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Purpose {
    /// Operations and control.
    #[serde(rename = "r")]
    Requests,
    /// Repair and hand-off.
    #[serde(rename = "b")]
    Bulk,
}

impl Purpose {
    /// Every purpose.
    pub(crate) const ALL: [Self; 2] = [Self::Requests, Self::Bulk];

    fn of(body: &PeerBody) -> Self {
        match body {
            PeerBody::Operation { .. } | PeerBody::Digests(_) | PeerBody::Control(_) => {
                Self::Requests
            }
            PeerBody::Repair { .. } | PeerBody::Handoff { .. } => Self::Bulk,
        }
    }
}

impl std::fmt::Display for Purpose {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Requests => "requests",
            Self::Bulk => "bulk",
        })
    }
}

/// The first frame on a link between nodes, each way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hello {
    /// What the link is for.
    #[serde(rename = "p")]
    pub(crate) purpose: Purpose,
    /// Which cluster the sender belongs to; `None` while it has yet to be told. Then it may only ask what
    /// the cluster knows of itself. Nodes of different births must not talk.
    #[serde(rename = "b", default, skip_serializing_if = "Option::is_none")]
    pub(crate) birth: Option<BirthId>,
    /// The version of the program, for the log.
    #[serde(rename = "v", default)]
    pub(crate) version: String,
}

impl Hello {
    /// This node's.
    pub(crate) fn new(purpose: Purpose, birth: Option<BirthId>) -> Self {
        Self {
            purpose,
            birth,
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }

    /// The frame that says so.
    pub(crate) fn frame(&self) -> Option<Frame> {
        // A closed record of numbers and names always has an encoding.
        let body = codec::encode(self).ok()?;
        Some(Frame {
            kind: FrameKind::Hello,
            id: RequestId(0),
            deadline_ms: 0,
            body: Bytes::from(body),
        })
    }
}

/// A datagram for whoever is at an address.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) address: String,
    pub(crate) bytes: Bytes,
}

/// The live links to the other nodes. Any thread may send.
pub(crate) struct PeerLinks {
    /// Guards the links in use; held to copy one or to change it.
    live: RwLock<BTreeMap<(NodeId, Purpose), Link>>,
    /// Guards the names of all nodes that were linked, members or not; held to add or to copy one.
    names: RwLock<BTreeMap<NodeId, String>>,
    /// Says that there is one link more.
    entered: Notify,
    views: Arc<ViewBoard>,
    calls: mpsc::Sender<Call>,
    counters: Arc<NodeCounters>,
}

impl PeerLinks {
    /// No links yet, and where datagrams come out for which one has to be made.
    pub(crate) fn new(
        views: Arc<ViewBoard>,
        counters: Arc<NodeCounters>,
    ) -> (Self, mpsc::Receiver<Call>) {
        let (calls, called) = mpsc::channel(CALLS_MAX);
        let links = Self {
            live: RwLock::default(),
            names: RwLock::default(),
            entered: Notify::new(),
            views,
            calls,
            counters,
        };
        (links, called)
    }

    /// Uses this link from now on; an older one for the same is closed.
    pub(crate) fn enter(&self, node: NodeId, name: &str, purpose: Purpose, link: &Link) {
        self.names
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(node, name.to_owned());
        let replaced = {
            let mut live = self.live.write().unwrap_or_else(PoisonError::into_inner);
            live.insert((node, purpose), link.clone())
        };
        self.counters.peer_links_opened.add();
        self.entered.notify_waiters();
        if let Some(old) = replaced {
            old.close(CloseCode::Replaced, "another connection takes its place");
        }
    }

    /// The link has ended: it is not used any more, unless another has taken its place.
    pub(crate) fn forget(&self, node: NodeId, purpose: Purpose, link: &Link) {
        let mut live = self.live.write().unwrap_or_else(PoisonError::into_inner);
        let ended = link.connection().stable_id();
        if live
            .get(&(node, purpose))
            .is_some_and(|live| live.connection().stable_id() == ended)
        {
            live.remove(&(node, purpose));
        }
    }

    /// The link in use, if there is one.
    pub(crate) fn live(&self, node: NodeId, purpose: Purpose) -> Option<Link> {
        let live = self.live.read().unwrap_or_else(PoisonError::into_inner);
        live.get(&(node, purpose)).cloned()
    }

    /// The link in use, as soon as there is one.
    pub(crate) async fn linked(&self, node: NodeId, purpose: Purpose) -> Link {
        loop {
            // Before the look, so that no link after it is missed.
            let entered = self.entered.notified();
            if let Some(link) = self.live(node, purpose) {
                return link;
            }
            entered.await;
        }
    }

    /// What a node is called that is a member or was linked.
    pub(crate) fn name(&self, node: NodeId) -> Option<String> {
        let view = self.views.view();
        let members = view.layouts.members();
        match members.iter().find(|member| member.id == node) {
            Some(member) => Some(member.name.clone()),
            None => {
                let names = self.names.read().unwrap_or_else(PoisonError::into_inner);
                names.get(&node).cloned()
            }
        }
    }

    /// Sends a datagram; it may be lost. Whoever is called by address is dialed first.
    pub(crate) fn send_datagram(&self, to: To, bytes: Bytes) {
        let sent = match to {
            To::Node { id, .. } => self
                .live(id, Purpose::Requests)
                .is_some_and(|link| link.connection().send_datagram(bytes).is_ok()),
            To::Address(address) => self.calls.try_send(Call { address, bytes }).is_ok(),
        };
        if !sent {
            self.counters.peer_datagrams_unsent.add();
        }
    }

    /// Says something to a node, if there is a link to it. Messages about one partition keep their
    /// order.
    pub(crate) fn send(&self, to: NodeId, body: PeerBody) {
        let Some(link) = self.live(to, Purpose::of(&body)) else {
            self.counters.peer_messages_unsent.add();
            return;
        };
        let lane = match &body {
            PeerBody::Operation { partition, .. }
            | PeerBody::Repair { partition, .. }
            | PeerBody::Handoff { partition, .. } => usize::from(partition.0),
            PeerBody::Digests(_) | PeerBody::Control(_) => 0,
        };
        let layout = self.views.newest();
        let frame = match codec::encode(&PeerMessage { layout, body }) {
            Ok(body) => Frame {
                kind: FrameKind::Peer,
                id: RequestId(0),
                deadline_ms: 0,
                body: Bytes::from(body),
            },
            Err(error) => {
                tracing::error!(%error, "a message to a peer has no encoding");
                self.counters.peer_messages_unsent.add();
                return;
            }
        };
        match link.send(frame, lane) {
            Ok(()) => {}
            Err(SendError::QueueFull | SendError::Closed) => {
                self.counters.peer_messages_unsent.add();
            }
            Err(error @ SendError::TooLong { .. }) => {
                tracing::error!(peer = %to, %error, "a message to a peer is too long");
                self.counters.peer_messages_unsent.add();
            }
        }
    }

    /// Closes every link.
    pub(crate) fn close_all(&self) {
        let live = std::mem::take(&mut *self.live.write().unwrap_or_else(PoisonError::into_inner));
        for link in live.into_values() {
            link.close(CloseCode::ShuttingDown, "the node stops");
        }
    }
}
