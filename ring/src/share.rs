//! How many copies each node is due: whole numbers that follow capacity, and then zones.
//!
//! 1. The fair share of a node is its part of all Q * R copies by capacity. Nobody can hold a
//!    partition twice, so a share ends at Q and the others take up the rest.
//! 2. A zone is due the sum of its nodes. A zone due more than Q copies has to hold some partitions
//!    twice; zones due less than Q may take up to 5 % more than their share to relieve it.
//! 3. Within each zone every node gets its part, rounded down. Who takes the odd copies that rounding
//!    leaves over is not settled here but by placement, which sees what must move: to settle it here
//!    was measured to move up to 1.6 times what a join needs.
//!
//! Hence the bound that everything else relies on: no node takes more than its fair share plus 5 %,
//! rounded up to a whole copy, and with the 5 % only where that relieves a zone.

/// What a node brings to the sharing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sharer {
    pub(crate) zone: usize,
    pub(crate) capacity: u32,
    /// Copies it could keep. Decides only which zone gets the odd copy that rounding leaves over.
    pub(crate) held: u64,
}

/// How many copies there are to share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Copies {
    /// Q.
    pub(crate) partitions: u64,
    /// R: copies of each partition, at most the number of nodes.
    pub(crate) per_partition: u64,
}

/// Whole copies due to each node and zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Quotas {
    pub(crate) nodes: Vec<NodeQuota>,
    /// What each zone holds. Invariant: adds up to exactly Q * R, and each lies between what its
    /// nodes take at least and at most.
    pub(crate) zones: Vec<u64>,
}

/// How many copies a node takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NodeQuota {
    pub(crate) least: u64,
    pub(crate) most: u64,
}

/// How far above its fair share a node may go to relieve a zone: by one part in twenty, 5 %. Capacity
/// is planned with more room than that, and it evens out zones that differ by one node in twenty.
const OVER_PART: u128 = 20;

/// Deals out all copies. `sharers` must number at least `copies.per_partition`, and their zones must
/// be `0..zones`.
pub(crate) fn quotas(sharers: &[Sharer], zones: usize, copies: Copies) -> Quotas {
    let fair = FairShares::new(sharers, copies);
    let zone_quotas = zone_quotas(sharers, zones, copies, &fair);
    let mut weights = vec![0; zones];
    for (sharer, scaled) in sharers.iter().zip(&fair.scaled) {
        weights[sharer.zone] += *scaled;
    }
    let nodes = sharers
        .iter()
        .enumerate()
        .map(|(node, sharer)| {
            let part = u128::from(zone_quotas[sharer.zone]) * fair.scaled[node];
            let weight = weights[sharer.zone].max(1);
            // The zone's own rounding must not lift a node above the bound.
            let bound =
                (fair.scaled[node] * (OVER_PART + 1)).div_ceil(fair.denominator * OVER_PART);
            NodeQuota {
                least: fair.bounded(part / weight),
                most: fair.bounded(part.div_ceil(weight).min(bound)),
            }
        })
        .collect();
    Quotas {
        nodes,
        zones: zone_quotas,
    }
}

/// Rounds once, after relief, so that what is due never depends on who holds what: the same members
/// are due the same again.
fn zone_quotas(sharers: &[Sharer], zones: usize, copies: Copies, fair: &FairShares) -> Vec<u64> {
    let mut dues = vec![Due { scaled: 0, held: 0 }; zones];
    for (sharer, scaled) in sharers.iter().zip(&fair.scaled) {
        let due = &mut dues[sharer.zone];
        due.scaled += scaled * OVER_PART;
        due.held += sharer.held;
    }
    let copy = fair.denominator * OVER_PART;
    let copy = copy * relieve(&mut dues, u128::from(copies.partitions) * copy);
    round(copies.partitions * copies.per_partition, &dues, copy)
}

