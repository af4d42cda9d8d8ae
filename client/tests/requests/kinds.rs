//! What each kind of handle sends, and makes of the answer.

use bytes::Bytes;
use dunlin_client::{
    Bucket, Context, Error, FieldKind, FieldPath, FieldValue, Hlc, Kind, Options, Quorum,
};
use dunlin_protocol::request::{FieldChange, Query, Replace, Request, WriteOp};
use dunlin_protocol::response::Found;

use crate::fake::{FakeCluster, found, within, written};

/// A cluster that answers every read with this, and takes every write.
async fn answering(kind: Kind, answer: Found) -> (FakeCluster, Bucket) {
    let mut cluster = FakeCluster::start(1, 1);
    let bucket = cluster.bucket(kind, Options::new()).await;
    cluster.script(move |node, request| match request {
        Request::Read(_) => Some(found(node, answer.clone())),
        Request::Write(_) => Some(written(node)),
        _ => None,
    });
    (cluster, bucket)
}

async fn written_op(cluster: &mut FakeCluster) -> WriteOp {
    cluster.next_seen().await.write().op
}

#[tokio::test]
async fn a_register_shows_siblings_and_writes_with_the_context_given() {
    let context = Context::from_bytes(&b"what was read"[..]);
    let values = vec![Bytes::from_static(b"a"), Bytes::from_static(b"b")];
    let siblings = Found::Siblings {
        values: values.clone(),
        context: context.clone(),
    };
    let (mut cluster, bucket) = answering(Kind::Register, siblings).await;
    let register = bucket.register("k").unwrap();
    let read = within(register.get()).await.unwrap().unwrap();
    assert_eq!((&read.values, &read.context), (&values, &context));
    assert!(read.is_conflict() && read.single().is_none());
    cluster.forget_seen();
    register.put("c", &read.context).await.unwrap();
    register.put_new("d").await.unwrap();
    register.overwrite("e").await.unwrap();
    register.delete_read(&context).await.unwrap();
    register.delete().await.unwrap();
    let put = |value: &'static str, replaces| WriteOp::Put {
        value: value.into(),
        replaces,
    };
    for expected in [
        put("c", Replace::Context(context.clone())),
        put("d", Replace::Context(Context::default())),
        put("e", Replace::Seen),
        WriteOp::Delete(Replace::Context(context)),
        WriteOp::Delete(Replace::Seen),
    ] {
        assert_eq!(written_op(&mut cluster).await, expected);
    }
}

#[tokio::test]
async fn nothing_is_nothing_zero_or_off() {
    let (_cluster, bucket) = answering(Kind::Register, Found::Nothing).await;
    assert_eq!(bucket.register("k").unwrap().get().await, Ok(None));
    let (_cluster, bucket) = answering(Kind::Lww, Found::Nothing).await;
    assert_eq!(bucket.lww("k").unwrap().get().await, Ok(None));
    let (_cluster, bucket) = answering(Kind::Counter, Found::Nothing).await;
    assert_eq!(bucket.counter("k").unwrap().get().await, Ok(0));
    let (_cluster, bucket) = answering(Kind::Flag, Found::Nothing).await;
    assert_eq!(bucket.flag("k").unwrap().get().await, Ok(false));
    let (_cluster, bucket) = answering(Kind::Max, Found::Nothing).await;
    assert_eq!(bucket.max("k").unwrap().get().await, Ok(None));
    let (_cluster, bucket) = answering(Kind::Set, Found::Nothing).await;
    assert_eq!(bucket.set("k").unwrap().has("e").await, Ok(false));
}

#[tokio::test]
async fn values_are_read_as_what_they_are() {
    let stamp = Hlc::default();
    let value = Bytes::from_static(b"v");
    let latest = Found::Latest {
        value: value.clone(),
        stamp,
    };
    let (_cluster, bucket) = answering(Kind::Lww, latest).await;
    assert_eq!(bucket.lww("k").unwrap().get().await, Ok(Some(value)));
    let (_cluster, bucket) = answering(Kind::Flag, Found::On).await;
    assert_eq!(bucket.flag("k").unwrap().get().await, Ok(true));
    let (_cluster, bucket) = answering(Kind::Min, Found::Extreme(-3)).await;
    assert_eq!(bucket.min("k").unwrap().get().await, Ok(Some(-3)));
    let (_cluster, bucket) = answering(Kind::Set, Found::Present).await;
    assert_eq!(bucket.set("k").unwrap().has("e").await, Ok(true));
}

