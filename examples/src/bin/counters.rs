//! Counting from many tasks at once, and what to do when an answer does not come.

use std::error::Error;
use std::time::Duration;

use dunlin_client::{Bucket, DataEffect, Kind, Options, Quorum};
use dunlin_examples::{bucket, connect};

const TASKS: usize = 16;
const INCREMENTS: usize = 50;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let client = connect().await?;
    let visits = bucket(&client, "visits", Kind::Counter).await?;
    let before = visits.counter("/")?.get().await?;

    let tasks: Vec<_> = (0..TASKS)
        .map(|_| tokio::spawn(count(visits.clone())))
        .collect();
    let mut unknown = 0;
    for task in tasks {
        unknown += task.await??;
    }

    let after = visits
        .counter("/")?
        .with_options(Options::new().r(Quorum::All))
        .read()
        .await?;
    println!("{before} + {} = {}", TASKS * INCREMENTS, after.value);
    println!("{unknown} increments may or may not be in it");
    let owners: Vec<_> = after.info.owners.iter().map(ToString::to_string).collect();
    println!("as {} say", owners.join(", "));
    client.close().await;
    Ok(())
}

/// Counts, and returns how many increments have an unknown outcome.
async fn count(visits: Bucket) -> Result<usize, dunlin_client::Error> {
    let options = Options::new().timeout(Duration::from_secs(2));
    let counter = visits.counter("/")?.with_options(options);
    let mut unknown = 0;
    for _ in 0..INCREMENTS {
        match counter.increment(1).await {
            Ok(_) => {}
            // The client does not count again by itself, since that might count twice.
            Err(error) if error.effect() == DataEffect::Unknown => unknown += 1,
            Err(error) => return Err(error),
        }
    }
    Ok(unknown)
}
