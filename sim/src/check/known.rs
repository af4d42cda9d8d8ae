//! Whether a read must know of a write: some node that said it holds the write answered the read.
//!
//! What a node has taken it keeps: so this holds at any quorums, and for R + W > N always. A node that
//! lost its disk since knows nothing; but before it counts for reads again it has pulled from every
//! co-owner, so a copy that another one kept, which owns still, does as well. And majorities of owners meet, also across
//! a change of the layout.

use dunlin_protocol::cluster::AppliedLayout;
use dunlin_protocol::response::{HeldBy, ReadAnswer};
use dunlin_ring::{MemberState, NodeId};

use super::evidence::{Ack, Evidence};
use crate::history::Op;
use crate::ledger::Name;

impl Evidence<'_> {
    /// Whether the read must know of the event.
    pub(crate) fn read_knows(&self, name: Name, read: &Op, answer: &ReadAnswer) -> bool {
        self.acks(name).iter().any(|ack| {
            ack.op.end < read.start
                && (self.overlaps(name, ack, read, answer)
                    || self.majorities(name, ack, read, answer))
        })
    }

    /// Whether a majority of owners held it in each layout that counted when it was written, and a
    /// majority of those that count now have answered. Nodes that were asked to leave at some time are
    /// left out, for they are not waited for when they can't be reached.
    fn majorities(&self, name: Name, ack: &Ack<'_>, read: &Op, answer: &ReadAnswer) -> bool {
        let Some(minted) = self.ledger.event(name) else {
            return false;
        };
        let among = &read.read_among;
        let answered = among.iter().filter(|node| answer.owners.contains(node));
        let faithful = |node: &NodeId| self.node(*node).is_some_and(|node| node.losses.is_empty());
        let stays = |node: &NodeId| {
            let mut layouts = self.remembered.layouts.values();
            layouts.all(|applied| {
                let member = applied.layout.member(*node);
                member.is_none_or(|member| member.state == MemberState::Active)
            })
        };
        let held = |applied: &AppliedLayout| {
            let owners = applied.layout.owners(self.partition_of(&minted.row));
            let copies = ack.receipt.copies.iter();
            let copies = copies.filter(|copy| copy.hint_for.is_none() && copy.synced);
            let copies = copies.filter(|c| owners.contains(&c.node) && stays(&c.node));
            2 * copies.filter(|copy| faithful(&copy.node)).count() > owners.len()
        };
        2 * answered.count() > among.len()
            && answer.owners.iter().all(faithful)
            && minted.layouts.all().all(held)
    }

    fn overlaps(&self, name: Name, ack: &Ack<'_>, read: &Op, answer: &ReadAnswer) -> bool {
        let owners = || {
            ack.receipt
                .copies
                .iter()
                .filter(|copy| copy.hint_for.is_none())
        };
        owners().any(|copy| {
            answer.owners.contains(&copy.node)
                && (self.kept(copy, ack.op.start, read.end)
                    || (self.was_there(copy, ack)
                        && !self
                            .remembered
                            .was_haunted(copy.node, ack.op.start, read.end)
                        && owners().any(|other| {
                            self.kept(other, ack.op.start, read.end)
                                && self.owns_still(name, other.node)
                        })))
        })
    }

    /// Whether a node is an owner of the event's partition in all layouts from the newest of those on that counted
    /// when it was written: nobody pulls from one that owns no more.
    fn owns_still(&self, name: Name, node: NodeId) -> bool {
        let Some(minted) = self.ledger.event(name) else {
            return false;
        };
        let partition = self.partition_of(&minted.row);
        let newest = minted.layouts.newest().id;
        let mut since = self.remembered.layouts.range(newest..);
        since.all(|(_, applied)| applied.layout.owners(partition).contains(&node))
    }

    /// Whether a copy was lost at no time between.
    fn kept(&self, copy: &HeldBy, from: u64, to: u64) -> bool {
        self.node(copy.node).is_some_and(|node| {
            let within = |times: &[u64]| times.iter().any(|at| (from..=to).contains(at));
            !within(&node.losses)
                && (copy.synced || !within(&node.crashes))
                && !self.remembered.was_haunted(copy.node, from, to)
        })
    }

    /// Whether the copy was there, and every other one, before the first time that it was lost.
    fn was_there(&self, copy: &HeldBy, ack: &Ack<'_>) -> bool {
        let during = |at: &u64| (ack.op.start..=ack.op.end).contains(at);
        copy.synced
            && self
                .node(copy.node)
                .is_some_and(|node| !node.losses.iter().any(during))
    }
}
