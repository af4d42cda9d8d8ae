//! What a node costs that comes back after long: it was stopped in order, and others were written to,
//! deleted from, changed in shape and rid of a bucket meanwhile.
//!
//! ```text
//!   keys are written ─> one node stops ─> writes, deletes; a bucket is dropped; a node joins, another gets
//!   more capacity ─> it comes back: what is sent to it, how long it takes, what clients feel of it
//! ```
//!
//! A report; but everything is judged by the same checkers as any run, so nothing that was deleted may be
//! back. Times of clients show what waits for what, and no more: a simulated disk is as fast for much as
//! for little.

use bytes::Bytes;
use dunlin_crdt::{Clock, Kind, OpId};
use dunlin_protocol::BucketDefaults;
use dunlin_protocol::cluster::Change;
use dunlin_protocol::request::{Query, ReadOptions, Replace, WriteOp, WriteOptions};
use dunlin_ring::{BucketId, PartitionId, RingError};
use dunlin_storage::Kv;

use crate::check::Violation;
use crate::history::{Action, Outcome};
use crate::operator::{LayoutOptions, Standing};
use crate::options::{BucketPlan, Options, pick};
use crate::overrides::Overrides;
use crate::run::layout;
use crate::size::calm;
use crate::trace::Trace;
use crate::traffic::{Traffic, What};
use crate::world::World;

const NODES: usize = 4;
const PARTITIONS: u16 = 32;
/// The node that is away; operators ask the first.
const AWAY: usize = 2;
const KEYS: u64 = 1_500;
const VALUE_BYTES: usize = 1_000;
/// A request now and then while nobody watches, and often where times are measured.
const SELDOM_US: u64 = 500_000;
const OFTEN_US: u64 = 10_000;
/// For how long times are measured before it comes back, and at least after.
const WATCHED_US: u64 = 20_000_000;
/// The most that catching up may take.
const PATIENCE_US: u64 = 600_000_000;

/// What was seen of a node that came back.
#[derive(Clone, Debug)]
pub struct AbsenceReport {
    /// How long it was away, in seconds.
    pub away_s: u64,
    /// Writes and deletes that were acknowledged meanwhile.
    pub acknowledged: u64,
    /// Rows that it owns and that are not as it knew them, those that are gone too.
    pub missed_rows: u64,
    /// The bytes of these, keys and values as they are stored.
    pub missed_bytes: u64,
    /// What repair sent to it until it had caught up, in bytes.
    pub repair_bytes: u64,
    /// What was sent to it of hints by then.
    pub hint_bytes: u64,
    /// Until it knew all that others knew when it came back; `None` if it never did.
    pub caught_up_ms: Option<u64>,
    /// The slowest request but one in a hundred while it was away, in microseconds.
    pub p99_before_us: u64,
    /// The same while it caught up, and for a while after.
    pub p99_after_us: u64,
    /// What does not hold.
    pub violations: Vec<Violation>,
}

/// Has one of four nodes away for so many seconds.
///
/// # Errors
/// [`RingError`] never, but for a mistake in this file.
pub fn absence(seconds: u64) -> Result<AbsenceReport, RingError> {
    let mut rng = fastrand::Rng::with_seed(seconds);
    let plan = BucketPlan {
        kind: Kind::Lww,
        defaults: BucketDefaults::default(),
    };
    let options = calm(Options::draw(0, &mut rng, &Overrides::default()));
    let options = Options {
        nodes: NODES,
        partitions: PARTITIONS,
        shards: 2,
        buckets: vec![plan, plan],
        clients: 1,
        client_timeout_ms: 3_000,
        // Nobody operates by chance; but the checkers know that layouts change.
        layouts: Some(LayoutOptions {
            spares: 1,
            operators: 0,
            think_ms_max: 1,
            deaths_permille: 0,
            returns_permille: 0,
            reverts_permille: 0,
        }),
        ..options
    };
    let founded = std::sync::Arc::new(layout(&options)?);
    let mut world = World::new(options, rng, founded, Trace::new(false));
    Ok(world.be_away(seconds))
}

