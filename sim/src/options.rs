//! What a run is like: everything about it, drawn from its seed.
//!
//! The draws are made in a fixed order before anything else, so an override changes what it names and
//! leaves the other draws as they were.

use dunlin_crdt::Kind;
use dunlin_engine::EngineOptions;
use dunlin_protocol::{BucketDefaults, Durability};
use dunlin_ring::Quorum;

use crate::mutant::Mutant;
use crate::network::FAR_US;
use crate::operator::LayoutOptions;
use crate::overrides::Overrides;

/// Everything about a run.
#[derive(Clone, Debug)]
pub struct Options {
    /// The seed that all else follows from.
    pub seed: u64,
    /// How many nodes there are.
    pub nodes: usize,
    /// N.
    pub replicas: u8,
    /// Shards of each node.
    pub shards: usize,
    /// Q.
    pub partitions: u16,
    /// The buckets that exist from the start.
    pub buckets: Vec<BucketPlan>,
    /// Clients, each with one request at a time.
    pub clients: usize,
    /// Keys that clients choose from, in each bucket.
    pub keys: u64,
    /// Elements and fields that clients choose from, under each key.
    pub elements: u64,
    /// The longest pause of a client between two requests.
    pub think_us_max: u64,
    /// How long a client waits for an answer.
    pub client_timeout_ms: u64,
    /// The longest value.
    pub value_bytes_max: usize,
    /// How long clients and faults are at work.
    pub run_ms: u64,
    /// How messages travel.
    pub network: NetworkOptions,
    /// How long the disk takes.
    pub disk: DiskOptions,
    /// Mean time between two faults.
    pub fault_every_ms: u64,
    /// How often each fault is chosen.
    pub faults: FaultWeights,
    /// How far a node's clock is off, either way.
    pub skew_ms_max: u64,
    /// Of a thousand inputs, so many are handled together with later ones before a flush.
    pub late_flush_permille: u64,
    /// Whether clients choose nodes, repeat and hedge by the rules of the client library.
    pub routed: bool,
    /// Every so many events the whole state of one node is checked.
    pub check_every: u64,
    /// What the engine is told.
    pub engine: EngineOptions,
    /// Bytes of hints that a shard keeps.
    pub hints_bytes_max: u64,
    /// How layouts change; `None` if they don't.
    pub layouts: Option<LayoutOptions>,
    /// What is deliberately broken.
    pub mutant: Option<Mutant>,
    /// The queues that must not be exceeded, whatever a mutant makes of the engine's options.
    pub promised: Promised,
    /// What could have been drawn and is left out, each with the reason.
    pub left_out: Vec<&'static str>,
    /// What the caller insisted on.
    pub overrides: Overrides,
}

/// How long the queues of a shard may be.
#[derive(Clone, Copy, Debug)]
pub struct Promised {
    /// Operations in progress.
    pub operations_max: usize,
    /// Acknowledgements that wait for the disk.
    pub commits_waiting_max: usize,
    /// Bytes of hints.
    pub hints_bytes_max: u64,
    /// Partitions that are pulled at a time.
    pub repairs_max: usize,
}

/// A bucket that exists from the start.
#[derive(Clone, Copy, Debug)]
pub struct BucketPlan {
    /// What its keys are.
    pub kind: Kind,
    /// What requests get that ask for nothing else.
    pub defaults: BucketDefaults,
}

/// How messages travel.
#[derive(Clone, Copy, Debug)]
pub struct NetworkOptions {
    /// The shortest way.
    pub delay_us_min: u64,
    /// The usual longest way.
    pub delay_us_max: u64,
    /// Of a thousand messages, so many take up to a hundred times as long.
    pub slow_permille: u64,
    /// Of a thousand messages, so many are lost.
    pub loss_permille: u64,
    /// Of a thousand messages, so many come twice.
    pub duplicate_permille: u64,
    /// How links differ from that.
    pub links: Links,
    /// Of a thousand events that are sent to an owner or a fallback, so many are lost, so that owners differ.
    pub missed_permille: u64,
    /// Of a thousand pieces of news of buckets and layouts, so many are lost, so that nodes decide by
    /// different ones for longer.
    pub news_lost_permille: u64,
}

