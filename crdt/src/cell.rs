//! What one event left in its row: a body, when, and for which request.

use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::encoding::{DecodeError, Reader, put_bytes, put_u64, put_varint};
use crate::hlc::{Hlc, Millis};

/// Names one request of one client, across its retries: 128 random bits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct OpId(pub u64, pub u64);

impl fmt::Debug for OpId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}{:016x}", self.0, self.1)
    }
}

impl fmt::Display for OpId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// The content of a cell, by the kind of its row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// `register` and `lww`: the value.
    Value(Bytes),
    /// `counter`: the running totals of one actor, not one step.
    Count {
        /// The sum of its increments.
        plus: u64,
        /// The sum of its decrements.
        minus: u64,
    },
    /// `flag`: enabled; an element of a `set`: present.
    Mark,
    /// `max` and `min`: one observation.
    Extreme(i64),
}

/// What one event left in its row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cell {
    /// When its coordinator wrote it.
    pub stamp: Hlc,
    /// The request that it answers. Two cells of one request are one write, retried.
    pub op: OpId,
    /// When it stops being visible, everywhere alike. `None`: never.
    pub expires_at: Option<Millis>,
    /// What it holds.
    pub body: Body,
}

const VALUE: u8 = 0;
const COUNT: u8 = 1;
const MARK: u8 = 2;
const EXTREME: u8 = 3;
/// Set in the tag byte of a cell that expires.
const EXPIRES: u8 = 0x80;

impl Cell {
    /// Whether it is no longer to be shown.
    pub fn is_expired(&self, now: Millis) -> bool {
        self.expires_at.is_some_and(|at| at <= now)
    }

    pub(crate) fn encode_into(&self, out: &mut Vec<u8>) {
        let tag = match &self.body {
            Body::Value(_) => VALUE,
            Body::Count { .. } => COUNT,
            Body::Mark => MARK,
            Body::Extreme(_) => EXTREME,
        };
        out.push(
            tag | if self.expires_at.is_some() {
                EXPIRES
            } else {
                0
            },
        );
        put_u64(out, self.stamp.0);
        put_u64(out, self.op.0);
        put_u64(out, self.op.1);
        if let Some(at) = self.expires_at {
            put_varint(out, at.0);
        }
        match &self.body {
            Body::Value(value) => put_bytes(out, value),
            Body::Count { plus, minus } => {
                put_varint(out, *plus);
                put_varint(out, *minus);
            }
            Body::Mark => {}
            Body::Extreme(value) => put_u64(out, value.cast_unsigned()),
        }
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let tag = reader.u8()?;
        let stamp = Hlc(reader.u64()?);
        let op = OpId(reader.u64()?, reader.u64()?);
        let expires_at = match tag & EXPIRES {
            0 => None,
            _ => Some(Millis(reader.varint()?)),
        };
        let body = match tag & !EXPIRES {
            VALUE => Body::Value(reader.bytes()?),
            COUNT => Body::Count {
                plus: reader.varint()?,
                minus: reader.varint()?,
            },
            MARK => Body::Mark,
            EXTREME => Body::Extreme(reader.u64()?.cast_signed()),
            other => return Err(DecodeError::Tag(other)),
        };
        Ok(Self {
            stamp,
            op,
            expires_at,
            body,
        })
    }
}
