//! What is said on the wire, and its limits.
