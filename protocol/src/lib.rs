//! What is said on the wire, and its limits.

pub mod codec;
pub mod frame;
