//! What goes over the network: how many messages to each node, and how many bytes, by what they are for.

use std::collections::BTreeMap;

use dunlin_protocol::peer::PeerBody;

/// What a message is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum What {
    /// Datagrams that say who is there.
    Membership,
    /// What the cluster knows of itself.
    Control,
    /// Reads and writes.
    Operation,
    /// Clocks that are compared, and what owners lack.
    Repair,
    /// Hints on their way to their owner.
    Handoff,
}

/// So many messages, of so many bytes in all.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rate {
    /// Messages.
    pub messages: f64,
    /// Their bytes, without what the transport adds.
    pub bytes: f64,
}

impl std::ops::Add for Rate {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            messages: self.messages + other.messages,
            bytes: self.bytes + other.bytes,
        }
    }
}

impl std::ops::AddAssign for Rate {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

/// Everything that was sent.
#[derive(Clone, Debug, Default)]
pub(crate) struct Traffic {
    sent: BTreeMap<(What, usize), (u64, u64)>,
}

impl What {
    pub(crate) fn of(body: &PeerBody) -> Self {
        match body {
            PeerBody::Control(_) => Self::Control,
            PeerBody::Operation { .. } => Self::Operation,
            PeerBody::Repair { .. } | PeerBody::Digests(_) => Self::Repair,
            PeerBody::Handoff { .. } => Self::Handoff,
        }
    }
}

impl Traffic {
    pub(crate) fn note(&mut self, what: What, to: usize, bytes: usize) {
        let sent = self.sent.entry((what, to)).or_default();
        sent.0 += 1;
        sent.1 += bytes as u64;
    }

    /// The bytes that were sent to a node for something.
    pub(crate) fn bytes_to(&self, what: What, node: usize) -> u64 {
        self.sent.get(&(what, node)).map_or(0, |(_, bytes)| *bytes)
    }

    /// What was sent for something, per node and second.
    pub(crate) fn rate(&self, what: What, nodes: usize, us: u64) -> Rate {
        let of = self.sent.iter().filter(|((of, _), _)| *of == what);
        let (messages, bytes) = of.fold((0, 0), |sum, (_, sent)| (sum.0 + sent.0, sum.1 + sent.1));
        let per = nodes as f64 * us as f64 / 1e6;
        Rate {
            messages: messages as f64 / per,
            bytes: bytes as f64 / per,
        }
    }
}
