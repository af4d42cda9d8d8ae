//! A store in memory whose crash drops what was not synced: the simulator's disk.
//!
//! ```text
//!   synced history (undo kept for a few) | unsynced batches, each with its undo | now
//!                    forget ────────────>|<──────────────── crash
//! ```
//!
//! There is one map a keyspace, shared with snapshots and copied only if a commit meets a snapshot
//! still held. Every batch leaves behind what it replaced; a crash plays that back from the newest,
//! so that what survives is always a prefix of the batches, in order. The caller says how long a
//! prefix: a disk may well have written more than it was asked to.
//!
//! Unfit for: anything that must be there tomorrow.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::{Batch, Entry, Keyspace, Kv, KvError, KvSnapshot, Start, encloses_nothing};

/// How many synced batches can still be forgotten. Enough for a lying disk to lose what several
/// syncs acknowledged; small enough to cost a long run nothing.
const FORGETTABLE_MAX: usize = 256;

type Map = BTreeMap<Bytes, Bytes>;

/// Whether the pretended disk has room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskSpace {
    /// Everything is taken.
    Ample,
    /// Only batches of deletes are taken.
    NearlyFull,
}

/// A handle to a store in memory. Clones share the store: the simulator keeps one to do harm with.
#[derive(Clone, Debug)]
pub struct MemoryKv {
    /// Guards the whole store; held for one operation.
    state: Arc<Mutex<State>>,
}

/// The maps of a [`MemoryKv`] at one instant.
#[derive(Clone, Debug)]
pub struct MemorySnapshot {
    maps: [Arc<Map>; Keyspace::ALL.len()],
    unreadable: Arc<BTreeSet<Bytes>>,
}

#[derive(Debug)]
struct State {
    maps: [Arc<Map>; Keyspace::ALL.len()],
    /// The undo of every batch since the last sync, oldest first.
    unsynced: Vec<Undo>,
    /// The undo of the last batches that were synced, oldest first.
    forgettable: VecDeque<Undo>,
    /// How many batches were ever committed and not undone.
    sequence: u64,
    health: Health,
    space: DiskSpace,
    next_start: Start,
    /// So many reads of rows fail from now on.
    reads_to_fail: u64,
    /// Rows that can't be read, though they are there.
    unreadable: Arc<BTreeSet<Bytes>>,
    /// Those of them that never will be.
    lost: Arc<BTreeSet<Bytes>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Health {
    Sound,
    NextSyncFails,
    Poisoned,
    Closed,
}

/// What a batch replaced.
type Undo = Vec<(Keyspace, Bytes, Option<Bytes>)>;

impl Default for MemoryKv {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryKv {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self {
            state: Arc::new(Mutex::new(State::blank())),
        }
    }

    /// Opens the store as a process does at its start and says what the disk remembers. Until
    /// [`MemoryKv::close_clean`], every later open finds it [`Start::Unclean`].
    pub fn open(&self) -> Start {
        let mut state = self.lock();
        state.health = Health::Sound;
        state.forget_blocks_of_nothing();
        state.let_read();
        std::mem::replace(&mut state.next_start, Start::Unclean)
    }

    /// Syncs and closes the store in order; the next open finds it [`Start::Clean`].
    ///
    /// # Errors
    /// As [`Kv::sync`]; then the next open is not clean.
    pub fn close_clean(&self) -> Result<(), KvError> {
        self.sync()?;
        let mut state = self.lock();
        state.health = Health::Closed;
        state.next_start = Start::Clean;
        Ok(())
    }

    /// The power goes: all but the oldest `unsynced_kept` of the unsynced batches are undone.
    /// Returns how many were. A poisoned or closed store comes back sound.
    pub fn crash(&self, unsynced_kept: usize) -> usize {
        let mut state = self.lock();
        let lost = state.unsynced.len().saturating_sub(unsynced_kept);
        for _ in 0..lost {
            state.undo_newest();
        }
        state.settle();
        state.health = Health::Sound;
        lost
    }

    /// The disk lied: everything unsynced and the newest `batches` synced ones are undone, as far
    /// as they are remembered. Returns how many synced ones were; if any, the next open finds
    /// [`Start::Amnesia`].
    pub fn forget(&self, batches: usize) -> usize {
        self.crash(0);
        let mut state = self.lock();
        let lost = batches.min(state.forgettable.len());
        let before = state.sequence;
        for _ in 0..lost {
            state.undo_newest();
        }
        if lost > 0 {
            let (found, mark) = (state.sequence, before);
            state.next_start = Start::Amnesia {
                evidence: vec![format!(
                    "the store ends at batch {found}, the mark says {mark}"
                )],
            };
        }
        lost
    }

