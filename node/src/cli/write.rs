//! `dunlin put`, `delete`, `incr` and `flag KEY on|off`: what fits the kind of the bucket is done,
//! anything else is refused with the name of the command that fits.

use dunlin_client::{Bucket, Kind, Receipt};

use super::args::{DeleteArgs, FlagArgs, IncrArgs, PutArgs, Switch};
use super::ended::Ended;
use super::fault::Fault;
use super::output::Output;
use super::receipt::{self, Done, ShowContext};
use super::session::Session;
use super::{given, read};

/// `dunlin put`
pub(crate) async fn put(
    session: &Session,
    out: &mut Output,
    args: PutArgs,
) -> Result<Ended, Fault> {
    let key = out.form().read(&args.at.key)?;
    let value = given::value(&args.value, out.form())?;
    let context = args
        .replacing
        .context
        .as_deref()
        .map(given::context)
        .transpose()?;
    let bucket = session.bucket(&args.at.bucket, &args.asking).await?;
    let kind = bucket.info().kind;
    if kind != Kind::Register && context.is_some() {
        return Err(no_context(&bucket));
    }
    let (written, show_context) = match kind {
        Kind::Register => {
            let register = bucket.register(key).map_err(Fault::Write)?;
            let written = match context {
                Some(context) => register.put(value, &context).await,
                None if args.replacing.overwrite => register.overwrite(value).await,
                None => register.put_new(value).await,
            };
            (written, ShowContext::Yes)
        }
        Kind::Lww => {
            let lww = bucket.lww(key).map_err(Fault::Write)?;
            (lww.put(value).await, ShowContext::No)
        }
        Kind::Max => {
            let max = bucket.max(key).map_err(Fault::Write)?;
            (max.observe(given::number(&value)?).await, ShowContext::No)
        }
        Kind::Min => {
            let min = bucket.min(key).map_err(Fault::Write)?;
            (min.observe(given::number(&value)?).await, ShowContext::No)
        }
        Kind::Counter | Kind::Flag | Kind::Set | Kind::Map => return Err(wrong_kind(&bucket)),
    };
    let receipt = written.map_err(Fault::Write)?;
    receipt::show(out, Done::Word("written"), &receipt, show_context)?;
    Ok(Ended::Done)
}

/// `dunlin delete`
pub(crate) async fn delete(
    session: &Session,
    out: &mut Output,
    args: DeleteArgs,
) -> Result<Ended, Fault> {
    let key = out.form().read(&args.at.key)?;
    let context = args.context.as_deref().map(given::context).transpose()?;
    let bucket = session.bucket(&args.at.bucket, &args.asking).await?;
    let kind = bucket.info().kind;
    let removed = match (kind, context) {
        (Kind::Register, Some(context)) => {
            bucket
                .register(key)
                .map_err(Fault::Write)?
                .delete_read(&context)
                .await
        }
        (_, Some(_)) => return Err(no_context(&bucket)),
        (_, None) => delete_seen(&bucket, kind, key).await,
    };
    let receipt = removed.map_err(Fault::Write)?;
    receipt::show(out, Done::Word("deleted"), &receipt, ShowContext::No)?;
    Ok(Ended::Done)
}

async fn delete_seen(
    bucket: &Bucket,
    kind: Kind,
    key: bytes::Bytes,
) -> Result<Receipt, dunlin_client::Error> {
    match kind {
        Kind::Register => bucket.register(key)?.delete().await,
        Kind::Lww => bucket.lww(key)?.delete().await,
        Kind::Counter => bucket.counter(key)?.delete().await,
        Kind::Flag => bucket.flag(key)?.delete().await,
        Kind::Max => bucket.max(key)?.delete().await,
        Kind::Min => bucket.min(key)?.delete().await,
        Kind::Set => bucket.set(key)?.delete().await,
        Kind::Map => bucket.map(key)?.delete().await,
    }
}

/// `dunlin incr`
pub(crate) async fn incr(
    session: &Session,
    out: &mut Output,
    args: IncrArgs,
) -> Result<Ended, Fault> {
    let key = out.form().read(&args.at.key)?;
    let bucket = session.bucket(&args.at.bucket, &args.asking).await?;
    if bucket.info().kind != Kind::Counter {
        return Err(wrong_kind(&bucket));
    }
    let counter = bucket.counter(key).map_err(Fault::Write)?;
    let receipt = counter.increment(args.amount).await.map_err(Fault::Write)?;
    receipt::show(out, Done::Added(args.amount), &receipt, ShowContext::No)?;
    Ok(Ended::Done)
}

/// `dunlin flag`
pub(crate) async fn flag(
    session: &Session,
    out: &mut Output,
    args: FlagArgs,
) -> Result<Ended, Fault> {
    let key = out.form().read(&args.at.key)?;
    let bucket = session.bucket(&args.at.bucket, &args.asking).await?;
    if bucket.info().kind != Kind::Flag {
        return Err(wrong_kind(&bucket));
    }
    let flag = bucket.flag(&key).map_err(Fault::Write)?;
    let ended = match args.switch {
        None => read::flag(out, &key, flag.read().await.map_err(Fault::Read)?)?,
        Some(Switch::On) => {
            let receipt = flag.enable().await.map_err(Fault::Write)?;
            receipt::show(out, Done::Word("on"), &receipt, ShowContext::No)?;
            Ended::Done
        }
        Some(Switch::Off) => {
            let receipt = flag.disable().await.map_err(Fault::Write)?;
            receipt::show(out, Done::Word("off"), &receipt, ShowContext::No)?;
            Ended::Done
        }
    };
    Ok(ended)
}

fn wrong_kind(bucket: &Bucket) -> Fault {
    let info = bucket.info();
    Fault::wrong_kind(info.name.as_str(), info.kind)
}

fn no_context(bucket: &Bucket) -> Fault {
    let info = bucket.info();
    Fault::Refused {
        what: format!(
            "bucket {} is of kind {}; only registers take --context",
            info.name, info.kind
        ),
        advice: "leave out --context".to_owned(),
    }
}
