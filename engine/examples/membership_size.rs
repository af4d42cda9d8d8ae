//! What membership costs a node, and how soon a death is known, by the size of the cluster.
//!
//! `cargo run --release -p dunlin-engine --example membership_size -- 3 10 30 100 300`

#![expect(
    clippy::unwrap_used,
    dead_code,
    reason = "the test network is shared with the tests"
)]

#[path = "../tests/membership/network.rs"]
mod network;

use network::Network;

fn main() {
    let sizes: Vec<usize> = std::env::args()
        .skip(1)
        .filter_map(|a| a.parse().ok())
        .collect();
    let sizes = if sizes.is_empty() {
        vec![3, 10, 30, 100]
    } else {
        sizes
    };
    println!("round trips of 2 to 100 ms; times in milliseconds, rates per node and second");
    println!(
        "nodes  loss  joined   quiet datagrams   bytes   death known by all: median    max   false deaths per node and hour"
    );
    for nodes in sizes {
        for loss_percent in [0, 10] {
            report(nodes, loss_percent);
        }
    }
}

fn report(nodes: usize, loss_percent: u64) {
    let mut network = Network::new(7);
    network.loss_percent = loss_percent;
    network.start_all(nodes);
    let joined = network.wait_ms(60_000, Network::all_know_all);
    network.pass_ms(30_000);

    let (from, datagrams, bytes) = (network.now, network.datagrams, network.bytes);
    let quiet_s = 60;
    network.pass_ms(quiet_s * 1000);
    let per = |count: u64| count / nodes as u64 / quiet_s;
    let (datagrams, bytes) = (
        per(network.datagrams - datagrams),
        per(network.bytes - bytes),
    );
    let false_deaths = network.false_deaths(from) as f64 * 60.0 / nodes as f64;

    // One after the other dies and is started again.
    let mut deaths = Vec::new();
    for round in 1..=20 {
        let (at, process) = network
            .processes
            .iter()
            .enumerate()
            .filter(|(_, process)| process.running)
            .nth(1)
            .unwrap();
        let mut me = process.membership.me().clone();
        network.kill(at);
        let took = network.wait_ms(60_000, |network| network.nobody_counts(me.id));
        deaths.push(took.unwrap_or(u64::MAX));
        me.incarnation += round;
        network.start(me, vec![network::identity(0).address]);
        network.wait_ms(60_000, Network::all_know_all);
    }
    deaths.sort_unstable();
    println!(
        "{nodes:>5} {loss_percent:>4}% {:>7}   {datagrams:>15} {bytes:>7}   {:>26} {:>6}   {false_deaths:>10.2}",
        joined.map_or("never".to_owned(), |ms| ms.to_string()),
        deaths[deaths.len() / 2],
        deaths[deaths.len() - 1],
    );
}
