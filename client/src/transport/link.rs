//! A link: one connection, its lanes, and the tasks that serve them.
//!
//! The dialing side opens the lanes and names each by its first frame, of kind
//! [`FrameKind::Lane`] with the body `[lane, lanes]`. Frames sent on either side before a lane is
//! open wait in its outbox. A frame too large for a lane travels on a stream of its own, opened by
//! whichever side sends it: one frame, then the stream ends.
//!
//! Input that is no frame closes the connection with [`CloseCode::BadFrame`] and is reported to
//! the handler once; other connections never notice.

use std::{
    fmt,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use dunlin_protocol::frame::{Frame, FrameError, FrameKind, Limits, RequestId};
use dunlin_protocol::limits::PEER_FRAME_BYTES_MAX;
use quinn::{Connection, ConnectionError, SendStream, VarInt, WriteError};
use tokio::{runtime::Handle, sync::Semaphore};

use super::{lane::Lane, read};

/// Frames that have a stream of their own at one time, each way; more wait their turn. Together
/// with the lanes it stays below the default of `TransportSettings::streams_max`.
const LARGE_STREAMS_MAX: usize = 4;

/// What one end of a link sends, accepts and holds at most.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LinkOptions {
    /// What is accepted from the other side, and how long a frame may be either way.
    pub limits: Limits,
    /// Long-lived streams: how many the dialing side opens, and the accepting side allows. One
    /// to 255.
    pub lanes: usize,
    /// Frames that wait on one lane.
    pub lane_frames_max: usize,
    /// Bytes that wait on one lane; at least `large_frame_bytes`.
    pub lane_bytes_max: usize,
    /// A frame longer than this gets a stream of its own.
    pub large_frame_bytes: usize,
    /// Bytes of such frames that wait or are being written. A single frame may exceed it.
    pub large_bytes_max: usize,
}

impl LinkOptions {
    /// An application's side of its connection to a node.
    pub const CLIENT: Self = Self {
        limits: Limits::FROM_NODE,
        lanes: 4,
        lane_frames_max: 16_384,
        lane_bytes_max: 8 * 1024 * 1024,
        large_frame_bytes: 64 * 1024,
        large_bytes_max: 32 * 1024 * 1024,
    };

    /// A node's side of a connection from an application.
    pub const SERVER: Self = Self {
        limits: Limits::FROM_CLIENT,
        lanes: 8,
        ..Self::CLIENT
    };

    /// Either side of a connection between nodes.
    pub const PEER: Self = Self {
        limits: Limits::PEER,
        large_bytes_max: 2 * PEER_FRAME_BYTES_MAX,
        ..Self::CLIENT
    };
}

/// Why a frame was not sent. Nothing of it left this process: to try again is safe.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SendError {
    /// The other side does not read as fast as we send; trying at once will not help.
    #[error("the queue to the peer is full")]
    QueueFull,
    /// The link is closed and stays so.
    #[error("the link is closed")]
    Closed,
    /// The frame is longer than the other side accepts.
    #[error("a frame of {bytes} bytes, the limit is {bytes_max}")]
    TooLong {
        /// The frame's length.
        bytes: usize,
        /// What is allowed.
        bytes_max: usize,
    },
}

/// What the other side did that ended the link. Frames delivered before it stand.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refusal {
    /// What it sent are not frames.
    #[error("bad frame: {0}")]
    Frame(#[from] FrameError),
    /// A lane that does not exist, was opened before, or by the accepting side.
    #[error("a lane was opened that may not be")]
    Lane,
    /// It ended one direction of a lane while the connection goes on.
    #[error("a lane was ended while the link is open")]
    LaneEnded,
    /// A stream that is not a lane carried no frame, or more than one.
    #[error("a stream of its own carries exactly one frame")]
    LargeStream,
}

/// Why a connection was closed by one of its ends; travels as the application error code.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum CloseCode {
    /// Not needed any longer.
    Done = 0,
    /// The process is stopping.
    ShuttingDown = 1,
    /// The other side broke the protocol.
    BadFrame = 2,
    /// The certificate does not allow this.
    NotAllowed = 3,
    /// Too many connections, or a peer that does not read its answers.
    Overloaded = 4,
    /// Another connection to the same peer takes this one's place.
    Replaced = 5,
    /// The process has just started, and knows nothing of its cluster yet.
    NotReady = 6,
}

/// What is done with a link's frames. Called on the link's tasks: must not block.
pub trait FrameHandler: Send + Sync + 'static {
    /// A frame arrived. Frames of one lane come in order, those of different lanes at once.
    fn frame(&self, link: &Link, frame: Frame);

    /// The other side broke the protocol; the link is being closed. Called at most once, for
    /// counting and logging.
    fn refused(&self, link: &Link, refusal: &Refusal);

    /// The link has ended. Called exactly once; frames that had been received may still be
    /// delivered after it.
    fn closed(&self, link: &Link, reason: &ConnectionError);
}

