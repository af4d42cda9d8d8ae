//! What the client decides, without a clock, a socket or randomness of its own.
//!
//! | file | question |
//! |---|---|
//! | [`route`] | which node is asked next? |
//! | [`health`] | how good is a node at the moment? |
//! | [`retry`] | may a request that failed be sent again? |
//! | [`backoff`] | how long to wait before that? |
//! | [`hedge`] | when is a second node asked as well? |
//!
//! Time is an argument (since some origin of the caller's choosing), randomness a seeded generator.

pub mod backoff;
pub mod health;
pub mod hedge;
pub mod retry;
pub mod route;
