//! Deliberately broken variants of the system, one for each checker, to show that it sees something.

use std::fmt;
use std::str::FromStr;

use dunlin_crdt::Kind;
use dunlin_protocol::BucketDefaults;

use crate::check::Checker;
use crate::operator::LayoutOptions;
use crate::options::{FaultWeights, Options};

/// What is broken, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mutant {
    /// Events arrive without what they replace.
    ReplacesDropped,
    /// The writer says that batches are synced before they are.
    AckBeforeCommit,
    /// Nobody says what it remembers of another's store.
    RecallSilent,
    /// A process that was told of its successor goes on.
    GhostStays,
    /// A node draws the same actors at each start, whatever was lost before.
    ActorReused,
    /// A fallback's hint is acknowledged as an owner's copy.
    HintAsOwner,
    /// Log entries do not reach the disk.
    LogSkipped,
    /// Deletions of rows do not reach the disk.
    RowDeletesSkipped,
    /// A client is told that a write was not applied which was.
    DeniedWrite,
    /// Disks are wiped and nobody notes it.
    SecretWipe,
    /// Requests that are passed on arrive twice.
    ForwardTwice,
    /// Owners say that they hold what the reader holds.
    AlwaysSame,
    /// Hints never reach their owner.
    HintsStuck,
    /// Hints are confirmed by the network, and thrown away.
    HintsVanish,
    /// Hints are confirmed by the network when they are sent, and reach their owner as well.
    HintsConfirmedEarly,
    /// Who asks for what it lacks says that it has what the other has.
    ClocksInflated,
    /// Owners never compare clocks.
    RepairSilent,
    /// A page of repair names the events of its rows, and leaves out what they hold.
    RowsSkipped,
    /// Removals arrive with the claim that they saw everything.
    RemovalsSeeAll,
    /// A listing leaves out its last item.
    ListingShort,
    /// Reads show what was replaced as well.
    StaleSibling,
    /// A disk forgets what it had synced and does not say so.
    AmnesiaDenied,
    /// No node tells another of a bucket that was dropped.
    DropsUntold,
    /// A new owner counts as filled, and was sent nothing.
    FilledWithNothing,
    /// Shards go by the newest layout alone, from when it is applied.
    NewestOnly,
    /// What is no longer owned is dropped, whatever owners hold.
    HandoverSkipped,
    /// A layout is complete when every owner has heard of it.
    CompleteEarly,
    /// Layouts are retired as soon as another is complete, whoever still reads by them.
    RetiredEarly,
    /// What is pulled counts before all nodes follow the layout.
    SettledIgnored,
    /// Hints for a node that owns the partition no longer are thrown away.
    FormerHintsVanish,
    /// A layout takes all staged changes for carried out.
    LoserForgotten,
    /// A node that lacks some of a partition answers reads as if it had what the reader has.
    LackingAnswers,
    /// Owners refuse what they are asked to take, now and then.
    OwnersRefuse,
    /// Nobody sends anything to an owner with a damaged row that would heal it.
    DamageStays,
    /// A damaged row is taken for absent.
    DamageAsAbsence,
    /// Nobody looks at the files when rows can't be read.
    DamageUnheard,
    /// A store that was copied without what can't be read looks whole.
    SalvageDenied,
    /// A shard takes on whatever comes.
    BoundsIgnored,
    /// Requests that are passed on are lost, now and then, for ever.
    ForwardsLost,
    /// Stamps arrive as if they were of long ago.
    StampsReset,
    /// Nobody says that concurrent writes met.
    LosersSilent,
    /// Reads ask one owner, whatever was asked for.
    ReadsShort,
    /// Clients send everything again whose outcome they do not know.
    RepeatsAll,
    /// What a read in a session says that it must reflect is dropped on its way.
    SessionIgnored,
}

