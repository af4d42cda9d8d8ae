//! The view that shards decide by, made of what the control part knows whenever that has changed.

use std::collections::BTreeSet;
use std::sync::Arc;

use dunlin_ring::NodeId;

use super::Control;
use crate::cluster::Knowledge;
use crate::io::{Effect, Now, Time};
use crate::view::{ActiveLayouts, View};

/// In clusters of fewer nodes each asks all others.
const NEAR_ALL_MAX: usize = 16;

impl Control {
    pub(crate) fn publish(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let mut layouts = Arc::clone(&self.view.layouts);
        let now_active = active(&self.knowledge);
        if now_active != *layouts {
            layouts = Arc::new(now_active);
            let (others, near) = (others(&layouts, self.me), near(&layouts, self.me));
            self.peers.keep(&others, &near);
        }
        let same_newest = layouts.newest().id == self.view.layouts.newest().id;
        let settled = (same_newest && self.view.settled) || self.is_settled(&layouts);
        let buckets = self.knowledge.buckets().for_shards();
        let peers = self.peers.view(|node| self.membership.is_alive(node));
        let had_time = now.time.ms_since(Time::default()) >= self.options.unreachable_after_ms;
        let vouched = self.recall.is_vouched(self.peers.near(), had_time);
        if peers == self.view.peers
            && buckets == *self.view.buckets
            && settled == self.view.settled
            && vouched == self.view.vouched
            && Arc::ptr_eq(&layouts, &self.view.layouts)
        {
            return;
        }
        self.view = Arc::new(View {
            me: self.me,
            layouts,
            settled,
            vouched,
            buckets: Arc::new(buckets),
            peers,
        });
        effects.push(Effect::Publish(self.view()));
    }
}

/// The active layouts. There is always one.
pub(super) fn active(knowledge: &Knowledge) -> ActiveLayouts {
    let complete = knowledge.layouts().complete();
    ActiveLayouts::new(complete, knowledge.active())
}

/// The nodes whose round trip is measured, and whose silence counts: those that share a partition with
/// this one, or all if they are few. Of the others membership says whether they are there.
pub(super) fn near(layouts: &ActiveLayouts, me: NodeId) -> BTreeSet<NodeId> {
    let all = others(layouts, me);
    if all.len() < NEAR_ALL_MAX {
        return all;
    }
    let mut near = BTreeSet::new();
    for applied in layouts.all() {
        for partition in applied.layout.partitions().iter() {
            let owners = applied.layout.owners(partition);
            if owners.contains(&me) {
                near.extend(owners.iter().copied());
            }
        }
    }
    near.remove(&me);
    near
}

pub(super) fn others(layouts: &ActiveLayouts, me: NodeId) -> BTreeSet<NodeId> {
    let members = layouts.members();
    let ids = members.iter().map(|member| member.id);
    ids.filter(|id| *id != me).collect()
}
