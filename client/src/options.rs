//! What a request asks for beyond its bucket's defaults.

use std::time::Duration;

use dunlin_protocol::request::{ReadOptions, WriteOptions};
use dunlin_ring::{Fallbacks, Quorum};

/// How long a request may take in all, unless told otherwise: attempts, pauses and hedges included.
pub const TIMEOUT_DEFAULT: Duration = Duration::from_secs(5);

/// How many nodes must answer, whether others may stand in for owners, and how long it may take.
///
/// What is not set is the bucket's default. One value serves reads (which look at `r` and `pr`) and
/// writes (`w`, `pw`, `dw`), so an application states its policy once.
///
/// ```
/// use dunlin_client::{Options, Quorum};
/// use std::time::Duration;
///
/// let careful = Options::new()
///     .r(Quorum::Majority)
///     .w(Quorum::Majority)
///     .pw(Quorum::Majority)
///     .timeout(Duration::from_secs(2));
/// # let _ = careful;
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    pub(crate) read: ReadOptions,
    pub(crate) write: WriteOptions,
    pub(crate) timeout: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self::new()
    }
}

impl Options {
    /// The defaults of the bucket, and a timeout of five seconds.
    #[must_use]
    pub fn new() -> Self {
        Self {
            read: ReadOptions::default(),
            write: WriteOptions::default(),
            timeout: TIMEOUT_DEFAULT,
        }
    }

    /// Nodes that answer a read.
    #[must_use]
    pub fn r(mut self, quorum: Quorum) -> Self {
        self.read.r = Some(quorum);
        self
    }

    /// Of the nodes that answer a read, owners.
    #[must_use]
    pub fn pr(mut self, quorum: Quorum) -> Self {
        self.read.pr = Some(quorum);
        self
    }

    /// Nodes that hold a write before it is acknowledged.
    #[must_use]
    pub fn w(mut self, quorum: Quorum) -> Self {
        self.write.w = Some(quorum);
        self
    }

    /// Of the nodes that hold a write, owners.
    #[must_use]
    pub fn pw(mut self, quorum: Quorum) -> Self {
        self.write.pw = Some(quorum);
        self
    }

    /// Of the nodes that hold a write, those that have synced it.
    #[must_use]
    pub fn dw(mut self, quorum: Quorum) -> Self {
        self.write.dw = Some(quorum);
        self
    }

    /// Only owners count. Requests fail sooner, and what succeeded is seen by every later quorum.
    #[must_use]
    pub fn strict(self) -> Self {
        self.fallbacks(Fallbacks::Forbidden)
    }

    /// Others may stand in for owners that are away. This is the default.
    #[must_use]
    pub fn sloppy(self) -> Self {
        self.fallbacks(Fallbacks::Allowed)
    }

    /// How long a request may take in all.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    fn fallbacks(mut self, fallbacks: Fallbacks) -> Self {
        self.read.fallbacks = fallbacks;
        self.write.fallbacks = fallbacks;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strict_and_sloppy_hold_for_reads_and_writes() {
        let strict = Options::new().strict();
        assert_eq!(strict.read.fallbacks, Fallbacks::Forbidden);
        assert_eq!(strict.write.fallbacks, Fallbacks::Forbidden);
        assert_eq!(strict.sloppy(), Options::new());
    }

    #[test]
    fn what_is_not_set_is_left_to_the_bucket() {
        let options = Options::new().w(Quorum::All);
        assert_eq!(options.write.w, Some(Quorum::All));
        assert_eq!((options.write.pw, options.write.dw), (None, None));
        assert_eq!(options.read, ReadOptions::default());
    }
}