impl Mutant {
    /// Every mutant.
    pub const ALL: [Self; 44] = [
        Self::ReplacesDropped,
        Self::AckBeforeCommit,
        Self::RecallSilent,
        Self::GhostStays,
        Self::ActorReused,
        Self::HintAsOwner,
        Self::LogSkipped,
        Self::RowDeletesSkipped,
        Self::DeniedWrite,
        Self::SecretWipe,
        Self::ForwardTwice,
        Self::AlwaysSame,
        Self::HintsStuck,
        Self::HintsVanish,
        Self::HintsConfirmedEarly,
        Self::ClocksInflated,
        Self::RepairSilent,
        Self::RowsSkipped,
        Self::RemovalsSeeAll,
        Self::ListingShort,
        Self::StaleSibling,
        Self::AmnesiaDenied,
        Self::DropsUntold,
        Self::FilledWithNothing,
        Self::NewestOnly,
        Self::HandoverSkipped,
        Self::CompleteEarly,
        Self::SettledIgnored,
        Self::RetiredEarly,
        Self::FormerHintsVanish,
        Self::LoserForgotten,
        Self::LackingAnswers,
        Self::OwnersRefuse,
        Self::DamageStays,
        Self::DamageAsAbsence,
        Self::DamageUnheard,
        Self::SalvageDenied,
        Self::BoundsIgnored,
        Self::ForwardsLost,
        Self::StampsReset,
        Self::LosersSilent,
        Self::ReadsShort,
        Self::RepeatsAll,
        Self::SessionIgnored,
    ];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::ReplacesDropped => "replaces-dropped",
            Self::AckBeforeCommit => "ack-before-commit",
            Self::RecallSilent => "recall-silent",
            Self::GhostStays => "ghost-stays",
            Self::ActorReused => "actor-reused",
            Self::HintAsOwner => "hint-as-owner",
            Self::LogSkipped => "log-skipped",
            Self::RowDeletesSkipped => "row-deletes-skipped",
            Self::DeniedWrite => "denied-write",
            Self::SecretWipe => "secret-wipe",
            Self::ForwardTwice => "forward-twice",
            Self::AlwaysSame => "always-same",
            Self::HintsStuck => "hints-stuck",
            Self::HintsVanish => "hints-vanish",
            Self::HintsConfirmedEarly => "hints-confirmed-early",
            Self::ClocksInflated => "clocks-inflated",
            Self::RepairSilent => "repair-silent",
            Self::RowsSkipped => "rows-skipped",
            Self::RemovalsSeeAll => "removals-see-all",
            Self::ListingShort => "listing-short",
            Self::StaleSibling => "stale-sibling",
            Self::AmnesiaDenied => "amnesia-denied",
            Self::DropsUntold => "drops-untold",
            Self::FilledWithNothing => "filled-with-nothing",
            Self::NewestOnly => "newest-only",
            Self::HandoverSkipped => "handover-skipped",
            Self::CompleteEarly => "complete-early",
            Self::SettledIgnored => "settled-ignored",
            Self::RetiredEarly => "retired-early",
            Self::FormerHintsVanish => "former-hints-vanish",
            Self::LoserForgotten => "loser-forgotten",
            Self::LackingAnswers => "lacking-answers",
            Self::OwnersRefuse => "owners-refuse",
            Self::DamageStays => "damage-stays",
            Self::DamageAsAbsence => "damage-as-absence",
            Self::DamageUnheard => "damage-unheard",
            Self::SalvageDenied => "salvage-denied",
            Self::BoundsIgnored => "bounds-ignored",
            Self::ForwardsLost => "forwards-lost",
            Self::StampsReset => "stamps-reset",
            Self::LosersSilent => "losers-silent",
            Self::ReadsShort => "reads-short",
            Self::RepeatsAll => "repeats-all",
            Self::SessionIgnored => "session-ignored",
        }
    }

    /// The checker that must see it.
    pub fn caught_by(self) -> Checker {
        match self {
            Self::ReplacesDropped => Checker::Resurrection,
            Self::AckBeforeCommit | Self::HintAsOwner | Self::NewestOnly => Checker::Receipts,
            Self::RecallSilent | Self::ActorReused => Checker::Dots,
            Self::LogSkipped | Self::RowDeletesSkipped => Checker::Invariants,
            Self::DeniedWrite => Checker::Denied,
            Self::SecretWipe
            | Self::HintsVanish
            | Self::FormerHintsVanish
            | Self::DamageAsAbsence
            | Self::SalvageDenied => Checker::Survival,
            Self::ForwardTwice | Self::RepeatsAll => Checker::Counters,
            Self::AlwaysSame | Self::AmnesiaDenied | Self::RetiredEarly => Checker::Freshness,
            Self::GhostStays => Checker::Twins,
            Self::HintsStuck => Checker::Drain,
            Self::HintsConfirmedEarly => Checker::Hints,
            Self::ClocksInflated => Checker::Log,
            Self::RepairSilent | Self::RowsSkipped => Checker::Convergence,
            Self::RemovalsSeeAll => Checker::AddsWin,
            Self::ListingShort => Checker::Listing,
            Self::StaleSibling => Checker::Siblings,
            Self::DropsUntold => Checker::Buckets,
            Self::FilledWithNothing | Self::SettledIgnored => Checker::Filling,
            Self::HandoverSkipped => Checker::Handover,
            Self::CompleteEarly => Checker::Layouts,
            Self::LoserForgotten => Checker::Staged,
            Self::LackingAnswers | Self::ReadsShort => Checker::Answers,
            Self::OwnersRefuse => Checker::Service,
            Self::DamageStays | Self::DamageUnheard => Checker::Damage,
            Self::BoundsIgnored => Checker::Bounds,
            Self::ForwardsLost => Checker::Liveness,
            Self::StampsReset | Self::LosersSilent => Checker::Lww,
            Self::SessionIgnored => Checker::Sessions,
        }
    }

    /// How layouts change, for what shows only then.
    fn layouts(self) -> Option<LayoutOptions> {
        let deaths_permille = match self {
            Self::FormerHintsVanish => 300,
            Self::FilledWithNothing
            | Self::NewestOnly
            | Self::HandoverSkipped
            | Self::CompleteEarly
            | Self::SettledIgnored
            | Self::RetiredEarly
            | Self::LoserForgotten
            | Self::LackingAnswers => 20,
            _ => return None,
        };
        // Hints are written before an operator notices that the node is dead; and a layout is complete before
        // the next is applied.
        let think_ms_max = match self {
            Self::FormerHintsVanish => 2_000,
            Self::RetiredEarly => 800,
            _ => 120,
        };
        Some(LayoutOptions {
            spares: 3,
            operators: 2,
            think_ms_max,
            deaths_permille,
            returns_permille: 1_000,
            reverts_permille: 0,
        })
    }

    /// Makes the conditions likely under which the damage shows.
    pub(crate) fn adapt(self, options: &mut Options) {
        options.replicas = options.replicas.max(3);
        options.nodes = options.nodes.max(4);
        options.run_ms = options.run_ms.min(8_000);
        options.think_us_max = options.think_us_max.min(20_000);
        options.clients = options.clients.max(6);
        options.client_timeout_ms = options.client_timeout_ms.max(1_000);
        options.network.delay_us_max = options.network.delay_us_max.min(10_000);
        options.fault_every_ms = options.fault_every_ms.min(400);
        options.network.missed_permille = 0;
        options.network.news_lost_permille = 0;
        let faults = &mut options.faults;
        (faults.amnesia, faults.wipe, faults.restore) = (0, 0, 0);
        (faults.clone, faults.choke) = (0, 0);
        (faults.rot, faults.lost_block) = (0, 0);
        options.layouts = self.layouts();
        if options.layouts.is_some() {
            options.run_ms = options.run_ms.min(5_000);
            options.partitions = options.partitions.min(8);
            options.think_us_max = 5_000;
        }
        match self {
            Self::AckBeforeCommit => options.disk.sync_us_max = 100_000,
            Self::RecallSilent => {
                options.run_ms = 8_000;
                options.fault_every_ms = 150;
                *faults = FaultWeights {
                    stop: 2,
                    restore: 1,
                    ..FaultWeights::NONE
                };
            }
            Self::GhostStays => {
                options.run_ms = 8_000;
                options.fault_every_ms = 150;
                *faults = FaultWeights {
                    clone: 1,
                    ..FaultWeights::NONE
                };
            }
            Self::HintsVanish => {
                // Another owner would know what the hint did.
                options.replicas = 1;
                options.hints_bytes_max = 1 << 30;
                *faults = FaultWeights {
                    split: 3,
                    crash: 5,
                    ..FaultWeights::NONE
                };
            }
            Self::HintAsOwner | Self::HintsStuck | Self::HintsConfirmedEarly => {
                options.hints_bytes_max = 1 << 30;
                *faults = FaultWeights {
                    split: 3,
                    crash: 5,
                    ..FaultWeights::NONE
                };
            }
            Self::FormerHintsVanish => {
                options.replicas = 1;
                options.run_ms = 12_000;
                options.hints_bytes_max = 1 << 30;
                *faults = FaultWeights::NONE;
            }
            // The longer nodes take to hear of it, the more likely.
            Self::RetiredEarly => {
                options.replicas = 1;
                options.run_ms = 8_000;
                options.partitions = 4;
                options.keys = options.keys.min(2);
                options.disk.sync_us_max = 200;
                options.disk.sync_every_ms = 50;
                options.engine.ping_every_ms = 800;
                options.engine.unreachable_after_ms = 3_000;
                *faults = FaultWeights::NONE;
            }
            // Only who was cut off has what the owners lack.
            Self::HandoverSkipped | Self::SettledIgnored => {
                options.replicas = 3;
                options.run_ms = 8_000;
                options.fault_every_ms = 200;
                *faults = FaultWeights {
                    split: 1,
                    ..FaultWeights::NONE
                };
            }
            Self::OwnersRefuse => {
                *faults = FaultWeights::NONE;
                options.network.loss_permille = 0;
                options.hints_bytes_max = 1 << 30;
            }
            Self::DamageStays | Self::DamageAsAbsence => {
                *faults = FaultWeights {
                    rot: 3,
                    ..FaultWeights::NONE
                };
            }
            Self::DamageUnheard | Self::SalvageDenied => {
                *faults = FaultWeights {
                    lost_block: 3,
                    ..FaultWeights::NONE
                };
            }
            // What a read shows must be what only others have.
            Self::AlwaysSame => {
                // Of a register one sees which writes it shows.
                for bucket in &mut options.buckets {
                    (bucket.kind, bucket.defaults) = (Kind::Register, BucketDefaults::default());
                }
                options.keys = 2;
                options.clients = 12;
                options.network.loss_permille = 50;
                options.engine.fallback_after_ms = 1_000;
                *faults = FaultWeights {
                    split: 3,
                    crash: 3,
                    ..FaultWeights::NONE
                };
            }
            // Of a register one sees which writes it shows.
            Self::SessionIgnored => {
                for bucket in &mut options.buckets {
                    (bucket.kind, bucket.defaults) = (Kind::Register, BucketDefaults::default());
                }
                options.network.loss_permille = 50;
                options.keys = 2;
                options.clients = 12;
                *faults = FaultWeights {
                    split: 3,
                    crash: 1,
                    ..FaultWeights::NONE
                };
            }
            Self::RepeatsAll => {
                options.routed = true;
                options.client_timeout_ms = 300;
                for bucket in &mut options.buckets {
                    (bucket.kind, bucket.defaults) = (Kind::Counter, BucketDefaults::default());
                }
                *faults = FaultWeights {
                    split: 3,
                    pause: 3,
                    ..FaultWeights::NONE
                };
            }
            Self::BoundsIgnored => {
                options.clients = 12;
                options.think_us_max = 1_000;
                options.engine.operations_max = 2;
            }
            // What was minted last is lost with the power.
            Self::ActorReused => {
                options.late_flush_permille = 0;
                *faults = FaultWeights {
                    crash: 3,
                    ..FaultWeights::NONE
                };
            }
            // Owners must lack something.
            Self::ClocksInflated | Self::RowsSkipped => {
                options.network.loss_permille = 50;
                *faults = FaultWeights {
                    split: 3,
                    ..FaultWeights::NONE
                };
            }
            Self::SecretWipe => {
                *faults = FaultWeights {
                    wipe: 3,
                    crash: 1,
                    ..FaultWeights::NONE
                }
            }
            Self::AmnesiaDenied => {
                *faults = FaultWeights {
                    amnesia: 3,
                    ..FaultWeights::NONE
                }
            }
            Self::ReplacesDropped
            | Self::LogSkipped
            | Self::RowDeletesSkipped
            | Self::DeniedWrite
            | Self::ForwardTwice
            | Self::RepairSilent
            | Self::RemovalsSeeAll
            | Self::ListingShort
            | Self::StaleSibling
            | Self::DropsUntold
            | Self::FilledWithNothing
            | Self::NewestOnly
            | Self::CompleteEarly
            | Self::LoserForgotten
            | Self::LackingAnswers
            | Self::ForwardsLost
            | Self::StampsReset
            | Self::LosersSilent
            | Self::ReadsShort => {}
        }
    }
}

impl fmt::Display for Mutant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Mutant {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|mutant| mutant.name() == name)
            .ok_or_else(|| {
                let known: Vec<_> = Self::ALL.iter().map(|mutant| mutant.name()).collect();
                format!(
                    "no mutant is called {name:?}; there are {}",
                    known.join(", ")
                )
            })
    }
}
