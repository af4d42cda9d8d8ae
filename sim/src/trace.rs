//! The trace of a run: one hash over everything that happened, and on demand a line for each.

use std::fmt::Arguments;

use xxhash_rust::xxh3::Xxh3;

/// What happened so far, as a hash.
pub(crate) struct Trace {
    hasher: Xxh3,
    printed: bool,
    events: u64,
}

impl std::fmt::Debug for Trace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Trace")
            .field("events", &self.events)
            .finish_non_exhaustive()
    }
}

impl Trace {
    pub(crate) fn new(printed: bool) -> Self {
        Self {
            hasher: Xxh3::new(),
            printed,
            events: 0,
        }
    }

    /// Something happened; the bytes tell it from all else that could have.
    pub(crate) fn add(&mut self, now: u64, node: usize, what: &str, bytes: &[u8]) {
        self.events += 1;
        self.hasher.update(&now.to_be_bytes());
        self.hasher.update(&(node as u64).to_be_bytes());
        self.hasher.update(what.as_bytes());
        self.hasher.update(bytes);
    }

    /// A line for whoever follows the run; not part of the hash.
    pub(crate) fn say(&self, now: u64, line: Arguments<'_>) {
        if self.printed {
            crate::print_line!("{:>12.6} {line}", now as f64 / 1e6);
        }
    }

    pub(crate) fn is_printed(&self) -> bool {
        self.printed
    }

    pub(crate) fn events(&self) -> u64 {
        self.events
    }

    pub(crate) fn hash(&self) -> u64 {
        self.hasher.digest()
    }
}
