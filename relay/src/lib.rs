//! A relay for every link: UDP packets between the nodes, and between clients and nodes, pass through this
//! process, which may hold them back, lose them, repeat them, or let none through.
//!
//! ```text
//!   n1's socket ──> door to n2 ──[rule n1 → n2]──> socket of the pair ──> n2's socket
//!   n1's socket <── door to n2 <──[rule n2 → n1]── socket of the pair <── n2's socket
//! ```
//!
//! A node's door is the address that the cluster knows it by; where it really listens only the relay knows.
//! Who sends through a door is known by the address that the packet comes from: a node dials from where it
//! listens. Groups of clients have doors of their own, so that they can be cut off as well. Whoever else comes through
//! a door of the nodes (a command line, a node that has yet to join) is let through, whatever is cut.
//!
//! Nodes and clients are not changed, and do not notice but by what the network does to them.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use tokio::net::UdpSocket;
use tokio::sync::oneshot;
use tokio::time::Instant;

pub use rules::{LinkRule, Place, Rules};

use rules::Fate;

mod rules;

/// No UDP packet is larger.
const PACKET_BYTES_MAX: usize = 65_536;
/// Room for packets in the kernel; what bursts of several nodes need.
const SOCKET_BUFFER_BYTES: usize = 4 << 20;

/// A relay that runs until it is dropped.
#[derive(Debug)]
pub struct Relay {
    rules: Arc<Rules>,
    /// Of each place of clients, and of the nodes among themselves, the doors to the nodes.
    doors: BTreeMap<Option<Place>, Vec<SocketAddr>>,
    counts: Arc<Counts>,
    /// Dropped, its thread ends.
    _ends: oneshot::Sender<()>,
}

/// What passed.
#[derive(Debug, Default)]
struct Counts {
    packets: AtomicU64,
    bytes: AtomicU64,
    dropped: AtomicU64,
}

/// What passed so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Passed {
    /// Packets that were passed on.
    pub packets: u64,
    /// What they held.
    pub bytes: u64,
    /// Packets that a rule stopped.
    pub dropped: u64,
}

/// What one direction of a pair needs to pass a packet on.
struct Way {
    rules: Arc<Rules>,
    counts: Arc<Counts>,
    from: Place,
    to: Place,
}

