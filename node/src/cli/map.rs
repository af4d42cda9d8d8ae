//! `dunlin map …`: fields are typed, and what fits their kind is done.

use bytes::Bytes;
use dunlin_client::{Field, FieldKind, FieldPath, FieldValue, Kind, Map};
use dunlin_protocol::limits::CHANGES_MAX;
use serde_json::{Value, json};

use super::args::{
    Asking, FieldArgs, KeyArgs, MapAddArgs, MapCommand, MapGetArgs, MapIncrArgs, MapRemoveArgs,
    MapSetArgs, Switch,
};
use super::ended::Ended;
use super::fault::Fault;
use super::field::{read_path, show_path};
use super::map_tree::TreeLines;
use super::output::Output;
use super::receipt::{self, Done, ShowContext, note_answerers};
use super::record::{Contexts, tree};
use super::session::Session;
use super::siblings::{self, FoundAt};
use super::{given, read, set};

/// `dunlin map …`
pub(crate) async fn run(
    session: &Session,
    out: &mut Output,
    command: MapCommand,
) -> Result<Ended, Fault> {
    match command {
        MapCommand::Set(args) => set_field(session, out, args).await,
        MapCommand::Incr(args) => incr(session, out, args).await,
        MapCommand::Add(args) => add(session, out, args).await,
        MapCommand::Get(args) => get(session, out, args).await,
        MapCommand::Remove(args) => remove(session, out, args).await,
    }
}

/// Where a map lies, for what is said about it.
pub(crate) struct At<'a> {
    pub(crate) session: &'a Session,
    pub(crate) bucket: &'a str,
    pub(crate) key: &'a [u8],
}

impl At<'_> {
    /// Where siblings of a field are settled.
    pub(crate) fn field(&self, path: &FieldPath) -> FoundAt<'_> {
        FoundAt {
            command: "map set",
            bucket: self.bucket,
            key: self.key,
            field: Some(show_path(path)),
            cluster_file: self.session.named_file(),
        }
    }
}

async fn set_field(session: &Session, out: &mut Output, args: MapSetArgs) -> Result<Ended, Fault> {
    let path = path(&args.at.field)?;
    let value = given::value(&args.value, out.form())?;
    let context = args
        .replacing
        .context
        .as_deref()
        .map(given::context)
        .transpose()?;
    if path.kind() != FieldKind::Register && context.is_some() {
        return Err(Fault::Usage("only registers take --context".to_owned()));
    }
    let field = match path.kind() {
        FieldKind::Register | FieldKind::Lww | FieldKind::Flag => {
            open_field(session, out, &args.at, path.clone(), &args.asking).await?
        }
        FieldKind::Counter => return Err(does_not_fit(&path, "dunlin map incr")),
        FieldKind::Set => return Err(does_not_fit(&path, "dunlin map add")),
        FieldKind::Map => return Err(does_not_fit(&path, "a field in it, name:map/city:register")),
    };
    let (done, written, show_context) = match path.kind() {
        FieldKind::Register => {
            let register = field.register().map_err(Fault::Write)?;
            let written = match context {
                Some(context) => register.put(value, &context).await,
                None if args.replacing.overwrite => register.overwrite(value).await,
                None => register.put_new(value).await,
            };
            ("written", written, ShowContext::Yes)
        }
        FieldKind::Flag => {
            let flag = field.flag().map_err(Fault::Write)?;
            match given::switch(&value)? {
                Switch::On => ("on", flag.enable().await, ShowContext::No),
                Switch::Off => ("off", flag.disable().await, ShowContext::No),
            }
        }
        FieldKind::Lww | FieldKind::Counter | FieldKind::Set | FieldKind::Map => {
            let lww = field.lww().map_err(Fault::Write)?;
            ("written", lww.put(value).await, ShowContext::No)
        }
    };
    let receipt = written.map_err(Fault::Write)?;
    receipt::show(out, Done::Word(done), &receipt, show_context)?;
    Ok(Ended::Done)
}

