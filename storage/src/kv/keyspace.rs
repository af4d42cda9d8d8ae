//! The seven keyspaces of a replica, named once.
//!
//! A few keyspaces for all partitions, not one for each partition: every keyspace costs a memtable
//! and files of its own, and a batch over three costs half as much again as over one.

/// One ordered map of bytes to bytes. What the keys and values mean is the replica's matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Keyspace {
    /// (partition, bucket, key, subkey) to row: read by point, most of them misses on a first put.
    Rows,
    /// (partition, actor, counter) to row key: appended, scanned in order, pruned from below.
    Log,
    /// Partition to clock: few, rewritten often.
    Clocks,
    /// Rows whose past is not empty.
    Pending,
    /// Writes held for owners that are away: appended, scanned, deleted.
    Hints,
    /// Compare-and-set registers: ballots and accepted values.
    Cas,
    /// What the replica knows of itself: actors, epochs, progress.
    Meta,
}

impl Keyspace {
    /// Every keyspace, in the order of [`Keyspace::index`].
    pub const ALL: [Self; 7] = [
        Self::Rows,
        Self::Log,
        Self::Clocks,
        Self::Pending,
        Self::Hints,
        Self::Cas,
        Self::Meta,
    ];

    /// The name it has on disk. It never changes.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rows => "rows",
            Self::Log => "log",
            Self::Clocks => "clocks",
            Self::Pending => "pending",
            Self::Hints => "hints",
            Self::Cas => "cas",
            Self::Meta => "meta",
        }
    }

    /// Its place in [`Keyspace::ALL`], for tables with one slot a keyspace.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn index_is_the_place_in_all() {
        for (place, keyspace) in Keyspace::ALL.into_iter().enumerate() {
            assert_eq!(keyspace.index(), place);
        }
    }

    #[test]
    fn names_on_disk_never_change() {
        let names = Keyspace::ALL.map(Keyspace::name);
        assert_eq!(
            names,
            ["rows", "log", "clocks", "pending", "hints", "cas", "meta"]
        );
    }
}
