//! One write event on one row, as it travels to the other owners and waits in hints.

use bytes::Bytes;

use crate::cell::Cell;
use crate::clock::Clock;
use crate::dot::{ActorId, Dot};
use crate::encoding::{DecodeError, Reader, put_u64, put_varint, serde_as_bytes};

/// What happened on a row, and nothing about any other event: the dot that names it, the cell it left
/// (none for a removal), and the dots whose cells it replaces.
///
/// It carries its own context: whoever takes it drops what it replaces, or remembers those dots in the
/// row's `past` until they arrive. So events may come in any order, twice, or by way of a hint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Its name.
    pub dot: Dot,
    /// What it left in the row; `None` for a removal.
    pub cell: Option<Cell>,
    /// The dots whose cells it replaces, and only those.
    pub replaces: Clock,
}

serde_as_bytes!(Event);

impl Event {
    /// The canonical bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64);
        self.encode_into(&mut out);
        out
    }

    pub(crate) fn encode_into(&self, out: &mut Vec<u8>) {
        put_u64(out, self.dot.actor.0);
        put_varint(out, self.dot.counter);
        self.replaces.encode_into(out);
        match &self.cell {
            None => out.push(0),
            Some(cell) => {
                out.push(1);
                cell.encode_into(out);
            }
        }
    }

    /// Reads canonical bytes back.
    ///
    /// # Errors
    /// [`DecodeError`] for anything that [`encode`](Self::encode) does not produce.
    pub fn decode(bytes: &Bytes) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let actor = ActorId(reader.u64()?);
        let counter = reader.varint()?;
        if counter == 0 {
            return Err(DecodeError::NotCanonical);
        }
        let replaces = Clock::read(&mut reader)?;
        let cell = match reader.u8()? {
            0 => None,
            1 => Some(Cell::read(&mut reader)?),
            other => return Err(DecodeError::Tag(other)),
        };
        reader.end()?;
        Ok(Self {
            dot: Dot::new(actor, counter),
            cell,
            replaces,
        })
    }
}
