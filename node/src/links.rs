//! Links between nodes: for each pair one for requests, and one for bulk so that it delays nothing.
//!
//! ```text
//!   smaller NodeId                                        larger NodeId
//!     dial (links/dial.rs) ── Hello { purpose, placement } ──> checks, enters the link
//!     enters the link      <────────────── Hello ─────────────┘
//! ```
//!
//! Each direction of a link carries messages of either side. Whoever has no live link drops what it
//! would send, and counts it: the engine expects messages to be lost. Nothing is ever queued for a
//! link that is not there.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use dunlin_client::transport::{CloseCode, Link, SendError};
use dunlin_protocol::codec;
use dunlin_protocol::frame::{Frame, FrameKind, RequestId};
use dunlin_protocol::peer::{PeerBody, PeerMessage};
use dunlin_ring::{Layout, LayoutNumber, NodeId};
use serde::{Deserialize, Serialize};

use crate::counters::NodeCounters;

pub(crate) mod dial;
pub(crate) mod handler;

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
    /// The hash of all that decides which node owns what: nodes that disagree about it must not talk.
    #[serde(rename = "h")]
    pub(crate) placement: u64,
    /// The version of the program, for the log.
    #[serde(rename = "v", default)]
    pub(crate) version: String,
}

impl Hello {
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

/// The live links to the other nodes. Any thread may send.
pub(crate) struct PeerLinks {
    layout: LayoutNumber,
    peers: BTreeMap<NodeId, Peer>,
    counters: Arc<NodeCounters>,
}

/// One other node.
struct Peer {
    /// Guards the link in use; held to copy or to change it.
    requests: RwLock<Option<Link>>,
    /// As `requests`.
    bulk: RwLock<Option<Link>>,
}

impl Peer {
    fn slot(&self, purpose: Purpose) -> &RwLock<Option<Link>> {
        match purpose {
            Purpose::Requests => &self.requests,
            Purpose::Bulk => &self.bulk,
        }
    }
}

impl PeerLinks {
    /// No links yet, to any node of the layout but this one.
    pub(crate) fn new(layout: &Layout, me: NodeId, counters: Arc<NodeCounters>) -> Self {
        let others = layout.members().iter().map(|member| member.id);
        let peers = others.filter(|id| *id != me).map(|id| {
            let peer = Peer {
                requests: RwLock::new(None),
                bulk: RwLock::new(None),
            };
            (id, peer)
        });
        Self {
            layout: layout.number(),
            peers: peers.collect(),
            counters,
        }
    }

    /// Uses this link from now on; an older one for the same is closed.
    pub(crate) fn enter(&self, node: NodeId, purpose: Purpose, link: &Link) {
        let Some(peer) = self.peers.get(&node) else {
            return;
        };
        let replaced = {
            let mut slot = peer
                .slot(purpose)
                .write()
                .unwrap_or_else(PoisonError::into_inner);
            slot.replace(link.clone())
        };
        self.counters.peer_links_opened.add();
        if let Some(old) = replaced {
            old.close(CloseCode::Replaced, "another connection takes its place");
        }
    }

    /// The link has ended: it is not used any more, unless another has taken its place.
    pub(crate) fn forget(&self, node: NodeId, purpose: Purpose, link: &Link) {
        let Some(peer) = self.peers.get(&node) else {
            return;
        };
        let mut slot = peer
            .slot(purpose)
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let ended = link.connection().stable_id();
        if slot
            .as_ref()
            .is_some_and(|live| live.connection().stable_id() == ended)
        {
            *slot = None;
        }
    }

    /// Says something to a node, if there is a link to it. Messages about one partition keep their
    /// order.
    pub(crate) fn send(&self, to: NodeId, body: PeerBody) {
        let purpose = Purpose::of(&body);
        let link = self.peers.get(&to).and_then(|peer| {
            peer.slot(purpose)
                .read()
                .unwrap_or_else(PoisonError::into_inner)
                .clone()
        });
        let Some(link) = link else {
            self.counters.peer_messages_unsent.add();
            return;
        };
        let lane = match &body {
            PeerBody::Operation { partition, .. }
            | PeerBody::Repair { partition, .. }
            | PeerBody::Handoff { partition, .. } => usize::from(partition.0),
            PeerBody::Digests(_) | PeerBody::Control(_) => 0,
        };
        let layout = self.layout;
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
        for peer in self.peers.values() {
            for purpose in Purpose::ALL {
                let link = peer
                    .slot(purpose)
                    .write()
                    .unwrap_or_else(PoisonError::into_inner)
                    .take();
                if let Some(link) = link {
                    link.close(CloseCode::ShuttingDown, "the node stops");
                }
            }
        }
    }
}
