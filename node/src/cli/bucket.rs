//! `dunlin bucket …`

use dunlin_client::{
    BucketDefaults, BucketInfo, BucketName, Error, Failure, NodeRef, Options, Quorum,
};
use serde_json::{Map, Value, json};

use super::args::{BucketCommand, BucketCreateArgs};
use super::ended::Ended;
use super::fault::{Fault, commands_for};
use super::output::Output;
use super::receipt::names;
use super::session::Session;
use super::table::{Lean, Table};

/// `dunlin bucket …`
pub(crate) async fn run(
    session: &Session,
    out: &mut Output,
    command: BucketCommand,
) -> Result<Ended, Fault> {
    match command {
        BucketCommand::Create(args) => create(session, out, args).await,
        BucketCommand::List => list(session, out).await,
        BucketCommand::Show { name } => show(session, out, name).await,
        BucketCommand::Drop { name } => drop_bucket(session, out, name).await,
    }
}

async fn create(
    session: &Session,
    out: &mut Output,
    args: BucketCreateArgs,
) -> Result<Ended, Fault> {
    let usual = BucketDefaults::default();
    let defaults = BucketDefaults {
        r: args.r.unwrap_or(usual.r),
        w: args.w.unwrap_or(usual.w),
        dw: args.dw,
        durability: args.durability,
    };
    let client = session.connect(Options::new()).await?;
    let created = client
        .create_bucket(args.name.as_str(), args.kind, defaults)
        .await;
    let created = created.map_err(Fault::Write)?;
    if out.is_json() {
        let mut object = json_of(&created.bucket);
        let known_by: Value = created.known_by.iter().map(NodeRef::to_string).collect();
        object.insert("known_by".to_owned(), known_by);
        out.json_line(&Value::Object(object))?;
    } else {
        out.line(&format!(
            "bucket {} of kind {} is there; known by {}",
            created.bucket.name,
            created.bucket.kind,
            names(&created.known_by)
        ))?;
    }
    Ok(Ended::Done)
}

async fn list(session: &Session, out: &mut Output) -> Result<Ended, Fault> {
    let client = session.connect(Options::new()).await?;
    let mut buckets = client.buckets().await.map_err(Fault::Read)?;
    buckets.sort_by(|a, b| a.name.cmp(&b.name));
    if out.is_json() {
        let buckets: Value = buckets
            .iter()
            .map(|bucket| Value::Object(json_of(bucket)))
            .collect();
        out.json_line(&buckets)?;
        return Ok(Ended::Done);
    }
    let heads = ["NAME", "KIND", "R", "W", "DW", "DURABILITY"];
    let mut table = Table::new(heads.map(|head| (head, Lean::Left)));
    for bucket in &buckets {
        let defaults = &bucket.defaults;
        table.row([
            bucket.name.to_string(),
            bucket.kind.to_string(),
            defaults.r.to_string(),
            defaults.w.to_string(),
            defaults
                .dw
                .map_or_else(|| "-".to_owned(), |dw| dw.to_string()),
            defaults.durability.name().to_owned(),
        ]);
    }
    table.show(out)?;
    Ok(Ended::Done)
}

async fn show(session: &Session, out: &mut Output, name: BucketName) -> Result<Ended, Fault> {
    let client = session.connect(Options::new()).await?;
    let opened = client.bucket(name.as_str()).await;
    let bucket = match opened {
        Ok(bucket) => bucket.info(),
        Err(Error::NoSuchBucket { .. }) => return Err(not_there(&name)),
        Err(error) => return Err(Fault::Read(error)),
    };
    if out.is_json() {
        out.json_line(&Value::Object(json_of(&bucket)))?;
        return Ok(Ended::Done);
    }
    let defaults = &bucket.defaults;
    for (name, value) in [
        ("name", bucket.name.to_string()),
        ("kind", bucket.kind.to_string()),
        ("r", defaults.r.to_string()),
        ("w", defaults.w.to_string()),
        (
            "dw",
            defaults
                .dw
                .map_or_else(|| "by durability".to_owned(), |dw| dw.to_string()),
        ),
        ("durability", defaults.durability.name().to_owned()),
        ("id", bucket.id.to_string()),
        (
            "use",
            commands_for(bucket.kind).replace("BUCKET", bucket.name.as_str()),
        ),
    ] {
        out.line(&format!("{name:<11}{value}"))?;
    }
    Ok(Ended::Done)
}

async fn drop_bucket(
    session: &Session,
    out: &mut Output,
    name: BucketName,
) -> Result<Ended, Fault> {
    let client = session.connect(Options::new()).await?;
    let dropped = client.drop_bucket(name.as_str()).await;
    let bucket = match dropped {
        Ok(bucket) => bucket,
        Err(
            Error::NoSuchBucket { .. }
            | Error::Refused {
                failure: Failure::NoSuchBucket,
                ..
            },
        ) => return Err(not_there(&name)),
        Err(error) => return Err(Fault::Write(error)),
    };
    if out.is_json() {
        out.json_line(&json!({ "done": "dropped", "name": bucket.name.as_str() }))?;
    } else {
        out.line(&format!(
            "dropped bucket {} of kind {}",
            bucket.name, bucket.kind
        ))?;
    }
    Ok(Ended::Done)
}

fn not_there(name: &BucketName) -> Fault {
    Fault::NotFound(format!("bucket {name}"))
}

fn json_of(bucket: &BucketInfo) -> Map<String, Value> {
    let defaults = &bucket.defaults;
    let mut object = Map::new();
    object.insert("name".to_owned(), json!(bucket.name.as_str()));
    object.insert("kind".to_owned(), json!(bucket.kind.name()));
    object.insert("id".to_owned(), json!(bucket.id.to_string()));
    object.insert("r".to_owned(), json!(defaults.r.to_string()));
    object.insert("w".to_owned(), json!(defaults.w.to_string()));
    object.insert(
        "dw".to_owned(),
        json!(defaults.dw.as_ref().map(Quorum::to_string)),
    );
    object.insert("durability".to_owned(), json!(defaults.durability.name()));
    object
}
