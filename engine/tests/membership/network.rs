//! Many members on a network of the test's own: virtual time, delays and losses drawn from a seed.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use bytes::Bytes;
use dunlin_engine::Time;
use dunlin_engine::membership::{
    DATAGRAM_BYTES_MAX, Identity, Membership, MembershipEvent, MembershipOptions, MembershipOutput,
    To,
};
use dunlin_ring::NodeId;

/// Between two looks at a condition that is waited for.
const STEP_MS: u64 = 20;

/// One process.
pub(crate) struct Process {
    pub(crate) membership: Membership,
    /// What it said, and when.
    pub(crate) events: Vec<(Time, MembershipEvent)>,
    pub(crate) running: bool,
    /// Datagrams pass between processes of the same side only.
    pub(crate) side: u8,
    wake_at: Option<Time>,
    paused_until: Time,
}

enum Happening {
    Delivered {
        address: String,
        from: usize,
        datagram: Bytes,
    },
    Woken {
        process: usize,
    },
}

pub(crate) struct Network {
    pub(crate) now: Time,
    pub(crate) processes: Vec<Process>,
    pub(crate) loss_percent: u64,
    /// Of one way.
    pub(crate) delay_us: RangeInclusive<u64>,
    pub(crate) datagrams: u64,
    pub(crate) bytes: u64,
    /// Bytes of the largest datagram.
    pub(crate) largest: usize,
    /// What was sent, if somebody wants it.
    pub(crate) recorded: Option<Vec<Vec<u8>>>,
    addresses: BTreeMap<String, usize>,
    queue: BTreeMap<(Time, u64), Happening>,
    queued: u64,
    rng: fastrand::Rng,
}

pub(crate) fn identity(node: usize) -> Identity {
    Identity {
        id: NodeId(1_000 + node as u64),
        name: format!("node-{node}"),
        address: format!("10.0.{}.{}:7400", node / 250, node % 250),
        incarnation: 1,
        instance: 0x5eed_0000 + node as u64,
    }
}

