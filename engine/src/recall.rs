//! What nodes remember of each other's stores, so that none comes back older than it was.
//!
//! A backup, a clone or a snapshot of a whole machine, put back, looks like any store that was closed or
//! killed; nothing in it says that it is old. But the others remember how far it was:
//!
//! ```text
//!   n1 -- Ping { store, life, opened: 100, synced: 107 } -->  n2 remembers: n1's store, 107
//!   n1 is stopped, and its disk put back to what it was at batch 40
//!   n1 -- Ping { store, new life, opened: 40, .. } -------->  n2: a new life, and it lacks what I remember
//!   n1 <- Pong { remembers: 107 } ---------------------------
//! ```
//!
//! The node then starts anew as one whose disk has forgotten: under new actors, refilled from its
//! co-owners, its store under a new number. Until every peer has answered, or has had its time to, a node
//! does not count for reads and mints under new actors ([`View::vouched`](crate::View)); so what nobody
//! has yet denied does no harm meanwhile.
//!
//! Not found is what none of the peers that can be reached remembers: they keep this on their disks every
//! [`KEEP_MS`], and hear of it with every ping.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use bytes::Bytes;
use dunlin_protocol::codec::{self, CodecLimits};
use dunlin_protocol::peer::{StoreMark, StoreWord};
use dunlin_ring::NodeId;
use dunlin_storage::{Batch, Keyspace, Kv, KvError, Start};

use crate::io::Time;

/// How often what is remembered of others goes to the disk, if it has changed.
const KEEP_MS: u64 = 10_000;
/// Stores of one node that are remembered: the last, and those before it, which must not come back.
const STORES_MAX: usize = 4;
/// Where the number of the own store lies, in a mark.
const OWN: &[u8] = b"recall/own";
/// Where what is remembered of a node lies: under this, and its id.
const OTHER: &[u8] = b"recall/node/";
/// The version of both formats.
const VERSION: u8 = 1;

/// What a node remembers of the others' stores, and what they have said of its own.
#[derive(Clone, Debug)]
pub struct Recall {
    own: StoreMark,
    /// Whether the own store is new, or was refilled: nobody can remember more of it.
    is_new: bool,
    /// Of each node its stores, the last one at the end.
    remembered: BTreeMap<NodeId, Vec<StoreMark>>,
    /// Of whom the disk does not have what is remembered.
    unkept: BTreeSet<NodeId>,
    kept_at: Time,
    /// Who has said that it remembers no more than the store holds.
    vouched_by: BTreeSet<NodeId>,
    denied: bool,
}

impl Recall {
    /// What a store holds of this, right after it was opened. `life` names the process.
    ///
    /// # Errors
    /// [`KvError`] if it can't be read.
    pub fn load(
        kv: &dyn Kv,
        start: &Start,
        life: u64,
        rng: &mut fastrand::Rng,
    ) -> Result<Self, KvError> {
        let stored = kv.get(Keyspace::Meta, OWN)?;
        let stored = stored.and_then(|value| parse(&value)?.pop());
        let may_continue = matches!(start, Start::Clean | Start::Unclean);
        let known = stored.filter(|_| may_continue).map(|mark| mark.store);
        let mut remembered = BTreeMap::new();
        let from = Bound::Included(OTHER);
        for entry in kv.range(Keyspace::Meta, from, Bound::Unbounded) {
            let (key, value) = entry?;
            let Some(id) = key.strip_prefix(OTHER) else {
                break;
            };
            // What can't be read is not remembered; others may.
            if let (Ok(id), Some(marks)) = (id.try_into(), parse(&value)) {
                remembered.insert(NodeId(u64::from_be_bytes(id)), marks);
            }
        }
        let held = kv.synced();
        let own = StoreMark {
            store: known.unwrap_or_else(|| rng.u64(..)),
            life,
            opened: held,
            synced: held,
        };
        Ok(Self {
            own,
            is_new: known.is_none(),
            remembered,
            unkept: BTreeSet::new(),
            kept_at: Time::default(),
            vouched_by: BTreeSet::new(),
            denied: false,
        })
    }

