//! Frames: how messages are cut out of a byte stream.
//!
//! ```text
//! offset  0         4      5            13            17
//!         | length  | kind | request id | deadline ms | body ...
//!         | u32     | u8   | u64        | u32         | length - 13 bytes
//! ```
//!
//! All numbers are little endian. `length` counts what follows it. A deadline is the time left in
//! milliseconds when the frame was written (no clock is shared), zero for none.
//!
//! Sans-IO: [`FrameReader`] is fed bytes and yields frames; it owns no socket. What a frame's body
//! says is not known here. A length is checked against the connection's [`Limits`] before a byte
//! is reserved for it, and memory grows with what has arrived, never with what was announced.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::limits::{CLIENT_FRAME_BYTES_MAX, PEER_FRAME_BYTES_MAX};

/// Bytes before the body: length, kind, request id, deadline.
pub const HEADER_BYTES: usize = 17;

/// The part of the header that the length field counts.
const COUNTED_HEADER_BYTES: u32 = 13;

/// What a reader reserves at once for a frame that has been announced but not yet received. Below
/// this a frame costs one allocation; above it the buffer doubles as bytes arrive.
const RESERVE_BYTES_MAX: usize = 256 * 1024;

/// The least a reader allocates, so that a stream of small frames shares one allocation.
const RESERVE_BYTES_MIN: usize = 16 * 1024;

/// Matches a response with its request; unique on one connection while the request is open.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RequestId(pub u64);

/// What a frame's body holds.
///
/// A new kind is a new variant; a peer that does not know it closes the connection, so kinds are
/// only sent to those that announced a version that has them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum FrameKind {
    /// The first frame of a long-lived stream: which lane of the connection it is. Handled by the
    /// transport, never delivered.
    Lane = 1,
    /// What the sender is and speaks, once after connecting.
    Hello = 2,
    /// A question that expects one [`FrameKind::Response`] with the same id.
    Request = 3,
    /// The answer to a [`FrameKind::Request`].
    Response = 4,
    /// A message between nodes; whether it is answered is the engine's matter.
    Peer = 5,
}

impl FrameKind {
    /// The kind that a header's byte names, if there is one.
    pub const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Lane),
            2 => Some(Self::Hello),
            3 => Some(Self::Request),
            4 => Some(Self::Response),
            5 => Some(Self::Peer),
            _ => None,
        }
    }
}

/// A set of [`FrameKind`]s: what one end of a connection is willing to receive.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FrameKinds(u32);

impl FrameKinds {
    /// The set of `kinds`.
    pub const fn of(kinds: &[FrameKind]) -> Self {
        let mut bits = 0;
        let mut rest = kinds;
        while let [kind, tail @ ..] = rest {
            bits |= 1 << *kind as u8;
            rest = tail;
        }
        Self(bits)
    }

    /// Whether `kind` is in the set.
    pub const fn contains(self, kind: FrameKind) -> bool {
        self.0 & (1 << kind as u8) != 0
    }
}

/// One message, as it is framed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Frame {
    /// What the body holds.
    pub kind: FrameKind,
    /// Matches answers with questions.
    pub id: RequestId,
    /// Milliseconds left to answer when this was written; zero for no deadline.
    pub deadline_ms: u32,
    /// The encoded message.
    pub body: Bytes,
}

impl Frame {
    /// Bytes of this frame on the wire.
    pub fn wire_bytes(&self) -> usize {
        HEADER_BYTES + self.body.len()
    }

    /// Appends the header and the body.
    ///
    /// # Panics
    /// If the body is longer than a length field can say (4 GiB): a local mistake, since every
    /// connection's limit is far below.
    pub fn encode_into(&self, out: &mut BytesMut) {
        out.reserve(self.wire_bytes());
        self.encode_header_into(out);
        out.put_slice(&self.body);
    }

    /// Appends the header only, for a writer that sends the body uncopied right after it.
    ///
    /// # Panics
    /// As [`Frame::encode_into`].
    pub fn encode_header_into(&self, out: &mut BytesMut) {
        let body_bytes_max = u32::MAX - COUNTED_HEADER_BYTES;
        assert!(
            self.body.len() <= body_bytes_max as usize,
            "a frame's body fits its length field"
        );
        out.put_u32_le(COUNTED_HEADER_BYTES + self.body.len() as u32);
        out.put_u8(self.kind as u8);
        out.put_u64_le(self.id.0);
        out.put_u32_le(self.deadline_ms);
    }
}

/// What one end of a connection accepts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// The longest frame, header included.
    pub frame_bytes_max: usize,
    /// The kinds that may arrive.
    pub kinds: FrameKinds,
}

impl Limits {
    /// What a node accepts from a client.
    pub const FROM_CLIENT: Self = Self {
        frame_bytes_max: CLIENT_FRAME_BYTES_MAX,
        kinds: FrameKinds::of(&[FrameKind::Lane, FrameKind::Hello, FrameKind::Request]),
    };

    /// What a client accepts from a node.
    pub const FROM_NODE: Self = Self {
        frame_bytes_max: CLIENT_FRAME_BYTES_MAX,
        kinds: FrameKinds::of(&[FrameKind::Lane, FrameKind::Hello, FrameKind::Response]),
    };

