//! From staged changes to the next layout.

use dunlin_protocol::cluster::{Change, StagedChange};
use dunlin_ring::{Layout, Member, MemberState, NodeId, RingError};
use thiserror::Error;

/// Why staged changes make no layout.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum StagingError {
    #[error("nothing is staged")]
    Nothing,
    #[error("node {0} is no member")]
    NoMember(NodeId),
    #[error("{name} is a member already")]
    Member { name: String },
    #[error(
        "{left} nodes would be left to keep {replicas} copies of everything: add nodes, or lower N first \
         (`dunlin cluster n`)"
    )]
    TooFew { left: usize, replicas: u8 },
    #[error(transparent)]
    Ring(#[from] RingError),
}

/// The layout after `newest` with these changes, given in the order in which they were staged.
///
/// Members that left under `newest` are dropped from the list: they own nothing since.
pub(crate) fn next_layout<'a>(
    newest: &Layout,
    staged: impl Iterator<Item = &'a StagedChange>,
) -> Result<Layout, StagingError> {
    let mut members = newest.members().to_vec();
    members.retain(|member| member.state == MemberState::Active);
    let mut replicas = newest.replicas();
    let active_before = members.len();
    let mut any = false;
    for staged in staged {
        any = true;
        apply(&mut members, &mut replicas, &staged.change)?;
    }
    if !any {
        return Err(StagingError::Nothing);
    }
    let left = active(&members);
    let fewer = left < active_before || replicas > newest.replicas();
    if fewer && left < usize::from(replicas) {
        return Err(StagingError::TooFew { left, replicas });
    }
    Ok(newest.next(members, replicas)?)
}

fn active(members: &[Member]) -> usize {
    let active = |member: &&Member| member.state == MemberState::Active;
    members.iter().filter(active).count()
}

fn apply(
    members: &mut Vec<Member>,
    replicas: &mut u8,
    change: &Change,
) -> Result<(), StagingError> {
    match change {
        Change::Join(member) => join(members, member)?,
        Change::Leave(node) => member_mut(members, *node)?.state = MemberState::Leaving,
        Change::Replace { old, new } => {
            member_mut(members, *old)?.state = MemberState::Leaving;
            join(members, new)?;
        }
        Change::Zone { node, zone } => member_mut(members, *node)?.zone.clone_from(zone),
        Change::Capacity { node, capacity } => member_mut(members, *node)?.capacity = *capacity,
        Change::Replicas(n) => *replicas = *n,
    }
    Ok(())
}

fn join(members: &mut Vec<Member>, new: &Member) -> Result<(), StagingError> {
    match members.iter_mut().find(|member| member.id == new.id) {
        None => members.push(new.clone()),
        Some(leaving) if leaving.state == MemberState::Leaving => leaving.clone_from(new),
        Some(member) => {
            let name = member.name.clone();
            return Err(StagingError::Member { name });
        }
    }
    Ok(())
}

fn member_mut(members: &mut [Member], node: NodeId) -> Result<&mut Member, StagingError> {
    let mut members = members.iter_mut();
    let found = members.find(|member| member.id == node);
    found.ok_or(StagingError::NoMember(node))
}

#[cfg(test)]
mod tests {
    use dunlin_crdt::Hlc;
    use dunlin_protocol::cluster::ChangeId;
    use dunlin_ring::PartitionCount;

    use super::*;

    fn member(number: u64) -> Member {
        Member {
            id: NodeId(number),
            name: format!("n{number}"),
            address: format!("n{number}.example:7400"),
            zone: "z".to_owned(),
            capacity: 1,
            state: MemberState::Active,
        }
    }

    fn layout(nodes: u64, replicas: u8) -> Layout {
        let partitions = PartitionCount::new(16).unwrap();
        Layout::first((1..=nodes).map(member).collect(), replicas, partitions).unwrap()
    }

    fn staged(changes: impl IntoIterator<Item = Change>) -> Vec<StagedChange> {
        let numbered = changes.into_iter().enumerate();
        numbered
            .map(|(number, change)| StagedChange {
                id: ChangeId(number as u64),
                staged: Hlc::default(),
                change,
                cancelled: false,
            })
            .collect()
    }

    fn next(
        newest: &Layout,
        changes: impl IntoIterator<Item = Change>,
    ) -> Result<Layout, StagingError> {
        next_layout(newest, staged(changes).iter())
    }

    #[test]
    fn a_replaced_node_leaves_and_the_new_one_takes_its_place() {
        let before = layout(4, 3);
        let (old, new) = (NodeId(2), member(9));
        let after = next(&before, [Change::Replace { old, new }]).unwrap();
        assert_eq!(after.owned_by(old).count(), 0);
        let kept = |node| {
            before
                .owned_by(node)
                .all(|partition| after.is_owner(node, partition))
        };
        assert!([1, 3, 4].map(NodeId).into_iter().all(kept));
        assert_eq!(
            after.owned_by(NodeId(9)).count(),
            before.owned_by(old).count()
        );
    }

    #[test]
    fn who_has_left_is_forgotten_by_the_change_after() {
        let left = next(&layout(4, 3), [Change::Leave(NodeId(4))]).unwrap();
        assert!(left.member(NodeId(4)).is_some());
        let (node, capacity) = (NodeId(1), 2);
        let after = next(&left, [Change::Capacity { node, capacity }]).unwrap();
        assert_eq!(after.member(NodeId(4)), None);
    }

    #[test]
    fn fewer_nodes_than_copies_are_refused_unless_there_were_no_more_before() {
        let refused = StagingError::TooFew {
            left: 2,
            replicas: 3,
        };
        let leave = |node| Change::Leave(NodeId(node));
        assert_eq!(next(&layout(3, 3), [leave(1)]), Err(refused));
        let lowered = next(&layout(3, 3), [leave(1), Change::Replicas(2)]);
        assert_eq!(lowered.unwrap().replicas(), 2);
        let refused = StagingError::TooFew {
            left: 3,
            replicas: 5,
        };
        assert_eq!(next(&layout(3, 3), [Change::Replicas(5)]), Err(refused));
        let grown = next(&layout(1, 3), [Change::Join(member(2))]);
        assert_eq!(grown.unwrap().owners(dunlin_ring::PartitionId(0)).len(), 2);
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_the_reason() {
        let nobody = NodeId(77);
        assert_eq!(next(&layout(3, 3), []), Err(StagingError::Nothing));
        assert_eq!(
            next(&layout(3, 3), [Change::Leave(nobody)]),
            Err(StagingError::NoMember(nobody))
        );
        let name = "n1".to_owned();
        assert_eq!(
            next(&layout(3, 3), [Change::Join(member(1))]),
            Err(StagingError::Member { name })
        );
        let zero = Change::Capacity {
            node: NodeId(1),
            capacity: 0,
        };
        assert!(matches!(
            next(&layout(3, 3), [zero]),
            Err(StagingError::Ring(_))
        ));
    }
}
