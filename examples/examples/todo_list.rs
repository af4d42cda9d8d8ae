//! A to-do list that two people edit on two sides of a split, and what becomes of it when they meet again.
//!
//! The list is a map: under each thing to do there are a flag (done or not) and a register (its text). Both
//! sides read and write all the time, with quorums of one, because each has somebody to write to: owners, or
//! fallbacks that keep hints for the owners on the other side.

use dunlin_client::{Client, FieldValue, Kind, Map, Options, Quorum};
use dunlin_examples::{Cluster, Outcome, Side, bucket};

#[tokio::main]
async fn main() -> Outcome {
    let cluster = Cluster::start().await?;
    let (ana, ben) = (
        cluster.client_on(Side::Left).await?,
        cluster.client_on(Side::Right).await?,
    );
    bucket(&ana, "lists", Kind::Map).await?;
    let (left, right) = (list_of(&ana).await?, list_of(&ben).await?);
    // While everybody is there, from and to a majority.
    let together = ana.bucket("lists").await?.map("home")?;
    let things = together.changes().overwrite("milk", "buy milk");
    things
        .overwrite("plants", "water the plants")
        .send()
        .await?;
    show("before the split", &together).await?;

    println!("\n-- the network is cut --\n");
    cluster.split().await;
    // Ana does the one thing, Ben the other; and both find a better word for the milk.
    left.flag("milk-done").enable().await?;
    left.register("milk").overwrite("buy oat milk").await?;
    right
        .register("milk")
        .overwrite("buy two litres of milk")
        .await?;
    right.register("party").put_new("plan the party").await?;
    show("what Ana sees", &left).await?;
    show("what Ben sees", &right).await?;

    println!("\n-- the network is whole again --\n");
    cluster.heal().await;
    show("what Ana sees", &left).await?;
    show("what Ben sees", &right).await?;
    println!(
        "\nNothing is lost: the two texts for the milk are both there, for somebody to settle."
    );
    ana.close().await;
    ben.close().await;
    cluster.stop()
}

async fn list_of(client: &Client) -> Outcome<Map> {
    let one = Options::new().r(Quorum::One).w(Quorum::One).sloppy();
    let lists = client.with_options(one).bucket("lists").await?;
    Ok(lists.map("home")?)
}

async fn show(whose: &str, list: &Map) -> Outcome {
    println!("{whose}:");
    for field in list.fields().collect().await? {
        let name = field.path.steps().first();
        let name = name.map(|(name, _)| String::from_utf8_lossy(name).into_owned());
        let name = name.unwrap_or_default();
        match field.value {
            FieldValue::Register(siblings) => {
                let values = siblings.values.iter();
                let values: Vec<_> = values
                    .map(|v| String::from_utf8_lossy(v).into_owned())
                    .collect();
                println!("  {name}: {}", values.join("  OR  "));
            }
            FieldValue::On => println!("  {name}"),
            _ => {}
        }
    }
    Ok(())
}
