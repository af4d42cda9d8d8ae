//! A cluster in the foreground: started, watched, and ended with the program.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use super::watch::died;
use super::{DevCluster, DevError, DevNode, DevWatch, NodeLook, NodeState, Stopped};

/// How long nodes may take to become ready.
const READY_MAX: Duration = Duration::from_secs(60);
/// How often the nodes are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What happens to a cluster in the foreground.
#[derive(Debug)]
pub enum DevEvent<'a> {
    /// All nodes run and are ready.
    Ready(&'a DevCluster),
    /// How the nodes are; once a second.
    Looked(&'a [NodeLook]),
    /// A node has ended by itself: [`DevError::Died`] has the end of its log.
    Died(&'a DevError),
    /// A node was killed or stopped from elsewhere.
    Ended(&'a DevNode),
    /// The nodes are told to stop.
    Stopping,
    /// They have.
    Stopped(&'a Stopped),
}

/// Starts all nodes, says what happens, and stops them all on Ctrl-C (or `SIGTERM`).
///
/// # Errors
/// [`DevError`]; nodes that were started are stopped then, too.
pub async fn run(
    cluster: &mut DevCluster,
    mut say: impl FnMut(DevEvent<'_>),
) -> Result<(), DevError> {
    let watched = watch(cluster, &mut say).await;
    say(DevEvent::Stopping);
    let stopped = cluster.stop();
    watched?;
    say(DevEvent::Stopped(&stopped?));
    Ok(())
}

async fn watch(
    cluster: &mut DevCluster,
    say: &mut impl FnMut(DevEvent<'_>),
) -> Result<(), DevError> {
    // Asked for before the nodes start, so that an early one stops them, too.
    let mut interrupt = signal(SignalKind::interrupt()).map_err(DevError::Signals)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(DevError::Signals)?;
    cluster.start()?;
    let mut watch = tokio::select! {
        biased;
        _ = interrupt.recv() => return Ok(()),
        _ = terminate.recv() => return Ok(()),
        watch = connect(cluster) => watch?,
    };
    say(DevEvent::Ready(cluster));
    // Looks in a row that found a node down.
    let mut down: BTreeMap<u16, u32> = BTreeMap::new();
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    loop {
        tokio::select! {
            biased;
            _ = interrupt.recv() => return Ok(()),
            _ = terminate.recv() => return Ok(()),
            _ = ticks.tick() => {}
        }
        // Nodes are added from elsewhere. A file that can't be read now is read in a second.
        let _ = cluster.refresh();
        let looks = watch.look(cluster).await;
        for (node, look) in cluster.nodes().iter().zip(&looks) {
            if look.state != NodeState::Down {
                down.remove(&node.number);
                continue;
            }
            let looks = down.entry(node.number).or_default();
            *looks = looks.saturating_add(1);
            // Not at the first: whoever ended it may be about to say so.
            if *looks == 2 {
                match node.process().is_forgotten() {
                    true => say(DevEvent::Ended(node)),
                    false => say(DevEvent::Died(&died(node))),
                }
            }
        }
        say(DevEvent::Looked(&looks));
        cluster.reap();
    }
}

async fn connect(cluster: &DevCluster) -> Result<DevWatch, DevError> {
    let mut watch = DevWatch::connect(cluster, READY_MAX).await?;
    watch.ready(cluster, READY_MAX).await?;
    Ok(watch)
}
