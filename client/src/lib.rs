//! The library that applications use.

pub mod tls;
pub mod transport;
