//! The top of a leaderboard with 20,000 players.
//!
//! A set lists its elements in the order of their bytes, page by page. So an element begins with the score,
//! counted down from the highest: the first page is the top, and reading it costs the same however many
//! players there are. A new score is two elements: the new one is added, then the old one removed.

use dunlin_client::{Error, Kind, Set};
use dunlin_examples::{Cluster, Outcome, bucket};

const PLAYERS: u32 = 20_000;
const SCORE_MAX: u32 = 999_999;

#[tokio::main]
async fn main() -> Outcome {
    let cluster = Cluster::start().await?;
    let client = cluster.client().await?;
    let boards = bucket(&client, "boards", Kind::Set).await?;
    let board = boards.set("summer")?;

    let entries: Vec<String> = (0..PLAYERS)
        .map(|player| entry(score_of(player), &format!("player-{player}")))
        .collect();
    for some in entries.chunks(500) {
        board.add(some).await?;
    }
    println!("{} players", board.count().await?);
    show(&board).await?;

    // Somebody overtakes everybody.
    board.add([entry(SCORE_MAX, "player-77")]).await?;
    board.remove([entry(score_of(77), "player-77")]).await?;
    println!("and after player-77 had a good day:");
    show(&board).await?;
    client.close().await;
    cluster.stop()
}

async fn show(board: &Set) -> Result<(), Error> {
    // A stream: only the pages that are looked at are fetched.
    let mut entries = board.elements();
    for place in 1..=5 {
        let Some(entry) = entries.next().await else {
            return Ok(());
        };
        let entry = entry?;
        let entry = String::from_utf8_lossy(&entry);
        if let Some((left, player)) = entry.split_once(' ') {
            let score = SCORE_MAX - left.parse().unwrap_or(SCORE_MAX);
            println!("{place:>3}. {player:<14} {score:>7}");
        }
    }
    Ok(())
}

fn entry(score: u32, player: &str) -> String {
    format!("{:06} {player}", SCORE_MAX - score.min(SCORE_MAX))
}

/// Some score.
fn score_of(player: u32) -> u32 {
    player.wrapping_mul(2_654_435_761) % 900_000
}
