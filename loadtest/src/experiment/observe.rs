//! What can be seen of the nodes meanwhile: through doors that are never cut.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use dunlin_client::{Client, NodeId, Options};
use serde::Serialize;
use tokio::sync::watch;

use crate::cluster::counted;
use crate::proc;

/// Between looks.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Every so many looks the contents of owners are compared: it reads every row.
const COMPARE_EVERY: u32 = 4;
/// How long a node may take to answer; one that stands still is looked at again with the next look.
const ANSWER_MAX: Duration = Duration::from_millis(400);

/// One node at one moment.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct NodePoint {
    pub(crate) at_ms: u64,
    pub(crate) node: usize,
    pub(crate) up: bool,
    pub(crate) hints: u64,
    pub(crate) clocks_behind: u64,
    pub(crate) filling: u64,
    pub(crate) rows: u64,
    /// CPU time since its process started, in milliseconds.
    pub(crate) cpu_ms: u64,
    pub(crate) memory_bytes: u64,
}

/// How far owners are apart at one moment.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct ApartPoint {
    pub(crate) at_ms: u64,
    /// Partitions whose owners that answered do not hold the same.
    pub(crate) differ: u64,
    /// Partitions of which some owner did not answer.
    pub(crate) unanswered: u64,
}

/// All that was seen.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Seen {
    pub(crate) nodes: Vec<NodePoint>,
    pub(crate) apart: Vec<ApartPoint>,
}

/// Looks at the nodes.
pub(crate) struct Observer {
    client: Client,
    start: Instant,
}

/// What all nodes say at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rest {
    /// Whether every node answered, and nothing is on its way.
    pub(crate) is_quiet: bool,
    /// Bytes of rows that repair brought since the nodes started.
    pub(crate) repaired_bytes: u64,
    /// Hints that were delivered.
    pub(crate) hints: u64,
}

impl Observer {
    pub(crate) fn new(client: &Client, start: Instant) -> Self {
        let client = client.with_options(Options::new().timeout(ANSWER_MAX));
        Self { client, start }
    }

    /// Looks again and again, until told to stop. `pids` are the nodes' processes at the moment.
    pub(crate) async fn run(
        &self,
        nodes: &[NodeId],
        pids: watch::Receiver<Vec<Option<u32>>>,
        mut stop: watch::Receiver<bool>,
    ) -> Seen {
        let mut seen = Seen::default();
        for look in 0u32.. {
            let at_ms = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
            let statuses = nodes.iter().map(|node| self.client.status(*node));
            for (node, status) in futures_in_order(statuses).await.into_iter().enumerate() {
                let pid = pids.borrow().get(node).copied().flatten();
                let status = status.ok();
                let up = status.is_some();
                let status = status.unwrap_or_default();
                seen.nodes.push(NodePoint {
                    at_ms,
                    node,
                    up,
                    hints: status.hints,
                    clocks_behind: status.clocks_behind,
                    filling: status.filling,
                    rows: status.rows,
                    cpu_ms: pid
                        .and_then(proc::cpu)
                        .map_or(0, |cpu| cpu.as_millis() as u64),
                    memory_bytes: pid.and_then(proc::rss_bytes).unwrap_or(0),
                });
            }
            if look.is_multiple_of(COMPARE_EVERY) {
                seen.apart.push(self.apart(at_ms).await);
            }
            tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => break,
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
        seen
    }

    async fn apart(&self, at_ms: u64) -> ApartPoint {
        let layout = self.client.layout();
        let (mut differ, mut unanswered) = (0, 0);
        for partition in layout.partitions().iter() {
            let owners = layout.owners(partition).to_vec();
            let digests = owners
                .iter()
                .map(|owner| self.client.digest(*owner, partition));
            let mut contents = BTreeSet::new();
            let mut silent = false;
            for digest in futures_in_order(digests).await {
                match digest {
                    Ok(digest) => drop(contents.insert(digest.content)),
                    Err(_) => silent = true,
                }
            }
            differ += u64::from(contents.len() > 1);
            unanswered += u64::from(silent);
        }
        ApartPoint {
            at_ms,
            differ,
            unanswered,
        }
    }

    /// Whether nothing is on its way between the nodes.
    pub(crate) async fn rest(&self, nodes: &[NodeId]) -> Rest {
        let statuses = nodes.iter().map(|node| self.client.status(*node));
        let statuses: Vec<_> = futures_in_order(statuses).await;
        let answered: Vec<_> = statuses.into_iter().flatten().collect();
        let is_quiet = answered.len() == nodes.len()
            && answered.iter().all(|status| {
                status.clocks_behind == 0
                    && status.hints == 0
                    && status.filling == 0
                    && status.unsynced == 0
                    && status.peers.iter().all(|peer| peer.reachable)
            });
        Rest {
            is_quiet,
            repaired_bytes: counted(&answered, "repair_bytes_taken"),
            hints: counted(&answered, "hints_delivered"),
        }
    }
}

/// All of these at once; their results in order.
async fn futures_in_order<F: Future>(futures: impl Iterator<Item = F>) -> Vec<F::Output> {
    use std::task::Poll;
    let mut futures: Vec<_> = futures.map(|future| (Box::pin(future), None)).collect();
    std::future::poll_fn(|context| {
        let mut is_over = true;
        for (future, output) in &mut futures {
            if output.is_none() {
                match future.as_mut().poll(context) {
                    Poll::Ready(ended) => *output = Some(ended),
                    Poll::Pending => is_over = false,
                }
            }
        }
        match is_over {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    })
    .await;
    futures
        .into_iter()
        .filter_map(|(_, output)| output)
        .collect()
}
