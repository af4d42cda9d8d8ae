//! Hybrid logical clocks: wall time that never runs backwards and orders what it has seen.
//!
//! Kulkarni, Demirbas, Madappa, Avva, Leone, *Logical Physical Clocks* (OPODIS 2014), section 3, with
//! both parts in 64 bits: 48 bits of milliseconds since 1970, 16 bits of counter.

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Milliseconds since 1970-01-01 UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Millis(pub u64);

/// One stamp. Orders last-writer-wins cells; ties are settled by the dot.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Hlc(pub u64);

impl Hlc {
    /// The wall-time part.
    pub fn millis(self) -> Millis {
        Millis(self.0 >> 16)
    }

    /// The first stamp of a millisecond.
    pub fn at(time: Millis) -> Self {
        Self(time.0.min(u64::MAX >> 16) << 16)
    }
}

impl fmt::Debug for Hlc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}+{}", self.0 >> 16, self.0 & 0xffff)
    }
}

/// A stamp lies further ahead of this node's clock than it accepts; the write was not applied here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error(
    "a stamp is {ahead_ms} ms ahead of this node's clock; at most {allowed_ms} ms are accepted"
)]
pub struct SkewError {
    /// How far ahead, in milliseconds.
    pub ahead_ms: u64,
    /// How far ahead a stamp may be, in milliseconds.
    pub allowed_ms: u64,
}

/// Gives out stamps, each later than every one it gave or saw.
#[derive(Debug, Clone, Default)]
pub struct HlcClock {
    last: Hlc,
}

impl HlcClock {
    /// A stamp for something that happens now.
    pub fn tick(&mut self, now: Millis) -> Hlc {
        self.last = Hlc::at(now).max(Hlc(self.last.0.saturating_add(1)));
        self.last
    }

    /// As [`tick`](Self::tick), but never more than `allowed_ms` and one stamp ahead of `now`: a clock that was
    /// far ahead and was put right would otherwise give stamps that nobody accepts, for as long as it was off.
    /// Then this one may be earlier than those before it.
    pub fn tick_within(&mut self, now: Millis, allowed_ms: u64) -> Hlc {
        if self.last.millis().0.saturating_sub(now.0) > allowed_ms {
            self.last = Hlc::default();
        }
        self.tick(now)
    }

    /// Takes note of a stamp from elsewhere, so that the next tick is later.
    ///
    /// # Errors
    /// [`SkewError`] if it is more than `allowed_ms` ahead of `now`; it is then not taken into account.
    pub fn observe(&mut self, stamp: Hlc, now: Millis, allowed_ms: u64) -> Result<(), SkewError> {
        let ahead_ms = stamp.millis().0.saturating_sub(now.0);
        if ahead_ms > allowed_ms {
            return Err(SkewError {
                ahead_ms,
                allowed_ms,
            });
        }
        self.last = self.last.max(stamp);
        Ok(())
    }
}
