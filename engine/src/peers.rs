//! Which of the other nodes can be reached: whoever was heard of lately.
//!
//! Every peer is asked at an interval, and anything that it says counts. One that stays silent for
//! `unreachable_after_ms` is unreachable: that costs hints, never data, so it may be wrong.

use std::collections::BTreeMap;

use dunlin_ring::NodeId;

use crate::io::Time;
use crate::view::PeerView;

/// What is known of the other nodes.
#[derive(Debug, Default)]
pub(crate) struct Peers {
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
    pub(crate) fn new(others: impl Iterator<Item = NodeId>) -> Self {
        let peers = others.map(|node| (node, Peer::default())).collect();
        Self {
            peers,
            next_nonce: 0,
        }
    }

    pub(crate) fn nodes(&self) -> Vec<NodeId> {
        self.peers.keys().copied().collect()
    }

    pub(crate) fn is_reachable(&self, node: NodeId) -> bool {
        self.peers.get(&node).is_some_and(|peer| peer.reachable)
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

    /// A peer said something. Returns whether it was unreachable before.
    pub(crate) fn heard_from(&mut self, node: NodeId, now: Time) -> bool {
        match self.peers.get_mut(&node) {
            Some(peer) => {
                peer.heard = Some(now);
                !std::mem::replace(&mut peer.reachable, true)
            }
            None => false,
        }
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

    /// The peers that have been silent for too long, each told once.
    pub(crate) fn fallen_silent(&mut self, now: Time, after_ms: u64) -> Vec<NodeId> {
        let mut silent = Vec::new();
        for (node, peer) in &mut self.peers {
            let quiet = peer
                .heard
                .is_none_or(|heard| now.ms_since(heard) >= after_ms);
            if peer.reachable && quiet {
                peer.reachable = false;
                peer.rtt_us = 0;
                silent.push(*node);
            }
        }
        silent
    }

    pub(crate) fn view(&self) -> BTreeMap<NodeId, PeerView> {
        let view = |peer: &Peer| PeerView {
            reachable: peer.reachable,
            rtt_us: peer.rtt_us,
        };
        self.peers
            .iter()
            .map(|(node, peer)| (*node, view(peer)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODE: NodeId = NodeId(7);

    #[test]
    fn silent_peer_falls_once_and_returns_at_its_first_word() {
        let mut peers = Peers::new([NODE].into_iter());
        assert!(!peers.is_reachable(NODE));
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
        let mut peers = Peers::new([NODE].into_iter());
        let first = peers.ask(NODE, Time(0));
        let second = peers.ask(NODE, Time(1000));
        peers.answered(NODE, first, Time(5000));
        assert_eq!(peers.view()[&NODE].rtt_us, 0);
        peers.answered(NODE, second, Time(1300));
        assert_eq!(peers.view()[&NODE].rtt_us, 300);
    }

    #[test]
    fn stranger_is_not_taken_in() {
        let mut peers = Peers::new(std::iter::empty());
        assert!(!peers.heard_from(NODE, Time(0)));
        assert!(peers.nodes().is_empty());
    }
}
