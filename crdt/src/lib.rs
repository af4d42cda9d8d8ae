//! How concurrent histories merge.
//!
//! Every write is an *event*, named for ever by a [`Dot`] `(actor, counter)`. A [`Row`] is the smallest
//! unit of conflict: the cells of the events on it that nothing has replaced. A [`Clock`] is a set of
//! dots; the clock of a partition is the set of all events whose effect its owner holds. One rule
//! follows, and does the work of tombstones: *a dot that is in my clock and not in my row has been
//! overwritten or removed*.
//!
//! ```text
//! write  ->  Event { dot, cell?, replaces }   what travels to the other owners, and in hints
//! repair ->  Row under the sender's Clock     what travels when clocks are compared
//! both   ->  Row::join                        the one merge, for every kind
//! ```
//!
//! Kinds differ in two functions only: what a write replaces ([`Change::apply`]) and how a read folds
//! the cells that are left ([`fold`](fn@fold)). This crate is pure: no clock, no randomness, no I/O.
//!
//! Sources: Gonçalves, Almeida, Baquero, Fonte, *DottedDB* (SRDS 2017); Almeida, Shoker, Baquero,
//! *Delta State Replicated Data Types* (2018); Brown, Lakhani, Place, *Big(ger) Sets* (PaPoC 2016).

#![warn(clippy::indexing_slicing)]

mod cell;
mod change;
mod clock;
mod dot;
mod encoding;
mod event;
mod fold;
mod hlc;
mod kind;
mod path;
mod ranges;
mod row;

pub use cell::{Body, Cell, OpId};
pub use change::{Change, ChangeError, Effect, Replaces};
pub use clock::Clock;
pub use dot::{ActorId, Dot};
pub use encoding::DecodeError;
pub use event::Event;
pub use fold::{Folded, fold};
pub use hlc::{Hlc, HlcClock, Millis, SkewError};
pub use kind::{FieldKind, Kind, RowKind};
pub use path::{FieldPath, PathError};
pub use row::Row;
