//! The files of a cluster for development, made all at once or not at all.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::path::Path;
use std::time::SystemTime;

use dunlin_client::tls::ClusterName;

use super::{DevError, DevOptions};
use crate::pki::{ClusterAuthority, PkiError};

pub(super) const CLUSTER: &str = "cluster.toml";
pub(super) const CONFIG: &str = "config.toml";
pub(super) const LOG: &str = "log";
pub(super) const DATA: &str = "data";
pub(super) const PID: &str = "pid";

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
        let config = format!(
            "name = \"{name}\"\n\
             cluster_file = \"../{CLUSTER}\"\n\
             data_dir = \"{DATA}\"\n\
             \n\
             [tls]\n\
             certificate = \"../node-{name}.pem\"\n\
             key = \"../node-{name}-key.pem\"\n"
        );
        write(&node_dir.join(CONFIG), &config)?;
        cluster_file.push_str(&format!(
            "\n[[node]]\nname = \"{name}\"\naddress = \"127.0.0.1:{port}\"\nzone = \"{name}\"\n"
        ));
    }
    write(&dir.join(CLUSTER), &cluster_file)
}

fn node_name(number: u16) -> String {
    format!("n{number}")
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
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, port));
        sockets.push(socket.map_err(|source| DevError::Port { port, source })?);
    }
    let port = |socket: &UdpSocket| match socket.local_addr() {
        Ok(address) => Ok(address.port()),
        Err(source) => Err(DevError::Port { port: 0, source }),
    };
    sockets.iter().map(port).collect()
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
