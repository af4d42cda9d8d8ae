//! `dunlin dev …` and `dunlin server`: the commands that know that there are processes.

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use dunlin_client::NodeId;
use dunlin_node::dev::{self, DevCluster, DevEvent, DevOptions, DevWatch, NodeState};
use dunlin_protocol::cluster::{Change, ClusterState};
use dunlin_ring::MemberState;
use serde_json::{Value, json};

use super::args::{DevArgs, DevCommand};
use super::cluster::describe;
use super::ended::Ended;
use super::fault::Fault;
use super::output::{Output, note};
use super::progress::Progress;
use super::text::shell_word;
use super::wait_for;

/// Copies of everything, where there are nodes enough.
const REPLICAS: u8 = 3;
/// How long nodes may take to become ready.
const READY_MAX: Duration = Duration::from_secs(60);
/// How long a cluster that runs may take to answer.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// How often it is looked whether they are.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Where commands look for a cluster that is not named.
const DIR_DEFAULT: &str = "./dunlin-dev";

/// `dunlin server`: one node, until the process is told to stop.
pub(crate) fn server(config: &Path) -> Result<Ended, Fault> {
    dunlin_node::server::run(config)?;
    Ok(Ended::Done)
}

/// `dunlin dev …`
pub(crate) fn run(out: &mut Output, args: DevArgs) -> Result<Ended, Fault> {
    match args.command {
        None => start(out, &args),
        Some(DevCommand::Add { place }) => wait_for(add(out, &place.dir)),
        Some(DevCommand::Remove { node, place }) => wait_for(remove(out, &place.dir, node)),
        Some(DevCommand::Stop { place }) => stop(out, &place.dir),
        Some(DevCommand::Kill { node, place }) => kill(out, &place.dir, node),
        Some(DevCommand::Restart { node, place }) => restart(out, &place.dir, node),
    }
}

fn start(out: &mut Output, args: &DevArgs) -> Result<Ended, Fault> {
    let nodes = u8::try_from(args.nodes).unwrap_or(u8::MAX);
    let mut options = DevOptions::new(&args.place.dir);
    options.nodes = args.nodes;
    options.base_port = args.port;
    options.replicas = args.replicas.unwrap_or(REPLICAS.min(nodes));
    options.partitions = args.partitions.unwrap_or(options.partitions);
    if options.replicas > nodes {
        return Err(Fault::Usage(format!(
            "{nodes} nodes cannot hold {} copies",
            options.replicas
        )));
    }
    let mut cluster = DevCluster::create(&options)?;
    match args.detach {
        true => wait_for(start_detached(out, &mut cluster, &args.place.dir)),
        false => wait_for(run_in_foreground(out, &mut cluster, &args.place.dir)),
    }
}

async fn start_detached(
    out: &mut Output,
    cluster: &mut DevCluster,
    dir: &Path,
) -> Result<Ended, Fault> {
    cluster.start()?;
    if let Err(error) = until_ready(cluster).await {
        // A cluster that is not ready is of no use; the error says why it is not.
        let _ = cluster.stop();
        return Err(error.into());
    }
    show_ready(out, cluster, dir, How::Detached)?;
    Ok(Ended::Done)
}

async fn until_ready(cluster: &DevCluster) -> Result<(), dev::DevError> {
    let mut watch = DevWatch::connect(cluster, READY_MAX).await?;
    watch.ready(cluster, READY_MAX).await
}

async fn run_in_foreground(
    out: &mut Output,
    cluster: &mut DevCluster,
    dir: &Path,
) -> Result<Ended, Fault> {
    let mut progress = Progress::new();
    let mut shown = Ok(());
    dev::run(cluster, |event| {
        let line = match event {
            DevEvent::Looked(looks) => {
                return progress.show(|| {
                    let looks: Vec<String> = looks.iter().map(ToString::to_string).collect();
                    looks.join(" | ")
                });
            }
            DevEvent::Ready(cluster) => {
                progress.clear();
                shown = show_ready(out, cluster, dir, How::Foreground);
                return;
            }
            DevEvent::Died(error) => error.to_string(),
            DevEvent::Ended(node) => format!("{} was killed or stopped from elsewhere", node.name),
            DevEvent::Stopping => "stopping".to_owned(),
            DevEvent::Stopped(_) => "stopped".to_owned(),
        };
        progress.clear();
        note(&line);
    })
    .await?;
    shown?;
    Ok(Ended::Done)
}

