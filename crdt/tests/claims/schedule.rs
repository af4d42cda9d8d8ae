//! Several owners of one partition under a seed, each with a naive model beside it.
//!
//! ```text
//! owner:  rows under a clock, a log of which dot touched which row        (what Dunlin keeps)
//! model:  the events of each row that its owner can know of, all of them  (what Dunlin forgets)
//! visible(model) = the cells of known events that no known event replaces
//! ```
//!
//! Owners write every kind under empty, stale and current contexts, lose, repeat and reorder events,
//! exchange single rows and whole differences, hold hints for each other, and crash back to an older
//! state. After every step the row that was touched shows exactly what the model shows. At the end all
//! is healed, and all owners must agree on everything.
//!
//! A [`Rule`] other than `Sound` breaks one rule of the design on purpose.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use dunlin_crdt::{
    ActorId, Body, Cell, Change, Clock, Dot, Event, Folded, Hlc, Millis, OpId, Replaces, Row,
    RowKind, fold,
};
use fastrand::Rng;

/// Dots in an order, which `Dot` itself has not.
type Name = (ActorId, u64);
type Names = BTreeSet<Name>;

/// How the owners behave: as designed, or with one mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    Sound,
    /// A row forgets what it knows to be superseded.
    DropPast,
    /// A clock sometimes claims dots whose rows it was not sent.
    ClaimWithoutRow,
    /// After it forgot work, an owner goes on under its old actor.
    ReuseActor,
    /// The dots that an event's context mentions are taken for events that have arrived.
    GuessDots,
    /// A row is sent without the clock it was read under.
    RowWithoutClock,
    /// A fallback keeps its actor after it has given its cells away.
    FallbackKeepsActor,
}

pub(crate) const KINDS: [RowKind; 10] = [
    RowKind::Register,
    RowKind::Register,
    RowKind::Lww,
    RowKind::Counter,
    RowKind::Counter,
    RowKind::Flag,
    RowKind::Max,
    RowKind::Min,
    RowKind::Element,
    RowKind::Element,
];
/// The counter that is never removed, so that its sum is known without any model of causality.
const STEADY: usize = 4;

/// An event as the model knows it: sets in place of clocks.
struct Written {
    row: usize,
    event: Event,
    name: Name,
    replaces: Names,
}

/// One owner, or one hint for an owner: rows of which it holds what its clock and log say.
#[derive(Clone, Default)]
struct Owner {
    actor: Option<ActorId>,
    minted: u64,
    clock: Clock,
    rows: BTreeMap<usize, Row>,
    log: BTreeMap<Name, usize>,
    /// Model: indices of the events it can know of.
    known: BTreeSet<usize>,
}

/// A row that waits at a fallback, and the dots of the events merged into it.
#[derive(Default)]
struct Hint {
    row: Row,
    named: Names,
    known: BTreeSet<usize>,
    actor: Option<ActorId>,
    minted: u64,
}

pub(crate) struct Schedule {
    rng: Rng,
    rule: Rule,
    crashes: bool,
    owners: Vec<Owner>,
    saved: Vec<Owner>,
    hints: BTreeMap<(usize, usize), Hint>,
    fallback: Option<ActorId>,
    fallback_minted: u64,
    events: Vec<Written>,
    /// Events under way: to whom, and which.
    network: Vec<(usize, usize)>,
    /// What readers have been shown of a row, to write under later.
    contexts: Vec<(usize, Clock, Names)>,
    steady_sum: i64,
    now: u64,
}

fn name(dot: &Dot) -> Name {
    (dot.actor, dot.counter)
}

fn names(clock: &Clock) -> Names {
    clock.dots().map(|dot| name(&dot)).collect()
}

fn ensure(holds: bool, what: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(what()) }
}

