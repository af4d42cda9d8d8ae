//! The client against nodes that answer by a script, over real connections.
//!
//! Each test says what nodes do with a request, sends some, and looks at who was asked for what.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "the helpers of tests may fail a test"
)]

#[path = "../../src/tls/test_authority.rs"]
#[allow(
    dead_code,
    reason = "shared with tests that look at the authority itself"
)]
mod test_authority;

mod buckets;
mod connecting;
mod fake;
mod hedges;
mod kinds;
mod pages;
mod retries;
mod routing;
mod sessions;
