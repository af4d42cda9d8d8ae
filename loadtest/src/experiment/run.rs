//! An experiment from its plan to its result.
//!
//! ```text
//!   relay ─ nodes ─ clients ─> load, to the end of the last phase ─> history on disk
//!                              phase, phase, …                       timeline, what nodes say
//!   everything heals ─> until nothing is on its way ─> every key is read ─> verdict
//! ```

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use dunlin_client::{BucketDefaults, Client, Durability, NodeId, Options, Quorum};
use dunlin_history::{Action, FORMAT as HISTORY_FORMAT, Header, Op, Outcome, verdict_of_file};
use tokio::net::lookup_host;
use tokio::sync::watch;
use tokio::time::sleep;

use super::load::{Group, Load};
use super::nodes::Nodes;
use super::observe::{Observer, Rest};
use super::parts::{BUCKETS, PARTS, open};
use super::plan::{Phase, Plan};
use super::recorder::{Ended, Recorder};
use super::result::{Convergence, FORMAT, PhaseResult, RunResult, Verdict};
use super::stage::Stage;
use super::staleness::Expectation;
use crate::error::LoadError;
use crate::proc;
use dunlin_relay::{Place, Relay, free_addresses};

/// How long nodes may take to start, and to become quiet after everything healed.
const START_MAX: Duration = Duration::from_secs(60);
const CONVERGE_MAX: Duration = Duration::from_secs(180);
/// Between looks at whether the nodes that nobody reaches still run.
const CONNECT_EVERY: Duration = Duration::from_secs(2);
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How long a final read may take.
const FINAL_READ_MAX: Duration = Duration::from_secs(10);

/// Where things are.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) on: On,
    /// Where history, result and report are written.
    pub(crate) out: PathBuf,
}

/// On what a plan is carried out.
#[derive(Clone, Debug)]
pub(crate) enum On {
    /// A cluster of its own.
    Own {
        /// The nodes' program.
        dunlin: PathBuf,
        /// Where the nodes' files are while it runs.
        work: PathBuf,
        /// Whether they stay.
        keep: bool,
    },
    /// The one that this file describes.
    Running(PathBuf),
}

/// The history of a run, in its folder.
pub(crate) const HISTORY: &str = "history.ndjson";