impl Schedule {
    /// Owners that know nothing. On even seeds nobody ever crashes.
    pub(crate) fn new(seed: u64, rule: Rule) -> Self {
        let mut rng = Rng::with_seed(seed);
        let count = rng.usize(2..=4);
        let owners = vec![Owner::default(); count];
        Self {
            saved: owners.clone(),
            owners,
            rng,
            rule,
            crashes: seed % 2 == 1,
            hints: BTreeMap::new(),
            fallback: None,
            fallback_minted: 0,
            events: Vec::new(),
            network: Vec::new(),
            contexts: Vec::new(),
            steady_sum: 0,
            now: 0,
        }
    }

    /// Random steps, then heals. `Err` says what did not hold.
    pub(crate) fn run(&mut self, steps: usize) -> Result<(), String> {
        for _ in 0..steps {
            self.step()?;
        }
        self.heal()
    }

    pub(crate) fn step(&mut self) -> Result<(), String> {
        self.now += self.rng.u64(0..3);
        let row = self.rng.usize(0..KINDS.len());
        let (from, to) = self.pair();
        match self.rng.u8(0..100) {
            0..40 => self.write(to, row),
            40..46 => self.write_at_fallback(to, row),
            46..62 => self.deliver_one(),
            62..70 => self.read(from, to, row),
            70..78 => self.exchange(from, to, row),
            78..86 => self.pull(from, to),
            86..93 => self.deliver_hint(),
            93..97 => {
                self.saved[to] = self.owners[to].clone();
                Ok(())
            }
            _ => {
                self.crash(to);
                Ok(())
            }
        }
    }

    fn pair(&mut self) -> (usize, usize) {
        let from = self.rng.usize(0..self.owners.len());
        let to = (from + self.rng.usize(1..self.owners.len())) % self.owners.len();
        (from, to)
    }

    fn fresh_actor(&mut self) -> ActorId {
        ActorId(self.rng.u64(..))
    }

    /// Every copy of a row, at owners and in hints, stripped by the clock it is read under.
    pub(crate) fn copies(&self, row: usize) -> Vec<(Row, Clock)> {
        let owned = self.owners.iter().map(|owner| {
            let mut held = owner.rows.get(&row).cloned().unwrap_or_default();
            held.strip(&owner.clock);
            (held, owner.clock.clone())
        });
        let hints = self.hints.iter().filter(|((_, of), _)| *of == row);
        let hinted = hints.map(|(_, hint)| (hint.row.clone(), Clock::new()));
        owned.chain(hinted).collect()
    }

    /// The events on a row so far.
    pub(crate) fn events_of(&self, row: usize) -> Vec<Event> {
        let of_row = self.events.iter().filter(|w| w.row == row);
        of_row.map(|w| w.event.clone()).collect()
    }

    /// The cells that events of this row leave, if these are all there are.
    fn visible(&self, row: usize, known: &BTreeSet<usize>) -> BTreeMap<Name, &Cell> {
        let of_row = || {
            known
                .iter()
                .map(|i| &self.events[*i])
                .filter(|w| w.row == row)
        };
        let replaced: Names = of_row().flat_map(|w| w.replaces.iter().copied()).collect();
        of_row()
            .filter(|w| !replaced.contains(&w.name))
            .filter_map(|w| Some((w.name, w.event.cell.as_ref()?)))
            .collect()
    }

    fn check(&self, at: usize, row: usize) -> Result<(), String> {
        let owner = &self.owners[at];
        self.check_row(
            row,
            owner.rows.get(&row),
            &owner.known,
            &format!("owner {at}"),
        )?;
        let held = owner.rows.get(&row).map(Row::dots).unwrap_or_default();
        ensure(held.is_subset(&owner.clock), || {
            format!("owner {at} shows dots of row {row} that its clock lacks: {held:?}")
        })
    }

    fn check_row(
        &self,
        row: usize,
        shown: Option<&Row>,
        known: &BTreeSet<usize>,
        whose: &str,
    ) -> Result<(), String> {
        let cells = shown.map_or(&[][..], Row::cells);
        let shown: BTreeMap<Name, &Cell> = cells.iter().map(|(d, c)| (name(d), c)).collect();
        let expected = self.visible(row, known);
        ensure(shown == expected, || {
            format!("{whose}, row {row}: shows {shown:?}, the model {expected:?}")
        })
    }

