//! Who is there, according to whom: many members on a network of the test's own.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod network;

mod failing;
mod hostile;
mod joining;
mod returning;
