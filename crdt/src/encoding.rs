//! The canonical byte form of clocks, rows and events: big-endian fixed integers, LEB128 varints.
//!
//! Canonical means that equal values have equal bytes: decoding refuses every form that encoding
//! would not have produced, so bytes can be compared and hashed in place of values.

use bytes::Bytes;
use thiserror::Error;

/// Why bytes are not a value of this crate. Nothing was changed by the attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// The bytes end before the value does.
    #[error("the bytes end before the value does")]
    Truncated,
    /// There are bytes after the end of the value.
    #[error("there are bytes after the end of the value")]
    Trailing,
    /// The format version is not one that this build reads.
    #[error("format version {0} is unknown to this build")]
    Version(u8),
    /// A tag byte names nothing.
    #[error("tag {0} names nothing")]
    Tag(u8),
    /// The bytes are not in canonical form: out of order, empty where something must be, or overlong.
    #[error("the bytes are not in canonical form")]
    NotCanonical,
}

/// A cursor over bytes to decode. Slices of `Bytes` are shared, not copied.
pub(crate) struct Reader<'a> {
    all: &'a Bytes,
    at: usize,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(all: &'a Bytes) -> Self {
        Self { all, at: 0 }
    }

    pub(crate) fn u8(&mut self) -> Result<u8, DecodeError> {
        let byte = *self.all.get(self.at).ok_or(DecodeError::Truncated)?;
        self.at += 1;
        Ok(byte)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let rest = self.all.get(self.at..).ok_or(DecodeError::Truncated)?;
        let array = *rest.first_chunk::<N>().ok_or(DecodeError::Truncated)?;
        self.at += N;
        Ok(array)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, DecodeError> {
        self.array().map(u64::from_be_bytes)
    }

    pub(crate) fn varint(&mut self) -> Result<u64, DecodeError> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            let bits = u64::from(byte & 0x7f);
            if (shift == 63 && bits > 1) || (byte == 0 && shift > 0) {
                return Err(DecodeError::NotCanonical);
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(DecodeError::NotCanonical)
    }

    /// A count of things that take at least `least` bytes each, so that no allocation can exceed the
    /// input.
    pub(crate) fn count(&mut self, least: usize) -> Result<usize, DecodeError> {
        let count = usize::try_from(self.varint()?).map_err(|_| DecodeError::Truncated)?;
        if count > (self.all.len() - self.at) / least.max(1) {
            return Err(DecodeError::Truncated);
        }
        Ok(count)
    }

    pub(crate) fn bytes(&mut self) -> Result<Bytes, DecodeError> {
        let len = self.count(1)?;
        let slice = self.all.slice(self.at..self.at + len);
        self.at += len;
        Ok(slice)
    }

    pub(crate) fn end(self) -> Result<(), DecodeError> {
        if self.at == self.all.len() {
            Ok(())
        } else {
            Err(DecodeError::Trailing)
        }
    }
}

pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

pub(crate) fn put_u64(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(&value.to_be_bytes());
}

pub(crate) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Serde by way of the canonical bytes: on the wire a clock, row or event is one byte string.
macro_rules! serde_as_bytes {
    ($type:ty) => {
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_bytes(&self.encode())
            }
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let bytes = bytes::Bytes::deserialize(deserializer)?;
                Self::decode(&bytes).map_err(serde::de::Error::custom)
            }
        }
    };
}
pub(crate) use serde_as_bytes;
