//! etcd: one Raft group over all keys.

use std::path::Path;
use std::sync::Arc;

use dunlin_loadtest::contest::{Bytes, Contender, Reply, Store};
use etcd_client::Client;

use crate::server::{NODES, Servers, StartError, free_ports, until_ready};

/// Starts it. It always syncs its log before it confirms a write.
pub(crate) async fn start(program: &Path) -> Result<Contender, StartError> {
    let mut servers = Servers::new(program)?;
    let (clients, peers) = (free_ports::<NODES>()?, free_ports::<NODES>()?);
    let url = |port: u16| format!("http://127.0.0.1:{port}");
    let named = peers.iter().enumerate();
    let cluster: Vec<String> = named
        .map(|(at, port)| format!("n{}={}", at + 1, url(*port)))
        .collect();
    for (at, (client, peer)) in clients.iter().zip(peers).enumerate() {
        let words = [
            "--name".to_owned(),
            format!("n{}", at + 1),
            "--data-dir".to_owned(),
            "data".to_owned(),
            "--listen-client-urls".to_owned(),
            url(*client),
            "--advertise-client-urls".to_owned(),
            url(*client),
            "--listen-peer-urls".to_owned(),
            url(peer),
            "--initial-advertise-peer-urls".to_owned(),
            url(peer),
            "--initial-cluster".to_owned(),
            cluster.join(","),
            "--initial-cluster-state".to_owned(),
            "new".to_owned(),
            "--logger".to_owned(),
            "zap".to_owned(),
            "--log-level".to_owned(),
            "error".to_owned(),
            // It keeps every version until it is told to compact.
            "--quota-backend-bytes".to_owned(),
            (8_u64 << 30).to_string(),
            "--auto-compaction-mode".to_owned(),
            "revision".to_owned(),
            "--auto-compaction-retention".to_owned(),
            "1000".to_owned(),
        ];
        servers.start(at + 1, &words)?;
    }
    let endpoints: Vec<String> = clients.iter().map(|port| url(*port)).collect();
    let client = until_ready("etcd", || async {
        let mut client = Client::connect(&endpoints, None)
            .await
            .map_err(|error| error.to_string())?;
        let put = client.put("ready", "yes", None).await;
        put.map(|_| client).map_err(|error| error.to_string())
    })
    .await?;
    Ok(Contender {
        name: "etcd",
        store: Arc::new(Etcd(client)),
        processes: servers.processes(),
        promises: "consensus, synced on 2 of 3; linearizable reads; no write without a majority"
            .to_owned(),
        servers: Box::new(servers),
    })
}

struct Etcd(Client);

impl Store for Etcd {
    fn put(&self, key: String, value: Bytes) -> Reply<'_, ()> {
        let mut client = self.0.kv_client();
        Box::pin(async move {
            let put = client.put(key, value, None).await;
            put.map(|_| ()).map_err(|error| error.to_string())
        })
    }

    fn get(&self, key: String) -> Reply<'_, bool> {
        let mut client = self.0.kv_client();
        Box::pin(async move {
            let got = client
                .get(key, None)
                .await
                .map_err(|error| error.to_string())?;
            Ok(!got.kvs().is_empty())
        })
    }
}
