//! Six replicas, three of them owners of the one partition, and everything that can happen to them.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use dunlin_crdt::{Change, Clock, Dot, Event, Hlc, Millis, OpId, Replaces, Row, RowKind};
use dunlin_protocol::RowKey;
use dunlin_protocol::peer::{RepairRow, RowEvent};
use dunlin_ring::{BucketId, NodeId, PartitionCount, PartitionId};
use dunlin_storage::{
    Batch, CellMeta, DiskSpace, Horizon, Keyspace, Kv, KvError, MemoryKv, Missing, Replica,
    ReplicaOptions, RowChange, Start, WholeTaken,
};

pub(crate) const P: PartitionId = PartitionId(0);
const NODES: usize = 6;
/// Three registers, two elements of a set, a counter.
pub(crate) const KEYS: [(&str, &str, RowKind); 6] = [
    ("r0", "", RowKind::Register),
    ("r1", "", RowKind::Register),
    ("r2", "", RowKind::Register),
    ("s", "a", RowKind::Element),
    ("s", "b", RowKind::Element),
    ("c", "", RowKind::Counter),
];

/// A deliberate mistake of the shell around the replicas, which the judge must notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mutant {
    None,
    /// Hints are delivered without what their events replace.
    HintsForgetContext,
    /// Repair names dots but sends an empty row for some.
    RepairClaimsWithoutRows,
    /// A refused batch is reported as committed.
    WriterLies,
    /// Rows are sent under a clock that knows more than they do.
    ContextTooNew,
    /// A wiped disk counts as whole at once, and claims what its peers hold.
    WipedBelievesItself,
}

pub(crate) struct Node {
    pub(crate) kv: MemoryKv,
    pub(crate) replica: Replica,
}

/// What a client did, as the judge sees it.
pub(crate) struct Write {
    pub(crate) key: usize,
    pub(crate) shows: bool,
    pub(crate) replaces: Clock,
    pub(crate) acked: bool,
}

enum Message {
    Event {
        to: usize,
        event: RowEvent,
    },
    Rows {
        to: usize,
        rows: Vec<RepairRow>,
        clock: Clock,
    },
}

struct Transfer {
    to: usize,
    from: usize,
    after: Option<RowKey>,
    first: Clock,
    /// From whom to pull next, so that everything was pulled from every owner.
    then: Vec<usize>,
}

pub(crate) struct Cluster {
    pub(crate) rng: fastrand::Rng,
    pub(crate) nodes: Vec<Node>,
    pub(crate) owners: Vec<usize>,
    pub(crate) writes: BTreeMap<(u64, u64), Write>,
    pub(crate) increments: (i64, i64),
    mutant: Mutant,
    net: Vec<Message>,
    cut: BTreeSet<(usize, usize)>,
    contexts: Vec<(usize, Clock)>,
    transfers: Vec<Transfer>,
    harmed: bool,
    ops: u64,
}

pub(crate) fn key(index: usize) -> RowKey {
    let (key, subkey, _) = KEYS[index];
    RowKey {
        bucket: BucketId(1),
        key: Bytes::from_static(key.as_bytes()),
        subkey: Bytes::from_static(subkey.as_bytes()),
    }
}

fn id(node: usize) -> NodeId {
    NodeId(node as u64)
}

fn open(kv: &MemoryKv, owner: bool, start: Start, seed: u64) -> Replica {
    let options = ReplicaOptions {
        partitions: PartitionCount::new(1).unwrap(),
        owned: if owner { vec![P] } else { vec![] },
        shard: vec![P],
        start,
        hints_bytes_max: 1 << 20,
    };
    Replica::open(
        Arc::new(kv.clone()),
        options,
        fastrand::Rng::with_seed(seed),
    )
    .unwrap()
}

