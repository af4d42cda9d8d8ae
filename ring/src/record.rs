//! What of a layout is written down, and its digest.
//!
//! Members and owner table are written; the preference order is derived when it is read. A record
//! from outside goes through every check that a new layout does, and then its digest must agree, so
//! that a table which is possible but not the one written is refused too.

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3;

use crate::error::RingError;
use crate::id::LayoutNumber;
use crate::layout::Layout;
use crate::member::{Member, MemberState};
use crate::partition::PartitionCount;

/// The form of [`digest`]'s input. Raise it when that changes.
const DIGEST_VERSION: u8 = 1;

/// A layout as it is stored and sent.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct LayoutRecord {
    pub(crate) number: LayoutNumber,
    pub(crate) replicas: u8,
    pub(crate) partitions: PartitionCount,
    pub(crate) members: Vec<Member>,
    /// Positions in `members` sorted by id, partition by partition.
    pub(crate) owners: Vec<u16>,
    digest: u64,
}

impl TryFrom<LayoutRecord> for Layout {
    type Error = RingError;

    fn try_from(record: LayoutRecord) -> Result<Layout, RingError> {
        let LayoutRecord {
            number,
            replicas,
            partitions,
            members,
            owners,
            digest,
        } = record;
        let layout = Layout::assemble(number, members, replicas, partitions, &owners)?;
        if layout.digest() == digest {
            Ok(layout)
        } else {
            Err(RingError::DigestMismatch {
                stated: digest,
                found: layout.digest(),
            })
        }
    }
}

impl From<Layout> for LayoutRecord {
    fn from(layout: Layout) -> LayoutRecord {
        let owners = layout
            .partitions()
            .iter()
            .flat_map(|partition| layout.owners(partition))
            .filter_map(|owner| layout.position(*owner))
            // At most MEMBERS_MAX members.
            .map(|position| position as u16)
            .collect();
        LayoutRecord {
            number: layout.number(),
            replicas: layout.replicas(),
            partitions: layout.partitions(),
            members: layout.members().to_vec(),
            owners,
            digest: layout.digest(),
        }
    }
}

/// xxh3 over every field, integers big-endian, texts and lists behind their length.
pub(crate) fn digest(
    number: LayoutNumber,
    replicas: u8,
    partitions: PartitionCount,
    members: &[Member],
    owners: &[u16],
) -> u64 {
    let mut hasher = Xxh3::new();
    hasher.update(b"dunlin layout");
    hasher.update(&[DIGEST_VERSION, replicas]);
    hasher.update(&number.0.to_be_bytes());
    hasher.update(&partitions.get().to_be_bytes());
    hasher.update(&(members.len() as u64).to_be_bytes());
    for member in members {
        hasher.update(&member.id.0.to_be_bytes());
        for text in [&member.name, &member.address, &member.zone] {
            hasher.update(&(text.len() as u64).to_be_bytes());
            hasher.update(text.as_bytes());
        }
        hasher.update(&member.capacity.to_be_bytes());
        hasher.update(&[match member.state {
            MemberState::Active => 0,
            MemberState::Leaving => 1,
        }]);
    }
    hasher.update(&(owners.len() as u64).to_be_bytes());
    for owner in owners {
        hasher.update(&owner.to_be_bytes());
    }
    hasher.digest()
}
