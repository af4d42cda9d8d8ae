//! What makes no sense in a plan is refused before anything starts.

use std::collections::BTreeSet;

use super::{ClientsPlan, ClusterPlan, LoadPlan, Plan, PlanError, WayChange, wrong};

/// Nodes, and groups of clients, at most.
const PLACES_MAX: usize = 64;
/// Sessions of a group of clients, at most.
const SESSIONS_MAX: u32 = 1_000;
/// Partitions of a cluster, at most.
const PARTITIONS_MAX: u16 = 4096;

impl Plan {
    pub(super) fn check(&self) -> Result<(), PlanError> {
        let ClusterPlan {
            nodes,
            spares,
            replicas,
            partitions,
            zones,
            ..
        } = &self.cluster;
        if !partitions.is_power_of_two() || *partitions > PARTITIONS_MAX {
            return Err(wrong(format!(
                "{partitions} partitions: it takes a power of two, up to {PARTITIONS_MAX}"
            )));
        }
        if *nodes == 0 || nodes + spares + self.clients.len() > PLACES_MAX {
            return Err(wrong(format!(
                "{nodes} nodes, {spares} spares and {} groups of clients: there is at least one node, and at \
                 most {PLACES_MAX} of all",
                self.clients.len()
            )));
        }
        if *replicas == 0 || usize::from(*replicas) > *nodes {
            return Err(wrong(format!("{replicas} copies on {nodes} nodes")));
        }
        if !zones.is_empty() && zones.len() != nodes + spares {
            return Err(wrong(format!(
                "{} zones are given for {} nodes",
                zones.len(),
                nodes + spares
            )));
        }
        if self.phases.is_empty() {
            return Err(wrong("there is no phase"));
        }
        let LoadPlan {
            rate,
            reads,
            keys,
            mix,
            ..
        } = &self.load;
        if *rate == 0 || *keys == 0 || mix.shares() == [0; 7] {
            return Err(wrong("the load has no rate, no keys or no kind"));
        }
        let of_clients = self.clients.iter().map(|clients| clients.share);
        for (what, shares) in [
            ("mix", mix.shares().to_vec()),
            ("clients", of_clients.collect()),
        ] {
            if shares.into_iter().try_fold(0, u32::checked_add).is_none() {
                return Err(wrong(format!(
                    "the shares of {what} are too large together"
                )));
            }
        }
        is_share("reads", *reads)?;
        if let Some(clients) = self.clients.iter().find(|c| c.sessions > SESSIONS_MAX) {
            let ClientsPlan { name, sessions, .. } = clients;
            return Err(wrong(format!(
                "{name} have {sessions} sessions; there are at most {SESSIONS_MAX}"
            )));
        }
        let mut names = BTreeSet::new();
        for name in self.place_names() {
            if !names.insert(name.clone()) {
                return Err(wrong(format!("there are two places called {name}")));
            }
        }
        for node in self.cluster.clocks_ms.keys() {
            self.node(node)?;
        }
        for phase in &self.phases {
            if !(phase.seconds > 0.0 && phase.seconds < 86_400.0) {
                return Err(wrong(format!(
                    "phase {:?} takes {} seconds",
                    phase.name, phase.seconds
                )));
            }
            self.rules_of(phase)
                .map_err(|error| wrong(format!("phase {:?}: {error}", phase.name)))?;
            let nodes = [
                &phase.pause,
                &phase.kill,
                &phase.wipe,
                &phase.restart,
                &phase.join,
                &phase.leave,
            ];
            for name in nodes.into_iter().flatten() {
                self.node(name)?;
            }
            for bad in &phase.bad {
                for (what, share) in [
                    ("loss", bad.loss),
                    ("duplicate", bad.duplicate),
                    ("reorder", bad.reorder),
                ] {
                    is_share(what, share)?;
                }
            }
        }
        Ok(())
    }

    /// The same plan for a cluster that runs already: its nodes, in the order of their names, are `n1`, `n2`, ….
    pub(crate) fn on_running(
        mut self,
        nodes: usize,
        replicas: u8,
        partitions: u16,
    ) -> Result<Self, PlanError> {
        if self.cluster.spares > 0 || !self.cluster.clocks_ms.is_empty() {
            return Err(wrong(
                "a cluster that runs has no spares, and its clocks can't be set",
            ));
        }
        self.cluster = ClusterPlan {
            nodes,
            replicas,
            partitions,
            ..ClusterPlan::default()
        };
        self.check()?;
        for phase in &self.phases {
            let changes = [
                (&phase.kill, "killed"),
                (&phase.wipe, "wiped"),
                (&phase.restart, "restarted"),
                (&phase.join, "made to join"),
                (&phase.leave, "made to leave"),
            ];
            if let Some((_, what)) = changes.iter().find(|(names, _)| !names.is_empty()) {
                return Err(wrong(format!(
                    "phase {:?}: nodes that somebody else started can't be {what}; they can stand still (pause)",
                    phase.name
                )));
            }
            let between_nodes = |change: &WayChange| change.from.0 < nodes && change.to.0 < nodes;
            if self.rules_of(phase)?.iter().any(between_nodes) {
                return Err(wrong(format!(
                    "phase {:?}: what nodes of a running cluster say to each other does not go through the relay; \
                     only the ways between clients and nodes can be cut or bad",
                    phase.name
                )));
            }
        }
        Ok(self)
    }
}

fn is_share(what: &str, share: f64) -> Result<(), PlanError> {
    match (0.0..=1.0).contains(&share) {
        true => Ok(()),
        false => Err(wrong(format!("{what} = {share} is no share of one"))),
    }
}
