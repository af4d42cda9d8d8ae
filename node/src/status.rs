//! What is asked of the node as a whole: how it is, and to return disk space.
//!
//! A status is put together from what every part says of itself. Nothing is cached: two questions
//! cost two rounds, and only so many are answered at a time.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use dunlin_client::transport::Link;
use dunlin_engine::{Counters, ShardReport};
use dunlin_protocol::error::Failure;
use dunlin_protocol::request::Request;
use dunlin_protocol::response::Answer;
use dunlin_protocol::status::{NodeStatus, PathStatus, PeerStatus, StartReport};
use dunlin_ring::NodeId;
use dunlin_storage::{Kv, KvError};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, oneshot};

use crate::board::ViewBoard;
use crate::clock::Clock;
use crate::counters::NodeCounters;
use crate::driver::Parts;
use crate::driver::part::{PartMessage, PartReport};
use crate::links::{PeerLinks, Purpose};
use crate::listener::clients::Asker;
use crate::writer::board::StorageBoard;

/// Questions for the status answered at one time; more are refused with `Overloaded`.
const STATUSES_MAX: usize = 32;
/// How long a part may take to say how it is.
const REPORT_TIMEOUT: Duration = Duration::from_secs(5);

/// Answers what is asked of the node as a whole.
pub(crate) struct Desk {
    pub(crate) me: NodeId,
    pub(crate) name: String,
    pub(crate) views: Arc<ViewBoard>,
    pub(crate) links: Arc<PeerLinks>,
    pub(crate) start: StartReport,
    pub(crate) data_dir: PathBuf,
    pub(crate) kv: Arc<dyn Kv>,
    pub(crate) parts: Arc<Parts>,
    pub(crate) board: Arc<StorageBoard>,
    pub(crate) clock: Clock,
    pub(crate) counters: Arc<NodeCounters>,
    pub(crate) statuses: Semaphore,
    /// One at a time: two would only take turns.
    pub(crate) compactions: Semaphore,
    /// Where answers are put together; set when the runtime is there.
    pub(crate) runtime: OnceLock<Handle>,
    /// Counts connected clients, likewise.
    pub(crate) clients: OnceLock<Box<dyn Fn() -> usize + Send + Sync>>,
}

impl Desk {
    /// How many of each are answered at a time.
    pub(crate) fn permits() -> (Semaphore, Semaphore) {
        (Semaphore::new(STATUSES_MAX), Semaphore::new(1))
    }

    /// Answers `Status` or `Compact`, later.
    pub(crate) fn ask(self: &Arc<Self>, asker: Asker, request: &Request) {
        let Some(runtime) = self.runtime.get() else {
            return self.answer(&asker, Answer::Failed(Failure::Overloaded));
        };
        let desk = Arc::clone(self);
        if *request == Request::Compact {
            runtime.spawn(async move { desk.compact(asker).await });
        } else {
            runtime.spawn(async move { desk.status(asker).await });
        }
    }

    async fn status(self: Arc<Self>, asker: Asker) {
        let Ok(_permit) = self.statuses.try_acquire() else {
            return self.answer(&asker, Answer::Failed(Failure::Overloaded));
        };
        let answer = match self.reports().await {
            Some(reports) => {
                let desk = Arc::clone(&self);
                let disk = tokio::task::spawn_blocking(move || desk.disk()).await;
                let status = self.sum(reports, disk.unwrap_or_default());
                Answer::Status(Box::new(status))
            }
            None => Answer::Failed(Failure::Overloaded),
        };
        self.answer(&asker, answer);
    }

    async fn compact(self: Arc<Self>, asker: Asker) {
        let Ok(_permit) = self.compactions.try_acquire() else {
            return self.answer(&asker, Answer::Failed(Failure::Overloaded));
        };
        let kv = Arc::clone(&self.kv);
        let compacted = tokio::task::spawn_blocking(move || {
            let before = kv.disk_bytes();
            kv.compact().map(|()| (before, kv.disk_bytes()))
        });
        let answer = match compacted.await {
            Ok(Ok((before, after))) => Answer::Compacted { before, after },
            Ok(Err(error)) => {
                tracing::error!(%error, "compaction failed");
                Answer::Failed(match error {
                    KvError::Full => Failure::StorageFull,
                    KvError::Poisoned
                    | KvError::Closed
                    | KvError::TooLarge { .. }
                    | KvError::Corrupt { .. }
                    | KvError::Io { .. }
                    | KvError::Locked { .. }
                    | KvError::FormatNewer { .. } => Failure::StorageFailed,
                })
            }
            Err(error) => {
                tracing::error!(%error, "compaction broke down");
                Answer::Failed(Failure::StorageFailed)
            }
        };
        self.answer(&asker, answer);
    }

    /// Asks every part how it is; `None` if one does not answer in time.
    pub(crate) async fn reports(&self) -> Option<Vec<PartReport>> {
        let mut answers = Vec::new();
        for part in self.parts.all() {
            let (asker, answer) = oneshot::channel();
            part.push(PartMessage::Inspect(asker));
            answers.push(answer);
        }
        let all = async {
            let mut reports = Vec::with_capacity(answers.len());
            for answer in answers {
                reports.push(answer.await.ok()?);
            }
            Some(reports)
        };
        tokio::time::timeout(REPORT_TIMEOUT, all).await.ok()?
    }