    /// What nodes accept from each other.
    pub const PEER: Self = Self {
        frame_bytes_max: PEER_FRAME_BYTES_MAX,
        kinds: FrameKinds::of(&[
            FrameKind::Lane,
            FrameKind::Hello,
            FrameKind::Request,
            FrameKind::Response,
            FrameKind::Peer,
        ]),
    };
}

/// Why a byte stream is not a stream of frames. Nothing of the offending frame was delivered, and
/// the stream cannot be read any further; frames yielded before it stand.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FrameError {
    /// The length announces more than this connection allows.
    #[error("a frame of {bytes} bytes, the limit is {bytes_max}")]
    TooLong {
        /// What was announced, header included.
        bytes: u64,
        /// What is allowed, header included.
        bytes_max: usize,
    },
    /// The length does not even cover the header.
    #[error("a frame length of {length} does not cover the header")]
    TooShort {
        /// What the length field says.
        length: u32,
    },
    /// No frame kind has this number.
    #[error("unknown frame kind {byte}")]
    UnknownKind {
        /// The kind byte.
        byte: u8,
    },
    /// The kind exists, but not in this direction of this connection.
    #[error("frames of kind {kind:?} are not accepted here")]
    RefusedKind {
        /// What arrived.
        kind: FrameKind,
    },
    /// The stream ended inside a frame.
    #[error("the stream ended inside a frame, after {bytes} bytes of it")]
    Truncated {
        /// How much of the frame had arrived.
        bytes: usize,
    },
}

/// Cuts frames out of the bytes of one stream.
///
/// Bodies are slices of the reader's buffer: whoever keeps a small body for long should copy it,
/// or it keeps its neighbours in memory too.
#[derive(Debug)]
pub struct FrameReader {
    limits: Limits,
    buffer: BytesMut,
    /// The length of the frame at the front of `buffer`, once its header was checked.
    frame_bytes: Option<usize>,
}

impl FrameReader {
    /// A reader at the start of a stream.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            buffer: BytesMut::new(),
            frame_bytes: None,
        }
    }

    /// Takes in the next bytes of the stream. Call [`FrameReader::next_frame`] until it yields
    /// nothing before feeding more: the buffer holds what was fed and not yet taken.
    pub fn feed(&mut self, data: &[u8]) {
        let free = self.buffer.capacity() - self.buffer.len();
        if free < data.len() {
            let announced = self
                .frame_bytes
                .unwrap_or(0)
                .saturating_sub(self.buffer.len());
            let ahead = RESERVE_BYTES_MAX.max(self.buffer.len());
            let wanted = announced.min(ahead).max(RESERVE_BYTES_MIN);
            self.buffer.reserve(wanted.max(data.len()));
        }
        self.buffer.extend_from_slice(data);
    }

    /// The next whole frame, or nothing until more bytes are fed.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        let Some(header) = self.buffer.first_chunk::<HEADER_BYTES>() else {
            return Ok(None);
        };
        let [l0, l1, l2, l3, kind_byte, id @ .., d0, d1, d2, d3] = *header;
        let length = u32::from_le_bytes([l0, l1, l2, l3]);
        let kind = self.limits.check(length, kind_byte)?;
        let frame_bytes = 4 + length as usize;
        if self.buffer.len() < frame_bytes {
            self.frame_bytes = Some(frame_bytes);
            return Ok(None);
        }
        self.frame_bytes = None;
        let mut body = self.buffer.split_to(frame_bytes).freeze();
        body.advance(HEADER_BYTES);
        Ok(Some(Frame {
            kind,
            id: RequestId(u64::from_le_bytes(id)),
            deadline_ms: u32::from_le_bytes([d0, d1, d2, d3]),
            body,
        }))
    }

    /// To be called when the stream has ended: a frame that was begun is an error.
    pub fn finish(&self) -> Result<(), FrameError> {
        match self.buffer.len() {
            0 => Ok(()),
            bytes => Err(FrameError::Truncated { bytes }),
        }
    }
}

