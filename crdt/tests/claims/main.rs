//! What this crate promises, one file for each group of claims.
//!
//! `schedule` is not a group but the machine of three: it runs several owners of one partition under a
//! seed, with a naive model beside them. `laws`, `agreement` and `mutants` ask it different questions.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

mod agreement;
mod clock;
mod codec;
mod kinds;
mod laws;
mod mutants;
mod oracles;
mod paths;
mod schedule;
mod stamps;

use bytes::Bytes;
use dunlin_crdt::{Body, Cell, Dot, Event, Hlc, Millis, OpId};

fn dot(actor: u64, counter: u64) -> Dot {
    Dot::new(dunlin_crdt::ActorId(actor), counter)
}

/// A cell that never expires, of a request of its own, stamped by its dot's counter.
fn cell(at: Dot, body: Body) -> Cell {
    Cell {
        stamp: Hlc::at(Millis(at.counter)),
        op: OpId(at.actor.0, at.counter),
        expires_at: None,
        body,
    }
}

fn event(at: Dot, body: Option<Body>, replaces: impl IntoIterator<Item = Dot>) -> Event {
    Event {
        dot: at,
        cell: body.map(|body| cell(at, body)),
        replaces: replaces.into_iter().collect(),
    }
}

fn value(text: &'static str) -> Body {
    Body::Value(Bytes::from_static(text.as_bytes()))
}
