//! The cheapest maximum flow in a small network: the exact answer to "who can take which copy, and
//! how few must move".
//!
//! The primal-dual method. Distances from the source by price say which arcs lie on a cheapest path;
//! Dinic's algorithm pushes along these alone until no cheapest path is left; the next distances are
//! higher, and so on until the sink is out of reach. Prices here are 0 and 1, so there are few rounds.
//! Of equal ways the arc that was added first wins: callers express preference by order. Everything
//! is whole numbers in vectors, so every platform finds the same flow.
//!
//! Ahuja, Magnanti, Orlin, *Network Flows* (1993), section 9.8.

use std::collections::VecDeque;

/// A vertex, as returned by [`Network::vertex`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Vertex(usize);

/// An arc, as returned by [`Network::arc`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Arc(usize);

#[derive(Debug, Clone, Copy)]
struct HalfArc {
    to: usize,
    /// Capacity not yet used; of the reverse half, the flow that can be taken back.
    left: u64,
    price: i64,
}

/// Vertices and arcs, with the flow found so far.
#[derive(Debug, Default)]
pub(crate) struct Network {
    /// Arc `2k` and its reverse `2k + 1`.
    halves: Vec<HalfArc>,
    leaving: Vec<Vec<usize>>,
}

/// How far each vertex is from the source, if it can be reached.
type Distances<T> = Vec<Option<T>>;

impl Network {
    /// Adds a vertex.
    pub(crate) fn vertex(&mut self) -> Vertex {
        self.leaving.push(Vec::new());
        Vertex(self.leaving.len() - 1)
    }

    /// Adds an arc that `capacity` can flow through at `price` each.
    pub(crate) fn arc(&mut self, from: Vertex, to: Vertex, capacity: u64, price: i64) -> Arc {
        let forward = self.halves.len();
        self.halves.push(HalfArc {
            to: to.0,
            left: capacity,
            price,
        });
        self.halves.push(HalfArc {
            to: from.0,
            left: 0,
            price: -price,
        });
        self.leaving[from.0].push(forward);
        self.leaving[to.0].push(forward + 1);
        Arc(forward)
    }

    /// How much flows through `arc`.
    pub(crate) fn flow(&self, arc: Arc) -> u64 {
        self.halves[arc.0 + 1].left
    }

    /// Raises the flow from `source` to `sink` as far as it goes, at the least price there is, and
    /// returns by how much.
    pub(crate) fn fill(&mut self, source: Vertex, sink: Vertex) -> u64 {
        let mut added = 0;
        loop {
            let prices = self.prices(source);
            if prices[sink.0].is_none() {
                return added;
            }
            while let Some(steps) = self.steps(source, sink, &prices) {
                let mut dead_ends = vec![0; self.leaving.len()];
                while let Some(path) = self.path(source, sink, &steps, &prices, &mut dead_ends) {
                    added += self.push(&path);
                }
            }
        }
    }

    /// The price of the cheapest way from the source to each vertex. Taking flow back has a negative
    /// price, but no way round is negative as long as the flow so far is the cheapest of its size.
    fn prices(&self, source: Vertex) -> Distances<i64> {
        let mut prices: Distances<i64> = vec![None; self.leaving.len()];
        let mut waiting = vec![false; self.leaving.len()];
        let mut queue = VecDeque::from([source.0]);
        prices[source.0] = Some(0);
        while let Some(vertex) = queue.pop_front() {
            waiting[vertex] = false;
            let Some(price_here) = prices[vertex] else {
                continue;
            };
            for half in &self.leaving[vertex] {
                let HalfArc { to, left, price } = self.halves[*half];
                let price = price_here + price;
                if left > 0 && prices[to].is_none_or(|known| price < known) {
                    prices[to] = Some(price);
                    if !waiting[to] {
                        waiting[to] = true;
                        queue.push_back(to);
                    }
                }
            }
        }
        prices
    }

    /// Whether `half`, which leaves `from`, has room and lies on a cheapest way.
    fn is_cheapest(&self, from: usize, half: usize, prices: &[Option<i64>]) -> bool {
        let HalfArc { to, left, price } = self.halves[half];
        left > 0 && prices[from].is_some_and(|here| prices[to] == Some(here + price))
    }