    /// The disk is replaced by an empty one; the next open finds it [`Start::Blank`].
    pub fn wipe(&self) {
        *self.lock() = State::blank();
    }

    /// A copy of the disk as a backup takes it while the process runs: all that is synced, and whether it
    /// was closed in order.
    #[must_use]
    pub fn backup(&self) -> Self {
        let state = self.lock();
        let mut copy = State {
            maps: state.maps.clone(),
            unsynced: state.unsynced.clone(),
            sequence: state.sequence,
            next_start: state.next_start.clone(),
            ..State::blank()
        };
        while !copy.unsynced.is_empty() {
            copy.undo_newest();
        }
        Self {
            state: Arc::new(Mutex::new(copy)),
        }
    }

    /// Sets whether there is room.
    pub fn set_space(&self, space: DiskSpace) {
        self.lock().space = space;
    }

    /// Lets the next sync fail, which poisons the store.
    pub fn fail_next_sync(&self) {
        let mut state = self.lock();
        if state.health == Health::Sound {
            state.health = Health::NextSyncFails;
        }
    }

    /// Lets so many reads of rows fail, as if the disk had not answered. A range that begins is one read.
    pub fn fail_reads(&self, reads: u64) {
        self.lock().reads_to_fail = reads;
    }

    /// Lets every read of this row fail, until [`MemoryKv::let_read`] or the next open. It stays what it is.
    pub fn fail_reads_of(&self, row: Bytes) {
        Arc::make_mut(&mut self.lock().unreadable).insert(row);
    }

    /// These rows can never be read again, as if a block of a table were damaged, until
    /// [`MemoryKv::salvage`].
    pub fn lose_block(&self, rows: impl IntoIterator<Item = Bytes>) {
        let mut state = self.lock();
        Arc::make_mut(&mut state.lost).extend(rows);
        let lost = Arc::clone(&state.lost);
        Arc::make_mut(&mut state.unreadable).extend(lost.iter().cloned());
    }

    /// Whether a block was lost.
    #[must_use]
    pub fn has_lost_blocks(&self) -> bool {
        !self.lock().lost.is_empty()
    }

    /// All that can be read is copied into a new store; the next open finds [`Start::Amnesia`].
    pub fn salvage(&self) {
        let mut state = self.lock();
        for row in std::mem::take(&mut state.lost).iter() {
            state.set(Keyspace::Rows, row.clone(), None);
        }
        state.let_read();
        let evidence = vec!["a table is damaged".to_owned()];
        state.next_start = Start::Amnesia { evidence };
    }

    /// Lets everything be read but lost blocks.
    pub fn let_read(&self) {
        self.lock().let_read();
    }

    /// Nothing that was to fail does: neither reads nor the next sync. A store that is poisoned stays so.
    pub fn mend(&self) {
        let mut state = self.lock();
        state.let_read();
        if state.health == Health::NextSyncFails {
            state.health = Health::Sound;
        }
    }

    /// Whether everything can be read.
    #[must_use]
    pub fn is_readable(&self) -> bool {
        let state = self.lock();
        state.reads_to_fail == 0 && state.unreadable.is_empty()
    }

    /// A value changes by itself on the disk, or vanishes. No batch knows of it, so a crash does not
    /// bring it back.
    pub fn damage(&self, keyspace: Keyspace, key: Bytes, value: Option<Bytes>) {
        self.lock().set(keyspace, key, value);
    }

    /// How many committed batches a crash could undo.
    #[must_use]
    pub fn unsynced(&self) -> usize {
        self.lock().unsynced.len()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No operation leaves the state half changed, so a panic elsewhere does not spoil it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn freeze(&self) -> MemorySnapshot {
        let state = self.lock();
        MemorySnapshot {
            maps: state.maps.clone(),
            unreadable: Arc::clone(&state.unreadable),
        }
    }
}

impl State {
    fn blank() -> Self {
        Self {
            maps: std::array::from_fn(|_| Arc::default()),
            unsynced: Vec::new(),
            forgettable: VecDeque::new(),
            sequence: 0,
            health: Health::Sound,
            space: DiskSpace::Ample,
            next_start: Start::Blank,
            reads_to_fail: 0,
            unreadable: Arc::default(),
            lost: Arc::default(),
        }
    }

