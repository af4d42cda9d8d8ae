//! What the cluster knows of itself: one map, merged alike in any order, the same on every node.
//!
//! | entry | how two of them merge | file |
//! |---|---|---|
//! | a creation of a bucket | `dropped` is for ever; the earliest living creation of a name stands | `buckets` |
//! | a layout that was applied | they add up; the highest id is the target | `layouts` |
//! | that a layout is complete | the highest counts | `layouts` |
//! | a staged change | `cancelled` is for ever; carried out when the target says so | `staging` |
//! | how far a node is | its later word | here |
//!
//! There is no leader: whatever two sides of a split do, each keeps, and both end with the union of it
//! and with one answer to what follows.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use dunlin_protocol::Bucket;
use dunlin_protocol::cluster::{
    AppliedLayout, ChangeId, ClusterEntry, LayoutId, NodeProgress, StagedChange,
};
use dunlin_protocol::codec;
use dunlin_ring::{Layout, NodeId};
use dunlin_storage::{Batch, Keyspace, Kv, KvError};

use buckets::Buckets;
use layouts::Layouts;
use staging::{StagingError, next_layout};

pub(crate) mod buckets;
mod layouts;
mod staging;

/// Before the key of each entry in the `meta` keyspace.
const KEY: &[u8] = b"cluster/";
/// Marks the first byte of a stored entry.
const VERSION: u8 = 1;

/// All that a node knows of its cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Knowledge {
    buckets: Buckets,
    layouts: Layouts,
    changes: BTreeMap<ChangeId, StagedChange>,
    progress: BTreeMap<NodeId, NodeProgress>,
}

impl Knowledge {
    /// A cluster that was just born with this layout.
    pub fn new(founding: AppliedLayout) -> Self {
        Self {
            buckets: Buckets::default(),
            layouts: Layouts::new(founding),
            changes: BTreeMap::new(),
            progress: BTreeMap::new(),
        }
    }

    /// What the disk knows; `None` if it knows of no layout that is complete.
    ///
    /// # Errors
    /// [`KvError`] if it can't be read. An entry that makes no sense is left out: peers have it.
    pub fn load(kv: &dyn Kv) -> Result<Option<Self>, KvError> {
        let (from, to) = (std::ops::Bound::Included(KEY), std::ops::Bound::Unbounded);
        let mut entries = Vec::new();
        for entry in kv.range(Keyspace::Meta, from, to) {
            let (key, value) = entry?;
            if !key.starts_with(KEY) {
                break;
            }
            if let Some((&VERSION, body)) = value.split_first()
                && let Ok(entry) =
                    codec::decode::<ClusterEntry>(body, codec::CodecLimits::default())
            {
                entries.push(entry);
            }
        }
        Ok(Self::from_entries(entries))
    }

    /// What these entries say; `None` if none of them is a layout that is complete.
    pub fn from_entries(entries: Vec<ClusterEntry>) -> Option<Self> {
        let starts = entries.iter().filter_map(|entry| match entry {
            ClusterEntry::Completed(id) | ClusterEntry::Retired(id) => Some(*id),
            _ => None,
        });
        let starts: Vec<LayoutId> = starts.collect();
        let retired = entries.iter().filter_map(|entry| match entry {
            ClusterEntry::Retired(id) => Some(*id),
            _ => None,
        });
        let retired = retired.max();
        let first = entries.iter().filter_map(|entry| match entry {
            ClusterEntry::Layout(layout)
                if layout.based_on.is_none() || starts.contains(&layout.id) =>
            {
                Some(layout)
            }
            _ => None,
        });
        // The oldest that is not retired; one that was replaced since may still be on the disk.
        let first = first.filter(|layout| Some(layout.id) >= retired);
        let first = first.min_by_key(|layout| layout.id)?;
        let mut knowledge = Self::new((**first).clone());
        for entry in entries {
            knowledge.merge(entry);
        }
        Some(knowledge)
    }

    /// Takes over an entry. Returns what to keep and to pass on, if it is news.
    pub fn merge(&mut self, entry: ClusterEntry) -> Option<ClusterEntry> {
        match entry {
            ClusterEntry::Bucket(bucket) => self.buckets.merge(bucket).map(ClusterEntry::Bucket),
            ClusterEntry::Layout(layout) => self
                .layouts
                .merge((*layout).clone())
                .then_some(ClusterEntry::Layout(layout)),
            ClusterEntry::Completed(id) => self
                .layouts
                .merge_complete(id)
                .then_some(ClusterEntry::Completed(id)),
            ClusterEntry::Retired(id) => self
                .layouts
                .merge_retired(id)
                .then_some(ClusterEntry::Retired(id)),
            ClusterEntry::Change(change) => match self.changes.get_mut(&change.id) {
                None => {
                    self.changes.insert(change.id, change.clone());
                    Some(ClusterEntry::Change(change))
                }
                Some(known) if change.cancelled && !known.cancelled => {
                    known.cancelled = true;
                    Some(ClusterEntry::Change(known.clone()))
                }
                Some(_) => None,
            },
            ClusterEntry::Progress(progress) => {
                let known = self.progress.get(&progress.node);
                if known.is_some_and(|known| known.said >= progress.said) {
                    return None;
                }
                self.progress.insert(progress.node, progress.clone());
                Some(ClusterEntry::Progress(progress))
            }
        }
    }

    /// Everything.
    pub fn entries(&self) -> Vec<ClusterEntry> {
        let mut entries = self.lasting_entries();
        entries.extend(self.progress_entries());
        entries
    }

