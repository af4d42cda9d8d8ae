//! How far this node is with the newest layout, as it tells all others: it has it on its disk, it decides by
//! it, it holds all that it owns under it.
//!
//! ```text
//!   layout learned ─> synced ─> all shards follow, none of their writes is older ─> acked
//!                                          nothing left to fill ─────────────────> synced
//!   all have acked: settled, pulls count          all owners are synced: complete, reads go by it
//!                                                 all say that theirs do: those before it are retired
//! ```

use dunlin_protocol::cluster::{ClusterEntry, LayoutId, NodeProgress};
use dunlin_protocol::peer::AckWhen;
use dunlin_protocol::status::StorageState;
use dunlin_ring::{MemberState, NodeId};

use super::{Control, Kept};
use crate::io::{Effect, Note, Now};
use crate::view::ActiveLayouts;

/// How often a node says how far it is, if only counts have changed.
const SAY_EVERY_MS: u64 = 1_000;

/// The layouts that a node knows, at one moment.
pub(super) struct LayoutsSeen {
    known: Vec<LayoutId>,
    /// Those in whose place another one of the same number stands.
    lost: Vec<LayoutId>,
    complete: LayoutId,
}

impl Control {
    /// What is known of layouts, to tell what is news.
    pub(super) fn layouts_seen(&self) -> LayoutsSeen {
        let layouts = self.knowledge.layouts();
        let known: Vec<LayoutId> = layouts.all().map(|l| l.id).collect();
        let active: Vec<LayoutId> = layouts.active().iter().map(|l| l.id).collect();
        let is_lost = |id: &LayoutId| {
            !active.contains(id) && active.iter().any(|other| other.number == id.number)
        };
        LayoutsSeen {
            lost: known.iter().copied().filter(is_lost).collect(),
            complete: layouts.complete().id,
            known,
        }
    }

    pub(super) fn note_layouts(&self, before: &LayoutsSeen, effects: &mut Vec<Effect>) {
        let now = self.layouts_seen();
        let mut note = |note| effects.push(Effect::Note(note));
        for layout in now.known {
            if !before.known.contains(&layout) {
                note(Note::LayoutApplied { layout });
            }
        }
        for layout in now.lost {
            if !before.lost.contains(&layout) {
                note(Note::LayoutLost { layout });
            }
        }
        if before.complete != now.complete {
            let layout = now.complete;
            note(Note::LayoutComplete { layout });
        }
    }

    /// Has this node told when the newest layout is on its disk.
    pub(super) fn keep_layouts(&mut self) {
        let layouts = self.knowledge.layouts();
        let now = (layouts.target().id, layouts.complete().id);
        let (kept, on_its_way) = self.layouts_kept;
        let is_known = [kept, on_its_way].contains(&Some(now));
        if !is_known && self.storage == StorageState::Ready {
            self.layouts_kept.1 = Some(now);
            let waiting = Kept::Layouts(now);
            self.commits.wait(AckWhen::Synced, waiting);
        }
    }

    /// Says how far this node is with the newest layout, if that has changed, and whether the layout is
    /// complete by what the others said.
    pub(super) fn follow(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let newest = self.knowledge.layouts().target().id;
        let all_follow = self.shards.iter().all(|shard| shard.newest == newest);
        let filling = self.shards.iter().map(|shard| shard.filling).sum();
        let handing_over = self.shards.iter().map(|shard| shard.handing_over).sum();
        // Ordering: a node that says it follows a layout must still know it after a crash. Others rely on
        // it to write by nothing older.
        let kept = self.layouts_kept.0.is_some_and(|(kept, _)| kept == newest);
        let acked = kept && all_follow && self.shards.iter().all(|shard| shard.acked);
        let complete = self.knowledge.layouts().complete().id;
        let reads_kept = self
            .layouts_kept
            .0
            .is_some_and(|(_, kept)| kept == complete);
        let reads = reads_kept && self.shards.iter().all(|shard| shard.reads == complete);
        let known = self.knowledge.progress(self.me);
        if let Some(known) = known {
            // Its later word counts, so it must be later, whatever became of the clock.
            let any = self.hlc.observe(known.said, now.wall, u64::MAX);
            debug_assert!(any.is_ok());
        }
        let progress = NodeProgress {
            node: self.me,
            said: self.hlc.tick(now.wall),
            acked: match acked {
                true => Some(newest),
                false => known.and_then(|known| known.acked),
            },
            synced: match acked && filling == 0 {
                true => Some(newest),
                // It may have lost what it held.
                false => known
                    .and_then(|known| known.synced)
                    .filter(|synced| *synced != newest),
            },
            reads: match reads {
                true => Some(complete),
                false => known.and_then(|known| known.reads),
            },
            filling,
            handing_over,
        };
        let same = known.is_some_and(|known| {
            let said = known.said;
            NodeProgress {
                said,
                ..progress.clone()
            } == *known
        });
        let only_counts = known.is_some_and(|known| {
            (known.acked, known.synced, known.reads)
                == (progress.acked, progress.synced, progress.reads)
        });
        let is_due = !only_counts || now.time.ms_since(self.said_at) >= SAY_EVERY_MS;
        if all_follow && !same && is_due {
            self.said_at = now.time;
            self.merge(&[ClusterEntry::Progress(progress)], now, effects);
        }
        if let Some(complete) = self.knowledge.newly_complete() {
            self.merge(&[ClusterEntry::Completed(complete)], now, effects);
        }
        if let Some(retired) = self.newly_retired() {
            self.merge(&[ClusterEntry::Retired(retired)], now, effects);
        }
    }

    /// The complete layout, if every node reads by it and those before it are not retired yet. A node that
    /// read by an older one would not see what is written from then on.
    fn newly_retired(&self) -> Option<LayoutId> {
        let layouts = &self.view.layouts;
        let (complete, oldest) = (layouts.complete().id, layouts.oldest().id);
        let reads = |progress: &NodeProgress| progress.reads >= Some(complete);
        (oldest < complete && self.have_all(layouts, reads)).then_some(complete)
    }

    /// Whether every node decides by the newest layout.
    pub(super) fn is_settled(&self, layouts: &ActiveLayouts) -> bool {
        let newest = layouts.newest().id;
        self.have_all(layouts, |progress| progress.acked >= Some(newest))
    }

    /// Whether every node has said so, but for those that the newest layout does without and that can't be
    /// reached: an operator has given them up.
    fn have_all(&self, layouts: &ActiveLayouts, said: impl Fn(&NodeProgress) -> bool) -> bool {
        let has = |node: NodeId| self.knowledge.progress(node).is_some_and(&said);
        let stays = |node: NodeId| {
            let member = layouts.newest().layout.member(node);
            member.is_some_and(|member| member.state == MemberState::Active)
        };
        let mut nodes = self.peers.nodes().into_iter().chain([self.me]);
        nodes.all(|node| has(node) || (node != self.me && !stays(node) && !self.is_reachable(node)))
    }
}
