//! How many clients are connected, in all and from one address.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How many clients may be connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ConnectionBounds {
    /// In all.
    pub(crate) total_max: usize,
    /// From one address.
    pub(crate) per_address_max: usize,
}

/// Counts connected clients against bounds.
#[derive(Debug)]
pub(crate) struct Census {
    bounds: ConnectionBounds,
    /// Guards the counts, which change together.
    seated: Mutex<Seated>,
}

#[derive(Debug, Default)]
struct Seated {
    total: usize,
    /// Invariant: no count is zero, and they sum to `total`.
    by_address: BTreeMap<IpAddr, usize>,
}

/// A place for one connection; given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Seat {
    census: Arc<Census>,
    address: IpAddr,
}

impl Census {
    pub(crate) fn new(bounds: ConnectionBounds) -> Self {
        Self {
            bounds,
            seated: Mutex::default(),
        }
    }

    /// A place for a connection from that address, if there is one left.
    pub(crate) fn enter(census: &Arc<Self>, address: IpAddr) -> Option<Seat> {
        let mut seated = census.lock();
        let here = seated.by_address.get(&address).copied().unwrap_or(0);
        let full = seated.total >= census.bounds.total_max || here >= census.bounds.per_address_max;
        if full {
            return None;
        }
        seated.total += 1;
        seated.by_address.insert(address, here + 1);
        Some(Seat {
            census: Arc::clone(census),
            address,
        })
    }

    /// How many are connected.
    pub(crate) fn connections(&self) -> usize {
        self.lock().total
    }

    fn lock(&self) -> MutexGuard<'_, Seated> {
        // Held for arithmetic only.
        self.seated.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut seated = self.census.lock();
        seated.total = seated.total.saturating_sub(1);
        let here = seated.by_address.get(&self.address).copied().unwrap_or(0);
        if here > 1 {
            seated.by_address.insert(self.address, here - 1);
        } else {
            seated.by_address.remove(&self.address);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_bounded_in_all_and_by_address_and_come_back() {
        let bounds = ConnectionBounds {
            total_max: 3,
            per_address_max: 2,
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
        assert!(census.lock().by_address.is_empty());
    }
}