    /// A row that never came to the disk is in no block of it.
    #[expect(
        clippy::indexing_slicing,
        reason = "the array has a slot for each keyspace"
    )]
    fn forget_blocks_of_nothing(&mut self) {
        let rows = &self.maps[Keyspace::Rows.index()];
        if self.lost.iter().any(|row| !rows.contains_key(row)) {
            Arc::make_mut(&mut self.lost).retain(|row| rows.contains_key(row));
        }
    }

    fn let_read(&mut self) {
        self.reads_to_fail = 0;
        self.unreadable = Arc::clone(&self.lost);
    }

    /// Whether this read fails; if so, it was one of those that were to.
    fn fails_to_read(&mut self, keyspace: Keyspace, key: Option<&[u8]>) -> bool {
        if keyspace != Keyspace::Rows {
            return false;
        }
        let fails = self.reads_to_fail > 0;
        self.reads_to_fail = self.reads_to_fail.saturating_sub(1);
        fails || key.is_some_and(|key| self.unreadable.contains(key))
    }

    /// Puts or deletes one key and returns what it replaced.
    #[expect(
        clippy::indexing_slicing,
        reason = "the array has a slot for each keyspace"
    )]
    fn set(&mut self, keyspace: Keyspace, key: Bytes, value: Option<Bytes>) -> Option<Bytes> {
        // Cost: copies the whole map if a snapshot of it is held.
        let map = Arc::make_mut(&mut self.maps[keyspace.index()]);
        match value {
            Some(value) => map.insert(key, value),
            None => map.remove(&key),
        }
    }

    fn apply(&mut self, batch: &Batch) {
        let mut undo = Vec::with_capacity(batch.len());
        for (keyspace, key, value) in batch.iter() {
            let before = self.set(keyspace, key.clone(), value.cloned());
            undo.push((keyspace, key.clone(), before));
        }
        self.unsynced.push(undo);
        self.sequence += 1;
    }

    /// Undoes the newest batch that is still remembered.
    fn undo_newest(&mut self) {
        if let Some(undo) = self.unsynced.pop().or_else(|| self.forgettable.pop_back()) {
            for (keyspace, key, before) in undo {
                self.set(keyspace, key, before);
            }
            self.sequence -= 1;
        }
    }

    /// What was not synced now counts as on disk.
    fn settle(&mut self) {
        self.forgettable.extend(self.unsynced.drain(..));
        let excess = self.forgettable.len().saturating_sub(FORGETTABLE_MAX);
        self.forgettable.drain(..excess);
    }
}

impl Kv for MemoryKv {
    #[expect(
        clippy::indexing_slicing,
        reason = "the array has a slot for each keyspace"
    )]
    fn get(&self, keyspace: Keyspace, key: &[u8]) -> Result<Option<Bytes>, KvError> {
        let mut state = self.lock();
        match state.fails_to_read(keyspace, Some(key)) {
            true => Err(did_not_answer()),
            false => Ok(state.maps[keyspace.index()].get(key).cloned()),
        }
    }

    fn range<'a>(
        &'a self,
        keyspace: Keyspace,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
    ) -> Box<dyn Iterator<Item = Entry> + 'a> {
        if self.lock().fails_to_read(keyspace, None) {
            return Box::new(std::iter::once(Err(did_not_answer())));
        }
        Box::new(Range::new(&self.freeze(), keyspace, from, to))
    }

    fn commit(&self, batch: &Batch) -> Result<(), KvError> {
        batch.check()?;
        let mut state = self.lock();
        match state.health {
            Health::Sound | Health::NextSyncFails => {}
            Health::Poisoned => return Err(KvError::Poisoned),
            Health::Closed => return Err(KvError::Closed),
        }
        if state.space == DiskSpace::NearlyFull && !batch.only_deletes() {
            return Err(KvError::Full);
        }
        if !batch.is_empty() {
            state.apply(batch);
        }
        Ok(())
    }

    fn sync(&self) -> Result<(), KvError> {
        let mut state = self.lock();
        match state.health {
            Health::Sound => {
                state.settle();
                Ok(())
            }
            Health::NextSyncFails => {
                state.health = Health::Poisoned;
                Err(KvError::Io {
                    action: "sync the journal",
                    kind: std::io::ErrorKind::Other,
                    detail: "the simulated disk failed".to_owned(),
                })
            }
            Health::Poisoned => Err(KvError::Poisoned),
            Health::Closed => Err(KvError::Closed),
        }
    }

    fn synced(&self) -> u64 {
        let state = self.lock();
        state.sequence - state.unsynced.len() as u64
    }

    fn snapshot(&self) -> Box<dyn KvSnapshot> {
        Box::new(self.freeze())
    }

    fn compact(&self) -> Result<(), KvError> {
        match self.lock().health {
            Health::Sound | Health::NextSyncFails => Ok(()),
            Health::Poisoned => Err(KvError::Poisoned),
            Health::Closed => Err(KvError::Closed),
        }
    }

    fn disk_bytes(&self) -> u64 {
        let snapshot = self.freeze();
        let entries = snapshot.maps.iter().flat_map(|map| map.iter());
        entries
            .map(|(key, value)| (key.len() + value.len()) as u64)
            .sum()
    }
}

