//! Who is online: each device writes when it was last there, and a sweeper removes those that stopped.
//!
//! The heartbeats are fields of one map, each a last-writer-wins value: a later heartbeat always replaces an
//! earlier one. A device that comes back while it is being removed stays: its new heartbeat is a write that the
//! removal has not seen.

use std::time::{Duration, Instant};

use dunlin_client::{Error, FieldKind, FieldValue, Kind, Map};
use dunlin_examples::{Cluster, Outcome, bucket};

const GONE_AFTER: Duration = Duration::from_millis(600);

#[tokio::main]
async fn main() -> Outcome {
    let cluster = Cluster::start().await?;
    let client = cluster.client().await?;
    let rooms = bucket(&client, "rooms", Kind::Map).await?;
    let lobby = rooms.map("lobby")?;
    let began = Instant::now();

    for beat in 0..4 {
        heartbeat(&lobby, "ana", began).await?;
        if beat == 0 {
            heartbeat(&lobby, "ben", began).await?;
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
        println!(
            "{:>4} ms: {}",
            began.elapsed().as_millis(),
            online(&lobby).await?.join(", ")
        );
        sweep(&lobby, began).await?;
    }
    println!("in the end: {}", online(&lobby).await?.join(", "));
    client.close().await;
    cluster.stop()
}

/// A device is there: the time goes under its name.
async fn heartbeat(room: &Map, device: &str, began: Instant) -> Result<(), Error> {
    let now = began.elapsed().as_millis().to_string();
    room.lww(device).put(now).await?;
    Ok(())
}

/// The devices in a room, each with when it was last there.
async fn beats(room: &Map) -> Result<Vec<(String, Duration)>, Error> {
    let mut beats = Vec::new();
    for field in room.fields().collect().await? {
        if let (Some((device, _)), FieldValue::Lww(latest)) =
            (field.path.steps().first(), field.value)
        {
            let at = String::from_utf8_lossy(&latest.value).parse().unwrap_or(0);
            let device = String::from_utf8_lossy(device).into_owned();
            beats.push((device, Duration::from_millis(at)));
        }
    }
    Ok(beats)
}

async fn online(room: &Map) -> Result<Vec<String>, Error> {
    let beats = beats(room).await?;
    Ok(beats.into_iter().map(|(device, _)| device).collect())
}

/// Removes who has not been there for too long. Any number of sweepers may do this at the same time.
async fn sweep(room: &Map, began: Instant) -> Result<(), Error> {
    for (device, at) in beats(room).await? {
        if began.elapsed().saturating_sub(at) > GONE_AFTER {
            println!("         {device} is gone");
            let gone = room.changes().delete(&device, FieldKind::Lww);
            gone.send().await?;
        }
    }
    Ok(())
}
