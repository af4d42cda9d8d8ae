//! The process: sockets, threads, timers, TLS, configuration and the dunlin binary.
//!
//! ```text
//!   net            one QUIC endpoint, clients and peers        listener, links, server/net.rs
//!    │  ^
//!    v  │ frames
//!   control        who is there, which buckets there are       driver (the loop of both)
//!   shard-0 … n    partitions p mod n, and their operations    driver
//!    │  ^
//!    v  │ Committed
//!   writer         commits of all parts, one sync for all      writer
//!   watchdog       a disk that does not answer                 writer/watchdog.rs
//! ```
//!
//! One thread each; what they say to each other goes through an inbox each (`driver::inbox`), and no
//! thread waits for another. What a node decides is in `dunlin-engine`; here is how it is carried out.
//! To follow a request, open `listener/clients.rs`, `driver.rs`, then the engine.

pub mod config;
pub mod dev;
pub mod pki;
pub mod server;

mod birth;
mod board;
mod clock;
mod counters;
mod data_dir;
mod driver;
mod inspector;
mod join;
mod links;
mod listener;
mod logging;
mod status;
mod twin;
mod writer;

pub use data_dir::DataDirError;
