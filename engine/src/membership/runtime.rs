//! What foca is run with: randomness from our own seed, and a place for what it wants done.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use dunlin_ring::NodeId;
use foca::{Notification, Runtime, Timer};

use super::identity::Life;
use crate::io::Time;

/// The seeded generator in the shape that foca takes.
#[derive(Clone, Debug)]
pub(crate) struct Random(pub(crate) fastrand::Rng);

impl rand_core::TryRng for Random {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(self.0.u32(..))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(self.0.u64(..))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        self.0.fill(bytes);
        Ok(())
    }
}

/// What foca wanted done in one call.
#[derive(Debug, Default)]
pub(crate) struct Wanted {
    pub(crate) sends: Vec<(Life, Bytes)>,
    pub(crate) timers: Vec<(Duration, Timer<Life>)>,
    /// Nodes of which something changed.
    pub(crate) changed: BTreeSet<NodeId>,
    /// Whether it now takes part, as far as it said.
    pub(crate) connected: Option<bool>,
    /// It came back from a mistaken death.
    pub(crate) rejoined: bool,
}

impl Runtime<Life> for Wanted {
    fn notify(&mut self, notification: Notification<'_, Life>) {
        match notification {
            Notification::MemberUp(life) | Notification::MemberDown(life) => {
                self.changed.insert(life.id());
            }
            Notification::Rename(_, life) => {
                self.changed.insert(life.id());
            }
            Notification::Active => self.connected = Some(true),
            Notification::Idle | Notification::Defunct => self.connected = Some(false),
            Notification::Rejoin(_) => {
                self.connected = Some(false);
                self.rejoined = true;
            }
        }
    }

    fn send_to(&mut self, to: Life, data: &[u8]) {
        self.sends.push((to, Bytes::copy_from_slice(data)));
    }

    fn submit_after(&mut self, event: Timer<Life>, after: Duration) {
        self.timers.push((after, event));
    }
}

/// foca's timers, by when they fire and then by when they were set.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    queue: BTreeMap<(Time, u64), Timer<Life>>,
    /// When each dead node is to be forgotten. Only its last death counts: a node that dies and returns
    /// all day would otherwise leave a timer each time.
    forgetting: BTreeMap<NodeId, (Time, u64)>,
    set: u64,
}

impl Timers {
    pub(crate) fn set(&mut self, at: Time, timer: Timer<Life>) {
        self.set += 1;
        let key = (at, self.set);
        if let Timer::RemoveDown(life) = &timer
            && let Some(earlier) = self.forgetting.insert(life.id(), key)
        {
            self.queue.remove(&earlier);
        }
        self.queue.insert(key, timer);
    }

    pub(crate) fn next_at(&self) -> Option<Time> {
        self.queue.keys().next().map(|(at, _)| *at)
    }

    /// The first timer that is due.
    pub(crate) fn due(&mut self, now: Time) -> Option<Timer<Life>> {
        let entry = self.queue.first_entry()?;
        if entry.key().0 > now {
            return None;
        }
        let timer = entry.remove();
        if let Timer::RemoveDown(life) = &timer {
            self.forgetting.remove(&life.id());
        }
        Some(timer)
    }

    /// Moves every timer on by what this node overslept.
    pub(crate) fn postpone(&mut self, by_us: u64) {
        let later = |(at, set): (Time, u64)| (Time(at.0.saturating_add(by_us)), set);
        let queue = std::mem::take(&mut self.queue);
        self.queue = queue.into_iter().map(|(key, t)| (later(key), t)).collect();
        for key in self.forgetting.values_mut() {
            *key = later(*key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timers_fire_in_order_and_those_of_one_moment_as_they_were_set() {
        let mut timers = Timers::default();
        timers.set(Time(20), Timer::PeriodicGossip(1));
        timers.set(Time(10), Timer::PeriodicGossip(2));
        timers.set(Time(20), Timer::PeriodicGossip(3));
        assert_eq!(timers.next_at(), Some(Time(10)));
        timers.postpone(5);
        assert_eq!(timers.next_at(), Some(Time(15)));
        assert_eq!(timers.due(Time(14)), None);
        let fired: Vec<_> = std::iter::from_fn(|| timers.due(Time(25))).collect();
        assert_eq!(fired, [2, 1, 3].map(Timer::PeriodicGossip));
    }

    #[test]
    fn node_that_dies_all_day_is_forgotten_once() {
        let dead = |renewal| Life {
            who: crate::membership::Identity {
                id: NodeId(1),
                name: String::new(),
                address: String::new(),
                incarnation: 0,
                instance: 0,
            }
            .into(),
            renewal,
        };
        let mut timers = Timers::default();
        timers.set(Time(10), Timer::RemoveDown(dead(0)));
        timers.postpone(5);
        timers.set(Time(20), Timer::RemoveDown(dead(1)));
        assert_eq!(timers.due(Time(30)), Some(Timer::RemoveDown(dead(1))));
        assert_eq!(timers.due(Time(30)), None);
    }
}
