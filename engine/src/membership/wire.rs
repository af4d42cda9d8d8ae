//! The bytes of a membership datagram.
//!
//! ```text
//!   datagram    version: u8  kind: u8  body
//!   life        id: u64  incarnation: u64  instance: u64  renewal: u32          (28 bytes)
//!   card        life  name: u16 + bytes  address: u16 + bytes
//!   SWIM        sender: card  u16  receiver: life  [probe: u8]  [third party: life]  [count: u16  members]
//!   member      card  u16  state: u8
//!   Hello       card  asked: u8          "this is me; who are you?"
//!   Introduced  card  asked: u8          "this is me"
//!   Superseded  card  state: u8          "of your id I know this process, which is newer than you"
//! ```
//!
//! Integers are big-endian. Only cards carry texts. A node whose texts are longer than
//! [`INLINE_TEXT_BYTES_MAX`] leaves them out of its SWIM packets (but of an announcement, which carries
//! nothing else) and sends `Introduced` before each: so a packet holds the longest member whoever sends it.

use bytes::{Buf, BufMut};
use dunlin_ring::{NodeId, TEXT_BYTES_MAX};
use foca::{Header, Member, Message, State};

use super::identity::{Identity, Life};

/// Bytes of a datagram: what a QUIC datagram holds on any path that carries QUIC at all.
pub const DATAGRAM_BYTES_MAX: usize = 1_100;
/// Texts up to this are in every packet of their node.
pub(crate) const INLINE_TEXT_BYTES_MAX: usize = 256;

const VERSION: u8 = 1;
const LIFE_BYTES: usize = 28;
const CARD_BYTES_MAX: usize = LIFE_BYTES + 2 * (2 + TEXT_BYTES_MAX);
const MEMBER_BYTES_MAX: usize = CARD_BYTES_MAX + 3;
/// Version, kind, the sender, its u16, receiver, probe number, third party.
const HEADER_BYTES_MAX: usize =
    2 + (LIFE_BYTES + 4 + INLINE_TEXT_BYTES_MAX) + 2 + 2 * LIFE_BYTES + 1;

// One member always fits, with its count. One that didn't would be kept for sending for ever.
const _: () = assert!(HEADER_BYTES_MAX + 2 + MEMBER_BYTES_MAX <= DATAGRAM_BYTES_MAX);
// An announcement of the longest sender.
const _: () = assert!(2 + CARD_BYTES_MAX + 2 + LIFE_BYTES <= DATAGRAM_BYTES_MAX);

const HELLO: u8 = 32;
const INTRODUCED: u8 = 33;
const SUPERSEDED: u8 = 34;
const ANNOUNCE: u8 = 6;

/// Why bytes are no datagram, or a packet could not be written. Nothing was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum WireError {
    #[error("the datagram ends inside a field")]
    Truncated,
    #[error("bytes follow the datagram")]
    Trailing,
    #[error("not a version that is spoken here")]
    Version,
    #[error("no such kind or state")]
    Kind,
    #[error("a text is too long or not UTF-8")]
    Text,
    #[error("a card without an address")]
    NoAddress,
    #[error("it does not fit")]
    Full,
}

/// One datagram.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Datagram {
    /// For foca, which reads it once more.
    Swim {
        header: Header<Life>,
        members: Vec<Member<Life>>,
    },
    Hello {
        from: Life,
        /// Comes back in the answer.
        asked: u8,
    },
    Introduced {
        from: Life,
        asked: u8,
    },
    Superseded {
        by: Life,
        state: State,
    },
}

impl Datagram {
    /// Reads all of it, so that foca is given nothing that it does not understand.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader { rest: bytes };
        let kind = match bytes.get(1) {
            Some(kind) => *kind,
            None => return Err(WireError::Truncated),
        };
        let datagram = match kind {
            HELLO | INTRODUCED => {
                reader.start()?;
                let from = reader.card()?;
                let asked = reader.u8()?;
                match kind {
                    HELLO => Self::Hello { from, asked },
                    _ => Self::Introduced { from, asked },
                }
            }
            SUPERSEDED => {
                reader.start()?;
                let by = reader.card()?;
                let state = reader.state()?;
                Self::Superseded { by, state }
            }
            10.. => return Err(WireError::Kind),
            0..10 => {
                let header = reader.header()?;
                let count = match reader.rest {
                    [] => 0,
                    _ => reader.u16()?,
                };
                let members = (0..count).map(|_| reader.member());
                let members = members.collect::<Result<_, _>>()?;
                Self::Swim { header, members }
            }
        };
        match reader.rest {
            [] => Ok(datagram),
            _ => Err(WireError::Trailing),
        }
    }

    /// The bytes of one of our own kinds; those of SWIM are written by foca through [`Codec`].
    pub(crate) fn hello(from: &Life, asked: u8) -> Vec<u8> {
        own(HELLO, from, asked)
    }

    pub(crate) fn introduced(from: &Life, asked: u8) -> Vec<u8> {
        own(INTRODUCED, from, asked)
    }

    pub(crate) fn superseded(by: &Life, state: State) -> Vec<u8> {
        own(SUPERSEDED, by, state_byte(state))
    }
}