    fn change(&mut self, row: usize) -> Change {
        let amount = self.rng.i64(-50..50);
        if row != STEADY && self.rng.u8(0..5) == 0 {
            return Change::Remove;
        }
        match KINDS[row] {
            RowKind::Register | RowKind::Lww => {
                Change::Value(Bytes::from(self.rng.u64(..).to_be_bytes().to_vec()))
            }
            RowKind::Counter => Change::Increment(amount),
            RowKind::Flag | RowKind::Element => Change::Mark,
            RowKind::Max | RowKind::Min => Change::Observe(amount),
        }
    }

    /// Nothing, something read earlier (perhaps long ago, perhaps elsewhere), or what is seen now.
    fn context(&mut self, row: usize) -> (Replaces, Option<Names>) {
        let earlier: Vec<_> = self.contexts.iter().filter(|(of, ..)| *of == row).collect();
        match self.rng.u8(0..10) {
            0 => (Replaces::Context(Clock::new()), Some(Names::new())),
            1..6 if !earlier.is_empty() => {
                let (_, clock, names) = earlier[self.rng.usize(0..earlier.len())];
                (Replaces::Context(clock.clone()), Some(names.clone()))
            }
            _ => (Replaces::Seen, None),
        }
    }

    /// Makes the event of a change of a row that shows what the model says it shows, and holds what the
    /// crate says it replaces against the table of kinds.
    fn event_of(
        &mut self,
        row: usize,
        shown: &Row,
        known: &BTreeSet<usize>,
        actor: ActorId,
        counter: u64,
    ) -> Result<usize, String> {
        let change = self.change(row);
        let (replaces, context) = self.context(row);
        let effect = change
            .apply(KINDS[row], shown, actor, &replaces)
            .map_err(|refused| format!("row {row}: {refused}"))?;
        let seen: Names = self.visible(row, known).into_keys().collect();
        let expected = match (KINDS[row], &change) {
            (_, Change::Remove) | (RowKind::Register, _) => context.unwrap_or(seen),
            (RowKind::Counter, _) => seen.into_iter().filter(|(of, _)| *of == actor).collect(),
            _ => seen,
        };
        let replaced = names(&effect.replaces);
        ensure(replaced == expected, || {
            format!("row {row}: {change:?} replaces {replaced:?}, not {expected:?}")
        })?;
        if let (STEADY, Change::Increment(by)) = (row, &change) {
            self.steady_sum += by;
        }
        let stamp = Hlc::at(Millis(self.now));
        let cell = effect.body.map(|body| Cell {
            stamp,
            op: OpId(0, self.events.len() as u64),
            expires_at: None,
            body,
        });
        self.events.push(Written {
            row,
            name: (actor, counter),
            replaces: expected,
            event: Event {
                dot: Dot::new(actor, counter),
                cell,
                replaces: effect.replaces,
            },
        });
        Ok(self.events.len() - 1)
    }

    fn write(&mut self, at: usize, row: usize) -> Result<(), String> {
        let actor = match self.owners[at].actor {
            Some(actor) => actor,
            None => self.fresh_actor(),
        };
        let owner = &mut self.owners[at];
        owner.actor = Some(actor);
        owner.minted += 1;
        let (counter, known) = (owner.minted, owner.known.clone());
        let shown = owner.rows.get(&row).cloned().unwrap_or_default();
        let event = self.event_of(row, &shown, &known, actor, counter)?;
        self.take(at, event)?;
        self.send(event, Some(at));
        Ok(())
    }

