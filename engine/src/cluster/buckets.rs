//! The buckets of the cluster: a map that only grows, merged by union, the same on every node.
//!
//! An entry is one creation of a bucket, under an id drawn at random; all of it is fixed but `dropped`,
//! which is set once and for ever. So any two nodes' maps have one merge, in any order. Of several
//! living creations of one name the earliest *stands* (by stamp, then id), on every node alike; requests
//! to the others are refused. Dropping a name drops every creation of it that is known.

use std::collections::BTreeMap;

use dunlin_crdt::{Hlc, Kind};
use dunlin_protocol::{Bucket, BucketDefaults, BucketName, Failure};
use dunlin_ring::BucketId;

/// Every creation of every bucket.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Buckets(BTreeMap<BucketId, Bucket>);

impl Buckets {
    /// Merges what another node or the disk knows of one creation. Returns what to keep of it now, if
    /// that is news.
    pub fn merge(&mut self, bucket: Bucket) -> Option<Bucket> {
        match self.0.get_mut(&bucket.id) {
            None => {
                self.0.insert(bucket.id, bucket.clone());
                Some(bucket)
            }
            Some(known) if bucket.dropped && !known.dropped => {
                known.dropped = true;
                Some(known.clone())
            }
            Some(_) => None,
        }
    }

    /// The creation that stands under a name.
    pub fn standing(&self, name: &BucketName) -> Option<&Bucket> {
        let living = self
            .0
            .values()
            .filter(|bucket| !bucket.dropped && bucket.name == *name);
        living.min_by_key(|bucket| (bucket.created, bucket.id))
    }

    /// Every creation, dropped ones and those that do not stand too.
    pub fn all(&self) -> impl Iterator<Item = &Bucket> {
        self.0.values()
    }

    /// The creations that stand, in order of their names.
    pub fn listed(&self) -> Vec<Bucket> {
        let mut names: BTreeMap<&BucketName, &Bucket> = BTreeMap::new();
        for bucket in self.0.values().filter(|bucket| !bucket.dropped) {
            let first = names.entry(&bucket.name).or_insert(bucket);
            if (bucket.created, bucket.id) < (first.created, first.id) {
                *first = bucket;
            }
        }
        names.into_values().cloned().collect()
    }

    /// What shards decide by: the creations that stand, and those whose rows are to be removed.
    pub fn for_shards(&self) -> BTreeMap<BucketId, Bucket> {
        let dropped = self.0.values().filter(|bucket| bucket.dropped).cloned();
        self.listed()
            .into_iter()
            .chain(dropped)
            .map(|bucket| (bucket.id, bucket))
            .collect()
    }

    /// The creation that a request for this name ends in: the one that stands, or a new one.
    ///
    /// # Errors
    /// [`Failure::BucketExists`] if one stands that is not the same.
    pub fn creation(
        &self,
        name: BucketName,
        kind: Kind,
        defaults: BucketDefaults,
        id: BucketId,
        created: Hlc,
    ) -> Result<Bucket, Failure> {
        match self.standing(&name) {
            None => Ok(Bucket {
                id,
                name,
                kind,
                defaults,
                created,
                dropped: false,
            }),
            Some(there) if there.kind == kind && there.defaults == defaults => Ok(there.clone()),
            Some(there) => Err(Failure::BucketExists {
                name,
                kind: there.kind,
            }),
        }
    }

    /// The hash by which two nodes see that they know the same.
    pub fn digest(&self) -> u64 {
        let mut hasher = xxhash_rust::xxh3::Xxh3::new();
        for bucket in self.0.values() {
            hasher.update(&bucket.id.0.to_be_bytes());
            hasher.update(&[u8::from(bucket.dropped)]);
        }
        hasher.digest()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket(id: u64, name: &str, created: u64, dropped: bool) -> Bucket {
        Bucket {
            id: BucketId(id),
            name: name.parse().unwrap(),
            kind: Kind::Set,
            defaults: BucketDefaults::default(),
            created: Hlc(created),
            dropped,
        }
    }

    #[test]
    fn any_order_of_merges_ends_in_the_same_map() {
        let entries = [
            bucket(1, "a", 5, false),
            bucket(2, "a", 3, false),
            bucket(2, "a", 3, true),
            bucket(3, "b", 1, false),
        ];
        let mut first = Buckets::default();
        entries
            .iter()
            .cloned()
            .for_each(|entry| drop(first.merge(entry)));
        let mut second = Buckets::default();
        entries
            .iter()
            .rev()
            .cloned()
            .for_each(|entry| drop(second.merge(entry)));
        second.merge(entries[0].clone());
        assert_eq!(first, second);
        assert_eq!(first.digest(), second.digest());
    }

    #[test]
    fn earliest_living_creation_stands() {
        let mut buckets = Buckets::default();
        buckets.merge(bucket(1, "a", 5, false));
        buckets.merge(bucket(2, "a", 3, false));
        let name = "a".parse().unwrap();
        assert_eq!(buckets.standing(&name).unwrap().id, BucketId(2));
        assert!(buckets.merge(bucket(2, "a", 3, true)).is_some());
        assert_eq!(buckets.standing(&name).unwrap().id, BucketId(1));
        assert_eq!(buckets.listed().len(), 1);
        assert_eq!(buckets.for_shards().len(), 2);
    }

    #[test]
    fn dropped_is_for_ever() {
        let mut buckets = Buckets::default();
        buckets.merge(bucket(1, "a", 5, true));
        assert_eq!(buckets.merge(bucket(1, "a", 5, false)), None);
        assert_eq!(buckets.standing(&"a".parse().unwrap()), None);
    }
}