/// How a link is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LinkStats {
    /// The current estimate of the round trip.
    pub rtt: Duration,
    /// Frames accepted for sending.
    pub frames_sent: u64,
    /// Frames delivered to the handler.
    pub frames_received: u64,
    /// Frames refused because a queue was full.
    pub queue_full: u64,
    /// Packets that had to be sent again.
    pub packets_lost: u64,
}

/// A handle on one connection; clones are handles on the same.
///
/// The link lives until one side closes it or it times out, whether or not a handle is held.
#[derive(Clone)]
pub struct Link {
    shared: Arc<Shared>,
}

struct Shared {
    connection: Connection,
    options: LinkOptions,
    lanes: Box<[Lane]>,
    /// How many of `lanes` are in use. The accepting side starts with one, which always exists,
    /// until the dialing side has said how many it opens.
    lanes_used: AtomicUsize,
    /// Permits to have a large frame's stream open.
    large_streams: Semaphore,
    large_bytes: AtomicUsize,
    /// Where a large frame's task runs, whichever thread sends it.
    runtime: Handle,
    frames_sent: AtomicU64,
    frames_received: AtomicU64,
    queue_full: AtomicU64,
    refusals: AtomicU64,
}

impl Link {
    /// Takes over a connection that this side dialed.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn open(
        connection: Connection,
        options: LinkOptions,
        handler: Arc<dyn FrameHandler>,
    ) -> Self {
        let link = Self::new(connection, options, options.lanes);
        for index in 0..link.shared.lanes.len() {
            let (link, handler) = (link.clone(), handler.clone());
            tokio::spawn(async move { link.dial_lane(index, handler).await });
        }
        tokio::spawn(read::accept_streams(
            link.clone(),
            handler,
            read::Accepts::LargeFrames,
        ));
        link
    }

    /// Takes over a connection that this side accepted.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn accept(
        connection: Connection,
        options: LinkOptions,
        handler: Arc<dyn FrameHandler>,
    ) -> Self {
        let link = Self::new(connection, options, 1);
        tokio::spawn(read::accept_streams(
            link.clone(),
            handler,
            read::Accepts::lanes_and_large_frames(),
        ));
        link
    }

    fn new(connection: Connection, options: LinkOptions, lanes_used: usize) -> Self {
        assert!(
            (1..=255).contains(&options.lanes),
            "a link has 1 to 255 lanes"
        );
        assert!(
            options.large_frame_bytes <= options.lane_bytes_max,
            "the longest frame of a lane fits its queue"
        );
        Self {
            shared: Arc::new(Shared {
                connection,
                options,
                lanes: (0..options.lanes).map(|_| Lane::default()).collect(),
                lanes_used: AtomicUsize::new(lanes_used),
                large_streams: Semaphore::new(LARGE_STREAMS_MAX),
                large_bytes: AtomicUsize::new(0),
                runtime: Handle::current(),
                frames_sent: AtomicU64::new(0),
                frames_received: AtomicU64::new(0),
                queue_full: AtomicU64::new(0),
                refusals: AtomicU64::new(0),
            }),
        }
    }

    /// Queues a frame, without waiting, from any thread. `lane` is taken modulo the number of
    /// lanes, so a request's id, or anything that spreads, will do; what shares a lane keeps its
    /// order.
    pub fn send(&self, frame: Frame, lane: usize) -> Result<(), SendError> {
        let shared = &self.shared;
        let bytes = frame.wire_bytes();
        let bytes_max = shared.options.limits.frame_bytes_max;
        if bytes > bytes_max {
            return Err(SendError::TooLong { bytes, bytes_max });
        }
        let sent = if bytes > shared.options.large_frame_bytes {
            self.send_large(frame)
        } else {
            let used = shared.lanes_used.load(Relaxed).max(1);
            match shared.lanes.get(lane % used) {
                Some(lane) => lane.push(&frame, &shared.options),
                None => Err(SendError::Closed),
            }
        };
        match sent {
            Ok(()) => shared.frames_sent.fetch_add(1, Relaxed),
            Err(SendError::QueueFull) => shared.queue_full.fetch_add(1, Relaxed),
            Err(SendError::Closed | SendError::TooLong { .. }) => 0,
        };
        sent
    }

    /// Completes when the link has ended, and says why.
    pub async fn closed(&self) -> ConnectionError {
        self.shared.connection.closed().await
    }

    /// Whether the link has ended.
    pub fn is_closed(&self) -> bool {
        self.shared.connection.close_reason().is_some()
    }

    /// Ends the link at once. What is queued or on its way may be lost; the other side learns the
    /// code and the reason.
    pub fn close(&self, code: CloseCode, reason: &str) {
        self.shared
            .connection
            .close(VarInt::from_u32(code as u32), reason.as_bytes());
    }

    /// The other side's address.
    pub fn remote(&self) -> SocketAddr {
        self.shared.connection.remote_address()
    }

    /// The connection itself, for datagrams and certificates. Its streams belong to the link.
    pub fn connection(&self) -> &Connection {
        &self.shared.connection
    }

    /// How the link is doing.
    pub fn stats(&self) -> LinkStats {
        let shared = &self.shared;
        LinkStats {
            rtt: shared.connection.rtt(),
            frames_sent: shared.frames_sent.load(Relaxed),
            frames_received: shared.frames_received.load(Relaxed),
            queue_full: shared.queue_full.load(Relaxed),
            packets_lost: shared.connection.stats().path.lost_packets,
        }
    }

    pub(super) fn limits(&self) -> Limits {
        self.shared.options.limits
    }

    pub(super) fn lanes_max(&self) -> usize {
        self.shared.lanes.len()
    }

    /// The accepting side has learned how many lanes there are.
    pub(super) fn use_lanes(&self, lanes: usize) {
        self.shared
            .lanes_used
            .store(lanes.min(self.shared.lanes.len()), Relaxed);
    }

    pub(super) fn count_received(&self) {
        self.shared.frames_received.fetch_add(1, Relaxed);
    }

    /// The other side broke the protocol: closes the connection, and reports it if it is the
    /// first time.
    pub(super) fn refuse(&self, refusal: &Refusal, handler: &dyn FrameHandler) {
        self.close(CloseCode::BadFrame, &refusal.to_string());
        if self.shared.refusals.fetch_add(1, Relaxed) == 0 {
            handler.refused(self, refusal);
        }
    }

    /// The connection has ended: nothing can be queued any more.
    pub(super) fn close_lanes(&self) {
        for lane in &self.shared.lanes {
            lane.close();
        }
    }

    /// Serves the outgoing half of an open lane until it ends.
    pub(super) async fn write_lane(
        &self,
        index: usize,
        mut stream: SendStream,
        handler: &dyn FrameHandler,
    ) {
        let Some(lane) = self.shared.lanes.get(index) else {
            return;
        };
        match lane.write_to(&mut stream).await {
            Ok(()) | Err(WriteError::ConnectionLost(_)) => {}
            Err(
                WriteError::Stopped(_) | WriteError::ClosedStream | WriteError::ZeroRttRejected,
            ) => {
                self.refuse(&Refusal::LaneEnded, handler);
            }
        }
    }

    async fn dial_lane(self, index: usize, handler: Arc<dyn FrameHandler>) {
        // Fails only with the connection, which the accepting task reports.
        let Ok((mut outgoing, incoming)) = self.shared.connection.open_bi().await else {
            return;
        };
        tokio::spawn(read::read_lane(self.clone(), incoming, handler.clone()));
        let mut name = BytesMut::new();
        lane_frame(index, self.shared.lanes.len()).encode_into(&mut name);
        if outgoing.write_chunk(name.freeze()).await.is_ok() {
            self.write_lane(index, outgoing, &*handler).await;
        }
    }

    fn send_large(&self, frame: Frame) -> Result<(), SendError> {
        if self.is_closed() {
            return Err(SendError::Closed);
        }
        let bytes = frame.wire_bytes();
        let max = self.shared.options.large_bytes_max;
        self.shared
            .large_bytes
            .fetch_update(Relaxed, Relaxed, |waiting| {
                (waiting == 0 || waiting.saturating_add(bytes) <= max).then_some(waiting + bytes)
            })
            .map_err(|_| SendError::QueueFull)?;
        let shared = self.shared.clone();
        self.shared.runtime.spawn(async move {
            // An error here is the end of the connection, or a peer that stopped a stream it had
            // to read; either way the frame is as lost as one that was on its way.
            if let Err(error) = shared.write_large(&frame).await {
                tracing::debug!(%error, bytes, "large frame not sent");
            }
            shared.large_bytes.fetch_sub(bytes, Relaxed);
        });
        Ok(())
    }
}

impl Shared {
    async fn write_large(&self, frame: &Frame) -> Result<(), WriteError> {
        // The semaphore is never closed.
        let _permit = self.large_streams.acquire().await;
        let (mut stream, _) = self.connection.open_bi().await?;
        let mut header = BytesMut::new();
        frame.encode_header_into(&mut header);
        stream
            .write_all_chunks(&mut [header.freeze(), frame.body.clone()])
            .await
        // Dropping the stream finishes it.
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link")
            .field("remote", &self.remote())
            .finish_non_exhaustive()
    }
}

/// The first frame of lane `lane` of `lanes`.
pub(super) fn lane_frame(lane: usize, lanes: usize) -> Frame {
    let body = [lane as u8, lanes as u8];
    Frame {
        kind: FrameKind::Lane,
        id: RequestId(0),
        deadline_ms: 0,
        body: Bytes::copy_from_slice(&body),
    }
}
