//! A CSV file into a bucket, many lines at a time, and what to do with those that fail.
//!
//! `cargo run --example import_csv -- FILE` takes a file whose first column is the key; without one, a few lines
//! of its own. (`dunlin import` does this and more from the command line.)

use dunlin_client::{Bucket, Error, Kind};
use dunlin_examples::{Cluster, Outcome, bucket};
use tokio::task::JoinSet;

/// Lines on their way at one time: more makes it faster, until the nodes are busy.
const UNDER_WAY: usize = 64;

const OWN: &str = "id,name,population\nbern,Bern,134591\nbasel,Basel,178120\nzug,Zug,30542\n";

#[tokio::main]
async fn main() -> Outcome {
    let text = match std::env::args_os().nth(1) {
        Some(path) => std::fs::read_to_string(path)?,
        None => OWN.to_owned(),
    };
    let cluster = Cluster::start().await?;
    let client = cluster.client().await?;
    let cities = bucket(&client, "cities", Kind::Map).await?;

    let mut lines = csv::Reader::from_reader(text.as_bytes());
    let header = lines.headers()?.clone();
    let mut under_way = JoinSet::new();
    let (mut written, mut failed) = (0, Vec::new());
    for line in lines.into_records() {
        if under_way.len() >= UNDER_WAY {
            count(under_way.join_next().await, &mut written, &mut failed)?;
        }
        under_way.spawn(write(cities.clone(), header.clone(), line?));
    }
    while !under_way.is_empty() {
        count(under_way.join_next().await, &mut written, &mut failed)?;
    }
    println!("{written} lines are written");
    for error in failed.iter().take(5) {
        println!("  {error}");
    }
    let mut keys = cities.keys("");
    for _ in 0..3 {
        if let Some(key) = keys.next().await {
            println!("  {}", String::from_utf8_lossy(&key?));
        }
    }
    client.close().await;
    cluster.stop()
}

/// One line: a map with a field for each column but the first. All of it is one write.
async fn write(
    cities: Bucket,
    header: csv::StringRecord,
    line: csv::StringRecord,
) -> Result<(), Error> {
    let city = cities.map(line.get(0).unwrap_or_default())?;
    let columns = header.iter().zip(line.iter()).skip(1);
    // A file that is imported twice must not make siblings of what it writes.
    let changes = columns.fold(city.changes(), |changes, (name, value)| {
        changes.overwrite(name, value.to_owned())
    });
    changes.send().await?;
    Ok(())
}

fn count(
    ended: Option<Result<Result<(), Error>, tokio::task::JoinError>>,
    written: &mut u64,
    failed: &mut Vec<Error>,
) -> Outcome {
    match ended.transpose()? {
        Some(Ok(())) => *written += 1,
        Some(Err(error)) => failed.push(error),
        None => {}
    }
    Ok(())
}
