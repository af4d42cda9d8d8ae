//! Rows that can't be read for a while, though they are sound: a cable, a controller, a bad sector that is
//! read at the third attempt.
//!
//! A node that can't read a row answers an error, or asks others; it never says that there is none, and goes
//! on. Left out: what else a store keeps (clocks, the log, hints). A start that can't read these fails, and of
//! a node that meets them later nothing is promised.

use std::ops::Bound;

use bytes::Bytes;
use dunlin_storage::{Keyspace, Kv};

use crate::faults::FaultEnd;
use crate::options::{below, pick};
use crate::queue::Event;
use crate::world::World;

impl World {
    /// A few reads of rows fail, or one row can't be read for a while.
    pub(crate) fn let_be_unreadable(&mut self, node: usize, lasts: u64, rng: &mut fastrand::Rng) {
        let kv = self.nodes[node].kv.clone();
        self.nodes[node].was_unreadable = true;
        self.count("unreadable rows");
        if rng.bool() {
            return kv.fail_reads(*pick(rng, &[1, 1, 3, 20]));
        }
        let all = kv.range(Keyspace::Rows, Bound::Unbounded, Bound::Unbounded);
        let keys: Vec<Bytes> = all.flatten().map(|(key, _)| key).collect();
        if keys.is_empty() {
            return;
        }
        let key = keys[below(rng, keys.len())].clone();
        kv.fail_reads_of(key);
        self.after(lasts, Event::FaultEnds(FaultEnd::Readable(node)));
    }
}
