//! What operators ask of the cluster's shape: stage changes, see what they would do, apply them, go back.
//!
//! Any node takes these. A request that would make no layout is refused at once with the reason; one
//! that is taken is kept by every node that can be reached before it is answered.

use dunlin_protocol::Failure;
use dunlin_protocol::cluster::{
    AppliedLayout, Change, ChangeId, ClusterEntry, ClusterRequest, ClusterState, LayoutId,
    NodeState, StagedChange,
};
use dunlin_protocol::response::Answer;
use dunlin_ring::Layout;

use crate::control::{Control, Tell};
use crate::io::{Effect, Now, ReplyTo};

impl Control {
    pub(crate) fn cluster_request(
        &mut self,
        reply_to: ReplyTo,
        request: ClusterRequest,
        now: Now,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Failure> {
        if request == ClusterRequest::Describe {
            let answer = self.describe();
            effects.push(Effect::Reply {
                to: reply_to,
                answer,
            });
            return Ok(());
        }
        self.check_storage()?;
        let entries = match request {
            ClusterRequest::Describe => Vec::new(),
            ClusterRequest::Stage(change) => vec![self.staged_change(change, now)?],
            ClusterRequest::Unstage => self.unstaged()?,
            ClusterRequest::Apply { based_on } => vec![self.applied(based_on, now)?],
            ClusterRequest::Revert => vec![self.reverted(now)?],
        };
        self.change(reply_to, entries, Tell::Cluster, now, effects);
        Ok(())
    }

    /// A change to stage, provided that it makes a layout together with those that are staged.
    fn staged_change(&mut self, change: Change, now: Now) -> Result<ClusterEntry, Failure> {
        let staged = StagedChange {
            id: ChangeId(self.rng.u64(..)),
            staged: self.hlc.tick(now.wall),
            change,
            cancelled: false,
        };
        let all = self.knowledge.staged().into_iter().chain([&staged]);
        self.knowledge.next_layout(all).map_err(refused)?;
        Ok(ClusterEntry::Change(staged))
    }

    fn unstaged(&self) -> Result<Vec<ClusterEntry>, Failure> {
        let staged = self.knowledge.staged();
        if staged.is_empty() {
            return Err(refused("nothing is staged"));
        }
        let cancelled = |staged: &StagedChange| {
            ClusterEntry::Change(StagedChange {
                cancelled: true,
                ..staged.clone()
            })
        };
        Ok(staged.into_iter().map(cancelled).collect())
    }

    fn applied(&mut self, based_on: LayoutId, now: Now) -> Result<ClusterEntry, Failure> {
        let newest = self.knowledge.layouts().target();
        if newest.id != based_on {
            return Err(refused(format!(
                "the newest layout is {} by now, not {based_on}: look at the plan again",
                newest.id
            )));
        }
        let staged = self.knowledge.staged();
        let changes: Vec<ChangeId> = staged.iter().map(|change| change.id).collect();
        let layout = self.knowledge.next_layout(staged.into_iter());
        let layout = layout.map_err(refused)?;
        Ok(self.next_entry(layout, changes, now))
    }

    /// The complete layout again, as the newest.
    fn reverted(&mut self, now: Now) -> Result<ClusterEntry, Failure> {
        let layouts = self.knowledge.layouts();
        let (newest, complete) = (layouts.target(), layouts.complete());
        if newest.id == complete.id {
            return Err(refused("no change is under way"));
        }
        let layout = complete.layout.again_after(newest.id.number);
        Ok(self.next_entry(layout.map_err(refused)?, Vec::new(), now))
    }

    fn next_entry(&mut self, layout: Layout, changes: Vec<ChangeId>, now: Now) -> ClusterEntry {
        let newest = self.knowledge.layouts().target();
        let mut settles = newest.settles.clone();
        settles.extend(changes);
        let (number, digest) = (layout.number(), layout.digest());
        let based_on = Some(newest.id);
        let applied = self.hlc.tick(now.wall);
        ClusterEntry::Layout(Box::new(AppliedLayout {
            id: LayoutId {
                number,
                applied,
                digest,
            },
            layout,
            based_on,
            settles,
        }))
    }

    pub(crate) fn describe(&self) -> Answer {
        let layouts = &self.view.layouts;
        let staged = self.knowledge.staged();
        let next = (!staged.is_empty()).then(|| {
            let next = self.knowledge.next_layout(staged.iter().copied());
            next.map(Box::new).map_err(|why| why.to_string())
        });
        let node = |member: &&dunlin_ring::Member| NodeState {
            node: member.id,
            name: member.name.clone(),
            address: member.address.clone(),
            reachable: self.view.is_reachable(member.id),
            progress: self.knowledge.progress(member.id).cloned(),
        };
        let members = layouts.members();
        let mut nodes: Vec<NodeState> = members.iter().map(node).collect();
        // Who is there and no member: about to join, or on its way out.
        let strangers = self.membership.members().chain([self.membership.me()]);
        let is_member = |id| members.iter().any(|member| member.id == id);
        for stranger in strangers.filter(|stranger| !is_member(stranger.id)) {
            nodes.push(NodeState {
                node: stranger.id,
                name: stranger.name.clone(),
                address: stranger.address.clone(),
                reachable: true,
                progress: self.knowledge.progress(stranger.id).cloned(),
            });
        }
        Answer::Cluster(Box::new(ClusterState {
            complete: layouts.complete().id,
            layouts: layouts.all().cloned().collect(),
            staged: staged.into_iter().cloned().collect(),
            next,
            nodes,
        }))
    }
}

fn refused(why: impl std::fmt::Display) -> Failure {
    let why = why.to_string();
    Failure::ChangeRefused { why }
}
