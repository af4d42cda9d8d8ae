//! The incoming half of a link: accepting streams, and cutting frames out of them.
//!
//! One task per stream, and one that accepts streams and, when the connection has ended, tells
//! everybody. How many streams there can be is bounded by the transport settings; what each holds
//! is bounded by the limits of its frames.

use std::{
    mem,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use dunlin_protocol::frame::{Frame, FrameKind, FrameReader};
use quinn::{ReadError, RecvStream, SendStream};

use super::{FrameHandler, Link, Refusal};

/// Chunks taken from a stream at once; a chunk is what one packet brought.
const CHUNKS: usize = 32;

/// Which streams the other side may open.
#[derive(Clone)]
pub(super) enum Accepts {
    /// It accepted the connection: only frames with a stream of their own.
    LargeFrames,
    /// It dialed: lanes too, each once. Guards which are open.
    LanesAndLargeFrames(Arc<Mutex<OpenLanes>>),
}

/// The lanes that the dialing side has opened.
#[derive(Default)]
pub(super) struct OpenLanes {
    /// How many it said there are, once it did.
    announced: Option<usize>,
    open: Vec<usize>,
}

impl Accepts {
    pub(super) fn lanes_and_large_frames() -> Self {
        Self::LanesAndLargeFrames(Arc::default())
    }
}

impl OpenLanes {
    /// Takes note of a lane's first frame; yields the lane and how many there are.
    fn open(&mut self, body: &[u8], lanes_max: usize) -> Result<(usize, usize), Refusal> {
        let [lane, lanes] = *body else {
            return Err(Refusal::Lane);
        };
        let (lane, lanes) = (usize::from(lane), usize::from(lanes));
        let known = *self.announced.get_or_insert(lanes);
        if lane >= lanes || lanes > lanes_max || lanes != known || self.open.contains(&lane) {
            return Err(Refusal::Lane);
        }
        self.open.push(lane);
        Ok((lane, lanes))
    }
}

/// Accepts streams until the connection ends, then closes the link's outboxes and tells the
/// handler.
pub(super) async fn accept_streams(link: Link, handler: Arc<dyn FrameHandler>, accepts: Accepts) {
    let reason = loop {
        match link.connection().accept_bi().await {
            Ok((outgoing, incoming)) => {
                let (link, handler, accepts) = (link.clone(), handler.clone(), accepts.clone());
                tokio::spawn(async move {
                    let served =
                        serve_accepted(&link, outgoing, incoming, &handler, &accepts).await;
                    if let Err(refusal) = served {
                        link.refuse(&refusal, &*handler);
                    }
                });
            }
            Err(reason) => break reason,
        }
    };
    link.close_lanes();
    handler.closed(&link, &reason);
}

/// Reads a lane that this side has opened.
pub(super) async fn read_lane(link: Link, incoming: RecvStream, handler: Arc<dyn FrameHandler>) {
    let mut frames = Frames::new(&link, incoming);
    if let Err(refusal) = deliver_lane(&link, &mut frames, &*handler).await {
        link.refuse(&refusal, &*handler);
    }
}

/// A stream that the other side has opened: its first frame says what it is.
async fn serve_accepted(
    link: &Link,
    outgoing: SendStream,
    incoming: RecvStream,
    handler: &Arc<dyn FrameHandler>,
    accepts: &Accepts,
) -> Result<(), Refusal> {
    let mut frames = Frames::new(link, incoming);
    let first = match frames.next().await? {
        Next::Frame(first) => first,
        Next::Ended => return Err(Refusal::LargeStream),
        Next::Lost => return Ok(()),
    };
    if first.kind != FrameKind::Lane {
        drop(outgoing);
        link.count_received();
        handler.frame(link, first);
        return match frames.next().await? {
            Next::Frame(_) => Err(Refusal::LargeStream),
            Next::Ended | Next::Lost => Ok(()),
        };
    }
    let Accepts::LanesAndLargeFrames(open) = accepts else {
        return Err(Refusal::Lane);
    };
    let (lane, lanes) = open
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .open(&first.body, link.lanes_max())?;
    link.use_lanes(lanes);
    let writer = (link.clone(), handler.clone());
    tokio::spawn(async move { writer.0.write_lane(lane, outgoing, &*writer.1).await });
    deliver_lane(link, &mut frames, &**handler).await
}

async fn deliver_lane(
    link: &Link,
    frames: &mut Frames,
    handler: &dyn FrameHandler,
) -> Result<(), Refusal> {
    loop {
        match frames.next().await? {
            Next::Frame(frame) if frame.kind == FrameKind::Lane => return Err(Refusal::Lane),
            Next::Frame(frame) => {
                link.count_received();
                handler.frame(link, frame);
            }
            Next::Ended => return Err(Refusal::LaneEnded),
            Next::Lost => return Ok(()),
        }
    }
}

enum Next {
    Frame(Frame),
    /// The other side finished or reset the stream.
    Ended,
    /// The connection is gone, and the stream with it.
    Lost,
}

/// The frames of one stream.
struct Frames {
    stream: RecvStream,
    reader: FrameReader,
    chunks: [Bytes; CHUNKS],
}

impl Frames {
    fn new(link: &Link, stream: RecvStream) -> Self {
        Self {
            stream,
            reader: FrameReader::new(link.limits()),
            chunks: Default::default(),
        }
    }

    async fn next(&mut self) -> Result<Next, Refusal> {
        loop {
            if let Some(frame) = self.reader.next_frame()? {
                return Ok(Next::Frame(frame));
            }
            match self.stream.read_chunks(&mut self.chunks).await {
                Ok(Some(count)) => {
                    for chunk in self.chunks.iter_mut().take(count) {
                        // Taken, so that the packet's memory is free as soon as it is copied.
                        self.reader.feed(&mem::take(chunk));
                    }
                }
                Ok(None) => {
                    self.reader.finish()?;
                    return Ok(Next::Ended);
                }
                Err(ReadError::Reset(_)) => return Ok(Next::Ended),
                Err(
                    ReadError::ConnectionLost(_)
                    | ReadError::ClosedStream
                    | ReadError::IllegalOrderedRead
                    | ReadError::ZeroRttRejected,
                ) => return Ok(Next::Lost),
            }
        }
    }
}
