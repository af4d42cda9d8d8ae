//! What this node holds of one partition, as hashes: for comparing owners, in slices.

use dunlin_protocol::Failure;
use dunlin_protocol::RowKey;
use dunlin_protocol::peer::PeerOp;
use dunlin_protocol::response::Answer;
use dunlin_protocol::status::PartitionDigest;
use dunlin_ring::PartitionId;
use dunlin_storage::PartitionDigest as Digest;

use crate::io::{Effect, Now, TimerId};
use crate::shard::{Operation, Origin, Shard};

/// A digest in progress.
#[derive(Debug)]
pub(crate) struct DigestOp {
    origin: Origin,
    partition: PartitionId,
    so_far: Digest,
    after: Option<RowKey>,
}

impl Shard {
    pub(crate) fn start_digest(
        &mut self,
        origin: Origin,
        partition: PartitionId,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        let op = self.new_op();
        let digest = DigestOp {
            origin,
            partition,
            so_far: Digest::default(),
            after: None,
        };
        self.digest_slice(op, Box::new(digest), now, effects);
    }

    pub(crate) fn digest_slice(
        &mut self,
        op: PeerOp,
        mut digest: Box<DigestOp>,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        let rows_max = self.options.slice_rows;
        match self.replica.digest(
            digest.partition,
            digest.after.as_ref(),
            rows_max,
            |bucket| self.view.is_dropped(bucket),
        ) {
            Ok((slice, next @ Some(_))) => {
                digest.so_far.add(slice);
                digest.after = next;
                effects.push(Effect::SetTimer {
                    id: TimerId::Operation(op.0),
                    at: now.time,
                });
                self.operations.insert(op, Operation::Digest(digest));
            }
            Ok((slice, None)) => {
                digest.so_far.add(slice);
                let clock = self.replica.clock(digest.partition).encode();
                let answer = PartitionDigest {
                    partition: digest.partition,
                    whole: self.replica.is_whole(digest.partition),
                    rows: digest.so_far.rows,
                    clock: xxhash_rust::xxh3::xxh3_64(&clock),
                    content: digest.so_far.hash,
                };
                effects.push(Self::answer(digest.origin, Answer::Digest(answer)));
            }
            Err(error) => {
                self.note_unreadable(digest.partition, &error, now, effects);
                self.fail(digest.origin, Failure::StorageFailed, effects);
            }
        }
    }
}
