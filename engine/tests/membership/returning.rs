//! Restarts, splits that heal, and two processes that claim to be one node.

use dunlin_engine::membership::{Identity, MembershipEvent};

use crate::network::{Network, identity};

fn restarted(node: usize, incarnation: u64) -> Identity {
    Identity {
        incarnation,
        instance: 0xabcd_0000 + incarnation,
        ..identity(node)
    }
}

fn said(network: &Network, process: usize, wanted: impl Fn(&MembershipEvent) -> bool) -> bool {
    let events = &network.processes[process].events;
    events.iter().any(|(_, event)| wanted(event))
}

#[track_caller]
fn halves_meet_again(nodes: usize, apart_ms: u64, bound_ms: u64) {
    let mut network = Network::joined(nodes, 20);
    for process in &mut network.processes[nodes / 2..] {
        process.side = 1;
    }
    network.pass_ms(apart_ms);
    assert_eq!(network.processes[0].membership.size(), nodes / 2);
    for process in &mut network.processes {
        process.side = 0;
    }
    let took = network.wait_ms(bound_ms, Network::all_know_all);
    assert!(
        took.is_some(),
        "{nodes} nodes did not meet in {bound_ms} ms"
    );
    println!(
        "{nodes} nodes, {apart_ms} ms apart: all know all after {} ms",
        took.unwrap()
    );
    let from = network.now;
    network.pass_ms(10_000);
    assert_eq!(network.false_deaths(from), 0, "no aftershocks");
}

#[test]
fn halves_of_two_nodes_meet_again() {
    halves_meet_again(2, 60_000, 15_000);
}

#[test]
fn halves_of_ten_nodes_meet_again_after_a_minute() {
    halves_meet_again(10, 60_000, 15_000);
}

#[test]
fn halves_of_hundred_nodes_meet_again() {
    halves_meet_again(100, 15_000, 15_000);
}

#[test]
fn node_cut_off_alone_is_back_and_says_so() {
    let mut network = Network::joined(10, 21);
    network.processes[4].side = 1;
    network.pass_ms(60_000);
    assert!(network.nobody_counts(identity(4).id) || network.processes[4].membership.size() == 1);
    network.processes[4].side = 0;
    let took = network.wait_ms(10_000, Network::all_know_all);
    assert!(took.is_some());
    assert!(said(&network, 4, |event| *event == MembershipEvent::Rejoined));
    let up_again = |event: &MembershipEvent| matches!(event, MembershipEvent::Up(who) if who.id == identity(4).id);
    let ups = network.processes[0]
        .events
        .iter()
        .filter(|(_, event)| up_again(event));
    assert_eq!(ups.count(), 2);
}

#[test]
fn quick_restart_replaces_the_old_process_at_once_and_without_a_death() {
    let mut network = Network::joined(10, 22);
    let new = restarted(4, 2);
    network.start(new.clone(), vec![identity(0).address]);
    let knows = |network: &Network| {
        let mut others = network.running().filter(|p| p.membership.me().id != new.id);
        others.all(|p| p.membership.members().any(|who| *who == new))
    };
    let took = network.wait_ms(1_500, knows);
    assert!(took.is_some());
    assert!(said(&network, 0, |event| *event
        == MembershipEvent::Restarted(new.clone())));
    network.pass_ms(10_000);
    assert!(network.all_know_all());
    assert!(!said(&network, 10, |e| matches!(
        e,
        MembershipEvent::Twin(_) | MembershipEvent::Replaced { .. }
    )));
}

#[test]
fn restart_after_a_known_death_is_up_again_under_a_new_address() {
    let mut network = Network::joined(10, 23);
    network.kill(4);
    let dead = network.wait_ms(10_000, |n| n.nobody_counts(identity(4).id));
    assert!(dead.is_some());
    let new = Identity {
        address: "moved:7400".to_owned(),
        ..restarted(4, 2)
    };
    network.start(new.clone(), vec![identity(0).address]);
    let took = network.wait_ms(2_000, Network::all_know_all);
    assert!(took.is_some());
    assert!(said(&network, 0, |event| *event
        == MembershipEvent::Up(new.clone())));
}

#[test]
fn node_that_left_may_start_again() {
    let mut network = Network::joined(5, 24);
    network.leave(2);
    network.pass_ms(1_000);
    network.start(restarted(2, 2), vec![identity(0).address]);
    let took = network.wait_ms(2_000, Network::all_know_all);
    assert!(took.is_some());
}

#[test]
fn clone_that_is_newer_replaces_the_first_which_learns_of_it() {
    let mut network = Network::joined(10, 25);
    let second = Identity {
        address: "clone:7400".to_owned(),
        ..restarted(4, 2)
    };
    let clone = network.start(second.clone(), vec![identity(0).address]);
    let replaced = MembershipEvent::Replaced { by: second.clone() };
    let took = network.wait_ms(3_000, |n| said(n, 4, |event| *event == replaced));
    assert!(took.is_some());
    network.kill(4);
    let took = network.wait_ms(3_000, Network::all_know_all);
    assert!(took.is_some());
    assert!(!said(&network, clone, |e| matches!(
        e,
        MembershipEvent::Replaced { .. }
    )));
    assert!(
        network.processes[0]
            .membership
            .members()
            .any(|who| *who == second)
    );
}

#[test]
fn clone_that_is_older_is_told_and_changes_nothing() {
    let mut network = Network::joined(10, 26);
    let older = Identity {
        address: "clone:7400".to_owned(),
        instance: 1,
        ..identity(4)
    };
    let clone = network.start(older, vec![identity(0).address, identity(4).address]);
    let by = identity(4);
    let replaced = MembershipEvent::Replaced { by: by.clone() };
    let took = network.wait_ms(3_000, |n| said(n, clone, |event| *event == replaced));
    assert!(took.is_some());
    network.kill(clone);
    let sent = network.processes[clone].membership.counters().sent;
    network.pass_ms(10_000);
    assert_eq!(network.processes[clone].membership.counters().sent, sent);
    assert!(network.all_know_all());
    let restarts = |event: &MembershipEvent| {
        matches!(
            event,
            MembershipEvent::Restarted(_) | MembershipEvent::Down(_)
        )
    };
    assert!((0..10).all(|process| !said(&network, process, restarts)));
    assert!(
        network.processes[0]
            .membership
            .members()
            .any(|who| *who == by)
    );
}

#[test]
fn clone_that_calls_the_first_itself_is_reported_by_it_once() {
    let mut network = Network::joined(3, 27);
    let older = Identity {
        address: "clone:7400".to_owned(),
        instance: 1,
        ..identity(1)
    };
    network.start(older.clone(), vec![identity(1).address]);
    network.pass_ms(20_000);
    let twins = network.processes[1].events.iter();
    let twins = twins.filter(|(_, event)| *event == MembershipEvent::Twin(older.clone()));
    assert_eq!(twins.count(), 1);
}

#[test]
fn node_whose_incarnation_fell_back_rises_above_its_dead_self() {
    let mut network = Network::joined(5, 28);
    network.start(restarted(2, 7), vec![identity(0).address]);
    network.pass_ms(5_000);
    network.kill(5);
    let dead = network.wait_ms(10_000, |n| n.nobody_counts(identity(2).id));
    assert!(dead.is_some());
    let back = network.start(restarted(2, 3), vec![identity(0).address]);
    let took = network.wait_ms(5_000, Network::all_know_all);
    assert!(took.is_some());
    let raised = MembershipEvent::Raised { incarnation: 8 };
    assert!(said(&network, back, |event| *event == raised));
    assert_eq!(network.processes[back].membership.me().incarnation, 8);
}