/// Of a thousand directed links, so many are of each sort; the others are as the network is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Links {
    /// Messages take long, always.
    pub far: u64,
    /// Many messages are lost.
    pub lossy: u64,
    /// Every message arrives, and soon.
    pub fast: u64,
    /// Many messages take up to a hundred times as long, and many come twice.
    pub uneven: u64,
    /// Of all links, on so many messages arrive in order.
    pub in_order: u64,
}

/// How long the disk takes.
#[derive(Clone, Copy, Debug)]
pub struct DiskOptions {
    /// The longest commit of a group.
    pub commit_us_max: u64,
    /// The longest sync.
    pub sync_us_max: u64,
    /// How often what was only written is synced.
    pub sync_every_ms: u64,
}

/// How often each fault is chosen, relative to the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FaultWeights {
    /// Links are cut.
    pub split: u64,
    /// A process dies, or its machine.
    pub crash: u64,
    /// A node is stopped in order and started again.
    pub stop: u64,
    /// A node handles nothing for a while.
    pub pause: u64,
    /// A disk is full for a while.
    pub full: u64,
    /// A disk has no room for a moment, again and again.
    pub choke: u64,
    /// A sync fails.
    pub sync_fails: u64,
    /// A disk forgets what it had synced, and says so.
    pub amnesia: u64,
    /// A disk is replaced by an empty one.
    pub wipe: u64,
    /// A clock jumps.
    pub clock: u64,
    /// A bit of a stored row flips.
    pub rot: u64,
    /// A stretch of rows can never be read again.
    pub lost_block: u64,
    /// A disk is put back to an older state.
    pub restore: u64,
    /// A disk is cloned, and the copy is started beside it.
    pub clone: u64,
    /// A process or its machine dies at a step of its writer.
    pub trap: u64,
    /// Rows can't be read, though they are sound.
    pub unreadable: u64,
    /// A disk takes long.
    pub slow_disk: u64,
    /// A node takes long for everything.
    pub slow_node: u64,
    /// A clock is hours off, and jumps back.
    pub far_clock: u64,
    /// A node handles nothing for longer than all timeouts together.
    pub long_pause: u64,
}