impl World {
    fn be_away(&mut self, seconds: u64) -> AbsenceReport {
        self.be_born();
        self.make_buckets();
        let (lasting, dropped) = (self.history.lasting[0], self.history.lasting[1]);
        for number in 0..KEYS {
            self.write_one(lasting, number);
            self.run_until(self.now + 2_000);
            if number % 4 == 0 {
                self.write_one(dropped, number);
            }
        }
        self.run_until(self.now + 15_000_000);

        self.stop(AWAY);
        self.nodes[AWAY].standing = Standing::Dead { returns: true };
        let (from, first) = (self.now, self.history.ops.len());
        let length = seconds * 1_000_000;
        self.keep_busy(lasting, from + length / 4, SELDOM_US);
        self.let_join(NODES);
        self.keep_busy(lasting, from + length / 2, SELDOM_US);
        self.ask(self.clients.len(), 0, Action::Drop("b1".to_owned()), 5_000);
        self.keep_busy(lasting, from + length / 4 * 3, SELDOM_US);
        let node = self.nodes[1].id;
        self.change_layout(Change::Capacity { node, capacity: 2 });
        let watched = WATCHED_US.min(length / 8);
        self.keep_busy(lasting, from + length - watched, SELDOM_US);
        let before = self.history.ops.len();
        self.keep_busy(lasting, from + length, OFTEN_US);
        let after = self.history.ops.len();

        let (missed_rows, missed_bytes) = self.missed();
        let known = self.known_by_others();
        self.traffic = Traffic::default();
        let back = self.now;
        self.comes_back(AWAY);
        let mut caught_up_ms = None;
        let (mut repair_bytes, mut hint_bytes) = (0, 0);
        while caught_up_ms.is_none() && self.now < back + PATIENCE_US {
            self.keep_busy(lasting, self.now + OFTEN_US, OFTEN_US);
            let sent = |what| self.traffic.bytes_to(what, AWAY);
            (repair_bytes, hint_bytes) = (sent(What::Repair), sent(What::Handoff));
            if self.has_caught_up(&known) {
                caught_up_ms = Some((self.now - back) / 1000);
            }
        }
        self.keep_busy(lasting, self.now.max(back + watched), OFTEN_US);
        let end = self.history.ops.len();
        self.run_until(self.now + 5_000_000);
        self.faults.over = true;
        self.come_to_rest();
        self.read_all();
        self.come_to_rest();
        self.judge();
        AbsenceReport {
            away_s: seconds,
            acknowledged: self.acknowledged(first..after),
            missed_rows,
            missed_bytes,
            repair_bytes,
            hint_bytes,
            caught_up_ms,
            p99_before_us: self.p99_us(before..after),
            p99_after_us: self.p99_us(after..end),
            violations: self.violations.clone(),
        }
    }

    /// Requests, one at a time, until a moment: of ten, six write, one deletes and three read.
    pub(crate) fn keep_busy(&mut self, bucket: BucketId, until: u64, every_us: u64) {
        while self.now < until {
            let number = self.rng.u64(..KEYS);
            match self.rng.u64(..10) {
                0..6 => self.write_one(bucket, number),
                6 => self.request_one(bucket, number, Some(WriteOp::Delete(Replace::Seen))),
                _ => self.request_one(bucket, number, None),
            }
            self.run_until((self.now + every_us).min(until));
        }
    }

    fn write_one(&mut self, bucket: BucketId, number: u64) {
        let mut value = vec![0; VALUE_BYTES];
        self.rng.fill(&mut value);
        let op = WriteOp::Put {
            value: value.into(),
            replaces: Replace::Seen,
        };
        self.request_one(bucket, number, Some(op));
    }