async fn incr(session: &Session, out: &mut Output, args: MapIncrArgs) -> Result<Ended, Fault> {
    let path = path(&args.at.field)?;
    if path.kind() != FieldKind::Counter {
        return Err(does_not_fit(
            &path,
            "a field of kind counter, such as visits:counter",
        ));
    }
    let field = open_field(session, out, &args.at, path, &args.asking).await?;
    let counter = field.counter().map_err(Fault::Write)?;
    let receipt = counter.increment(args.amount).await.map_err(Fault::Write)?;
    receipt::show(out, Done::Added(args.amount), &receipt, ShowContext::No)?;
    Ok(Ended::Done)
}

async fn add(session: &Session, out: &mut Output, args: MapAddArgs) -> Result<Ended, Fault> {
    let path = path(&args.at.field)?;
    if path.kind() != FieldKind::Set {
        return Err(does_not_fit(&path, "a field of kind set, such as tags:set"));
    }
    let elements = out.form().read_all(&args.elements)?;
    let field = open_field(session, out, &args.at, path, &args.asking).await?;
    let set = field.set().map_err(Fault::Write)?;
    for some in elements.chunks(CHANGES_MAX) {
        let receipt = set.add(some).await.map_err(Fault::Write)?;
        receipt::show(out, Done::Word("added"), &receipt, ShowContext::No)?;
    }
    Ok(Ended::Done)
}

async fn remove(session: &Session, out: &mut Output, args: MapRemoveArgs) -> Result<Ended, Fault> {
    let path = path(&args.at.field)?;
    let elements = out.form().read_all(&args.elements)?;
    if !elements.is_empty() && path.kind() != FieldKind::Set {
        return Err(does_not_fit(&path, "no elements: only sets have them"));
    }
    let field = open_field(session, out, &args.at, path.clone(), &args.asking).await?;
    if elements.is_empty() {
        let receipt = delete(field, path.kind()).await.map_err(Fault::Write)?;
        receipt::show(out, Done::Word("removed"), &receipt, ShowContext::No)?;
    } else {
        let set = field.set().map_err(Fault::Write)?;
        for some in elements.chunks(CHANGES_MAX) {
            let receipt = set.remove(some).await.map_err(Fault::Write)?;
            receipt::show(out, Done::Word("removed"), &receipt, ShowContext::No)?;
        }
    }
    Ok(Ended::Done)
}

async fn delete(
    field: Field,
    kind: FieldKind,
) -> Result<dunlin_client::Receipt, dunlin_client::Error> {
    match kind {
        FieldKind::Register => field.register()?.delete().await,
        FieldKind::Lww => field.lww()?.delete().await,
        FieldKind::Counter => field.counter()?.delete().await,
        FieldKind::Flag => field.flag()?.delete().await,
        FieldKind::Set => field.set()?.delete().await,
        FieldKind::Map => field.map()?.delete().await,
    }
}

async fn get(session: &Session, out: &mut Output, args: MapGetArgs) -> Result<Ended, Fault> {
    let key = out.form().read(&args.at.key)?;
    let at = At {
        session,
        bucket: args.at.bucket.as_str(),
        key: &key,
    };
    let path = args.field.as_deref().map(path).transpose()?;
    let map = open(session, out, &args.at, &args.asking).await?;
    let ended = match path {
        None => {
            let count = show_fields(out, &at, &map).await?;
            shown(out, &at, count)?
        }
        Some(path) => match path.kind() {
            FieldKind::Map => {
                let inner = map.field(path).map().map_err(Fault::Read)?;
                let count = show_fields(out, &at, &inner).await?;
                shown(out, &at, count)?
            }
            FieldKind::Set => {
                let elements = map.field(path).set().map_err(Fault::Read)?.elements();
                let count = set::show_elements(out, &key, elements, None).await?;
                shown(out, &at, count)?
            }
            FieldKind::Register | FieldKind::Lww | FieldKind::Counter | FieldKind::Flag => {
                get_field(out, &at, &map.field(path)).await?
            }
        },
    };
    Ok(ended)
}

