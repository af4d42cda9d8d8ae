//! Two writers who did not know of each other leave siblings; whoever reads next settles them.

use std::collections::BTreeSet;
use std::error::Error;

use dunlin_client::{Bytes, Kind};
use dunlin_examples::{bucket, connect};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let client = connect().await?;
    let notes = bucket(&client, "notes", Kind::Register).await?;
    let note = notes.register("meeting")?;
    note.delete().await?;

    // Neither has read: neither replaces the other.
    note.put_new("bring coffee").await?;
    note.put_new("bring tea").await?;

    let Some(siblings) = note.get().await? else {
        return Err("both notes are gone".into());
    };
    println!("{} siblings:", siblings.values.len());
    for value in &siblings.values {
        println!("  {}", value.escape_ascii());
    }

    // The context says what was read; that is replaced, and nothing that came later.
    let settled = merged(&siblings.values);
    note.put(settled, &siblings.context).await?;

    match note.get().await?.as_ref().and_then(|left| left.single()) {
        Some(value) => println!("settled: {}", value.escape_ascii()),
        None => println!("somebody else wrote meanwhile"),
    }
    client.close().await;
    Ok(())
}

/// All lines of all siblings, once.
fn merged(values: &[Bytes]) -> String {
    let lines: BTreeSet<_> = values
        .iter()
        .flat_map(|value| {
            String::from_utf8_lossy(value)
                .lines()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        })
        .collect();
    lines.into_iter().collect::<Vec<_>>().join("\n")
}
