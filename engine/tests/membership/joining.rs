//! A node that knows one seed gets to know everybody.

use dunlin_engine::Time;
use dunlin_engine::membership::MembershipEvent;

use crate::network::{Network, identity};

#[track_caller]
fn joins_within(nodes: usize, loss_percent: u64, bound_ms: u64) {
    for seed in 0..5 {
        let mut network = Network::new(seed);
        network.loss_percent = loss_percent;
        network.start_all(nodes);
        let took = network.wait_ms(bound_ms, Network::all_know_all);
        assert!(
            took.is_some(),
            "seed {seed}: not all of {nodes} met in {bound_ms} ms"
        );
    }
}

#[test]
fn three_nodes_meet_through_one_seed_in_a_second() {
    joins_within(3, 0, 1_000);
}

#[test]
fn ten_nodes_meet_through_one_seed_in_two_seconds() {
    joins_within(10, 0, 2_000);
}

#[test]
fn thirty_nodes_meet_through_one_seed_in_three_seconds() {
    joins_within(30, 0, 3_000);
}

#[test]
fn hundred_nodes_meet_through_one_seed_in_six_seconds() {
    let mut network = Network::new(1);
    network.start_all(100);
    let took = network.wait_ms(6_000, Network::all_know_all);
    assert!(took.is_some());
}

#[test]
fn ten_nodes_meet_though_every_fifth_datagram_is_lost() {
    joins_within(10, 20, 15_000);
}

#[test]
fn newcomer_is_known_to_all_in_two_seconds() {
    let mut network = Network::joined(30, 3);
    network.start(identity(30), vec![identity(17).address]);
    let took = network.wait_ms(2_000, Network::all_know_all);
    assert!(took.is_some());
}

#[test]
fn everybody_is_said_to_be_up_once_with_name_and_address() {
    let network = Network::joined(10, 4);
    for process in network.running() {
        let mut up: Vec<_> = process
            .events
            .iter()
            .map(|(_, event)| match event {
                MembershipEvent::Up(who) => who.clone(),
                other => panic!("{other:?}"),
            })
            .collect();
        up.sort_by_key(|who| who.id);
        let others = (0..10).map(identity);
        let others: Vec<_> = others
            .filter(|who| who != process.membership.me())
            .collect();
        assert_eq!(up, others);
        let members: Vec<_> = process.membership.members().cloned().collect();
        assert_eq!(members, others);
    }
}

#[test]
fn node_calls_a_seed_that_is_away_ever_more_slowly_until_it_comes() {
    let mut network = Network::new(5);
    network.start(identity(1), vec![identity(0).address]);
    network.pass_ms(60_000);
    // 0.2 s, 0.4 s … 3.2 s, then every 5 to 6.25 s.
    let calls = network.processes[0].membership.counters().sent;
    assert!((13..=18).contains(&calls), "{calls} calls in a minute");
    network.start(identity(0), Vec::new());
    let took = network.wait_ms(7_000, Network::all_know_all);
    assert!(took.is_some());
}

#[test]
fn node_does_not_call_itself() {
    let mut network = Network::new(6);
    network.start(identity(0), vec![identity(0).address]);
    network.pass_ms(60_000);
    assert_eq!(network.datagrams, 0);
    assert_eq!(network.now, Time(60_000_000));
}

#[test]
fn seed_that_is_this_node_under_another_name_is_no_twin() {
    let mut network = Network::new(7);
    let alone = network.start(identity(0), vec!["localhost:7400".to_owned()]);
    network.alias("localhost:7400", alone);
    network.pass_ms(60_000);
    assert_eq!(network.processes[alone].events, []);
    // It has recognised itself and calls there no more.
    assert!(network.datagrams <= 2, "{}", network.datagrams);
}

#[test]
fn two_clusters_become_one_when_a_seed_is_shared() {
    let mut network = Network::new(8);
    for node in 0..6 {
        let mut seeds = vec![identity(node % 2).address];
        if node == 2 {
            seeds.push(identity(1).address);
        }
        network.start(identity(node), seeds);
    }
    // Node 2 belongs to the even ones at first, as it can't reach the others.
    for (node, process) in network.processes.iter_mut().enumerate() {
        process.side = (node % 2) as u8;
    }
    network.pass_ms(5_000);
    assert_eq!(network.processes[2].membership.size(), 3);
    for process in &mut network.processes {
        process.side = 0;
    }
    let took = network.wait_ms(15_000, Network::all_know_all);
    assert!(took.is_some());
}

#[test]
fn same_seed_makes_the_same_cluster() {
    let run = |seed| {
        let mut network = Network::joined(10, seed);
        network.loss_percent = 10;
        network.pass_ms(10_000);
        let events: Vec<_> = network.running().map(|p| p.events.clone()).collect();
        (network.datagrams, network.bytes, events)
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
}