    /// How far each node is.
    pub(crate) fn progress_entries(&self) -> Vec<ClusterEntry> {
        let progress = self.progress.values().cloned();
        progress.map(ClusterEntry::Progress).collect()
    }

    /// Everything but how far each node is, which changes often while partitions move.
    pub(crate) fn lasting_entries(&self) -> Vec<ClusterEntry> {
        let layouts = self.layouts.all();
        let layouts = layouts.map(|l| ClusterEntry::Layout(Box::new((**l).clone())));
        let changes = self.changes.values().cloned().map(ClusterEntry::Change);
        let buckets = self.buckets.all().cloned().map(ClusterEntry::Bucket);
        layouts
            .chain([
                ClusterEntry::Completed(self.layouts.complete().id),
                ClusterEntry::Retired(self.layouts.retired()),
            ])
            .chain(changes)
            .chain(buckets)
            .collect()
    }

    /// The hash by which two nodes see that they know the same, but for how far each node is.
    pub fn digest(&self) -> u64 {
        let mut hasher = xxhash_rust::xxh3::Xxh3::new();
        hasher.update(&self.buckets.digest().to_be_bytes());
        self.layouts.hash(&mut hasher);
        for change in self.changes.values() {
            hasher.update(&change.id.0.to_be_bytes());
            hasher.update(&[u8::from(change.cancelled)]);
        }
        hasher.digest()
    }

    /// The hash by which they see that they know the same of that.
    pub fn progress_digest(&self) -> u64 {
        let mut hasher = xxhash_rust::xxh3::Xxh3::new();
        for progress in self.progress.values() {
            hasher.update(&progress.node.0.to_be_bytes());
            hasher.update(&progress.said.0.to_be_bytes());
        }
        hasher.digest()
    }

    /// The buckets.
    pub fn buckets(&self) -> &Buckets {
        &self.buckets
    }

    /// The layouts.
    pub fn layouts(&self) -> &Layouts {
        &self.layouts
    }

    /// How far a node is, as last heard.
    pub fn progress(&self, node: NodeId) -> Option<&NodeProgress> {
        self.progress.get(&node)
    }

    /// Whether every owner under the newest layout holds what it owns there, and that was not known.
    pub(crate) fn newly_complete(&self) -> Option<LayoutId> {
        let target = self.layouts.target();
        let holds = |node: NodeId| {
            let progress = self.progress.get(&node);
            progress.is_some_and(|progress| progress.synced == Some(target.id))
        };
        let owners = dunlin_ring::MemberState::Active;
        let mut members = target.layout.members().iter();
        let done = members.all(|member| member.state != owners || holds(member.id));
        (done && target.id != self.layouts.complete().id).then_some(target.id)
    }

    /// The staged changes that count, in the order in which they were staged.
    pub(crate) fn staged(&self) -> Vec<&StagedChange> {
        let open = |change: &&StagedChange| !change.cancelled && !self.layouts.settles(change.id);
        let mut staged: Vec<&StagedChange> = self.changes.values().filter(open).collect();
        staged.sort_by_key(|change| (change.staged, change.id));
        staged
    }

    /// The layout that these changes make of the newest one.
    pub(crate) fn next_layout<'a>(
        &self,
        staged: impl Iterator<Item = &'a StagedChange>,
    ) -> Result<Layout, StagingError> {
        next_layout(&self.layouts.target().layout, staged)
    }

    /// The active layouts, the newest first.
    pub fn active(&self) -> Vec<Arc<AppliedLayout>> {
        self.layouts.active()
    }
}

/// Adds an entry to what goes to the disk.
pub(crate) fn stage(batch: &mut Batch, entry: &ClusterEntry) {
    // Entries are closed records of names, numbers and unit variants: they always have an encoding.
    if let Ok(body) = codec::encode(entry) {
        let mut value = vec![VERSION];
        value.extend_from_slice(&body);
        batch.put(Keyspace::Meta, key(entry), Bytes::from(value));
    }
}

/// Where an entry is stored: its later versions take its place.
fn key(entry: &ClusterEntry) -> Bytes {
    let mut key = KEY.to_vec();
    match entry {
        ClusterEntry::Bucket(bucket) => {
            key.push(b'b');
            key.extend_from_slice(&bucket.id.0.to_be_bytes());
        }
        ClusterEntry::Layout(layout) => {
            key.push(b'l');
            key.extend_from_slice(&layout.id.number.0.to_be_bytes());
            key.extend_from_slice(&layout.id.applied.0.to_be_bytes());
            key.extend_from_slice(&layout.id.digest.to_be_bytes());
        }
        ClusterEntry::Completed(_) => key.push(b'd'),
        ClusterEntry::Retired(_) => key.push(b'r'),
        ClusterEntry::Change(change) => {
            key.push(b'c');
            key.extend_from_slice(&change.id.0.to_be_bytes());
        }
        ClusterEntry::Progress(progress) => {
            key.push(b'p');
            key.extend_from_slice(&progress.node.0.to_be_bytes());
        }
    }
    Bytes::from(key)
}

/// The creations of buckets among entries.
pub(crate) fn buckets_of(entries: &[ClusterEntry]) -> impl Iterator<Item = &Bucket> {
    entries.iter().filter_map(|entry| match entry {
        ClusterEntry::Bucket(bucket) => Some(bucket),
        _ => None,
    })
}
