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

/// How far above its fair share a node may go, in percent. Capacity is planned with more room than
/// that, and it is enough to even out zones that differ by one node in twenty.
const OVER_PERCENT: u128 = 5;

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
            NodeQuota {
                least: fair.bounded(part / weight),
                most: fair.bounded(part.div_ceil(weight)),
            }
        })
        .collect();
    Quotas {
        nodes,
        zones: zone_quotas,
    }
}

fn zone_quotas(sharers: &[Sharer], zones: usize, copies: Copies, fair: &FairShares) -> Vec<u64> {
    let mut claims = vec![
        Claim {
            weight: 0,
            most: 0,
            held: 0
        };
        zones
    ];
    for (node, sharer) in sharers.iter().enumerate() {
        let claim = &mut claims[sharer.zone];
        claim.weight += fair.scaled[node];
        claim.most += copies.partitions;
        claim.held += sharer.held;
    }
    let mut quotas = deal(copies.partitions * copies.per_partition, &claims);

    let excess: Vec<Claim> = quotas
        .iter()
        .map(|quota| Claim::plain(quota.saturating_sub(copies.partitions)))
        .collect();
    // By the zone's share and not node by node: rounded down for each of many nodes, the room would
    // come and go by as many copies at once, and each time that many would move.
    let room: Vec<Claim> = quotas
        .iter()
        .zip(&claims)
        .map(|(quota, claim)| {
            let stretched = claim.weight * (100 + OVER_PERCENT) / (100 * fair.denominator);
            Claim::plain(fair.bounded(stretched).saturating_sub(*quota))
        })
        .collect();
    let total = |claims: &[Claim]| claims.iter().map(|claim| claim.most).sum::<u64>();
    let relieved = total(&excess).min(total(&room));
    let moved = deal(relieved, &excess)
        .into_iter()
        .zip(deal(relieved, &room));
    for (quota, (given, taken)) in quotas.iter_mut().zip(moved) {
        *quota = *quota - given + taken;
    }
    quotas
}

/// Fair shares as fractions with one denominator, so that nothing is rounded before it must be.
struct FairShares {
    scaled: Vec<u128>,
    denominator: u128,
    most: u64,
}

impl FairShares {
    fn new(sharers: &[Sharer], copies: Copies) -> FairShares {
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

    /// Nobody, neither node nor relieved zone, goes above one copy of each partition.
    fn bounded(&self, copies: u128) -> u64 {
        u64::try_from(copies).map_or(self.most, |copies| copies.min(self.most))
    }
}

/// One party's claim on a number of whole things.
#[derive(Debug, Clone, Copy)]
struct Claim {
    weight: u128,
    most: u64,
    held: u64,
}

impl Claim {
    fn plain(most: u64) -> Claim {
        Claim {
            weight: u128::from(most),
            most,
            held: 0,
        }
    }
}

/// Splits `total` by weight into whole numbers, nobody above its most. `total` must not exceed what
/// all may take together.
fn deal(total: u64, claims: &[Claim]) -> Vec<u64> {
    let weight_total = claims.iter().map(|claim| claim.weight).sum::<u128>().max(1);
    let mut dealt = Vec::with_capacity(claims.len());
    let mut order = Vec::with_capacity(claims.len());
    for (index, claim) in claims.iter().enumerate() {
        let scaled = u128::from(total) * claim.weight;
        let whole = u64::try_from(scaled / weight_total).map_or(claim.most, |n| n.min(claim.most));
        dealt.push(whole);
        // An odd one goes to those due a part of it, and of these first to those that hold that much
        // already (nothing moves), then by remainder.
        let remainder = scaled % weight_total;
        order.push((
            remainder == 0,
            claim.held <= whole,
            u128::MAX - remainder,
            index,
        ));
    }
    order.sort_unstable();
    let mut left = total - dealt.iter().sum::<u64>();
    let mut given = true;
    while left > 0 && given {
        given = false;
        for (_, _, _, index) in &order {
            if left > 0 && dealt[*index] < claims[*index].most {
                dealt[*index] += 1;
                left -= 1;
                given = true;
            }
        }
    }
    dealt
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

    #[test]
    fn an_odd_copy_stays_where_it_was() {
        let claim = |held| Claim {
            weight: 1,
            most: 10,
            held,
        };
        assert_eq!(deal(7, &[claim(3), claim(4)]), [3, 4]);
        assert_eq!(deal(7, &[claim(4), claim(3)]), [4, 3]);
    }

    #[test]
    fn who_is_due_whole_copies_gets_no_odd_one_for_having_held_more() {
        let claim = |weight, held| Claim {
            weight,
            most: 10,
            held,
        };
        // Due 2, 1.5 and 1.5.
        assert_eq!(deal(5, &[claim(4, 9), claim(3, 0), claim(3, 0)]), [2, 2, 1]);
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
