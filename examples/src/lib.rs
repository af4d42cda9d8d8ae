//! Small programs to copy.
//!
//! ```text
//! cargo run -p dunlin-examples --bin shopping_cart -- dunlin-dev/cluster.toml
//! DUNLIN_CLUSTER=dunlin-dev/cluster.toml cargo run -p dunlin-examples --bin counters
//! ```
//!
//! | program | shows |
//! |---|---|
//! | `shopping_cart` | a set per customer: adds and removals from everywhere, streams, a map beside it |
//! | `counters` | many increments at once, quorums per request, what an unknown outcome means |
//! | `siblings` | two writers who did not know of each other, and how to settle what they left |

use std::error::Error;

use dunlin_client::{BucketDefaults, Client, Kind};

/// Connects by the cluster file that the first argument or `DUNLIN_CLUSTER` names.
///
/// # Errors
/// If neither is given, or no node answers.
pub async fn connect() -> Result<Client, Box<dyn Error>> {
    let path = std::env::args_os()
        .nth(1)
        .or_else(|| std::env::var_os("DUNLIN_CLUSTER"))
        .ok_or("name a cluster file, as the argument or in DUNLIN_CLUSTER")?;
    Ok(Client::builder().cluster_file(path).connect().await?)
}

/// Creates a bucket unless it is there.
///
/// # Errors
/// If there is one of another kind, or no node answers.
pub async fn bucket(
    client: &Client,
    name: &str,
    kind: Kind,
) -> Result<dunlin_client::Bucket, dunlin_client::Error> {
    let defaults = BucketDefaults::default();
    client.create_bucket(name, kind, defaults).await?;
    client.bucket(name).await
}
