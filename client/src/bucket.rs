//! A bucket, and the way of every request about its keys.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use dunlin_crdt::Kind;
use dunlin_decide::seen::ReadError;
use dunlin_protocol::request::{
    Keys as KeysRequest, Page, Query, Read as ReadRequest, Request, Write, WriteOp,
};
use dunlin_protocol::response::{Answer, Found, ReadAnswer};
use dunlin_protocol::{Bucket as BucketInfo, Failure};
use dunlin_ring::BucketId;
use tokio::time::Instant;

use crate::client::{open_bucket, unexpected};
use crate::cluster::Cluster;
use crate::cluster::call::{Call, Place};
use crate::cluster::run::Reply;
use crate::error::Error;
use crate::handles::{Counter, Extreme, Flag, Lww, Map, Register, Set, Target};
use crate::options::Options;
use crate::pages::Keys;
use crate::receipt::{Copy, Read, ReadInfo, Receipt};
use crate::session::{SharedSeen, lock};
use dunlin_decide::retry::Ended;

/// A handle on a bucket, cheap to clone. It gives handles on keys, typed by the bucket's kind.
///
/// If the bucket is dropped and made again under its name, the handle follows, provided that the kind
/// is the same.
#[derive(Clone)]
pub struct Bucket {
    cluster: Arc<Cluster>,
    /// Guards what is known of the bucket; held to clone or to replace it.
    info: Arc<RwLock<Arc<BucketInfo>>>,
    options: Options,
    session: Option<SharedSeen>,
}

impl Bucket {
    pub(crate) fn new(cluster: Arc<Cluster>, info: BucketInfo, options: Options) -> Self {
        Self {
            cluster,
            info: Arc::new(RwLock::new(Arc::new(info))),
            options,
            session: None,
        }
    }

    /// The same bucket, in a session.
    pub(crate) fn in_session(mut self, seen: SharedSeen) -> Self {
        self.session = Some(seen);
        self
    }

