//! Everything that a node has before it serves: identity, data, parts.

use std::sync::Arc;

use dunlin_client::tls::{ClusterName, Identity, Role};
use dunlin_engine::membership::Identity as MemberIdentity;
use dunlin_engine::{Control, Knowledge, Recall, Shard, View};
use dunlin_protocol::cluster::{AppliedLayout, LayoutId};
use dunlin_protocol::status::StartReport;
use dunlin_ring::{NodeId, PartitionId};
use dunlin_storage::{FjallKv, Kv, Opened, Replica, ReplicaOptions, Start, StoreError};
use rustls::pki_types::UnixTime;

use super::ServerError;
use crate::birth::BirthId;
use crate::board::ViewBoard;
use crate::clock::Clock;
use crate::config::{ConfigError, ServerConfig};
use crate::counters::NodeCounters;
use crate::data_dir::{self, Claim};
use crate::driver::Parts;
use crate::driver::inbox::{Inbox, InboxBounds};
use crate::join::{self, Asker};
use crate::links::{Call, PeerLinks};
use crate::listener::clients::Gate;
use crate::status::Desk;
use crate::twin;
use crate::writer::WriterParts;
use crate::writer::board::StorageBoard;
use crate::writer::watchdog::Stopwatch;

/// A node that does not run yet.
pub(super) struct Opening {
    pub(super) kv: Arc<FjallKv>,
    pub(super) control: Box<Control>,
    pub(super) shards: Vec<Shard>,
    pub(super) core: Core,
    /// Datagrams for addresses, to be dialed.
    pub(super) calls: tokio::sync::mpsc::Receiver<Call>,
}

/// What the threads of a node share.
pub(super) struct Core {
    pub(super) me: NodeId,
    pub(super) identity: Identity,
    pub(super) birth: BirthId,
    pub(super) views: Arc<ViewBoard>,
    pub(super) links: Arc<PeerLinks>,
    pub(super) parts: Arc<Parts>,
    pub(super) desk: Arc<Desk>,
    pub(super) gate: Arc<Gate>,
    pub(super) board: Arc<StorageBoard>,
    pub(super) stopwatch: Arc<Stopwatch>,
    pub(super) clock: Clock,
    pub(super) counters: Arc<NodeCounters>,
    pub(super) kv: Arc<FjallKv>,
    sync_interval: std::time::Duration,
}

impl Core {
    /// What the writer works with.
    pub(super) fn writer_parts(&self) -> WriterParts {
        WriterParts {
            kv: Arc::clone(&self.kv) as Arc<dyn Kv>,
            parts: Arc::clone(&self.parts),
            board: Arc::clone(&self.board),
            stopwatch: Arc::clone(&self.stopwatch),
            counters: Arc::clone(&self.counters),
            sync_interval: self.sync_interval,
        }
    }
}

/// Opens everything but the socket.
pub(super) async fn open(config: &ServerConfig) -> Result<Opening, ServerError> {
    let identity = Identity::load(&config.identity, UnixTime::now())?;
    let is_me = *identity.role() == Role::Node(config.name.clone());
    if !is_me || *identity.cluster() != config.cluster.cluster {
        return Err(ServerError::OtherIdentity {
            found: format!("{} of cluster {}", identity.role(), identity.cluster()),
            name: config.name.clone(),
            cluster: config.cluster.cluster.to_string(),
        });
    }
    let me = NodeId::from_name(&config.name);
    let claim = data_dir::look(&config.data_dir, &config.cluster.cluster, &config.name)?;
    let Opened { kv, start } = FjallKv::open(&data_dir::store(&config.data_dir), &config.storage)?;
    let kv = Arc::new(kv);
    let Origin {
        knowledge,
        birth,
        start,
    } = origin(config, &identity, claim, &kv, start).await?;
    log_start(config, &start);

    let mut rng = seeded()?;
    let engine = &config.engine;
    let clock = Clock::start();
    let member = MemberIdentity {
        id: me,
        name: config.name.clone(),
        address: config.address.clone(),
        // A later process has a higher one, on a new disk too.
        incarnation: clock.now().wall.0,
        instance: rng.u64(..),
    };
    let recall = Recall::load(&*kv, &start, member.instance, &mut rng)?;
    let seeds = config.cluster.listed().filter(|n| n.name != config.name);
    let control = Control::new(
        knowledge,
        member,
        seeds.map(|node| node.address.clone()).collect(),
        config.shards,
        engine.clone(),
        recall,
        rng.fork(),
    )?;
    let view = control.view();
    let replicas = open_replicas(config, &kv, &view, &start, &mut rng)?;
    let shards = replicas
        .into_iter()
        .map(|replica| Shard::new(replica, Arc::clone(&view), engine.clone(), rng.fork()));
    let shards: Vec<Shard> = shards.collect();

    let bounds = InboxBounds {
        items_max: config.inbox_max,
        bytes_max: config.inbox_bytes_max,
    };
    let inboxes = shards.iter().map(|_| Arc::new(Inbox::new(bounds)));
    let parts = Arc::new(Parts::new(Arc::new(Inbox::new(bounds)), inboxes.collect()));
    let counters = Arc::new(NodeCounters::default());
    let views = Arc::new(ViewBoard::new(view));
    let (links, calls) = PeerLinks::new(Arc::clone(&views), Arc::clone(&counters));
    let links = Arc::new(links);
    let board = Arc::new(StorageBoard::new(Arc::clone(&parts)));
    let (statuses, compactions) = Desk::permits();
    let desk = Desk {
        me,
        name: config.name.clone(),
        views: Arc::clone(&views),
        links: Arc::clone(&links),
        start: report(&start),
        data_dir: config.data_dir.clone(),
        kv: Arc::clone(&kv) as Arc<dyn Kv>,
        parts: Arc::clone(&parts),
        board: Arc::clone(&board),
        clock,
        counters: Arc::clone(&counters),
        statuses,
        compactions,
        runtime: Default::default(),
        clients: Default::default(),
    };
    let core = Core {
        me,
        identity,
        birth,
        views,
        links,
        parts,
        desk: Arc::new(desk),
        gate: Arc::new(Gate::default()),
        board,
        stopwatch: Arc::new(Stopwatch::new(clock)),
        clock,
        counters,
        kv: Arc::clone(&kv),
        sync_interval: config.sync_interval,
    };
    Ok(Opening {
        kv,
        control: Box::new(control),
        shards,
        core,
        calls,
    })
}

