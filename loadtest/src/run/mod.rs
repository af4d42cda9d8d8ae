//! `dunlin-loadtest run`: a load of one's choice, by as many processes as it takes.
//!
//! ```text
//!   args ─> conduct ─┬─ fleet ──orders──> worker   (a process of its own, one or several)
//!                    │    <─a second's tally──  target: the requests; keys, values: what they are of
//!                    ├─ board ─> live, or plain   what is seen meanwhile
//!                    ├─ logs                      HdrHistogram log and CSV, second by second
//!                    └─ result, steps             totals, the knee ─> result.json, a report
//! ```
//!
//! The processes that make the load do nothing else: what is merged, drawn and written is done by the one
//! that started them. They are asked by lines of JSON and say what they did by such lines, so one is no
//! other case than ten. `docs/loadtest.md` says what the figures mean.

pub(crate) mod args;
mod board;
pub(crate) mod conduct;
mod fleet;
mod keys;
mod live;
mod logs;
mod permutation;
mod plain;
mod result;
mod seconds;
mod steps;
mod target;
mod values;
pub(crate) mod worker;
mod workload;
