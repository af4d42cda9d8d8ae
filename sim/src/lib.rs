//! Whole clusters under a seed, with faults and checkers.
