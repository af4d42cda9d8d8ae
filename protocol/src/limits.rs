//! The sizes that every node refuses to exceed. They are part of the protocol: all nodes and clients
//! have the same.

/// Bytes in a key. The empty key is a key.
pub const KEY_BYTES_MAX: usize = 1024;
/// Bytes in a value.
pub const VALUE_BYTES_MAX: usize = 1 << 20;
/// Bytes in an element of a set.
pub const ELEMENT_BYTES_MAX: usize = 1024;
/// Bytes in an encoded field path, with the element of a set below it.
pub const SUBKEY_BYTES_MAX: usize = 4096;
/// Elements or fields in one request.
pub const CHANGES_MAX: usize = 1000;
/// Characters in the name of a bucket.
pub const BUCKET_NAME_MAX: usize = 64;
/// Bytes in an encoded context.
pub const CONTEXT_BYTES_MAX: usize = 64 << 10;
/// Bytes of one row with all its siblings, above which it takes no further write that adds one.
pub const ROW_BYTES_MAX: usize = 8 << 20;
/// Elements, fields or keys in one page.
pub const PAGE_MAX: u32 = 10_000;
/// Bytes of values after which a page ends early.
pub const PAGE_BYTES_MAX: usize = 1 << 20;
/// Bytes of a frame between a client and a node: a page or a row with its siblings, and room.
pub const CLIENT_FRAME_BYTES_MAX: usize = 20 << 20;
/// Bytes of a frame between nodes: two rows of the largest size can meet in one before it is refused.
pub const PEER_FRAME_BYTES_MAX: usize = 40 << 20;
