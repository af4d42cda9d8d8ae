//! What one request is, to those who send it.

use std::time::Duration;

use bytes::Bytes;
use dunlin_protocol::codec;
use dunlin_protocol::request::{Keys, Query, Read, Request};
use dunlin_ring::{NodeId, PartitionId};
use tokio::time::Instant;

use crate::error::Error;
use dunlin_decide::retry::{Ended, Repeat};

/// No attempt waits longer for a first sign: then another node is asked.
const ATTEMPT_MAX: Duration = Duration::from_secs(1);

/// Where a request may be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// To an owner of this partition at best.
    Partition(PartitionId),
    /// To any node.
    Anywhere,
    /// To this node and no other.
    Node(NodeId),
}

/// Requests of one class take about as long as each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// One row.
    Point,
    /// Many.
    Page,
}

/// One request of the application, whatever number of attempts it takes.
pub(crate) struct Call {
    pub(crate) body: Bytes,
    pub(crate) place: Place,
    pub(crate) repeat: Repeat,
    pub(crate) class: Class,
    /// Whether it is a read in a session, which only a node that knows of sessions can answer.
    pub(crate) in_session: bool,
    /// In all.
    pub(crate) timeout: Duration,
    pub(crate) deadline: Instant,
    /// What it means if a node says that there is no such bucket.
    pub(crate) no_such_bucket: Ended,
}

impl Call {
    pub(crate) fn new(request: &Request, place: Place, timeout: Duration) -> Result<Self, Error> {
        let body = codec::encode(request).map_err(|error| Error::Encoding {
            reason: error.to_string(),
        })?;
        Ok(Self {
            body: body.into(),
            place,
            repeat: Repeat::of(request),
            class: class_of(request),
            in_session: matches!(
                request,
                Request::Read(Read { seen: Some(_), .. })
                    | Request::Keys(Keys { seen: Some(_), .. })
            ),
            timeout,
            deadline: Instant::now() + timeout,
            no_such_bucket: Ended::Refused,
        })
    }

    /// The same request, until this deadline.
    pub(crate) fn until(mut self, deadline: Instant) -> Self {
        self.deadline = deadline;
        self
    }

    /// The same request, where this is what it means if a node knows no such bucket.
    pub(crate) fn no_such_bucket_is(mut self, ended: Ended) -> Self {
        self.no_such_bucket = ended;
        self
    }

    /// What is left of its time.
    pub(crate) fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// After how long without an answer a node is suspect.
    pub(crate) fn suspect_after(&self) -> Duration {
        match self.class {
            Class::Point => (self.timeout / 4).min(ATTEMPT_MAX),
            // A page may be a megabyte on a slow line.
            Class::Page => self.timeout / 2,
        }
    }

    /// Whether an attempt is given up in favour of another as soon as the node is suspect. If not,
    /// it is waited for as long as there is time, since nothing else could be done.
    pub(crate) fn has_alternative(&self) -> bool {
        match (self.place, self.repeat) {
            (Place::Node(_), _) | (_, Repeat::Never) => false,
            (Place::Partition(_) | Place::Anywhere, Repeat::Read | Repeat::Harmless) => true,
        }
    }

    /// Whether a second node may be asked while the first is.
    pub(crate) fn may_hedge(&self) -> bool {
        self.repeat == Repeat::Read && self.has_alternative()
    }
}

fn class_of(request: &Request) -> Class {
    match request {
        Request::Keys(_) | Request::Compact | Request::Digest(_) | Request::Explain(_) => {
            Class::Page
        }
        Request::Read(read) => match &read.query {
            Query::Elements(_) | Query::Fields { .. } | Query::Count(_) => Class::Page,
            Query::Value | Query::Has(_) | Query::Field(_) => Class::Point,
        },
        Request::Write(_)
        | Request::Layout
        | Request::OpenBucket(_)
        | Request::CreateBucket { .. }
        | Request::DropBucket(_)
        | Request::ListBuckets
        | Request::Cluster(_)
        | Request::Status => Class::Point,
    }
}