    /// A fallback coordinates, for want of owners: it sees no more than the hint it holds.
    fn write_at_fallback(&mut self, owner: usize, row: usize) -> Result<(), String> {
        let fresh = self.fresh_actor();
        let keeps = self.rule == Rule::FallbackKeepsActor;
        let kept = *self.fallback.get_or_insert(fresh);
        let hint = self.hints.entry((owner, row)).or_default();
        let actor = if keeps {
            kept
        } else {
            *hint.actor.get_or_insert(fresh)
        };
        self.fallback_minted += 1;
        hint.minted += 1;
        let counter = if keeps {
            self.fallback_minted
        } else {
            hint.minted
        };
        let (shown, known) = (hint.row.clone(), hint.known.clone());
        let event = self.event_of(row, &shown, &known, actor, counter)?;
        self.hint(owner, event);
        let hint = &self.hints[&(owner, row)];
        self.check_row(row, Some(&hint.row), &hint.known, "hint")?;
        self.send(event, None);
        Ok(())
    }

    /// Each owner gets the event now, later, twice, by way of a hint, or never.
    fn send(&mut self, event: usize, but: Option<usize>) {
        for to in (0..self.owners.len()).filter(|to| Some(*to) != but) {
            match self.rng.u8(0..10) {
                0..4 => self.network.push((to, event)),
                4..6 => self.network.extend([(to, event); 2]),
                6..8 => self.hint(to, event),
                _ => {}
            }
        }
    }

    fn hint(&mut self, owner: usize, event: usize) {
        let written = &self.events[event];
        let hint = self.hints.entry((owner, written.row)).or_default();
        hint.row.take(&Clock::new(), &written.event);
        hint.named.insert(written.name);
        hint.known.insert(event);
    }

    fn deliver_one(&mut self) -> Result<(), String> {
        if self.network.is_empty() {
            return Ok(());
        }
        let (to, event) = self
            .network
            .swap_remove(self.rng.usize(0..self.network.len()));
        self.take(to, event)
    }

    fn take(&mut self, at: usize, event: usize) -> Result<(), String> {
        let written = &self.events[event];
        let (row, guess) = (written.row, self.rule == Rule::GuessDots);
        let owner = &mut self.owners[at];
        let mut taken = owner.rows.remove(&row).unwrap_or_default();
        taken.take(&owner.clock, &written.event);
        owner.known.insert(event);
        let guessed = written.replaces.iter().filter(|_| guess);
        let named: Vec<Name> = guessed.chain([&written.name]).copied().collect();
        self.store(at, row, taken, &named)
    }

    /// The last part of everything that changes a row: the clock grows with it, `past` shrinks by it.
    fn store(
        &mut self,
        at: usize,
        row: usize,
        mut taken: Row,
        named: &[Name],
    ) -> Result<(), String> {
        let owner = &mut self.owners[at];
        for (actor, counter) in named {
            owner.clock.add(Dot::new(*actor, *counter));
            owner.log.insert((*actor, *counter), row);
        }
        taken.strip(&owner.clock);
        if self.rule == Rule::DropPast {
            taken.strip(&taken.past().clone());
        }
        if !taken.is_empty() {
            owner.rows.insert(row, taken);
        }
        self.check(at, row)
    }

    /// A quorum read of two owners, which also gives somebody a context.
    fn read(&mut self, first: usize, second: usize, row: usize) -> Result<(), String> {
        let (mut joined, mut clock) = (Row::new(), Clock::new());
        for at in [first, second] {
            let owner = &self.owners[at];
            let there = owner.rows.get(&row).cloned().unwrap_or_default();
            joined.join(&clock, &there, &owner.clock);
            clock.join(&owner.clock);
        }
        let known = &self.owners[first].known | &self.owners[second].known;
        self.check_row(row, Some(&joined), &known, "read")?;
        let seen = self.visible(row, &known).into_keys().collect();
        self.contexts.push((row, joined.dots(), seen));
        Ok(())
    }

