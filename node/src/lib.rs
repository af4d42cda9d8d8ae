//! The process: sockets, threads, timers, TLS, configuration and the dunlin binary.

pub mod pki;
