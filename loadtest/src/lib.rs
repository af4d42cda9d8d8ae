//! Load and network-partition experiments on real processes.
