//! Redis: one primary that takes all writes, and two replicas.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use dunlin_loadtest::contest::{Bytes, Contender, Reply, Store, Survives};
use redis::aio::MultiplexedConnection;
use redis::{Client, cmd, pipe};

use crate::server::{NODES, Servers, StartError, free_ports, until_ready};

/// `WAIT` holds up all that comes after it on its connection, so there are many.
const CONNECTIONS: usize = 128;
/// How long a replica may take to confirm.
const WAIT_MS: u64 = 1_000;

/// Starts it, with its append-only file. A write counts when the primary and one replica have it.
pub(crate) async fn start(program: &Path, survives: Survives) -> Result<Contender, StartError> {
    let mut servers = Servers::new(program)?;
    let ports = free_ports::<NODES>()?;
    let [primary, ..] = ports;
    let fsync = match survives {
        Survives::PowerLoss => "always",
        Survives::ProcessDeath => "everysec",
    };
    for (at, port) in ports.iter().enumerate() {
        let mut words = format!(
            "--port {port} --bind 127.0.0.1 --appendonly yes --appendfsync {fsync} --dir ./"
        );
        if *port != primary {
            words += &format!(" --replicaof 127.0.0.1 {primary}");
        }
        let mut words: Vec<String> = words.split(' ').map(str::to_owned).collect();
        words.extend(["--save".to_owned(), String::new()]);
        servers.start(at + 1, &words)?;
    }
    let client =
        Client::open(format!("redis://127.0.0.1:{primary}")).map_err(StartError::at("redis"))?;
    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS {
        let connection = until_ready("redis", || async {
            let connected = client.get_multiplexed_async_connection().await;
            let mut connection = connected.map_err(|error| error.to_string())?;
            write(&mut connection, "ready", b"yes").await?;
            Ok(connection)
        })
        .await?;
        connections.push(connection);
    }
    Ok(Contender {
        name: "redis",
        store: Arc::new(Redis {
            connections,
            next: AtomicUsize::new(0),
        }),
        processes: servers.processes(),
        promises: format!(
            "{}, received by a replica; writes through one node only, which may forget them as it fails over",
            match survives {
                Survives::PowerLoss => "synced by the primary",
                Survives::ProcessDeath => "synced by the primary within a second",
            }
        ),
        servers: Box::new(servers),
    })
}

async fn write(
    connection: &mut MultiplexedConnection,
    key: &str,
    value: &[u8],
) -> Result<(), String> {
    let mut both = pipe();
    both.cmd("SET").arg(key).arg(value).ignore();
    both.cmd("WAIT").arg(1).arg(WAIT_MS);
    let (replicas,): (u64,) = both
        .query_async(connection)
        .await
        .map_err(|error| error.to_string())?;
    match replicas {
        0 => Err("no replica has confirmed it".to_owned()),
        _ => Ok(()),
    }
}

struct Redis {
    connections: Vec<MultiplexedConnection>,
    next: AtomicUsize,
}

impl Redis {
    fn any(&self) -> Result<MultiplexedConnection, String> {
        let at = self.next.fetch_add(1, Relaxed) % self.connections.len().max(1);
        let connection = self.connections.get(at).cloned();
        connection.ok_or_else(|| "no connection".to_owned())
    }
}

impl Store for Redis {
    fn put(&self, key: String, value: Bytes) -> Reply<'_, ()> {
        Box::pin(async move { write(&mut self.any()?, &key, &value).await })
    }

    fn get(&self, key: String) -> Reply<'_, bool> {
        Box::pin(async move {
            let got: Result<Option<Vec<u8>>, _> =
                cmd("GET").arg(key).query_async(&mut self.any()?).await;
            got.map(|value| value.is_some())
                .map_err(|error| error.to_string())
        })
    }
}
