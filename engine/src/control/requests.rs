//! What clients ask of the cluster as a whole: its layout, its buckets, changes of its shape.

use dunlin_protocol::cluster::ClusterEntry;
use dunlin_protocol::request::Request;
use dunlin_protocol::response::Answer;
use dunlin_protocol::status::StorageState;
use dunlin_protocol::{Bucket, BucketName, Failure};
use dunlin_ring::BucketId;

use super::Control;
use super::telling::Tell;
use crate::io::{Effect, Now, ReplyTo};

impl Control {
    pub(super) fn request(
        &mut self,
        reply_to: ReplyTo,
        request: Request,
        now: Now,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Failure> {
        let answer = match request {
            Request::Layout => {
                Answer::Layout(Box::new(self.knowledge.layouts().target().layout.clone()))
            }
            Request::Cluster(request) => {
                return self.cluster_request(reply_to, request, now, effects);
            }
            Request::OpenBucket(name) => {
                let buckets = self.knowledge.buckets();
                let bucket = buckets.standing(&name).ok_or(Failure::NoSuchBucket)?;
                Answer::Bucket(bucket.clone())
            }
            Request::ListBuckets => Answer::Buckets(self.knowledge.buckets().listed()),
            Request::CreateBucket {
                name,
                kind,
                defaults,
            } => {
                self.check_storage()?;
                let id = BucketId(self.rng.u64(1..));
                let created = self.hlc.tick(now.wall);
                let buckets = self.knowledge.buckets();
                let bucket = buckets.creation(name, kind, defaults, id, created)?;
                let entries = vec![ClusterEntry::Bucket(bucket)];
                self.change(reply_to, entries, Tell::Created, now, effects);
                return Ok(());
            }
            Request::DropBucket(name) => {
                self.check_storage()?;
                let dropped = self.dropped(&name)?.into_iter();
                let entries = dropped.map(ClusterEntry::Bucket).collect();
                self.change(reply_to, entries, Tell::Dropped, now, effects);
                return Ok(());
            }
            Request::Write(_)
            | Request::Read(_)
            | Request::Keys(_)
            | Request::Digest(_)
            | Request::Explain(_)
            | Request::Status
            | Request::Compact => return Err(Failure::NotUnderstood),
        };
        effects.push(Effect::Reply {
            to: reply_to,
            answer,
        });
        Ok(())
    }

    pub(crate) fn check_storage(&self) -> Result<(), Failure> {
        match self.storage {
            StorageState::Ready => Ok(()),
            StorageState::Full => Err(Failure::StorageFull),
            StorageState::Failed => Err(Failure::StorageFailed),
        }
    }

    /// Every living creation of a name, dropped; the one that stands first.
    fn dropped(&self, name: &BucketName) -> Result<Vec<Bucket>, Failure> {
        let buckets = self.knowledge.buckets();
        let standing = buckets.standing(name).ok_or(Failure::NoSuchBucket)?.id;
        let living = buckets.all().filter(|b| !b.dropped && b.name == *name);
        let mut dropped: Vec<Bucket> = living
            .map(|b| Bucket {
                dropped: true,
                ..b.clone()
            })
            .collect();
        dropped.sort_by_key(|bucket| bucket.id != standing);
        Ok(dropped)
    }
}