/// How showing many ended. In JSON, what was shown says itself that there was nothing.
fn shown(out: &Output, at: &At<'_>, count: u64) -> Result<Ended, Fault> {
    match count {
        0 if !out.is_json() => Err(read::not_found(at.bucket, at.key, out.form())),
        0 => Ok(Ended::No),
        _ => Ok(Ended::Done),
    }
}

async fn get_field(out: &mut Output, at: &At<'_>, field: &Field) -> Result<Ended, Fault> {
    let read = field.read().await.map_err(Fault::Read)?;
    let spelling = show_path(field.path());
    if out.is_json() {
        let mut object = read::object(out, at.key, field.path().kind().kind().name(), &read.info);
        object.insert("field".to_owned(), json!(spelling));
        object.insert("found".to_owned(), json!(read.value.is_some()));
        match &read.value {
            None => {}
            Some(FieldValue::Register(found)) => {
                object.insert("values".to_owned(), out.values(&found.values));
                object.insert("context".to_owned(), json!(found.context.to_string()));
            }
            Some(FieldValue::Lww(latest)) => {
                object.insert("value".to_owned(), out.value(&latest.value));
            }
            Some(FieldValue::Counter(sum)) => {
                object.insert("value".to_owned(), json!(sum));
            }
            Some(FieldValue::On | FieldValue::Present) => {
                object.insert("value".to_owned(), json!(true));
            }
        }
        out.json_line(&Value::Object(object))?;
        return Ok(Ended::answer(read.value.is_some()));
    }
    note_answerers(&read.info, false);
    match &read.value {
        None => {
            let key = out.shown(at.key);
            let what = format!("field {spelling} under key {key} in bucket {}", at.bucket);
            return Err(Fault::NotFound(what));
        }
        Some(FieldValue::Register(found)) => siblings::show(out, found, &at.field(field.path()))?,
        Some(FieldValue::Lww(latest)) => read::whole(out, &latest.value)?,
        Some(FieldValue::Counter(sum)) => out.line(&sum.to_string())?,
        Some(FieldValue::On | FieldValue::Present) => out.line("on")?,
    }
    Ok(Ended::Done)
}

/// Shows all fields of a map as a tree, as they come. Answers how many rows there were.
pub(crate) async fn show_fields(out: &mut Output, at: &At<'_>, map: &Map) -> Result<u64, Fault> {
    let mut fields = map.fields();
    if out.is_json() {
        let entries = fields.collect().await.map_err(Fault::Read)?;
        let tree = tree(&entries, out.form(), Contexts::Shown);
        let key = out.value(at.key);
        let found = !entries.is_empty();
        out.json_line(&json!({ "key": key, "kind": "map", "found": found, "fields": tree }))?;
        return Ok(entries.len() as u64);
    }
    let (mut count, mut lines) = (0, TreeLines::default());
    while let Some(entry) = fields.next().await {
        lines.show(out, at, &entry.map_err(Fault::Read)?)?;
        count += 1;
    }
    Ok(count)
}

fn path(text: &str) -> Result<FieldPath, Fault> {
    read_path(text).map_err(Fault::Usage)
}

fn does_not_fit(path: &FieldPath, instead: &str) -> Fault {
    Fault::Usage(format!(
        "field {} is of kind {}, which this command does not fit; use {instead}",
        show_path(path),
        path.kind()
    ))
}

async fn open_field(
    session: &Session,
    out: &Output,
    at: &FieldArgs,
    path: FieldPath,
    asking: &Asking,
) -> Result<Field, Fault> {
    let map = open(session, out, &at.at, asking).await?;
    Ok(map.field(path))
}

async fn open(
    session: &Session,
    out: &Output,
    at: &KeyArgs,
    asking: &Asking,
) -> Result<Map, Fault> {
    let key: Bytes = out.form().read(&at.key)?;
    let bucket = session.bucket(&at.bucket, asking).await?;
    if bucket.info().kind != Kind::Map {
        return Err(Fault::wrong_kind(at.bucket.as_str(), bucket.info().kind));
    }
    let map = bucket.map(&key).map_err(Fault::Read)?;
    Ok(map)
}