/// Whether the cluster outlives the command.
#[derive(Clone, Copy, PartialEq, Eq)]
enum How {
    Detached,
    Foreground,
}

/// Says how the cluster is used, and hands it to the system: the command may run on for long.
fn show_ready(out: &mut Output, cluster: &DevCluster, dir: &Path, how: How) -> io::Result<()> {
    if out.is_json() {
        let nodes: Value = cluster
            .nodes()
            .iter()
            .map(|node| json!({ "name": node.name, "address": node.address, "dir": node.dir }))
            .collect();
        out.json_line(&json!({ "cluster_file": cluster.cluster_file(), "nodes": nodes }))?;
        return out.flush();
    }
    let is_default = dir == Path::new(DIR_DEFAULT);
    out.line(&format!(
        "The cluster is ready: {} nodes.",
        cluster.nodes().len()
    ))?;
    for node in cluster.nodes() {
        out.line(&format!("  {:<4}{}", node.name, node.address))?;
    }
    out.line("Use it:")?;
    if !is_default {
        let file = cluster.cluster_file();
        out.line(&format!(
            "  export DUNLIN_CLUSTER={}",
            shell_word(&file.to_string_lossy())
        ))?;
    }
    out.line("  dunlin bucket create carts --kind set")?;
    out.line("  dunlin set add carts ana apples pears")?;
    out.line("  dunlin get carts ana")?;
    out.line("  dunlin cluster status")?;
    let at = match is_default {
        true => String::new(),
        false => format!(" --dir {}", shell_word(&dir.to_string_lossy())),
    };
    out.line("Hurt it:")?;
    out.line(&format!("  dunlin dev kill 1{at}"))?;
    out.line(&format!("  dunlin dev restart 1{at}"))?;
    match how {
        How::Detached => out.line(&format!("Stop it:\n  dunlin dev stop{at}"))?,
        How::Foreground => out.line("Stop it: Ctrl-C")?,
    }
    out.flush()
}

async fn add(out: &mut Output, dir: &Path) -> Result<Ended, Fault> {
    let mut cluster = DevCluster::open(dir)?;
    // Before anything is made: without a node that runs there is nobody to tell the new one.
    let mut watch = DevWatch::connect(&cluster, ANSWER_MAX).await?;
    let node = cluster.add()?;
    cluster.start_node(node.number)?;
    watch.linked(&cluster, node.number, READY_MAX).await?;
    let (name, address) = (&node.name, &node.address);
    if out.is_json() {
        out.json_line(&json!({ "node": name, "address": address, "dir": node.dir }))?;
        return Ok(Ended::Done);
    }
    out.line(&format!(
        "{name} runs at {address} and is linked. It owns nothing yet. Let it join:"
    ))?;
    let cluster_file = match dir == Path::new(DIR_DEFAULT) {
        true => String::new(),
        false => format!(
            " --cluster {}",
            shell_word(&cluster.cluster_file().to_string_lossy())
        ),
    };
    for command in [&format!("join {name}"), "plan", "apply"] {
        out.line(&format!("  dunlin cluster {command}{cluster_file}"))?;
    }
    Ok(Ended::Done)
}

