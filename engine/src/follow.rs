//! Following the layouts: what this shard gains, from when on it counts as filled, and what it tells
//! the control part about it.
//!
//! ```text
//!   a newer layout: its partitions are gained, empty; they take part in writes at once
//!   ─> acked      no write in progress here is older than the layout
//!   ─> settled    every node that can be reached has acked: what is acknowledged from now on has a
//!                 quorum of the new owners too; so what is pulled from now on is all there was before
//!   ─> filled     everything was pulled from every source, after that
//!   ─> kept       and is on the disk, so the others are told
//! ```
//!
//! When all owners have filled all, the layout is complete and reads go by it. Until then reads go by
//! the one before, whose owners get every write as well.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use dunlin_protocol::peer::PeerOp;
use dunlin_ring::PartitionId;

use crate::io::{Effect, Follows};
use crate::shard::{Operation, Shard, Waiting};
use crate::view::View;

/// How far this shard is.
#[derive(Debug, Default)]
pub(crate) struct Following {
    /// Writes in progress that were planned under an older layout.
    older: BTreeSet<PeerOp>,
    /// Gained partitions into which everything was pulled since the newest layout settled.
    filled: BTreeSet<PartitionId>,
    /// Partitions whose last filling is not on the disk, and its number.
    unkept: BTreeMap<PartitionId, u64>,
    fillings: u64,
    told: Option<Follows>,
}

impl Following {
    /// What is held went back to what the disk holds.
    pub(crate) fn forget(&mut self) {
        self.filled.clear();
        self.unkept.clear();
    }
}

impl Shard {
    /// Takes over a new view.
    pub(crate) fn follow(&mut self, view: Arc<View>, effects: &mut Vec<Effect>) {
        let before = std::mem::replace(&mut self.view, view);
        let newest = self.view.layouts.newest().id;
        let is_newer = before.layouts.newest().id != newest;
        if is_newer {
            let pending = self.operations.iter().filter(
                |(_, operation)| matches!(operation, Operation::Write(write) if write.is_pending()),
            );
            self.following.older = pending.map(|(op, _)| *op).collect();
            self.following.filled.clear();
        }
        if is_newer || (self.view.settled && !before.settled) {
            // What was pulled and compared before proves nothing of writes that came after.
            for partition in self.unfilled() {
                self.repair.forget_pulls(partition);
            }
        }
        if before.layouts != self.view.layouts {
            self.handover.forget();
            // Whoever is no owner any more may have given up what it was asked for. What it still has
            // it offers anew.
            let view = &self.view;
            self.repair
                .forget_pulls_from(|partition, node| !view.co_owners(partition).contains(&node));
            self.gain(effects);
        }
        if self.view.vouched && !before.vouched {
            self.replica.resume_actors();
        }
        self.tell_follows(effects);
    }

    /// Gains what it owns and does not hold. What is still being deleted from an earlier ownership
    /// comes later.
    pub(crate) fn gain(&mut self, effects: &mut Vec<Effect>) {
        let mine = |p: &PartitionId| {
            self.replica.is_in_shard(*p)
                && self.view.is_owner(self.view.me, *p)
                && !self.replica.owns(*p)
        };
        let missing: Vec<PartitionId> = self.view.partitions().iter().filter(mine).collect();
        for partition in missing {
            match self.replica.gain(partition) {
                Ok(()) => self.counters.add("partitions_gained"),
                Err(error) => self.note_store_error(&error, effects),
            }
        }
    }

    /// Whether everything has yet to be pulled into a partition.
    pub(crate) fn is_unfilled(&self, partition: PartitionId) -> bool {
        !self.replica.is_whole(partition)
            || (self.view.gains(partition) && !self.following.filled.contains(&partition))
    }

    /// Whether what is pulled now counts: it does not before the newest layout has settled.
    pub(crate) fn may_fill(&self, partition: PartitionId) -> bool {
        self.view.settled || !self.view.gains(partition)
    }

    /// Everything was pulled into a partition from every source. The others are told when it is on the disk: they
    /// read by the layout then, and the disks of all that gained the partition may lose their power at once.
    pub(crate) fn is_filled(&mut self, partition: PartitionId) {
        if self.view.gains(partition) {
            self.following.filled.insert(partition);
        }
        self.following.fillings += 1;
        let number = self.following.fillings;
        self.following.unkept.insert(partition, number);
        self.commits
            .wait_patiently(Waiting::Filled(partition, number));
    }

    /// What has filled a partition is on the disk.
    pub(crate) fn filled_is_kept(
        &mut self,
        partition: PartitionId,
        number: u64,
        effects: &mut Vec<Effect>,
    ) {
        // It may have been rolled back, and filled again.
        if self.following.unkept.get(&partition) == Some(&number) {
            self.following.unkept.remove(&partition);
            self.tell_follows(effects);
        }
    }

    fn unfilled(&self) -> Vec<PartitionId> {
        let held = self.replica.owned();
        held.filter(|p| self.is_unfilled(*p)).collect()
    }

    /// Tells the control part how far this shard is, if that has changed.
    pub(crate) fn tell_follows(&mut self, effects: &mut Vec<Effect>) {
        let operations = &self.operations;
        self.following.older.retain(
            |op| matches!(operations.get(op), Some(Operation::Write(write)) if write.is_pending()),
        );
        let newest = self.view.newest();
        let owns =
            |p: &PartitionId| self.replica.is_in_shard(*p) && newest.is_owner(self.view.me, *p);
        let filling = newest.partitions().iter().filter(owns);
        let filling = filling.filter(|p| {
            let is_kept = self.replica.owns(*p) && !self.following.unkept.contains_key(p);
            !is_kept || self.is_unfilled(*p)
        });
        // Before the older layouts are retired, too: nobody may take it for done and switch this node off.
        let handed_over = |p: &PartitionId| !newest.is_owner(self.view.me, *p);
        let handing_over = self.replica.owned().filter(handed_over).count();
        let follows = Follows {
            newest: self.view.layouts.newest().id,
            reads: self.view.layouts.complete().id,
            acked: self.following.older.is_empty(),
            // At most Q of each, which is at most 4,096.
            filling: filling.count() as u32,
            handing_over: handing_over as u32,
        };
        if self.following.told != Some(follows) {
            self.following.told = Some(follows);
            effects.push(Effect::Follows(follows));
        }
    }
}
