//! Scrub: everything that is held is read again, slowly, and compared between owners.
//!
//! ```text
//!   slice by slice:  checksums of all rows ── damaged ─> Fetch { row } ─> a co-owner's copy takes its place
//!   a partition is through, its clock the same as before:
//!                    Scrubbed { clock, content } ─> co-owners with that clock compare theirs
//!                      equal: proven in sync, now        different, and two others agree: refilled
//! ```
//!
//! Clocks find what a node missed; only this finds what its disk has lost or changed. A row that is
//! damaged is never answered as not found: reads of its partition go to other owners until it is healed.
//!
//! Where a stretch of rows can't be read at all, nobody knows which they are. Such a partition is passed over,
//! counts as unreadable, and is tried again. If every partition of the node has other owners, and all of these
//! can be reached, the driver is asked to look at the files ([`Note::Unreadable`]).

use std::collections::{BTreeMap, BTreeSet};

use dunlin_crdt::{Clock, Millis};
use dunlin_protocol::RowKey;
use dunlin_protocol::limits::PAGE_BYTES_MAX;
use dunlin_protocol::peer::{KeyedRow, PeerBody, RepairMessage};
use dunlin_protocol::status::StorageState;
use dunlin_ring::{NodeId, PartitionId};
use dunlin_storage::{Healed, PartitionDigest, StoreError};

use crate::io::{Effect, Note, Now, Time, TimerId};
use crate::shard::Shard;

/// Damaged rows that are asked for in one round.
const FETCHES_MAX: usize = 64;
/// Copies of a damaged row that are tried before its whole partition is refilled.
const TRIES_MAX: u32 = 8;
/// How long an unreadable partition is left before it is tried again, and the driver asked again.
const UNREADABLE_MS: u64 = 10_000;

/// What one owner holds of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Content {
    /// The hash of what it follows from, see `state_hash`.
    clock: u64,
    content: u64,
}

/// A partition that is being read.
#[derive(Debug)]
struct Pass {
    partition: PartitionId,
    after: Option<RowKey>,
    digest: PartitionDigest,
    /// Rows that know more than the clock: what they hold does not follow from it.
    rows_ahead: u64,
    clock: u64,
}

/// What was done for a damaged row.
#[derive(Clone, Copy, Debug, Default)]
struct Tries {
    /// How often somebody was asked for a copy.
    asked: u32,
    /// Copies that came and would not do. One that is late says nothing.
    too_old: u32,
}

/// What was read, and what was found.
#[derive(Debug, Default)]
pub(crate) struct Scrub {
    pass: Option<Pass>,
    /// When each partition was last read to its end.
    read_at: BTreeMap<PartitionId, Time>,
    /// Partitions that a co-owner with the same clock has read: they come first.
    asked_for: BTreeSet<PartitionId>,
    mine: BTreeMap<PartitionId, Content>,
    theirs: BTreeMap<PartitionId, BTreeMap<NodeId, Content>>,
    proven: BTreeMap<PartitionId, Millis>,
    damaged: BTreeMap<(PartitionId, RowKey), Tries>,
    /// Partitions of which some rows can't be read, and when that was last tried.
    unreadable: BTreeMap<PartitionId, Time>,
    /// When the driver was last asked to look at the files.
    asked_at: Option<Time>,
}

impl Scrub {
    /// Whether a row of the partition is known to be damaged.
    pub(crate) fn has_damage(&self, partition: PartitionId) -> bool {
        self.damaged.keys().any(|(of, _)| *of == partition)
    }

    /// How many rows are known to be damaged.
    pub(crate) fn damaged(&self) -> u64 {
        self.damaged.len() as u64
    }

    /// How many partitions can't be read to their end.
    pub(crate) fn unreadable(&self) -> u64 {
        self.unreadable.len() as u64
    }

    /// When the contents of all owners were last found equal.
    pub(crate) fn proven(&self, partition: PartitionId) -> Option<Millis> {
        self.proven.get(&partition).copied()
    }

