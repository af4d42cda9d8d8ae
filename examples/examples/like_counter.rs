//! Likes, counted from many places at once, and what to do when an answer does not come.

use std::time::Duration;

use dunlin_client::{Bucket, DataEffect, Kind, Options, Quorum};
use dunlin_examples::{Cluster, Outcome, bucket};

const READERS: usize = 16;
const LIKES: usize = 50;

#[tokio::main]
async fn main() -> Outcome {
    let cluster = Cluster::start().await?;
    let client = cluster.client().await?;
    let likes = bucket(&client, "likes", Kind::Counter).await?;

    let readers: Vec<_> = (0..READERS)
        .map(|_| tokio::spawn(like(likes.clone())))
        .collect();
    let mut unknown = 0;
    for reader in readers {
        unknown += reader.await??;
    }

    // From every owner, to be sure; a majority would do.
    let every = Options::new().r(Quorum::All);
    let read = likes.counter("post-1")?.with_options(every).read().await?;
    println!(
        "{READERS} readers liked the post {LIKES} times each: {}",
        read.value
    );
    println!("{unknown} likes may or may not be in it");
    let owners: Vec<_> = read.info.owners.iter().map(ToString::to_string).collect();
    println!("as {} say", owners.join(", "));
    client.close().await;
    cluster.stop()
}

/// Likes the post, and returns how many of the likes have an unknown outcome.
async fn like(likes: Bucket) -> Result<usize, dunlin_client::Error> {
    let patience = Options::new().timeout(Duration::from_secs(2));
    let counter = likes.counter("post-1")?.with_options(patience);
    let mut unknown = 0;
    for _ in 0..LIKES {
        match counter.increment(1).await {
            Ok(_) => {}
            // The client does not count again by itself, since that might count twice.
            Err(error) if error.effect() == DataEffect::Unknown => unknown += 1,
            Err(error) => return Err(error),
        }
    }
    Ok(unknown)
}
