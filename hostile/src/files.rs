//! The files that operators write: the configuration of a node, and the cluster file.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;

use dunlin_client::cluster_file::{ClusterFile, ClusterFileError, is_host_and_port};
use dunlin_client::tls::ClusterName;
use dunlin_node::config::{ConfigError, ServerConfig};
use toml::{Table, Value};

/// Names no file: nothing is read but the text given.
const CLUSTER_FILE: &str = "conf/cluster.toml";
/// Beside it is the cluster file that every configuration must name here.
const CONFIG_FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/files/node.toml");

/// Any text is a cluster file that makes sense, or is refused with a line that is in it.
pub fn cluster_file(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else {
        return;
    };
    match ClusterFile::parse(text, Path::new(CLUSTER_FILE)) {
        Ok(file) => {
            assert!(ClusterName::new(file.cluster.as_str()).is_ok());
            assert!(file.listed().count() > 0);
            assert!(file.listed().all(|node| is_host_and_port(&node.address)));
            let names: BTreeSet<&str> = file.listed().map(|node| &*node.name).collect();
            assert_eq!(names.len(), file.listed().count(), "nobody is listed twice");
        }
        Err(ClusterFileError::Read { source, .. }) => panics("nothing was to be read", &source),
        Err(error @ ClusterFileError::Invalid { line, .. }) => {
            let shown = error.to_string();
            assert!(shown.starts_with(CLUSTER_FILE), "{shown}");
            match line {
                Some(line) => assert!((1..=lines(text)).contains(&line), "{shown}"),
                // What is missing altogether is missing nowhere.
                None => assert!(shown.contains("no nodes are listed"), "{shown}"),
            }
        }
    }
}

/// Any text is a configuration that makes sense, or is refused with a line that is in it.
pub fn server_config(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else {
        return;
    };
    if reaches_outside(text) {
        return;
    }
    match ServerConfig::parse(text, Path::new(CONFIG_FILE)) {
        Ok(config) => {
            assert!((1..=256).contains(&config.shards), "{}", config.shards);
            assert!(!config.sync_interval.is_zero() && !config.client_idle_timeout.is_zero());
            assert!(config.inbox_max > 0 && config.inbox_bytes_max > 0 && config.capacity > 0);
            assert!(config.founding_layout().is_ok());
        }
        Err(error @ ConfigError::Invalid { line, .. }) => {
            let shown = error.to_string();
            assert!(shown.starts_with(CONFIG_FILE), "{shown}");
            assert!((1..=lines(text)).contains(&line), "{shown}");
        }
        Err(ConfigError::NoAddress { .. }) => {}
        Err(
            error @ (ConfigError::Read { .. }
            | ConfigError::ClusterFile(_)
            | ConfigError::Layout { .. }
            | ConfigError::Listen { .. }),
        ) => panics("files and addresses are sound", &error),
    }
}

/// Whether reading the configuration would open another file than ours, or ask a name server.
fn reaches_outside(text: &str) -> bool {
    // What is no table is refused before anything is looked up.
    let Ok(table) = text.parse::<Table>() else {
        return false;
    };
    let is_name = |address: Option<&Value>| {
        let address = address.and_then(Value::as_str);
        address.is_some_and(|address| address.parse::<SocketAddr>().is_err())
    };
    let cluster_file = table.get("cluster_file").and_then(Value::as_str);
    let own = table.get("node").and_then(|node| node.get("address"));
    cluster_file.is_some_and(|name| name != "cluster.toml")
        || is_name(table.get("listen"))
        || (table.get("listen").is_none() && is_name(own))
}

fn lines(text: &str) -> usize {
    1 + text.bytes().filter(|byte| *byte == b'\n').count()
}

#[expect(clippy::panic, reason = "a claim that does not hold ends the run")]
fn panics(claim: &str, error: &dyn std::error::Error) -> ! {
    panic!("{claim}: {error}")
}