/// Refused while the node is a member or holds anything: its data goes with it.
async fn remove(out: &mut Output, dir: &Path, number: u16) -> Result<Ended, Fault> {
    let mut cluster = DevCluster::open(dir)?;
    let name = cluster.node(number)?.name.clone();
    let mut watch = DevWatch::connect(&cluster, ANSWER_MAX).await?;
    let id = NodeId::from_name(&name);
    // The node that is asked may not have heard yet that it is over.
    let until = Instant::now() + ANSWER_MAX;
    let mut state = describe(watch.client()).await?;
    while (is_owner(&state, id) || to_hand_over(&state, id) > 0) && Instant::now() < until {
        tokio::time::sleep(LOOK_EVERY).await;
        state = describe(watch.client()).await?;
    }
    if is_owner(&state, id) {
        return Err(Fault::Refused {
            what: format!("{name} is a member of the cluster"),
            advice: format!(
                "let it leave first: dunlin cluster leave {name}, then dunlin cluster apply and \
                 dunlin cluster moves --watch"
            ),
        });
    }
    let joins = |change: &Change| match change {
        Change::Join(new) | Change::Replace { new, .. } => new.id == id,
        Change::Leave(_) | Change::Zone { .. } | Change::Capacity { .. } | Change::Replicas(_) => {
            false
        }
    };
    if state.staged.iter().any(|staged| joins(&staged.change)) {
        return Err(Fault::Refused {
            what: format!("{name} is staged to join the cluster"),
            advice: "dunlin cluster cancel takes back what is staged".to_owned(),
        });
    }
    let left = to_hand_over(&state, id);
    if left > 0 {
        return Err(Fault::Refused {
            what: format!("{name} has {left} partitions yet to hand over"),
            advice: "wait for it: dunlin cluster moves --watch".to_owned(),
        });
    }
    let mut looks = watch.look(&cluster).await.into_iter();
    let look = looks.find(|look| look.name == name).map(|look| look.state);
    if let Some(NodeState::Up(status)) = look
        && status.hints > 0
    {
        return Err(Fault::Refused {
            what: format!("{name} keeps {} hints for others", status.hints),
            advice: "start the nodes that are down, and try again".to_owned(),
        });
    }
    cluster.remove(number)?;
    if out.is_json() {
        out.json_line(&json!({ "node": name, "removed": true }))?;
    } else {
        out.line(&format!("{name} is stopped and removed"))?;
    }
    Ok(Ended::Done)
}

/// Whether it may own something. One that has left stays in the layout by which it left, as one that is
/// leaving.
fn is_owner(state: &ClusterState, node: NodeId) -> bool {
    let mut layouts = state.layouts.iter();
    layouts.any(|applied| {
        let member = applied.layout.member(node);
        member.is_some_and(|member| member.state == MemberState::Active)
    })
}

fn to_hand_over(state: &ClusterState, node: NodeId) -> u32 {
    let known = state.nodes.iter().find(|known| known.node == node);
    let progress = known.and_then(|known| known.progress.as_ref());
    progress.map_or(0, |progress| progress.handing_over)
}

fn stop(out: &mut Output, dir: &Path) -> Result<Ended, Fault> {
    let stopped = DevCluster::open(dir)?.stop()?;
    if out.is_json() {
        let (stopped, not_running) = (&stopped.stopped, &stopped.not_running);
        out.json_line(&json!({ "stopped": stopped, "not_running": not_running }))?;
        return Ok(Ended::Done);
    }
    if !stopped.stopped.is_empty() {
        out.line(&format!("stopped {}", stopped.stopped.join(", ")))?;
    }
    if !stopped.not_running.is_empty() {
        out.line(&format!("not running: {}", stopped.not_running.join(", ")))?;
    }
    Ok(Ended::Done)
}

fn kill(out: &mut Output, dir: &Path, number: u16) -> Result<Ended, Fault> {
    let mut cluster = DevCluster::open(dir)?;
    let ran = cluster.kill(number)?;
    let name = &cluster.node(number)?.name;
    if out.is_json() {
        out.json_line(&json!({ "node": name, "killed": ran }))?;
    } else if ran {
        out.line(&format!("killed {name}"))?;
    } else {
        out.line(&format!("{name} was not running"))?;
    }
    Ok(Ended::answer(ran))
}

fn restart(out: &mut Output, dir: &Path, number: u16) -> Result<Ended, Fault> {
    let mut cluster = DevCluster::open(dir)?;
    cluster.restart(number)?;
    let node = cluster.node(number)?.clone();
    wait_for(async {
        let mut watch = DevWatch::connect(&cluster, READY_MAX).await?;
        let until = Instant::now() + READY_MAX;
        loop {
            let looks = watch.look(&cluster).await;
            let look = looks.into_iter().find(|look| look.name == node.name);
            match look.map(|look| look.state) {
                Some(NodeState::Up(_)) => return Ok(Ended::Done),
                Some(NodeState::Silent) | None if Instant::now() < until => {}
                Some(NodeState::Down | NodeState::Silent) | None => {
                    return Err(Fault::Refused {
                        what: format!("node {} does not come up", node.name),
                        advice: format!("see its log, {}", node.log().display()),
                    });
                }
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    })?;
    if out.is_json() {
        out.json_line(&json!({ "node": node.name, "address": node.address, "up": true }))?;
    } else {
        out.line(&format!("{} is up again at {}", node.name, node.address))?;
    }
    Ok(Ended::Done)
}
