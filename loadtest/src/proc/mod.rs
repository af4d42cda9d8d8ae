//! What Linux tells of processes: CPU time, memory, who listens where, and what went over loopback.
//!
//! A node's process is found by the UDP port on which the layout says that it listens. So it does not
//! matter who started it, and a node that was started again is found again.

mod machine;
mod process;
mod sockets;
mod traffic;

pub(crate) use machine::busy;
pub(crate) use process::{cpu, is_alive, rss_bytes, written_bytes};
pub(crate) use sockets::process_of_port;
pub(crate) use traffic::{Traffic, loopback};
