//! A read that must know of some writes: can it show this?
//!
//! One file for each way in which concurrent writes come together. Each tells what is *missing*, of what the
//! read must know; what is *back* though the read must know that it was replaced; and what is shown and was
//! never *written*.

pub(crate) mod counter;
pub(crate) mod elements;
pub(crate) mod extreme;
pub(crate) mod lww;
pub(crate) mod register;

use crate::op::{Found, Header, Kind};
use crate::writes::{KeyWrites, Number, Write};

/// Something that can't be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    /// The writes that it is about.
    pub(crate) ops: Vec<Number>,
    pub(crate) sentence: String,
}

/// A read, with what it is judged by.
#[derive(Clone, Copy)]
pub(crate) struct Sight<'a> {
    pub(crate) header: &'a Header,
    pub(crate) kind: Kind,
    pub(crate) writes: &'a KeyWrites,
    pub(crate) found: &'a Found,
    /// When it was answered: whatever was asked later it can't show.
    pub(crate) end: u64,
    /// Which writes it must know of.
    pub(crate) knows: &'a dyn Fn(usize, &Write) -> bool,
}

impl<'a> Sight<'a> {
    /// The writes that it must know of.
    pub(crate) fn known(&self) -> impl Iterator<Item = &'a Write> {
        let knows = self.knows;
        let all = self.writes.all.iter().enumerate();
        all.filter(move |(at, write)| knows(*at, write))
            .map(|(_, write)| write)
    }

    /// The writes that it can show the effect of.
    pub(crate) fn possible(&self) -> impl Iterator<Item = &'a Write> {
        let end = self.end;
        self.writes.all.iter().filter(move |w| w.start <= end)
    }

    /// Of the writes at these places, the first that can have come in between: it was asked before the read's
    /// end, and not over before `since` was asked.
    pub(crate) fn any_after(&self, places: Option<&'a Vec<usize>>, since: &Write) -> bool {
        self.writes.at(places).any(|(_, write)| {
            write.number != since.number && write.start <= self.end && !write.precedes(since)
        })
    }

    /// Of the writes at these places, those that the read must know of.
    pub(crate) fn known_at(
        &self,
        places: Option<&'a Vec<usize>>,
    ) -> impl Iterator<Item = &'a Write> {
        let knows = self.knows;
        self.writes
            .at(places)
            .filter(move |(at, write)| knows(*at, write))
            .map(|(_, write)| write)
    }
}

/// All that can't be about a read, of whatever kind its key is; but for what was never written.
pub(crate) fn contradictions(sight: &Sight<'_>) -> Vec<Finding> {
    match sight.kind {
        Kind::Register => {
            let mut findings = register::missing(sight);
            findings.extend(register::back(sight));
            findings
        }
        Kind::Lww => lww::missing(sight),
        Kind::Counter => counter::out_of_bounds(sight),
        Kind::Flag | Kind::Set => elements::contradictions(sight),
        Kind::Max | Kind::Min => extreme::missing(sight),
    }
}

/// What a read shows though nobody, or only a denied write, would have written it.
pub(crate) fn unwritten(sight: &Sight<'_>) -> Vec<Finding> {
    let shown: &[String] = match (sight.kind, sight.found) {
        (Kind::Register | Kind::Lww, Found::Values(values)) => values,
        (Kind::Set, Found::Elements(elements)) => elements,
        (Kind::Flag, Found::Flag(false)) => &[],
        (Kind::Flag, Found::Flag(true)) => return texts(sight, &[crate::writes::ON.to_owned()]),
        (Kind::Max | Kind::Min, Found::Number(_)) => return extreme::unwritten(sight),
        (Kind::Counter, Found::Sum(_)) => &[],
        (kind, found) => {
            return vec![Finding {
                ops: Vec::new(),
                sentence: format!("a {kind:?} can't show {found:?}"),
            }];
        }
    };
    texts(sight, shown)
}

fn texts(sight: &Sight<'_>, shown: &[String]) -> Vec<Finding> {
    let writes = sight.writes;
    let is_written = |text: &String| {
        let adds = writes.adds.get(text).into_iter().flatten();
        let mut writers = writes.puts.get(text).into_iter().chain(adds);
        writers.any(|at| writes.all.get(*at).is_some_and(|w| w.start <= sight.end))
    };
    let unwritten = shown.iter().filter(|text| !is_written(text));
    let finding = |text: &String| match writes.denied.get(text) {
        Some(number) => Finding {
            ops: vec![*number],
            sentence: format!("shows {text:?}, whose write was denied"),
        },
        None => Finding {
            ops: Vec::new(),
            sentence: format!("shows {text:?}, which nobody had written"),
        },
    };
    unwritten.map(finding).collect()
}
