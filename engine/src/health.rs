//! How well each peer answers: a slow or failing one is asked last, before it counts as dead.
//!
//! ```text
//!   every second, to each co-owner:  Compare { no rows }   through the same queues as any read
//!   its answer, or none in time:     latency (smoothed, and a high quantile), share of failures
//!   slow or failing beside the others: demoted ─> well for some rounds: promoted
//! ```
//!
//! A demoted peer is the last to coordinate what is passed on, to be read from and to be hedged to. It
//! takes part in every write as before: copies are not given up because a disk is slow.
//!
//! Huang et al., *Gray Failure: The Achilles' Heel of Cloud-Scale Systems* (HotOS 2017).

use std::collections::BTreeMap;
use std::fmt;

use dunlin_protocol::peer::{OperationMessage, PeerOp};
use dunlin_ring::NodeId;

use crate::io::{Effect, Now, Time, TimerId};
use crate::shard::{Operation, Shard, send_operation};

/// A peer is slow from this many times the usual latency of the others on, …
const SLOW_TIMES: u64 = 8;
/// … and not below this.
const SLOW_MIN_US: u64 = 20_000;
/// A peer fails from this share of questions on, in thousandths.
const FAILING_PERMILLE: u64 = 300;
/// Rounds that a demoted peer has to do well to be promoted.
const ROUNDS_TO_PROMOTE: u32 = 5;
/// How long an answer may take before it counts as none.
const TIMEOUT_MS: u64 = 900;
/// How often peers are asked.
const EVERY_MS: u64 = 1_000;

/// What one shard has seen of its peers.
#[derive(Debug, Default)]
pub(crate) struct Health {
    peers: BTreeMap<NodeId, PeerHealth>,
}

/// How a peer answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PeerHealth {
    /// The smoothed latency, in microseconds.
    pub latency_us: u64,
    /// About the 99th percentile of the latency, in microseconds.
    pub p99_us: u64,
    /// The share of questions that were refused or not answered, in thousandths.
    pub failed_permille: u64,
    /// Why it is asked last, if it is.
    pub demoted: Option<Demoted>,
    well_rounds: u32,
}

/// Why a peer is asked last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Demoted {
    /// It takes much longer than the others.
    Slow,
    /// It refuses or does not answer too often.
    Failing,
}

impl fmt::Display for Demoted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Slow => "slow",
            Self::Failing => "failing",
        })
    }
}

impl PeerHealth {
    fn answered(&mut self, took_us: u64) {
        if self.latency_us == 0 {
            (self.latency_us, self.p99_us) = (took_us.max(1), took_us.max(1));
        } else {
            self.latency_us = ((self.latency_us * 7 + took_us) / 8).max(1);
            // Up by 99 parts where it was exceeded and down by one where not: in balance at the 99th.
            let step = (self.p99_us / 200).max(10);
            self.p99_us = match took_us > self.p99_us {
                true => self.p99_us.saturating_add(step * 99).min(took_us),
                false => self.p99_us.saturating_sub(step).max(1),
            };
        }
        self.failed_permille = self.failed_permille * 7 / 8;
    }

    fn failed(&mut self) {
        self.failed_permille = (self.failed_permille * 7 + 1000) / 8;
    }
}

impl Health {
    /// Whether a peer is asked last.
    pub(crate) fn is_demoted(&self, node: NodeId) -> bool {
        let peer = self.peers.get(&node);
        peer.is_some_and(|peer| peer.demoted.is_some())
    }

    /// How each peer answers.
    pub(crate) fn all(&self) -> &BTreeMap<NodeId, PeerHealth> {
        &self.peers
    }

    fn keep(&mut self, nodes: &[NodeId]) {
        self.peers.retain(|node, _| nodes.contains(node));
        for node in nodes {
            self.peers.entry(*node).or_default();
        }
    }

    /// Once a round: who does badly beside the others is demoted, who has done well long enough promoted.
    fn judge(&mut self) {
        let mut latencies: Vec<u64> = self.peers.values().map(|peer| peer.latency_us).collect();
        latencies.retain(|latency_us| *latency_us > 0);
        latencies.sort_unstable();
        // The faster half says what is usual: of two peers the better one.
        let usual = latencies.get((latencies.len().max(1) - 1) / 2);
        let slow_us = usual.map_or(u64::MAX, |us| us.saturating_mul(SLOW_TIMES));
        let slow_us = slow_us.max(SLOW_MIN_US);
        for peer in self.peers.values_mut() {
            let found = if peer.failed_permille >= FAILING_PERMILLE {
                Some(Demoted::Failing)
            } else if peer.latency_us > slow_us {
                Some(Demoted::Slow)
            } else {
                None
            };
            match found {
                Some(_) => (peer.demoted, peer.well_rounds) = (found, 0),
                None if peer.demoted.is_some() => {
                    peer.well_rounds += 1;
                    if peer.well_rounds >= ROUNDS_TO_PROMOTE {
                        peer.demoted = None;
                    }
                }
                None => {}
            }
        }
    }
}