impl Limits {
    fn check(&self, length: u32, kind_byte: u8) -> Result<FrameKind, FrameError> {
        if length < COUNTED_HEADER_BYTES {
            return Err(FrameError::TooShort { length });
        }
        let bytes = u64::from(length) + 4;
        if bytes > self.frame_bytes_max as u64 {
            return Err(FrameError::TooLong {
                bytes,
                bytes_max: self.frame_bytes_max,
            });
        }
        let kind =
            FrameKind::from_byte(kind_byte).ok_or(FrameError::UnknownKind { byte: kind_byte })?;
        if !self.kinds.contains(kind) {
            return Err(FrameError::RefusedKind { kind });
        }
        Ok(kind)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(body: impl Into<Bytes>) -> Frame {
        Frame {
            kind: FrameKind::Request,
            id: RequestId(0x0807_0605_0403_0201),
            deadline_ms: 1_500,
            body: body.into(),
        }
    }

    fn encoded(frames: &[Frame]) -> BytesMut {
        let mut out = BytesMut::new();
        for frame in frames {
            frame.encode_into(&mut out);
        }
        out
    }

    /// Feeds `bytes` in pieces of `piece` bytes and collects the frames.
    fn read(bytes: &[u8], piece: usize, limits: Limits) -> Result<Vec<Frame>, FrameError> {
        let mut reader = FrameReader::new(limits);
        let mut frames = Vec::new();
        for piece in bytes.chunks(piece) {
            reader.feed(piece);
            while let Some(frame) = reader.next_frame()? {
                frames.push(frame);
            }
        }
        reader.finish()?;
        Ok(frames)
    }

    #[test]
    fn header_has_golden_bytes() {
        let golden: &[u8] = &[
            16, 0, 0, 0, // length: 13 + 3
            3, // kind: request
            1, 2, 3, 4, 5, 6, 7, 8, // id
            0xdc, 0x05, 0, 0, // 1,500 ms
            b'a', b'b', b'c',
        ];
        assert_eq!(&encoded(&[frame("abc")])[..], golden);
        assert_eq!(read(golden, 64, Limits::PEER).unwrap(), [frame("abc")]);
    }

    #[test]
    fn every_kind_survives_its_byte_and_no_other_byte_is_a_kind() {
        let known: Vec<u8> = (0..=u8::MAX)
            .filter(|b| FrameKind::from_byte(*b).is_some())
            .collect();
        assert_eq!(known, [1, 2, 3, 4, 5]);
        for byte in known {
            assert_eq!(FrameKind::from_byte(byte).unwrap() as u8, byte);
        }
    }

    #[test]
    fn a_length_past_the_limit_is_refused_before_memory_is_reserved() {
        let mut reader = FrameReader::new(Limits::FROM_CLIENT);
        let mut header = BytesMut::new();
        frame("").encode_header_into(&mut header);
        header[..4].copy_from_slice(&u32::MAX.to_le_bytes());
        reader.feed(&header);
        assert_eq!(
            reader.next_frame(),
            Err(FrameError::TooLong {
                bytes: u64::from(u32::MAX) + 4,
                bytes_max: CLIENT_FRAME_BYTES_MAX
            })
        );
        assert!(reader.buffer.capacity() <= RESERVE_BYTES_MIN);
    }

    #[test]
    fn an_announced_frame_reserves_little_until_its_bytes_arrive() {
        let mut reader = FrameReader::new(Limits::PEER);
        let mut header = BytesMut::new();
        frame("").encode_header_into(&mut header);
        header[..4].copy_from_slice(&(PEER_FRAME_BYTES_MAX as u32 - 4).to_le_bytes());
        reader.feed(&header);
        assert_eq!(reader.next_frame(), Ok(None));
        reader.feed(&vec![0; RESERVE_BYTES_MIN]);
        assert!(reader.buffer.capacity() <= 2 * (RESERVE_BYTES_MAX + RESERVE_BYTES_MIN));
    }

    #[test]
    fn a_length_that_does_not_cover_the_header_is_refused() {
        let mut bytes = encoded(&[frame("abc")]);
        bytes[..4].copy_from_slice(&12u32.to_le_bytes());
        assert_eq!(
            read(&bytes, 64, Limits::PEER),
            Err(FrameError::TooShort { length: 12 })
        );
    }

    #[test]
    fn unknown_and_misdirected_kinds_are_refused() {
        let mut bytes = encoded(&[frame("abc")]);
        bytes[4] = 0;
        assert_eq!(
            read(&bytes, 64, Limits::PEER),
            Err(FrameError::UnknownKind { byte: 0 })
        );
        bytes[4] = FrameKind::Peer as u8;
        assert_eq!(
            read(&bytes, 64, Limits::FROM_CLIENT),
            Err(FrameError::RefusedKind {
                kind: FrameKind::Peer
            })
        );
    }

    #[test]
    fn a_stream_that_ends_inside_a_frame_is_truncated() {
        let bytes = encoded(&[frame("abc")]);
        for cut in 1..bytes.len() {
            assert_eq!(
                read(&bytes[..cut], 64, Limits::PEER),
                Err(FrameError::Truncated { bytes: cut })
            );
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn frames_survive_any_cutting_of_the_stream(
            bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..8),
            piece in 1usize..400,
        ) {
            let frames: Vec<Frame> = bodies.into_iter().map(frame).collect();
            prop_assert_eq!(read(&encoded(&frames), piece, Limits::PEER).unwrap(), frames);
        }

        #[test]
        fn arbitrary_bytes_never_panic_and_never_yield_a_frame_past_the_limit(
            bytes in prop::collection::vec(any::<u8>(), 0..400),
            piece in 1usize..50,
        ) {
            let limits = Limits { frame_bytes_max: 64, kinds: Limits::PEER.kinds };
            if let Ok(frames) = read(&bytes, piece, limits) {
                prop_assert!(frames.iter().all(|frame| frame.wire_bytes() <= 64));
                prop_assert_eq!(&encoded(&frames)[..], &bytes[..]);
            }
        }
    }
}
