//! What a client decides, without a clock, a socket or randomness of its own: so the simulator's clients decide
//! by it, too.
//!
//! | file | question |
//! |---|---|
//! | [`route`] | which node is asked next? |
//! | [`health`] | how good is a node at the moment? |
//! | [`retry`] | may a request that failed be sent again? |
//! | [`backoff`] | how long to wait before that? |
//! | [`hedge`] | when is a second node asked as well? |
//! | [`seen`] | what must the reads of a session reflect? |
//!
//! Time is an argument (since some origin of the caller's choosing), randomness a seeded generator.

pub mod backoff;
pub mod health;
pub mod hedge;
pub mod retry;
pub mod route;
pub mod seen;
