//! Puts and gets of values that cannot be compressed, under keys drawn evenly.

use dunlin_client::{Bucket, Bytes};
use fastrand::Rng;

use super::{Class, End, Step, Work};
/// Values to choose from: enough that neither compression nor a cache sees the same one again soon.
const VALUES: usize = 256;

/// The key of a number.
pub(crate) fn key(number: u64) -> String {
    format!("key-{number:012}")
}

/// Random values.
pub(crate) fn values(seed: u64, bytes: u32) -> Vec<Bytes> {
    let mut rng = Rng::with_seed(seed);
    let value = |_| {
        let mut value = vec![0; bytes as usize];
        rng.fill(&mut value);
        Bytes::from(value)
    };
    (0..VALUES).map(value).collect()
}

/// Puts and gets on `keys` keys of an `lww` bucket.
pub(crate) struct KeyValues {
    pub(crate) bucket: Bucket,
    pub(crate) keys: u64,
    pub(crate) values: Vec<Bytes>,
    pub(crate) what: Share,
}

/// Which requests are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Share {
    Puts,
    Gets,
    Halves,
}

impl Work for KeyValues {
    async fn step(&self, _worker: usize, draw: u64) -> Step {
        // The lower half of the draw chooses the key, other bits value and request.
        let key = key((draw & 0xffff_ffff) % self.keys);
        let put = match self.what {
            Share::Puts => true,
            Share::Gets => false,
            Share::Halves => draw >> 63 == 1,
        };
        let handle = match self.bucket.lww(key) {
            Ok(handle) => handle,
            Err(error) => {
                let (what, end) = (Class::Update, End::Failed((&error).into()));
                return Step { what, end };
            }
        };
        if put {
            let value = self.values.get((draw >> 32) as usize % VALUES).cloned();
            let end = match handle.put(value.unwrap_or_default()).await {
                Ok(_) => End::Done,
                Err(error) => End::Failed((&error).into()),
            };
            let what = Class::Update;
            return Step { what, end };
        }
        let end = match handle.get().await {
            Ok(Some(_)) => End::Done,
            Ok(None) => End::NotFound,
            Err(error) => End::Failed((&error).into()),
        };
        let what = Class::Read;
        Step { what, end }
    }
}