    /// What is held went back to what the disk holds: what was read before proves nothing.
    pub(crate) fn forget(&mut self) {
        self.pass = None;
        self.mine.clear();
    }

    pub(crate) fn forget_partition(&mut self, partition: PartitionId) {
        self.damaged.retain(|(of, _), _| *of != partition);
        self.unreadable.remove(&partition);
        self.mine.remove(&partition);
        self.theirs.remove(&partition);
        self.proven.remove(&partition);
        self.pass.take_if(|pass| pass.partition == partition);
    }
}

impl Shard {
    pub(crate) fn scrub_round(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let owned: Vec<PartitionId> = self.replica.owned().collect();
        let scrub = &mut self.scrub;
        scrub.damaged.retain(|(of, _), _| owned.contains(of));
        scrub.proven.retain(|of, _| owned.contains(of));
        scrub.asked_for.retain(|of| owned.contains(of));
        scrub.unreadable.retain(|of, _| owned.contains(of));
        self.fetch_damaged(effects);
        self.ask_about_files(now, effects);
        if self.requests() == 0 {
            // How slow reads were fades where nobody reads: or the last ones of a bad hour would keep
            // an idle node from ever scrubbing again.
            self.read_latency_us -= self.read_latency_us.div_ceil(16);
        }
        let busy = self.read_latency_us > self.options.hedge_after_max_ms * 1000;
        if self.storage == StorageState::Ready && !busy {
            self.scrub_slice(&owned, now, effects);
        }
        let at = now.time.plus_ms(self.options.scrub_every_ms);
        effects.push(Effect::SetTimer {
            id: TimerId::Scrub,
            at,
        });
    }

    fn scrub_slice(&mut self, owned: &[PartitionId], now: Now, effects: &mut Vec<Effect>) {
        let Some(mut pass) = self
            .scrub
            .pass
            .take()
            .or_else(|| self.next_pass(owned, now))
        else {
            return;
        };
        let partition = pass.partition;
        let slice = self.replica.scrub(
            partition,
            pass.after.as_ref(),
            self.options.scrub_rows,
            |bucket| self.view.is_dropped(bucket),
        );
        let slice = match slice {
            Ok(slice) => slice,
            Err(error) => {
                self.scrub.read_at.insert(partition, now.time);
                self.scrub.asked_for.remove(&partition);
                return self.note_unreadable(partition, &error, now, effects);
            }
        };
        self.counters.add_many("scrubbed_rows", slice.rows_read);
        for key in &slice.damaged {
            self.note_damage(partition, key.clone(), effects);
        }
        if slice.damaged_keys > 0 {
            let error = StoreError::CorruptKey { partition };
            return self.note_store_error(&error, effects);
        }
        pass.digest.add(slice.digest);
        pass.rows_ahead += slice.rows_ahead;
        pass.after = slice.next;
        if pass.after.is_some() {
            self.scrub.pass = Some(pass);
            return;
        }
        self.scrub.read_at.insert(partition, now.time);
        self.scrub.asked_for.remove(&partition);
        self.scrub.unreadable.remove(&partition);
        let unchanged = self.state_hash(partition) == pass.clock;
        let certain = !self.scrub.has_damage(partition)
            && !self.replica.has_unclaimed(partition)
            && pass.rows_ahead == 0;
        if unchanged && certain && self.is_owner_here(partition) {
            let (clock, content) = (pass.clock, pass.digest.hash);
            self.scrub
                .mine
                .insert(partition, Content { clock, content });
            for to in self.view.co_owners(partition) {
                let message = RepairMessage::Scrubbed { clock, content };
                let body = PeerBody::Repair { partition, message };
                effects.push(Effect::Send { to, body });
            }
            self.compare_contents(partition, now, effects);
        }
    }

    /// A partition could not be read to its end.
    pub(crate) fn note_unreadable(
        &mut self,
        partition: PartitionId,
        error: &StoreError,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        let is_known = self.scrub.unreadable.contains_key(&partition);
        if matches!(error, StoreError::Kv(_)) {
            self.scrub.unreadable.insert(partition, now.time);
        }
        if !is_known {
            self.note_store_error(error, effects);
        }
    }

