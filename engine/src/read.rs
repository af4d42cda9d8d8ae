//! What is read: from a client's request, or a write that must read first, to the question that
//! [`gather`](crate::gather) asks the owners.

use bytes::Bytes;
use dunlin_crdt::{Clock, FieldPath, RowKind};
use dunlin_protocol::limits::{KEY_BYTES_MAX, SUBKEY_BYTES_MAX};
use dunlin_protocol::peer::{RangeScope, RowRange};
use dunlin_protocol::request::{Keys, Query, Read, ReadOptions, Request};
use dunlin_protocol::{Failure, Part, RowKey};
use dunlin_ring::{BucketId, Fallbacks, PartitionId, Quorum};

use crate::changes::check_size;
use crate::gather::{Needs, Question, Then};
use crate::io::{Effect, Now, Time};
use crate::scan::Shape;
use crate::session;
use crate::shard::{Origin, Shard, page_limit, query_page};

impl Shard {
    pub(crate) fn start_read(
        &mut self,
        origin: Origin,
        read: Read,
        deadline: Time,
        now: Now,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Failure> {
        let kind = self.bucket(read.bucket)?.kind;
        check_size(Part::Key, read.key.len(), KEY_BYTES_MAX)?;
        let wrong_kind = || Failure::WrongKind { kind };
        let row = |subkey: Bytes| RowKey {
            bucket: read.bucket,
            key: read.key.clone(),
            subkey,
        };
        let range = |prefix: Bytes, after: Option<Bytes>| RowRange {
            bucket: read.bucket,
            scope: RangeScope::Key {
                key: read.key.clone(),
                prefix,
                after,
            },
        };
        let is_set = kind == dunlin_crdt::Kind::Set;
        let is_map = kind == dunlin_crdt::Kind::Map;
        let limit = query_page(&read.query).map_or(Ok(0), |page| page_limit(page.limit))?;
        let question = match &read.query {
            Query::Value => {
                let kind = kind.single_row().ok_or_else(wrong_kind)?;
                Question::Rows(vec![(row(Bytes::new()), kind)])
            }
            Query::Has(element) if is_set => {
                Question::Rows(vec![(row(element.clone()), RowKind::Element)])
            }
            Query::Field(path) if is_map => {
                check_size(Part::Field, path.len(), SUBKEY_BYTES_MAX)?;
                let (_, _, kind) =
                    FieldPath::parse(path).map_err(|_| Failure::Invalid { what: Part::Field })?;
                Question::Rows(vec![(row(path.clone()), kind)])
            }
            Query::Elements(page) if is_set => Question::Range {
                range: range(Bytes::new(), page.after.clone()),
                limit,
                shape: Shape::Elements,
            },
            Query::Fields { prefix, page } if is_map => Question::Range {
                range: range(prefix.clone(), page.after.clone()),
                limit,
                shape: Shape::Fields,
            },
            Query::Count(page) if is_set || is_map => Question::Range {
                range: range(Bytes::new(), page.after.clone()),
                limit,
                shape: Shape::Count,
            },
            Query::Has(_)
            | Query::Field(_)
            | Query::Elements(_)
            | Query::Fields { .. }
            | Query::Count(_) => return Err(wrong_kind()),
        };
        let partition = self.partition_of(read.bucket, &read.key);
        let (bucket, options) = (read.bucket, read.options);
        let seen = session::parse(read.seen.as_ref())?;
        let request = Request::Read(read);
        self.read_or_forward(
            origin, partition, bucket, options, seen, question, request, deadline, now, effects,
        )
    }

    pub(crate) fn start_keys(
        &mut self,
        origin: Origin,
        keys: Keys,
        deadline: Time,
        now: Now,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Failure> {
        self.bucket(keys.bucket)?;
        if keys.partition.0 >= self.view.partitions().get() {
            return Err(Failure::Invalid {
                what: Part::Partition,
            });
        }
        let scope = RangeScope::Keys {
            prefix: keys.prefix.clone(),
            after: keys.page.after.clone(),
        };
        let question = Question::Range {
            range: RowRange {
                bucket: keys.bucket,
                scope,
            },
            limit: page_limit(keys.page.limit)?,
            shape: Shape::Keys,
        };
        let (partition, bucket, options) = (keys.partition, keys.bucket, keys.options);
        let seen = session::parse(keys.seen.as_ref())?;
        let request = Request::Keys(keys);
        self.read_or_forward(
            origin, partition, bucket, options, seen, question, request, deadline, now, effects,
        )
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "the parts of one request, taken apart above"
    )]
    fn read_or_forward(
        &mut self,
        origin: Origin,
        partition: PartitionId,
        bucket: BucketId,
        options: ReadOptions,
        seen: Option<Clock>,
        question: Question,
        request: Request,
        deadline: Time,
        now: Now,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Failure> {
        let owners = self.view.readers(partition);
        let checked = |quorum: Quorum| match quorum.needed(owners.len()) {
            needed if needed <= owners.len() => Ok(needed),
            _ => Err(Failure::QuorumTooLarge {
                asked: quorum,
                owners: owners.len() as u8,
            }),
        };
        let default_r = self.bucket(bucket)?.defaults.r;
        // A session does not carry what every owner holds, so hints alone can't reflect what it has seen.
        let needed_owners = options
            .pr
            .map_or(Ok(0), checked)?
            .max(usize::from(seen.is_some()));
        let needed = checked(options.r.unwrap_or(default_r))?
            .max(needed_owners)
            .max(1);
        // A damaged row is no answer; another owner has it. And what a row had replaced is not known to a clock
        // that does not know the row.
        let is_doubtful = self.scrub.has_damage(partition) || self.replica.has_unclaimed(partition);
        if !owners.contains(&self.view.me) || is_doubtful {
            let nearest = self.nearest(owners.iter().copied());
            match (nearest.is_empty(), origin) {
                (false, Origin::Client(_)) => {
                    self.start_forward(origin, partition, request, nearest, deadline, now, effects);
                    return Ok(());
                }
                (false, Origin::Peer { .. }) => return Err(Failure::NotOwner),
                (true, _) => {}
            }
        }
        let then = Then::Show {
            origin,
            request: Box::new(request),
            seen,
        };
        let needs = Needs {
            nodes: needed,
            owners: needed_owners,
            fallbacks: options.fallbacks,
        };
        self.gather(question, then, partition, needs, deadline, now, effects);
        Ok(())
    }

    /// A read of rows on behalf of a write. It does what it can with the owners there are.
    pub(crate) fn read_for_write(
        &mut self,
        then: Then,
        partition: PartitionId,
        rows: Vec<(RowKey, RowKind)>,
        deadline: Time,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        let needs = self.needs_of_write(partition, rows.first().map(|(key, _)| key.bucket));
        self.gather(
            Question::Rows(rows),
            then,
            partition,
            needs,
            deadline,
            now,
            effects,
        );
    }

    /// A search for what a write removes.
    #[expect(
        clippy::too_many_arguments,
        reason = "the parts of one request, taken apart above"
    )]
    pub(crate) fn find_for_removal(
        &mut self,
        then: Then,
        partition: PartitionId,
        bucket: BucketId,
        key: Bytes,
        prefix: Bytes,
        deadline: Time,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        let needs = self.needs_of_write(partition, Some(bucket));
        let scope = RangeScope::Key {
            key,
            prefix,
            after: None,
        };
        let limit = dunlin_protocol::limits::CHANGES_MAX;
        let range = RowRange { bucket, scope };
        let question = Question::Range {
            range,
            limit,
            shape: Shape::Rows,
        };
        self.gather(question, then, partition, needs, deadline, now, effects);
    }

    /// A removal removes what its coordinator sees. A read quorum makes that what was acknowledged
    /// before; where it can't be had, the removal goes on with what there is.
    fn needs_of_write(&self, partition: PartitionId, bucket: Option<BucketId>) -> Needs {
        let owners = self.view.readers(partition);
        let r = bucket
            .and_then(|id| self.view.bucket(id))
            .map_or(Quorum::One, |b| b.defaults.r);
        let reachable = owners
            .iter()
            .filter(|node| self.view.is_reachable(**node))
            .count();
        let nodes = r.needed(owners.len()).min(reachable);
        Needs {
            nodes,
            owners: 0,
            fallbacks: Fallbacks::Allowed,
        }
    }
}