    /// Each vertex's number of steps from the source along cheapest ways, if the sink is on one.
    fn steps(
        &self,
        source: Vertex,
        sink: Vertex,
        prices: &[Option<i64>],
    ) -> Option<Distances<usize>> {
        let mut steps: Distances<usize> = vec![None; self.leaving.len()];
        steps[source.0] = Some(0);
        let mut frontier = vec![source.0];
        let mut step = 0;
        while !frontier.is_empty() && steps[sink.0].is_none() {
            step += 1;
            let mut next = Vec::new();
            for vertex in frontier {
                for half in &self.leaving[vertex] {
                    let to = self.halves[*half].to;
                    if steps[to].is_none() && self.is_cheapest(vertex, *half, prices) {
                        steps[to] = Some(step);
                        next.push(to);
                    }
                }
            }
            frontier = next;
        }
        steps[sink.0].map(|_| steps)
    }

    /// A cheapest path of as few steps as there are. `dead_ends` says how many arcs of each vertex
    /// have turned out to lead nowhere in this round.
    fn path(
        &self,
        source: Vertex,
        sink: Vertex,
        steps: &[Option<usize>],
        prices: &[Option<i64>],
        dead_ends: &mut [usize],
    ) -> Option<Vec<usize>> {
        let mut path: Vec<usize> = Vec::new();
        let mut here = source.0;
        while here != sink.0 {
            match self.leaving[here].get(dead_ends[here]) {
                Some(half) => {
                    let to = self.halves[*half].to;
                    let onwards = steps[to] == steps[here].map(|step| step + 1);
                    if onwards && self.is_cheapest(here, *half, prices) {
                        path.push(*half);
                        here = to;
                    } else {
                        dead_ends[here] += 1;
                    }
                }
                None => {
                    let back = path.pop()?;
                    here = self.halves[back ^ 1].to;
                    dead_ends[here] += 1;
                }
            }
        }
        Some(path)
    }

    /// Sends as much as fits along `path`.
    fn push(&mut self, path: &[usize]) -> u64 {
        let amount = path
            .iter()
            .map(|half| self.halves[*half].left)
            .min()
            .unwrap_or(0);
        for half in path {
            self.halves[*half].left -= amount;
            self.halves[*half ^ 1].left += amount;
        }
        amount
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flow_is_as_large_as_the_narrowest_cut() {
        let mut network = Network::default();
        let [source, left, right, sink] = [(); 4].map(|()| network.vertex());
        network.arc(source, left, 10, 0);
        network.arc(source, right, 10, 0);
        network.arc(left, right, 1, 0);
        network.arc(left, sink, 4, 0);
        network.arc(right, sink, 9, 0);
        assert_eq!(network.fill(source, sink), 13);
    }

    #[test]
    fn of_two_ways_the_cheaper_is_taken_and_of_equals_the_first() {
        let mut network = Network::default();
        let [source, sink] = [(); 2].map(|()| network.vertex());
        let dear = network.arc(source, sink, 1, 1);
        let ways: Vec<(Vertex, Arc)> = (0..3)
            .map(|_| {
                let middle = network.vertex();
                (middle, network.arc(source, middle, 1, 0))
            })
            .collect();
        let gate = network.vertex();
        network.arc(gate, sink, 2, 0);
        for (middle, _) in &ways {
            network.arc(*middle, gate, 1, 0);
        }
        assert_eq!(network.fill(source, sink), 3);
        let flows: Vec<u64> = ways.iter().map(|(_, arc)| network.flow(*arc)).collect();
        assert_eq!((flows, network.flow(dear)), (vec![1, 1, 0], 1));
    }

    #[test]
    fn a_free_choice_is_taken_back_when_that_makes_room() {
        // Both takers are free to the first giver, one of them to the second, which comes later.
        let mut network = Network::default();
        let [source, sink, first, second, both, only] = [(); 6].map(|()| network.vertex());
        network.arc(source, first, 1, 0);
        network.arc(source, second, 1, 0);
        let contested = network.arc(first, both, 1, 0);
        let other = network.arc(first, only, 1, 1);
        let needed = network.arc(second, both, 1, 0);
        network.arc(both, sink, 1, 0);
        network.arc(only, sink, 1, 0);
        assert_eq!(network.fill(source, sink), 2);
        assert_eq!(
            [contested, other, needed].map(|arc| network.flow(arc)),
            [0, 1, 1]
        );
    }
}
