//! `dunlin cluster status --peers`: how each node finds the others, a line for each pair.

use dunlin_client::status::{NodeStatus, PeerStatus};

use super::shape::by_name;
use crate::cli::progress::{bytes, count, time};
use crate::cli::table::{Lean, Table};

/// What nodes say of each other.
pub(super) fn table<'a>(said: impl Iterator<Item = &'a NodeStatus>) -> Table {
    let mut table = Table::new([
        ("NODE", Lean::Left),
        ("PEER", Lean::Left),
        ("STATE", Lean::Left),
        ("HEARD", Lean::Right),
        ("RTT", Lean::Right),
        ("LOST", Lean::Right),
        ("CONGESTED", Lean::Right),
        ("WINDOW", Lean::Right),
        ("ANSWERS IN", Lean::Right),
        ("P99", Lean::Right),
        ("FAILED", Lean::Right),
    ]);
    let mut said: Vec<&NodeStatus> = said.collect();
    said.sort_by(|a, b| by_name(&a.name, &b.name));
    for status in said {
        let mut peers: Vec<&PeerStatus> = status.peers.iter().collect();
        peers.sort_by(|a, b| by_name(&a.name, &b.name));
        for peer in peers {
            let names = [status.name.clone(), peer.name.clone()];
            table.row(names.into_iter().chain(cells(peer)));
        }
    }
    table
}

fn cells(peer: &PeerStatus) -> [String; 9] {
    let state = match (&peer.demoted, peer.reachable) {
        (_, false) => "unreachable",
        (Some(why), true) => why,
        (None, true) => "reachable",
    };
    let [rtt, lost, congested, window] = match &peer.path {
        None => ["-"; 4].map(str::to_owned),
        Some(path) => [
            millis(path.rtt_us),
            percent(path.lost_permille()),
            count(path.congested),
            bytes(path.window_bytes),
        ],
    };
    let asked = |text: String| match peer.latency_us {
        0 => "-".to_owned(),
        _ => text,
    };
    [
        state.to_owned(),
        format!("{} ago", time(peer.silent_ms)),
        rtt,
        lost,
        congested,
        window,
        asked(millis(peer.latency_us)),
        asked(millis(peer.p99_us)),
        percent(peer.failed_permille),
    ]
}

fn millis(micros: u64) -> String {
    format!("{}.{} ms", micros / 1000, micros % 1000 / 100)
}

fn percent(permille: u64) -> String {
    format!("{}.{} %", permille / 10, permille % 10)
}

#[cfg(test)]
mod tests {
    use dunlin_protocol::status::PathStatus;

    use super::*;

    fn peer(name: &str, reachable: bool) -> PeerStatus {
        PeerStatus {
            name: name.to_owned(),
            reachable,
            ..PeerStatus::default()
        }
    }

    #[test]
    fn what_the_network_loses_is_shown_and_a_peer_without_a_link_has_no_path() {
        let mut lossy = peer("n10", true);
        lossy.path = Some(PathStatus {
            rtt_us: 1_250,
            sent: 400,
            lost: 5,
            congested: 2,
            window_bytes: 2048,
        });
        let status = NodeStatus {
            name: "n1".to_owned(),
            peers: vec![lossy, peer("n2", false)],
            ..NodeStatus::default()
        };
        let lines = table([&status].into_iter()).lines();
        let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(
            words(&lines[1]),
            "n1 n2 unreachable 0s ago - - - - - - 0.0 %"
        );
        assert_eq!(
            words(&lines[2]),
            "n1 n10 reachable 0s ago 1.2 ms 1.2 % 2 2.0 KiB - - 0.0 %"
        );
    }
}
