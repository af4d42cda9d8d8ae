//! One lane's outgoing half: a bounded outbox, and the task that empties it into a stream.
//!
//! Senders encode straight into the outbox under a short lock; the writer takes all there is and
//! hands it to the stream in one write, and what is sent meanwhile gathers for the next. What the
//! writer has taken counts against the bounds until the stream has accepted it, so a peer that
//! stops reading is noticed by [`SendError::QueueFull`] and not by growing memory.

use std::{
    future::poll_fn,
    mem,
    sync::{Mutex, MutexGuard, PoisonError},
    task::{Poll, Waker},
};

use bytes::{Bytes, BytesMut};
use dunlin_protocol::frame::Frame;
use quinn::{SendStream, WriteError};

use super::{LinkOptions, SendError};

/// Bodies up to this are copied next to their header: a copy of a few kilobytes is cheaper than
/// two more buffers in the stream's queue.
const COPIED_BODY_BYTES_MAX: usize = 8 * 1024;

/// Room that an outbox makes at once for the frames to come.
const GATHER_BYTES: usize = 16 * 1024;

#[derive(Default)]
pub(super) struct Lane {
    /// Guards what is to be written; held for one encoding or one swap.
    outbox: Mutex<Outbox>,
}

#[derive(Default)]
struct Outbox {
    /// Sealed buffers, in order; `gathering` follows them.
    sealed: Vec<Bytes>,
    gathering: BytesMut,
    /// What is queued or being written.
    queued: Amount,
    /// The part of `queued` that the writer has taken.
    writing: Amount,
    /// The writer, when it found nothing to do.
    idle_writer: Option<Waker>,
    closed: bool,
}

#[derive(Clone, Copy, Default)]
struct Amount {
    frames: usize,
    bytes: usize,
}

impl Lane {
    /// Queues a frame for the writer.
    pub(super) fn push(&self, frame: &Frame, options: &LinkOptions) -> Result<(), SendError> {
        let writer = {
            let mut outbox = self.outbox();
            outbox.push(frame, options)?;
            outbox.idle_writer.take()
        };
        if let Some(writer) = writer {
            writer.wake();
        }
        Ok(())
    }

    /// Refuses frames from now on and lets the writer end.
    pub(super) fn close(&self) {
        let writer = {
            let mut outbox = self.outbox();
            outbox.closed = true;
            outbox.sealed = Vec::new();
            outbox.gathering = BytesMut::new();
            outbox.idle_writer.take()
        };
        if let Some(writer) = writer {
            writer.wake();
        }
    }

    /// Writes what is queued, for as long as lane and stream are open.
    pub(super) async fn write_to(&self, stream: &mut SendStream) -> Result<(), WriteError> {
        let mut batch = Vec::new();
        while self.next_batch(&mut batch).await {
            stream.write_all_chunks(&mut batch).await?;
            batch.clear();
        }
        Ok(())
    }

    /// Takes all that is queued, once there is something; false when the lane has closed.
    async fn next_batch(&self, batch: &mut Vec<Bytes>) -> bool {
        poll_fn(|context| {
            let mut outbox = self.outbox();
            let written = mem::take(&mut outbox.writing);
            outbox.queued.frames -= written.frames;
            outbox.queued.bytes -= written.bytes;
            if outbox.closed {
                return Poll::Ready(false);
            }
            if outbox.queued.frames == 0 {
                outbox.idle_writer = Some(context.waker().clone());
                return Poll::Pending;
            }
            outbox.writing = outbox.queued;
            outbox.seal();
            mem::swap(&mut outbox.sealed, batch);
            Poll::Ready(true)
        })
        .await
    }

    fn outbox(&self) -> MutexGuard<'_, Outbox> {
        // A sender that panicked while it held the lock left whole frames or none behind.
        self.outbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Outbox {
    fn push(&mut self, frame: &Frame, options: &LinkOptions) -> Result<(), SendError> {
        if self.closed {
            return Err(SendError::Closed);
        }
        let bytes = self.queued.bytes + frame.wire_bytes();
        if self.queued.frames >= options.lane_frames_max || bytes > options.lane_bytes_max {
            return Err(SendError::QueueFull);
        }
        self.queued = Amount {
            frames: self.queued.frames + 1,
            bytes,
        };
        if self.gathering.capacity() - self.gathering.len() < frame.wire_bytes() {
            self.gathering.reserve(GATHER_BYTES);
        }
        if frame.body.len() <= COPIED_BODY_BYTES_MAX {
            frame.encode_into(&mut self.gathering);
        } else {
            frame.encode_header_into(&mut self.gathering);
            self.seal();
            self.sealed.push(frame.body.clone());
        }
        Ok(())
    }

    fn seal(&mut self) {
        if !self.gathering.is_empty() {
            self.sealed.push(self.gathering.split().freeze());
        }
    }
}