/// Runs a plan.
pub(crate) async fn run(
    plan: Plan,
    text: String,
    settings: &Settings,
) -> Result<RunResult, LoadError> {
    let began_at = SystemTime::now().duration_since(UNIX_EPOCH);
    let began_at = began_at.map_or(0, |since| since.as_secs());
    let groups = plan.clients.len();
    let (plan, relay, mut nodes) = match &settings.on {
        On::Own { dunlin, work, keep } => {
            let (relay, nodes) = own(&plan, dunlin, work, *keep)?;
            (plan, relay, nodes)
        }
        On::Running(file) => running(plan, file).await?,
    };
    fs::create_dir_all(&settings.out).map_err(file(&settings.out))?;
    let observer_at = Place(plan.nodes() + groups);
    let admin = first_client(&mut nodes, &relay, observer_at).await?;
    let versions = versions(&admin).await;
    // Somebody else's cluster may have buckets of the usual names.
    let prefix = match &settings.on {
        On::Own { .. } => String::new(),
        On::Running(_) => format!("experiment-{began_at}-{}-", std::process::id()),
    };
    let start = Instant::now();
    let observer = Observer::new(&admin, start);
    wait_until_quiet(&observer, &admin, START_MAX).await?;
    for (name, kind) in BUCKETS {
        let defaults = BucketDefaults {
            r: Quorum::Majority,
            w: Quorum::Majority,
            dw: None,
            durability: Durability::Synced,
        };
        let created = admin
            .create_bucket(&format!("{prefix}{name}"), kind, defaults)
            .await;
        created.map_err(LoadError::request("creating a bucket"))?;
    }
    let options = options(&plan);
    let mut opened = Vec::new();
    for (at, clients) in plan.clients.iter().enumerate() {
        let client = connect(&nodes, &relay, Place(plan.nodes() + at), START_MAX).await?;
        let group = Group::open(clients, &client, &options, &prefix).await;
        opened.push(group.map_err(LoadError::request("opening a bucket"))?);
    }
    let path = settings.out.join(HISTORY);
    let _ = fs::remove_file(&path);
    let (recorder, recording) =
        Recorder::start(&path, &header(&plan, &nodes), groups).map_err(file(&path))?;
    let (phase_now, phase_seen) = watch::channel(String::new());
    let (pids, pids_seen) = watch::channel(Vec::new());
    let (stop, stopped) = watch::channel(false);
    let owners = usize::from(plan.cluster.replicas);
    let start = Instant::now();
    let observer = Observer::new(&admin, start);
    let load = Load::new(
        plan.load.clone(),
        opened,
        recorder.clone(),
        start,
        phase_seen,
        owners,
    );
    let mut stage = Stage {
        plan: &plan,
        relay: &relay,
        nodes,
        admin: admin.clone(),
        pids,
    };
    stage.tell_pids();
    let names: Vec<NodeId> = stage.nodes.names().map(NodeId::from_name).collect();
    let looking = observer.run(&names, pids_seen, stopped);
    let work = async {
        let loading = tokio::spawn(Arc::new(load).run(start + plan.length()));
        let mut spans = Vec::new();
        for phase in &plan.phases {
            phase_now.send_replace(phase.name.clone());
            let from = start.elapsed();
            eprintln!(
                "{:>6.1} s  {}{}",
                from.as_secs_f64(),
                phase.name,
                aside(&faults(phase))
            );
            stage.play(phase).await?;
            spans.push((from, start.elapsed()));
        }
        phase_now.send_replace("end".to_owned());
        if let Err(panic) = loading.await {
            std::panic::resume_unwind(panic.into_panic());
        }
        eprintln!("{:>6.1} s  everything heals", start.elapsed().as_secs_f64());
        let before = observer.rest(&names_in(&admin)).await;
        let healed = Instant::now();
        let rest = wait_until_quiet(&observer, &admin, CONVERGE_MAX).await?;
        let convergence = Convergence {
            took_ms: u64::try_from(healed.elapsed().as_millis()).unwrap_or(u64::MAX),
            repaired_bytes: rest.repaired_bytes.saturating_sub(before.repaired_bytes),
            hints: rest.hints.saturating_sub(before.hints),
        };
        let unreadable = final_reads(&plan, &admin, start, &recorder, &prefix).await?;
        let partitions_differ = partitions_that_differ(&admin).await?;
        Ok::<_, LoadError>((spans, convergence, unreadable, partitions_differ))
    };
    let (seen, work) = tokio::join!(looking, async {
        let done = work.await;
        // Whatever happened, the observer comes to its end.
        stop.send_replace(true);
        done
    });
    if let On::Running(_) = settings.on {
        for (name, _) in BUCKETS {
            let bucket = format!("{prefix}{name}");
            if let Err(error) = admin.drop_bucket(&bucket).await {
                eprintln!("dunlin-loadtest: bucket {bucket} stays: {error}");
            }
        }
    }
    let (spans, convergence, unreadable, partitions_differ) = work?;
    let rtt_us = round_trips(&admin).await;
    drop(recorder);
    let recorded = recording.finish().map_err(file(&path))?;
    let history = verdict_of_file(&path);
    let history = history.map_err(|error| LoadError::History(error.to_string()))?;
    let timeline = &recorded.timeline;
    let phases = plan
        .phases
        .iter()
        .zip(spans)
        .map(|(phase, (from, to))| PhaseResult {
            name: phase.name.clone(),
            from_ms: millis(from),
            to_ms: millis(to),
            faults: faults(phase),
            all: timeline.total(None, from, to),
            groups: (0..groups)
                .map(|group| timeline.total(Some(group), from, to))
                .collect(),
        });
    let passed = relay.passed();
    let expectation = Expectation {
        owners,
        r: plan.load.r.of(owners),
        w: plan.load.w.of(owners),
        rtt_us,
    };
    Ok(RunResult {
        format: FORMAT,
        phases: phases.collect(),
        verdict: Verdict {
            holds: history.holds() && partitions_differ == 0 && unreadable == 0,
            history,
            partitions_differ,
            unreadable,
        },
        timeline: timeline.points(),
        seen,
        staleness: recorded.staleness.curve(expectation),
        staleness_reads: recorded.staleness.reads(),
        convergence,
        errors: timeline.errors().clone(),
        operations: recorded.operations,
        relay_packets: passed.packets,
        relay_bytes: passed.bytes,
        relay_dropped: passed.dropped,
        places: plan.place_names(),
        plan,
        plan_text: text,
        versions,
        began_at,
    })
}

/// Starts a cluster, each node behind its doors.
fn own(plan: &Plan, dunlin: &Path, work: &Path, keep: bool) -> Result<(Relay, Nodes), LoadError> {
    let count = u16::try_from(plan.nodes()).unwrap_or(u16::MAX);
    let listening = free_addresses(count).map_err(LoadError::Runtime)?;
    let relay = relay(plan, &listening)?;
    let mut nodes = Nodes::create(
        dunlin.to_owned(),
        work.to_owned(),
        keep,
        &plan.cluster,
        &listening,
        relay.addresses(),
    )?;
    for at in 0..plan.nodes() {
        nodes.start(at)?;
    }
    Ok((relay, nodes))
}

