//! Network namespaces: one for each node and each client, all on one bridge that nobody else is on.
//!
//! ```text
//!   n1   n2   n3   c1        namespaces, each with eth0: 10.77.0.1, .2, .3, .4
//!    └────┴─┬──┴────┘        veth pairs
//!         bridge             in a namespace of its own, so the machine's own network is not touched
//! ```
//!
//! A one-way cut is an entry in the sender's neighbour table that sends its packets to nobody: they are lost
//! without a word, as on a real network, and the other direction is as it was. This needs no packet filter.
//!
//! Names carry the process id, so that runs side by side don't meet. All of it goes when the [`Net`] is
//! dropped, also while a test panics.

use std::path::Path;
use std::process::{Command, Stdio};

/// The address of no interface.
const NOBODY: &str = "02:00:00:00:00:99";

/// The network of one scenario.
pub(crate) struct Net {
    prefix: String,
    hosts: Vec<String>,
}

impl Net {
    /// Makes it, or says why that does not work here.
    pub(crate) fn new(hosts: &[String]) -> Result<Self, String> {
        if !rustix::process::geteuid().is_root() {
            return Err("only root makes network namespaces".into());
        }
        let net = Self {
            prefix: format!("dunlin-{}", std::process::id()),
            hosts: hosts.to_vec(),
        };
        let switch = net.namespace("switch");
        ip(&["netns", "add", &switch])?;
        ip(&[
            "-n", &switch, "link", "add", "name", "bridge", "type", "bridge",
        ])?;
        ip(&["-n", &switch, "link", "set", "bridge", "up"])?;
        for host in hosts {
            let space = net.namespace(host);
            ip(&["netns", "add", &space])?;
            let pair = ["type", "veth", "peer", "name", "eth0", "netns", &space];
            let link = ["-n", &switch, "link", "add", "name", host];
            ip(&[&link[..], &pair[..]].concat())?;
            ip(&[
                "-n", &switch, "link", "set", "dev", host, "master", "bridge", "up",
            ])?;
            let address = format!("{}/24", net.address(host));
            ip(&["-n", &space, "address", "add", &address, "dev", "eth0"])?;
            ip(&["-n", &space, "link", "set", "lo", "up"])?;
            ip(&["-n", &space, "link", "set", "eth0", "up"])?;
        }
        let inside = net.inside(&net.hosts[0], Path::new("true")).status();
        match inside {
            Ok(status) if status.success() => Ok(net),
            Ok(status) => Err(format!("nsenter: {status}")),
            Err(error) => Err(format!("nsenter: {error}")),
        }
    }

    /// The address of a host.
    pub(crate) fn address(&self, host: &str) -> String {
        let at = self.hosts.iter().position(|known| known == host);
        format!("10.77.0.{}", at.expect("a host of this net") + 1)
    }

    /// A program that will run as the host. It keeps the process id: it is not a child of another one.
    pub(crate) fn inside(&self, host: &str, program: &Path) -> Command {
        let mut command = Command::new("nsenter");
        let space = format!("--net=/var/run/netns/{}", self.namespace(host));
        command.arg(space).arg("--").arg(program);
        command.stdin(Stdio::null());
        command
    }

    /// From now on nothing that the one sends arrives at the other.
    pub(crate) fn cut(&self, from: &str, to: &str) {
        let (space, to) = (self.namespace(from), self.address(to));
        let entry = ["neigh", "replace", &to, "lladdr", NOBODY];
        let entry = [
            &["-n", &space],
            &entry[..],
            &["nud", "permanent", "dev", "eth0"],
        ];
        ip(&entry.concat()).unwrap();
    }

    /// From now on nothing passes between the two groups.
    pub(crate) fn part(&self, one: &[&str], other: &[&str]) {
        for a in one {
            for b in other {
                self.cut(a, b);
                self.cut(b, a);
            }
        }
    }

    /// Everybody hears everybody again.
    pub(crate) fn heal(&self) {
        for host in &self.hosts {
            let space = self.namespace(host);
            ip(&[
                "-n",
                &space,
                "neigh",
                "flush",
                "dev",
                "eth0",
                "nud",
                "permanent",
            ])
            .unwrap();
        }
    }

    fn namespace(&self, host: &str) -> String {
        format!("{}-{host}", self.prefix)
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        for host in self.hosts.iter().map(String::as_str).chain(["switch"]) {
            // One that was never made is not there to be removed.
            let _ = ip(&["netns", "delete", &self.namespace(host)]);
        }
    }
}

fn ip(arguments: &[&str]) -> Result<(), String> {
    let line = || format!("ip {}", arguments.join(" "));
    let ran = Command::new("ip").args(arguments).output();
    let ran = ran.map_err(|error| format!("{}: {error}", line()))?;
    match ran.status.success() {
        true => Ok(()),
        false => Err(format!(
            "{}: {}",
            line(),
            String::from_utf8_lossy(&ran.stderr).trim()
        )),
    }
}
