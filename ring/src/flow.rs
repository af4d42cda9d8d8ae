//! Maximum flow in a small network: the exact answer to "who can take which copy".
//!
//! Dinic's algorithm: label vertices by distance from the source, then push along paths that go one
//! label further with each arc, until none is left; repeat while the sink can be reached. What flows
//! already stays unless a shorter way to more flow needs it gone, and of equal ways the arc that was
//! added first wins. So callers express preference by order, and keep things by letting them flow
//! before the alternatives are added.
//!
//! Dinitz, *Algorithm for solution of a problem of maximum flow in networks with power estimation*
//! (1970).

/// A vertex, as returned by [`Network::vertex`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Vertex(usize);

/// An arc, as returned by [`Network::arc`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Arc(usize);

#[derive(Debug)]
struct HalfArc {
    to: usize,
    /// Capacity not yet used; of the reverse half, the flow that can be taken back.
    left: u64,
}

/// Vertices and arcs, with the flow found so far.
#[derive(Debug, Default)]
pub(crate) struct Network {
    /// Arc `2k` and its reverse `2k + 1`.
    halves: Vec<HalfArc>,
    leaving: Vec<Vec<usize>>,
}

const UNREACHED: usize = usize::MAX;

impl Network {
    /// Adds a vertex.
    pub(crate) fn vertex(&mut self) -> Vertex {
        self.leaving.push(Vec::new());
        Vertex(self.leaving.len() - 1)
    }

    /// Adds an arc that `capacity` can flow through.
    pub(crate) fn arc(&mut self, from: Vertex, to: Vertex, capacity: u64) -> Arc {
        let forward = self.halves.len();
        self.halves.push(HalfArc {
            to: to.0,
            left: capacity,
        });
        self.halves.push(HalfArc {
            to: from.0,
            left: 0,
        });
        self.leaving[from.0].push(forward);
        self.leaving[to.0].push(forward + 1);
        Arc(forward)
    }

    /// How much flows through `arc`.
    pub(crate) fn flow(&self, arc: Arc) -> u64 {
        self.halves[arc.0 + 1].left
    }

    /// Raises the flow from `source` to `sink` as far as it goes, and returns by how much.
    pub(crate) fn maximise(&mut self, source: Vertex, sink: Vertex) -> u64 {
        let mut added = 0;
        while let Some(distance) = self.distances(source, sink) {
            let mut untried = vec![0; self.leaving.len()];
            while let Some(path) = self.path(source, sink, &distance, &mut untried) {
                added += self.push(&path);
            }
        }
        added
    }

    /// Each vertex's distance from the source, if the sink can be reached at all.
    fn distances(&self, source: Vertex, sink: Vertex) -> Option<Vec<usize>> {
        let mut distance = vec![UNREACHED; self.leaving.len()];
        distance[source.0] = 0;
        let mut frontier = vec![source.0];
        while !frontier.is_empty() && distance[sink.0] == UNREACHED {
            let mut next = Vec::new();
            for vertex in frontier {
                for half in &self.leaving[vertex] {
                    let HalfArc { to, left } = self.halves[*half];
                    if left > 0 && distance[to] == UNREACHED {
                        distance[to] = distance[vertex] + 1;
                        next.push(to);
                    }
                }
            }
            frontier = next;
        }
        (distance[sink.0] != UNREACHED).then_some(distance)
    }

    /// A path of arcs that each lead one step further. `untried` says how many arcs of each vertex
    /// have turned out to lead nowhere in this round.
    fn path(
        &self,
        source: Vertex,
        sink: Vertex,
        distance: &[usize],
        untried: &mut [usize],
    ) -> Option<Vec<usize>> {
        let mut path: Vec<usize> = Vec::new();
        let mut here = source.0;
        while here != sink.0 {
            match self.leaving[here].get(untried[here]) {
                Some(half) => {
                    let HalfArc { to, left } = self.halves[*half];
                    if left > 0 && distance[to] == distance[here] + 1 {
                        path.push(*half);
                        here = to;
                    } else {
                        untried[here] += 1;
                    }
                }
                None => {
                    let back = path.pop()?;
                    here = self.halves[back ^ 1].to;
                    untried[here] += 1;
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