/// Finds the nodes of a cluster that runs. Only clients of this program get doors.
async fn running(plan: Plan, file: &Path) -> Result<(Plan, Relay, Nodes), LoadError> {
    let scout = Client::builder().cluster_file(file).connect().await?;
    let layout = scout.layout();
    let mut known: Vec<(String, String)> = scout
        .nodes()
        .into_iter()
        .map(|view| (view.node.to_string(), view.address))
        .collect();
    // As people count: n2 before n10.
    known.sort_by(|(a, _), (b, _)| (a.len(), a).cmp(&(b.len(), b)));
    let plan = plan.on_running(known.len(), layout.replicas(), layout.partitions().get())?;
    let (mut addresses, mut processes) = (Vec::new(), Vec::new());
    for (node, address) in known {
        let found = lookup_host(&address).await;
        let Some(at) = found.ok().and_then(|mut found| found.next()) else {
            return Err(LoadError::NoAddress { node, address });
        };
        let is_here = at.ip().is_loopback();
        let process = is_here.then(|| proc::process_of_port(at.port())).flatten();
        addresses.push(at);
        processes.push((node, process));
    }
    scout.close().await;
    let relay = relay(&plan, &addresses)?;
    Ok((plan, relay, Nodes::running(file.to_owned(), processes)))
}

/// A relay with doors for every group of clients, and for who looks at the nodes.
fn relay(plan: &Plan, listening: &[SocketAddr]) -> Result<Relay, LoadError> {
    Relay::start(listening, plan.clients.len() + 1, plan.load.seed).map_err(LoadError::Runtime)
}

/// The first client: the nodes may take a moment, or end.
async fn first_client(nodes: &mut Nodes, relay: &Relay, place: Place) -> Result<Client, LoadError> {
    let began = Instant::now();
    loop {
        let connected = connect(nodes, relay, place, CONNECT_EVERY).await;
        if let ended @ [_, ..] = nodes.ended().as_slice() {
            return Err(LoadError::Ended(ended.join(", ")));
        }
        if connected.is_ok() || began.elapsed() > START_MAX {
            return connected;
        }
    }
}

/// A client that reaches the nodes through the doors of its place.
async fn connect(
    nodes: &Nodes,
    relay: &Relay,
    place: Place,
    at_most: Duration,
) -> Result<Client, LoadError> {
    let mut builder = Client::builder()
        .cluster_file(nodes.cluster_file())
        .connect_timeout(at_most);
    for (name, door) in nodes.names().zip(relay.addresses_for(place)) {
        builder = builder.address(name, door.to_string());
    }
    Ok(builder.connect().await?)
}

fn options(plan: &Plan) -> Options {
    let options = Options::new()
        .r(plan.load.r.of_client())
        .w(plan.load.w.of_client())
        .timeout(Duration::from_millis(plan.load.timeout_ms));
    match plan.load.sloppy {
        true => options.sloppy(),
        false => options.strict(),
    }
}

fn header(plan: &Plan, nodes: &Nodes) -> Header {
    let clocks = &plan.cluster.clocks_ms;
    let (first, last) = (clocks.values().min(), clocks.values().max());
    let apart = last.copied().unwrap_or(0).max(0) - first.copied().unwrap_or(0).min(0);
    Header {
        format: HISTORY_FORMAT,
        owners: plan.cluster.replicas,
        buckets: PARTS.map(|part| (part.name.to_owned(), part.kind)).into(),
        // Of processes on one machine; nobody bounds it on several.
        clock_skew_us: (0..plan.nodes())
            .all(|at| nodes.pid(at).is_some())
            .then_some(apart.unsigned_abs() * 1000),
    }
}

async fn wait_until_quiet(
    observer: &Observer,
    admin: &Client,
    at_most: Duration,
) -> Result<Rest, LoadError> {
    let began = Instant::now();
    loop {
        let rest = observer.rest(&names_in(admin)).await;
        if rest.is_quiet {
            return Ok(rest);
        }
        if began.elapsed() > at_most {
            return Err(LoadError::TimedOut {
                what: "that nothing is on its way between the nodes",
                after: at_most,
                seen: "nodes that do not answer, or are behind".to_owned(),
            });
        }
        sleep(LOOK_EVERY).await;
    }
}

fn names_in(admin: &Client) -> Vec<NodeId> {
    admin.nodes().iter().map(|view| view.node.id).collect()
}

