//! Once everything has healed, every operation of every kind succeeds at once, for every partition, through
//! every node.
//!
//! ```text
//!   heals ─> settling_us ─> writes of every kind ─> rest ─> everything, at the strictest quorums ─> the last reads
//! ```
//!
//! Writes are asked for before the cluster has come to rest, for they wait for no repair: what must be over
//! by then is what nodes think of each other. Each must be answered within [`Options::patience_us`], at the
//! first try. Reads at all owners need whole ones, so they are asked for at rest.

use dunlin_protocol::Failure;

use super::Checker;
use crate::history::{Action, Op, Outcome};
use crate::options::Options;
use crate::world::World;

/// Messages one after the other of the longest operation: to a node, on to an owner, to the other owners and
/// back to read what is there, once more to make sure, again to write it, and the answer by the same way.
const HOPS_MAX: u64 = 10;
/// What a node takes to come to all that waits for it.
const HANDLING_US: u64 = 20_000;

impl Options {
    /// How long an operation takes at most while nothing is wrong: its way, and two commits and two syncs of a
    /// disk that is at work already, at the node that writes first and, where that passes it on, at the next.
    pub(crate) fn patience_us(&self) -> u64 {
        let disk = self.disk.commit_us_max + self.disk.sync_us_max;
        HOPS_MAX * self.delay_us_max() + 4 * disk + HANDLING_US
    }

    /// How long nodes take to know of each other again, once they can: one that starts is told who is there,
    /// those that took each other for dead ask whether that is so, and those that share partitions hear of
    /// each other.
    pub(crate) fn settling_us(&self) -> u64 {
        let engine = &self.engine;
        let heard_ms = engine.unreachable_after_ms + 2 * engine.ping_every_ms;
        let membership = &engine.membership;
        let found_ms = membership.join_max_ms + 2 * membership.announce_down_every_ms;
        (heard_ms + found_ms) * 1_000 + self.patience_us()
    }
}

/// Checks a request that was made to see whether it succeeds.
pub(crate) fn check(world: &mut World, number: usize, node: usize) {
    let options = &world.options;
    // An owner may have heard before this node that a layout is retired, and refuse: then there is news soon.
    let news_us = match options.layouts {
        Some(_) => 2 * options.engine.ping_every_ms * 1_000,
        None => 0,
    };
    let most = options.patience_us() + news_us;
    let Some(Op {
        action,
        outcome,
        start,
        end,
        ..
    }) = world.history.ops.get(number)
    else {
        return;
    };
    let is_refused = match outcome {
        Outcome::Written(_) | Outcome::Read(_) | Outcome::Bucket(_) | Outcome::Shape(_) => false,
        // A bucket that exists is as good as one that is made.
        Outcome::Failed(Failure::BucketExists { .. } | Failure::NoSuchBucket) => {
            !matches!(action, Action::Create(_) | Action::Drop(_))
        }
        Outcome::Failed(_) | Outcome::NotSent | Outcome::NoAnswer | Outcome::Pending => true,
    };
    let took = end - start;
    if is_refused || took > most {
        let sentence = format!(
            "#{number} {action:?} through node {node} ends after {took} us with {outcome:?}; \
             nothing is wrong, and {most} us are the most"
        );
        world.complain(Checker::Liveness, sentence);
    }
}
