//! What is going to happen, in order of its time; at one time, in the order in which it was put here.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::sync::Arc;

use dunlin_engine::{Input, ReplyTo};
use dunlin_protocol::request::Request;
use dunlin_protocol::response::Answer;

use crate::faults::FaultEnd;
use crate::writer::Part;

/// Something that is going to happen.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// A message arrives at the life of a node to which it was sent: connections end with a process.
    Deliver {
        to: usize,
        life: u64,
        from: usize,
        bytes: Arc<[u8]>,
    },
    /// A request of a client arrives at a node.
    Request {
        node: usize,
        life: u64,
        reply_to: ReplyTo,
        request: Box<Request>,
        timeout_ms: u64,
    },
    /// An input of one life of a node.
    Input {
        node: usize,
        life: u64,
        part: Part,
        input: Box<Input>,
    },
    /// What a part has staged becomes a batch.
    Flush { node: usize, life: u64, part: Part },
    /// The writer has come to the end of a stage.
    Disk { node: usize, life: u64 },
    /// The writer syncs what is only written.
    SyncTick { node: usize, life: u64 },
    /// A client does something.
    Act { client: usize },
    /// An answer arrives at a client.
    Answered {
        reply_to: ReplyTo,
        answer: Box<Answer>,
    },
    /// Nobody listened at the node.
    NotSent { reply_to: ReplyTo },
    /// A read may be hedged.
    Hedge { number: usize },
    /// A client waits no longer.
    GiveUp { reply_to: ReplyTo },
    /// Something goes wrong.
    Fault,
    /// Something is right again.
    FaultEnds(FaultEnd),
    /// A pause is over.
    GoOn { node: usize },
    /// An operator does something.
    Operate { operator: usize },
}

/// Everything that is going to happen.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    due: BinaryHeap<Reverse<Due>>,
    order: u64,
}

#[derive(Debug)]
struct Due {
    at: u64,
    order: u64,
    event: Event,
}

impl Queue {
    pub(crate) fn put(&mut self, at: u64, event: Event) {
        self.order += 1;
        let order = self.order;
        self.due.push(Reverse(Due { at, order, event }));
    }

    /// What is to happen at one place happens at another.
    pub(crate) fn move_all(&mut self, from: usize, to: usize) {
        let mut due = std::mem::take(&mut self.due).into_vec();
        for Reverse(due) in &mut due {
            due.event.move_to(from, to);
        }
        self.due = due.into();
    }

    /// What is to happen first, and when, if that is no later than this.
    pub(crate) fn take(&mut self, until: u64) -> Option<(u64, Event)> {
        let is_due = self.due.peek().is_some_and(|first| first.0.at <= until);
        let first = is_due.then(|| self.due.pop()).flatten();
        first.map(|Reverse(due)| (due.at, due.event))
    }
}

impl Event {
    /// Lets it happen at another place, if it is to happen at this one.
    pub(crate) fn move_to(&mut self, from: usize, to: usize) {
        match self {
            Self::Deliver { to: node, .. }
            | Self::Request { node, .. }
            | Self::Input { node, .. }
            | Self::Flush { node, .. }
            | Self::Disk { node, .. }
            | Self::SyncTick { node, .. }
            | Self::GoOn { node } => {
                if *node == from {
                    *node = to;
                }
            }
            Self::Act { .. }
            | Self::Answered { .. }
            | Self::NotSent { .. }
            | Self::GiveUp { .. }
            | Self::Hedge { .. }
            | Self::Fault
            | Self::FaultEnds(_)
            | Self::Operate { .. } => {}
        }
    }
}

impl Ord for Due {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Due {}
