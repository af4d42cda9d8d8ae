//! Whether a read must know of a write: some node that said it holds the write answered the read.
//!
//! What a node has taken it keeps: so this holds at any quorums, and for R + W > N always. A node that
//! lost its disk since knows nothing; but before it counts for reads again it has pulled from every
//! co-owner, so a copy that another owner kept does as well.

use dunlin_protocol::response::{HeldBy, ReadAnswer};

use super::evidence::{Ack, Evidence};
use crate::history::Op;
use crate::ledger::Name;

impl Evidence<'_> {
    /// Whether the read must know of the event.
    pub(crate) fn read_knows(&self, name: Name, read: &Op, answer: &ReadAnswer) -> bool {
        self.acks(name)
            .iter()
            .any(|ack| ack.op.end < read.start && self.overlaps(ack, read, answer))
    }

    fn overlaps(&self, ack: &Ack<'_>, read: &Op, answer: &ReadAnswer) -> bool {
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
                        && owners().any(|c| self.kept(c, ack.op.start, read.end))))
        })
    }

    /// Whether a copy was lost at no time between.
    fn kept(&self, copy: &HeldBy, from: u64, to: u64) -> bool {
        self.node(copy.node).is_some_and(|node| {
            let within = |times: &[u64]| times.iter().any(|at| (from..=to).contains(at));
            !within(&node.losses) && (copy.synced || !within(&node.crashes))
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