/// Where a node comes from.
struct Origin {
    knowledge: Knowledge,
    birth: BirthId,
    start: Start,
}

/// Finds out what the node knows of its cluster: from its disk, or else from the others, or else it
/// founds the cluster. The data directory is this node's afterwards.
async fn origin(
    config: &ServerConfig,
    identity: &Identity,
    claim: Claim,
    kv: &FjallKv,
    start: Start,
) -> Result<Origin, ServerError> {
    let cluster = &config.cluster.cluster;
    let founding = config
        .founding_layout()
        .map_err(|reason| ConfigError::Layout {
            path: config.data_dir.clone(),
            reason,
        })?
        .map(AppliedLayout::founding);
    if let Claim::OursSince(then) = &claim {
        then.check(&config.data_dir, founding.as_ref().map(|f| &f.layout))?;
    }
    let by_file = founding.as_ref().map(|founding| {
        let partitions = founding.layout.partitions();
        BirthId::of(cluster, partitions, &founding.id)
    });
    let was_here = claim != Claim::Nobodys;
    let known = Knowledge::load(kv)?;
    let expected = match claim {
        Claim::Ours(birth) => Some(birth),
        Claim::Nobodys | Claim::OursSince(_) => {
            let born_with = known.as_ref().and_then(|known| birth_of(cluster, known));
            born_with.or(by_file)
        }
    };
    let asker = match (&founding, &claim) {
        (Some(_), Claim::Nobodys | Claim::OursSince(_)) => Asker::Founder,
        // Its cluster was born as the file says.
        (Some(_), Claim::Ours(_)) if expected == by_file => Asker::Founder,
        (None | Some(_), _) => Asker::Newcomer,
    };
    let told = match &known {
        Some(_) => None,
        None => join::ask(config, identity, asker).await?,
    };
    let birth = match (expected, &told) {
        (Some(expected), Some(told)) if expected != told.birth => {
            return Err(ServerError::OtherBirth {
                found: told.birth.to_string(),
                expected: expected.to_string(),
            });
        }
        (Some(birth), _) => birth,
        (None, Some(told)) => told.birth,
        // A store that knows a cluster, in a directory that was nobody's, on a node that founds none.
        (None, None) => {
            return Err(ServerError::Unclaimed {
                dir: config.data_dir.clone(),
            });
        }
    };
    let is_wiped = match &told {
        Some(told) => told.remembers_me,
        None => false,
    };
    let start = match start {
        Start::Blank if was_here => Start::Amnesia {
            evidence: vec!["this node was here before, and its store is gone".to_owned()],
        },
        Start::Blank | Start::Clean | Start::Unclean if is_wiped => Start::Amnesia {
            evidence: vec![
                "the cluster remembers this node, and its store knows no cluster".to_owned(),
            ],
        },
        Start::Blank | Start::Clean | Start::Unclean | Start::Amnesia { .. } => start,
    };
    let found = founding.map(Knowledge::new);
    let knowledge = known.or(told.map(|told| told.knowledge)).or(found);
    let knowledge = knowledge.ok_or_else(|| ServerError::Unclaimed {
        dir: config.data_dir.clone(),
    })?;
    twin::look(config, identity, &knowledge).await?;
    if claim != Claim::Ours(birth) {
        data_dir::claim(&config.data_dir, cluster, &config.name, birth)?;
    }
    if by_file.is_some_and(|by_file| by_file != birth) {
        tracing::info!(
            "the cluster file lists other nodes than the cluster was born with: it says where the cluster \
             can be met, and nothing else"
        );
    }
    Ok(Origin {
        knowledge,
        birth,
        start,
    })
}

