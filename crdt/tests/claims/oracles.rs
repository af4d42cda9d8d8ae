//! The types of the `crdts` crate, which share no code with our folds, answer the same.
//!
//! Both sides run one history of writes and whole-state merges between three replicas, and are compared
//! after every step. Merging is where they differ most: the crate joins nested vector clocks, we join
//! rows under the clock of their partition.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use crdts::{CmRDT, CvRDT, GSet, LWWReg, Orswot, PNCounter};
use dunlin_crdt::{
    ActorId, Change, Clock, Dot, Event, Folded, Hlc, HlcClock, Millis, Replaces, Row, RowKind, fold,
};
use fastrand::Rng;

use crate::cell;

const SEEDS: u64 = 60;
const STEPS: usize = 80;
const REPLICAS: usize = 3;

/// One replica of ours: rows by their subkey, under one clock.
#[derive(Clone)]
struct Ours {
    kind: RowKind,
    actor: ActorId,
    minted: u64,
    clock: Clock,
    rows: BTreeMap<u8, Row>,
    stamps: HlcClock,
}

impl Ours {
    fn three(kind: RowKind) -> Vec<Self> {
        let one = |actor| Self {
            kind,
            actor: ActorId(actor),
            minted: 0,
            clock: Clock::new(),
            rows: BTreeMap::new(),
            stamps: HlcClock::default(),
        };
        (1..).take(REPLICAS).map(one).collect()
    }

    fn write(&mut self, row: u8, change: &Change, now: Millis) -> (Hlc, Dot) {
        let held = self.rows.entry(row).or_default();
        let effect = change
            .apply(self.kind, held, self.actor, &Replaces::Seen)
            .unwrap();
        self.minted += 1;
        let (dot, stamp) = (Dot::new(self.actor, self.minted), self.stamps.tick(now));
        let event = Event {
            dot,
            cell: effect.body.map(|body| dunlin_crdt::Cell {
                stamp,
                ..cell(dot, body)
            }),
            replaces: effect.replaces,
        };
        held.take(&self.clock, &event);
        self.clock.add(dot);
        held.strip(&self.clock);
        (stamp, dot)
    }

    fn merge(&mut self, other: &Self) {
        let subkeys: BTreeSet<u8> = self.rows.keys().chain(other.rows.keys()).copied().collect();
        let nothing = Row::new();
        for subkey in subkeys {
            let theirs = other.rows.get(&subkey).unwrap_or(&nothing);
            for (_, cell) in theirs.cells() {
                let accepted = self.stamps.observe(cell.stamp, cell.stamp.millis(), 0);
                assert_eq!(accepted, Ok(()));
            }
            let held = self.rows.entry(subkey).or_default();
            held.join(&self.clock, theirs, &other.clock);
        }
        self.clock.join(&other.clock);
        for row in self.rows.values_mut() {
            row.strip(&self.clock);
            assert!(row.past().is_empty());
        }
    }

    fn shown(&self, row: u8) -> Option<Folded> {
        self.rows
            .get(&row)
            .and_then(|row| fold(self.kind, row, Millis(0)))
    }

    fn elements(&self) -> BTreeSet<u8> {
        let all = self.rows.keys().copied();
        all.filter(|element| self.shown(*element).is_some())
            .collect()
    }
}

/// Runs `step(rng, replica, now)` or merges, and checks the replica that changed.
fn check<O: Clone>(
    kind: RowKind,
    oracle: &O,
    step: impl Fn(&mut Rng, &mut Ours, &mut O, Millis),
    merge: impl Fn(&mut O, O),
    agree: impl Fn(&Ours, &O) -> bool,
) {
    for seed in 0..SEEDS {
        let mut rng = Rng::with_seed(seed);
        let (mut ours, mut oracles) = (Ours::three(kind), vec![oracle.clone(); REPLICAS]);
        for _ in 0..STEPS {
            let at = rng.usize(0..REPLICAS);
            if rng.u8(0..3) == 0 {
                let from = (at + rng.usize(1..REPLICAS)) % REPLICAS;
                let (other, of_oracle) = (ours[from].clone(), oracles[from].clone());
                ours[at].merge(&other);
                merge(&mut oracles[at], of_oracle);
            } else {
                // Wall clocks that disagree and jump: the order must come from the stamps.
                let now = Millis(rng.u64(0..50));
                step(&mut rng, &mut ours[at], &mut oracles[at], now);
            }
            assert!(agree(&ours[at], &oracles[at]), "seed {seed}");
        }
    }
}

#[test]
fn sets_answer_as_an_orswot() {
    check(
        RowKind::Element,
        &Orswot::<u8, ActorId>::new(),
        |rng, ours, oracle, now| {
            let element = rng.u8(0..5);
            if rng.bool() {
                let context = oracle.read_ctx().derive_add_ctx(ours.actor);
                oracle.apply(oracle.add(element, context));
                ours.write(element, &Change::Mark, now);
            } else {
                // The context of the element, not of the set: removal covers what was seen of it.
                let context = oracle.contains(&element).derive_rm_ctx();
                oracle.apply(oracle.rm(element, context));
                ours.write(element, &Change::Remove, now);
            }
        },
        CvRDT::merge,
        |ours, oracle| ours.elements() == oracle.read().val.into_iter().collect(),
    );
}

#[test]
fn sets_that_only_grow_answer_as_a_gset() {
    check(
        RowKind::Element,
        &GSet::new(),
        |rng, ours, oracle, now| {
            let element = rng.u8(0..20);
            oracle.insert(element);
            ours.write(element, &Change::Mark, now);
        },
        CvRDT::merge,
        |ours, oracle| ours.elements() == oracle.read(),
    );
}

#[test]
fn counters_answer_as_a_pncounter() {
    check(
        RowKind::Counter,
        &PNCounter::<ActorId>::new(),
        |rng, ours, oracle, now| {
            let by = rng.i64(-1_000..1_000);
            let op = match by {
                0.. => oracle.inc_many(ours.actor, by.unsigned_abs()),
                _ => oracle.dec_many(ours.actor, by.unsigned_abs()),
            };
            oracle.apply(op);
            ours.write(0, &Change::Increment(by), now);
        },
        CvRDT::merge,
        |ours, oracle| match ours.shown(0) {
            Some(Folded::Sum(sum)) => oracle.read() == sum.into(),
            _ => oracle.read() == 0.into(),
        },
    );
}

/// The marker that settles a write against others: its stamp, then its dot.
type Marker = (Hlc, ActorId, u64);

#[test]
fn last_writer_wins_answers_as_an_lwwreg() {
    let marker: Marker = (Hlc::default(), ActorId(0), 0);
    let empty = LWWReg {
        val: Bytes::new(),
        marker,
    };
    check(
        RowKind::Lww,
        &empty,
        |rng, ours, oracle, now| {
            let value = Bytes::copy_from_slice(&rng.u64(..).to_be_bytes());
            let (stamp, dot) = ours.write(0, &Change::Value(value.clone()), now);
            oracle.update(value, (stamp, dot.actor, dot.counter));
        },
        CvRDT::merge,
        |ours, oracle| match ours.shown(0) {
            Some(Folded::Latest { value, stamp, .. }) => {
                (value, stamp) == (oracle.val.clone(), oracle.marker.0)
            }
            _ => oracle.marker.2 == 0,
        },
    );
}
