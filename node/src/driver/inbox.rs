//! What waits for one thread: many put in, one takes out everything at once.
//!
//! What the outside sends is offered, and refused above a bound on count and bytes. Clients are refused
//! first: what peers send are mostly answers, without which the requests that were accepted would wait
//! in vain. What the node's own threads say about work that was accepted (a commit, a view, a stop) is pushed, and never
//! refused: how much of it there can be follows from the work that was accepted, and refusing it
//! could make two threads wait for each other.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// How much of what the outside sends may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct InboxBounds {
    /// Items.
    pub(crate) items_max: usize,
    /// Their bytes. A single item may exceed it.
    pub(crate) bytes_max: usize,
}

/// Who offers something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A client: it may fill half.
    Client,
    /// Another node.
    Peer,
}

/// A queue that is emptied by being taken whole.
#[derive(Debug)]
pub(crate) struct Inbox<T> {
    bounds: InboxBounds,
    /// Guards what waits; held to add one item or to take all.
    waiting: Mutex<Waiting<T>>,
    arrived: Condvar,
}

#[derive(Debug)]
struct Waiting<T> {
    items: Vec<T>,
    offered: usize,
    offered_bytes: usize,
    /// Whether the taker sleeps, so that only then somebody pays for waking it.
    taker_sleeps: bool,
}

impl<T> Inbox<T> {
    /// An empty inbox.
    pub(crate) fn new(bounds: InboxBounds) -> Self {
        let waiting = Waiting {
            items: Vec::new(),
            offered: 0,
            offered_bytes: 0,
            taker_sleeps: false,
        };
        Self {
            bounds,
            waiting: Mutex::new(waiting),
            arrived: Condvar::new(),
        }
    }

    /// Adds something from outside, which came in so many bytes; returns it if too much waits.
    pub(crate) fn offer(&self, origin: Origin, item: T, bytes: usize) -> Result<(), T> {
        let bounds = match origin {
            Origin::Peer => self.bounds,
            Origin::Client => InboxBounds {
                items_max: self.bounds.items_max.div_ceil(2),
                bytes_max: self.bounds.bytes_max.div_ceil(2),
            },
        };
        let mut waiting = self.lock();
        let total = waiting.offered_bytes.saturating_add(bytes);
        let too_many = waiting.offered >= bounds.items_max;
        if too_many || (waiting.offered > 0 && total > bounds.bytes_max) {
            return Err(item);
        }
        waiting.offered += 1;
        waiting.offered_bytes = total;
        self.add(waiting, item);
        Ok(())
    }

    /// Adds something that the node itself says.
    pub(crate) fn push(&self, item: T) {
        self.add(self.lock(), item);
    }

    /// Moves all that waits into `items`, which is empty, once there is something or it is `until`.
    pub(crate) fn take(&self, until: Option<Instant>, items: &mut Vec<T>) {
        let mut waiting = self.lock();
        while waiting.items.is_empty() {
            waiting.taker_sleeps = true;
            waiting = match until {
                None => self
                    .arrived
                    .wait(waiting)
                    .unwrap_or_else(PoisonError::into_inner),
                Some(until) => {
                    let left = until.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        break;
                    }
                    self.arrived
                        .wait_timeout(waiting, left)
                        .unwrap_or_else(PoisonError::into_inner)
                        .0
                }
            };
        }
        waiting.taker_sleeps = false;
        waiting.offered = 0;
        waiting.offered_bytes = 0;
        std::mem::swap(&mut waiting.items, items);
    }

    fn add(&self, mut waiting: MutexGuard<'_, Waiting<T>>, item: T) {
        waiting.items.push(item);
        let wake = std::mem::take(&mut waiting.taker_sleeps);
        drop(waiting);
        if wake {
            self.arrived.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting<T>> {
        // Items are whole: a panic elsewhere leaves nothing half done here.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    const BOUNDS: InboxBounds = InboxBounds {
        items_max: 2,
        bytes_max: 100,
    };

    fn taken(inbox: &Inbox<u32>) -> Vec<u32> {
        let mut items = Vec::new();
        inbox.take(Some(Instant::now()), &mut items);
        items
    }

    #[test]
    fn what_is_offered_is_bounded_by_count_and_bytes_and_what_is_pushed_is_not() {
        let inbox = Inbox::new(BOUNDS);
        assert_eq!(inbox.offer(Origin::Peer, 1, 60), Ok(()));
        assert_eq!(inbox.offer(Origin::Peer, 2, 41), Err(2));
        assert_eq!(inbox.offer(Origin::Peer, 3, 40), Ok(()));
        assert_eq!(inbox.offer(Origin::Peer, 4, 0), Err(4));
        inbox.push(5);
        assert_eq!(taken(&inbox), [1, 3, 5]);
        let single = inbox.offer(Origin::Client, 6, 1000);
        assert_eq!(single, Ok(()), "a single item may be large");
        assert_eq!(taken(&inbox), [6]);
        assert_eq!(taken(&inbox), [0; 0]);
    }

    #[test]
    fn clients_are_refused_before_peers_are() {
        let inbox = Inbox::new(BOUNDS);
        assert_eq!(inbox.offer(Origin::Client, 1, 1), Ok(()));
        assert_eq!(inbox.offer(Origin::Client, 2, 1), Err(2));
        assert_eq!(inbox.offer(Origin::Peer, 3, 1), Ok(()));
        assert_eq!(taken(&inbox), [1, 3]);
    }

    #[test]
    fn a_sleeping_taker_is_woken() {
        let inbox = Arc::new(Inbox::new(BOUNDS));
        let taker = {
            let inbox = Arc::clone(&inbox);
            std::thread::spawn(move || {
                let mut items = Vec::new();
                inbox.take(None, &mut items);
                items
            })
        };
        inbox.push(7);
        assert_eq!(taker.join().unwrap(), [7]);
    }
}