/// Reads every key of every bucket from all its owners. Returns how many could not be read.
async fn final_reads(
    plan: &Plan,
    admin: &Client,
    start: Instant,
    recorder: &Recorder,
    prefix: &str,
) -> Result<u64, LoadError> {
    let patient = Options::new().r(Quorum::All).timeout(FINAL_READ_MAX);
    let client = admin.with_options(patient);
    let at_us = || u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX);
    let mut unreadable = 0;
    let buckets = open(&client, prefix).await;
    let buckets = buckets.map_err(LoadError::request("opening a bucket"))?;
    for part in PARTS {
        for key in 0..plan.load.keys {
            let key = format!("k{key}");
            let start_us = at_us();
            let found = part.read(&buckets, &key).await;
            unreadable += u64::from(found.is_err());
            let op = Op {
                client: u32::MAX,
                session: None,
                bucket: part.name.to_owned(),
                key,
                action: Action::Read,
                start_us,
                end_us: at_us(),
                outcome: match found {
                    Ok(Some(found)) => Outcome::Read(found),
                    Ok(None) | Err(_) => Outcome::NotApplied,
                },
                sent: 1,
                node: None,
                w: None,
                r: Some(plan.cluster.replicas),
                strict: true,
                settled: true,
                phase: Some("final".to_owned()),
            };
            recorder.ended(Ended {
                op,
                group: 0,
                latency: Duration::ZERO,
                error: None,
            });
        }
    }
    Ok(unreadable)
}

async fn partitions_that_differ(admin: &Client) -> Result<u64, LoadError> {
    let patient = admin.with_options(Options::new().timeout(FINAL_READ_MAX));
    let layout = admin.layout();
    let mut differ = 0;
    for partition in layout.partitions().iter() {
        let mut contents = std::collections::BTreeSet::new();
        for owner in layout.owners(partition) {
            let digest = patient.digest(*owner, partition).await;
            let digest = digest.map_err(LoadError::request("asking for a digest"))?;
            contents.insert((digest.clock, digest.content, digest.rows));
        }
        differ += u64::from(contents.len() > 1);
    }
    Ok(differ)
}

/// What a question of one node to another takes, in microseconds: the usual one, and the 99th percentile; the
/// greatest of all nodes.
async fn round_trips(admin: &Client) -> (u64, u64) {
    let mut slowest = (0, 0);
    for node in names_in(admin) {
        if let Ok(status) = admin.status(node).await {
            for peer in status.peers {
                slowest = (slowest.0.max(peer.latency_us), slowest.1.max(peer.p99_us));
            }
        }
    }
    slowest
}

/// What a phase does, in words.
fn faults(phase: &Phase) -> String {
    let mut words = Vec::new();
    let list = |names: &[String]| names.join(" ");
    if !phase.split.is_empty() {
        let groups: Vec<String> = phase.split.iter().map(|group| list(group)).collect();
        words.push(format!("split: {}", groups.join(" | ")));
    }
    for ways in &phase.cut {
        words.push(format!("cut: {} → {}", list(&ways.from), list(&ways.to)));
    }
    for bad in &phase.bad {
        let mut what = vec![format!("bad: {}", list(&bad.between))];
        if bad.delay_ms + bad.jitter_ms > 0 {
            what.push(format!(
                "{} to {} ms",
                bad.delay_ms,
                bad.delay_ms + bad.jitter_ms
            ));
        }
        for (share, name) in [
            (bad.loss, "lost"),
            (bad.duplicate, "doubled"),
            (bad.reorder, "overtaken"),
        ] {
            if share > 0.0 {
                what.push(format!("{:.0} % {name}", share * 100.0));
            }
        }
        if let Some(rate) = bad.kilobytes_per_second {
            what.push(format!("{rate} kB/s"));
        }
        words.push(what.join(", "));
    }
    if let Some(every) = phase.flap_ms {
        words.push(format!("on and off, {every} ms each"));
    }
    for (what, names) in [
        ("stands still", &phase.pause),
        ("killed", &phase.kill),
        ("loses its disk", &phase.wipe),
        ("restarted", &phase.restart),
        ("joins", &phase.join),
        ("leaves", &phase.leave),
    ] {
        if !names.is_empty() {
            words.push(format!("{what}: {}", list(names)));
        }
    }
    words.join("; ")
}

fn aside(words: &str) -> String {
    match words.is_empty() {
        true => String::new(),
        false => format!(" ({words})"),
    }
}

async fn versions(admin: &Client) -> BTreeMap<&'static str, String> {
    let mut said = std::collections::BTreeSet::new();
    for node in names_in(admin) {
        said.extend(admin.status(node).await.map(|status| status.version));
    }
    let said: Vec<String> = said.into_iter().collect();
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    BTreeMap::from([
        ("dunlin-loadtest", env!("CARGO_PKG_VERSION").to_owned()),
        ("dunlin", said.join(", ")),
        ("kernel", kernel.trim().to_owned()),
        ("cores", cores.to_string()),
    ])
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn file(path: &Path) -> impl FnOnce(std::io::Error) -> LoadError {
    let path = path.to_owned();
    move |source| LoadError::File { path, source }
}
