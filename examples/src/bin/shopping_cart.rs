//! A cart is a set: devices add and remove at the same time, and no addition is lost.

use std::error::Error;

use dunlin_client::{Kind, Options, Quorum};
use dunlin_examples::{bucket, connect};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let client = connect().await?;
    let carts = bucket(&client, "carts", Kind::Set).await?;
    let customers = bucket(&client, "customers", Kind::Map).await?;

    // Phone and laptop do not know of each other.
    let (phone, laptop) = (carts.set("ana")?, carts.set("ana")?);
    let (from_phone, from_laptop) =
        tokio::join!(phone.add(["apples", "bread"]), laptop.add(["cheese"]));
    println!("phone's write is held by {}", from_phone?.copies.len());
    println!("laptop's write is held by {}", from_laptop?.copies.len());

    // What the removal has seen goes; bread that is added at the same moment stays.
    phone.remove(["bread"]).await?;

    println!("{} things:", laptop.count().await?);
    let mut elements = laptop.elements();
    while let Some(element) = elements.next().await {
        println!("  {}", element?.escape_ascii());
    }

    // Several fields of several kinds, in one request.
    let ana = customers.map("ana")?;
    ana.changes()
        .put("city", "Bern")
        .increment("carts", 1)
        .add("tags", ["early", "loyal"])
        .send()
        .await?;
    let carts_so_far = ana.counter("carts").get().await?;
    println!("cart number {carts_so_far}");

    // At the till, only owners count, and each of them.
    let certain = Options::new().r(Quorum::All).strict();
    match phone.with_options(certain).has("apples").await {
        Ok(true) => println!("apples are paid"),
        Ok(false) => println!("no apples"),
        Err(error) => println!("try the till again later: {error}"),
    }
    client.close().await;
    Ok(())
}