/// Whether a packet that foca wrote carries the sender's texts, however long they are.
pub(crate) fn is_announcement(packet: &[u8]) -> bool {
    packet.get(1) == Some(&ANNOUNCE)
}

fn own(kind: u8, life: &Life, last: u8) -> Vec<u8> {
    let mut out = Vec::with_capacity(2 + LIFE_BYTES + 5 + life.who.text_bytes());
    out.put_slice(&[VERSION, kind]);
    put_card(&mut out, life);
    out.put_u8(last);
    out
}

fn put_life(out: &mut impl BufMut, life: &Life) {
    out.put_u64(life.who.id.0);
    out.put_u64(life.who.incarnation);
    out.put_u64(life.who.instance);
    out.put_u32(life.renewal);
}

fn put_card(out: &mut impl BufMut, life: &Life) {
    put_life(out, life);
    for text in [&life.who.name, &life.who.address] {
        // No text is longer than `TEXT_BYTES_MAX`: ours is checked at the start, others' when read.
        out.put_u16(u16::try_from(text.len()).unwrap_or(0));
        out.put_slice(text.as_bytes());
    }
}

fn put_bare(out: &mut impl BufMut, life: &Life) {
    put_life(out, life);
    out.put_u32(0);
}

fn state_byte(state: State) -> u8 {
    match state {
        State::Alive => 0,
        State::Suspect => 1,
        State::Down => 2,
    }
}

/// How foca reads and writes packets and members.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Codec;

impl foca::Codec<Life> for Codec {
    type Error = WireError;

    fn encode_header(
        &mut self,
        header: &Header<Life>,
        mut buf: impl BufMut,
    ) -> Result<(), WireError> {
        let (kind, probe, third) = match &header.message {
            Message::Ping(n) => (0, Some(*n), None),
            Message::Ack(n) => (1, Some(*n), None),
            Message::PingReq {
                target,
                probe_number,
            } => (2, Some(*probe_number), Some(target)),
            Message::IndirectPing {
                origin,
                probe_number,
            } => (3, Some(*probe_number), Some(origin)),
            Message::IndirectAck {
                target,
                probe_number,
            } => (4, Some(*probe_number), Some(target)),
            Message::ForwardedAck {
                origin,
                probe_number,
            } => (5, Some(*probe_number), Some(origin)),
            Message::Announce => (ANNOUNCE, None, None),
            Message::Feed => (7, None, None),
            Message::Gossip => (8, None, None),
            Message::TurnUndead => (9, None, None),
            Message::Broadcast => return Err(WireError::Kind),
        };
        let mut out = Vec::with_capacity(HEADER_BYTES_MAX);
        out.put_slice(&[VERSION, kind]);
        if kind == ANNOUNCE || header.src.who.text_bytes() <= INLINE_TEXT_BYTES_MAX {
            put_card(&mut out, &header.src);
        } else {
            put_bare(&mut out, &header.src);
        }
        out.put_u16(header.src_incarnation);
        put_life(&mut out, &header.dst);
        if let Some(probe) = probe {
            out.put_u8(probe);
        }
        if let Some(third) = third {
            put_life(&mut out, third);
        }
        put_whole(&mut buf, &out)
    }

    fn decode_header(&mut self, buf: impl Buf) -> Result<Header<Life>, WireError> {
        take(buf, |reader| reader.header())
    }

    fn encode_member(
        &mut self,
        member: &Member<Life>,
        mut buf: impl BufMut,
    ) -> Result<(), WireError> {
        let mut out = Vec::with_capacity(LIFE_BYTES + 7 + member.id().who.text_bytes());
        put_card(&mut out, member.id());
        out.put_u16(member.incarnation());
        out.put_u8(state_byte(member.state()));
        put_whole(&mut buf, &out)
    }

    fn decode_member(&mut self, buf: impl Buf) -> Result<Member<Life>, WireError> {
        take(buf, |reader| reader.member())
    }
}

