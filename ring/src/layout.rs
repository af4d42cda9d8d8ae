//! A layout: numbered, immutable, and all there is to know about who owns what.
//!
//! ```text
//!              owners (first R)   fallbacks
//! partition 0: [ c  a  d ]        f  b  e     <- one row of `preference`, Q rows in one table
//! partition 1: [ a  b  e ]        d  c  f
//! ```
//!
//! Only operators make a new layout, never a failure. The owner table is decided once, by whoever
//! applies the change, and travels as it is: nodes of different versions can't disagree about it. The
//! order of the fallbacks is derived, by everyone alike.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::error::RingError;
use crate::id::{LayoutNumber, NodeId};
use crate::member::{Member, MemberState, TEXT_BYTES_MAX};
use crate::partition::{PartitionCount, PartitionId};
use crate::place::{Offer, Site, place};
use crate::record::{LayoutRecord, digest};
use crate::walk::{Walk, Walker};

/// The largest N. Sixteen copies of everything outlive any cluster, and owner sets stay small enough
/// to be searched one by one.
pub const REPLICAS_MAX: u8 = 16;

/// The most members of a layout. With Q = 4096 each still owns a dozen copies, and the table of
/// preference takes 32 MiB.
pub const MEMBERS_MAX: usize = 1024;

/// Who owns which partition, under one number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "LayoutRecord", into = "LayoutRecord")]
pub struct Layout {
    number: LayoutNumber,
    replicas: u8,
    partitions: PartitionCount,
    /// Sorted by id, names and ids distinct, at least one of them active.
    members: Vec<Member>,
    /// Owners of each partition: the smaller of N and the number of active members.
    copies: usize,
    /// How many members are active: the length of each row of `preference`.
    active: usize,
    /// Row after row, each a permutation of the active members, owners first.
    preference: Vec<NodeId>,
    digest: u64,
}

impl Layout {
    /// The layout that a cluster is born with, number 1.
    ///
    /// # Errors
    /// [`RingError`] says which member or number is impossible.
    pub fn first(
        members: Vec<Member>,
        replicas: u8,
        partitions: PartitionCount,
    ) -> Result<Layout, RingError> {
        let members = checked(members, replicas)?;
        let owners = choose_owners(&members, replicas, partitions, |_| &[]);
        Layout::assemble(LayoutNumber(1), members, replicas, partitions, &owners)
    }

    /// The next layout: these members from now on. Every owner that the new shares and zones allow
    /// keeps what it has.
    ///
    /// # Errors
    /// [`RingError`] says which member or number is impossible. This layout is untouched.
    pub fn next(&self, members: Vec<Member>, replicas: u8) -> Result<Layout, RingError> {
        let number = self
            .number
            .0
            .checked_add(1)
            .ok_or(RingError::NumberOutOfRange)?;
        let members = checked(members, replicas)?;
        let owners = choose_owners(&members, replicas, self.partitions, |partition| {
            self.owners(partition)
        });
        Layout::assemble(
            LayoutNumber(number),
            members,
            replicas,
            self.partitions,
            &owners,
        )
    }

    /// These members and owners again, as the layout after `newest`: the way back from a change that
    /// was not finished. `newest` must be of the same cluster.
    ///
    /// # Errors
    /// [`RingError::NumberOutOfRange`] after the last number there is.
    pub fn again_after(&self, newest: LayoutNumber) -> Result<Layout, RingError> {
        let number = newest.0.checked_add(1).ok_or(RingError::NumberOutOfRange)?;
        let mut again = self.clone();
        again.number = LayoutNumber(number);
        let record = LayoutRecord::from(again);
        Layout::assemble(
            record.number,
            record.members,
            record.replicas,
            record.partitions,
            &record.owners,
        )
    }

