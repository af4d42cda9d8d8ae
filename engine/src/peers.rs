//! Which of the other nodes can be reached: whoever was heard of lately.
//!
//! Every peer that shares a partition with this node is asked at an interval, and anything that it says
//! counts. One that stays silent for `unreachable_after_ms` is unreachable: that costs hints, never data,
//! so it may be wrong. Of the others membership knows whether they are alive.

use std::collections::{BTreeMap, BTreeSet};

use dunlin_ring::NodeId;

use crate::io::Time;
use crate::view::PeerView;

/// What is known of the other nodes.
#[derive(Debug, Default)]
pub(crate) struct Peers {
    members: BTreeSet<NodeId>,
    near: BTreeSet<NodeId>,
    peers: BTreeMap<NodeId, Peer>,
    next_nonce: u64,
}

#[derive(Debug, Default)]
struct Peer {
    heard: Option<Time>,
    reachable: bool,
    rtt_us: u64,
    /// The question on its way, and when it left.
    asked: Option<(u64, Time)>,
}

impl Peers {
    pub(crate) fn new(members: &BTreeSet<NodeId>, near: &BTreeSet<NodeId>) -> Self {
        let mut peers = Self::default();
        peers.keep(members, near);
        peers
    }

    /// These are the members from now on. Others stay for as long as they are heard of: nodes that are
    /// about to join, or that hand over what they held.
    pub(crate) fn keep(&mut self, members: &BTreeSet<NodeId>, near: &BTreeSet<NodeId>) {
        let is_kept = |node: &NodeId, peer: &mut Peer| peer.reachable || members.contains(node);
        self.peers.retain(is_kept);
        for node in members {
            self.peers.entry(*node).or_default();
        }
        self.members.clone_from(members);
        self.near.clone_from(near);
    }

    /// Whether its silence counts: it shares a partition with this node, or is heard of though it is no
    /// member.
    fn is_near(&self, node: NodeId) -> bool {
        self.near.contains(&node) || !self.members.contains(&node)
    }

    /// The members that share a partition with this node.
    pub(crate) fn near(&self) -> &BTreeSet<NodeId> {
        &self.near
    }

    pub(crate) fn nodes(&self) -> Vec<NodeId> {
        self.peers.keys().copied().collect()
    }

    pub(crate) fn is_reachable(&self, node: NodeId, is_alive: impl Fn(NodeId) -> bool) -> bool {
        match self.is_near(node) {
            true => self.peers.get(&node).is_some_and(|peer| peer.reachable),
            false => is_alive(node),
        }
    }

    /// Whom to ask in this round: all that are near, and some of the others that are alive.
    pub(crate) fn to_ask(
        &self,
        others: usize,
        is_alive: impl Fn(NodeId) -> bool,
        rng: &mut fastrand::Rng,
    ) -> Vec<NodeId> {
        let (mut near, far): (Vec<NodeId>, Vec<NodeId>) =
            self.peers.keys().partition(|node| self.is_near(**node));
        let alive: Vec<NodeId> = far.into_iter().filter(|node| is_alive(*node)).collect();
        near.extend(rng.choose_multiple(alive, others));
        near
    }

    /// When the node was last heard of.
    pub(crate) fn heard(&self, node: NodeId) -> Option<Time> {
        self.peers.get(&node).and_then(|peer| peer.heard)
    }

    /// A question to a peer leaves; returns the number that its answer must carry.
    pub(crate) fn ask(&mut self, node: NodeId, now: Time) -> u64 {
        self.next_nonce += 1;
        let nonce = self.next_nonce;
        if let Some(peer) = self.peers.get_mut(&node) {
            peer.asked = Some((nonce, now));
        }
        nonce
    }

    /// A peer said something, member or not. Returns whether its silence had counted before.
    pub(crate) fn heard_from(&mut self, node: NodeId, now: Time) -> bool {
        let peer = self.peers.entry(node).or_default();
        peer.heard = Some(now);
        let was_silent = !std::mem::replace(&mut peer.reachable, true);
        was_silent && self.is_near(node)
    }

    /// A peer answered a question: the round trip is measured.
    pub(crate) fn answered(&mut self, node: NodeId, nonce: u64, now: Time) {
        if let Some(peer) = self.peers.get_mut(&node)
            && let Some((asked, at)) = peer.asked
            && asked == nonce
        {
            let took = now.0.saturating_sub(at.0);
            peer.rtt_us = if peer.rtt_us == 0 {
                took
            } else {
                (peer.rtt_us * 7 + took) / 8
            };
            peer.asked = None;
        }
    }

    /// The peers that have been silent for too long and whose silence counts, each told once.
    pub(crate) fn fallen_silent(&mut self, now: Time, after_ms: u64) -> Vec<NodeId> {
        let mut silent = Vec::new();
        let (near, members) = (&self.near, &self.members);
        for (node, peer) in &mut self.peers {
            let quiet = peer
                .heard
                .is_none_or(|heard| now.ms_since(heard) >= after_ms);
            if peer.reachable && quiet {
                peer.reachable = false;
                peer.rtt_us = 0;
                if near.contains(node) || !members.contains(node) {
                    silent.push(*node);
                }
            }
        }
        self.peers
            .retain(|node, peer| peer.reachable || members.contains(node));
        silent
    }

    pub(crate) fn view(&self, is_alive: impl Fn(NodeId) -> bool) -> BTreeMap<NodeId, PeerView> {
        let view = |node: NodeId, peer: &Peer| PeerView {
            reachable: self.is_reachable(node, &is_alive),
            rtt_us: peer.rtt_us,
        };
        self.peers
            .iter()
            .map(|(node, peer)| (*node, view(*node, peer)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODE: NodeId = NodeId(7);

    #[test]
    fn silent_peer_falls_once_and_returns_at_its_first_word() {
        let mut peers = Peers::new(&[NODE].into(), &[NODE].into());
        assert!(!peers.is_reachable(NODE, |_| true));
        assert!(peers.heard_from(NODE, Time(0)));
        assert!(!peers.heard_from(NODE, Time(1)));
        assert!(
            peers
                .fallen_silent(Time::default().plus_ms(999), 1000)
                .is_empty()
        );
        assert_eq!(
            peers.fallen_silent(Time::default().plus_ms(1001), 1000),
            [NODE]
        );
        assert!(
            peers
                .fallen_silent(Time::default().plus_ms(2000), 1000)
                .is_empty()
        );
        assert!(peers.heard_from(NODE, Time::default().plus_ms(2000)));
    }

    #[test]
    fn only_the_answer_to_the_last_question_measures_the_round_trip() {
        let mut peers = Peers::new(&[NODE].into(), &[NODE].into());
        let first = peers.ask(NODE, Time(0));
        let second = peers.ask(NODE, Time(1000));
        peers.answered(NODE, first, Time(5000));
        assert_eq!(peers.view(|_| true)[&NODE].rtt_us, 0);
        peers.answered(NODE, second, Time(1300));
        assert_eq!(peers.view(|_| true)[&NODE].rtt_us, 300);
    }

    #[test]
    fn a_node_that_is_no_member_is_known_while_it_is_heard_of() {
        let mut peers = Peers::new(&BTreeSet::new(), &BTreeSet::new());
        assert!(peers.heard_from(NODE, Time(0)));
        peers.keep(&BTreeSet::new(), &BTreeSet::new());
        assert_eq!(peers.nodes(), [NODE]);
        peers.fallen_silent(Time::default().plus_ms(1001), 1000);
        assert!(peers.nodes().is_empty());
    }
}
