//! Random lives of a node beside a model of what it must hold: it gains, gives up, deletes, writes,
//! loses batches at any boundary, and starts again under whatever layout.
//!
//! Replay one seed: `SEED=17 cargo test -p dunlin-storage --test replica_moves crash`; run more
//! of them: `SEEDS=1000`.

use std::collections::BTreeSet;

use dunlin_crdt::{ActorId, Clock};
use dunlin_protocol::RowKey;
use dunlin_ring::PartitionId;
use dunlin_storage::{DiskSpace, Keyspace, Kv, MemoryKv, Replica};

use super::support::{OTHER, P, commit, drop_all, key, open, put, remove, shown, stored, sync};

/// A time during which a partition was held.
#[derive(Clone, Debug, Default, PartialEq)]
struct Life {
    number: u64,
    rows: BTreeSet<RowKey>,
    clock: Clock,
}

/// What is held of both partitions.
type Held = [Option<Life>; 2];

struct Node {
    rng: fastrand::Rng,
    kv: MemoryKv,
    replica: Replica,
    now: Held,
    synced: Held,
    unsynced: Vec<Held>,
    lives: u64,
    /// Actors that must not mint any more, and those that may.
    retired: [BTreeSet<ActorId>; 2],
    minting: [BTreeSet<ActorId>; 2],
}

impl Node {
    fn new(seed: u64) -> Self {
        let kv = MemoryKv::new();
        let replica = open(&kv, &[], seed);
        Self {
            rng: fastrand::Rng::with_seed(seed),
            kv,
            replica,
            now: Held::default(),
            synced: Held::default(),
            unsynced: Vec::new(),
            lives: 0,
            retired: Default::default(),
            minting: Default::default(),
        }
    }

    fn begin(&mut self) -> Option<Life> {
        self.lives += 1;
        Some(Life {
            number: self.lives,
            ..Life::default()
        })
    }

    fn retire(&mut self, at: usize) {
        let minting = std::mem::take(&mut self.minting[at]);
        self.retired[at].extend(minting);
    }

    fn step(&mut self) {
        let at = self.rng.usize(..2);
        let partition = PartitionId(at as u16);
        match self.rng.u32(..100) {
            0..40 if self.now[at].is_some() => self.write(at),
            40..50 => {
                self.replica.gain(partition).unwrap();
                if self.now[at].is_none() {
                    self.now[at] = self.begin();
                }
            }
            50..58 => {
                self.replica.give_up(partition).unwrap();
                self.now[at] = None;
                self.retire(at);
            }
            58..66 => drop(self.replica.drop_some(self.rng.usize(1..4)).unwrap()),
            66..70 => drop(self.replica.count_some(2)),
            70..73 => self.replica.checkpoint(),
            73..90 => self.commit(),
            90..94 => {
                sync(&self.kv, &mut self.replica);
                self.synced = self.now.clone();
                self.unsynced.clear();
            }
            94..96 => self.refuse(),
            96..99 => self.crash(),
            _ => self.restart(),
        }
    }

    fn write(&mut self, at: usize) {
        let key = key(PartitionId(at as u16), self.rng.usize(..6));
        let Some(life) = &mut self.now[at] else {
            return;
        };
        let event = if self.rng.bool() {
            life.rows.insert(key.clone());
            put(&mut self.replica, &key, "v")
        } else {
            life.rows.remove(&key);
            remove(&mut self.replica, &key)
        };
        life.clock.add(event.dot);
        let actor = event.dot.actor;
        assert!(!self.retired[at].contains(&actor), "an actor came back");
        self.minting[at].insert(actor);
    }

    /// Commits what is staged; whatever it is, it is in one batch.
    fn commit(&mut self) {
        commit(&self.kv, &mut self.replica);
        if self.kv.unsynced() > self.unsynced.len() {
            self.unsynced.push(self.now.clone());
        }
    }

    /// The disk is full for a moment.
    fn refuse(&mut self) {
        let Some((_, batch)) = self.replica.take_staged() else {
            return;
        };
        self.kv.set_space(DiskSpace::NearlyFull);
        let taken = self.kv.commit(&batch).is_ok();
        self.kv.set_space(DiskSpace::Ample);
        if taken {
            // Deletes alone. That they were committed may be learned too late as well.
            self.unsynced.push(self.now.clone());
        }
        self.replica.roll_back().unwrap();
        let committed = self.unsynced.last().unwrap_or(&self.synced).clone();
        for (at, committed) in committed.into_iter().enumerate() {
            let number = |life: &Option<Life>| life.as_ref().map(|life| life.number);
            if self.now[at].is_none() {
            } else if number(&committed) == number(&self.now[at]) {
                self.now[at] = committed;
            } else {
                self.now[at] = self.begin();
            }
            self.retire(at);
        }
    }

    fn crash(&mut self) {
        let kept = self.rng.usize(..=self.kv.unsynced());
        assert_eq!(self.kv.unsynced(), self.unsynced.len());
        self.kv.crash(kept);
        self.unsynced.truncate(kept);
        let found = self.unsynced.last().unwrap_or(&self.synced).clone();
        self.start(found);
        (0..2).for_each(|at| self.retire(at));
    }

    fn restart(&mut self) {
        self.replica.close();
        commit(&self.kv, &mut self.replica);
        self.kv.close_clean().unwrap();
        let found = self.now.clone();
        self.start(found);
    }

    fn start(&mut self, found: Held) {
        (self.synced, self.now) = (found.clone(), found);
        self.unsynced.clear();
        let mut owned = Vec::new();
        for (at, partition) in [P, OTHER].into_iter().enumerate() {
            if self.rng.bool() {
                owned.push(partition);
                if self.now[at].is_none() {
                    self.now[at] = self.begin();
                }
            }
        }
        self.replica = open(&self.kv, &owned, self.rng.u64(..));
    }

    fn check(&self) {
        self.replica.check_invariants().unwrap();
        for (at, partition) in [P, OTHER].into_iter().enumerate() {
            assert_eq!(self.replica.owns(partition), self.now[at].is_some());
            let life = self.now[at].clone().unwrap_or_default();
            assert_eq!(shown(&self.replica, partition), life.rows);
            assert_eq!(self.replica.clock(partition), &life.clock);
        }
    }

    /// Deletes what is left, and looks at the disk.
    fn end(&mut self) {
        drop_all(&mut self.replica);
        for partition in [P, OTHER] {
            if self.replica.owns(partition) {
                self.replica.strip_pending(partition, 100).unwrap();
            }
        }
        sync(&self.kv, &mut self.replica);
        self.check();
        for (at, partition) in [P, OTHER].into_iter().enumerate() {
            let life = self.now[at].clone().unwrap_or_default();
            let rows = stored(&self.kv, Keyspace::Rows, partition);
            assert_eq!(rows.len(), life.rows.len());
            let entries = stored(&self.kv, Keyspace::Log, partition);
            assert_eq!(entries.len() as u64, life.clock.len());
        }
    }
}

#[test]
fn a_crash_at_any_batch_leaves_old_rows_buried_and_new_ones_in_place() {
    let number = |name| -> Option<u64> { std::env::var(name).ok()?.parse().ok() };
    let seeds = match (number("SEED"), number("SEEDS")) {
        (Some(seed), _) => seed..seed + 1,
        (None, many) => 0..many.unwrap_or(30),
    };
    let mut lives = 0;
    for seed in seeds {
        println!("SEED={seed}");
        let mut node = Node::new(seed);
        for _ in 0..300 {
            node.step();
            node.check();
        }
        node.end();
        lives += node.lives;
    }
    assert!(lives > 10, "partitions came and went {lives} times");
}