impl Relay {
    /// Opens the doors: for nodes that listen at `listening`, and `groups` groups of clients.
    ///
    /// # Errors
    /// What the system says of a thread or a socket.
    pub fn start(listening: &[SocketAddr], groups: usize, seed: u64) -> io::Result<Self> {
        let strangers = Place(listening.len() + groups);
        let rules = Arc::new(Rules::new(strangers.0 + 1, seed));
        let counts = Arc::new(Counts::default());
        let nodes: Arc<BTreeMap<SocketAddr, Place>> =
            Arc::new(listening.iter().copied().zip((0..).map(Place)).collect());
        let mut doors: BTreeMap<Option<Place>, Vec<SocketAddr>> = BTreeMap::new();
        let mut opened = Vec::new();
        let clients = (listening.len()..).map(Place).take(groups).map(Some);
        for of in std::iter::once(None).chain(clients) {
            for (node, real) in listening.iter().enumerate() {
                let socket = open()?;
                doors.entry(of).or_default().push(socket.local_addr()?);
                let door = Door {
                    of,
                    strangers,
                    to: Place(node),
                    real: *real,
                    nodes: Arc::clone(&nodes),
                    rules: Arc::clone(&rules),
                    counts: Arc::clone(&counts),
                };
                opened.push((door, socket));
            }
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (ends, ended) = oneshot::channel::<()>();
        let work = move || {
            runtime.block_on(async {
                for (door, socket) in opened {
                    tokio::spawn(door.run(socket));
                }
                // Whoever holds the other end never sends.
                let _ = ended.await;
            });
        };
        std::thread::Builder::new()
            .name("relay".to_owned())
            .spawn(work)?;
        Ok(Self {
            rules,
            doors,
            counts,
            _ends: ends,
        })
    }

    /// What is done to packets.
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// The addresses by which nodes know each other, in their order.
    pub fn addresses(&self) -> &[SocketAddr] {
        self.doors_of(None)
    }

    /// The addresses by which a group of clients knows the nodes.
    pub fn addresses_for(&self, clients: Place) -> &[SocketAddr] {
        self.doors_of(Some(clients))
    }

    fn doors_of(&self, of: Option<Place>) -> &[SocketAddr] {
        self.doors.get(&of).map_or(&[], Vec::as_slice)
    }

    /// What passed so far.
    pub fn passed(&self) -> Passed {
        Passed {
            packets: self.counts.packets.load(Relaxed),
            bytes: self.counts.bytes.load(Relaxed),
            dropped: self.counts.dropped.load(Relaxed),
        }
    }
}

/// Where packets to one node arrive, from one group of clients or from all nodes.
struct Door {
    of: Option<Place>,
    /// Where those are taken to be whom the relay does not know.
    strangers: Place,
    to: Place,
    real: SocketAddr,
    nodes: Arc<BTreeMap<SocketAddr, Place>>,
    rules: Arc<Rules>,
    counts: Arc<Counts>,
}

impl Door {
    async fn run(self, socket: std::net::UdpSocket) {
        // It was made for this.
        let Ok(socket) = UdpSocket::from_std(socket) else {
            return;
        };
        // Until the runtime has heard that it can be written to, nothing would be.
        if socket.writable().await.is_err() {
            return;
        }
        let socket = Arc::new(socket);
        let mut pairs: BTreeMap<SocketAddr, (Way, Arc<UdpSocket>)> = BTreeMap::new();
        let mut packet = vec![0; PACKET_BYTES_MAX];
        loop {
            // An earlier packet that was refused shows here; it is lost, as packets are.
            let Ok((bytes, from)) = socket.recv_from(&mut packet).await else {
                continue;
            };
            let known = self.of.or_else(|| self.nodes.get(&from).copied());
            let place = known.unwrap_or(self.strangers);
            let (way, pair) = match pairs.entry(from) {
                std::collections::btree_map::Entry::Occupied(known) => known.into_mut(),
                std::collections::btree_map::Entry::Vacant(new) => {
                    let Ok(pair) = self.pair(&socket, from, place).await else {
                        continue;
                    };
                    new.insert(pair)
                }
            };
            if let Some(packet) = packet.get(..bytes) {
                way.pass(packet, pair, None);
            }
        }
    }

