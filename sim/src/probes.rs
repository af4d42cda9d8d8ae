//! Every operation there is, asked of a healed cluster: for each partition, through each node.
//!
//! Where a cluster is large the kinds take turns: each node and each partition still meet, and each kind of
//! operation meets every node and every partition.

use bytes::Bytes;
use dunlin_crdt::{FieldKind, FieldPath, Kind, OpId};
use dunlin_protocol::cluster::ClusterRequest;
use dunlin_protocol::request::{
    FieldChange, Page, Query, ReadOptions, Replace, WriteOp, WriteOptions,
};
use dunlin_ring::{BucketId, PartitionId, Quorum};

use crate::check::check_liveness;
use crate::history::{Action, Op, Outcome};
use crate::operator::Standing;
use crate::options::Options;
use crate::world::{Node, World};

/// Requests of one round that are made, if there are as many pairs of a node and a partition.
const REQUESTS_MAX: usize = 200;
/// Requests on their way at a time: few, so that no queue is full by them.
const AT_A_TIME: usize = 4;
/// How long after one another requests are made, at least.
const GAP_US: u64 = 1_000;

impl World {
    /// Writes of every kind, as their buckets have it. Not while an owner is gone for good: until the layout
    /// without it is complete, there may be no node left to stand in for it.
    pub(crate) fn probe_writes(&mut self) {
        let is_dead = |node: &Node| matches!(node.standing, Standing::Dead { .. });
        if self.nodes.iter().any(is_dead) {
            return;
        }
        let options = WriteOptions::default();
        self.probe(writes, options, &[]);
    }

    /// Everything, by all owners.
    pub(crate) fn probe_all(&mut self) {
        let options = WriteOptions {
            w: Some(Quorum::All),
            pw: Some(Quorum::All),
            ..WriteOptions::default()
        };
        let requests = [
            Action::Create("probe".to_owned()),
            Action::Reshape(ClusterRequest::Describe),
            Action::Drop("probe".to_owned()),
        ];
        let all = |kind| {
            let reads = reads(kind).into_iter().map(Probe::Read);
            let probes = writes(kind).into_iter().chain(reads);
            probes.chain([Probe::Keys]).collect()
        };
        self.probe(all, options, &requests);
    }

    fn probe(
        &mut self,
        probes: impl Fn(Kind) -> Vec<Probe>,
        options: WriteOptions,
        of_node: &[Action],
    ) {
        let nodes = self.serving_nodes();
        let partitions: Vec<PartitionId> = self.layout.partitions().iter().collect();
        let mut all = Vec::new();
        for bucket in self.history.lasting.clone() {
            // If all disks were lost, nobody knows it any more.
            if !self.is_known(bucket) {
                continue;
            }
            let Some(kind) = self.history.kind(bucket) else {
                continue;
            };
            all.extend(probes(kind).into_iter().map(|probe| (bucket, probe)));
        }
        if all.is_empty() {
            return;
        }
        let pairs = nodes.len() * partitions.len();
        let each = (REQUESTS_MAX / pairs.max(1)).clamp(1, all.len());
        let mut turn = 0;
        for node in nodes {
            for request in of_node {
                self.probe_one(node, request.clone());
            }
            for partition in &partitions {
                for _ in 0..each {
                    let (bucket, probe) = all[turn % all.len()].clone();
                    turn += 1;
                    let action = self.action_of(bucket, *partition, probe, options);
                    self.probe_one(node, action);
                }
            }
            // Else the same kinds would meet the same partitions, where their numbers have a factor in common.
            turn += 1;
        }
        self.wait_for_probes(0);
    }

    fn is_known(&self, bucket: BucketId) -> bool {
        let mut running = self.nodes.iter().filter_map(|node| node.process.as_ref());
        running.any(|process| process.control.view().bucket(bucket).is_some())
    }

    fn action_of(
        &mut self,
        bucket: BucketId,
        partition: PartitionId,
        probe: Probe,
        options: WriteOptions,
    ) -> Action {
        let of = |key: &Bytes| self.layout.partitions().partition_of(bucket, key) == partition;
        let mut names = (0u64..).map(|number| Bytes::from(format!("p{number}")));
        let key = names.find(of).unwrap_or_default();
        match probe {
            Probe::Write(op) => Action::Write {
                bucket,
                key,
                op,
                id: OpId(self.rng.u64(..), self.rng.u64(..)),
                options,
            },
            Probe::Read(query) => Action::Read {
                bucket,
                key,
                query,
                options: ReadOptions {
                    r: Some(Quorum::All),
                    ..ReadOptions::default()
                },
            },
            Probe::Keys => Action::Keys {
                bucket,
                partition,
                after: None,
                limit: 10,
            },
        }
    }

