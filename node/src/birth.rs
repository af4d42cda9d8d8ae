//! Which cluster a node belongs to, beyond its name: fixed when the cluster is born.
//!
//! Two clusters of one name and one authority, or one whose founders read different cluster files, would
//! each believe in their own layouts. So nodes compare this id before they talk, and a data directory
//! keeps it for ever. Layouts come and go; what the id is made of does not.

use std::fmt;

use dunlin_client::tls::ClusterName;
use dunlin_protocol::cluster::LayoutId;
use dunlin_ring::PartitionCount;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3;

/// The hash of the cluster's name, of Q and of the layout that it was born with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct BirthId(u64);

impl BirthId {
    /// That of a cluster born with this layout.
    pub(crate) fn of(
        cluster: &ClusterName,
        partitions: PartitionCount,
        founding: &LayoutId,
    ) -> Self {
        let mut hasher = Xxh3::new();
        hasher.update(b"dunlin birth");
        hasher.update(cluster.to_string().as_bytes());
        hasher.update(&partitions.get().to_be_bytes());
        hasher.update(&founding.digest.to_be_bytes());
        Self(hasher.digest())
    }

    /// As it is displayed.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let is_ours = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        u64::from_str_radix(text, 16)
            .ok()
            .filter(|_| is_ours)
            .map(Self)
    }
}

impl fmt::Display for BirthId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dunlin_ring::LayoutNumber;

    #[test]
    fn it_tells_names_partitions_and_founding_layouts_apart() {
        let id = |name: &str, partitions, digest| {
            let founding = LayoutId {
                number: LayoutNumber(1),
                digest,
                ..LayoutId::default()
            };
            let partitions = PartitionCount::new(partitions).unwrap();
            BirthId::of(&ClusterName::new(name).unwrap(), partitions, &founding)
        };
        let first = id("shop", 8, 1);
        assert_eq!(first, id("shop", 8, 1));
        for other in [id("store", 8, 1), id("shop", 16, 1), id("shop", 8, 2)] {
            assert_ne!(first, other);
        }
        assert_eq!(BirthId::parse(&first.to_string()), Some(first));
        assert_eq!(BirthId::parse("+123456789abcdef"), None);
    }
}
