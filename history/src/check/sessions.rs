//! Within a session: a read knows what the session has written, and what it has read.
//!
//! Only operations that name a session are looked at: whoever records them says that the guarantee was asked
//! for. What a read has shown is known by the write that did it: a value names its own; an element, or a flag
//! that is on, if only one write can have added it; a counter if it never goes down.

use std::collections::BTreeMap;

use super::{Answered, Check, Checker, Tally, place};
use crate::kinds::{Finding, contradictions};
use crate::op::{Action, Found, Op};
use crate::writes::{KeyWrites, Number, ON, Place, Write};

/// A session and a key.
type Of = (u32, u32, Place);

/// The session's reads of a key so far.
#[derive(Debug, Default)]
struct Past {
    /// Each write that was seen, and since when.
    seen: BTreeMap<usize, u64>,
    /// Each sum that was seen, with the number of its read, and since when.
    sums: Vec<(i64, Number, u64)>,
}

#[derive(Debug, Default)]
pub(crate) struct Sessions {
    past: BTreeMap<Of, Past>,
    /// The numbers of a session's own writes.
    own: BTreeMap<(u32, u32), Vec<Number>>,
}

impl Sessions {
    /// Takes note of a write of a session.
    pub(crate) fn wrote(&mut self, number: Number, op: &Op) {
        if let Some(session) = op.session {
            self.own
                .entry((op.client, session))
                .or_default()
                .push(number);
        }
    }
}

impl Checker for Sessions {
    fn read(&mut self, read: &Answered<'_>, tally: &mut Tally) {
        let Some(session) = read.op.session else {
            return;
        };
        tally.looked += 1;
        let own = self.own.get(&(read.op.client, session));
        let is_own = |number: &Number| own.is_some_and(|own| own.binary_search(number).is_ok());
        let of = (read.op.client, session, place(read));
        let past = self.past.entry(of).or_default();
        let knows = |at: usize, write: &Write| {
            (is_own(&write.number) && read.follows(write))
                || past
                    .seen
                    .get(&at)
                    .is_some_and(|since| *since < read.op.start_us)
        };
        let mut findings = contradictions(&read.sight(&knows));
        findings.extend(fallen(past, read));
        read.complain(Check::Sessions, findings, tally);
        let end = read.op.end_us;
        for at in shown(read.writes, read.found, end) {
            past.seen.entry(at).or_insert(end);
        }
        if let Found::Sum(sum) = read.found {
            past.sums.push((*sum, read.number, end));
        }
    }
}

/// A sum that is less than an earlier one though nothing takes from it.
fn fallen(past: &Past, read: &Answered<'_>) -> Option<Finding> {
    let Found::Sum(sum) = read.found else {
        return None;
    };
    let only_grows = |write: &Write| matches!(write.action, Action::Increment(by) if by >= 0);
    if !read.writes.all.iter().all(only_grows) {
        return None;
    }
    let earlier = past
        .sums
        .iter()
        .filter(|(_, _, end)| *end < read.op.start_us);
    let (more, number, _) = earlier.max_by_key(|(sum, _, _)| *sum)?;
    (more > sum).then(|| Finding {
        ops: vec![*number],
        sentence: format!("shows {sum}, and its session had read {more}"),
    })
}

/// The writes that must have done what is shown.
fn shown(writes: &KeyWrites, found: &Found, end: u64) -> Vec<usize> {
    let only_adder = |element: &String| {
        let mut adds = writes
            .at(writes.adds.get(element))
            .filter(|(_, a)| a.start <= end);
        match (adds.next(), adds.next()) {
            (Some((at, _)), None) => Some(at),
            _ => None,
        }
    };
    match found {
        Found::Values(values) => {
            let puts = values.iter().filter_map(|value| writes.puts.get(value));
            puts.copied().collect()
        }
        Found::Elements(elements) => elements.iter().filter_map(only_adder).collect(),
        Found::Flag(true) => only_adder(&ON.to_owned()).into_iter().collect(),
        Found::Number(Some(number)) => {
            let did = |write: &&Write| write.action == Action::Observe(*number);
            let at = writes.all.iter().position(|write| did(&write));
            at.into_iter().collect()
        }
        Found::Sum(_) | Found::Flag(false) | Found::Number(None) => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::{Kind, Replaces};
    use crate::testing::{add, caught, elements, holds, op, put, read, remove, values};

    fn in_session(mut ops: Vec<Op>) -> Vec<Op> {
        ops.iter_mut().for_each(|op| op.session = Some(1));
        ops
    }

    fn new(value: &str) -> Op {
        put("k", value, Replaces::Read(Vec::new()))
    }

    #[test]
    fn a_session_that_misses_its_own_write_is_caught() {
        let ops = vec![new("a"), read("k", values(&[]))];
        holds(Kind::Register, ops.clone());
        caught(
            Check::Sessions,
            Kind::Register,
            in_session(ops.clone()),
            &[1, 2],
        );
        // Another session of the same client may.
        let mut ops = in_session(ops);
        ops[1].session = Some(2);
        holds(Kind::Register, ops);
    }

    #[test]
    fn what_somebody_else_replaced_need_not_be_read() {
        let mut ops = in_session(vec![
            new("a"),
            put("k", "b", Replaces::Read(vec!["a".into()])),
            read("k", values(&["b"])),
        ]);
        ops[1].client = 7;
        holds(Kind::Register, ops);
    }

    #[test]
    fn a_session_that_goes_back_in_time_is_caught() {
        let back = |kind, write: Op, more, less| {
            let mut ops = vec![write, read("k", more), read("k", less)];
            ops[1..].iter_mut().for_each(|op| op.session = Some(1));
            let first = if kind == Kind::Counter { 2 } else { 1 };
            caught(Check::Sessions, kind, ops, &[first, 3]);
        };
        back(Kind::Register, new("a"), values(&["a"]), values(&[]));
        back(Kind::Set, add("k", &["x"]), elements(&["x"]), elements(&[]));
        let add_one = op("k", Action::Increment(1));
        back(Kind::Counter, add_one, Found::Sum(1), Found::Sum(0));
        let observe = op("k", Action::Observe(4));
        back(
            Kind::Max,
            observe,
            Found::Number(Some(4)),
            Found::Number(None),
        );
        let enable = op("k", Action::Enable);
        back(Kind::Flag, enable, Found::Flag(true), Found::Flag(false));
    }

    #[test]
    fn what_was_seen_may_be_gone_once_somebody_removes_it() {
        let ops = in_session(vec![
            add("k", &["x"]),
            read("k", elements(&["x"])),
            remove("k", &["x"]),
            read("k", elements(&[])),
        ]);
        holds(Kind::Set, ops);
    }
}