impl Options {
    /// Draws everything.
    pub fn draw(seed: u64, rng: &mut fastrand::Rng, overrides: &Overrides) -> Self {
        let nodes = 3 + below(rng, 5);
        let replicas = *pick(rng, &[1, 2, 3, 3, 3, 3, 3, 5]);
        let shards = 1 + below(rng, 3);
        let partitions = *pick(rng, &[4, 8, 8, 16, 32]);
        let mut kinds = Kind::ALL.to_vec();
        shuffle(rng, &mut kinds);
        kinds.truncate(2 + below(rng, 7));
        let buckets = kinds.into_iter().map(|kind| BucketPlan {
            kind,
            defaults: defaults(rng),
        });
        let mut options = Self {
            seed,
            nodes,
            replicas,
            shards,
            partitions,
            buckets: buckets.collect(),
            clients: 2 + below(rng, 11),
            keys: rng.u64(1..=12),
            elements: rng.u64(2..=40),
            think_us_max: *pick(rng, &[5_000, 20_000, 100_000, 400_000]),
            client_timeout_ms: *pick(rng, &[300, 1_000, 3_000, 8_000]),
            value_bytes_max: *pick(rng, &[8, 8, 100, 5_000]),
            run_ms: rng.u64(3_000..=15_000),
            network: NetworkOptions {
                delay_us_min: rng.u64(20..=500),
                delay_us_max: *pick(rng, &[600, 2_000, 10_000, 40_000]),
                slow_permille: *pick(rng, &[0, 0, 5, 30]),
                loss_permille: *pick(rng, &[0, 0, 2, 10, 50]),
                duplicate_permille: *pick(rng, &[0, 5, 50]),
                links: Links::draw(seed),
                missed_permille: 0,
                news_lost_permille: 0,
            },
            disk: DiskOptions {
                commit_us_max: *pick(rng, &[50, 500, 3_000]),
                sync_us_max: *pick(rng, &[200, 2_000, 20_000, 100_000]),
                sync_every_ms: *pick(rng, &[50, 200, 1_000]),
            },
            fault_every_ms: *pick(rng, &[150, 400, 1_000, 3_000]),
            faults: FaultWeights {
                split: *pick(rng, &[0, 3, 10]),
                crash: *pick(rng, &[0, 2, 6]),
                stop: *pick(rng, &[0, 1, 2]),
                pause: *pick(rng, &[0, 1, 3]),
                full: *pick(rng, &[0, 0, 1, 3]),
                sync_fails: *pick(rng, &[0, 0, 1]),
                amnesia: *pick(rng, &[0, 0, 0, 1]),
                wipe: *pick(rng, &[0, 0, 0, 1]),
                clock: *pick(rng, &[0, 0, 1]),
                rot: crate::rot::draw(seed),
                lost_block: crate::lost_block::draw(seed),
                restore: crate::restore::draw(seed),
                clone: crate::clone::draw(seed),
                ..FaultWeights::draw_more(seed)
            },
            skew_ms_max: *pick(rng, &[0, 5, 100, 240, 240]),
            late_flush_permille: *pick(rng, &[0, 100, 500]),
            routed: crate::routing::draw(seed),
            check_every: *pick(rng, &[500, 2_000]),
            engine: engine(rng),
            hints_bytes_max: *pick(rng, &[4_000, 1 << 20, 1 << 30]),
            layouts: LayoutOptions::draw(seed, overrides.layouts),
            mutant: overrides.mutant,
            promised: Promised::DEFAULT,
            left_out: Vec::new(),
            overrides: overrides.clone(),
        };
        options
            .left_out
            .push("read errors of what is no row: nothing is promised of a node that meets them");
        options.tighten();
        options.estrange();
        options.apply(overrides);
        options
    }

    /// In some runs queues are so short that they fill. Drawn apart from the other options, as all that
    /// came later: so that seeds are what they were without.
    fn tighten(&mut self) {
        let rng = &mut stream(self.seed, "queues", 0);
        self.engine.operations_max = *pick(rng, &[4096, 4096, 4096, 64, 16]);
        self.engine.commits_waiting_max = *pick(rng, &[16_384, 16_384, 16_384, 64, 8]);
    }

    /// In some runs owners miss many events and compare their clocks late: what one knows and another does
    /// not, whatever reads and repairs them meets then. Drawn apart, as well.
    fn estrange(&mut self) {
        let rng = &mut stream(self.seed, "missed", 0);
        self.network.missed_permille = *pick(rng, &[0, 0, 0, 0, 0, 100, 300, 500]);
        if self.network.missed_permille > 0 {
            self.engine.repair_every_ms = *pick(rng, &[1_000, 2_000, 4_000]);
            self.network.news_lost_permille = *pick(rng, &[0, 500, 800]);
        }
    }

    /// The longest way of a message, once everything has healed.
    pub(crate) fn delay_us_max(&self) -> u64 {
        let far = if self.network.links.far > 0 {
            FAR_US
        } else {
            0
        };
        self.network.delay_us_max.max(self.network.delay_us_min) + far
    }

    /// Whether nothing is made to fail.
    pub(crate) fn is_calm(&self) -> bool {
        let deaths = self.layouts.map_or(0, |layouts| layouts.deaths_permille);
        // A node that was retired and is let join again is away.
        let has_room = self.hints_bytes_max >= 1 << 20;
        let network = &self.network;
        let reliable = network.loss_permille == 0
            && network.missed_permille == 0
            && network.news_lost_permille == 0
            && has_room
            && self.network.links == Links::ALIKE;
        self.faults == FaultWeights::NONE && reliable && deaths == 0
    }

