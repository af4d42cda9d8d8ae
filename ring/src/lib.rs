//! Where a key lives: partitions, layouts, preference lists and quorums.