    /// What is known of the bucket.
    pub fn info(&self) -> Arc<BucketInfo> {
        // An Arc is swapped whole.
        self.info
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The same bucket, asking for this.
    #[must_use]
    pub fn with_options(mut self, options: Options) -> Self {
        self.options = options;
        self
    }

    /// A key of a `register` bucket.
    ///
    /// # Errors
    /// [`Error::WrongKind`] if the bucket is of another kind. So with the others below.
    pub fn register(&self, key: impl AsRef<[u8]>) -> Result<Register, Error> {
        self.target(key, Kind::Register).map(Register::new)
    }

    /// A key of an `lww` bucket.
    ///
    /// # Errors
    /// [`Error::WrongKind`].
    pub fn lww(&self, key: impl AsRef<[u8]>) -> Result<Lww, Error> {
        self.target(key, Kind::Lww).map(Lww::new)
    }

    /// A key of a `counter` bucket.
    ///
    /// # Errors
    /// [`Error::WrongKind`].
    pub fn counter(&self, key: impl AsRef<[u8]>) -> Result<Counter, Error> {
        self.target(key, Kind::Counter).map(Counter::new)
    }

    /// A key of a `flag` bucket.
    ///
    /// # Errors
    /// [`Error::WrongKind`].
    pub fn flag(&self, key: impl AsRef<[u8]>) -> Result<Flag, Error> {
        self.target(key, Kind::Flag).map(Flag::new)
    }

    /// A key of a `max` bucket.
    ///
    /// # Errors
    /// [`Error::WrongKind`].
    pub fn max(&self, key: impl AsRef<[u8]>) -> Result<Extreme, Error> {
        self.target(key, Kind::Max).map(Extreme::new)
    }

    /// A key of a `min` bucket.
    ///
    /// # Errors
    /// [`Error::WrongKind`].
    pub fn min(&self, key: impl AsRef<[u8]>) -> Result<Extreme, Error> {
        self.target(key, Kind::Min).map(Extreme::new)
    }

    /// A key of a `set` bucket.
    ///
    /// # Errors
    /// [`Error::WrongKind`].
    pub fn set(&self, key: impl AsRef<[u8]>) -> Result<Set, Error> {
        self.target(key, Kind::Set).map(Set::new)
    }

    /// A key of a `map` bucket.
    ///
    /// # Errors
    /// [`Error::WrongKind`].
    pub fn map(&self, key: impl AsRef<[u8]>) -> Result<Map, Error> {
        self.target(key, Kind::Map).map(Map::new)
    }

    /// The keys of the bucket that start with `prefix`, from all partitions, in no particular order.
    pub fn keys(&self, prefix: impl AsRef<[u8]>) -> Keys {
        Keys::of(self.clone(), Bytes::copy_from_slice(prefix.as_ref()))
    }

    fn target(&self, key: impl AsRef<[u8]>, asked: Kind) -> Result<Target, Error> {
        let info = self.info();
        if info.kind != asked {
            return Err(Error::WrongKind {
                bucket: info.name.clone(),
                is: info.kind,
                asked,
            });
        }
        Ok(Target {
            bucket: self.clone(),
            key: Bytes::copy_from_slice(key.as_ref()),
            path: None,
        })
    }

    pub(crate) fn options(&self) -> Options {
        self.options
    }

    pub(crate) fn cluster(&self) -> &Arc<Cluster> {
        &self.cluster
    }

    pub(crate) async fn write(&self, key: &Bytes, op: WriteOp) -> Result<Receipt, Error> {
        self.make_room(key).await?;
        let request = Request::Write(Write {
            bucket: self.info().id,
            key: key.clone(),
            op,
            id: self.cluster.op_id(),
            options: self.options.write,
        });
        let reply = self.ask(request).await?;
        let Answer::Written(receipt) = reply.answer else {
            return Err(unexpected(reply, "write"));
        };
        let copies = receipt.copies.iter().map(|copy| Copy {
            node: reply.view.name(copy.node),
            hint_for: copy.hint_for.map(|owner| reply.view.name(owner)),
            synced: copy.synced,
        });
        Ok(Receipt {
            copies: copies.collect(),
            context: receipt.context,
            coordinator: reply.coordinator,
            rest: receipt.rest,
            attempts: reply.attempts,
        })
    }

    pub(crate) async fn read(&self, key: &Bytes, query: Query) -> Result<Read<Found>, Error> {
        let request = Request::Read(ReadRequest {
            bucket: self.info().id,
            key: key.clone(),
            query,
            options: self.options.read,
            seen: None,
        });
        self.ask(request).await.and_then(read_answer)
    }

    /// Sends a request about keys of this bucket. If the bucket has another id by now, or the node
    /// has not heard of it yet, once more.
    pub(crate) async fn ask(&self, mut request: Request) -> Result<Reply, Error> {
        let timeout = self.options.timeout;
        self.say_seen(&mut request);
        let call = Call::new(&request, self.place(&request), timeout)?;
        let deadline = call.deadline;
        match self.cluster.run(&call).await {
            Err(Error::Refused {
                failure: Failure::NoSuchBucket,
                ..
            }) => {}
            Ok(reply) => return self.learn(&request, reply),
            Err(error) => return Err(error),
        }
        let id = self.reopen(deadline).await?;
        match &mut request {
            Request::Write(write) => write.bucket = id,
            Request::Read(read) => read.bucket = id,
            Request::Keys(keys) => keys.bucket = id,
            Request::Layout
            | Request::OpenBucket(_)
            | Request::CreateBucket { .. }
            | Request::DropBucket(_)
            | Request::ListBuckets
            | Request::Status
            | Request::Digest(_)
            | Request::Explain(_)
            | Request::Cluster(_)
            | Request::Compact => {}
        }
        self.say_seen(&mut request);
        // It exists: a node that does not know it will in a moment.
        let call = Call::new(&request, self.place(&request), timeout)?
            .until(deadline)
            .no_such_bucket_is(Ended::NotNow);
        match self.cluster.run(&call).await {
            Ok(reply) => self.learn(&request, reply),
            Err(error) => Err(error.about_bucket(&self.info().name)),
        }
    }

    /// Says in a read what its session has seen.
    fn say_seen(&self, request: &mut Request) {
        if let Some(session) = &self.session
            && let Place::Partition(partition) = self.place(request)
            && let Request::Read(ReadRequest { seen, .. }) | Request::Keys(KeysRequest { seen, .. }) =
                request
        {
            *seen = Some(lock(session).of(partition));
        }
    }

    /// Lets the session know what was answered, before anybody else does.
    fn learn(&self, request: &Request, reply: Reply) -> Result<Reply, Error> {
        let (Some(session), Place::Partition(partition)) = (&self.session, self.place(request))
        else {
            return Ok(reply);
        };
        let learnt = match (request, &reply.answer) {
            (Request::Write(_), Answer::Written(receipt)) => lock(session)
                .wrote(partition, &receipt.context)
                .map_err(ReadError::Token),
            (
                Request::Read(ReadRequest {
                    seen: Some(said), ..
                })
                | Request::Keys(KeysRequest {
                    seen: Some(said), ..
                }),
                Answer::Read(ReadAnswer {
                    seen: Some(now), ..
                }),
            ) => lock(session).read(partition, said, now),
            _ => return Ok(reply),
        };
        match learnt {
            Ok(()) => Ok(reply),
            Err(ReadError::Full(full)) => Err(Error::SessionFull(full)),
            Err(ReadError::Token(_)) => Err(unexpected(reply, "request in a session")),
        }
    }

    /// Before a write in a session that has written much without reading: a read tells what need not be
    /// remembered any more.
    async fn make_room(&self, key: &Bytes) -> Result<(), Error> {
        let Some(session) = &self.session else {
            return Ok(());
        };
        let info = self.info();
        let partitions = self.cluster.view().layout.partitions();
        let partition = partitions.partition_of(info.id, key);
        if lock(session).is_long(partition) {
            let first = Page {
                after: None,
                limit: 1,
            };
            let query = match info.kind.single_row() {
                Some(_) => Query::Value,
                None => Query::Count(first),
            };
            let timeout = self.options.timeout / 4;
            let shorter = self.clone().with_options(self.options.timeout(timeout));
            let request = Request::Read(ReadRequest {
                bucket: info.id,
                key: key.clone(),
                query,
                options: self.options.read,
                seen: None,
            });
            // If it fails there may be room all the same.
            let _ = shorter.ask(request).await;
        }
        let room = lock(session).check_room(partition);
        room.map_err(Error::SessionFull)
    }

    /// Looks the bucket up again by its name.
    async fn reopen(&self, deadline: Instant) -> Result<BucketId, Error> {
        let known = self.info();
        let left = deadline.saturating_duration_since(Instant::now());
        let info = open_bucket(&self.cluster, &known.name, left).await?;
        if info.kind != known.kind {
            return Err(Error::WrongKind {
                bucket: info.name,
                is: info.kind,
                asked: known.kind,
            });
        }
        let id = info.id;
        *self.info.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(info);
        Ok(id)
    }

    fn place(&self, request: &Request) -> Place {
        let partitions = self.cluster.view().layout.partitions();
        match request {
            Request::Write(write) => {
                Place::Partition(partitions.partition_of(write.bucket, &write.key))
            }
            Request::Read(read) => {
                Place::Partition(partitions.partition_of(read.bucket, &read.key))
            }
            Request::Keys(keys) => Place::Partition(keys.partition),
            Request::Layout
            | Request::OpenBucket(_)
            | Request::CreateBucket { .. }
            | Request::DropBucket(_)
            | Request::ListBuckets
            | Request::Status
            | Request::Digest(_)
            | Request::Explain(_)
            | Request::Cluster(_)
            | Request::Compact => Place::Anywhere,
        }
    }
}

impl fmt::Debug for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bucket")
            .field("info", &self.info())
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

/// What was read, with the names of those who said so.
pub(crate) fn read_answer(reply: Reply) -> Result<Read<Found>, Error> {
    let Answer::Read(answer) = reply.answer else {
        return Err(unexpected(reply, "read"));
    };
    Ok(Read {
        value: answer.found,
        info: ReadInfo {
            owners: reply.view.names(&answer.owners),
            fallbacks: reply.view.names(&answer.fallbacks),
            coordinator: reply.coordinator,
        },
    })
}
