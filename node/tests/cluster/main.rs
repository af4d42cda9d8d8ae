//! Real processes on loopback with real disks: what a node is as a whole.

mod harness;
mod outage;
mod refusals;
mod serving;
