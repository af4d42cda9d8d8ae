//! What membership says: datagrams to send, and what became known.

use bytes::Bytes;
use dunlin_ring::NodeId;

use super::identity::Identity;
use crate::io::Time;

/// Where a datagram goes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum To {
    /// A node, and where it said that it can be reached.
    Node {
        /// Which.
        id: NodeId,
        /// As in its [`Identity`].
        address: String,
    },
    /// A seed of which only the address is known.
    Address(String),
}

/// What became known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MembershipEvent {
    /// A node that did not count as alive does now.
    Up(Identity),
    /// A node that counted as alive does still, but it is another process now.
    Restarted(Identity),
    /// A node does not count as alive any more: it left, or it was silent for too long.
    Down(NodeId),
    /// This node had been declared dead and is back under a new name of the same process. The others say
    /// `Up` of it if they had said `Down`.
    Rejoined,
    /// Another process claims to be this node. It is the older one, and was told that it is replaced. Said
    /// once for each such process.
    Twin(Identity),
    /// A newer process is this node. This one takes part no more; it should stop.
    Replaced {
        /// The one that stands.
        by: Identity,
    },
    /// The cluster remembers a dead process of this node with a higher incarnation than this one had. This
    /// node goes on above it; the next start must be higher still.
    Raised {
        /// The incarnation that it has now.
        incarnation: u64,
    },
}

/// What shall be done, and what became known, in order.
#[derive(Clone, Debug, Default)]
pub struct MembershipOutput {
    /// What to send, none larger than [`DATAGRAM_BYTES_MAX`](super::DATAGRAM_BYTES_MAX). Any may be lost.
    pub datagrams: Vec<(To, Bytes)>,
    /// What became known.
    pub events: Vec<MembershipEvent>,
    /// When to call [`Membership::wake`](super::Membership::wake); never if `None`. Replaces what was said before.
    pub wake_at: Option<Time>,
}

/// What a node counts as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// It answers.
    Alive,
    /// It did not answer somebody's probe, and has not said yet that it lives. Still a member.
    Suspect,
    /// It is remembered, but no member.
    Down,
}

/// What happened since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MembershipCounters {
    /// Datagrams sent.
    pub sent: u64,
    /// Their bytes.
    pub sent_bytes: u64,
    /// Datagrams received.
    pub received: u64,
    /// Of those, the ones that were no datagram of this version.
    pub malformed: u64,
    /// Sound ones that could not be followed: from a stranger without an address, one member too many, or
    /// at odds with the protocol.
    pub refused: u64,
    /// Datagrams not sent, for want of the receiver's address.
    pub unaddressed: u64,
    /// How often this node was woken so late that it gave everybody more time.
    pub overslept: u64,
}
