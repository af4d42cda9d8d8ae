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
/// Bytes of a frame between a client and a node, in either direction.
///
/// The largest request is far below: [`CHANGES_MAX`] fields of longest paths, with elements, take
/// 5 MiB; a value with its context little over one. What decides is the largest answer: the last row of
/// a page that was not full before, where the row is the join of two that had each grown to
/// [`ROW_BYTES_MAX`] on one side of a split. A row that more than two sides have filled may not fit; it
/// is read no more, but can be replaced or removed (`Replace::Seen`).
pub const CLIENT_FRAME_BYTES_MAX: usize = 20 << 20;
/// Bytes of a frame between nodes: whatever a client may say or be told, passed on, and three rows of the
/// largest size, of as many owners, joined in one.
pub const PEER_FRAME_BYTES_MAX: usize = 40 << 20;

/// Most rows that one node's report on a key has: enough to see what differs.
pub const EXPLAINED_ROWS_MAX: usize = 100;

/// Most cells of one row in such a report. With the rows it stays far below a frame.
pub const EXPLAINED_CELLS_MAX: usize = 1_000;

/// Bytes of values after which such a report leaves out what rows show.
pub const EXPLAINED_VALUE_BYTES_MAX: usize = 64 << 10;

/// What a message spends on names, ids, dots and lengths beside the bytes counted above.
const MESSAGE_BYTES: usize = 1 << 20;

// The arguments above, checked: whoever changes a size is told here what no longer fits.
const _: () = {
    // A key, an id, names and lengths around each change.
    let change = SUBKEY_BYTES_MAX + ELEMENT_BYTES_MAX + 64;
    let fields = CHANGES_MAX * change + MESSAGE_BYTES;
    let value = VALUE_BYTES_MAX + CONTEXT_BYTES_MAX + MESSAGE_BYTES;
    assert!(fields <= CLIENT_FRAME_BYTES_MAX && value <= CLIENT_FRAME_BYTES_MAX);

    let page = PAGE_BYTES_MAX + 2 * ROW_BYTES_MAX + VALUE_BYTES_MAX + MESSAGE_BYTES;
    assert!(page <= CLIENT_FRAME_BYTES_MAX);

    // The events of one request name its key once each.
    let passed_on = CLIENT_FRAME_BYTES_MAX + CHANGES_MAX * KEY_BYTES_MAX + MESSAGE_BYTES;
    let row = PAGE_BYTES_MAX + 3 * ROW_BYTES_MAX + VALUE_BYTES_MAX + MESSAGE_BYTES;
    assert!(passed_on <= PEER_FRAME_BYTES_MAX && row <= PEER_FRAME_BYTES_MAX);
};
