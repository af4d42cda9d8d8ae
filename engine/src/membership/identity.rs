//! Who a node is, and which of two claims to one node id stands.

use std::fmt;
use std::sync::Arc;

use dunlin_ring::{NodeId, TEXT_BYTES_MAX};

/// What a node tells about itself to whoever listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Which node it is, over all its starts.
    pub id: NodeId,
    /// What operators call it.
    pub name: String,
    /// Where its peers reach it, as `host:port`.
    pub address: String,
    /// Grows with every start, so that the newest process of a node replaces the ones before it.
    pub incarnation: u64,
    /// Drawn at random at every start; decides between two processes of one incarnation.
    pub instance: u64,
}

/// Why an identity can't be told to others. Nothing was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// The name or the address is longer than a layout takes.
    #[error("a name or address of {bytes} bytes; the most is {TEXT_BYTES_MAX}")]
    TextTooLong {
        /// How long it is.
        bytes: usize,
    },
    /// There is no address: nobody could answer.
    #[error("there is no address to be reached at")]
    NoAddress,
}

impl Identity {
    pub(crate) fn check(&self) -> Result<(), IdentityError> {
        let bytes = self.name.len().max(self.address.len());
        if bytes > TEXT_BYTES_MAX {
            return Err(IdentityError::TextTooLong { bytes });
        }
        if self.address.is_empty() {
            return Err(IdentityError::NoAddress);
        }
        Ok(())
    }

    /// Bytes of both texts.
    pub(crate) fn text_bytes(&self) -> usize {
        self.name.len() + self.address.len()
    }
}

/// One process of a node, from its start or from when it last came back from a mistaken death.
///
/// Texts don't count in comparisons: a packet names its receiver, and third parties, without them.
#[derive(Clone)]
pub(crate) struct Life {
    pub(crate) who: Arc<Identity>,
    /// How often this process was declared dead and came back.
    pub(crate) renewal: u32,
}

impl Life {
    pub(crate) fn new(who: Identity) -> Self {
        Self {
            who: Arc::new(who),
            renewal: 0,
        }
    }

    pub(crate) fn id(&self) -> NodeId {
        self.who.id
    }

    /// Orders the processes of one node: the highest is the one that stands.
    pub(crate) fn process(&self) -> (u64, u64) {
        (self.who.incarnation, self.who.instance)
    }

    /// Whether it says where it can be reached.
    pub(crate) fn has_address(&self) -> bool {
        !self.who.address.is_empty()
    }
}

impl PartialEq for Life {
    fn eq(&self, other: &Self) -> bool {
        self.id() == other.id()
            && self.process() == other.process()
            && self.renewal == other.renewal
    }
}

impl Eq for Life {}

impl fmt::Debug for Life {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Identity {
            id,
            incarnation,
            instance,
            ..
        } = &*self.who;
        let renewal = self.renewal;
        write!(f, "{id:?}/{incarnation}.{instance:x}.{renewal}")
    }
}

impl foca::Identity for Life {
    type Addr = NodeId;

    fn renew(&self) -> Option<Self> {
        Some(Self {
            who: Arc::clone(&self.who),
            renewal: self.renewal.checked_add(1)?,
        })
    }

    fn addr(&self) -> NodeId {
        self.id()
    }

    /// The process decides first, so that a process that was replaced can't win by coming back often.
    fn win_addr_conflict(&self, adversary: &Self) -> bool {
        (self.process(), self.renewal) > (adversary.process(), adversary.renewal)
    }
}
