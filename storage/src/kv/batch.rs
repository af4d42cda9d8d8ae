//! A batch: puts and deletes over several keyspaces that become true together.
//!
//! A batch holds at most one operation a key, the last one said. That is not only convenience: the
//! store below gives every operation of a batch the same sequence number, and could not tell which
//! of two on one key came second.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{Keyspace, KvError};

/// The longest key. The journal below writes the length in two bytes, and would cut a longer one
/// without saying so.
pub const KEY_BYTES_MAX: usize = 65_535;

/// The longest value: 64 MiB. Above the largest row that the protocol lets in, and so far below the
/// journal's four-byte length that a batch of several cannot come near it.
pub const VALUE_BYTES_MAX: usize = 64 << 20;

/// Puts and deletes that become true together, or not at all.
///
/// ```
/// use dunlin_storage::{Batch, Keyspace};
///
/// let mut batch = Batch::new();
/// batch.put(Keyspace::Rows, "key".into(), "old".into());
/// batch.put(Keyspace::Rows, "key".into(), "new".into());
/// batch.delete(Keyspace::Hints, "hint".into());
/// assert_eq!(batch.len(), 2);
/// assert_eq!(batch.get(Keyspace::Rows, b"key"), Some(Some(&"new".into())));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    ops: [BTreeMap<Bytes, Option<Bytes>>; Keyspace::ALL.len()],
    /// Invariant: the keys and values of `ops`, summed.
    bytes: usize,
    /// Invariant: how many of `ops` put.
    puts: usize,
    /// Invariant: how many of `ops` delete.
    deletes: usize,
}

impl Batch {
    /// A batch that does nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Says that `key` shall have `value`, in place of what the batch said of `key` before.
    pub fn put(&mut self, keyspace: Keyspace, key: Bytes, value: Bytes) {
        self.set(keyspace, key, Some(value));
    }

    /// Says that `key` shall have no value, in place of what the batch said of `key` before.
    pub fn delete(&mut self, keyspace: Keyspace, key: Bytes) {
        self.set(keyspace, key, None);
    }

    /// Adds all that `other` says; where both speak of a key, `other` wins.
    pub fn append(&mut self, other: Self) {
        for (keyspace, ops) in Keyspace::ALL.into_iter().zip(other.ops) {
            for (key, value) in ops {
                self.set(keyspace, key, value);
            }
        }
    }

    /// What the batch says of a key: nothing, a delete (`Some(None)`) or a value.
    #[must_use]
    pub fn get(&self, keyspace: Keyspace, key: &[u8]) -> Option<Option<&Bytes>> {
        self.of(keyspace).get(key).map(Option::as_ref)
    }

    /// The operations in order of keyspace and key; a value of `None` deletes.
    pub fn iter(&self) -> impl Iterator<Item = (Keyspace, &Bytes, Option<&Bytes>)> {
        Keyspace::ALL.into_iter().flat_map(|keyspace| {
            self.of(keyspace)
                .iter()
                .map(move |(key, value)| (keyspace, key, value.as_ref()))
        })
    }

    /// How many keys it speaks of.
    #[must_use]
    pub fn len(&self) -> usize {
        self.puts + self.deletes
    }

    /// Whether it does nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether it puts nothing. Such a batch is taken on a nearly full disk.
    #[must_use]
    pub fn only_deletes(&self) -> bool {
        self.puts == 0
    }

    /// The bytes of its keys and values.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Refuses keys and values that a store could not hold.
    pub(crate) fn check(&self) -> Result<(), KvError> {
        for (_, key, value) in self.iter() {
            let value_bytes = value.map_or(0, Bytes::len);
            if key.is_empty() || key.len() > KEY_BYTES_MAX || value_bytes > VALUE_BYTES_MAX {
                return Err(KvError::TooLarge {
                    key_bytes: key.len(),
                    value_bytes,
                });
            }
        }
        Ok(())
    }

    #[expect(
        clippy::indexing_slicing,
        reason = "the array has a slot for each keyspace"
    )]
    fn of(&self, keyspace: Keyspace) -> &BTreeMap<Bytes, Option<Bytes>> {
        &self.ops[keyspace.index()]
    }

    #[expect(
        clippy::indexing_slicing,
        reason = "the array has a slot for each keyspace"
    )]
    fn set(&mut self, keyspace: Keyspace, key: Bytes, value: Option<Bytes>) {
        let ops = &mut self.ops[keyspace.index()];
        let key_bytes = key.len();
        self.bytes += key_bytes + value.as_ref().map_or(0, Bytes::len);
        match value {
            Some(_) => self.puts += 1,
            None => self.deletes += 1,
        }
        match ops.insert(key, value) {
            None => {}
            Some(Some(before)) => {
                self.puts -= 1;
                self.bytes -= key_bytes + before.len();
            }
            Some(None) => {
                self.deletes -= 1;
                self.bytes -= key_bytes;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(text: &'static str) -> Bytes {
        Bytes::from_static(text.as_bytes())
    }

    #[test]
    fn the_last_word_on_a_key_counts_and_sizes_follow() {
        let mut batch = Batch::new();
        batch.put(Keyspace::Rows, bytes("k"), bytes("value"));
        batch.delete(Keyspace::Rows, bytes("k"));
        assert_eq!(
            (batch.len(), batch.bytes(), batch.only_deletes()),
            (1, 1, true)
        );
        batch.put(Keyspace::Rows, bytes("k"), bytes("v2"));
        batch.put(Keyspace::Log, bytes("k"), bytes(""));
        assert_eq!(
            (batch.len(), batch.bytes(), batch.only_deletes()),
            (2, 4, false)
        );
        assert_eq!(batch.get(Keyspace::Rows, b"k"), Some(Some(&bytes("v2"))));
        assert_eq!(batch.get(Keyspace::Cas, b"k"), None);
    }

    #[test]
    fn append_lets_the_other_win() {
        let mut first = Batch::new();
        first.put(Keyspace::Meta, bytes("a"), bytes("1"));
        first.put(Keyspace::Meta, bytes("b"), bytes("1"));
        let mut second = Batch::new();
        second.delete(Keyspace::Meta, bytes("b"));
        second.put(Keyspace::Rows, bytes("c"), bytes("1"));
        first.append(second);
        let ops: Vec<_> = first
            .iter()
            .map(|(ks, key, value)| (ks, &key[..], value))
            .collect();
        assert_eq!(
            ops,
            [
                (Keyspace::Rows, &b"c"[..], Some(&bytes("1"))),
                (Keyspace::Meta, &b"a"[..], Some(&bytes("1"))),
                (Keyspace::Meta, &b"b"[..], None),
            ]
        );
        assert_eq!((first.len(), first.bytes()), (3, 5));
    }

    #[test]
    fn what_a_journal_would_cut_is_refused() {
        for key_bytes in [0, KEY_BYTES_MAX + 1] {
            let mut batch = Batch::new();
            batch.put(Keyspace::Rows, vec![1; key_bytes].into(), Bytes::new());
            assert_eq!(
                batch.check(),
                Err(KvError::TooLarge {
                    key_bytes,
                    value_bytes: 0
                })
            );
        }
        let mut batch = Batch::new();
        batch.put(Keyspace::Rows, vec![1; KEY_BYTES_MAX].into(), Bytes::new());
        assert_eq!(batch.check(), Ok(()));
    }
}
