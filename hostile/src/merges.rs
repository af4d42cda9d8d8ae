//! The laws of the merge, on histories that the bytes write.
//!
//! ```text
//! byte 0: the kind of the row; then, until they end: one byte what happens, one byte to whom and how
//! replica: row, clock, actor      model: the set of events that it can know of
//! a replica shows the cells of the events it can know of that none of them replaces
//! ```
//!
//! At any moment the copies of the replicas, now and as they were saved, obey the laws of a join. At the
//! end everybody pulls from everybody, and all hold the same bytes.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use dunlin_crdt::{
    ActorId, Cell, Change, ChangeError, Clock, Dot, Event, Hlc, Millis, OpId, Replaces, Row,
    RowKind, fold,
};

const KINDS: [RowKind; 7] = [
    RowKind::Register,
    RowKind::Lww,
    RowKind::Counter,
    RowKind::Flag,
    RowKind::Max,
    RowKind::Min,
    RowKind::Element,
];
const REPLICAS: usize = 3;
/// Longer histories reach nothing new, and cost the time of many short ones.
const STEPS_MAX: usize = 64;

/// Writes and merges as the bytes say; the laws hold, the model agrees, and all replicas converge.
pub fn merges(data: &[u8]) {
    let [kind, steps @ ..] = data else {
        return;
    };
    let Some(kind) = KINDS.get(usize::from(*kind) % KINDS.len()) else {
        return;
    };
    let mut history = History::new(*kind);
    for step in steps.chunks_exact(2).take(STEPS_MAX) {
        if let [what, how] = step {
            history.step(*what, *how);
        }
    }
    history.obey_laws();
    history.converge();
}

/// A copy of the row, and the clock that it is read under.
type Copy = (Row, Clock);

#[derive(Clone)]
struct Replica {
    row: Row,
    clock: Clock,
    actor: ActorId,
    minted: u64,
    /// Model: the events that it can know of.
    known: BTreeSet<usize>,
}

struct History {
    kind: RowKind,
    replicas: [Replica; REPLICAS],
    saved: [Replica; REPLICAS],
    events: Vec<Event>,
    /// What readers were shown, to write under later.
    contexts: Vec<Clock>,
    actors: u64,
}

impl History {
    fn new(kind: RowKind) -> Self {
        let replicas = [1, 2, 3].map(|actor| Replica {
            row: Row::new(),
            clock: Clock::new(),
            actor: ActorId(actor),
            minted: 0,
            known: BTreeSet::new(),
        });
        Self {
            kind,
            saved: replicas.clone(),
            replicas,
            events: Vec::new(),
            contexts: Vec::new(),
            actors: REPLICAS as u64,
        }
    }

    fn step(&mut self, what: u8, how: u8) {
        let at = usize::from(how) % REPLICAS;
        let rest = usize::from(how) / REPLICAS;
        let other = (at + 1 + rest % (REPLICAS - 1)) % REPLICAS;
        match what % 9 {
            0 => self.write(at, self.change(rest), &Replaces::Seen),
            1 => self.write(at, Change::Remove, &Replaces::Seen),
            2 => {
                let context = self.contexts.get(rest % self.contexts.len().max(1));
                let context = Replaces::Context(context.cloned().unwrap_or_default());
                let remove = what >= 128;
                let change = if remove {
                    Change::Remove
                } else {
                    self.change(rest)
                };
                self.write(at, change, &context);
            }
            3 => self.read(at, other),
            4 => self.deliver(at, rest % self.events.len().max(1)),
            5 => self.repair_read(other, at),
            6 => self.pull(other, at),
            7 => self.saved[at] = self.replicas[at].clone(),
            _ => self.crash(at),
        }
        self.check(at);
    }

    fn change(&self, rest: usize) -> Change {
        // The ends of the range are where totals overflow.
        let amount = match rest {
            0 => i64::MIN,
            1 => i64::MAX,
            _ => rest as i64 - 40,
        };
        match self.kind {
            RowKind::Register | RowKind::Lww => Change::Value(Bytes::from(vec![rest as u8])),
            RowKind::Counter => Change::Increment(amount),
            RowKind::Flag | RowKind::Element => Change::Mark,
            RowKind::Max | RowKind::Min => Change::Observe(amount),
        }
    }

    fn write(&mut self, at: usize, change: Change, replaces: &Replaces) {
        let replica = &mut self.replicas[at];
        let effect = match change.apply(self.kind, &replica.row, replica.actor, replaces) {
            Ok(effect) => effect,
            Err(ChangeError::CounterOverflow) => return,
            Err(ChangeError::WrongKind) => unreachable!("changes are made for the kind"),
        };
        replica.minted += 1;
        let number = self.events.len();
        // Some stamps are equal, so that the dots decide.
        let stamp = Hlc::at(Millis(number as u64 / 2));
        self.events.push(Event {
            dot: Dot::new(replica.actor, replica.minted),
            cell: effect.body.map(|body| Cell {
                stamp,
                op: OpId(0, number as u64),
                expires_at: None,
                body,
            }),
            replaces: effect.replaces,
        });
        self.deliver(at, number);
    }

