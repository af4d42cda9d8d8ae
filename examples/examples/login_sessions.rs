//! Login sessions with last writer wins, and what that loses.
//!
//! A session is written by the one server that its user talks to, again and again; only the last state is of
//! interest, and nobody wants to merge. That is what `lww` is for. But two servers that write one session at
//! the same time leave one state, and the other is gone. The node that saw the two meet counts it.

use dunlin_client::{Client, Kind, Options, Quorum};
use dunlin_examples::{Cluster, Outcome, Side, bucket};

#[tokio::main]
async fn main() -> Outcome {
    let cluster = Cluster::start().await?;
    let (left, right) = (
        cluster.client_on(Side::Left).await?,
        cluster.client_on(Side::Right).await?,
    );
    let sessions = bucket(&left, "sessions", Kind::Lww).await?;
    let ana = sessions.lww("ana")?;
    for page in ["/", "/shoes", "/shoes/red"] {
        ana.put(page).await?;
    }
    println!(
        "one writer: {:?} is the last page",
        ana.get().await?.unwrap_or_default()
    );

    // A split: each side has a server that believes that the session is its own.
    cluster.split().await;
    for (client, page) in [(&left, "/cart"), (&right, "/logout")] {
        let one = client.with_options(Options::new().w(Quorum::One).sloppy());
        one.bucket("sessions").await?.lww("ana")?.put(page).await?;
        println!("written on one side: {page}");
    }
    cluster.heal().await;
    let every = Options::new().r(Quorum::All);
    let last = ana.with_options(every).get().await?.unwrap_or_default();
    println!("after the split: {last:?} is what is left of the two");
    println!(
        "times that the nodes saw concurrent writes meet: {}",
        lost(&left).await?
    );
    println!("If both matter, use a register, and settle its siblings.");
    left.close().await;
    right.close().await;
    cluster.stop()
}

/// How often nodes have seen concurrent lww writes meet: each node counts for itself.
async fn lost(client: &Client) -> Outcome<u64> {
    let mut lost = 0;
    for node in client.nodes() {
        let status = client.status(node.node.id).await?;
        let counters = status.counters.iter();
        let counted = counters.filter(|(name, _)| name == "lww_concurrent");
        lost += counted.map(|(_, count)| count).sum::<u64>();
    }
    Ok(lost)
}
