//! Nodes of one shard each over memory, joined by a network that delivers at once or not at all.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use dunlin_crdt::{Kind, Millis, OpId};
use dunlin_engine::membership::{Identity, To};
use dunlin_engine::{
    Control, Effect, EngineOptions, Input, Knowledge, Note, Now, Recall, ReplyTo, Shard, SyncWhen,
    Time, TimerId,
};
use dunlin_protocol::cluster::{AppliedLayout, Change, ClusterRequest, ClusterState, NodeState};
use dunlin_protocol::peer::PeerBody;
use dunlin_protocol::request::{
    Page, Query, Read, ReadOptions, Replace, Request, Write, WriteOp, WriteOptions,
};
use dunlin_protocol::response::{Answer, Found, ReadAnswer, Receipt};
use dunlin_protocol::status::StorageState;
use dunlin_protocol::{Bucket, BucketDefaults, Context, Failure};
use dunlin_ring::{Layout, Member, MemberState, NodeId, PartitionCount, PartitionId};
use dunlin_storage::{BatchId, DiskSpace, Kv, MemoryKv, Replica, ReplicaOptions, Start};

pub(crate) struct Node {
    pub(crate) kv: MemoryKv,
    pub(crate) shard: Shard,
    control: Control,
    /// Every one that was set fires, however often it was: the last number tells them apart.
    pub(crate) timers: BTreeSet<(Time, u8, TimerId, u64)>,
}

/// What is on its way.
enum Said {
    Body(PeerBody),
    Datagram(Bytes),
}

pub(crate) struct Cluster {
    pub(crate) nodes: BTreeMap<NodeId, Node>,
    pub(crate) layout: Arc<Layout>,
    options: EngineOptions,
    pub(crate) now: Now,
    /// By how much the clocks of some nodes are ahead, in milliseconds.
    pub(crate) ahead_ms: BTreeMap<NodeId, u64>,
    /// Nodes whose disk takes what comes to it of the shard when it moves again, which is never.
    pub(crate) stalled: BTreeSet<NodeId>,
    /// Nodes whose disk refuses what comes to it of the shard.
    pub(crate) refuses: BTreeSet<NodeId>,
    down: BTreeSet<NodeId>,
    /// Hints stay where they are.
    pub(crate) no_handoff: bool,
    /// What is on its way and of this sort stays there.
    pub(crate) holds_back: Option<fn(&PeerBody) -> bool>,
    held_back: Vec<(NodeId, NodeId, Said)>,
    wire: VecDeque<(NodeId, NodeId, Said)>,
    answers: BTreeMap<u64, Answer>,
    next: u64,
    /// Every message that was delivered, for tests that count.
    pub(crate) delivered: Vec<(NodeId, NodeId, PeerBody)>,
    pub(crate) notes: Vec<Note>,
}

/// Node `number`, in a zone of its own.
pub(crate) fn member(number: usize) -> Member {
    let name = format!("n{number}");
    Member {
        id: NodeId::from_name(&name),
        address: format!("127.0.0.1:{}", 7000 + number),
        zone: name.clone(),
        name,
        capacity: 1,
        state: MemberState::Active,
    }
}

/// Which part of a node: its shard, or its control.
const SHARD: u8 = 0;
const CONTROL: u8 = 1;

impl Cluster {
    /// So many nodes, three owners a partition, ready to serve.
    pub(crate) fn of(nodes: usize) -> Self {
        Self::with(nodes, EngineOptions::default())
    }

    pub(crate) fn with(nodes: usize, options: EngineOptions) -> Self {
        let members = (1..=nodes).map(member);
        let partitions = PartitionCount::new(4).unwrap();
        let layout = Arc::new(Layout::first(members.collect(), 3, partitions).unwrap());
        let mut cluster = Self {
            nodes: BTreeMap::new(),
            layout,
            options,
            now: Now {
                time: Time(0),
                wall: Millis(1_700_000_000_000),
            },
            ahead_ms: BTreeMap::new(),
            stalled: BTreeSet::new(),
            refuses: BTreeSet::new(),
            down: BTreeSet::new(),
            no_handoff: false,
            holds_back: None,
            held_back: Vec::new(),
            wire: VecDeque::new(),
            answers: BTreeMap::new(),
            next: 0,
            delivered: Vec::new(),
            notes: Vec::new(),
        };
        let ids: Vec<NodeId> = cluster.layout.members().iter().map(|m| m.id).collect();
        for id in &ids {
            cluster.boot(*id, MemoryKv::new(), Start::Blank);
        }
        cluster.pass_ms(3000);
        cluster
    }

