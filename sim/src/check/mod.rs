//! What must be true of a run, each property in a file of its own.
//!
//! A checker reads the history of the clients, the ledger of events and what the nodes hold at the
//! end, and trusts nothing that the engine concluded from them.

mod adds_win;
mod answers;
mod bounds;
mod buckets;
mod convergence;
mod counters;
mod damage;
mod denied;
mod dots;
mod drain;
mod evidence;
mod filling;
mod freshness;
mod handover;
mod hints;
mod known;
mod layouts;
mod listing;
mod liveness;
mod log;
mod lww;
mod outside;
mod receipts;
mod resurrection;
mod service;
mod sessions;
mod shown;
mod siblings;
mod staged;
mod survival;
mod twins;

use std::fmt;

use dunlin_ring::Quorum;

pub(crate) use drain::is_quiet;
pub(crate) use evidence::{Evidence, NodeEnd, PartitionEnd};

/// A property.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Checker {
    /// What each replica keeps is consistent in itself, and nothing panics.
    Invariants,
    /// A dot is minted once, and travels as what it was minted as.
    Dots,
    /// A receipt names only nodes that hold the write, as they are said to.
    Receipts,
    /// A write that a client was told is not applied never was.
    Denied,
    /// An acknowledged write is there, unless some write replaced it.
    Survival,
    /// What was replaced is never shown again.
    Resurrection,
    /// A read shows what the nodes that answer it have acknowledged before.
    Freshness,
    /// A counter is the sum of its steps.
    Counters,
    /// An element that was added after every removal is there.
    AddsWin,
    /// Siblings are values of concurrent writes only.
    Siblings,
    /// Listings, pages and point reads agree with what is stored.
    Listing,
    /// Owners have equal clocks and equal rows.
    Convergence,
    /// Nothing is left to do.
    Drain,
    /// Buckets are known everywhere alike; of dropped ones nothing is left.
    Buckets,
    /// Layouts only move forward, and are complete only when every owner has said so.
    Layouts,
    /// New owners know what was acknowledged before them, once reads go by them.
    Filling,
    /// Nobody answers for what it does not hold.
    Answers,
    /// No staged change is forgotten.
    Staged,
    /// A partition is given up only when every owner has all of it.
    Handover,
    /// A log entry is deleted only when every other owner has had its event.
    Log,
    /// A hint is thrown away only when its owner has the event on its disk.
    Hints,
    /// While nothing fails, nothing is refused halfway.
    Service,
    /// A damaged row is found and healed.
    Damage,
    /// Of two processes of one node one ends.
    Twins,
    /// Once everything has healed, every operation succeeds in time.
    Liveness,
    /// No queue is longer than promised.
    Bounds,
    /// Of concurrent writes to a last-writer-wins row the one with the highest stamp wins, and somebody says so.
    Lww,
    /// The reads of a session show what it has seen before.
    Sessions,
}

impl Checker {
    /// Every property.
    pub const ALL: [Self; 28] = [
        Self::Invariants,
        Self::Dots,
        Self::Receipts,
        Self::Denied,
        Self::Survival,
        Self::Resurrection,
        Self::Freshness,
        Self::Counters,
        Self::AddsWin,
        Self::Siblings,
        Self::Listing,
        Self::Convergence,
        Self::Drain,
        Self::Buckets,
        Self::Layouts,
        Self::Filling,
        Self::Answers,
        Self::Staged,
        Self::Handover,
        Self::Log,
        Self::Hints,
        Self::Service,
        Self::Damage,
        Self::Twins,
        Self::Liveness,
        Self::Bounds,
        Self::Lww,
        Self::Sessions,
    ];
}

impl fmt::Display for Checker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Invariants => "invariants",
            Self::Dots => "dots",
            Self::Receipts => "receipts",
            Self::Denied => "denied",
            Self::Survival => "survival",
            Self::Resurrection => "resurrection",
            Self::Freshness => "freshness",
            Self::Counters => "counters",
            Self::AddsWin => "adds-win",
            Self::Siblings => "siblings",
            Self::Listing => "listing",
            Self::Convergence => "convergence",
            Self::Drain => "drain",
            Self::Buckets => "buckets",
            Self::Layouts => "layouts",
            Self::Filling => "filling",
            Self::Answers => "answers",
            Self::Staged => "staged",
            Self::Handover => "handover",
            Self::Log => "log",
            Self::Hints => "hints",
            Self::Service => "service",
            Self::Damage => "damage",
            Self::Twins => "twins",
            Self::Liveness => "liveness",
            Self::Bounds => "bounds",
            Self::Lww => "lww",
            Self::Sessions => "sessions",
        })
    }
}

/// How many of so many owners a quorum takes: counted here, and not by the engine's own arithmetic.
pub(crate) fn enough(quorum: Quorum, owners: usize) -> usize {
    match quorum {
        Quorum::One => 1,
        Quorum::Majority => (0..=owners).find(|n| 2 * n > owners).unwrap_or(1),
        Quorum::All => owners,
        Quorum::Exactly(n) => n.into(),
    }
}

/// A property that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which.
    pub checker: Checker,
    /// What was found.
    pub sentence: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.checker, self.sentence)
    }
}

pub(crate) use answers::{message as check_answer, read as check_read};
pub(crate) use bounds::check as check_bounds;
pub(crate) use damage::check as check_damage;
pub(crate) use handover::check as check_given_up;
pub(crate) use hints::check as check_hints_gone;
pub(crate) use layouts::{start as check_knowledge, watch as watch_layouts};
pub(crate) use liveness::check as check_liveness;
pub(crate) use log::check as check_forgotten;
pub(crate) use receipts::check as check_receipt;
pub(crate) use twins::check as check_twins;

/// Everything that can be said once a run is over.
pub(crate) fn all(evidence: &Evidence<'_>) -> Vec<Violation> {
    type Check = fn(&Evidence<'_>, &mut Vec<String>);
    let checks: [(Checker, Check); 16] = [
        (Checker::Dots, dots::check),
        (Checker::Denied, denied::check),
        (Checker::Survival, survival::check),
        (Checker::Resurrection, resurrection::check),
        (Checker::Freshness, freshness::check),
        (Checker::Counters, counters::check),
        (Checker::AddsWin, adds_win::check),
        (Checker::Siblings, siblings::check),
        (Checker::Listing, listing::check),
        (Checker::Convergence, convergence::check),
        (Checker::Drain, drain::check),
        (Checker::Buckets, buckets::check),
        (Checker::Layouts, layouts::check),
        (Checker::Staged, staged::check),
        (Checker::Lww, lww::check),
        (Checker::Sessions, sessions::check),
    ];
    let mut violations = Vec::new();
    let calm: [(Checker, Check); 1] = [(Checker::Service, service::check)];
    let calm = calm.into_iter().filter(|_| evidence.calm);
    for (checker, check) in checks.into_iter().chain(calm) {
        let mut sentences = Vec::new();
        check(evidence, &mut sentences);
        sentences.truncate(5);
        violations.extend(
            sentences
                .into_iter()
                .map(|sentence| Violation { checker, sentence }),
        );
    }
    violations.extend(outside::check(evidence));
    violations
}
