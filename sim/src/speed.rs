//! How fast the simulator is: a calm cluster of five nodes at a thousand operations a second.
//!
//! The caller measures the real time; what is simulated is the same on every machine.

use dunlin_crdt::Kind;
use dunlin_protocol::BucketDefaults;
use dunlin_ring::RingError;

use crate::options::{BucketPlan, Options};
use crate::overrides::Overrides;
use crate::run::layout;
use crate::size::calm;
use crate::trace::Trace;
use crate::world::World;

const NODES: usize = 5;
const PARTITIONS: u16 = 64;
/// A thousand operations in a second.
const EVERY_US: u64 = 1_000;

/// What was simulated.
#[derive(Clone, Copy, Debug)]
pub struct SpeedReport {
    /// Virtual time while operations came, in microseconds.
    pub virtual_us: u64,
    /// Operations that clients asked for.
    pub operations: u64,
    /// What happened meanwhile, in events.
    pub events: u64,
}

/// A cluster that is born and does nothing yet.
///
/// # Errors
/// [`RingError`] never, but for a mistake in this file.
pub fn speed(seconds: u64, started: impl FnOnce()) -> Result<SpeedReport, RingError> {
    let mut rng = fastrand::Rng::with_seed(1);
    let options = calm(Options::draw(0, &mut rng, &Overrides::default()));
    let options = Options {
        nodes: NODES,
        partitions: PARTITIONS,
        shards: 2,
        buckets: vec![BucketPlan {
            kind: Kind::Lww,
            defaults: BucketDefaults::default(),
        }],
        // As in any run.
        check_every: 2_000,
        ..options
    };
    let founded = std::sync::Arc::new(layout(&options)?);
    let mut world = World::new(options, rng, founded, Trace::new(false));
    world.be_born();
    world.make_buckets();
    let bucket = world.history.lasting.first().copied().unwrap_or_default();
    let (from, asked, events) = (world.now, world.history.ops.len(), world.trace.events());
    started();
    world.keep_busy(bucket, from + seconds * 1_000_000, EVERY_US);
    Ok(SpeedReport {
        virtual_us: world.now - from,
        operations: (world.history.ops.len() - asked) as u64,
        events: world.trace.events() - events,
    })
}