    /// The socket of a sender and this node, and what brings the node's packets back to the sender.
    async fn pair(
        &self,
        door: &Arc<UdpSocket>,
        sender: SocketAddr,
        place: Place,
    ) -> io::Result<(Way, Arc<UdpSocket>)> {
        let socket = UdpSocket::from_std(open()?)?;
        socket.connect(self.real).await?;
        socket.writable().await?;
        let socket = Arc::new(socket);
        let way = |from, to| Way {
            rules: Arc::clone(&self.rules),
            counts: Arc::clone(&self.counts),
            from,
            to,
        };
        let (back, door) = (way(self.to, place), Arc::clone(door));
        let answers = Arc::clone(&socket);
        tokio::spawn(async move {
            let mut packet = vec![0; PACKET_BYTES_MAX];
            loop {
                // As above: a node that is down refuses what was sent to it.
                if let Ok(bytes) = answers.recv(&mut packet).await
                    && let Some(packet) = packet.get(..bytes)
                {
                    back.pass(packet, &door, Some(sender));
                }
            }
        });
        Ok((way(place, self.to), socket))
    }
}

impl Way {
    /// Sends a packet on, when and as often as the rule of this way says.
    fn pass(&self, packet: &[u8], socket: &Arc<UdpSocket>, to: Option<SocketAddr>) {
        let fate = self.rules.judge(self.from, self.to, packet.len());
        if fate == Fate::DROPPED {
            self.counts.dropped.fetch_add(1, Relaxed);
        }
        for delay in fate.copies() {
            self.counts.packets.fetch_add(1, Relaxed);
            self.counts.bytes.fetch_add(packet.len() as u64, Relaxed);
            if delay.is_zero() {
                // A full buffer loses it, as a network would.
                let _ = send(socket, packet, to);
                continue;
            }
            let (socket, packet, at) =
                (Arc::clone(socket), packet.to_vec(), Instant::now() + delay);
            tokio::spawn(async move {
                tokio::time::sleep_until(at).await;
                let _ = send(&socket, &packet, to);
            });
        }
    }
}

fn send(socket: &UdpSocket, packet: &[u8], to: Option<SocketAddr>) -> io::Result<usize> {
    match to {
        Some(to) => socket.try_send_to(packet, to),
        None => socket.try_send(packet),
    }
}

fn open() -> io::Result<std::net::UdpSocket> {
    let socket = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    socket.set_nonblocking(true)?;
    // As much as the system allows.
    let _ = rustix::net::sockopt::set_socket_recv_buffer_size(&socket, SOCKET_BUFFER_BYTES);
    let _ = rustix::net::sockopt::set_socket_send_buffer_size(&socket, SOCKET_BUFFER_BYTES);
    Ok(socket)
}

/// Addresses of this machine that are free now, one after the other, for nodes to listen on. The system gives none of
/// them to whoever asks for any port, so a node that was stopped finds its own again.
///
/// # Errors
/// [`io::ErrorKind::AddrInUse`] if none were found.
pub fn free_addresses(count: u16) -> io::Result<Vec<SocketAddr>> {
    // Below what systems hand out: 32768 on Linux, 49152 elsewhere.
    const FIRST: u16 = 20_000;
    const LAST: u16 = 32_000;
    const TRIES: usize = 200;
    for _ in 0..TRIES {
        let first = fastrand::u16(FIRST..LAST.saturating_sub(count).max(FIRST + 1));
        let ports = first..first.saturating_add(count);
        let addresses: Vec<SocketAddr> = ports
            .map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
            .collect();
        let is_free = |address: &SocketAddr| std::net::UdpSocket::bind(address).is_ok();
        if addresses.iter().all(is_free) {
            return Ok(addresses);
        }
    }
    Err(io::ErrorKind::AddrInUse.into())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// A node that says back what it hears.
    fn echo() -> SocketAddr {
        let socket = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = socket.local_addr().unwrap();
        std::thread::spawn(move || {
            let mut packet = [0; 2000];
            while let Ok((bytes, from)) = socket.recv_from(&mut packet) {
                let _ = socket.send_to(&packet[..bytes], from);
            }
        });
        address
    }

    fn client() -> std::net::UdpSocket {
        let socket = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let patience = Some(Duration::from_millis(300));
        socket.set_read_timeout(patience).unwrap();
        socket
    }

    fn asks(socket: &std::net::UdpSocket, door: SocketAddr) -> bool {
        socket.send_to(b"are you there", door).unwrap();
        let mut packet = [0; 2000];
        match socket.recv_from(&mut packet) {
            Ok((bytes, from)) => {
                assert_eq!((&packet[..bytes], from), (&b"are you there"[..], door));
                true
            }
            Err(_) => false,
        }
    }

    #[test]
    fn packets_go_there_and_back_until_a_link_is_cut_one_way_or_the_other() {
        let relay = Relay::start(&[echo(), echo()], 2, 1).unwrap();
        let (left, right) = (Place(2), Place(3));
        let socket = client();
        let door = relay.addresses_for(left)[0];
        assert!(asks(&socket, door));
        let cut = LinkRule {
            cut: true,
            ..LinkRule::default()
        };
        for (from, to) in [(left, Place(0)), (Place(0), left)] {
            relay.rules().set(from, to, cut);
            assert!(!asks(&socket, door), "{from:?} to {to:?} is cut");
            assert!(asks(&client(), relay.addresses_for(right)[0]));
            relay.rules().set(from, to, LinkRule::default());
            assert!(asks(&socket, door));
        }
        assert_eq!(relay.passed().dropped, 2);
    }

    #[test]
    fn nodes_are_told_apart_by_where_they_listen_and_strangers_pass() {
        let (node, other) = (client(), echo());
        let relay = Relay::start(&[node.local_addr().unwrap(), other], 0, 1).unwrap();
        assert!(asks(&node, relay.addresses()[1]));
        let cut = LinkRule {
            cut: true,
            ..LinkRule::default()
        };
        relay.rules().set(Place(0), Place(1), cut);
        assert!(!asks(&node, relay.addresses()[1]));
        assert!(asks(&client(), relay.addresses()[1]));
    }
}
