//! What one replica keeps.
