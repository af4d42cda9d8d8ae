//! What nodes and client spend between two moments.

use std::time::Duration;

use tokio::time::Instant;

use crate::cluster::Node;
use crate::proc;

/// CPU time, and the time in which it was spent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Spent {
    pub(crate) elapsed: Duration,
    /// User and system time of all nodes. `None` if one is not on this machine, or ended meanwhile.
    pub(crate) servers: Option<Duration>,
    /// Of this process, or of those that were named: the client library and what makes the load.
    pub(crate) client: Option<Duration>,
    /// Of everything else on this machine.
    pub(crate) others: Option<Duration>,
    /// Bytes that the nodes made the disk write.
    pub(crate) written_bytes: Option<u64>,
}

/// Begins a measurement.
#[derive(Clone, Debug)]
pub(crate) struct Meter {
    nodes: Vec<u32>,
    clients: Vec<u32>,
    start: Instant,
    servers: Option<Duration>,
    client: Option<Duration>,
    machine: Option<Duration>,
    written_bytes: Option<u64>,
}

impl Meter {
    /// From now on, for these nodes, and this process as their client.
    pub(crate) fn start(nodes: &[Node]) -> Self {
        Self::of(nodes, vec![std::process::id()])
    }

    /// From now on, for these nodes, and these processes as their clients.
    pub(crate) fn of(nodes: &[Node], clients: Vec<u32>) -> Self {
        Self::of_processes(nodes.iter().map(|node| node.pid).collect(), clients)
    }

    /// From now on, for processes of any program.
    pub(crate) fn of_processes(nodes: Vec<u32>, clients: Vec<u32>) -> Self {
        Self {
            servers: cpu(&nodes),
            client: cpu(&clients),
            machine: proc::busy(),
            written_bytes: written(&nodes),
            start: Instant::now(),
            nodes,
            clients,
        }
    }

    /// What was spent since.
    pub(crate) fn read(&self) -> Spent {
        let since = |now: Option<Duration>, then: Option<Duration>| now?.checked_sub(then?);
        let servers = since(cpu(&self.nodes), self.servers);
        let client = since(cpu(&self.clients), self.client);
        let ours = servers.unwrap_or_default() + client.unwrap_or_default();
        Spent {
            elapsed: self.start.elapsed(),
            servers,
            client,
            // The counts are not taken at one moment, and rounded.
            others: since(proc::busy(), self.machine).map(|all| all.saturating_sub(ours)),
            written_bytes: written(&self.nodes)
                .and_then(|now| now.checked_sub(self.written_bytes?)),
        }
    }
}

fn cpu(pids: &[u32]) -> Option<Duration> {
    if pids.is_empty() {
        return None;
    }
    pids.iter().map(|pid| proc::cpu(*pid)).sum()
}

fn written(pids: &[u32]) -> Option<u64> {
    if pids.is_empty() {
        return None;
    }
    pids.iter().map(|pid| proc::written_bytes(*pid)).sum()
}
