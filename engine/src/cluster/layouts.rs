//! The layouts of the cluster: those that were applied, and which of them are active.
//!
//! ```text
//!   4 ── 5 ── 6          4 is complete: every owner holds what it owns. Reads go by it.
//!         └── 6'         6' was applied at the same time as 6 and has the higher id: the target.
//!   active: 6' 5 4       Writes satisfy a quorum in each.
//!   complete 6'          Reads go by it at every node that knows; writes satisfy the others still, for
//!                        a node that does not know it reads by 4, and must see them.
//!   retired before 6'    Every node reads by 6': 4, 5 and 6 are forgotten.
//! ```
//!
//! Both maps only grow, and what follows from them follows alike on every node: the target is the
//! highest id, the active ones are those that it is based on down to the one that is not retired. A
//! layout that lost a tie is never active again, and the changes that it carried out are staged again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use dunlin_protocol::cluster::{AppliedLayout, ChangeId, LayoutId};

/// Every layout that is not retired, and which are complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layouts {
    /// Those before the first are retired. Invariant: never empty; `complete` is one of them.
    known: BTreeMap<LayoutId, Arc<AppliedLayout>>,
    complete: LayoutId,
    /// Complete layouts that are not known yet.
    announced: BTreeSet<LayoutId>,
    /// The newest layout of which it is known that those before it are retired; it may not be known yet.
    retired: LayoutId,
}

impl Layouts {
    /// A cluster whose only layout so far is this one: the one it was born with.
    pub fn new(first: AppliedLayout) -> Self {
        let complete = first.id;
        Self {
            known: [(complete, Arc::new(first))].into(),
            complete,
            announced: BTreeSet::new(),
            retired: complete,
        }
    }

    /// Takes over a layout. Returns whether it is news.
    pub fn merge(&mut self, layout: AppliedLayout) -> bool {
        let id = layout.id;
        let states_itself =
            id.number == layout.layout.number() && id.digest == layout.layout.digest();
        let same_ring = layout.layout.partitions() == self.complete().layout.partitions();
        if id < self.oldest() || self.known.contains_key(&id) || !states_itself || !same_ring {
            return false;
        }
        self.known.insert(id, Arc::new(layout));
        self.advance();
        true
    }

    /// Takes over that a layout is complete. Returns whether it is news.
    pub fn merge_complete(&mut self, id: LayoutId) -> bool {
        if id <= self.complete || !self.announced.insert(id) {
            return false;
        }
        self.advance();
        true
    }

    /// Takes over that the layouts before this one are retired. Returns whether it is news.
    pub fn merge_retired(&mut self, id: LayoutId) -> bool {
        if id <= self.retired {
            return false;
        }
        self.retired = id;
        // Whoever said so knew it to be complete.
        self.merge_complete(id);
        self.advance();
        true
    }

    fn advance(&mut self) {
        let reached = self.announced.iter().rev();
        let reached = reached.copied().find(|id| self.known.contains_key(id));
        if let Some(complete) = reached {
            self.complete = complete;
            self.announced.retain(|id| *id > complete);
        }
        let ended = self.retired;
        if self.known.contains_key(&ended) && ended <= self.complete {
            self.known = self.known.split_off(&ended);
        }
    }

    /// The oldest layout that is not retired.
    fn oldest(&self) -> LayoutId {
        let first = self.known.first_key_value();
        first.map_or(self.complete, |(oldest, _)| *oldest)
    }

    /// The newest layout.
    pub fn target(&self) -> &Arc<AppliedLayout> {
        self.known
            .last_key_value()
            .map_or_else(|| self.complete(), |(_, newest)| newest)
    }

    /// The newest layout of which every owner holds what it owns.
    #[expect(clippy::indexing_slicing, reason = "an invariant of the type")]
    pub fn complete(&self) -> &Arc<AppliedLayout> {
        &self.known[&self.complete]
    }

    /// The layouts in which writes need a quorum, the newest first.
    pub fn active(&self) -> Vec<Arc<AppliedLayout>> {
        let mut active = Vec::new();
        let mut next = Some(self.target().id);
        while let Some(layout) = next.filter(|id| *id >= self.oldest()) {
            let Some(layout) = self.known.get(&layout) else {
                break;
            };
            active.push(Arc::clone(layout));
            next = layout.based_on;
        }
        // A link between them may not be known yet.
        for id in [self.complete, self.oldest()] {
            if let Some(layout) = self.known.get(&id)
                && active.iter().all(|known| known.id != id)
            {
                active.push(Arc::clone(layout));
            }
        }
        active
    }

    /// The layout of which it is known that those before it are retired.
    pub(crate) fn retired(&self) -> LayoutId {
        self.retired
    }

    /// Whether the newest layout, or one that it is based on, has carried out a change.
    pub fn settles(&self, change: ChangeId) -> bool {
        self.target().settles.contains(&change)
    }

    /// All that are known.
    pub fn all(&self) -> impl Iterator<Item = &Arc<AppliedLayout>> {
        self.known.values()
    }

    /// Feeds what tells two nodes' layouts apart to a hasher.
    pub(crate) fn hash(&self, hasher: &mut xxhash_rust::xxh3::Xxh3) {
        for id in self.known.keys().chain([&self.complete, &self.retired]) {
            hasher.update(&id.number.0.to_be_bytes());
            hasher.update(&id.applied.0.to_be_bytes());
            hasher.update(&id.digest.to_be_bytes());
        }
    }
}
