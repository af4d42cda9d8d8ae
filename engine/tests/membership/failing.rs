//! The dead are noticed, the living are not mourned.

use dunlin_engine::membership::{MembershipEvent, Standing};

use crate::network::{Network, identity};

/// The longest time until all knew of a death, over several seeds.
fn longest_notice_ms(nodes: usize, seeds: u64) -> u64 {
    let notice = |seed| {
        let mut network = Network::joined(nodes, seed);
        network.pass_ms(2_000 + seed * 37);
        let dead = nodes / 2;
        network.kill(dead);
        let took = network.wait_ms(20_000, |network| network.nobody_counts(identity(dead).id));
        took.unwrap()
    };
    (0..seeds).map(notice).max().unwrap()
}

#[test]
fn death_in_three_nodes_is_known_to_all_in_five_seconds() {
    let longest = longest_notice_ms(3, 40);
    assert!(longest <= 5_000, "{longest} ms");
}

#[test]
fn death_in_ten_nodes_is_known_to_all_in_five_seconds() {
    let longest = longest_notice_ms(10, 30);
    assert!(longest <= 5_000, "{longest} ms");
}

#[test]
fn death_in_thirty_nodes_is_known_to_all_in_five_seconds() {
    let longest = longest_notice_ms(30, 8);
    assert!(longest <= 5_000, "{longest} ms");
}

#[test]
fn death_in_hundred_nodes_is_known_to_all_in_five_seconds() {
    let longest = longest_notice_ms(100, 2);
    assert!(longest <= 5_000, "{longest} ms");
}

#[test]
fn many_deaths_at_once_are_known_to_all_in_five_seconds() {
    let mut network = Network::joined(30, 2);
    for dead in 20..30 {
        network.kill(dead);
    }
    let took = network.wait_ms(5_000, Network::all_know_all);
    assert!(took.is_some());
}

#[test]
fn suspected_node_is_a_member_until_it_is_down() {
    let mut network = Network::joined(3, 1);
    network.kill(2);
    let dead = identity(2).id;
    let suspected = |network: &Network| {
        let at = &network.processes[0].membership;
        at.standing(dead) == Some(Standing::Suspect)
    };
    assert!(network.wait_ms(5_000, suspected).is_some());
    assert!(network.processes[0].membership.is_alive(dead));
    assert!(network.wait_ms(5_000, |n| n.nobody_counts(dead)).is_some());
    let at = &network.processes[0].membership;
    assert_eq!(at.standing(dead), Some(Standing::Down));
    assert!(!at.is_alive(dead));
}

#[test]
fn nobody_dies_for_half_an_hour_without_loss() {
    let mut network = Network::joined(10, 9);
    let from = network.now;
    network.pass_ms(30 * 60_000);
    assert_eq!(network.false_deaths(from), 0);
    assert!(network.all_know_all());
}

#[test]
fn nobody_of_hundred_dies_for_a_quarter_of_a_minute_without_loss() {
    let mut network = Network::joined(100, 9);
    let from = network.now;
    network.pass_ms(15_000);
    assert_eq!(network.false_deaths(from), 0);
    assert!(network.all_know_all());
}

#[test]
fn losing_every_tenth_datagram_kills_few_and_they_are_back_in_seconds() {
    let mut network = Network::joined(30, 10);
    network.loss_percent = 10;
    let from = network.now;
    network.pass_ms(60_000);
    let deaths = network.false_deaths(from);
    println!("false deaths in 30 node-minutes with a tenth lost, counted at each node: {deaths}");
    // One death is said by up to 29 others.
    assert!(deaths <= 29, "{deaths}");
    let took = network.wait_ms(10_000, Network::all_know_all);
    assert!(took.is_some());
}

#[test]
fn losing_every_third_datagram_leaves_all_alive_in_the_end() {
    let mut network = Network::joined(10, 11);
    network.loss_percent = 33;
    network.pass_ms(60_000);
    network.loss_percent = 0;
    let took = network.wait_ms(10_000, Network::all_know_all);
    assert!(took.is_some());
}

#[test]
fn leaving_is_known_to_all_in_a_second_without_suspicion() {
    let mut network = Network::joined(30, 12);
    network.leave(7);
    network.kill(7);
    let took = network.wait_ms(1_000, |n| n.nobody_counts(identity(7).id));
    assert!(took.is_some());
}

#[test]
fn node_that_left_says_and_hears_nothing_more() {
    let mut network = Network::joined(3, 13);
    network.leave(1);
    let sent = network.processes[1].membership.counters().sent;
    network.pass_ms(30_000);
    assert_eq!(network.processes[1].membership.counters().sent, sent);
    assert!(!network.processes[0].membership.is_alive(identity(1).id));
}

#[test]
fn node_that_stood_still_does_not_hold_it_against_the_others() {
    for seed in 0..20 {
        let mut network = Network::joined(5, seed);
        // With a suspicion on its way that its object has answered.
        network.loss_percent = 100;
        network.pass_ms(600);
        network.loss_percent = 0;
        let from = network.now;
        network.pause(3, 3_000);
        network.pass_ms(3_100);
        let events = network.processes[3].events.iter();
        let mut since = events.filter(|(at, _)| *at >= from);
        assert!(
            since.all(|(_, event)| !matches!(event, MembershipEvent::Down(_))),
            "seed {seed}"
        );
        assert_eq!(network.processes[3].membership.counters().overslept, 1);
        let took = network.wait_ms(15_000, Network::all_know_all);
        assert!(took.is_some(), "seed {seed}");
    }
}