impl KvSnapshot for MemorySnapshot {
    #[expect(
        clippy::indexing_slicing,
        reason = "the array has a slot for each keyspace"
    )]
    fn get(&self, keyspace: Keyspace, key: &[u8]) -> Result<Option<Bytes>, KvError> {
        match keyspace == Keyspace::Rows && self.unreadable.contains(key) {
            true => Err(did_not_answer()),
            false => Ok(self.maps[keyspace.index()].get(key).cloned()),
        }
    }

    fn range<'a>(
        &'a self,
        keyspace: Keyspace,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
    ) -> Box<dyn Iterator<Item = Entry> + 'a> {
        Box::new(Range::new(self, keyspace, from, to))
    }
}

/// The most entries that a [`Range`] looks up at once.
const AHEAD_MAX: usize = 64;

/// Walks a shared map by asking for the next few keys each time: it owns its share of the map, so it
/// cannot hold a borrow into it. Most want one entry, some want all; so it asks for twice as many each time.
struct Range {
    map: Arc<Map>,
    /// Keys that can't be read.
    unreadable: Arc<BTreeSet<Bytes>>,
    from: Bound<Bytes>,
    to: Bound<Bytes>,
    found: VecDeque<(Bytes, Bytes)>,
    /// How many are looked up next.
    ahead: usize,
}

impl Range {
    #[expect(
        clippy::indexing_slicing,
        reason = "the array has a slot for each keyspace"
    )]
    fn new(
        snapshot: &MemorySnapshot,
        keyspace: Keyspace,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
    ) -> Self {
        let map = if encloses_nothing(from, to) {
            Arc::default()
        } else {
            Arc::clone(&snapshot.maps[keyspace.index()])
        };
        let unreadable = match keyspace {
            Keyspace::Rows => Arc::clone(&snapshot.unreadable),
            _ => Arc::default(),
        };
        Self {
            map,
            unreadable,
            from: from.map(Bytes::copy_from_slice),
            to: to.map(Bytes::copy_from_slice),
            found: VecDeque::new(),
            ahead: 1,
        }
    }

    fn look_up(&mut self) {
        let from = self.from.as_ref().map(|key| &key[..]);
        let to = self.to.as_ref().map(|key| &key[..]);
        if encloses_nothing(from, to) {
            return;
        }
        let next = self.map.range::<[u8], _>((from, to)).take(self.ahead);
        self.found
            .extend(next.map(|(key, value)| (key.clone(), value.clone())));
        if let Some((last, _)) = self.found.back() {
            self.from = Bound::Excluded(last.clone());
        }
        self.ahead = (self.ahead * 2).min(AHEAD_MAX);
    }
}

impl Iterator for Range {
    type Item = Entry;

    fn next(&mut self) -> Option<Entry> {
        if self.found.is_empty() {
            self.look_up();
        }
        let (key, value) = self.found.pop_front()?;
        match self.unreadable.contains(&key) {
            true => Some(Err(did_not_answer())),
            false => Some(Ok((key, value))),
        }
    }
}

fn did_not_answer() -> KvError {
    KvError::Io {
        action: "read a row",
        kind: std::io::ErrorKind::Other,
        detail: "the simulated disk did not answer".to_owned(),
    }
}