    /// A write, or a read, at a node that runs.
    fn request_one(&mut self, bucket: BucketId, number: u64, op: Option<WriteOp>) {
        let key = Bytes::from(format!("key-{number:06}"));
        let action = match op {
            Some(op) => Action::Write {
                bucket,
                key,
                op,
                id: OpId(self.rng.u64(..), self.rng.u64(..)),
                options: WriteOptions::default(),
            },
            None => Action::Read {
                bucket,
                key,
                query: Query::Value,
                options: ReadOptions::default(),
            },
        };
        let nodes = self.serving_nodes();
        let node = *pick(&mut self.rng, &nodes);
        let timeout_ms = self.options.client_timeout_ms;
        self.ask(self.clients.len(), node, action, timeout_ms);
    }

    /// The rows that the node will own and that its disk has not as others have them, and their bytes.
    fn missed(&self) -> (u64, u64) {
        let (mut rows, mut bytes) = (0, 0);
        let mut note = |key: &[u8], value: usize| {
            rows += 1;
            bytes += (key.len() + value) as u64;
        };
        for partition in self.layout.partitions().iter() {
            let Some(other) = self.another_owner(partition) else {
                continue;
            };
            let (mine, theirs) = (self.stored(AWAY, partition), self.stored(other, partition));
            for (key, value) in &theirs {
                if mine.get(key) != Some(value) {
                    note(key, value.len());
                }
            }
            for key in mine.keys().filter(|key| !theirs.contains_key(*key)) {
                note(key, 0);
            }
        }
        (rows, bytes)
    }

    /// A node that runs and owns a partition by the layout by which the absent one will own it.
    fn another_owner(&self, partition: PartitionId) -> Option<usize> {
        let view = self.nodes[0].process.as_ref()?.control.view();
        let owners = view.newest().owners(partition);
        let holds = |at: &usize| {
            let shards = self.nodes[*at].process.iter().flat_map(|p| &p.shards);
            owners.contains(&self.nodes[*at].id)
                && shards.into_iter().any(|s| s.replica().is_whole(partition))
        };
        let mut others = (0..self.nodes.len()).filter(|at| *at != AWAY);
        let owns = owners.contains(&self.nodes[AWAY].id);
        owns.then(|| others.find(holds)).flatten()
    }

    /// The stored rows of a partition, by what names them in every node.
    fn stored(
        &self,
        node: usize,
        partition: PartitionId,
    ) -> std::collections::BTreeMap<Bytes, Bytes> {
        let all = (std::ops::Bound::Unbounded, std::ops::Bound::Unbounded);
        let rows = self.nodes[node]
            .kv
            .range(dunlin_storage::Keyspace::Rows, all.0, all.1);
        let named = rows.flatten().filter_map(|(key, value)| {
            let (of, name) = crate::rot::row_of(&key)?;
            (of == partition).then_some((name, value))
        });
        named.collect()
    }

    /// What others know of each partition that the absent node is to own.
    fn known_by_others(&self) -> Vec<(PartitionId, Clock)> {
        let of = |partition| {
            let other = self.another_owner(partition)?;
            let mut shards = self.nodes[other].process.iter().flat_map(|p| &p.shards);
            let shard = shards.find(|shard| shard.replica().is_whole(partition))?;
            Some((partition, shard.replica().clock(partition).clone()))
        };
        self.layout.partitions().iter().filter_map(of).collect()
    }

    fn has_caught_up(&self, known: &[(PartitionId, Clock)]) -> bool {
        let Some(process) = &self.nodes[AWAY].process else {
            return false;
        };
        known.iter().all(|(partition, clock)| {
            let mut shards = process.shards.iter().map(|shard| shard.replica());
            shards.any(|r| r.is_whole(*partition) && clock.is_subset(r.clock(*partition)))
        })
    }

    fn acknowledged(&self, ops: std::ops::Range<usize>) -> u64 {
        let ops = self.history.ops[ops].iter();
        ops.filter(|op| matches!(op.outcome, Outcome::Written(_)))
            .count() as u64
    }

    fn p99_us(&self, ops: std::ops::Range<usize>) -> u64 {
        let ops = self.history.ops[ops].iter();
        let mut took: Vec<u64> = ops.map(|op| op.end - op.start).collect();
        took.sort_unstable();
        took.get(took.len() * 99 / 100).copied().unwrap_or_default()
    }
}