/// Takes what zones are due above `full`, a copy of each partition, and gives it to those below as far
/// as they have room. Multiplies all dues by the number returned, so that they stay whole.
///
/// The room is the zone's and not its nodes': rounded down for each of many nodes, it would come and
/// go by as many copies at once, and each time that many would move.
fn relieve(dues: &mut [Due], full: u128) -> u128 {
    let excess = |due: &Due| due.scaled.saturating_sub(full);
    let room = |due: &Due| {
        let stretched = due.scaled + due.scaled / OVER_PART;
        stretched.min(full).saturating_sub(due.scaled)
    };
    let excess_total: u128 = dues.iter().map(excess).sum();
    let room_total: u128 = dues.iter().map(room).sum();
    let scale = excess_total.max(room_total).max(1);
    for due in dues {
        // The smaller total changes hands whole, and everybody's part of the larger. Below 2^126: there
        // are at most 2^16 copies, and the denominator stays below 2^42.
        due.scaled = due.scaled * scale + room(due) * excess_total - excess(due) * room_total;
    }
    scale
}

/// Fair shares as fractions with one denominator, so that nothing is rounded before it must be.
pub(crate) struct FairShares {
    scaled: Vec<u128>,
    denominator: u128,
    most: u64,
}

impl FairShares {
    pub(crate) fn new(sharers: &[Sharer], copies: Copies) -> FairShares {
        let most = u128::from(copies.partitions);
        let mut full = vec![false; sharers.len()];
        loop {
            let (mut remaining, mut capacity) = (most * u128::from(copies.per_partition), 0);
            for (sharer, full) in sharers.iter().zip(&full) {
                if *full {
                    remaining -= most;
                } else {
                    capacity += u128::from(sharer.capacity);
                }
            }
            let mut more_are_full = false;
            for (sharer, full) in sharers.iter().zip(&mut full) {
                let over = remaining * u128::from(sharer.capacity) > most * capacity;
                if !*full && over {
                    *full = true;
                    more_are_full = true;
                }
            }
            if !more_are_full {
                let denominator = capacity.max(1);
                let scaled = sharers
                    .iter()
                    .zip(&full)
                    .map(|(sharer, full)| match full {
                        true => most * denominator,
                        false => remaining * u128::from(sharer.capacity),
                    })
                    .collect();
                return FairShares {
                    scaled,
                    denominator,
                    most: copies.partitions,
                };
            }
        }
    }

    /// So many copies, in percent of the fair share of a sharer, rounded up.
    pub(crate) fn percent(&self, sharer: usize, copies: usize) -> u64 {
        let due = self.scaled.get(sharer).map_or(1, |due| (*due).max(1));
        // Below 2^96: at most 2^16 copies, and the denominator stays below 2^42.
        let percent = (copies as u128 * self.denominator * 100).div_ceil(due);
        u64::try_from(percent).unwrap_or(u64::MAX)
    }

    /// Nobody, neither node nor relieved zone, goes above one copy of each partition.
    fn bounded(&self, copies: u128) -> u64 {
        u64::try_from(copies).map_or(self.most, |copies| copies.min(self.most))
    }
}

/// What a zone is due, in parts of a copy.
#[derive(Debug, Clone, Copy)]
struct Due {
    scaled: u128,
    held: u64,
}