    /// How far the own store is.
    pub fn mark(&self) -> StoreMark {
        self.own
    }

    /// The last batch that is remembered of a node's store, if that store held less when the life began
    /// that the mark names, or if a new store has taken its place since.
    pub fn remembers_more(&self, of: NodeId, mark: StoreMark) -> Option<u64> {
        let stores = self.remembered.get(&of)?;
        let at = stores.iter().position(|known| known.store == mark.store)?;
        let (known, is_last) = (stores.get(at)?, at + 1 == stores.len());
        let is_older = known.life != mark.life && mark.opened < known.synced;
        (is_older || !is_last).then_some(known.synced)
    }

    /// The own store is synced up to this batch.
    pub(crate) fn synced(&mut self, batch: u64) {
        self.own.synced = self.own.synced.max(batch);
    }

    /// A node has said how far its store is. Returns what [`remembers_more`](Self::remembers_more) does, and
    /// else remembers it.
    pub(crate) fn heard(&mut self, from: NodeId, mark: StoreMark) -> Option<u64> {
        let more = self.remembers_more(from, mark);
        if more.is_some() {
            return more;
        }
        let stores = self.remembered.entry(from).or_default();
        match stores.last_mut().filter(|known| known.store == mark.store) {
            // Messages may overtake each other.
            Some(known) if known.life == mark.life && known.synced >= mark.synced => return None,
            Some(known) => *known = mark,
            None => stores.push(mark),
        }
        let excess = stores.len().saturating_sub(STORES_MAX);
        stores.drain(..excess);
        self.unkept.insert(from);
        None
    }

    /// A node has said whether it remembers more of the own store than that held. Returns what, the first
    /// time.
    pub(crate) fn answered(&mut self, from: NodeId, word: StoreWord) -> Option<u64> {
        if word.life != self.own.life {
            return None;
        }
        let Some(remembers) = word.remembers else {
            self.vouched_by.insert(from);
            return None;
        };
        let is_news = !self.is_new && !std::mem::replace(&mut self.denied, true);
        is_news.then_some(remembers)
    }

    /// Whether nobody remembers more of the own store than it holds: each of these has said so, or has had
    /// its time.
    pub(crate) fn is_vouched(&self, near: &BTreeSet<NodeId>, had_time: bool) -> bool {
        self.is_new || (!self.denied && (had_time || near.is_subset(&self.vouched_by)))
    }

    /// Adds the number of a new store to what goes to the disk.
    pub(crate) fn stage_own(&self, batch: &mut Batch) {
        if self.is_new {
            put(batch, Bytes::from_static(OWN), &[self.own]);
        }
    }

    /// Adds what is remembered of others, if it is time.
    pub(crate) fn stage_others(&mut self, now: Time, batch: &mut Batch) {
        if self.unkept.is_empty() || now.ms_since(self.kept_at) < KEEP_MS {
            return;
        }
        self.kept_at = now;
        self.stage_all(batch);
    }

    /// Adds all that is remembered of others and was not added before: the node stops.
    pub(crate) fn stage_all(&mut self, batch: &mut Batch) {
        for node in std::mem::take(&mut self.unkept) {
            if let Some(stores) = self.remembered.get(&node) {
                let key = [OTHER, &node.0.to_be_bytes()].concat();
                put(batch, Bytes::from(key), stores);
            }
        }
    }

    /// What was given to the disk may not be there: it is to be given again.
    pub(crate) fn refused(&mut self, batch: &mut Batch) {
        self.stage_own(batch);
        self.unkept.extend(self.remembered.keys());
    }
}

fn put(batch: &mut Batch, key: Bytes, value: &[StoreMark]) {
    // Closed records of numbers always have an encoding.
    if let Ok(body) = codec::encode(value) {
        let value = [&[VERSION][..], &body].concat();
        batch.put(Keyspace::Meta, key, Bytes::from(value));
    }
}