    pub(crate) fn boot(&mut self, id: NodeId, kv: MemoryKv, start: Start) {
        let options = self.options.clone();
        let arc: Arc<dyn Kv> = Arc::new(kv.clone());
        let layout = Arc::clone(&self.layout);
        self.next += 1;
        let mut rng = fastrand::Rng::with_seed(id.0 ^ self.next);
        let founding = AppliedLayout::founding((*layout).clone());
        // What its own disk knows, or whoever it meets first.
        let others = self.nodes.values().map(|node| node.kv.clone());
        let disks: Vec<MemoryKv> = [kv.clone()].into_iter().chain(others).collect();
        let known = disks.iter().find_map(|kv| Knowledge::load(kv).unwrap());
        let knowledge = known.unwrap_or_else(|| Knowledge::new(founding));
        let number = (1..100).find(|number| self.id(*number) == id).unwrap();
        let Member { name, address, .. } = member(number);
        let identity = Identity {
            id,
            name,
            address,
            incarnation: self.next,
            instance: self.next,
        };
        let seeds = Vec::new();
        let recall = Recall::load(&*arc, &start, self.next, &mut rng).unwrap();
        let control = Control::new(
            knowledge,
            identity,
            seeds,
            1,
            options.clone(),
            recall,
            rng.fork(),
        );
        let control = control.unwrap();
        let view = control.view();
        let replica = Replica::open(
            arc,
            ReplicaOptions {
                partitions: layout.partitions(),
                owned: layout
                    .partitions()
                    .iter()
                    .filter(|p| view.is_owner(id, *p))
                    .collect(),
                shard: layout.partitions().iter().collect(),
                start,
                hints_bytes_max: 1 << 20,
            },
            rng.fork(),
        )
        .unwrap();
        let shard = Shard::new(replica, control.view(), options, rng);
        self.nodes.insert(
            id,
            Node {
                kv,
                shard,
                control,
                timers: BTreeSet::new(),
            },
        );
        self.input(id, SHARD, Input::Started);
        self.input(id, CONTROL, Input::Started);
    }

    /// The cluster's shape as a node sees it.
    pub(crate) fn shape(&mut self, node: NodeId) -> ClusterState {
        self.reshape(node, ClusterRequest::Describe).unwrap()
    }

    pub(crate) fn reshape(
        &mut self,
        node: NodeId,
        request: ClusterRequest,
    ) -> Result<ClusterState, Failure> {
        match self.ask(node, Request::Cluster(request)) {
            Answer::Cluster(state) => Ok(*state),
            Answer::Failed(failure) => Err(failure),
            other => panic!("{other:?}"),
        }
    }

    /// Stages changes and applies them, at one node.
    pub(crate) fn change(&mut self, node: NodeId, changes: impl IntoIterator<Item = Change>) {
        for change in changes {
            self.reshape(node, ClusterRequest::Stage(change)).unwrap();
        }
        let based_on = self.shape(node).layouts[0].id;
        self.reshape(node, ClusterRequest::Apply { based_on })
            .unwrap();
    }

    /// Starts a node that is no member yet: it has what the cluster knows from node 1.
    pub(crate) fn boot_newcomer(&mut self, number: usize) -> NodeId {
        let id = self.id(number);
        self.boot(id, MemoryKv::new(), Start::Blank);
        id
    }