/// A question whose answer says only how long it took.
#[derive(Debug)]
pub(crate) struct Probe {
    node: NodeId,
    sent: Time,
}

impl Shard {
    /// The nodes given that can be reached, those that do well first, then the nearest.
    pub(crate) fn nearest(&self, nodes: impl IntoIterator<Item = NodeId>) -> Vec<NodeId> {
        let mut nearest = self.view.nearest(nodes);
        nearest.sort_by_key(|node| self.health.is_demoted(*node));
        nearest
    }

    /// Asks every co-owner that can be reached how it is.
    pub(crate) fn health_round(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let mut shared = BTreeMap::new();
        for partition in self.replica.owned() {
            for node in self.view.co_owners(partition) {
                if self.view.is_reachable(node) {
                    shared.entry(node).or_insert(partition);
                }
            }
        }
        let nodes: Vec<NodeId> = shared.keys().copied().collect();
        self.health.keep(&nodes);
        self.health.judge();
        for (node, partition) in shared {
            let op = self.new_op();
            let sent = now.time;
            self.operations
                .insert(op, Operation::Probe(Probe { node, sent }));
            let message = OperationMessage::Compare {
                rows: Vec::new(),
                seen: dunlin_crdt::Clock::new(),
            };
            effects.push(send_operation(node, partition, op, message));
            effects.push(Effect::SetTimer {
                id: TimerId::Operation(op.0),
                at: now.time.plus_ms(TIMEOUT_MS),
            });
        }
        effects.push(Effect::SetTimer {
            id: TimerId::Health,
            at: now.time.plus_ms(EVERY_MS),
        });
    }

    pub(crate) fn probe_answered(
        &mut self,
        op: PeerOp,
        probe: Probe,
        from: NodeId,
        message: &OperationMessage,
        now: Now,
    ) {
        if probe.node != from {
            self.operations.insert(op, Operation::Probe(probe));
            return;
        }
        let took_us = now.time.0.saturating_sub(probe.sent.0);
        if let Some(peer) = self.health.peers.get_mut(&from) {
            // One that is being filled, or has another layout, is well all the same.
            use dunlin_protocol::peer::Refusal;
            match message {
                OperationMessage::Refused(
                    Refusal::Full | Refusal::Failed | Refusal::Overloaded | Refusal::Skew,
                ) => peer.failed(),
                _ => peer.answered(took_us),
            }
        }
    }

    pub(crate) fn probe_silent(&mut self, probe: &Probe) {
        if let Some(peer) = self.health.peers.get_mut(&probe.node) {
            peer.failed();
            // What was not answered took that long at least.
            peer.answered(TIMEOUT_MS * 1000);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: NodeId = NodeId(1);
    const B: NodeId = NodeId(2);

    fn of_two() -> Health {
        let mut health = Health::default();
        health.keep(&[A, B]);
        health
    }

    fn round(health: &mut Health, a_us: u64, b_us: u64) {
        health.peers.get_mut(&A).unwrap().answered(a_us);
        health.peers.get_mut(&B).unwrap().answered(b_us);
        health.judge();
    }

    #[test]
    fn a_peer_much_slower_than_the_other_is_demoted_and_promoted_when_it_recovers() {
        let mut health = of_two();
        (0..20).for_each(|_| round(&mut health, 500, 700));
        assert!(!health.is_demoted(A) && !health.is_demoted(B));
        (0..20).for_each(|_| round(&mut health, 500, 200_000));
        assert_eq!(health.all()[&B].demoted, Some(Demoted::Slow));
        assert!(!health.is_demoted(A));
        (0..60).for_each(|_| round(&mut health, 500, 700));
        assert!(!health.is_demoted(B));
    }

    #[test]
    fn peers_that_are_all_far_away_are_not_demoted() {
        let mut health = of_two();
        (0..50).for_each(|_| round(&mut health, 90_000, 120_000));
        assert!(!health.is_demoted(A) && !health.is_demoted(B));
    }

    #[test]
    fn a_peer_that_does_not_answer_is_demoted_for_that() {
        let mut health = of_two();
        (0..20).for_each(|_| round(&mut health, 500, 500));
        for _ in 0..4 {
            health.peers.get_mut(&B).unwrap().failed();
            health.judge();
        }
        assert_eq!(health.all()[&B].demoted, Some(Demoted::Failing));
    }

    #[test]
    fn the_high_quantile_follows_the_slowest_hundredth() {
        let mut peer = PeerHealth::default();
        for at in 0..20_000_u64 {
            peer.answered(if at % 50 == 0 { 50_000 } else { 1_000 });
        }
        assert!(peer.p99_us > 20_000, "{peer:?}");
        for _ in 0..20_000 {
            peer.answered(1_000);
        }
        assert!(peer.p99_us < 3_000, "{peer:?}");
    }
}