impl Cluster {
    pub(crate) fn new(seed: u64, mutant: Mutant) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let nodes = (0..NODES).map(|n| {
            let kv = MemoryKv::new();
            let start = kv.open();
            let mut replica = open(&kv, n < 3, start, rng.u64(..));
            replica.mark_whole(P);
            Node { kv, replica }
        });
        let nodes = nodes.collect();
        let mut cluster = Self {
            rng,
            nodes,
            owners: vec![0, 1, 2],
            writes: BTreeMap::new(),
            increments: (0, 0),
            mutant,
            net: Vec::new(),
            cut: BTreeSet::new(),
            contexts: Vec::new(),
            transfers: Vec::new(),
            harmed: false,
            ops: 0,
        };
        (0..NODES).for_each(|n| cluster.sync(n));
        cluster
    }

    fn chance(&mut self, percent: u32) -> bool {
        self.rng.u32(..100) < percent
    }

    fn any(&mut self) -> usize {
        self.rng.usize(..NODES)
    }

    fn owner(&mut self) -> usize {
        self.owners[self.rng.usize(..self.owners.len())]
    }

    fn two_owners(&mut self) -> (usize, usize) {
        let at = self.rng.usize(..3);
        (
            self.owners[at],
            self.owners[(at + self.rng.usize(1..3)) % 3],
        )
    }

    fn up(&self, a: usize, b: usize) -> bool {
        !self.cut.contains(&(a.min(b), a.max(b)))
    }

    /// Commits what is staged; a refusal rolls back. Returns whether it is all there.
    fn commit(&mut self, n: usize) -> bool {
        let node = &mut self.nodes[n];
        while let Some((batch_id, batch)) = node.replica.take_staged() {
            match node.kv.commit(&batch) {
                Ok(()) => node.replica.committed(batch_id),
                Err(KvError::Full) if self.mutant == Mutant::WriterLies => {
                    node.replica.committed(batch_id);
                }
                Err(KvError::Full) => {
                    node.replica.roll_back().unwrap();
                    return false;
                }
                Err(error) => panic!("{error}"),
            }
        }
        true
    }

    fn sync(&mut self, n: usize) {
        if self.commit(n) {
            self.nodes[n].kv.sync().unwrap();
        }
    }

    fn write(&mut self, at: usize, index: usize, change: &Change, context: Option<Clock>) {
        let owner = self.owners.contains(&at);
        if owner && !self.nodes[at].replica.is_whole(P) {
            return;
        }
        self.ops += 1;
        let meta = CellMeta {
            stamp: Hlc::at(Millis(self.ops)),
            op: OpId(0, self.ops),
            expires_at: None,
        };
        let replaces = context.clone().map_or(Replaces::Seen, Replaces::Context);
        let kind = KEYS[index].2;
        let event = if owner {
            self.nodes[at]
                .replica
                .write(&key(index), kind, change, &replaces, meta)
                .unwrap()
        } else {
            let owners: Vec<_> = self.owners.iter().map(|o| id(*o)).collect();
            let stands_for = id(self.owner());
            let changes = [RowChange {
                key: key(index),
                kind,
                change: change.clone(),
                replaces,
            }];
            let replica = &mut self.nodes[at].replica;
            replica
                .write_as_fallback(&owners, stands_for, &changes, meta)
                .unwrap()
                .remove(0)
                .event
        };
        if let Some(context) = context {
            assert_eq!(event.replaces, context);
        }
        let name = (event.dot.actor.0, event.dot.counter);
        let write = Write {
            key: index,
            shows: event.cell.is_some(),
            replaces: event.replaces.clone(),
            acked: false,
        };
        assert!(
            self.writes.insert(name, write).is_none(),
            "{:?} was minted twice",
            event.dot
        );
        let holders = self.replicate(at, index, &event);
        let mut synced = 0;
        for holder in holders {
            if self.chance(85) {
                // A full disk holds nothing, and does not answer.
                let full = self.chance(2);
                let space = if full {
                    DiskSpace::NearlyFull
                } else {
                    DiskSpace::Ample
                };
                self.nodes[holder].kv.set_space(space);
                self.sync(holder);
                self.nodes[holder].kv.set_space(DiskSpace::Ample);
                synced += usize::from(!full || self.mutant == Mutant::WriterLies);
            } else if self.chance(30) {
                self.commit(holder);
            }
        }
        let acked = synced >= 2;
        if let Some(write) = self.writes.get_mut(&name) {
            write.acked = acked;
        }
        if kind == RowKind::Counter {
            if acked {
                self.increments.0 += 1;
            } else {
                self.increments.1 += 1;
            }
        }
    }

    /// Sends an event to the other owners, or to fallbacks for them; returns who holds it.
    fn replicate(&mut self, at: usize, index: usize, event: &Event) -> BTreeSet<usize> {
        let mut holders = BTreeSet::from([at]);
        let sent = RowEvent {
            key: key(index),
            event: event.clone(),
        };
        for owner in self.owners.clone() {
            if owner == at {
                continue;
            }
            if self.up(at, owner) && self.chance(70) {
                self.nodes[owner].replica.take(&sent.key, event).unwrap();
                holders.insert(owner);
                if self.chance(20) {
                    self.net.push(Message::Event {
                        to: owner,
                        event: sent.clone(),
                    });
                }
            } else if self.chance(50) {
                self.net.push(Message::Event {
                    to: owner,
                    event: sent.clone(),
                });
            } else {
                let fallback = self.any();
                if fallback != at && !self.owners.contains(&fallback) && self.up(at, fallback) {
                    self.nodes[fallback]
                        .replica
                        .keep_hint(id(owner), &sent.key, event)
                        .unwrap();
                    holders.insert(fallback);
                }
            }
        }
        holders
    }

    fn deliver(&mut self, message: Message) {
        match message {
            Message::Event { to, event } if self.nodes[to].replica.owns(P) => {
                self.nodes[to]
                    .replica
                    .take(&event.key, &event.event)
                    .unwrap();
            }
            Message::Rows { to, rows, clock } if self.nodes[to].replica.owns(P) => {
                self.nodes[to].replica.take_rows(P, &rows, &clock).unwrap();
            }
            Message::Event { .. } | Message::Rows { .. } => {}
        }
    }

    fn read(&mut self) {
        let index = self.rng.usize(..KEYS.len());
        let (mut row, mut clock) = (Row::new(), Clock::new());
        let (a, b) = self.two_owners();
        for owner in [a, b] {
            let replica = &self.nodes[owner].replica;
            if replica.is_whole(P) {
                row.join(&clock, &replica.row(&key(index)).unwrap(), replica.clock(P));
                clock.join(replica.clock(P));
            }
        }
        self.contexts.push((index, row.dots()));
    }

    /// `to` asks `from` for what it lacks; the answer may be slow.
    fn pull(&mut self, to: usize, from: usize, horizon: Horizon) {
        let theirs = self.nodes[to].replica.clock(P).clone();
        self.nodes[from].replica.note_peer_clock(P, id(to), &theirs);
        if !self.nodes[to].replica.is_whole(P) {
            return self.begin_transfer(to, from);
        }
        let bytes_max = if self.chance(50) { 1 } else { 1 << 20 };
        match self.nodes[from]
            .replica
            .missing(P, &theirs, horizon, bytes_max)
            .unwrap()
        {
            Missing::LogTooShort => self.begin_transfer(to, from),
            Missing::Rows {
                mut rows,
                mut clock,
                ..
            } => {
                if self.mutant == Mutant::RepairClaimsWithoutRows && self.chance(10) {
                    rows.iter_mut().for_each(|row| row.row = Row::new());
                }
                if self.mutant == Mutant::ContextTooNew {
                    self.owners
                        .iter()
                        .for_each(|o| clock.join(self.nodes[*o].replica.clock(P)));
                }
                let message = Message::Rows { to, rows, clock };
                if self.chance(20) {
                    self.net.push(message);
                } else {
                    self.deliver(message);
                }
            }
        }
    }

    fn begin_transfer(&mut self, to: usize, from: usize) {
        if self.transfers.iter().any(|transfer| transfer.to == to) {
            return;
        }
        let others = self
            .owners
            .iter()
            .copied()
            .filter(|o| *o != to && *o != from);
        let then = if self.nodes[to].replica.is_whole(P) {
            vec![]
        } else {
            others.collect()
        };
        self.begin(to, from, then);
    }

    fn begin(&mut self, to: usize, from: usize, then: Vec<usize>) {
        // What an earlier life of the node left unfinished is taken up, or begun anew.
        let after = self.nodes[to]
            .replica
            .transfer(P)
            .and_then(|(_, last)| last)
            .filter(|_| self.rng.bool());
        self.transfers.push(Transfer {
            to,
            from,
            after,
            first: Clock::new(),
            then,
        });
    }

    /// One page of one transfer.
    fn transfer(&mut self, at: usize) {
        let Transfer {
            to,
            from,
            after,
            first,
            ..
        } = &mut self.transfers[at];
        let (to, from) = (*to, *from);
        let page = self.nodes[from]
            .replica
            .whole_page(P, after.as_ref(), 1)
            .unwrap();
        let (rows, clock, next) = page;
        let replica = &mut self.nodes[to].replica;
        let taken = replica
            .take_whole_page(P, after.as_ref(), &rows, next.as_ref(), &clock)
            .unwrap();
        if taken == WholeTaken::OutOfOrder {
            *after = None;
            return;
        }
        if after.is_none() {
            *first = clock;
        }
        *after = next;
        if after.is_none() {
            assert!(replica.claim(P, first));
            let mut then = self.transfers.remove(at).then;
            match then.pop() {
                Some(next) => self.begin(to, next, then),
                None => replica.mark_whole(P),
            }
        }
    }

    fn handoff(&mut self, from: usize) {
        for (owner, partition) in self.nodes[from].replica.hinted() {
            let named = owner.0 as usize;
            let to = if self.owners.contains(&named) {
                named
            } else {
                self.owner()
            };
            if !self.up(from, to) || self.chance(20) {
                continue;
            }
            let hints = self.nodes[from]
                .replica
                .hints(owner, partition, 64)
                .unwrap();
            for hint in &hints {
                let mut event = hint.event.clone();
                if self.mutant == Mutant::HintsForgetContext {
                    event.replaces = Clock::new();
                }
                self.nodes[to].replica.take(&hint.key, &event).unwrap();
            }
            self.sync(to);
            self.nodes[from]
                .replica
                .forget_hints(owner, partition, &hints)
                .unwrap();
            self.commit(from);
        }
    }

    fn reopen(&mut self, n: usize, start: Start) {
        let owner = self.owners.contains(&n);
        self.nodes[n].replica = open(&self.nodes[n].kv, owner, start, self.rng.u64(..));
        self.transfers.retain(|transfer| transfer.to != n);
    }

    fn crash(&mut self, n: usize) {
        let kept = self.rng.usize(..=self.nodes[n].kv.unsynced());
        self.nodes[n].kv.crash(kept);
        let start = self.nodes[n].kv.open();
        self.reopen(n, start);
    }

    fn restart(&mut self, n: usize) {
        self.nodes[n].replica.close();
        self.commit(n);
        self.nodes[n].kv.close_clean().unwrap();
        let start = self.nodes[n].kv.open();
        self.reopen(n, start);
    }

    /// The one disaster of a run: a disk is replaced, or forgets what it had synced, from the middle
    /// too.
    fn harm(&mut self, n: usize) {
        if self.harmed
            || self
                .owners
                .iter()
                .any(|o| !self.nodes[*o].replica.is_whole(P))
        {
            return;
        }
        self.harmed = true;
        let kv = self.nodes[n].kv.clone();
        if self.rng.bool() {
            kv.wipe();
        } else {
            kv.forget(self.rng.usize(1..20));
            let mut holes = Batch::new();
            for keyspace in [
                Keyspace::Rows,
                Keyspace::Log,
                Keyspace::Clocks,
                Keyspace::Pending,
            ] {
                for entry in kv.range(keyspace, Bound::Unbounded, Bound::Unbounded) {
                    if self.rng.u32(..100) < 30 {
                        holes.delete(keyspace, entry.unwrap().0);
                    }
                }
            }
            kv.commit(&holes).unwrap();
        }
        let start = match kv.open() {
            Start::Blank => Start::Blank,
            _ => Start::Amnesia {
                evidence: vec!["holes".to_owned()],
            },
        };
        self.reopen(n, start);
        if self.owners.contains(&n) {
            let replica = &mut self.nodes[n].replica;
            assert!(!replica.is_whole(P) && replica.clock(P).is_empty());
            if self.mutant == Mutant::WipedBelievesItself {
                let peer = self.owners.iter().find(|o| **o != n).unwrap();
                let clock = self.nodes[*peer].replica.clock(P).clone();
                let replica = &mut self.nodes[n].replica;
                replica.take_whole_page(P, None, &[], None, &clock).unwrap();
                assert!(replica.claim(P, &clock));
                replica.mark_whole(P);
            }
        }
        self.sync(n);
    }

    /// Another node takes the place of an owner, synced from all of them before that one retires.
    fn replace(&mut self) {
        if !self.transfers.is_empty() || !self.cut.is_empty() {
            return;
        }
        let place = self.rng.usize(..3);
        let Some(new) = (0..NODES).find(|n| !self.owners.contains(n) && self.rng.bool()) else {
            return;
        };
        let before = std::mem::replace(&mut self.owners[place], new);
        self.restart(new);
        self.nodes[new].replica.mark_filling(P);
        let then = vec![self.owners[(place + 1) % 3], self.owners[(place + 2) % 3]];
        self.begin(new, before, then);
        while !self.transfers.is_empty() {
            self.transfer(0);
        }
        self.sync(new);
        self.restart(before);
    }

    pub(crate) fn step(&mut self) {
        let at = if self.chance(85) {
            self.owner()
        } else {
            self.any()
        };
        match self.rng.u32(..1000) {
            0..420 => {
                let index = self.rng.usize(..KEYS.len());
                let recent = self
                    .contexts
                    .iter()
                    .rev()
                    .take(12)
                    .filter(|(of, _)| *of == index);
                let recent: Vec<_> = recent.map(|(_, context)| context.clone()).collect();
                let context = self.rng.choice(recent).filter(|_| self.rng.u32(..5) > 0);
                let context = context.unwrap_or_default();
                let removes = self.chance(33);
                match KEYS[index].2 {
                    RowKind::Counter => self.write(at, index, &Change::Increment(1), None),
                    RowKind::Element if removes => self.write(at, index, &Change::Remove, None),
                    RowKind::Element => self.write(at, index, &Change::Mark, None),
                    _ if removes && context.is_empty() => {}
                    _ if removes => self.write(at, index, &Change::Remove, Some(context)),
                    _ => {
                        let value = Change::Value(self.ops.to_string().into());
                        self.write(at, index, &value, Some(context));
                    }
                }
            }
            420..560 => self.read(),
            560..680 if !self.net.is_empty() => {
                let message = self.net.swap_remove(self.rng.usize(..self.net.len()));
                self.deliver(message);
            }
            680..740 => {
                let (to, from) = self.two_owners();
                let horizon = self
                    .rng
                    .choice([Horizon::Settled, Horizon::Everything])
                    .unwrap();
                if self.up(to, from) {
                    self.pull(to, from, horizon);
                }
            }
            740..780 if !self.transfers.is_empty() => {
                let at = self.rng.usize(..self.transfers.len());
                if self.up(self.transfers[at].to, self.transfers[at].from) {
                    self.transfer(at);
                }
            }
            780..830 => self.upkeep(),
            830..880 => {
                let from = self.any();
                self.handoff(from);
            }
            880..915 => {
                let (a, b) = (self.any(), self.any());
                let link = (a.min(b), a.max(b));
                if a != b && !self.cut.remove(&link) {
                    self.cut.insert(link);
                }
            }
            915..950 => {
                let n = self.any();
                self.crash(n);
            }
            950..957 => {
                let n = self.any();
                self.restart(n);
            }
            957..959 => {
                let n = self.any();
                self.harm(n);
            }
            959..966 => self.replace(),
            _ => {
                let n = self.any();
                self.sync(n);
            }
        }
    }

    fn upkeep(&mut self) {
        let n = self.owner();
        let co_owners: Vec<_> = self
            .owners
            .iter()
            .filter(|o| **o != n)
            .map(|o| id(*o))
            .collect();
        let part = self.rng.u32(..5);
        let budget = self.rng.usize(1..20);
        let replica = &mut self.nodes[n].replica;
        match part {
            0 => drop(replica.prune(P, &co_owners, budget).unwrap()),
            1 => drop(replica.strip_pending(P, budget).unwrap()),
            2 => replica.checkpoint(),
            3 => replica.settle(),
            _ => drop(replica.count_some(budget)),
        }
    }

    /// Everything heals, and everybody hears of everything.
    pub(crate) fn heal(&mut self) {
        self.cut.clear();
        while let Some(message) = self.net.pop() {
            self.deliver(message);
        }
        for round in 0..4 {
            for _ in 0..20 {
                (0..NODES).for_each(|n| self.handoff(n));
            }
            // A page at a time, so it takes a while; far below this bound if it ends at all.
            for _ in 0..200 {
                if !self.pull_around() {
                    break;
                }
            }
            if round > 0 {
                self.forget_everything_shared();
            }
        }
    }

    /// Every owner pulls from every other one. Returns whether any had something to pull.
    fn pull_around(&mut self) -> bool {
        let mut pulled = false;
        for (to, from) in [(0, 1), (1, 2), (2, 0), (1, 0), (2, 1), (0, 2)] {
            let (to, from) = (self.owners[to], self.owners[from]);
            let differ = self.nodes[to].replica.clock(P) != self.nodes[from].replica.clock(P);
            if differ || !self.nodes[to].replica.is_whole(P) {
                self.pull(to, from, Horizon::Everything);
                pulled = true;
            }
            while !self.transfers.is_empty() {
                self.transfer(0);
            }
        }
        while let Some(message) = self.net.pop() {
            self.deliver(message);
        }
        pulled
    }

    fn forget_everything_shared(&mut self) {
        for n in self.owners.clone() {
            let co_owners: Vec<_> = self.owners.iter().copied().filter(|o| *o != n).collect();
            for other in &co_owners {
                let clock = self.nodes[*other].replica.clock(P).clone();
                self.nodes[n].replica.note_peer_clock(P, id(*other), &clock);
            }
            let co_owners: Vec<_> = co_owners.into_iter().map(id).collect();
            self.nodes[n].replica.strip_pending(P, 1000).unwrap();
            self.nodes[n].replica.prune(P, &co_owners, 100_000).unwrap();
            self.nodes[n].replica.count_some(100_000);
            self.sync(n);
        }
    }

    pub(crate) fn dot(name: &(u64, u64)) -> Dot {
        Dot::new(dunlin_crdt::ActorId(name.0), name.1)
    }
}
