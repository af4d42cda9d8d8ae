//! How many are connected, in all and from one place: clients from an address, or connections of a node.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How many may be connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ConnectionBounds {
    /// In all.
    pub(crate) total_max: usize,
    /// From one place.
    pub(crate) per_place_max: usize,
}

/// Counts who is connected against bounds.
#[derive(Debug)]
pub(crate) struct Census<P: Ord + Copy> {
    bounds: ConnectionBounds,
    /// Guards the counts, which change together.
    seated: Mutex<Seated<P>>,
}

#[derive(Debug)]
struct Seated<P> {
    total: usize,
    /// Invariant: no count is zero, and they sum to `total`.
    by_place: BTreeMap<P, usize>,
}

/// A seat for one connection; given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Seat<P: Ord + Copy> {
    census: Arc<Census<P>>,
    place: P,
}

impl<P: Ord + Copy> Census<P> {
    pub(crate) fn new(bounds: ConnectionBounds) -> Self {
        Self {
            bounds,
            seated: Mutex::new(Seated {
                total: 0,
                by_place: BTreeMap::new(),
            }),
        }
    }

    /// A seat for a connection from that place, if there is one left.
    pub(crate) fn enter(census: &Arc<Self>, place: P) -> Option<Seat<P>> {
        let mut seated = census.lock();
        let here = seated.by_place.get(&place).copied().unwrap_or(0);
        let full = seated.total >= census.bounds.total_max || here >= census.bounds.per_place_max;
        if full {
            return None;
        }
        seated.total += 1;
        seated.by_place.insert(place, here + 1);
        Some(Seat {
            census: Arc::clone(census),
            place,
        })
    }

    /// How many are connected.
    pub(crate) fn connections(&self) -> usize {
        self.lock().total
    }

    fn lock(&self) -> MutexGuard<'_, Seated<P>> {
        // Held for arithmetic only.
        self.seated.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<P: Ord + Copy> Drop for Seat<P> {
    fn drop(&mut self) {
        let mut seated = self.census.lock();
        seated.total = seated.total.saturating_sub(1);
        let here = seated.by_place.get(&self.place).copied().unwrap_or(0);
        if here > 1 {
            seated.by_place.insert(self.place, here - 1);
        } else {
            seated.by_place.remove(&self.place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::IpAddr;

    #[test]
    fn places_are_bounded_in_all_and_by_place_and_come_back() {
        let bounds = ConnectionBounds {
            total_max: 3,
            per_place_max: 2,
        };
        let census = Arc::new(Census::new(bounds));
        let (here, there): (IpAddr, IpAddr) = ([127, 0, 0, 1].into(), [127, 0, 0, 2].into());
        let first = Census::enter(&census, here).unwrap();
        let second = Census::enter(&census, here).unwrap();
        assert!(Census::enter(&census, here).is_none(), "two are the most");
        let third = Census::enter(&census, there).unwrap();
        assert!(Census::enter(&census, there).is_none(), "three in all");
        drop(first);
        let fourth = Census::enter(&census, there).unwrap();
        drop((second, third, fourth));
        assert_eq!(census.connections(), 0);
        assert!(census.lock().by_place.is_empty());
    }
}