impl Network {
    /// Nobody yet; round trips of 2 to 100 ms, no loss.
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            now: Time(0),
            processes: Vec::new(),
            loss_percent: 0,
            delay_us: 1_000..=50_000,
            datagrams: 0,
            bytes: 0,
            largest: 0,
            recorded: None,
            addresses: BTreeMap::new(),
            queue: BTreeMap::new(),
            queued: 0,
            rng: fastrand::Rng::with_seed(seed),
        }
    }

    /// That many nodes, all at once, with the first as their only seed; waits until all know all.
    pub(crate) fn joined(nodes: usize, seed: u64) -> Self {
        let mut network = Self::new(seed);
        network.start_all(nodes);
        let took = network.wait_ms(20_000, Self::all_know_all);
        assert!(took.is_some(), "{nodes} nodes of seed {seed} did not meet");
        network
    }

    pub(crate) fn start_all(&mut self, nodes: usize) {
        for node in 0..nodes {
            self.start(identity(node), vec![identity(0).address]);
        }
    }

    /// Starts a process. One that had the address before is no more.
    pub(crate) fn start(&mut self, me: Identity, seeds: Vec<String>) -> usize {
        self.start_with(me, seeds, &MembershipOptions::default())
    }

    pub(crate) fn start_with(
        &mut self,
        me: Identity,
        seeds: Vec<String>,
        options: &MembershipOptions,
    ) -> usize {
        let process = self.processes.len();
        if let Some(before) = self.addresses.insert(me.address.clone(), process) {
            self.kill(before);
        }
        let rng = self.rng.fork();
        self.processes.push(Process {
            membership: Membership::new(me, seeds, options, rng).unwrap(),
            events: Vec::new(),
            running: true,
            side: 0,
            wake_at: None,
            paused_until: Time(0),
        });
        // Not all in the same microsecond.
        let at = Time(self.now.0 + self.rng.u64(0..100_000));
        self.processes[process].wake_at = Some(at);
        self.queue(at, Happening::Woken { process });
        process
    }

    /// Another address of a process.
    pub(crate) fn alias(&mut self, address: &str, process: usize) {
        self.addresses.insert(address.to_owned(), process);
    }

    pub(crate) fn kill(&mut self, process: usize) {
        self.processes[process].running = false;
    }

    pub(crate) fn leave(&mut self, process: usize) {
        let mut out = MembershipOutput::default();
        let now = self.now;
        self.processes[process].membership.leave(now, &mut out);
        self.take(process, out);
    }

    /// Hands bytes to a process.
    pub(crate) fn inject(&mut self, process: usize, datagram: &[u8]) {
        let mut out = MembershipOutput::default();
        let now = self.now;
        self.processes[process]
            .membership
            .received(datagram, now, &mut out);
        self.take(process, out);
    }

    pub(crate) fn pass_ms(&mut self, ms: u64) {
        let until = self.now.plus_ms(ms);
        while let Some(entry) = self.queue.first_entry() {
            if entry.key().0 > until {
                break;
            }
            self.now = self.now.max(entry.key().0);
            let happening = entry.remove();
            self.happen(happening);
        }
        self.now = until;
    }

    /// Time stands still for one process, as if the machine had paused it: then its timers are late, and
    /// what came in meanwhile is read after them.
    pub(crate) fn pause(&mut self, process: usize, ms: u64) {
        self.processes[process].paused_until = self.now.plus_ms(ms);
    }

    /// Waits for a condition; says how many milliseconds that took, or `None` at the limit.
    pub(crate) fn wait_ms(&mut self, limit_ms: u64, holds: impl Fn(&Self) -> bool) -> Option<u64> {
        let from = self.now;
        loop {
            if holds(self) {
                return Some(self.now.ms_since(from));
            }
            if self.now.ms_since(from) >= limit_ms {
                return None;
            }
            self.pass_ms(STEP_MS);
        }
    }

    pub(crate) fn running(&self) -> impl Iterator<Item = &Process> {
        self.processes.iter().filter(|process| process.running)
    }

    /// Every running process has exactly the running ones as members.
    pub(crate) fn all_know_all(&self) -> bool {
        let size = self.running().count();
        self.running()
            .all(|process| process.membership.size() == size)
            && self.running().all(|process| {
                self.running()
                    .all(|other| process.membership.is_alive(other.membership.me().id))
            })
    }

    pub(crate) fn nobody_counts(&self, node: NodeId) -> bool {
        self.running()
            .all(|process| !process.membership.is_alive(node))
    }

    /// How often a process that runs was said to be down, since then.
    pub(crate) fn false_deaths(&self, since: Time) -> usize {
        let running: Vec<NodeId> = self.running().map(|p| p.membership.me().id).collect();
        let events = self.running().flat_map(|process| &process.events);
        let is_false = |(at, event): &&(Time, MembershipEvent)| {
            *at >= since && matches!(event, MembershipEvent::Down(id) if running.contains(id))
        };
        events.filter(is_false).count()
    }

    fn queue(&mut self, at: Time, happening: Happening) {
        self.queued += 1;
        self.queue.insert((at, self.queued), happening);
    }

    fn happen(&mut self, happening: Happening) {
        let mut out = MembershipOutput::default();
        let now = self.now;
        match happening {
            Happening::Woken { process } => {
                let at = &mut self.processes[process];
                if at.wake_at == Some(now) && now < at.paused_until {
                    let paused_until = at.paused_until;
                    at.wake_at = Some(paused_until);
                    self.queue(paused_until, Happening::Woken { process });
                } else if at.running && at.wake_at == Some(now) {
                    at.wake_at = None;
                    at.membership.wake(now, &mut out);
                    self.take(process, out);
                }
            }
            Happening::Delivered {
                address,
                from,
                datagram,
            } => {
                let side = self.processes[from].side;
                if let Some(&process) = self.addresses.get(&address)
                    && self.processes[process].running
                    && self.processes[process].side == side
                {
                    let paused_until = self.processes[process].paused_until;
                    if now <= paused_until {
                        let at = Time(paused_until.0 + 1);
                        self.queue(
                            at,
                            Happening::Delivered {
                                address,
                                from,
                                datagram,
                            },
                        );
                        return;
                    }
                    self.processes[process]
                        .membership
                        .received(&datagram, now, &mut out);
                    self.take(process, out);
                }
            }
        }
    }

    fn take(&mut self, process: usize, out: MembershipOutput) {
        let now = self.now;
        let at = &mut self.processes[process];
        at.events
            .extend(out.events.into_iter().map(|event| (now, event)));
        if out.wake_at != at.wake_at {
            at.wake_at = out.wake_at;
            if let Some(wake_at) = out.wake_at {
                let wake_at = wake_at.max(now);
                self.processes[process].wake_at = Some(wake_at);
                self.queue(wake_at, Happening::Woken { process });
            }
        }
        for (to, datagram) in out.datagrams {
            assert!(datagram.len() <= DATAGRAM_BYTES_MAX);
            self.datagrams += 1;
            self.bytes += datagram.len() as u64;
            self.largest = self.largest.max(datagram.len());
            if let Some(recorded) = &mut self.recorded {
                recorded.push(datagram.to_vec());
            }
            if self.rng.u64(0..100) < self.loss_percent {
                continue;
            }
            let address = match to {
                To::Node { address, .. } | To::Address(address) => address,
            };
            let at = Time(now.0 + self.rng.u64(self.delay_us.clone()));
            self.queue(
                at,
                Happening::Delivered {
                    address,
                    from: process,
                    datagram,
                },
            );
        }
    }
}