    fn apply(&mut self, overrides: &Overrides) {
        self.nodes = overrides.nodes.unwrap_or(self.nodes).max(1);
        self.replicas = overrides.replicas.unwrap_or(self.replicas).max(1);
        self.shards = overrides.shards.unwrap_or(self.shards).max(1);
        self.partitions = overrides.partitions.unwrap_or(self.partitions).max(1);
        self.clients = overrides.clients.unwrap_or(self.clients).max(1);
        self.run_ms = overrides.run_ms.unwrap_or(self.run_ms);
        if overrides.faithful_disks || (self.layouts.is_some() && self.replicas < 3) {
            self.faults.amnesia = 0;
            self.faults.wipe = 0;
            (self.faults.restore, self.faults.clone) = (0, 0);
            self.left_out.push(match overrides.faithful_disks {
                true => "lost disks: not wanted",
                false => {
                    "lost disks: layouts change, and fewer than three copies do not outlive that"
                }
            });
        }
        if self.layouts.is_some() || self.replicas < 3 {
            (self.faults.rot, self.faults.lost_block) = (0, 0);
            self.left_out.push(
                "damaged rows: another sound copy is promised only with three owners that stay",
            );
        }
        if overrides.calm {
            self.faults = FaultWeights::NONE;
            self.network.loss_permille = 0;
            self.network.missed_permille = 0;
            self.network.news_lost_permille = 0;
            self.network.links = Links::ALIKE;
            self.engine.operations_max = EngineOptions::default().operations_max;
            self.engine.commits_waiting_max = EngineOptions::default().commits_waiting_max;
            self.hints_bytes_max = 1 << 30;
            self.left_out.push("all faults: not wanted");
            if let Some(layouts) = &mut self.layouts {
                layouts.deaths_permille = 0;
            }
        }
        if let Some(mutant) = self.mutant {
            mutant.adapt(self);
            self.left_out
                .push("much: a mutant is to be seen, and not what else goes wrong");
        }
        if self.faults.rot > 0 {
            crate::rot::adapt(self);
            self.left_out
                .push("lost disks: rows rot, and the only sound copy may be on one of these");
        }
        crate::lost_block::adapt(self);
        crate::restore::adapt(self);
        crate::clone::adapt(self);
        if self.faults.restore + self.faults.clone > 0 {
            self.left_out
                .push("old disks of which nobody remembers more: nothing tells that they are old");
        }
        self.promised = Promised {
            operations_max: self.engine.operations_max,
            commits_waiting_max: self.engine.commits_waiting_max,
            hints_bytes_max: self.hints_bytes_max,
            repairs_max: self.engine.repairs_max,
        };
        if self.mutant == Some(Mutant::BoundsIgnored) {
            self.engine.operations_max = usize::MAX;
        }
    }
}

impl Promised {
    const DEFAULT: Self = Self {
        operations_max: usize::MAX,
        commits_waiting_max: usize::MAX,
        hints_bytes_max: u64::MAX,
        repairs_max: usize::MAX,
    };
}

impl Links {
    /// All links are as the network is.
    pub const ALIKE: Self = Self {
        far: 0,
        lossy: 0,
        fast: 0,
        uneven: 0,
        in_order: 0,
    };

    fn draw(seed: u64) -> Self {
        let rng = &mut stream(seed, "links", 0);
        if rng.bool() {
            return Self::ALIKE;
        }
        Self {
            far: *pick(rng, &[0, 50, 200]),
            lossy: *pick(rng, &[0, 50, 150]),
            fast: *pick(rng, &[0, 200]),
            uneven: *pick(rng, &[0, 50, 200]),
            in_order: *pick(rng, &[0, 500, 1_000]),
        }
    }
}