/// All or nothing: foca goes on with what is in the buffer.
fn put_whole(buf: &mut impl BufMut, bytes: &[u8]) -> Result<(), WireError> {
    if buf.remaining_mut() < bytes.len() {
        return Err(WireError::Full);
    }
    buf.put_slice(bytes);
    Ok(())
}

/// Reads one item; foca promises that its buffers are contiguous.
fn take<T>(
    mut buf: impl Buf,
    read: impl FnOnce(&mut Reader<'_>) -> Result<T, WireError>,
) -> Result<T, WireError> {
    let mut reader = Reader { rest: buf.chunk() };
    let item = read(&mut reader)?;
    let read = buf.chunk().len() - reader.rest.len();
    buf.advance(read);
    Ok(item)
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl Reader<'_> {
    fn start(&mut self) -> Result<u8, WireError> {
        if self.u8()? != VERSION {
            return Err(WireError::Version);
        }
        self.u8()
    }

    fn header(&mut self) -> Result<Header<Life>, WireError> {
        let kind = self.start()?;
        let src = self.card_or_bare()?;
        let src_incarnation = self.u16()?;
        let dst = self.life()?;
        let message = match kind {
            0 => Message::Ping(self.u8()?),
            1 => Message::Ack(self.u8()?),
            2..=5 => {
                let probe_number = self.u8()?;
                let third = self.life()?;
                match kind {
                    2 => Message::PingReq {
                        target: third,
                        probe_number,
                    },
                    3 => Message::IndirectPing {
                        origin: third,
                        probe_number,
                    },
                    4 => Message::IndirectAck {
                        target: third,
                        probe_number,
                    },
                    _ => Message::ForwardedAck {
                        origin: third,
                        probe_number,
                    },
                }
            }
            ANNOUNCE => Message::Announce,
            7 => Message::Feed,
            8 => Message::Gossip,
            9 => Message::TurnUndead,
            _ => return Err(WireError::Kind),
        };
        Ok(Header {
            src,
            src_incarnation,
            dst,
            message,
        })
    }

    fn member(&mut self) -> Result<Member<Life>, WireError> {
        let life = self.card()?;
        let incarnation = self.u16()?;
        Ok(Member::new(life, incarnation, self.state()?))
    }

    fn state(&mut self) -> Result<State, WireError> {
        match self.u8()? {
            0 => Ok(State::Alive),
            1 => Ok(State::Suspect),
            2 => Ok(State::Down),
            _ => Err(WireError::Kind),
        }
    }

    fn card(&mut self) -> Result<Life, WireError> {
        let life = self.card_or_bare()?;
        match life.has_address() {
            true => Ok(life),
            false => Err(WireError::NoAddress),
        }
    }

    fn card_or_bare(&mut self) -> Result<Life, WireError> {
        let (mut who, renewal) = self.life_fields()?;
        who.name = self.text()?;
        who.address = self.text()?;
        Ok(Life {
            who: who.into(),
            renewal,
        })
    }

    /// A life without its texts.
    fn life(&mut self) -> Result<Life, WireError> {
        let (who, renewal) = self.life_fields()?;
        Ok(Life {
            who: who.into(),
            renewal,
        })
    }

    fn life_fields(&mut self) -> Result<(Identity, u32), WireError> {
        let who = Identity {
            id: NodeId(self.u64()?),
            incarnation: self.u64()?,
            instance: self.u64()?,
            name: String::new(),
            address: String::new(),
        };
        Ok((who, self.u32()?))
    }

    fn text(&mut self) -> Result<String, WireError> {
        let bytes = usize::from(self.u16()?);
        if bytes > TEXT_BYTES_MAX {
            return Err(WireError::Text);
        }
        let (text, rest) = self
            .rest
            .split_at_checked(bytes)
            .ok_or(WireError::Truncated)?;
        self.rest = rest;
        let text = std::str::from_utf8(text).map_err(|_| WireError::Text)?;
        Ok(text.to_owned())
    }

    fn u8(&mut self) -> Result<u8, WireError> {
        self.fixed::<1>().map(u8::from_be_bytes)
    }

    fn u16(&mut self) -> Result<u16, WireError> {
        self.fixed::<2>().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Result<u32, WireError> {
        self.fixed::<4>().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Result<u64, WireError> {
        self.fixed::<8>().map(u64::from_be_bytes)
    }

    fn fixed<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let (head, rest) = self.rest.split_first_chunk().ok_or(WireError::Truncated)?;
        self.rest = rest;
        Ok(*head)
    }
}

#[cfg(test)]
mod tests;
