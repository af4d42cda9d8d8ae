//! What can be set about membership, and what foca makes of it.

use std::num::{NonZeroU8, NonZeroUsize};
use std::time::Duration;

use foca::{Config, PeriodicParams};

use super::wire::DATAGRAM_BYTES_MAX;

/// Periods and counts. Times are in milliseconds.
///
/// A probe that is not answered within `probe_rtt_ms` is sent by `indirect_probes` others as well, which
/// takes two round trips more: `probe_every_ms` must leave room for both. All nodes of a cluster should
/// have the same figures.
///
/// A death is known to all after: the time until its turn at somebody (one probe period in the mean; more
/// than `k` with the chance e^-k), one period without an answer, the suspicion, and some 0.5 s of gossip.
/// With the default settings, round trips of 2 to 100 ms, per node and second, with nothing to tell and no loss,
/// measured with `cargo run -p dunlin-engine --example membership_size` (150 deaths each; 20 with 30 and 300 nodes):
///
/// ```text
///   nodes  suspicion  transmissions   all met   datagrams  bytes   death known to all: median   longest
///       3     1.0 s               9     0.2 s           5    513                      1.6 s     2.1 s
///      10     1.25 s             13     0.4 s           5    551                      1.9 s     3.4 s
///      30     1.375 s            15     0.4 s           5    616                      2.1 s     3.4 s
///     100     1.625 s            19     1.1 s           5    619                      2.6 s     3.8 s
///     300     1.875 s            23     5.3 s           5    622                      2.9 s     3.8 s
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MembershipOptions {
    /// How often a node probes one other, each in its turn.
    pub probe_every_ms: u64,
    /// How long the answer to a probe may take before others are asked to probe.
    pub probe_rtt_ms: u64,
    /// How many others are asked.
    pub indirect_probes: usize,
    /// How long the suspected has to say that it lives, with up to three nodes; grows by an eighth
    /// whenever the number of nodes doubles, as word then takes longer to get there and back.
    pub suspicion_ms: u64,
    /// How often news is passed on, while there is any.
    pub gossip_every_ms: u64,
    /// To how many others.
    pub gossip_fanout: usize,
    /// How often one other is asked whom it knows.
    pub announce_every_ms: u64,
    /// How often two others are asked the same while their answers hold members that were not known.
    pub ask_on_ms: u64,
    /// How often one that is down is asked whether it still is: what joins halves again after a split.
    pub announce_down_every_ms: u64,
    /// How often seeds that are not members are called.
    pub seeds_every_ms: u64,
    /// How long a node that knows nobody waits for an answer of its seeds, at first.
    pub join_first_ms: u64,
    /// The same at the most: each wait is twice as long as the one before.
    pub join_max_ms: u64,
    /// How long a node that is down is remembered.
    pub remember_down_ms: u64,
}

impl Default for MembershipOptions {
    fn default() -> Self {
        Self {
            probe_every_ms: 350,
            probe_rtt_ms: 130,
            indirect_probes: 4,
            suspicion_ms: 1_000,
            gossip_every_ms: 100,
            gossip_fanout: 3,
            announce_every_ms: 10_000,
            ask_on_ms: 100,
            announce_down_every_ms: 5_000,
            seeds_every_ms: 10_000,
            join_first_ms: 200,
            join_max_ms: 5_000,
            remember_down_ms: 24 * 3_600_000,
        }
    }
}

impl MembershipOptions {
    /// How long a suspected node of a cluster of `nodes` has to say that it lives.
    pub fn suspicion_ms(&self, nodes: usize) -> u64 {
        let doublings = u64::from((nodes.max(2) / 2).ilog2());
        self.suspicion_ms
            .saturating_add(self.suspicion_ms.saturating_mul(doublings) / 8)
    }

    /// How often one node passes on one piece of news in a cluster of `nodes`.
    ///
    /// News that every node sends `t` times to somebody misses a given node with the chance e^-t: SWIM has
    /// no second way for it, so `t` leaves less than one miss in 10,000 deaths in a cluster of 100.
    pub fn transmissions(nodes: usize) -> u8 {
        let doublings = nodes.max(1).ilog2();
        u8::try_from(7 + 2 * doublings).unwrap_or(u8::MAX)
    }

    /// foca's settings for a cluster of `nodes`. The periods are the same for any, as foca can't change them.
    pub(crate) fn config(&self, nodes: usize) -> Config {
        let probe_rtt = self.probe_rtt_ms.max(1);
        Config {
            // foca wants the period to be the longer one.
            probe_period: ms(self.probe_every_ms.max(probe_rtt.saturating_add(1))),
            probe_rtt: ms(probe_rtt),
            num_indirect_probes: at_least_one(self.indirect_probes),
            max_transmissions: NonZeroU8::new(Self::transmissions(nodes)).unwrap_or(NonZeroU8::MIN),
            suspect_to_down_after: ms(self.suspicion_ms(nodes)),
            remove_down_after: Some(ms(self.remember_down_ms)),
            max_packet_size: at_least_one(DATAGRAM_BYTES_MAX),
            notify_down_members: true,
            periodic_announce: periodic(self.announce_every_ms, 1),
            periodic_announce_to_down_members: periodic(self.announce_down_every_ms, 1),
            periodic_gossip: periodic(self.gossip_every_ms, self.gossip_fanout),
        }
    }
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms.max(1))
}

fn at_least_one(count: usize) -> NonZeroUsize {
    NonZeroUsize::new(count).unwrap_or(NonZeroUsize::MIN)
}

fn periodic(every_ms: u64, members: usize) -> Option<PeriodicParams> {
    Some(PeriodicParams {
        frequency: ms(every_ms),
        num_members: at_least_one(members),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_grow_with_the_logarithm_of_the_cluster() {
        let options = MembershipOptions::default();
        let settings = |nodes| {
            (
                options.suspicion_ms(nodes),
                MembershipOptions::transmissions(nodes),
            )
        };
        let measured: Vec<_> = [1, 3, 10, 30, 100, 300].map(settings).into();
        assert_eq!(
            measured,
            [
                (1000, 7),
                (1000, 9),
                (1250, 13),
                (1375, 15),
                (1625, 19),
                (1875, 23)
            ]
        );
    }

    #[test]
    fn settings_that_make_no_sense_still_make_a_configuration_that_foca_takes() {
        let options = MembershipOptions {
            probe_every_ms: 0,
            probe_rtt_ms: 0,
            indirect_probes: 0,
            gossip_every_ms: 0,
            gossip_fanout: 0,
            suspicion_ms: u64::MAX,
            ..MembershipOptions::default()
        };
        let config = options.config(usize::MAX);
        assert!(config.probe_rtt < config.probe_period);
        assert!(!config.probe_rtt.is_zero());
    }
}