    /// Builds a layout from an owner table that may come from elsewhere: positions in `members`,
    /// partition by partition.
    pub(crate) fn assemble(
        number: LayoutNumber,
        members: Vec<Member>,
        replicas: u8,
        partitions: PartitionCount,
        owners: &[u16],
    ) -> Result<Layout, RingError> {
        if number.0 == 0 {
            return Err(RingError::NumberOutOfRange);
        }
        let members = checked(members, replicas)?;
        let sites = Sites::new(&members);
        let (active, copies) = (sites.positions.len(), sites.copies(replicas));
        let expected = copies * usize::from(partitions.get());
        if owners.len() != expected {
            return Err(RingError::OwnerTableSize {
                entries: owners.len(),
                expected,
            });
        }
        let digest = digest(number, replicas, partitions, &members, owners);
        let mut preference = Vec::with_capacity(active * usize::from(partitions.get()));
        for (partition, row) in partitions.iter().zip(owners.chunks_exact(copies)) {
            let row = checked_owners(&members, row)?;
            let walk = sites.walk.from(partitions.start_of(partition));
            let fallbacks = fallbacks(&sites, &row, &walk);
            preference.extend(
                row.iter()
                    .chain(&fallbacks)
                    .map(|position| members[*position].id),
            );
        }
        Ok(Layout {
            number,
            replicas,
            partitions,
            members,
            copies,
            active,
            preference,
            digest,
        })
    }

    /// Which layout this is.
    #[must_use]
    pub fn number(&self) -> LayoutNumber {
        self.number
    }

    /// Q, the same in all layouts of a cluster.
    #[must_use]
    pub fn partitions(&self) -> PartitionCount {
        self.partitions
    }

    /// N, as asked for. A cluster of fewer active members has fewer owners.
    #[must_use]
    pub fn replicas(&self) -> u8 {
        self.replicas
    }

    /// All members, leaving ones too, sorted by id.
    #[must_use]
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// The member of that id.
    #[must_use]
    pub fn member(&self, node: NodeId) -> Option<&Member> {
        self.position(node)
            .and_then(|position| self.members.get(position))
    }

    /// The owners of a partition: N distinct nodes, fewer if the cluster is smaller. Empty for a
    /// partition that does not exist.
    #[must_use]
    pub fn owners(&self, partition: PartitionId) -> &[NodeId] {
        self.preference(partition).get(..self.copies).unwrap_or(&[])
    }

    /// All active members: the owners, then the fallbacks in the order in which they stand in, zones
    /// not yet met first. Empty for a partition that does not exist.
    #[must_use]
    pub fn preference(&self, partition: PartitionId) -> &[NodeId] {
        let start = usize::from(partition.0) * self.active;
        self.preference
            .get(start..start + self.active)
            .unwrap_or(&[])
    }

    /// Whether `node` owns `partition`.
    #[must_use]
    pub fn is_owner(&self, node: NodeId, partition: PartitionId) -> bool {
        self.owners(partition).contains(&node)
    }

    /// The partitions that `node` owns, in ring order.
    pub fn owned_by(&self, node: NodeId) -> impl Iterator<Item = PartitionId> {
        self.partitions
            .iter()
            .filter(move |partition| self.is_owner(node, *partition))
    }

    /// A number that two layouts share only if they are equal, but for collisions of xxh3. Not a
    /// signature: it guards against accidents.
    #[must_use]
    pub fn digest(&self) -> u64 {
        self.digest
    }

    /// Position of a member in [`Layout::members`].
    pub(crate) fn position(&self, node: NodeId) -> Option<usize> {
        self.members
            .binary_search_by_key(&node, |member| member.id)
            .ok()
    }
}

/// The members sorted by id, if they can form a layout.
fn checked(mut members: Vec<Member>, replicas: u8) -> Result<Vec<Member>, RingError> {
    if !(1..=REPLICAS_MAX).contains(&replicas) {
        return Err(RingError::ReplicasOutOfRange { replicas });
    }
    if members.is_empty() {
        return Err(RingError::NoMembers);
    }
    if members.len() > MEMBERS_MAX {
        return Err(RingError::TooManyMembers {
            count: members.len(),
        });
    }
    members.sort_by_key(|member| member.id);
    let mut names = BTreeSet::new();
    let mut previous = None;
    for member in &members {
        if previous == Some(member.id) {
            return Err(RingError::DuplicateId { id: member.id });
        }
        previous = Some(member.id);
        for text in [&member.name, &member.address, &member.zone] {
            if text.len() > TEXT_BYTES_MAX {
                return Err(RingError::TextTooLong {
                    id: member.id,
                    bytes: text.len(),
                });
            }
        }
        if !names.insert(member.name.as_str()) {
            return Err(RingError::DuplicateName {
                name: member.name.clone(),
            });
        }
        if member.capacity == 0 {
            return Err(RingError::ZeroCapacity {
                name: member.name.clone(),
            });
        }
    }
    if members
        .iter()
        .all(|member| member.state == MemberState::Leaving)
    {
        return Err(RingError::NoActiveMember);
    }
    Ok(members)
}

