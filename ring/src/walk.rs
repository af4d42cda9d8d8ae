//! The walk round the hash ring: in what order a partition meets the nodes.
//!
//! ```text
//! tokens:   a7   c1   b3   a0   b9   c4 ...      sorted; 64 per node of average capacity
//!                ^ partition starts here: meets c, then b, then a
//! ```
//!
//! A token is xxh3 of (node id, number), so a node's tokens never depend on who else is there, and a
//! node that joins or leaves changes only the places where it stands itself. `hashring` sorts and
//! holds them, under a hasher that passes our token through: its own feeds on `derive(Hash)`, whose
//! bytes std does not promise to keep. Its `get_with_replicas` clones the whole ring and repeats
//! nodes; so it is called once, to read the order out, and the order is what we look things up in.
//!
//! Karger et al., *Consistent Hashing and Random Trees* (STOC 1997).

use std::hash::{BuildHasher, Hash, Hasher};

use hashring::HashRing;
use xxhash_rust::xxh3::xxh3_64;

use crate::id::NodeId;

/// Tokens of a node of average capacity. The walk only proposes: loads are bounded by quota, not by
/// how evenly the tokens fall, so more of them would buy nothing but time.
const TOKENS_PER_NODE: u64 = 64;

/// What the walk needs to know of a node.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Walker {
    pub(crate) id: NodeId,
    pub(crate) capacity: u32,
}

/// The tokens of all nodes in ring order, each with the position of its node in the list given.
#[derive(Debug)]
pub(crate) struct Walk {
    tokens: Vec<Token>,
    nodes: usize,
}

impl Walk {
    /// Places every node's tokens. `nodes` must be in one order everywhere (by id): it decides which
    /// of two equal tokens comes first.
    pub(crate) fn new(nodes: &[Walker]) -> Walk {
        let capacity_total: u64 = nodes.iter().map(|node| u64::from(node.capacity)).sum();
        let tokens_total = TOKENS_PER_NODE * nodes.len() as u64;
        let mut all = Vec::new();
        for (position, node) in nodes.iter().enumerate() {
            // Fewer than 2^16 nodes of at most 64 tokens, times a capacity below 2^32.
            let count = tokens_total * u64::from(node.capacity) / capacity_total.max(1);
            all.extend((0..count.max(1)).map(|number| Token::new(node.id, number, position)));
        }
        let mut ring = HashRing::with_hasher(PassThrough);
        ring.batch_add(all);
        // Asked for more than there are, from the ring's beginning: each token once, in order.
        let beginning = Token { value: 0, node: 0 };
        let tokens = ring
            .get_with_replicas(&beginning, usize::MAX)
            .unwrap_or_default();
        Walk {
            tokens,
            nodes: nodes.len(),
        }
    }

    /// Positions of all nodes, in the order in which they are met from `start` on.
    pub(crate) fn from(&self, start: u64) -> Vec<usize> {
        let first = self.tokens.partition_point(|token| token.value < start);
        let (before, after) = self.tokens.split_at(first);
        let mut met = vec![false; self.nodes];
        let mut order = Vec::with_capacity(self.nodes);
        for token in after.iter().chain(before) {
            if order.len() == self.nodes {
                break;
            }
            if !met[token.node] {
                met[token.node] = true;
                order.push(token.node);
            }
        }
        order
    }
}

/// One virtual node.
#[derive(Debug, Clone, Copy)]
struct Token {
    value: u64,
    node: usize,
}

impl Token {
    fn new(id: NodeId, number: u64, node: usize) -> Token {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&id.0.to_be_bytes());
        bytes[8..].copy_from_slice(&number.to_be_bytes());
        Token {
            value: xxh3_64(&bytes),
            node,
        }
    }
}

impl Hash for Token {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.value);
    }
}

/// Builds hashers that return the one `u64` they are fed.
#[derive(Debug, Clone, Copy)]
struct PassThrough;

impl BuildHasher for PassThrough {
    type Hasher = PassedThrough;

    fn build_hasher(&self) -> PassedThrough {
        PassedThrough(0)
    }
}

#[derive(Debug)]
struct PassedThrough(u64);

impl Hasher for PassedThrough {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }

    fn write(&mut self, bytes: &[u8]) {
        // A token feeds one u64 and nothing else; were it to feed bytes, every platform must still
        // see the same value.
        self.0 = xxh3_64(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn walkers(count: u64) -> Vec<Walker> {
        (0..count)
            .map(|id| Walker {
                id: NodeId(id),
                capacity: 1,
            })
            .collect()
    }

    #[test]
    fn every_node_is_met_once_from_everywhere() {
        let walk = Walk::new(&walkers(9));
        for start in [0, 1, u64::MAX / 3, u64::MAX] {
            let mut order = walk.from(start);
            order.sort_unstable();
            assert_eq!(order, (0..9).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_node_that_joins_changes_nothing_but_its_own_place() {
        let before = Walk::new(&walkers(9));
        let after = Walk::new(&walkers(10));
        for start in (0..64).map(|slice| slice << 58) {
            let mut order = after.from(start);
            order.retain(|node| *node != 9);
            assert_eq!(order, before.from(start));
        }
    }

    #[test]
    fn tokens_follow_capacity_and_the_smallest_node_has_one() {
        let nodes = [1, 1_000, 2_000].map(|capacity| Walker {
            id: NodeId(capacity),
            capacity: capacity as u32,
        });
        let walk = Walk::new(&nodes);
        let count = |node| {
            walk.tokens
                .iter()
                .filter(|token| token.node == node)
                .count()
        };
        assert_eq!((count(0), count(1), count(2)), (1, 63, 127));
    }

    #[test]
    fn tokens_are_the_same_on_every_platform() {
        let values = [0, 1, 63].map(|number| Token::new(NodeId(7), number, 0).value);
        assert_eq!(
            values,
            [
                6375500781721296231,
                12125742715039846779,
                18193495391908389945
            ]
        );
    }
}