    /// Lets time pass until every node says that no change is under way and nothing is left to hand
    /// over, and takes over the layout that has become complete.
    pub(crate) fn wait_until_complete(&mut self) {
        let nodes: Vec<NodeId> = self.nodes.keys().copied().collect();
        for _ in 0..600 {
            self.pass_ms(100);
            let over = |state: &ClusterState| {
                let idle = |node: &NodeState| {
                    node.progress
                        .as_ref()
                        .is_some_and(|p| p.handing_over == 0 && p.filling == 0)
                };
                state.layouts.len() == 1 && state.nodes.iter().all(idle)
            };
            let up: Vec<NodeId> = nodes
                .iter()
                .copied()
                .filter(|n| !self.down.contains(n))
                .collect();
            let states: Vec<ClusterState> = up.into_iter().map(|node| self.shape(node)).collect();
            if states.iter().all(over) {
                self.layout = Arc::new(states[0].layouts[0].layout.clone());
                return;
            }
        }
        panic!("the change does not end: {:?}", self.shape(nodes[0]).nodes);
    }

    pub(crate) fn id(&self, number: usize) -> NodeId {
        NodeId::from_name(&format!("n{number}"))
    }

    /// Cuts a node off: it neither sends nor receives. It notices, and so do the others.
    pub(crate) fn cut_off(&mut self, node: NodeId) {
        self.down.insert(node);
        self.pass_ms(2000);
    }

    /// Cuts a node off without giving anyone the time to notice.
    pub(crate) fn cut_off_unnoticed(&mut self, node: NodeId) {
        self.down.insert(node);
    }

    pub(crate) fn join(&mut self, node: NodeId) {
        self.down.remove(&node);
    }

    /// Hands one input to a part of a node, and carries out what follows, messages included.
    fn input(&mut self, id: NodeId, part: u8, input: Input) {
        let mut now = self.now;
        now.wall.0 += self.ahead_ms.get(&id).copied().unwrap_or_default();
        let Some(node) = self.nodes.get_mut(&id) else {
            return;
        };
        let mut effects = Vec::new();
        match part {
            SHARD => {
                node.shard.handle(input, now, &mut effects);
                node.shard.flush(now, &mut effects);
            }
            _ => {
                node.control.handle(input, now, &mut effects);
                node.control.flush(now, &mut effects);
            }
        }
        self.carry_out(id, part, effects);
    }