    fn deliver(&mut self, at: usize, event: usize) {
        let (replica, Some(taken)) = (&mut self.replicas[at], self.events.get(event)) else {
            return;
        };
        replica.row.take(&replica.clock, taken);
        replica.clock.add(taken.dot);
        replica.row.strip(&replica.clock);
        replica.known.insert(event);
    }

    /// A quorum of two shows what the events of both leave.
    fn read(&mut self, one: usize, other: usize) {
        let (one, other) = (&self.replicas[one], &self.replicas[other]);
        let (joined, _) = join(&one.copy(), &other.copy());
        let known = &one.known | &other.known;
        self.shows(&joined, &known, "a read");
        self.contexts.push(joined.dots());
    }

    /// One row, of which only the dots with cells are named: the clock learns no more.
    fn repair_read(&mut self, from: usize, to: usize) {
        let (source, target) = (self.replicas[from].clone(), &mut self.replicas[to]);
        target.row.join(&target.clock, &source.row, &source.clock);
        target.clock.join(&source.row.dots());
        target.row.strip(&target.clock);
        target.known.extend(&source.known);
    }

    /// The whole partition, which is this one row.
    fn pull(&mut self, from: usize, to: usize) {
        let (row, clock) = join(&self.replicas[to].copy(), &self.replicas[from].copy());
        let known = self.replicas[from].known.clone();
        let target = &mut self.replicas[to];
        (target.row, target.clock) = (row, clock);
        target.known.extend(known);
    }

    /// Back to what was saved, under a new actor: what it minted since may be anywhere.
    fn crash(&mut self, at: usize) {
        self.actors += 1;
        let mut back = self.saved[at].clone();
        (back.actor, back.minted) = (ActorId(self.actors), 0);
        self.saved[at] = back.clone();
        self.replicas[at] = back;
    }

    fn check(&self, at: usize) {
        let replica = &self.replicas[at];
        self.shows(&replica.row, &replica.known, "a replica");
        assert!(
            replica.row.dots().is_subset(&replica.clock),
            "it holds what it shows"
        );
    }

    /// The model: the cells of known events that no known event replaces.
    fn shows(&self, row: &Row, known: &BTreeSet<usize>, whose: &str) {
        let events = || known.iter().filter_map(|number| self.events.get(*number));
        let is_left = |event: &Event| !events().any(|by| by.replaces.contains(&event.dot));
        let expected: BTreeMap<(ActorId, u64), &Cell> = events()
            .filter(|event| is_left(event))
            .filter_map(|event| Some(((event.dot.actor, event.dot.counter), event.cell.as_ref()?)))
            .collect();
        let cells = row.cells().iter();
        let shown: BTreeMap<_, _> = cells.map(|(d, c)| ((d.actor, d.counter), c)).collect();
        assert_eq!(shown, expected, "{whose} shows what the model shows");
    }

    fn obey_laws(&self) {
        let mut copies: Vec<Copy> = Vec::new();
        for copy in self.replicas.iter().chain(&self.saved).map(Replica::copy) {
            if !copies.contains(&copy) {
                copies.push(copy);
            }
        }
        for a in &copies {
            assert_eq!(join(a, a), *a, "join is idempotent");
            for b in &copies {
                let ab = join(a, b);
                storable(&ab.0);
                assert_eq!(ab, join(b, a), "join is commutative");
                assert_eq!(join(&ab, b), ab, "join takes nothing in twice");
                for c in &copies {
                    assert_eq!(join(&ab, c), join(a, &join(b, c)), "join is associative");
                }
            }
        }
    }

    /// Everybody pulls from everybody, twice around, and ends with the same bytes.
    fn converge(&mut self) {
        for _ in 0..2 {
            for from in 0..REPLICAS {
                for to in (0..REPLICAS).filter(|to| *to != from) {
                    self.pull(from, to);
                    self.check(to);
                }
            }
        }
        let [first, others @ ..] = &self.replicas;
        for other in others {
            assert_eq!(first.known, other.known);
            assert_eq!(
                first.row.encode(),
                other.row.encode(),
                "equal bytes of the row"
            );
            assert_eq!(
                first.clock.encode(),
                other.clock.encode(),
                "equal bytes of the clock"
            );
            let (here, there) = (&first.row, &other.row);
            let shown = |row| fold(self.kind, row, Millis(0));
            assert_eq!(shown(here), shown(there), "readers are shown the same");
        }
    }
}

impl Replica {
    fn copy(&self) -> Copy {
        (self.row.clone(), self.clock.clone())
    }
}

/// The join of two copies as it would be stored: under both clocks.
fn join((row, mine): &Copy, (other, theirs): &Copy) -> Copy {
    let (mut row, mut clock) = (row.clone(), mine.clone());
    row.join(mine, other, theirs);
    clock.join(theirs);
    row.strip(&clock);
    (row, clock)
}

fn storable(row: &Row) {
    let bytes = Bytes::from(row.encode());
    assert_eq!(
        Row::decode(&bytes).as_ref(),
        Ok(row),
        "a join can be stored"
    );
}