    /// Bytes that the store takes, and bytes that are free beside it.
    fn disk(&self) -> (u64, u64) {
        let free = rustix::fs::statvfs(&self.data_dir)
            .map_or(0, |stat| stat.f_bavail.saturating_mul(stat.f_frsize));
        (self.kv.disk_bytes(), free)
    }

    fn sum(
        &self,
        reports: Vec<PartReport>,
        (disk_bytes, disk_free_bytes): (u64, u64),
    ) -> NodeStatus {
        let mut sum = Sum::default();
        for report in reports {
            match report {
                PartReport::Shard(report) => sum.add_shard(&report),
                PartReport::Control { peers, counters } => {
                    sum.peers = peers;
                    sum.add_counters(&counters);
                }
            }
        }
        // The engine knows the names of members only.
        for peer in sum.peers.iter_mut().filter(|peer| peer.name.is_empty()) {
            peer.name = self.links.name(peer.node).unwrap_or_default();
        }
        for peer in &mut sum.peers {
            let link = self.links.live(peer.node, Purpose::Requests);
            peer.path = link.map(|link| path_of(&link));
        }
        for (name, count) in self.counters.all() {
            *sum.counters.entry(name).or_default() += count;
        }
        let clients = self.clients.get().map_or(0, |clients| clients());
        sum.counters.insert("clients_connected", clients as u64);
        sum.add_health();
        let shards = sum.shards;
        NodeStatus {
            node: self.me,
            name: self.name.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            layout: self.views.newest(),
            uptime_ms: self.clock.time().0 / 1000,
            start: self.start.clone(),
            partitions: shards.partitions,
            filling: shards.filling,
            rows: shards.tally.rows,
            row_bytes: shards.tally.row_bytes,
            counting: shards.tally.counting,
            log_entries: shards.tally.log_entries,
            pending: shards.tally.pending,
            hints: shards.tally.hints,
            clocks_behind: shards.clocks_behind,
            actors: shards.tally.actors,
            actors_known: shards.tally.actors_known,
            disk_bytes,
            disk_free_bytes,
            storage: self.board.state(),
            unsynced: shards.unsynced,
            in_flight: shards.in_flight,
            damaged: shards.damaged,
            unreadable: shards.unreadable,
            proven: shards.proven,
            peers: sum.peers,
            counters: sum
                .counters
                .into_iter()
                .map(|(name, count)| (name.to_owned(), count))
                .collect(),
        }
    }

    fn answer(&self, asker: &Asker, answer: Answer) {
        asker.answer(self.views.newest(), answer, &self.counters);
    }
}

fn path_of(link: &Link) -> PathStatus {
    let path = link.connection().stats().path;
    PathStatus {
        rtt_us: u64::try_from(path.rtt.as_micros()).unwrap_or(u64::MAX),
        sent: path.sent_packets,
        lost: path.lost_packets,
        congested: path.congestion_events,
        window_bytes: path.cwnd,
    }
}

/// What the parts say, added up.
#[derive(Default)]
struct Sum {
    shards: ShardReport,
    peers: Vec<PeerStatus>,
    counters: std::collections::BTreeMap<&'static str, u64>,
}

impl Sum {
    fn add_shard(&mut self, report: &ShardReport) {
        let sum = &mut self.shards;
        sum.partitions += report.partitions;
        sum.filling += report.filling;
        sum.clocks_behind += report.clocks_behind;
        sum.in_flight += report.in_flight;
        sum.damaged += report.damaged;
        sum.unreadable += report.unreadable;
        sum.proven += report.proven;
        for (node, health) in &report.peers {
            let worst = sum.peers.entry(*node).or_default();
            if health.demoted.is_some() || health.latency_us > worst.latency_us {
                *worst = *health;
            }
        }
        sum.unsynced += report.unsynced;
        let (total, tally) = (&mut sum.tally, &report.tally);
        total.rows += tally.rows;
        total.row_bytes += tally.row_bytes;
        total.counting |= tally.counting;
        total.log_entries += tally.log_entries;
        total.pending += tally.pending;
        total.hints += tally.hints;
        total.hint_bytes += tally.hint_bytes;
        total.actors += tally.actors;
        total.actors_known += tally.actors_known;
        self.add_counters(&report.counters);
    }

    /// What shards have seen of each peer, beside what the control part says.
    fn add_health(&mut self) {
        for peer in &mut self.peers {
            if let Some(health) = self.shards.peers.get(&peer.node) {
                peer.latency_us = health.latency_us;
                peer.p99_us = health.p99_us;
                peer.failed_permille = health.failed_permille;
                peer.demoted = health.demoted.map(|why| why.to_string());
            }
        }
    }

    fn add_counters(&mut self, counters: &Counters) {
        for (name, count) in counters.iter() {
            *self.counters.entry(name).or_default() += count;
        }
    }
}
