//! Every write of a history, by key: what reads are judged by.
//!
//! Cost: all writes are kept, reads are not. Judging a read looks at the writes of its key.

use std::collections::BTreeMap;

use crate::op::{Action, Op, Outcome, Replaces};

/// The number of an operation, from 1.
pub(crate) type Number = u64;

/// A bucket and a key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) bucket: String,
    pub(crate) key: String,
}

impl Place {
    pub(crate) fn of(op: &Op) -> Self {
        Self {
            bucket: op.bucket.clone(),
            key: op.key.clone(),
        }
    }
}

/// A write that was not denied.
#[derive(Clone, Debug)]
pub(crate) struct Write {
    pub(crate) number: Number,
    pub(crate) action: Action,
    pub(crate) start: u64,
    /// When the client was told that it holds; nothing if it was told nothing.
    pub(crate) acknowledged: Option<u64>,
    pub(crate) sent: u32,
    /// The owners that held it, if only owners counted.
    pub(crate) w: Option<u8>,
    /// The owners that the read before it asked, if only owners counted.
    pub(crate) r: Option<u8>,
}

impl Write {
    /// After this it is applied nowhere for a first time. Nothing if that is not known.
    pub(crate) fn over(&self) -> Option<u64> {
        self.acknowledged.filter(|_| self.sent <= 1)
    }

    /// Whether it was over before the other was asked.
    pub(crate) fn precedes(&self, other: &Self) -> bool {
        self.over().is_some_and(|over| over < other.start)
    }

    /// Whether this one, which begins with a read, must have read that one.
    pub(crate) fn must_see(&self, other: &Self, owners: u8) -> bool {
        other.precedes(self)
            && matches!((self.r, other.w), (Some(r), Some(w)) if r.saturating_add(w) > owners)
            // It reads at a quorum only if that can be had, which the owners of a write's quorum are.
            && matches!((self.r, self.w), (Some(r), Some(w)) if w >= r)
    }
}

/// The writes of a key that were not denied; and the values of those that were.
#[derive(Clone, Debug, Default)]
pub(crate) struct KeyWrites {
    pub(crate) all: Vec<Write>,
    /// Who put the value.
    pub(crate) puts: BTreeMap<String, usize>,
    /// Who replaces a value that its client had read.
    pub(crate) replacers: BTreeMap<String, Vec<usize>>,
    /// Who replaces whatever it sees; a delete among them takes everything.
    pub(crate) takers: Vec<usize>,
    /// Deletes.
    pub(crate) deletes: Vec<usize>,
    /// Who adds an element. A flag has one, without a name.
    pub(crate) adds: BTreeMap<String, Vec<usize>>,
    /// Who removes it by its name.
    pub(crate) removes: BTreeMap<String, Vec<usize>>,
    /// What only denied writes would have put or added.
    pub(crate) denied: BTreeMap<String, Number>,
    /// Likewise, numbers.
    pub(crate) denied_numbers: BTreeMap<i64, Number>,
}

/// The element that a flag has while it is on.
pub(crate) const ON: &str = "";

impl KeyWrites {
    fn take(&mut self, number: Number, op: &Op) {
        if op.outcome == Outcome::NotApplied {
            return self.note_denied(number, &op.action);
        }
        let at = self.all.len();
        match &op.action {
            Action::Put { value, replaces } => {
                self.puts.entry(value.clone()).or_insert(at);
                self.note_replaced(at, replaces);
            }
            Action::Delete { replaces } => {
                self.deletes.push(at);
                self.note_replaced(at, replaces);
            }
            Action::Add(elements) => elements.iter().for_each(|element| {
                self.adds.entry(element.clone()).or_default().push(at);
            }),
            Action::Remove(elements) => elements.iter().for_each(|element| {
                self.removes.entry(element.clone()).or_default().push(at);
            }),
            Action::Enable => self.adds.entry(ON.into()).or_default().push(at),
            Action::Disable => self.removes.entry(ON.into()).or_default().push(at),
            Action::Increment(_) | Action::Observe(_) => {}
            Action::Read => return,
        }
        self.all.push(Write {
            number,
            action: op.action.clone(),
            start: op.start_us,
            acknowledged: (op.outcome == Outcome::Done).then_some(op.end_us),
            sent: op.sent,
            w: op.w.filter(|_| op.strict),
            r: op.r.filter(|_| op.strict),
        });
    }

    fn note_replaced(&mut self, at: usize, replaces: &Replaces) {
        match replaces {
            Replaces::Seen => self.takers.push(at),
            Replaces::Read(values) => values.iter().for_each(|value| {
                self.replacers.entry(value.clone()).or_default().push(at);
            }),
        }
    }

    fn note_denied(&mut self, number: Number, action: &Action) {
        match action {
            Action::Put { value, .. } => {
                self.denied.insert(value.clone(), number);
            }
            Action::Add(elements) => elements.iter().for_each(|element| {
                self.denied.insert(element.clone(), number);
            }),
            Action::Enable => {
                self.denied.insert(ON.into(), number);
            }
            Action::Observe(observed) => {
                self.denied_numbers.insert(*observed, number);
            }
            Action::Delete { .. }
            | Action::Increment(_)
            | Action::Remove(_)
            | Action::Disable
            | Action::Read => {}
        }
    }

    /// The writes at these places.
    pub(crate) fn at<'a>(
        &'a self,
        places: Option<&'a Vec<usize>>,
    ) -> impl Iterator<Item = (usize, &'a Write)> {
        let places = places.into_iter().flatten();
        places.filter_map(|at| Some((*at, self.all.get(*at)?)))
    }
}

/// Every write of a history.
#[derive(Clone, Debug, Default)]
pub(crate) struct Writes {
    pub(crate) keys: BTreeMap<Place, KeyWrites>,
    /// Who put each value first, and whoever put one again.
    values: BTreeMap<String, Number>,
    pub(crate) repeated: Vec<(Place, String, [Number; 2])>,
}

impl Writes {
    /// Takes note of an operation; reads are passed over.
    pub(crate) fn take(&mut self, number: Number, op: &Op) {
        if op.action == Action::Read {
            return;
        }
        let place = Place::of(op);
        if let Action::Put { value, .. } = &op.action
            && let Some(first) = self.values.insert(value.clone(), number)
        {
            let both = [first, number];
            self.repeated.push((place.clone(), value.clone(), both));
        }
        self.keys.entry(place).or_default().take(number, op);
    }
}
