//! NATS JetStream's key-value store: a stream with three replicas, one Raft group for the bucket.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use async_nats::jetstream::{self, kv, stream::StorageType};
use dunlin_loadtest::contest::{Bytes, Contender, Reply, Store};

use crate::server::{NODES, Servers, StartError, free_ports, until_ready};

/// Starts it. It confirms writes that a majority has in its page cache, and syncs every two minutes.
pub(crate) async fn start(program: &Path) -> Result<Contender, StartError> {
    let mut servers = Servers::new(program)?;
    let (clients, routes) = (free_ports::<NODES>()?, free_ports::<NODES>()?);
    let all: Vec<String> = routes
        .iter()
        .map(|port| format!("nats-route://127.0.0.1:{port}"))
        .collect();
    for (at, (client, route)) in clients.iter().zip(routes).enumerate() {
        let node = at + 1;
        let all = all.join(", ");
        let config = format!(
            "server_name: n{node}\nlisten: \"127.0.0.1:{client}\"\njetstream {{ store_dir: \"data\" }}\n\
             cluster {{ name: peers, listen: \"127.0.0.1:{route}\", routes: [{all}] }}\n"
        );
        let file = servers.dir(node)?.join("nats.conf");
        std::fs::write(&file, config).map_err(StartError::at("nats.conf"))?;
        servers.start(node, &["-c".to_owned(), file.display().to_string()])?;
    }
    let mut buckets = Vec::new();
    for port in clients {
        let bucket = until_ready("nats", || async move {
            let address = format!("nats://127.0.0.1:{port}");
            let client = async_nats::connect(address)
                .await
                .map_err(|error| error.to_string())?;
            let context = jetstream::new(client);
            let config = kv::Config {
                bucket: "contest".to_owned(),
                history: 1,
                num_replicas: NODES,
                storage: StorageType::File,
                ..kv::Config::default()
            };
            let bucket = match context.get_key_value("contest").await {
                Ok(bucket) => bucket,
                Err(_) => context
                    .create_key_value(config)
                    .await
                    .map_err(|error| error.to_string())?,
            };
            let put = bucket.put("ready", "yes".into()).await;
            put.map(|_| bucket).map_err(|error| error.to_string())
        })
        .await?;
        buckets.push(bucket);
    }
    Ok(Contender {
        name: "nats",
        store: Arc::new(Nats {
            buckets,
            next: AtomicUsize::new(0),
        }),
        processes: servers.processes(),
        promises: "consensus, written on 2 of 3, synced within 2 minutes; reads from any replica may be old".to_owned(),
        servers: Box::new(servers),
    })
}

/// A client of each node, which are asked in turns.
struct Nats {
    buckets: Vec<kv::Store>,
    next: AtomicUsize,
}

impl Nats {
    fn any(&self) -> Result<&kv::Store, String> {
        let at = self.next.fetch_add(1, Relaxed) % self.buckets.len().max(1);
        self.buckets.get(at).ok_or_else(|| "no node".to_owned())
    }
}

impl Store for Nats {
    fn put(&self, key: String, value: Bytes) -> Reply<'_, ()> {
        Box::pin(async move {
            let put = self.any()?.put(key, value).await;
            put.map(|_| ()).map_err(|error| error.to_string())
        })
    }

    fn get(&self, key: String) -> Reply<'_, bool> {
        Box::pin(async move {
            let got = self.any()?.get(key).await;
            got.map(|value| value.is_some())
                .map_err(|error| error.to_string())
        })
    }
}