    fn probe_one(&mut self, node: usize, action: Action) {
        self.wait_for_probes(AT_A_TIME - 1);
        let checking = self.clients.len();
        // Longer than it may take, so that a late answer is told from none.
        let timeout_ms = self.options.patience_us() / 1_000 + 1_000;
        let number = self.ask(checking, node, action, timeout_ms);
        self.probes.push((number, node));
        self.run_until(self.now + self.options.gap_us());
    }

    /// Until no more than so many requests are on their way.
    fn wait_for_probes(&mut self, most: usize) {
        loop {
            let pending = |op: &Op| matches!(op.outcome, Outcome::Pending);
            let ops = &self.history.ops;
            let (open, over): (Vec<_>, Vec<_>) = std::mem::take(&mut self.probes)
                .into_iter()
                .partition(|(number, _)| ops.get(*number).is_some_and(pending));
            self.probes = open;
            for (number, node) in over {
                check_liveness(self, number, node);
            }
            if self.probes.len() <= most {
                return;
            }
            self.run_until(self.now + GAP_US);
        }
    }
}

impl Options {
    /// What a request leaves behind outlives its answer: the last copies on their way, and what waits for the
    /// disk. So many requests in the time that one takes fill no queue by more than half.
    fn gap_us(&self) -> u64 {
        let queue = self
            .engine
            .operations_max
            .min(self.engine.commits_waiting_max);
        (self.patience_us() / (queue as u64 / 2).max(1)).max(GAP_US)
    }
}

/// What is asked for under some key.
#[derive(Clone, Debug)]
enum Probe {
    Write(WriteOp),
    Read(Query),
    Keys,
}

/// Every change of a kind.
fn writes(kind: Kind) -> Vec<Probe> {
    let element = || Bytes::from_static(b"probe");
    let put = |replaces| WriteOp::Put {
        value: element(),
        replaces,
    };
    let mut ops = match kind {
        Kind::Register => vec![
            put(Replace::Seen),
            put(Replace::Context(Default::default())),
        ],
        Kind::Lww => vec![put(Replace::Seen)],
        Kind::Counter => vec![WriteOp::Increment(1), WriteOp::Increment(-1)],
        Kind::Flag => vec![WriteOp::Enable, WriteOp::Disable],
        Kind::Max | Kind::Min => vec![WriteOp::Observe(1)],
        Kind::Set => vec![
            WriteOp::Add(vec![element()]),
            WriteOp::Remove(vec![element()]),
        ],
        Kind::Map => FieldKind::ALL.into_iter().filter_map(change_of).collect(),
    };
    ops.push(WriteOp::Delete(Replace::Seen));
    ops.into_iter().map(Probe::Write).collect()
}

/// A change of a field.
fn change_of(kind: FieldKind) -> Option<WriteOp> {
    let path = FieldPath::field(Bytes::from_static(b"probe"), kind).subkey();
    let op = match kind {
        FieldKind::Register | FieldKind::Lww => WriteOp::Put {
            value: Bytes::from_static(b"probe"),
            replaces: Replace::Seen,
        },
        FieldKind::Counter => WriteOp::Increment(1),
        FieldKind::Flag => WriteOp::Enable,
        FieldKind::Set => WriteOp::Add(vec![Bytes::from_static(b"probe")]),
        // Only what is in it can be changed.
        FieldKind::Map => return None,
    };
    Some(WriteOp::Fields(vec![FieldChange { path, op }]))
}

/// Every query of a kind.
fn reads(kind: Kind) -> Vec<Query> {
    let (after, limit) = (None, 10);
    let page = Page { after, limit };
    let element = Bytes::from_static(b"probe");
    match kind {
        Kind::Set => vec![
            Query::Elements(page.clone()),
            Query::Has(element),
            Query::Count(page),
        ],
        Kind::Map => vec![
            Query::Fields {
                prefix: Bytes::new(),
                page: page.clone(),
            },
            Query::Field(FieldPath::field(element, FieldKind::Lww).subkey()),
            Query::Count(page),
        ],
        _ => vec![Query::Value],
    }
}