    /// `to` takes one row of `from`: `named` are the dots that it is told happened on it.
    fn join_row(
        &mut self,
        from: usize,
        to: usize,
        row: usize,
        named: &[Name],
    ) -> Result<(), String> {
        let (source, target) = (&self.owners[from], &self.owners[to]);
        let sent = source.rows.get(&row).cloned().unwrap_or_default();
        let under = match self.rule {
            Rule::RowWithoutClock => Clock::new(),
            _ => source.clock.clone(),
        };
        let mut joined = target.rows.get(&row).cloned().unwrap_or_default();
        joined.join(&target.clock, &sent, &under);
        let of_row = source.known.iter().filter(|i| self.events[**i].row == row);
        let learnt: Vec<usize> = of_row.copied().collect();
        let mut named = named.to_vec();
        named.extend(sent.cells().iter().map(|(dot, _)| name(dot)));
        let owner = &mut self.owners[to];
        owner.known.extend(learnt);
        owner.rows.remove(&row);
        self.store(to, row, joined, &named)
    }

    /// Read repair: one row, of which only the dots with cells are named.
    fn exchange(&mut self, from: usize, to: usize, row: usize) -> Result<(), String> {
        self.join_row(from, to, row, &[])
    }

    /// Anti-entropy: the rows of all dots that `to` lacks, and then those dots.
    fn pull(&mut self, from: usize, to: usize) -> Result<(), String> {
        let missing = names(&self.owners[from].clock.minus(&self.owners[to].clock));
        let source = &self.owners[from];
        let mut rows: BTreeMap<usize, Vec<Name>> = BTreeMap::new();
        for missed in missing {
            let row = source.log.get(&missed).ok_or("a dot without a log entry")?;
            rows.entry(*row).or_default().push(missed);
        }
        // Where clocks agree, a row can still know more than its clock: see `laws`.
        let pending = source.rows.iter().filter(|(_, r)| !r.past().is_empty());
        for (row, _) in pending {
            rows.entry(*row).or_default();
        }
        for (row, named) in rows {
            if self.rule == Rule::ClaimWithoutRow && self.rng.u8(0..10) == 0 {
                let owner = &mut self.owners[to];
                for (actor, counter) in named {
                    owner.clock.add(Dot::new(actor, counter));
                    owner.log.insert((actor, counter), row);
                }
                continue;
            }
            self.join_row(from, to, row, &named)?;
        }
        Ok(())
    }

    fn deliver_hint(&mut self) -> Result<(), String> {
        let waiting: Vec<_> = self.hints.keys().copied().collect();
        if waiting.is_empty() {
            return Ok(());
        }
        let key = waiting[self.rng.usize(0..waiting.len())];
        let Some(hint) = self.hints.remove(&key) else {
            return Ok(());
        };
        let ((to, row), owner) = (key, &mut self.owners[key.0]);
        let mut joined = owner.rows.remove(&row).unwrap_or_default();
        joined.join(&owner.clock, &hint.row, &Clock::new());
        owner.known.extend(&hint.known);
        let named: Vec<Name> = hint.named.into_iter().collect();
        self.store(to, row, joined, &named)
    }

    /// Forgets all since the last save, and says so by taking a new actor.
    fn crash(&mut self, at: usize) {
        if self.crashes {
            self.owners[at] = self.saved[at].clone();
            if self.rule != Rule::ReuseActor {
                self.owners[at].actor = None;
                self.owners[at].minted = 0;
                self.saved[at] = self.owners[at].clone();
            }
        }
    }

    fn heal(&mut self) -> Result<(), String> {
        while !self.hints.is_empty() {
            self.deliver_hint()?;
        }
        // Half of what is still under way arrives after all.
        self.network.truncate(self.network.len() / 2);
        while !self.network.is_empty() {
            self.deliver_one()?;
        }
        let count = self.owners.len();
        let pairs: Vec<(usize, usize)> = (0..count)
            .flat_map(|from| (0..count).map(move |to| (from, to)))
            .filter(|(from, to)| from != to)
            .collect();
        for _ in 0..2 {
            for (from, to) in &pairs {
                self.pull(*from, *to)?;
            }
        }
        self.check_converged(false)?;
        for row in 0..KINDS.len() {
            for (from, to) in pairs.iter().chain(&pairs) {
                self.exchange(*from, *to, row)?;
            }
        }
        self.check_converged(true)
    }

