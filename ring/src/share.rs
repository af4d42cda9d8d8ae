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
//! Hence the bound that everything else relies on: no node takes more than its fair share plus 5 %, or
//! its fair share rounded up to a whole copy, whichever is more.

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
            let most = fair.rounded_up(node).max(fair.stretched(node));
            let zone = u128::from(zone_quotas[sharer.zone]);
            let part = zone * fair.scaled[node] / weights[sharer.zone].max(1);
            NodeQuota {
                least: u64::try_from(part).map_or(most, |part| part.min(most)),
                most,
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
    let mut stretched = vec![0; zones];
    for (node, sharer) in sharers.iter().enumerate() {
        let claim = &mut claims[sharer.zone];
        claim.weight += fair.scaled[node];
        claim.most += copies.partitions;
        claim.held += sharer.held;
        stretched[sharer.zone] += fair.stretched(node);
    }
    let mut quotas = deal(copies.partitions * copies.per_partition, &claims);

    let excess: Vec<Claim> = quotas
        .iter()
        .map(|quota| Claim::plain(quota.saturating_sub(copies.partitions)))
        .collect();
    let room: Vec<Claim> = quotas
        .iter()
        .zip(&stretched)
        .map(|(quota, stretched)| {
            Claim::plain((*stretched).min(copies.partitions).saturating_sub(*quota))
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

    fn rounded_up(&self, node: usize) -> u64 {
        self.bounded(self.scaled[node].div_ceil(self.denominator))
    }

    /// The share and 5 % more, in whole copies.
    fn stretched(&self, node: usize) -> u64 {
        self.bounded(self.scaled[node] * (100 + OVER_PERCENT) / (100 * self.denominator))
    }

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
        // Odd ones go to those who hold that much already (nothing moves), then by remainder.
        order.push((
            claim.held <= whole,
            u128::MAX - scaled % weight_total,
            index,
        ));
    }
    order.sort_unstable();
    let mut left = total - dealt.iter().sum::<u64>();
    let mut given = true;
    while left > 0 && given {
        given = false;
        for (_, _, index) in &order {
            if left > 0 && dealt[*index] < claims[*index].most {
                dealt[*index] += 1;
                left -= 1;
                given = true;
            }
        }
    }
    dealt
}
