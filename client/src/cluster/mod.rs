//! The cluster as this client sees it: the layout, a node behind each member, and how requests get
//! to them.
//!
//! | file | what |
//! |---|---|
//! | `dial` | an address becomes a connection to a known node |
//! | `node` | one node: its connection, its health, the task that keeps both |
//! | `view` | the layout with its nodes, swapped whole |
//! | `call` | one request and its bounds |
//! | `run` | a request from its first attempt to its end |
//! | `pick` | the node that it goes to next |
//! | `progress` | what has become of it so far, and the error that it ends with |

use std::collections::BTreeMap;
use std::sync::atomic::Ordering::{AcqRel, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use dunlin_crdt::OpId;
use dunlin_protocol::request::Request;
use dunlin_protocol::response::Answer;
use dunlin_ring::{Layout, NodeId};
use fastrand::Rng;
use tokio::sync::watch;
use tokio::time::Instant;

use self::call::{Call, Class, Place};
use self::dial::Dialer;
use self::node::{Node, Surroundings};
use self::view::View;
use crate::builder::Found;
use crate::node_ref::NodeRef;
use crate::transport::Requester;
use dunlin_decide::hedge::Hedging;

pub(crate) mod call;
pub(crate) mod dial;
pub(crate) mod node;
mod pick;
mod progress;
pub(crate) mod run;
pub(crate) mod view;

/// How long it may take to fetch a layout.
const LAYOUT_TIMEOUT: Duration = Duration::from_secs(2);

pub(crate) struct Cluster {
    surroundings: Arc<Surroundings>,
    /// Where to reach nodes, by name, if not where the layout says.
    addresses: BTreeMap<String, String>,
    /// Guards the current snapshot; held to clone or to swap it.
    view: RwLock<Arc<View>>,
    /// Whether a newer layout is being fetched.
    refreshing: AtomicBool,
    turn: AtomicU64,
    ids: OpIds,
    /// Guards a generator; held for one draw.
    rng: Mutex<Rng>,
    /// By class of reads.
    point_hedging: Mutex<Hedging>,
    page_hedging: Mutex<Hedging>,
}

impl Cluster {
    /// Starts with the first node that answered, and the layout that it told.
    pub(crate) fn start(
        dialer: Arc<Dialer>,
        addresses: BTreeMap<String, String>,
        entropy: Entropy,
        found: Found,
    ) -> Arc<Self> {
        let surroundings = Arc::new(Surroundings {
            dialer,
            changes: watch::Sender::new(()),
            origin: Instant::now(),
        });
        let connected = (found.name, found.requester);
        let mut rng = Rng::with_seed(entropy.seed);
        let view = next_view(
            &surroundings,
            &addresses,
            found.layout,
            &[],
            Some(connected),
            &mut rng,
        );
        Arc::new(Self {
            surroundings,
            addresses,
            view: RwLock::new(Arc::new(view)),
            refreshing: AtomicBool::new(false),
            turn: AtomicU64::new(entropy.seed),
            ids: entropy.ids,
            rng: Mutex::new(rng),
            point_hedging: Mutex::default(),
            page_hedging: Mutex::default(),
        })
    }

    /// The current snapshot.
    pub(crate) fn view(&self) -> Arc<View> {
        self.view
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// A name for a request that no other request of any client has.
    pub(crate) fn op_id(&self) -> OpId {
        self.ids.draw()
    }

    /// Takes leave of all nodes, and waits until they know.
    pub(crate) async fn close(&self) {
        self.surroundings.dialer.wait_idle().await;
    }

    /// Takes a layout if it is newer than the current one. Nodes that stay keep their connections.
    pub(crate) fn install(&self, layout: Layout) {
        let mut view = self.view.write().unwrap_or_else(PoisonError::into_inner);
        if layout.number() <= view.layout.number() {
            return;
        }
        tracing::debug!(layout = %layout.number(), "newer layout");
        let next = next_view(
            &self.surroundings,
            &self.addresses,
            layout,
            &view.nodes,
            None,
            &mut self.rng(),
        );
        let previous = std::mem::replace(&mut *view, Arc::new(next));
        drop(view);
        drop(previous);
        self.surroundings.changes.send_replace(());
    }

    /// Fetches the layout from a node that has a newer one, in the background.
    fn refresh_layout(self: &Arc<Self>, from: NodeId) {
        if self.refreshing.swap(true, AcqRel) {
            return;
        }
        let cluster = self.clone();
        tokio::spawn(async move {
            let answer = match Call::new(&Request::Layout, Place::Node(from), LAYOUT_TIMEOUT) {
                Ok(call) => cluster.run(&call).await.map(|reply| reply.answer),
                Err(error) => Err(error),
            };
            match answer {
                Ok(Answer::Layout(layout)) => cluster.install(*layout),
                Ok(_) => tracing::warn!(%from, "asked for its layout, it answered otherwise"),
                // The next answer tells of it again.
                Err(error) => tracing::debug!(%error, "newer layout not fetched"),
            }
            cluster.refreshing.store(false, Release);
        });
    }

    fn turn(&self) -> u64 {
        self.turn.fetch_add(1, Relaxed)
    }

    fn rng(&self) -> MutexGuard<'_, Rng> {
        self.rng.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hedging(&self, class: Class) -> MutexGuard<'_, Hedging> {
        let hedging = match class {
            Class::Point => &self.point_hedging,
            Class::Page => &self.page_hedging,
        };
        // Statistics: whatever a panic left behind will do.
        hedging.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The snapshot of a layout, with the nodes there are already.
fn next_view(
    surroundings: &Arc<Surroundings>,
    addresses: &BTreeMap<String, String>,
    layout: Layout,
    known: &[Arc<Node>],
    mut connected: Option<(String, Requester)>,
    rng: &mut Rng,
) -> View {
    let nodes = layout
        .members()
        .iter()
        .map(|member| {
            let address = addresses.get(&member.name).unwrap_or(&member.address);
            let kept = known
                .binary_search_by_key(&member.id, |node| node.id())
                .ok()
                .and_then(|position| known.get(position))
                .filter(|node| {
                    node.address() == address && node.name().name.as_deref() == Some(&*member.name)
                });
            if let Some(node) = kept {
                return node.clone();
            }
            let name = NodeRef {
                id: member.id,
                name: Some(member.name.as_str().into()),
            };
            let requester = connected
                .take_if(|(name, _)| *name == member.name)
                .map(|(_, requester)| requester);
            let (surroundings, seed) = (surroundings.clone(), rng.u64(..));
            Arc::new(Node::start(
                name,
                address.clone(),
                requester,
                surroundings,
                seed,
            ))
        })
        .collect();
    View { layout, nodes }
}

/// What a client draws from the system at its start.
pub(crate) struct Entropy {
    seed: u64,
    ids: OpIds,
}

impl Entropy {
    /// From random bytes that no other client has.
    pub(crate) fn new(bytes: [u8; 24]) -> Self {
        let word = |at: usize| {
            let part = bytes.iter().skip(at).take(8);
            part.fold(0, |word, byte| word << 8 | u64::from(*byte))
        };
        Self {
            seed: word(0),
            ids: OpIds {
                client: word(8),
                next: AtomicU64::new(word(16)),
            },
        }
    }
}

/// Names for requests: 64 random bits of the client's, and a count that starts at 64 more.
struct OpIds {
    client: u64,
    next: AtomicU64,
}

impl OpIds {
    fn draw(&self) -> OpId {
        OpId(self.client, self.next.fetch_add(1, Relaxed))
    }
}