/// One partition's owners as positions, if they are active members and distinct.
fn checked_owners(members: &[Member], row: &[u16]) -> Result<Vec<usize>, RingError> {
    let mut owners = Vec::with_capacity(row.len());
    for index in row {
        let position = usize::from(*index);
        let Some(member) = members.get(position) else {
            return Err(RingError::UnknownOwner {
                index: *index,
                members: members.len(),
            });
        };
        if member.state == MemberState::Leaving {
            return Err(RingError::LeavingOwner { id: member.id });
        }
        if owners.contains(&position) {
            return Err(RingError::RepeatedOwner { id: member.id });
        }
        owners.push(position);
    }
    Ok(owners)
}

/// The owner table for these members, as positions in them.
fn choose_owners<'a>(
    members: &[Member],
    replicas: u8,
    partitions: PartitionCount,
    owners_now: impl Fn(PartitionId) -> &'a [NodeId],
) -> Vec<u16> {
    let sites = Sites::new(members);
    let site_of = |node: &NodeId| {
        sites
            .positions
            .binary_search_by_key(node, |position| members[*position].id)
            .ok()
    };
    let offers: Vec<Offer> = partitions
        .iter()
        .map(|partition| Offer {
            walk: sites.walk.from(partitions.start_of(partition)),
            held: owners_now(partition).iter().filter_map(site_of).collect(),
        })
        .collect();
    place(&sites.sites, sites.copies(replicas), &offers)
        .into_iter()
        .flatten()
        // At most MEMBERS_MAX members.
        .map(|site| sites.positions[site] as u16)
        .collect()
}

/// Everyone who is not an owner, in walk order, but in rounds: nobody comes before a node whose zone
/// has stood in (or owned) fewer times.
fn fallbacks(sites: &Sites, owners: &[usize], walk: &[usize]) -> Vec<usize> {
    let mut met = vec![0; sites.zones];
    for (site, position) in sites.positions.iter().enumerate() {
        if owners.contains(position) {
            met[sites.sites[site].zone] += 1;
        }
    }
    let mut rounds: Vec<(usize, usize)> = Vec::with_capacity(walk.len());
    for site in walk {
        let position = sites.positions[*site];
        if !owners.contains(&position) {
            let round = &mut met[sites.sites[*site].zone];
            rounds.push((*round, position));
            *round += 1;
        }
    }
    rounds.sort_by_key(|(round, _)| *round);
    rounds.into_iter().map(|(_, position)| position).collect()
}

/// The active members, as placement and walk see them.
struct Sites {
    /// Where each is found among the members.
    positions: Vec<usize>,
    sites: Vec<Site>,
    zones: usize,
    walk: Walk,
}

impl Sites {
    fn new(members: &[Member]) -> Sites {
        let positions: Vec<usize> = (0..members.len())
            .filter(|position| members[*position].state == MemberState::Active)
            .collect();
        let zones: Vec<&str> = positions
            .iter()
            .map(|position| members[*position].zone.as_str())
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect();
        let sites = positions
            .iter()
            .map(|position| {
                let member = &members[*position];
                let zone = zones.partition_point(|zone| *zone < member.zone.as_str());
                Site {
                    zone,
                    capacity: member.capacity,
                }
            })
            .collect();
        let walkers: Vec<Walker> = positions
            .iter()
            .map(|position| &members[*position])
            .map(|member| Walker {
                id: member.id,
                capacity: member.capacity,
            })
            .collect();
        Sites {
            positions,
            sites,
            zones: zones.len(),
            walk: Walk::new(&walkers),
        }
    }

    fn copies(&self, replicas: u8) -> usize {
        usize::from(replicas).min(self.positions.len())
    }
}
