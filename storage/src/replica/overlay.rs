//! What was staged and is not committed yet, laid over what is.
//!
//! ```text
//!   put, delete ──> staged ──take_staged──> in flight ──committed──> only in the store
//!                   └───────── seen by get and range ─────────┘
//! ```
//!
//! A shard so sees its own writes at once and never waits for the disk. It is told of commits in
//! their order; until then the overlay answers, and afterwards the store says the same.

use std::cmp::Ordering;
use std::collections::{BTreeMap, VecDeque, btree_map};
use std::iter::Peekable;
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;

use crate::key::Span;
use crate::kv::{Batch, Entry, Keyspace, Kv, KvError};

/// Names one batch of one replica. A roll-back begins a new generation: the batches of older ones
/// must not be committed any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BatchId {
    /// How many roll-backs came before it.
    pub generation: u32,
    /// Its place in the order of all batches of this replica.
    pub number: u64,
}

/// The last word on a key, and the batch that said it.
struct Word {
    number: u64,
    value: Option<Bytes>,
}

type Words = BTreeMap<Bytes, Word>;

pub(super) struct Overlay {
    kv: Arc<dyn Kv>,
    /// Invariant: holds a key exactly if a batch that speaks of it is staged or in flight.
    words: [Words; Keyspace::ALL.len()],
    staged: Batch,
    /// The keys of the batches in flight, oldest first.
    flying: VecDeque<(u64, Vec<(Keyspace, Bytes)>)>,
    /// The name of the batch that is being staged.
    next: BatchId,
}

impl Overlay {
    pub(super) fn new(kv: Arc<dyn Kv>) -> Self {
        Self {
            kv,
            words: std::array::from_fn(|_| Words::new()),
            staged: Batch::new(),
            flying: VecDeque::new(),
            next: BatchId {
                generation: 0,
                number: 1,
            },
        }
    }

    pub(super) fn get(&self, keyspace: Keyspace, key: &[u8]) -> Result<Option<Bytes>, KvError> {
        match self.of(keyspace).get(key) {
            Some(word) => Ok(word.value.clone()),
            None => self.kv.get(keyspace, key),
        }
    }

    pub(super) fn range(&self, keyspace: Keyspace, span: &Span) -> Merged<'_> {
        let (from, to) = (slice(&span.from), slice(&span.to));
        let words = (!span.encloses_nothing())
            .then(|| self.of(keyspace).range::<[u8], _>((from, to)).peekable());
        Merged {
            stored: self.kv.range(keyspace, from, to).peekable(),
            words,
        }
    }

    pub(super) fn put(&mut self, keyspace: Keyspace, key: Bytes, value: Bytes) {
        let word = Word {
            number: self.next.number,
            value: Some(value.clone()),
        };
        self.of_mut(keyspace).insert(key.clone(), word);
        self.staged.put(keyspace, key, value);
    }

    pub(super) fn delete(&mut self, keyspace: Keyspace, key: Bytes) {
        let word = Word {
            number: self.next.number,
            value: None,
        };
        self.of_mut(keyspace).insert(key.clone(), word);
        self.staged.delete(keyspace, key);
    }

    /// Ends the batch that is being staged, if it says anything.
    pub(super) fn take_staged(&mut self) -> Option<(BatchId, Batch)> {
        if self.staged.is_empty() {
            return None;
        }
        let batch = std::mem::take(&mut self.staged);
        let keys = batch
            .iter()
            .map(|(keyspace, key, _)| (keyspace, key.clone()))
            .collect();
        let id = self.next;
        self.flying.push_back((id.number, keys));
        self.next.number += 1;
        Some((id, batch))
    }

    /// Forgets what the batches up to this one said: the store says it now.
    pub(super) fn committed(&mut self, id: BatchId) {
        if id.generation != self.next.generation {
            return;
        }
        while let Some((_, keys)) = self.flying.pop_front_if(|(number, _)| *number <= id.number) {
            for (keyspace, key) in keys {
                let words = self.of_mut(keyspace);
                if words.get(&key).is_some_and(|word| word.number <= id.number) {
                    words.remove(&key);
                }
            }
        }
    }

    pub(super) fn generation(&self) -> u32 {
        self.next.generation
    }

    /// Forgets everything that is staged or in flight.
    pub(super) fn roll_back(&mut self) {
        self.words = std::array::from_fn(|_| Words::new());
        self.staged = Batch::new();
        self.flying.clear();
        self.next.generation += 1;
        self.next.number += 1;
    }

    #[expect(
        clippy::indexing_slicing,
        reason = "the array has a slot for each keyspace"
    )]
    fn of(&self, keyspace: Keyspace) -> &Words {
        &self.words[keyspace.index()]
    }

    #[expect(
        clippy::indexing_slicing,
        reason = "the array has a slot for each keyspace"
    )]
    fn of_mut(&mut self, keyspace: Keyspace) -> &mut Words {
        &mut self.words[keyspace.index()]
    }
}

fn slice(bound: &Bound<Bytes>) -> Bound<&[u8]> {
    match bound {
        Bound::Included(key) => Bound::Included(key),
        Bound::Excluded(key) => Bound::Excluded(key),
        Bound::Unbounded => Bound::Unbounded,
    }
}

/// Entries of the store with the overlay laid over them, in order of their keys.
pub(super) struct Merged<'a> {
    stored: Peekable<Box<dyn Iterator<Item = Entry> + 'a>>,
    /// `None` for bounds that enclose nothing.
    words: Option<Peekable<btree_map::Range<'a, Bytes, Word>>>,
}

impl Iterator for Merged<'_> {
    type Item = Entry;

    fn next(&mut self) -> Option<Entry> {
        loop {
            let word = self.words.as_mut().and_then(Peekable::peek);
            let order = match (self.stored.peek(), word) {
                (Some(Ok((stored, _))), Some((said, _))) => stored.cmp(said),
                (Some(_), _) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (None, None) => return None,
            };
            match order {
                Ordering::Less => return self.stored.next(),
                Ordering::Equal => drop(self.stored.next()),
                Ordering::Greater => {}
            }
            let said = self.words.as_mut().and_then(Iterator::next);
            if let Some((
                key,
                Word {
                    value: Some(value), ..
                },
            )) = said
            {
                return Some(Ok((key.clone(), value.clone())));
            }
        }
    }
}