fn parse(value: &[u8]) -> Option<Vec<StoreMark>> {
    let (&version, body) = value.split_first()?;
    let body = (version == VERSION).then_some(body)?;
    codec::decode(body, CodecLimits::default()).ok()
}

#[cfg(test)]
mod tests {
    use dunlin_storage::MemoryKv;

    use super::*;

    const N1: NodeId = NodeId(1);
    const N2: NodeId = NodeId(2);

    fn recall(start: &Start) -> Recall {
        let kv = MemoryKv::new();
        Recall::load(&kv, start, 1, &mut fastrand::Rng::with_seed(1)).unwrap()
    }

    fn mark(store: u64, life: u64, opened: u64, synced: u64) -> StoreMark {
        StoreMark {
            store,
            life,
            opened,
            synced,
        }
    }

    fn word(life: u64, remembers: Option<u64>) -> StoreWord {
        StoreWord { life, remembers }
    }

    #[test]
    fn a_store_that_held_more_is_recognised_in_its_next_life_and_in_any_later_one() {
        let mut peer = recall(&Start::Blank);
        assert_eq!(peer.heard(N1, mark(7, 1, 0, 3)), None);
        assert_eq!(peer.heard(N1, mark(7, 1, 0, 107)), None);
        // It was only restarted.
        assert_eq!(peer.heard(N1, mark(7, 2, 107, 110)), None);
        // It was put back, and has written much since then.
        for life in [3, 4] {
            assert_eq!(peer.heard(N1, mark(7, life, 40, 500)), Some(110));
        }
        // It has taken a new number, and the old one must not return.
        assert_eq!(peer.heard(N1, mark(8, 5, 2, 9)), None);
        assert_eq!(peer.heard(N1, mark(7, 6, 110, 110)), Some(110));
        assert_eq!(peer.heard(N1, mark(8, 7, 9, 9)), None);
        // Of others it says nothing.
        assert_eq!(peer.heard(N2, mark(7, 1, 0, 0)), None);
    }

    #[test]
    fn what_is_remembered_survives_a_restart() {
        let kv = MemoryKv::new();
        let load = || {
            let mut rng = fastrand::Rng::with_seed(1);
            Recall::load(&kv, &Start::Clean, 1, &mut rng).unwrap()
        };
        let mut before = load();
        before.heard(N1, mark(7, 1, 0, 107));
        let mut batch = Batch::new();
        before.stage_others(Time::default(), &mut batch);
        assert!(batch.is_empty(), "not at every ping");
        before.stage_others(Time::default().plus_ms(KEEP_MS), &mut batch);
        before.stage_own(&mut batch);
        kv.commit(&batch).unwrap();
        let mut after = load();
        assert_eq!(after.heard(N1, mark(7, 2, 106, 106)), Some(107));
        assert_eq!(after.mark().store, before.mark().store);
    }

    #[test]
    fn a_store_counts_once_all_have_vouched_for_it_and_never_after_a_denial() {
        let near = BTreeSet::from([N1, N2]);
        let new = recall(&Start::Blank);
        assert!(new.is_vouched(&near, false), "nobody can know a new store");
        let kv = MemoryKv::new();
        let mut batch = Batch::new();
        new.stage_own(&mut batch);
        kv.commit(&batch).unwrap();
        let mut rng = fastrand::Rng::with_seed(2);
        let mut old = Recall::load(&kv, &Start::Unclean, 9, &mut rng).unwrap();
        assert_eq!(old.answered(N1, word(9, None)), None);
        assert!(!old.is_vouched(&near, false));
        assert!(old.is_vouched(&near, true), "the other one had its time");
        assert_eq!(
            old.answered(N2, word(8, Some(5))),
            None,
            "of an earlier life"
        );
        let mut denied = old.clone();
        assert_eq!(old.answered(N2, word(9, None)), None);
        assert!(old.is_vouched(&near, false));
        assert_eq!(denied.answered(N2, word(9, Some(5))), Some(5));
        assert_eq!(denied.answered(N2, word(9, Some(5))), None, "said once");
        assert!(!denied.is_vouched(&near, true));
    }
}
