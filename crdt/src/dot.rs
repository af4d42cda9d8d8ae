//! Who wrote, and which of its writes: the name of one event, for ever.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One life of one owner of one partition. Drawn at random (64 bits), never used again once its owner
/// may have forgotten a dot that it minted.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ActorId(pub u64);

impl fmt::Debug for ActorId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Display for ActorId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// One event: `(actor, counter)`. Counters start at 1 and are contiguous per actor and partition.
pub type Dot = crdts::Dot<ActorId>;

/// The total order in which rows keep their cells. It has no causal meaning: `crdts::Dot` itself is
/// ordered only within one actor.
pub(crate) fn order(dot: &Dot) -> (ActorId, u64) {
    (dot.actor, dot.counter)
}
