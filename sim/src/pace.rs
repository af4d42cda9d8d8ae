//! Nodes that are stopped for a while, or slow: what comes to them waits, in the order in which it came.
//!
//! ```text
//!   paused   nothing is handled until it goes on, then everything at once
//!   slow     one thing is handled, and takes its time; then the next
//! ```

use std::collections::VecDeque;

use crate::queue::Event;
use crate::world::World;

/// How fast a node handles what comes.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    paused_until: u64,
    slow_until: u64,
    /// The longest that one thing takes while it is slow.
    each_us_max: u64,
    busy_until: u64,
    /// What came meanwhile.
    waiting: VecDeque<Event>,
}

impl Pace {
    /// Whether something that comes now has to wait.
    fn holds(&self, now: u64) -> bool {
        self.paused_until > now || self.busy_until > now || !self.waiting.is_empty()
    }

    /// Whether everything is handled as it comes.
    pub(crate) fn is_usual(&self, now: u64) -> bool {
        !self.holds(now)
    }

    /// All that waits happens at another place.
    pub(crate) fn move_to(&mut self, from: usize, to: usize) {
        self.waiting
            .iter_mut()
            .for_each(|event| event.move_to(from, to));
    }

    /// A process starts: what came to the one before is void, and it is not stopped.
    pub(crate) fn starts(&mut self) {
        self.paused_until = 0;
        self.waiting.clear();
    }
}

impl World {
    /// Something has come to a node: it happens now, or when the node has time.
    pub(crate) fn come(&mut self, node: usize, event: Event) {
        let pace = &mut self.nodes[node].pace;
        if pace.holds(self.now) {
            // A stopped process finds everything in its sockets and queues when it goes on.
            pace.waiting.push_back(event);
        } else {
            self.take_time(node, event);
        }
    }

    fn take_time(&mut self, node: usize, event: Event) {
        let pace = &self.nodes[node].pace;
        if pace.slow_until > self.now && self.nodes[node].process.is_some() {
            let took = self.rng.u64(1..=pace.each_us_max);
            self.nodes[node].pace.busy_until = self.now + took;
            self.after(took, Event::GoOn { node });
        }
        self.happen(event);
    }

    pub(crate) fn pause(&mut self, node: usize, lasts: u64) {
        let until = self.nodes[node].pace.paused_until.max(self.now + lasts);
        self.nodes[node].pace.paused_until = until;
        self.at(until, Event::GoOn { node });
    }

    pub(crate) fn slow_down(&mut self, node: usize, lasts: u64, each_us_max: u64) {
        let pace = &mut self.nodes[node].pace;
        pace.slow_until = self.now + lasts;
        pace.each_us_max = each_us_max;
    }

    /// A node that was paused or busy goes on, unless it is so again.
    pub(crate) fn go_on(&mut self, node: usize) {
        loop {
            let pace = &mut self.nodes[node].pace;
            if pace.paused_until > self.now || pace.busy_until > self.now {
                return;
            }
            let Some(event) = pace.waiting.pop_front() else {
                return;
            };
            self.take_time(node, event);
        }
    }

    /// Nothing holds a node up any more.
    pub(crate) fn let_go_on(&mut self, node: usize) {
        let now = self.now;
        let pace = &mut self.nodes[node].pace;
        pace.paused_until = pace.paused_until.min(now);
        pace.slow_until = pace.slow_until.min(now);
        pace.busy_until = pace.busy_until.min(now);
        self.go_on(node);
    }
}