impl FaultWeights {
    /// Those that were added later, drawn apart: so that seeds are what they were without.
    fn draw_more(seed: u64) -> Self {
        let rng = &mut stream(seed, "faults", 0);
        Self {
            choke: *pick(&mut stream(seed, "choke", 0), &[0, 0, 0, 0, 0, 4, 15]),
            trap: *pick(rng, &[0, 2, 6]),
            unreadable: *pick(rng, &[0, 0, 2, 5]),
            slow_disk: *pick(rng, &[0, 0, 1, 3]),
            slow_node: *pick(rng, &[0, 0, 1, 3]),
            far_clock: *pick(rng, &[0, 0, 1, 2]),
            long_pause: *pick(rng, &[0, 0, 1]),
            ..Self::NONE
        }
    }

    /// Nothing ever goes wrong.
    pub const NONE: Self = Self {
        split: 0,
        crash: 0,
        stop: 0,
        pause: 0,
        full: 0,
        choke: 0,
        sync_fails: 0,
        amnesia: 0,
        wipe: 0,
        clock: 0,
        rot: 0,
        lost_block: 0,
        restore: 0,
        clone: 0,
        trap: 0,
        unreadable: 0,
        slow_disk: 0,
        slow_node: 0,
        far_clock: 0,
        long_pause: 0,
    };
}

fn engine(rng: &mut fastrand::Rng) -> EngineOptions {
    EngineOptions {
        request_timeout_ms: *pick(rng, &[1_000, 5_000]),
        fallback_after_ms: *pick(rng, &[20, 250]),
        repairs_max: *pick(rng, &[1, 4]),
        repair_page_bytes: *pick(rng, &[200, 5_000, 256 << 10]),
        handoff_batch_bytes: *pick(rng, &[100, 256 << 10]),
        checkpoint_every_ms: *pick(rng, &[100, 1_000, 10_000]),
        slice_rows: *pick(rng, &[3, 512]),
        notes_minted: true,
        ..EngineOptions::default()
    }
}

fn defaults(rng: &mut fastrand::Rng) -> BucketDefaults {
    let quorums = [
        Quorum::Majority,
        Quorum::Majority,
        Quorum::Majority,
        Quorum::One,
        Quorum::All,
    ];
    BucketDefaults {
        r: *pick(rng, &quorums),
        w: *pick(rng, &quorums),
        dw: *pick(
            rng,
            &[
                None,
                None,
                None,
                Some(Quorum::One),
                Some(Quorum::Exactly(0)),
            ],
        ),
        durability: *pick(
            rng,
            &[
                Durability::Synced,
                Durability::Synced,
                Durability::Synced,
                Durability::Periodic,
            ],
        ),
    }
}

/// One of several, each as likely.
pub(crate) fn pick<'a, T>(rng: &mut fastrand::Rng, of: &'a [T]) -> &'a T {
    &of[below(rng, of.len())]
}

/// A number below this one. The same on every machine, whatever the width of its words.
pub(crate) fn below(rng: &mut fastrand::Rng, end: usize) -> usize {
    rng.u64(..end as u64) as usize
}

/// A number up to this one.
pub(crate) fn up_to(rng: &mut fastrand::Rng, last: usize) -> usize {
    rng.u64(..=last as u64) as usize
}

/// In an order drawn at random; the same on every machine.
pub(crate) fn shuffle<T>(rng: &mut fastrand::Rng, of: &mut [T]) {
    for at in 1..of.len() {
        of.swap(at, up_to(rng, at));
    }
}

/// A generator of its own for something about a seed: what it gives depends on nothing else.
pub(crate) fn stream(seed: u64, what: &str, number: u64) -> fastrand::Rng {
    let mut bytes = seed.to_be_bytes().to_vec();
    bytes.extend(number.to_be_bytes());
    bytes.extend(what.as_bytes());
    fastrand::Rng::with_seed(xxhash_rust::xxh3::xxh3_64(&bytes))
}

/// True so many times of a thousand.
pub(crate) fn chance(rng: &mut fastrand::Rng, permille: u64) -> bool {
    rng.u64(..1000) < permille
}