/// Rounds dues, of which one copy is `copy` parts and all together are `total` copies, to whole copies.
fn round(total: u64, dues: &[Due], copy: u128) -> Vec<u64> {
    // Nobody is due more than all copies.
    let mut rounded: Vec<u64> = dues.iter().map(|due| (due.scaled / copy) as u64).collect();
    let mut odd: Vec<usize> = (0..dues.len())
        .filter(|index| !dues[*index].scaled.is_multiple_of(copy))
        .collect();
    // An odd copy goes to those due a part of it, and of these first to those that hold that much
    // already (nothing moves), then by how large a part.
    odd.sort_by_key(|index| {
        let due = dues[*index];
        let moves = due.held <= rounded[*index];
        (moves, u128::MAX - due.scaled % copy)
    });
    let left = total - rounded.iter().sum::<u64>();
    for index in odd.into_iter().take(left as usize) {
        rounded[index] += 1;
    }
    rounded
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_sharers() -> impl Strategy<Value = Vec<Sharer>> {
        let capacity = prop_oneof![
            1..=4u32,
            1..=1_000u32,
            any::<u32>().prop_map(|any| any.max(1))
        ];
        let sharer = (0..4usize, capacity, 0..=64u64).prop_map(|(zone, capacity, held)| Sharer {
            zone,
            capacity,
            held,
        });
        prop::collection::vec(sharer, 1..24)
    }

    proptest! {
        #[test]
        fn quotas_add_up_and_can_be_met_whatever_was_held_before(
            sharers in any_sharers(),
            bits in 0..=6u32,
            replicas in 1..=16u64,
        ) {
            let copies = Copies {
                partitions: 1 << bits,
                per_partition: replicas.min(sharers.len() as u64),
            };
            let quotas = quotas(&sharers, 4, copies);
            let total: u64 = quotas.zones.iter().sum();
            prop_assert_eq!(total, copies.partitions * copies.per_partition);
            for (zone, quota) in quotas.zones.iter().enumerate() {
                let of_zone = || {
                    sharers.iter().zip(&quotas.nodes).filter(|(node, _)| node.zone == zone)
                };
                let least: u64 = of_zone().map(|(_, quota)| quota.least).sum();
                let most: u64 = of_zone().map(|(_, quota)| quota.most).sum();
                prop_assert!((least..=most).contains(quota), "{least} <= {quota} <= {most}");
            }
            for quota in &quotas.nodes {
                prop_assert!(quota.least <= quota.most && quota.most <= copies.partitions);
            }
        }
    }

    fn due(scaled: u128, held: u64) -> Due {
        Due { scaled, held }
    }

    #[test]
    fn an_odd_copy_stays_where_it_was() {
        assert_eq!(round(7, &[due(7, 3), due(7, 4)], 2), [3, 4]);
        assert_eq!(round(7, &[due(7, 4), due(7, 3)], 2), [4, 3]);
    }

    #[test]
    fn who_is_due_whole_copies_gets_no_odd_one_for_having_held_more() {
        assert_eq!(round(5, &[due(4, 9), due(3, 0), due(3, 0)], 2), [2, 2, 1]);
    }

    #[test]
    fn relief_takes_from_the_full_and_gives_by_room() {
        // Due 130, 100 and 70 of 100: room is 3.5, in the last zone alone.
        let mut dues = [2600, 2000, 1400].map(|scaled| due(scaled, 0));
        let scale = relieve(&mut dues, 2000);
        let relieved = dues.map(|due| due.scaled / scale);
        assert_eq!(relieved, [2530, 2000, 1470]);
        // And of 102, 99 and 99 all that is above goes, half to each.
        let mut dues = [2040, 1980, 1980].map(|scaled| due(scaled, 0));
        let scale = relieve(&mut dues, 2000);
        assert_eq!(dues.map(|due| due.scaled / scale), [2000, 2000, 2000]);
    }

    #[test]
    fn the_widest_capacities_do_not_overflow() {
        let mut sharers = vec![
            Sharer {
                zone: 0,
                capacity: u32::MAX,
                held: 0,
            };
            1024
        ];
        sharers[1000].zone = 1;
        sharers.truncate(1001);
        for sharer in &mut sharers[600..1000] {
            sharer.zone = 2;
        }
        let copies = Copies {
            partitions: 4096,
            per_partition: 16,
        };
        let quotas = quotas(&sharers, 3, copies);
        assert_eq!(quotas.zones.iter().sum::<u64>(), 4096 * 16);
    }

    #[test]
    fn a_node_of_most_of_the_capacity_ends_at_one_copy_of_each_partition() {
        let sharers = [100, 1, 1].map(|capacity| Sharer {
            zone: 0,
            capacity,
            held: 0,
        });
        let quotas = quotas(
            &sharers,
            1,
            Copies {
                partitions: 64,
                per_partition: 2,
            },
        );
        let least: Vec<u64> = quotas.nodes.iter().map(|quota| quota.least).collect();
        assert_eq!(least, [64, 32, 32]);
    }
}