    fn check_converged(&self, bytes: bool) -> Result<(), String> {
        let all = self
            .owners
            .iter()
            .fold(BTreeSet::new(), |all, o| &all | &o.known);
        let first = &self.owners[0];
        for (at, owner) in self.owners.iter().enumerate() {
            ensure(owner.clock.encode() == first.clock.encode(), || {
                format!("the clock of owner {at} differs: {:?}", owner.clock)
            })?;
            for (row, kind) in KINDS.into_iter().enumerate() {
                let held = owner.rows.get(&row);
                self.check_row(row, held, &all, &format!("at the end owner {at}"))?;
                let shown = held.and_then(|row| fold(kind, row, Millis(0)));
                let expected = naive_fold(kind, &self.visible(row, &all));
                ensure(shown == expected, || {
                    format!("at the end owner {at}, row {row}: {shown:?}, not {expected:?}")
                })?;
                let encoded = |owner: &Owner| owner.rows.get(&row).map(Row::encode);
                ensure(!bytes || encoded(owner) == encoded(first), || {
                    format!("the bytes of row {row} at owner {at} differ")
                })?;
            }
            let known: Names = all.iter().map(|i| self.events[*i].name).collect();
            let claimed = names(&owner.clock);
            ensure(claimed.is_subset(&known), || {
                format!("owner {at} claims dots that nobody can know of")
            })?;
        }
        self.check_sum(&all)
    }

    /// Nothing that anybody still knows of was counted twice or not at all.
    fn check_sum(&self, all: &BTreeSet<usize>) -> Result<(), String> {
        let lost =
            (0..self.events.len()).any(|i| self.events[i].row == STEADY && !all.contains(&i));
        if lost || self.crashes {
            return Ok(());
        }
        let held = self.owners[0].rows.get(&STEADY);
        let shown = held.and_then(|row| fold(RowKind::Counter, row, Millis(0)));
        let sum = match shown {
            Some(Folded::Sum(sum)) => sum,
            _ => 0,
        };
        ensure(sum == self.steady_sum, || {
            format!("the counter shows {sum}, not {}", self.steady_sum)
        })
    }
}

/// What the table of kinds says that a reader is shown.
fn naive_fold(kind: RowKind, cells: &BTreeMap<Name, &Cell>) -> Option<Folded> {
    let bodies = || cells.values().map(|cell| &cell.body);
    let extremes = || {
        bodies().filter_map(|body| match body {
            Body::Extreme(value) => Some(*value),
            _ => None,
        })
    };
    let values = || {
        cells.iter().filter_map(|(name, cell)| match &cell.body {
            Body::Value(value) => Some((cell.stamp, *name, value.clone())),
            _ => None,
        })
    };
    if cells.is_empty() {
        return None;
    }
    match kind {
        RowKind::Register => Some(Folded::Siblings(
            values().map(|(.., value)| value).collect(),
        )),
        RowKind::Lww => values().max().map(|(stamp, _, value)| Folded::Latest {
            value,
            stamp,
            losers: cells.len() - 1,
        }),
        RowKind::Counter => {
            // An actor's later total knew its earlier ones: it includes them, or saw them removed.
            let total = |(name, cell): (&Name, &&Cell)| match &cell.body {
                Body::Count { plus, minus } => (name.0, plus.cast_signed() - minus.cast_signed()),
                _ => (name.0, 0),
            };
            let latest: BTreeMap<ActorId, i64> = cells.iter().map(total).collect();
            Some(Folded::Sum(latest.values().sum()))
        }
        RowKind::Flag | RowKind::Element => Some(Folded::Marked),
        RowKind::Max => extremes().max().map(Folded::Extreme),
        RowKind::Min => extremes().min().map(Folded::Extreme),
    }
}
