//! What one node decides: coordinate, detect, repair and hand off.
