//! Placement: which nodes own each partition.
//!
//! ```text
//!          R          one per base copy        1        quota
//! source ───> partition ──────────────> (partition, zone) ───> node ───> sink
//!                 └──> extra ──────────>       1
//! ```
//!
//! Quotas say how many copies a node takes (`share`); what is left is who takes which. That is a flow
//! through the network above. A zone due `b * Q + e` copies holds every partition `b` times (its base
//! copies) and `e` partitions once more, never twice more: no spread of the same quotas is wider.
//! A copy that stays is free and one that moves has a price, so the cheapest flow moves the fewest;
//! of equal ones it takes the node that the partition's walk meets first.
//!
//! It always works out: handing each node `quota / Q` of every partition meets all limits in
//! fractions, and a network with whole capacities then has a whole solution.

use crate::flow::{Arc, Network, Vertex};
use crate::share::{Copies, Quotas, Sharer, quotas};

const KEEPING: i64 = 0;
const MOVING: i64 = 1;

/// One node that may own partitions.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Site {
    pub(crate) zone: usize,
    pub(crate) capacity: u32,
}

/// Who could own one partition, by position in the list of sites.
#[derive(Debug, Clone)]
pub(crate) struct Offer {
    /// All sites, in the order of this partition's walk.
    pub(crate) walk: Vec<usize>,
    /// Those that own it now and could keep it.
    pub(crate) held: Vec<usize>,
}

/// Chooses `per_partition` distinct owners for every partition, in walk order.
///
/// `per_partition` must not exceed the number of sites.
pub(crate) fn place(sites: &[Site], per_partition: usize, offers: &[Offer]) -> Vec<Vec<usize>> {
    let zones = sites.iter().map(|site| site.zone + 1).max().unwrap_or(0);
    let mut held = vec![0; sites.len()];
    for site in offers.iter().flat_map(|offer| &offer.held) {
        held[*site] += 1;
    }
    let sharers: Vec<Sharer> = sites
        .iter()
        .zip(held)
        .map(|(site, held)| Sharer {
            zone: site.zone,
            capacity: site.capacity,
            held,
        })
        .collect();
    let copies = Copies {
        partitions: offers.len() as u64,
        per_partition: per_partition as u64,
    };
    let quotas = quotas(&sharers, zones, copies);
    Filling::new(sites, copies, &quotas, offers).fill()
}

/// The network, half built: everything but who may take which partition.
struct Filling<'a> {
    sites: &'a [Site],
    offers: &'a [Offer],
    /// Q * R.
    copies: u64,
    network: Network,
    source: Vertex,
    sink: Vertex,
    nodes: Vec<Vertex>,
    /// `(partition, zone)`, partition by partition.
    places: Vec<Vec<Vertex>>,
}

impl Filling<'_> {
    fn new<'a>(
        sites: &'a [Site],
        copies: Copies,
        quotas: &Quotas,
        offers: &'a [Offer],
    ) -> Filling<'a> {
        let mut network = Network::default();
        let source = network.vertex();
        let sink = network.vertex();
        let mut odd = quotas.zones.clone();
        for (site, quota) in sites.iter().zip(&quotas.nodes) {
            odd[site.zone] -= quota.least;
        }
        let odd: Vec<Vertex> = odd
            .into_iter()
            .map(|left| {
                let pool = network.vertex();
                network.arc(pool, sink, left, 0);
                pool
            })
            .collect();
        let nodes = sites
            .iter()
            .zip(&quotas.nodes)
            .map(|(site, quota)| {
                let node = network.vertex();
                network.arc(node, sink, quota.least, 0);
                network.arc(node, odd[site.zone], quota.most - quota.least, 0);
                node
            })
            .collect();
        let base: Vec<u64> = quotas
            .zones
            .iter()
            .map(|quota| quota / copies.partitions)
            .collect();
        let base_total: u64 = base.iter().sum();
        let mut places = Vec::with_capacity(offers.len());
        for offer in offers {
            let partition = network.vertex();
            let extra = network.vertex();
            network.arc(source, partition, copies.per_partition, 0);
            let of_zones: Vec<Vertex> = base.iter().map(|_| network.vertex()).collect();
            for zone in zones_in_order(sites, offer) {
                network.arc(partition, of_zones[zone], base[zone], 0);
                network.arc(extra, of_zones[zone], 1, 0);
            }
            network.arc(partition, extra, copies.per_partition - base_total, 0);
            places.push(of_zones);
        }
        let copies = copies.partitions * copies.per_partition;
        Filling {
            sites,
            offers,
            copies,
            network,
            source,
            sink,
            nodes,
            places,
        }
    }

    fn fill(mut self) -> Vec<Vec<usize>> {
        let mut arcs = Vec::with_capacity(self.offers.len());
        for (places, offer) in self.places.iter().zip(self.offers) {
            let mut of_partition = Vec::with_capacity(offer.walk.len());
            for site in &offer.walk {
                let place = places[self.sites[*site].zone];
                let price = if offer.held.contains(site) {
                    KEEPING
                } else {
                    MOVING
                };
                of_partition.push((*site, self.network.arc(place, self.nodes[*site], 1, price)));
            }
            arcs.push(of_partition);
        }
        let filled = self.network.fill(self.source, self.sink);
        assert_eq!(
            filled, self.copies,
            "quotas add up to all copies, so all of them find a place"
        );
        arcs.iter()
            .map(|arcs| {
                let taken = |arc: &Arc| self.network.flow(*arc) > 0;
                arcs.iter()
                    .filter(|(_, arc)| taken(arc))
                    .map(|(site, _)| *site)
                    .collect()
            })
            .collect()
    }
}

/// All zones, in the order in which the walk meets them.
fn zones_in_order(sites: &[Site], offer: &Offer) -> Vec<usize> {
    let mut zones = Vec::new();
    for site in &offer.walk {
        let zone = sites[*site].zone;
        if !zones.contains(&zone) {
            zones.push(zone);
        }
    }
    zones
}
