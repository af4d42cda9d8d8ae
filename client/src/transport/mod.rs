//! Multiplexed connections: how frames get from one process to another.
//!
//! ```text
//!  send(frame, lane) ─> outbox of the lane ─> writer task ─┐              ┌─> reader task ─> handler
//!  send(frame, lane) ─> outbox of the lane ─> writer task ─┼─ one QUIC ───┼─> reader task ─> handler
//!  send(large frame) ─> a stream of its own ───────────────┘  connection  └─> reader task ─> handler
//! ```
//!
//! A [`Link`] is one QUIC connection with a few long-lived streams, its lanes, each carrying many
//! frames both ways. Frames on one lane keep their order; lanes, and frames with a stream of their
//! own, overtake each other. Whatever has gathered in an outbox while the last write was on its
//! way leaves in one write: this batching is what makes small frames cheap.
//!
//! The same code serves applications, nodes serving them, and nodes among themselves; they differ
//! in [`LinkOptions`] and in their [`FrameHandler`]. [`Requester`] pairs answers with questions on
//! top of it. Nothing here retries, reconnects or knows what a body says.

mod lane;
mod link;
mod read;
mod request;
mod settings;

pub use link::{CloseCode, FrameHandler, Link, LinkOptions, LinkStats, Refusal, SendError};
pub use request::{Pending, RequestError, Requester};
pub use settings::{PathMtu, TransportSettings};

#[cfg(test)]
mod tests;