    fn carry_out(&mut self, id: NodeId, part: u8, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Send { to, body } => self.wire.push_back((id, to, Said::Body(body))),
                Effect::Datagram { to, bytes } => {
                    let to = match to {
                        To::Node { id, .. } => id,
                        To::Address(address) => {
                            let place = |number: &usize| member(*number).address == address;
                            match (1..100).find(place) {
                                Some(number) => self.id(number),
                                None => continue,
                            }
                        }
                    };
                    self.wire.push_back((id, to, Said::Datagram(bytes)));
                }
                Effect::Reply { to, answer } => {
                    self.answers.insert(to.0, answer);
                }
                Effect::Commit {
                    id: batch,
                    batch: ops,
                    sync,
                } => {
                    self.commit(id, part, batch, &ops, sync);
                }
                Effect::SetTimer { id: timer, at } => {
                    self.next += 1;
                    if let Some(node) = self.nodes.get_mut(&id) {
                        node.timers.insert((at, part, timer, self.next));
                    }
                }
                Effect::Publish(view) => self.input(id, SHARD, Input::ViewChanged(view)),
                Effect::Note(note) => self.notes.push(note),
                Effect::Follows(follows) => {
                    let shard = 0;
                    self.input(id, CONTROL, Input::ShardFollows { shard, follows });
                }
                Effect::Report { .. } => {}
            }
        }
    }

    fn commit(
        &mut self,
        id: NodeId,
        part: u8,
        batch: BatchId,
        ops: &dunlin_storage::Batch,
        _: SyncWhen,
    ) {
        let stalls = part == SHARD && self.stalled.contains(&id);
        let Some(node) = self.nodes.get(&id).filter(|_| !stalls) else {
            return;
        };
        let refuses = part == SHARD && self.refuses.contains(&id);
        let is_done = !refuses && node.kv.commit(ops).and_then(|()| node.kv.sync()).is_ok();
        let input = match is_done {
            true => Input::Committed {
                written: batch,
                synced: batch,
            },
            false => {
                self.storage_changed(id, StorageState::Full);
                Input::CommitRefused(batch)
            }
        };
        self.input(id, part, input);
    }

    fn storage_changed(&mut self, id: NodeId, state: StorageState) {
        for part in [SHARD, CONTROL] {
            self.input(id, part, Input::StorageChanged(state));
        }
    }

    /// Sets what room a disk has. That it has none is noticed by what it refuses.
    pub(crate) fn set_space(&mut self, node: NodeId, space: DiskSpace) {
        self.nodes[&node].kv.set_space(space);
        if space == DiskSpace::Ample {
            self.storage_changed(node, StorageState::Ready);
        }
    }

    /// A disk that has stalled refuses what it was given.
    pub(crate) fn refuse_stalled(&mut self, node: NodeId) {
        self.stalled.remove(&node);
        let generation = self.nodes[&node].shard.replica().generation();
        let refused = BatchId {
            generation,
            number: 0,
        };
        self.input(node, SHARD, Input::CommitRefused(refused));
    }

    fn deliver(&mut self) {
        while let Some((from, to, body)) = self.wire.pop_front() {
            if self.down.contains(&from) || self.down.contains(&to) {
                continue;
            }
            let body = match body {
                Said::Body(PeerBody::Handoff { .. }) if self.no_handoff => continue,
                Said::Body(body) if self.holds_back.is_some_and(|holds| holds(&body)) => {
                    self.held_back.push((from, to, Said::Body(body)));
                    continue;
                }
                Said::Body(body) => body,
                Said::Datagram(bytes) => {
                    self.input(to, CONTROL, Input::Datagram { from, bytes });
                    continue;
                }
            };
            self.delivered.push((from, to, body.clone()));
            self.input(
                to,
                CONTROL,
                Input::Received {
                    from,
                    body: body.clone(),
                },
            );
            if !matches!(body, PeerBody::Control(_)) {
                self.input(to, SHARD, Input::Received { from, body });
            }
        }
    }

    /// A message arrives that nobody here has sent.
    pub(crate) fn say(&mut self, from: NodeId, to: NodeId, body: PeerBody) {
        self.wire.push_back((from, to, Said::Body(body)));
        self.deliver();
    }

    /// What was held back is lost; to whom it was, and what.
    pub(crate) fn lose_what_is_held_back(&mut self) -> Vec<(NodeId, PeerBody)> {
        self.holds_back = None;
        let lost = self.held_back.drain(..);
        let bodies = lost.filter_map(|(_, to, said)| match said {
            Said::Body(body) => Some((to, body)),
            Said::Datagram(_) => None,
        });
        bodies.collect()
    }

    /// What was held back arrives.
    pub(crate) fn release(&mut self) {
        self.holds_back = None;
        self.wire.extend(self.held_back.drain(..));
        self.deliver();
    }

    /// Lets time pass, timers fire and messages arrive.
    pub(crate) fn pass_ms(&mut self, ms: u64) {
        let end = self.now.time.plus_ms(ms);
        loop {
            self.deliver();
            let next = self
                .nodes
                .iter()
                .filter_map(|(id, node)| node.timers.first().map(|timer| (*timer, *id)))
                .min_by_key(|((at, ..), id)| (*at, *id));
            let Some(((at, part, timer, number), id)) = next.filter(|((at, ..), _)| *at <= end)
            else {
                break;
            };
            if let Some(node) = self.nodes.get_mut(&id) {
                node.timers.remove(&(at, part, timer, number));
            }
            self.set_time(at.max(self.now.time));
            if timer == TimerId::Ping {
                let synced = self.nodes.get(&id).map_or(0, |node| node.kv.synced());
                self.input(id, part, Input::StoreSynced(synced));
            }
            self.input(id, part, Input::TimerFired(timer));
        }
        self.set_time(end);
    }

    fn set_time(&mut self, time: Time) {
        self.now.wall.0 += time.ms_since(self.now.time);
        self.now.time = time;
    }

    pub(crate) fn ask(&mut self, node: NodeId, request: Request) -> Answer {
        let asked = self.begin(node, request, 5000);
        self.await_answer(asked)
    }

    /// Asks a node, and does not wait for its answer, which it gives within so many milliseconds.
    pub(crate) fn begin(&mut self, node: NodeId, request: Request, within_ms: u64) -> ReplyTo {
        self.next += 1;
        let reply_to = ReplyTo(self.next);
        let deadline = self.now.time.plus_ms(within_ms);
        let part = match dunlin_engine::partition_of(&request, &self.nodes[&node].control.view()) {
            Some(_) => SHARD,
            None => CONTROL,
        };
        self.input(
            node,
            part,
            Input::Requested {
                reply_to,
                request,
                deadline,
            },
        );
        self.deliver();
        reply_to
    }

    pub(crate) fn await_answer(&mut self, reply_to: ReplyTo) -> Answer {
        for _ in 0..600 {
            if let Some(answer) = self.answers.remove(&reply_to.0) {
                return answer;
            }
            self.pass_ms(10);
        }
        panic!("no answer after the deadline");
    }

    pub(crate) fn bucket(&mut self, name: &str, kind: Kind) -> Bucket {
        self.bucket_with(name, kind, BucketDefaults::default())
    }

    pub(crate) fn bucket_with(
        &mut self,
        name: &str,
        kind: Kind,
        defaults: BucketDefaults,
    ) -> Bucket {
        let node = self.id(1);
        let name = name.parse().unwrap();
        match self.ask(
            node,
            Request::CreateBucket {
                name,
                kind,
                defaults,
            },
        ) {
            Answer::Created { bucket, .. } => bucket,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn write_with(
        &mut self,
        node: NodeId,
        bucket: &Bucket,
        key: &str,
        op: WriteOp,
        options: WriteOptions,
    ) -> Result<Receipt, Failure> {
        self.next += 1;
        let id = OpId(7, self.next);
        let key = Bytes::copy_from_slice(key.as_bytes());
        let write = Write {
            bucket: bucket.id,
            key,
            op,
            id,
            options,
        };
        match self.ask(node, Request::Write(write)) {
            Answer::Written(receipt) => Ok(receipt),
            Answer::Failed(failure) => Err(failure),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn write(
        &mut self,
        node: NodeId,
        bucket: &Bucket,
        key: &str,
        op: WriteOp,
    ) -> Result<Receipt, Failure> {
        self.write_with(node, bucket, key, op, WriteOptions::default())
    }

    pub(crate) fn read_with(
        &mut self,
        node: NodeId,
        bucket: &Bucket,
        key: &str,
        query: Query,
        options: ReadOptions,
    ) -> Result<ReadAnswer, Failure> {
        let key = Bytes::copy_from_slice(key.as_bytes());
        let read = Read {
            bucket: bucket.id,
            key,
            query,
            options,
            seen: None,
        };
        match self.ask(node, Request::Read(read)) {
            Answer::Read(answer) => Ok(answer),
            Answer::Failed(failure) => Err(failure),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn read(&mut self, node: NodeId, bucket: &Bucket, key: &str, query: Query) -> Found {
        self.read_with(node, bucket, key, query, ReadOptions::default())
            .unwrap()
            .found
    }

    /// The siblings of a register and their context.
    pub(crate) fn siblings(
        &mut self,
        node: NodeId,
        bucket: &Bucket,
        key: &str,
    ) -> (Vec<String>, Context) {
        match self.read(node, bucket, key, Query::Value) {
            Found::Siblings { values, context } => {
                let text = |v: &Bytes| String::from_utf8(v.to_vec()).unwrap();
                (values.iter().map(text).collect(), context)
            }
            Found::Nothing => (Vec::new(), Context::default()),
            other => panic!("{other:?}"),
        }
    }

    /// Flips a bit in the stored row of a key.
    pub(crate) fn damage_a_row(&mut self, node: NodeId, bucket: &Bucket, key: &str) {
        self.change_a_row(node, bucket, key, |batch, stored_key, value| {
            let mut value = value.to_vec();
            value[1] ^= 1;
            batch.put(dunlin_storage::Keyspace::Rows, stored_key, value.into());
        });
    }

    /// Makes the stored row of a key vanish.
    pub(crate) fn lose_a_row(&mut self, node: NodeId, bucket: &Bucket, key: &str) {
        self.change_a_row(node, bucket, key, |batch, stored_key, _| {
            batch.delete(dunlin_storage::Keyspace::Rows, stored_key);
        });
    }

    /// Makes the stored row of a key unreadable for good.
    pub(crate) fn lose_a_block(&mut self, node: NodeId, bucket: &Bucket, key: &str) {
        let kv = self.nodes[&node].kv.clone();
        self.change_a_row(node, bucket, key, |batch, stored_key, value| {
            // As it is, for one change is expected.
            batch.put(dunlin_storage::Keyspace::Rows, stored_key.clone(), value);
            kv.lose_block([stored_key]);
        });
    }

    fn change_a_row(
        &mut self,
        node: NodeId,
        bucket: &Bucket,
        key: &str,
        change: impl Fn(&mut dunlin_storage::Batch, Bytes, Bytes),
    ) {
        let kv = self.nodes[&node].kv.clone();
        let mut batch = dunlin_storage::Batch::default();
        let all = (std::ops::Bound::Unbounded, std::ops::Bound::Unbounded);
        for entry in kv.range(dunlin_storage::Keyspace::Rows, all.0, all.1) {
            let (stored_key, value) = entry.unwrap();
            let holds = |part: &[u8]| stored_key.windows(part.len()).any(|window| window == part);
            if holds(key.as_bytes()) && holds(&bucket.id.0.to_be_bytes()) {
                change(&mut batch, stored_key, value);
            }
        }
        assert_eq!(batch.len(), 1);
        kv.commit(&batch).unwrap();
    }

    /// Whether a node is an owner by what it knows itself.
    pub(crate) fn is_owner(&self, node: NodeId, partition: PartitionId) -> bool {
        let view = self.nodes[&node].control.view();
        view.is_owner(node, partition)
    }

    pub(crate) fn partition(&self, bucket: &Bucket, key: &str) -> PartitionId {
        self.layout
            .partitions()
            .partition_of(bucket.id, key.as_bytes())
    }

    pub(crate) fn owners(&self, bucket: &Bucket, key: &str) -> Vec<NodeId> {
        self.layout.owners(self.partition(bucket, key)).to_vec()
    }

    pub(crate) fn others(&self, bucket: &Bucket, key: &str) -> Vec<NodeId> {
        let owners = self.owners(bucket, key);
        self.nodes
            .keys()
            .copied()
            .filter(|id| !owners.contains(id))
            .collect()
    }

    /// Demands that the owners of every partition hold the same, and nothing is left over.
    pub(crate) fn assert_converged(&self) {
        for partition in self.layout.partitions().iter() {
            let mut seen = Vec::new();
            for owner in self.layout.owners(partition) {
                let replica = self.nodes[owner].shard.replica();
                assert!(replica.is_whole(partition));
                let digest = replica
                    .digest(partition, None, usize::MAX, |_| false)
                    .unwrap();
                seen.push((replica.clock(partition).clone(), digest.0));
            }
            assert!(
                seen.windows(2).all(|w| w[0] == w[1]),
                "partition {partition:?}: {seen:?}"
            );
        }
        for node in self.nodes.values() {
            node.shard.check_invariants().unwrap();
            let tally = node.shard.replica().tally();
            assert_eq!((tally.hints, tally.pending), (0, 0));
            assert!(node.shard.is_idle());
        }
    }
}

pub(crate) fn put(value: &str, context: &Context) -> WriteOp {
    let replaces = Replace::Context(context.clone());
    WriteOp::Put {
        value: Bytes::copy_from_slice(value.as_bytes()),
        replaces,
    }
}

pub(crate) fn blind(value: &str) -> WriteOp {
    put(value, &Context::default())
}

pub(crate) fn elements(texts: &[&str]) -> Vec<Bytes> {
    texts
        .iter()
        .map(|text| Bytes::copy_from_slice(text.as_bytes()))
        .collect()
}

pub(crate) fn page(limit: u32) -> Page {
    Page { after: None, limit }
}
