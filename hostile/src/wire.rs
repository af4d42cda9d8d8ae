//! What arrives on a connection: a stream of frames, and the messages in them.

use std::fmt::Debug;

use bytes::BytesMut;
use dunlin_crdt::Kind;
use dunlin_protocol::cluster::ClusterEntry;
use dunlin_protocol::codec::{CodecLimits, decode, encode, scan};
use dunlin_protocol::frame::{Frame, FrameError, FrameReader, Limits};
use dunlin_protocol::peer::PeerMessage;
use dunlin_protocol::request::Request;
use dunlin_protocol::response::Response;
use dunlin_protocol::{Bucket, Part};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A stream of frames yields the same frames and ends the same however it is cut; what it yields,
/// encoded again, is what was read. The first two bytes say who listens and how the stream is cut.
pub fn frames(data: &[u8]) {
    let [ears, piece, stream @ ..] = data else {
        return;
    };
    let limits = [Limits::FROM_CLIENT, Limits::FROM_NODE, Limits::PEER];
    let at = usize::from(*ears) % limits.len();
    let limits = limits.get(at).copied().unwrap_or(Limits::PEER);
    let (read, end) = read(stream, 1 + usize::from(*piece), limits);
    let whole = self::read(stream, stream.len().max(1), limits);
    assert_eq!(
        (&read, &end),
        (&whole.0, &whole.1),
        "cutting changes nothing"
    );

    let mut again = BytesMut::new();
    for frame in &read {
        assert!(frame.wire_bytes() <= limits.frame_bytes_max);
        assert!(limits.kinds.contains(frame.kind));
        frame.encode_into(&mut again);
    }
    assert!(stream.starts_with(&again), "frames are what was sent");
    assert_eq!(end.is_ok(), again.len() == stream.len(), "{end:?}");
    read.iter().for_each(|frame| messages(&frame.body));
}

fn read(stream: &[u8], piece: usize, limits: Limits) -> (Vec<Frame>, Result<(), FrameError>) {
    let mut reader = FrameReader::new(limits);
    let mut frames = Vec::new();
    for piece in stream.chunks(piece) {
        reader.feed(piece);
        loop {
            match reader.next_frame() {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(error) => return (frames, Err(error)),
            }
        }
    }
    let end = reader.finish();
    (frames, end)
}

/// Whatever is accepted as a message, of any type, has an encoding that is read back as the same, and
/// is plain MessagePack within the limits.
pub fn messages(data: &[u8]) {
    read_as::<Request>(data);
    read_as::<Response>(data);
    read_as::<PeerMessage>(data);
    // These are stored too.
    read_as::<ClusterEntry>(data);
    read_as::<Bucket>(data);
    read_as::<Kind>(data);
    read_as::<Part>(data);
}

fn read_as<T: Serialize + DeserializeOwned + PartialEq + Debug>(data: &[u8]) {
    let limits = CodecLimits::default();
    let Ok(message) = decode::<T>(data, limits) else {
        return;
    };
    assert!(scan(data, limits).is_ok());
    let bytes = encode(&message).expect("a message that was read can be sent");
    let again: T = decode(&bytes, limits).expect("a message that was sent can be read");
    assert_eq!(again, message);
    let twice = encode(&again).expect("as before");
    assert_eq!(twice, bytes, "a message has one encoding");
}