    /// Has the files looked at, if something can't be read and others could refill this node meanwhile.
    fn ask_about_files(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let is_due = |at: Time| now.time.ms_since(at) >= UNREADABLE_MS;
        if !self.scrub.unreadable.is_empty()
            && self.scrub.asked_at.is_none_or(is_due)
            && self.view.can_be_refilled()
        {
            self.scrub.asked_at = Some(now.time);
            effects.push(Effect::Note(Note::Unreadable));
        }
    }

    /// The partition to read next: one that a co-owner waits for, one that could not be read, or the one
    /// read longest ago.
    fn next_pass(&mut self, owned: &[PartitionId], now: Now) -> Option<Pass> {
        let read_at = |p: &PartitionId| self.scrub.read_at.get(p).copied();
        let mut unreadable = self.scrub.unreadable.iter();
        let again = unreadable.find(|(_, at)| now.time.ms_since(**at) >= UNREADABLE_MS);
        let again = again.map(|(partition, _)| partition);
        let is_due = |p: &&PartitionId| {
            read_at(p).is_none_or(|at| now.time.ms_since(at) >= self.options.scrub_interval_ms)
        };
        let oldest = owned.iter().filter(is_due).min_by_key(|p| read_at(p));
        let partition = *self.scrub.asked_for.first().or(again).or(oldest)?;
        Some(Pass {
            partition,
            after: None,
            digest: PartitionDigest::default(),
            rows_ahead: 0,
            clock: self.state_hash(partition),
        })
    }

    /// What the content of a partition follows from: its clock, and which buckets are dropped.
    fn state_hash(&mut self, partition: PartitionId) -> u64 {
        let clock = self.repair.hash(partition, self.replica.clock(partition));
        let mut hasher = xxhash_rust::xxh3::Xxh3::with_seed(clock);
        let buckets = self.view.buckets.values();
        for bucket in buckets.filter(|bucket| bucket.dropped) {
            hasher.update(&bucket.id.0.to_be_bytes());
        }
        hasher.digest()
    }

    /// A co-owner has read its copy.
    pub(crate) fn scrubbed(
        &mut self,
        from: NodeId,
        partition: PartitionId,
        clock: u64,
        content: u64,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        if !self.is_owner_here(partition) {
            return;
        }
        let theirs = self.scrub.theirs.entry(partition).or_default();
        theirs.insert(from, Content { clock, content });
        let has_mine = self.scrub.mine.get(&partition).map(|mine| mine.clock) == Some(clock);
        if has_mine {
            self.compare_contents(partition, now, effects);
        } else if self.state_hash(partition) == clock {
            self.scrub.asked_for.insert(partition);
        }
    }

    fn compare_contents(&mut self, partition: PartitionId, now: Now, effects: &mut Vec<Effect>) {
        let Some(mine) = self.scrub.mine.get(&partition).copied() else {
            return;
        };
        let co_owners = self.view.co_owners(partition);
        let theirs = self.scrub.theirs.entry(partition).or_default();
        theirs.retain(|node, content| co_owners.contains(node) && content.clock == mine.clock);
        let others: Vec<u64> = theirs.values().map(|theirs| theirs.content).collect();
        if others.iter().all(|content| *content == mine.content) {
            if others.len() == co_owners.len() {
                self.scrub.proven.insert(partition, now.wall);
            }
            return;
        }
        self.counters.add("contents_differ");
        effects.push(Effect::Note(Note::ContentsDiffer { partition }));
        let agree = |content: &u64| others.iter().filter(|other| *other == content).count() > 1;
        if others
            .iter()
            .any(|content| *content != mine.content && agree(content))
        {
            // Two others hold the same at the same clock: it is this copy that is wrong.
            self.distrust(partition, effects);
        }
    }

    /// How many partitions of this shard were proven in sync.
    pub(crate) fn proven(&self) -> u64 {
        let owned = self.replica.owned();
        owned.filter(|p| self.scrub.proven(*p).is_some()).count() as u64
    }

