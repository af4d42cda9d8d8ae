//! Bytes from anybody, and the longest names there are.

use dunlin_engine::Time;
use dunlin_engine::membership::{
    DATAGRAM_BYTES_MAX, Identity, IdentityError, MEMBERS_MAX, Membership, MembershipOptions,
    MembershipOutput,
};
use dunlin_ring::TEXT_BYTES_MAX;
use proptest::prelude::*;

use crate::network::{Network, identity};

fn long(node: usize) -> Identity {
    let pad = |text: String| format!("{text:x<TEXT_BYTES_MAX$}");
    let identity = identity(node);
    Identity {
        name: pad(identity.name),
        address: pad(identity.address),
        ..identity
    }
}

/// Real datagrams of all sorts, in the order in which they were sent.
fn traffic() -> Vec<Vec<u8>> {
    let mut network = Network::new(30);
    network.recorded = Some(Vec::new());
    network.loss_percent = 20;
    network.start_all(6);
    network.pass_ms(10_000);
    network.kill(2);
    network.pass_ms(10_000);
    network.recorded.take().unwrap()
}

#[test]
fn cluster_of_the_longest_names_meets_and_notices_deaths_in_datagrams_that_fit() {
    let mut network = Network::new(31);
    for node in 0..10 {
        network.start(long(node), vec![long(0).address]);
    }
    // The network asserts the size of each datagram.
    let took = network.wait_ms(10_000, Network::all_know_all);
    assert!(took.is_some());
    network.start(identity(10), vec![long(3).address]);
    let took = network.wait_ms(10_000, Network::all_know_all);
    assert!(took.is_some());
    network.kill(4);
    let took = network.wait_ms(5_000, Network::all_know_all);
    assert!(took.is_some());
    let from = network.now;
    network.pass_ms(60_000);
    assert_eq!(network.false_deaths(from), 0);
}

#[test]
fn datagrams_fit_while_hundred_nodes_meet() {
    let network = Network::joined(100, 32);
    assert!(network.largest <= DATAGRAM_BYTES_MAX);
    assert!(
        network.largest > DATAGRAM_BYTES_MAX - 100,
        "they are filled, too"
    );
}

#[test]
fn identity_that_cannot_be_told_is_refused() {
    let start = |me| {
        let rng = fastrand::Rng::with_seed(1);
        Membership::new(me, Vec::new(), &MembershipOptions::default(), rng).map(|_| ())
    };
    assert_eq!(start(long(1)), Ok(()));
    let mut longer = long(1);
    longer.name.push('x');
    let bytes = TEXT_BYTES_MAX + 1;
    assert_eq!(start(longer), Err(IdentityError::TextTooLong { bytes }));
    let nowhere = Identity {
        address: String::new(),
        ..identity(1)
    };
    assert_eq!(start(nowhere), Err(IdentityError::NoAddress));
}

#[test]
fn junk_is_counted_and_changes_nothing() {
    let mut network = Network::joined(3, 33);
    for junk in [&b""[..], b"\x01", b"\x01\x20", b"\x02\x20", &[0xff; 2_000]] {
        network.inject(0, junk);
    }
    assert_eq!(network.processes[0].membership.counters().malformed, 5);
    assert!(network.all_know_all());
}

#[test]
fn no_more_members_are_taken_in_than_the_limit() {
    let rng = fastrand::Rng::with_seed(1);
    let options = MembershipOptions::default();
    let mut member = Membership::new(identity(0), Vec::new(), &options, rng).unwrap();
    let mut out = MembershipOutput::default();
    for stranger in 0..MEMBERS_MAX as u64 + 10 {
        // Introduced: life, name, address, number of the question.
        let id = (1 << 32) + stranger;
        let life = [&id.to_be_bytes()[..], &[0; 20]].concat();
        let datagram = [b"\x01\x21", &life[..], b"\0\0\0\x01a\0"].concat();
        member.received(&datagram, Time(stranger), &mut out);
        out.datagrams.clear();
    }
    assert_eq!(member.size(), MEMBERS_MAX + 1);
    assert_eq!(member.counters().refused, 10);
}

/// A member to which every of these datagrams comes, and whose timers all fire.
fn abuse(datagrams: &[Vec<u8>]) {
    let rng = fastrand::Rng::with_seed(2);
    let options = MembershipOptions::default();
    let mut member = Membership::new(identity(0), Vec::new(), &options, rng).unwrap();
    let mut now = Time(0);
    for datagram in datagrams {
        let mut out = MembershipOutput::default();
        member.received(datagram, now, &mut out);
        now = out.wake_at.map_or(now, |at| at.max(now));
        member.wake(now, &mut out);
        assert!(
            out.datagrams
                .iter()
                .all(|(_, d)| d.len() <= DATAGRAM_BYTES_MAX)
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn arbitrary_bytes_never_panic(
        datagrams in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 1..20),
        kinds in prop::collection::vec(0u8..40, 20),
    ) {
        let start = |(mut bytes, kind): (Vec<u8>, u8)| {
            bytes.splice(0..0, [1, kind]);
            bytes
        };
        let datagrams: Vec<_> = datagrams.into_iter().zip(kinds).map(start).collect();
        abuse(&datagrams);
    }

    #[test]
    fn real_datagrams_repeated_changed_and_out_of_order_never_panic(
        picks in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<Option<u8>>()), 1..200),
    ) {
        thread_local!(static TRAFFIC: Vec<Vec<u8>> = traffic());
        let datagrams = TRAFFIC.with(|traffic| {
            let pick = |(which, at, byte): &(prop::sample::Index, prop::sample::Index, Option<u8>)| {
                let mut datagram = traffic[which.index(traffic.len())].clone();
                if let Some(byte) = byte {
                    let at = at.index(datagram.len());
                    datagram[at] = *byte;
                }
                datagram
            };
            picks.iter().map(pick).collect::<Vec<_>>()
        });
        abuse(&datagrams);
    }
}
