//! The seeded generator in the shape that distributions take.

use std::convert::Infallible;

use fastrand::Rng;

/// Draws as `fastrand` does.
#[derive(Clone, Debug)]
pub(crate) struct Random(pub(crate) Rng);

impl rand_core::TryRng for Random {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(self.0.u32(..))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(self.0.u64(..))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        self.0.fill(bytes);
        Ok(())
    }
}
