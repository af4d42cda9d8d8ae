//! Experiments: a cluster of unmodified processes, a load, a network that is cut, and what happened.
//!
//! ```text
//!   plan ─> run ─┬─ nodes           the processes; every link between them is a `dunlin-relay`
//!                ├─ stage           phase by phase, what goes wrong
//!                ├─ load, recorder  what clients asked and were told: history, timeline, staleness
//!                ├─ observe         what nodes say meanwhile
//!                └─> result ─> report, a page to look at
//! ```

pub(crate) mod bundled;
pub(crate) mod load;
pub(crate) mod nodes;
pub(crate) mod observe;
mod parts;
pub(crate) mod plan;
pub(crate) mod recorder;
pub(crate) mod report;
pub(crate) mod result;
pub(crate) mod run;
pub(crate) mod stage;
pub(crate) mod staleness;
pub(crate) mod summary;
pub(crate) mod timeline;
