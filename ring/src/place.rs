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
//! The owners of the layout before flow first, as many as the new quotas let stay; then the rest is
//! filled up, every partition offering itself to nodes in the order of its walk.
//!
//! It always works out: handing each node `quota / Q` of every partition meets all limits in
//! fractions, and a network with whole capacities then has a whole solution.

use crate::flow::{Arc, Network, Vertex};
use crate::share::{Copies, Quotas, Sharer, quotas};

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
        let nodes: Vec<Vertex> = quotas
            .nodes
            .iter()
            .map(|quota| {
                let node = network.vertex();
                network.arc(node, sink, *quota);
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
            network.arc(source, partition, copies.per_partition);
            let of_zones: Vec<Vertex> = base.iter().map(|_| network.vertex()).collect();
            for zone in zones_in_order(sites, offer) {
                network.arc(partition, of_zones[zone], base[zone]);
                network.arc(extra, of_zones[zone], 1);
            }
            network.arc(partition, extra, copies.per_partition - base_total);
            places.push(of_zones);
        }
        Filling {
            sites,
            offers,
            network,
            source,
            sink,
            nodes,
            places,
        }
    }

    fn fill(mut self) -> Vec<Vec<usize>> {
        let mut takes: Vec<Vec<(usize, Arc)>> = vec![Vec::new(); self.offers.len()];
        for (partition, offer) in self.offers.iter().enumerate() {
            for site in &offer.held {
                takes[partition].push((*site, self.offer(partition, *site)));
            }
        }
        let kept = self.network.maximise(self.source, self.sink);
        for (partition, offer) in self.offers.iter().enumerate() {
            for site in &offer.walk {
                if !offer.held.contains(site) {
                    takes[partition].push((*site, self.offer(partition, *site)));
                }
            }
        }
        let filled = kept + self.network.maximise(self.source, self.sink);
        let owners: Vec<Vec<usize>> = takes
            .into_iter()
            .zip(self.offers)
            .map(|(takes, offer)| {
                let taken = |site: &usize| {
                    takes
                        .iter()
                        .any(|(taker, arc)| taker == site && self.network.flow(*arc) > 0)
                };
                offer.walk.iter().copied().filter(taken).collect()
            })
            .collect();
        assert_eq!(
            filled,
            owners.iter().map(|owners| owners.len() as u64).sum::<u64>(),
            "every copy that flows has an owner"
        );
        owners
    }

    fn offer(&mut self, partition: usize, site: usize) -> Arc {
        let place = self.places[partition][self.sites[site].zone];
        self.network.arc(place, self.nodes[site], 1)
    }
}

/// The zones in which the walk meets them.
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
