//! The shopping cart of the Dynamo paper, and the same as a CRDT.
//!
//! In a register two writers who did not know of each other leave two values, siblings, and whoever reads them
//! decides what they mean. For a cart that is the union, and a removed thing may come back with it: the anomaly
//! that the paper describes. In a map nothing has to be merged, and what was removed stays away unless somebody
//! put it there again.

use dunlin_client::{Bytes, FieldKind, FieldValue, Kind};
use dunlin_examples::{Cluster, Outcome, bucket};

#[tokio::main]
async fn main() -> Outcome {
    let cluster = Cluster::start().await?;
    let client = cluster.client().await?;

    // The cart as a value of its own: things, one a line.
    let carts = bucket(&client, "carts", Kind::Register).await?;
    let ana = carts.register("ana")?;
    ana.put_new("apples\nbread").await?;
    let seen = ana.get().await?.ok_or("the cart is there")?;
    // Phone and laptop have read the same cart, and write without knowing of each other.
    ana.put("apples\nbread\ncheese", &seen.context).await?;
    ana.put("apples", &seen.context).await?;

    let siblings = ana.get().await?.ok_or("the cart is there")?;
    println!("{} versions of the cart:", siblings.values.len());
    for value in &siblings.values {
        println!("  {}", lines(value).join(", "));
    }
    let mut union: Vec<String> = siblings.values.iter().flat_map(lines).collect();
    union.sort();
    union.dedup();
    // With the context of what was read: this write replaces both.
    ana.put(union.join("\n"), &siblings.context).await?;
    println!(
        "merged: {}; the bread that the laptop removed is back",
        union.join(", ")
    );

    // The cart as a map from thing to how many.
    let carts = bucket(&client, "carts-as-maps", Kind::Map).await?;
    let ana = carts.map("ana")?;
    ana.changes()
        .increment("apples", 1)
        .increment("bread", 1)
        .send()
        .await?;
    let phone = ana.changes().increment("cheese", 1).send();
    let laptop = ana.changes().delete("bread", FieldKind::Counter).send();
    let (phone, laptop) = tokio::join!(phone, laptop);
    phone?;
    laptop?;
    println!("as a map:");
    for field in ana.fields().collect().await? {
        if let (Some((thing, _)), FieldValue::Counter(count)) =
            (field.path.steps().first(), field.value)
        {
            println!("  {count} {}", String::from_utf8_lossy(thing));
        }
    }
    client.close().await;
    cluster.stop()
}

fn lines(value: &Bytes) -> Vec<String> {
    let text = String::from_utf8_lossy(value);
    text.lines().map(str::to_owned).collect()
}
