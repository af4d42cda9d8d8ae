//! The files of a cluster for development, made all at once or not at all.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::path::Path;
use std::time::SystemTime;

use dunlin_client::tls::ClusterName;

use super::{DevError, DevNode, DevOptions};
use crate::pki::{ClusterAuthority, PkiError};

pub(super) const CLUSTER: &str = "cluster.toml";
pub(super) const CONFIG: &str = "config.toml";
pub(super) const LOG: &str = "log";
pub(super) const DATA: &str = "data";
pub(super) const PID: &str = "pid";

/// Ports that are drawn for one that is free.
const PORT_TRIES: usize = 100;

/// What the cluster is called.
const NAME: &str = "dev";
/// The user whose identity the cluster file names.
const ADMIN: &str = "admin";

/// Makes the folder with all files, under another name first.
pub(super) fn create(options: &DevOptions) -> Result<(), DevError> {
    let dir = &options.dir;
    let is_empty = fs::read_dir(dir).map(|mut entries| entries.next().is_none());
    match is_empty {
        Ok(true) => {}
        Ok(false) => return Err(DevError::Occupied { dir: dir.clone() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(source) => return Err(file(dir, source)),
    }
    let mut name = dir.file_name().unwrap_or_default().to_owned();
    name.push(format!(".new-{}", std::process::id()));
    let unfinished = dir.with_file_name(name);
    let created = write_all(options, &unfinished)
        .and_then(|()| fs::rename(&unfinished, dir).map_err(|source| file(dir, source)));
    if created.is_err() {
        // The error that matters is the first.
        let _ = fs::remove_dir_all(&unfinished);
    }
    created
}

fn write_all(options: &DevOptions, dir: &Path) -> Result<(), DevError> {
    fs::create_dir_all(dir).map_err(|source| file(dir, source))?;
    let now = SystemTime::now();
    let cluster = ClusterName::new(NAME).map_err(PkiError::from)?;
    let authority = ClusterAuthority::create(cluster, now)?;
    authority.save(dir)?;
    authority.issue_user(ADMIN, now)?.save(dir)?;
    let mut cluster_file = format!(
        "# A cluster for development, made by dunlin dev. Paths are relative to this file.\n\
         cluster = \"{NAME}\"\n\
         ca = \"ca.pem\"\n\
         certificate = \"user-{ADMIN}.pem\"\n\
         key = \"user-{ADMIN}-key.pem\"\n\
         replicas = {}\n\
         partitions = {}\n",
        options.replicas, options.partitions
    );
    for (number, port) in (1..).zip(ports(options)?) {
        let name = node_name(number);
        authority.issue_node(&name, now)?.save(dir)?;
        let node_dir = dir.join(&name);
        fs::create_dir(&node_dir).map_err(|source| file(&node_dir, source))?;
        write(&node_dir.join(CONFIG), &config_text(&name))?;
        cluster_file.push_str(&format!(
            "\n[[node]]\nname = \"{name}\"\naddress = \"127.0.0.1:{port}\"\nzone = \"{name}\"\n"
        ));
    }
    write(&dir.join(CLUSTER), &cluster_file)
}

/// The number after all that were ever given, as certificates tell: they stay when a node is removed.
pub(super) fn next_number(dir: &Path) -> Result<u16, DevError> {
    let mut last = 0;
    for entry in fs::read_dir(dir).map_err(|source| file(dir, source))? {
        let name = entry.map_err(|source| file(dir, source))?.file_name();
        let name = name.to_str().and_then(|name| name.strip_prefix("node-"));
        let number = name.and_then(|name| number_of(name.strip_suffix(".pem")?));
        last = last.max(number.unwrap_or(0));
    }
    last.checked_add(1).ok_or(DevError::TooMany)
}

/// The files of one more node, in a cluster that is there. The cluster file comes last: an attempt that
/// failed leaves files that nobody reads.
pub(super) fn add(dir: &Path, number: u16, after: Option<u16>) -> Result<(), DevError> {
    let name = node_name(number);
    let authority = ClusterAuthority::load(dir)?;
    authority.issue_node(&name, SystemTime::now())?.save(dir)?;
    let next = after.and_then(|port| port.checked_add(1));
    let bind = |port| UdpSocket::bind((Ipv4Addr::LOCALHOST, port));
    let socket = next.map_or_else(free_socket, |port| bind(port).or_else(|_| free_socket()));
    let address = socket.and_then(|socket| socket.local_addr());
    let address = address.map_err(|source| DevError::Port { port: 0, source })?;
    let node_dir = dir.join(&name);
    fs::create_dir_all(&node_dir).map_err(|source| file(&node_dir, source))?;
    let place = format!("address = \"{address}\"\nzone = \"{name}\"\n");
    let config = format!("{}\n[node]\n{place}", config_text(&name));
    write(&node_dir.join(CONFIG), &config)?;
    edit_cluster(dir, |text| format!("{text}{}{place}", seed_head(&name)))
}

/// Takes a node out of the cluster file, if it is a seed, and then removes its folder.
pub(super) fn remove(dir: &Path, node: &DevNode) -> Result<(), DevError> {
    edit_cluster(dir, |text| match text.split_once(&seed_head(&node.name)) {
        None => text,
        Some((before, after)) => {
            let others = after.find("\n[[").and_then(|at| after.get(at..));
            format!("{before}{}", others.unwrap_or_default())
        }
    })?;
    fs::remove_dir_all(&node.dir).map_err(|source| file(&node.dir, source))
}

fn seed_head(name: &str) -> String {
    format!("\n[[seed]]\nname = \"{name}\"\n")
}

/// Whoever reads the cluster file meanwhile finds the old one or the new one; of two who edit it, one
/// waits.
fn edit_cluster(dir: &Path, edit: impl FnOnce(String) -> String) -> Result<(), DevError> {
    let lock = fs::File::open(dir).and_then(|folder| folder.lock().map(|()| folder));
    let _lock = lock.map_err(|source| file(dir, source))?;
    let cluster = dir.join(CLUSTER);
    let text = fs::read_to_string(&cluster).map_err(|source| file(&cluster, source))?;
    let unfinished = dir.join(format!("{CLUSTER}.new"));
    write(&unfinished, &edit(text))?;
    fs::rename(&unfinished, &cluster).map_err(|source| file(&cluster, source))
}

fn config_text(name: &str) -> String {
    format!(
        "name = \"{name}\"\n\
         cluster_file = \"../{CLUSTER}\"\n\
         data_dir = \"{DATA}\"\n\
         \n\
         [tls]\n\
         certificate = \"../node-{name}.pem\"\n\
         key = \"../node-{name}-key.pem\"\n"
    )
}

fn node_name(number: u16) -> String {
    format!("n{number}")
}

/// The number of a node that was made here, by its name.
pub(super) fn number_of(name: &str) -> Option<u16> {
    let number = name.strip_prefix('n')?.parse().ok()?;
    (node_name(number) == name).then_some(number)
}

/// The ports of all nodes: those asked for, or free ones, all different.
fn ports(options: &DevOptions) -> Result<Vec<u16>, DevError> {
    let wanted = |index: u16| match options.base_port {
        Some(base) => base.checked_add(index).unwrap_or(0),
        None => 0,
    };
    // Held together, so that none is given twice.
    let mut sockets = Vec::new();
    for port in (0..options.nodes).map(wanted) {
        let socket = match port {
            0 => free_socket(),
            port => UdpSocket::bind((Ipv4Addr::LOCALHOST, port)),
        };
        sockets.push(socket.map_err(|source| DevError::Port { port, source })?);
    }
    let port = |socket: &UdpSocket| match socket.local_addr() {
        Ok(address) => Ok(address.port()),
        Err(source) => Err(DevError::Port { port: 0, source }),
    };
    sockets.iter().map(port).collect()
}

/// A socket on a port that is free, and that the system gives to nobody who asks for any port: a node that was
/// stopped finds its own again. Those begin at 32768 on Linux, higher elsewhere.
fn free_socket() -> io::Result<UdpSocket> {
    let drawn = std::iter::repeat_with(|| fastrand::u16(20_000..32_000));
    let mut sockets = drawn.map(|port| UdpSocket::bind((Ipv4Addr::LOCALHOST, port)));
    let free = sockets.by_ref().take(PORT_TRIES).find_map(Result::ok);
    free.map_or_else(|| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)), Ok)
}

fn write(path: &Path, text: &str) -> Result<(), DevError> {
    fs::write(path, text).map_err(|source| file(path, source))
}

pub(super) fn file(path: &Path, source: io::Error) -> DevError {
    DevError::File {
        path: path.to_owned(),
        source,
    }
}
