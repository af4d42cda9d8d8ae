//! What a write replaces: the first of the two functions in which kinds differ.

use bytes::Bytes;
use thiserror::Error;

use crate::cell::Body;
use crate::clock::Clock;
use crate::dot::ActorId;
use crate::kind::RowKind;
use crate::row::Row;

/// A change of one row, as a client asks for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// `register`, `lww`: hold this value.
    Value(Bytes),
    /// `counter`: add this much.
    Increment(i64),
    /// `flag`: enable. Element of a `set`: add.
    Mark,
    /// `max`, `min`: take this observation into account.
    Observe(i64),
    /// Any kind: remove what is replaced and leave nothing.
    Remove,
}

/// Which cells a change replaces, where the kind leaves the choice to the writer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Replaces {
    /// Everything that the coordinator sees in the row.
    Seen,
    /// Exactly the dots of a context: what the writer has read. An empty one replaces nothing.
    Context(Clock),
}

/// What an accepted change does to its row. The event's dot is the coordinator's to mint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effect {
    /// What the new cell holds; `None` if the change leaves no cell.
    pub body: Option<Body>,
    /// The dots whose cells it replaces.
    pub replaces: Clock,
}

/// Why a change was refused. Nothing was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ChangeError {
    /// The change is not one that rows of this kind know.
    #[error("this change does not fit the kind of the data")]
    WrongKind,
    /// The running total of this actor would no longer fit.
    #[error("the counter would exceed 2^63-1 increments or decrements at one owner")]
    CounterOverflow,
}

impl Change {
    /// What this change does to `row`, when `actor` writes it.
    ///
    /// `replaces` matters to registers and removals only: an `lww`, a flag, an element and an extreme
    /// replace all they see, a counter replaces its own actor's cell.
    ///
    /// The row must be free of expired cells ([`Row::drop_expired`]): a total or an extreme folds what it
    /// replaces, and would bring them back. `actor` must hold every cell that it ever wrote to the row, or
    /// its next total lacks what the last one had; so a fallback that has handed a row over writes on
    /// under a new actor.
    ///
    /// # Errors
    /// [`ChangeError`]; nothing was changed.
    pub fn apply(
        &self,
        kind: RowKind,
        row: &Row,
        actor: ActorId,
        replaces: &Replaces,
    ) -> Result<Effect, ChangeError> {
        let chosen = || match replaces {
            Replaces::Seen => row.dots(),
            Replaces::Context(context) => context.clone(),
        };
        match (kind, self) {
            (_, Self::Remove) => Ok(Effect {
                body: None,
                replaces: chosen(),
            }),
            (RowKind::Register, Self::Value(value)) => Ok(Effect {
                body: Some(Body::Value(value.clone())),
                replaces: chosen(),
            }),
            (RowKind::Lww, Self::Value(value)) => Ok(Effect {
                body: Some(Body::Value(value.clone())),
                replaces: row.dots(),
            }),
            (RowKind::Flag | RowKind::Element, Self::Mark) => Ok(Effect {
                body: Some(Body::Mark),
                replaces: row.dots(),
            }),
            (RowKind::Counter, Self::Increment(by)) => increment(row, actor, *by),
            (RowKind::Max, Self::Observe(value)) => Ok(observe(row, *value, i64::max)),
            (RowKind::Min, Self::Observe(value)) => Ok(observe(row, *value, i64::min)),
            _ => Err(ChangeError::WrongKind),
        }
    }
}

/// Folds the step into the actor's own cells, and into no other's: two actors that folded one cell
/// would both count it.
fn increment(row: &Row, actor: ActorId, by: i64) -> Result<Effect, ChangeError> {
    let own = || row.cells().iter().filter(|(dot, _)| dot.actor == actor);
    let (mut plus, mut minus) = (0, 0);
    // Its cells are running totals, so the latest stands for all of them.
    if let Some((_, cell)) = own().next_back()
        && let Body::Count { plus: p, minus: m } = cell.body
    {
        (plus, minus) = (p, m);
    }
    let total = if by < 0 { &mut minus } else { &mut plus };
    *total = total
        .checked_add(by.unsigned_abs())
        .ok_or(ChangeError::CounterOverflow)?;
    if *total > i64::MAX.unsigned_abs() {
        return Err(ChangeError::CounterOverflow);
    }
    let replaces = own().map(|(dot, _)| *dot).collect();
    Ok(Effect {
        body: Some(Body::Count { plus, minus }),
        replaces,
    })
}

/// The new cell holds the extreme of all that it replaces, so replacing loses no observation.
fn observe(row: &Row, value: i64, better: impl Fn(i64, i64) -> i64) -> Effect {
    let extreme = row
        .cells()
        .iter()
        .fold(value, |best, (_, cell)| match cell.body {
            Body::Extreme(seen) => better(best, seen),
            _ => best,
        });
    Effect {
        body: Some(Body::Extreme(extreme)),
        replaces: row.dots(),
    }
}