/// The birth of a cluster whose first layout is not retired yet.
fn birth_of(cluster: &ClusterName, known: &Knowledge) -> Option<BirthId> {
    let mut layouts = known.layouts().all();
    let first = layouts.find(|applied| applied.id == LayoutId::founding(&applied.layout))?;
    Some(BirthId::of(cluster, first.layout.partitions(), &first.id))
}

fn log_start(config: &ServerConfig, start: &Start) {
    let (node, data_dir) = (&config.name, config.data_dir.display());
    match start {
        Start::Blank => tracing::info!(node, %data_dir, "a new store"),
        Start::Clean => tracing::info!(node, %data_dir, "the store was closed in order"),
        Start::Unclean => tracing::warn!(
            node, %data_dir,
            "the store was not closed; everything synced is there"
        ),
        Start::Amnesia { evidence } => {
            for sentence in evidence {
                tracing::error!(node, %data_dir, evidence = sentence, "the store forgot something");
            }
            tracing::error!(
                node, %data_dir,
                "AMNESIA: this node may have forgotten acknowledged writes; it refills every partition \
                 from its peers before it counts for reads, so keep them running"
            );
        }
    }
}

fn report(start: &Start) -> StartReport {
    match start {
        Start::Blank => StartReport::Blank,
        Start::Clean => StartReport::Clean,
        Start::Unclean => StartReport::Unclean,
        Start::Amnesia { evidence } => StartReport::Amnesia(evidence.clone()),
    }
}

/// Opens all shards' replicas at once, and makes what the start asks for durable.
fn open_replicas(
    config: &ServerConfig,
    kv: &Arc<FjallKv>,
    view: &View,
    start: &Start,
    rng: &mut fastrand::Rng,
) -> Result<Vec<Replica>, ServerError> {
    let shard_of = |partition: PartitionId| usize::from(partition.0) % config.shards;
    let opened: Vec<Result<Replica, StoreError>> = std::thread::scope(|scope| {
        let mut opening = Vec::new();
        for index in 0..config.shards {
            let all = view.partitions().iter();
            let shard: Vec<PartitionId> = all.filter(|p| shard_of(*p) == index).collect();
            let owned = shard.iter().copied();
            let options = ReplicaOptions {
                partitions: view.partitions(),
                owned: owned.filter(|p| view.is_owner(view.me, *p)).collect(),
                shard,
                start: start.clone(),
                hints_bytes_max: config.hints_bytes_max / config.shards as u64,
            };
            let (kv, rng) = (Arc::clone(kv) as Arc<dyn Kv>, rng.fork());
            opening.push(scope.spawn(move || Replica::open(kv, options, rng)));
        }
        let join = |thread: std::thread::ScopedJoinHandle<'_, _>| match thread.join() {
            Ok(opened) => opened,
            // Goes on as what it is: a defect, not a state of the store.
            Err(panic) => std::panic::resume_unwind(panic),
        };
        opening.into_iter().map(join).collect()
    });
    let mut replicas = opened.into_iter().collect::<Result<Vec<_>, _>>()?;
    let mut distrusted = 0;
    for replica in &mut replicas {
        distrusted += replica.distrusted().len();
        if let Some((id, batch)) = replica.take_staged() {
            kv.commit(&batch)?;
            replica.committed(id);
        }
    }
    kv.sync()?;
    if let Start::Amnesia { .. } = start {
        // Ordering: what it asks for is on the disk now, so it may be forgotten that it asked.
        kv.amnesia_noted()?;
    } else if distrusted > 0 {
        tracing::error!(
            partitions = distrusted,
            "records of partitions are damaged; these are refilled from the peers"
        );
    }
    Ok(replicas)
}

/// A generator whose seed nobody can know: actors must never be drawn twice.
fn seeded() -> Result<fastrand::Rng, ServerError> {
    let mut seed = [0; 8];
    rustls::crypto::ring::default_provider()
        .secure_random
        .fill(&mut seed)
        .map_err(|_| super::system("draw random numbers", &"the system has none"))?;
    Ok(fastrand::Rng::with_seed(u64::from_le_bytes(seed)))
}