#[tokio::test]
async fn an_answer_that_does_not_fit_is_an_error_that_names_the_node() {
    let (_cluster, bucket) = answering(Kind::Counter, Found::On).await;
    let error = bucket.counter("k").unwrap().get().await.unwrap_err();
    assert!(matches!(error, Error::Unexpected { .. }), "{error:?}");
    assert!(error.to_string().contains("n1"), "{error}");
}

#[tokio::test]
async fn who_holds_a_write_and_who_answered_a_read_have_names() {
    let (_cluster, bucket) = answering(Kind::Counter, Found::Sum(1)).await;
    let counter = bucket.counter("k").unwrap();
    let receipt = counter.increment(1).await.unwrap();
    let owners: Vec<_> = receipt.owners().map(ToString::to_string).collect();
    assert_eq!((owners, receipt.synced()), (vec!["n1".to_owned()], 1));
    let info = counter.read().await.unwrap().info;
    assert_eq!(info.owners[0].to_string(), "n1");
    assert!(info.fallbacks.is_empty());
}

#[tokio::test]
async fn options_travel_with_the_request() {
    let (mut cluster, bucket) = answering(Kind::Counter, Found::Sum(1)).await;
    let options = Options::new().r(Quorum::All).pw(Quorum::One).strict();
    let counter = bucket.counter("k").unwrap().with_options(options);
    counter.increment(1).await.unwrap();
    let write = cluster.next_seen().await.write();
    assert_eq!(
        (write.options.pw, write.options.w),
        (Some(Quorum::One), None)
    );
    counter.get().await.unwrap();
    let Request::Read(read) = cluster.next_seen().await.request else {
        panic!("a read")
    };
    assert_eq!((read.options.r, read.options.pr), (Some(Quorum::All), None));
    assert_eq!(read.options.fallbacks, write.options.fallbacks);
}

#[tokio::test]
async fn fields_are_written_and_read_under_their_paths() {
    let (mut cluster, bucket) = answering(Kind::Map, Found::Sum(2)).await;
    let map = bucket.map("k").unwrap();
    let path: FieldPath = "stats:map/visits:counter".parse().unwrap();
    let change = |path: &FieldPath, op| FieldChange {
        path: path.subkey(),
        op,
    };
    let visits = map.map("stats").unwrap().counter("visits");
    visits.increment(3).await.unwrap();
    let expected = WriteOp::Fields(vec![change(&path, WriteOp::Increment(3))]);
    assert_eq!(written_op(&mut cluster).await, expected);
    assert_eq!(visits.get().await, Ok(2));
    let Request::Read(read) = cluster.next_seen().await.request else {
        panic!("a read")
    };
    assert_eq!(read.query, Query::Field(path.subkey()));
    let dynamic = map.field(path.clone()).read().await.unwrap();
    assert_eq!(dynamic.value, Some(FieldValue::Counter(2)));
    let error = map.field(path).set().unwrap_err();
    let says = "field stats:map/visits:counter is of kind counter, not set";
    assert_eq!(error.to_string(), says);
}

#[tokio::test]
async fn several_changes_of_a_map_are_one_request() {
    let (mut cluster, bucket) = answering(Kind::Map, Found::Nothing).await;
    let map = bucket.map("k").unwrap();
    map.changes()
        .increment("visits", 1)
        .enable("active")
        .add("tags", ["a", "b"])
        .delete("old", FieldKind::Lww)
        .send()
        .await
        .unwrap();
    let WriteOp::Fields(changes) = written_op(&mut cluster).await else {
        panic!("changes of fields")
    };
    let paths: Vec<_> = changes
        .iter()
        .map(|change| match FieldPath::parse(&change.path) {
            Ok((path, _, _)) => path.to_string(),
            Err(error) => panic!("{error}"),
        })
        .collect();
    assert_eq!(
        paths,
        ["visits:counter", "active:flag", "tags:set", "old:lww"]
    );
}

#[tokio::test]
async fn maps_nest_only_as_deep_as_paths_may_be() {
    let (_cluster, bucket) = answering(Kind::Map, Found::Nothing).await;
    let mut map = bucket.map("k").unwrap();
    let mut depth = 0;
    while let Ok(inner) = map.map("inner") {
        map = inner;
        depth += 1;
    }
    assert_eq!(depth, 15);
    // The deepest map still has fields of its own.
    map.counter("visits").increment(1).await.unwrap();
}