    /// Believes nothing of what a partition's clock says; it is refilled from its co-owners.
    pub(crate) fn distrust(&mut self, partition: PartitionId, effects: &mut Vec<Effect>) {
        if self.replica.is_whole(partition) && self.replica.distrust(partition).is_ok() {
            self.counters.add("partitions_distrusted");
            self.repair.forget_partition(partition);
            self.scrub.forget_partition(partition);
            self.tell_follows(effects);
        }
    }

    /// A row was found damaged: it is fetched from a co-owner.
    pub(crate) fn note_damage(
        &mut self,
        partition: PartitionId,
        key: RowKey,
        effects: &mut Vec<Effect>,
    ) {
        let of = (partition, key);
        if self.replica.is_whole(partition) && !self.scrub.damaged.contains_key(&of) {
            self.counters.add("rows_damaged");
            let key = of.1.clone();
            effects.push(Effect::Note(Note::RowDamaged { partition, key }));
            self.scrub.damaged.insert(of, Tries::default());
            self.fetch_damaged(effects);
        }
    }

    fn fetch_damaged(&mut self, effects: &mut Vec<Effect>) {
        let mut hopeless = BTreeSet::new();
        let mut fetches: BTreeMap<(NodeId, PartitionId), Vec<RowKey>> = BTreeMap::new();
        for ((partition, key), tries) in self.scrub.damaged.iter_mut().take(FETCHES_MAX) {
            let owners = self.view.readers(*partition).iter().copied();
            let from = self.view.nearest(owners);
            let Some(from) = from.get(tries.asked as usize % from.len().max(1)) else {
                continue;
            };
            tries.asked = tries.asked.wrapping_add(1);
            if tries.too_old >= TRIES_MAX {
                hopeless.insert(*partition);
            }
            let keys = fetches.entry((*from, *partition)).or_default();
            keys.push(key.clone());
        }
        for ((to, partition), keys) in fetches {
            let message = RepairMessage::Fetch { keys };
            let body = PeerBody::Repair { partition, message };
            effects.push(Effect::Send { to, body });
        }
        for partition in hopeless {
            self.distrust(partition, effects);
        }
    }

    /// A co-owner asks for copies of rows.
    pub(crate) fn fetch(
        &mut self,
        from: NodeId,
        partition: PartitionId,
        keys: &[RowKey],
        effects: &mut Vec<Effect>,
    ) {
        if !self.is_owner_here(partition) || !self.replica.is_whole(partition) {
            return;
        }
        let mut rows = Vec::new();
        let mut bytes = 0;
        for key in keys.iter().take(FETCHES_MAX) {
            match self.replica.row(key) {
                Ok(row) if bytes < PAGE_BYTES_MAX => {
                    bytes += row.encode().len();
                    let key = key.clone();
                    rows.push(KeyedRow { key, row });
                }
                Ok(_) => break,
                Err(error) => self.note_store_error(&error, effects),
            }
        }
        let clock = self.replica.clock(partition).clone();
        let message = RepairMessage::Fetched { rows, clock };
        let body = PeerBody::Repair { partition, message };
        effects.push(Effect::Send { to: from, body });
    }

    /// Copies of rows that were damaged here.
    pub(crate) fn fetched(
        &mut self,
        partition: PartitionId,
        rows: &[KeyedRow],
        clock: &Clock,
    ) -> Result<(), StoreError> {
        if self.storage != StorageState::Ready {
            return Ok(());
        }
        for KeyedRow { key, row } in rows {
            let of = (partition, key.clone());
            let Some(tries) = self.scrub.damaged.get_mut(&of) else {
                continue;
            };
            match self.replica.heal_row(partition, key, row, clock)? {
                Healed::Replaced => {
                    self.counters.add("rows_healed");
                    self.scrub.damaged.remove(&of);
                }
                Healed::Sound => {
                    self.scrub.damaged.remove(&of);
                }
                // The next copy may know more.
                Healed::TooOld => tries.too_old += 1,
            }
        }
        Ok(())
    }
}
