//! What a client has read, for it to hand back: opaque bytes.

use std::fmt;
use std::str::FromStr;

use bytes::Bytes;
use dunlin_crdt::{Clock, DecodeError};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The causal context of a read: the dots of the cells that were shown. A client hands it back with
/// the write that replaces what it read, and looks at nothing inside.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Context(Bytes);

impl Context {
    /// The context of exactly these dots.
    pub fn of(clock: &Clock) -> Self {
        if clock.is_empty() {
            Self::default()
        } else {
            Self(clock.encode().into())
        }
    }

    /// Takes bytes that a client kept, unchecked until a node reads them.
    pub fn from_bytes(bytes: impl Into<Bytes>) -> Self {
        Self(bytes.into())
    }

    /// The bytes to keep.
    pub fn as_bytes(&self) -> &Bytes {
        &self.0
    }

    /// The dots in it.
    ///
    /// # Errors
    /// [`DecodeError`] if the bytes never were a context.
    pub fn clock(&self) -> Result<Clock, DecodeError> {
        if self.0.is_empty() {
            Ok(Clock::new())
        } else {
            Clock::decode(&self.0)
        }
    }
}

impl fmt::Display for Context {
    /// Lower-case hex, as the command line shows it and takes it back.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A text is not the hex of a context. Nothing was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a context is hex: an even number of digits, as a read shows it")]
pub struct NotHex;

impl FromStr for Context {
    type Err = NotHex;

    fn from_str(text: &str) -> Result<Self, NotHex> {
        let digit = |digit: u8| char::from(digit).to_digit(16).ok_or(NotHex);
        let byte = |pair: &[u8]| match *pair {
            [high, low] => Ok((digit(high)? << 4 | digit(low)?) as u8),
            _ => Err(NotHex),
        };
        let bytes: Vec<u8> = text
            .as_bytes()
            .chunks(2)
            .map(byte)
            .collect::<Result<_, _>>()?;
        Ok(Self(bytes.into()))
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
