//! What is said on the wire, and its limits.
//!
//! ```text
//! frame     length, kind, request id, deadline, body          frame, codec
//! client    Request  -> Response { layout, Answer }           request, response, error
//! node      PeerMessage { layout, PeerBody }                  peer
//! ```
//!
//! Everything here is a value: nothing sends, waits or stores. Bodies are MessagePack with named
//! fields, so that nodes and clients of neighbouring versions understand each other; clocks, rows and
//! events are byte strings in the canonical form of `dunlin-crdt`. Whatever comes from outside is
//! bounded before memory is taken for it, and decoding never panics. `docs/protocol.md` describes it
//! all for those who write a client in another language.

#![cfg_attr(not(test), warn(clippy::indexing_slicing))]

pub mod bucket;
pub mod cluster;
pub mod codec;
pub mod context;
pub mod error;
pub mod explain;
pub mod frame;
pub mod limits;
pub mod peer;
pub mod request;
pub mod response;
pub mod row_key;
pub mod status;

pub use bucket::{Bucket, BucketDefaults, BucketName, Durability};
pub use context::{Context, NotHex};
pub use error::{DataEffect, Failure, Part, Retry};
pub use row_key::RowKey;
