//! The library that applications use.
//!
//! ```no_run
//! use dunlin_client::{Client, Options, Quorum};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::builder()
//!     .cluster_file("dunlin-dev/cluster.toml")
//!     .connect()
//!     .await?;
//!
//! let visits = client.bucket("visits").await?;
//! let front_page = visits.counter("/")?;
//! front_page.increment(1).await?;
//!
//! let everywhere = Options::new().r(Quorum::All);
//! println!("{}", front_page.with_options(everywhere).get().await?);
//! # Ok(())
//! # }
//! ```
//!
//! # What happens to a request
//!
//! ```text
//! handle ─> Bucket ─> Call ─> run: route ─> attempt ─> answer
//!                              ^             │ hedge: a second node, for reads that take long
//!                              └── retry ────┘ where that does no harm
//! ```
//!
//! The client knows the layout, so a request goes to an owner of its key: the one that is expected to
//! answer soonest, in turns among equals. When no owner can be reached another node is asked, which
//! passes the request on. Every answer says which layout its node knows; the client fetches a newer one
//! in the background.
//!
//! A node that leaves a request unanswered for a second (or a quarter of the timeout) is avoided at
//! once and probed until it answers. The request goes on to another node if that does no harm:
//! always for reads, under the same request id for writes that have the same effect twice, never for
//! increments and removals. [`decide::retry`] has the table and the reasons.
//!
//! # Sessions
//!
//! [`Client::session`] gives the same handles, whose reads show what the session has written and read before,
//! whatever node answers: see [`Session`].
//!
//! # What an error means
//!
//! [`Error::effect`] is `NotApplied` if nothing was written and nothing will be, and `Unknown` if it may
//! be applied, now or later. A timeout of a write that was sent is always `Unknown`. Errors name the
//! nodes that were asked, and what each said.
//!
//! # Cost
//!
//! [`Client`], [`Bucket`] and the handles are cheap to clone. A request takes no lock across an await,
//! and in the ordinary case allocates its encoding, its answer, and little else. Sockets are driven by
//! the runtime that the client was connected on; measured, a current-thread runtime costs least.

pub mod cluster_file;
pub mod tls;
pub mod transport;

mod bucket;
mod builder;
mod client;
mod cluster;
mod error;
mod handles;
mod node_ref;
mod options;
mod pages;
mod receipt;
mod session;

pub use dunlin_decide as decide;

pub use bucket::Bucket;
pub use builder::{ClientBuilder, ConnectError};
pub use client::{Client, Compacted, Created, NodeView};
pub use dunlin_decide::seen::{SessionFull, TokenError};
pub use error::{Asked, Attempt, AttemptEnd, Error};
pub use handles::{
    Changes, Counter, Extreme, Field, FieldEntry, FieldValue, Flag, Lww, Map, Register, Set,
};
pub use node_ref::NodeRef;
pub use options::{Options, TIMEOUT_DEFAULT};
pub use pages::{Elements, Fields, Keys};
pub use receipt::{Copy, Latest, Read, ReadInfo, Receipt, Siblings};
pub use session::Session;

pub use bytes::Bytes;
pub use dunlin_crdt::{FieldKind, FieldPath, Hlc, Kind, PathError};
pub use dunlin_protocol::response::Rest;
pub use dunlin_protocol::{
    Bucket as BucketInfo, BucketDefaults, BucketName, Context, DataEffect, Durability, Failure,
    cluster as shape, explain, status,
};
pub use dunlin_ring::{BucketId, Layout, LayoutNumber, NodeId, PartitionId, Quorum};
