//! Streams of pages.

use std::collections::BTreeSet;

use bytes::Bytes;
use dunlin_client::{Error, Failure, FieldPath, FieldValue, Kind, NodeId, Options};
use dunlin_protocol::request::{Page, Query, Request, WriteOp};
use dunlin_protocol::response::{FieldItem, Found, Rest};

use crate::fake::{FakeCluster, Say, failed, found, partition_of, within, written_with};

/// Two items of a page, and where the next one starts.
fn two_of(all: &[Bytes], page: &Page) -> (Vec<Bytes>, Option<Bytes>) {
    let mut left = all
        .iter()
        .filter(|item| page.after.as_ref().is_none_or(|after| *item > after))
        .cloned();
    let items: Vec<_> = left.by_ref().take(2).collect();
    let next = left.next().and(items.last().cloned());
    (items, next)
}

fn texts(items: &[&'static str]) -> Vec<Bytes> {
    items
        .iter()
        .map(|item| Bytes::from_static(item.as_bytes()))
        .collect()
}

#[tokio::test]
async fn keys_come_from_every_partition_once() {
    let mut cluster = FakeCluster::start(3, 2);
    let bucket = cluster.bucket(Kind::Lww, Options::new()).await;
    let layout = cluster.layout();
    let all: BTreeSet<Bytes> = (0..100)
        .map(|n| Bytes::from(format!("key {n:03}")))
        .collect();
    let stored = all.clone();
    cluster.script(move |node, request| {
        let Request::Keys(keys) = request else {
            return None;
        };
        assert_eq!(keys.prefix, "key");
        let mine = |key: &Bytes| {
            partition_of(&layout, std::str::from_utf8(key).unwrap()) == keys.partition
        };
        let mine: Vec<Bytes> = stored.iter().filter(|key| mine(key)).cloned().collect();
        let (items, next) = two_of(&mine, &keys.page);
        Some(found(node, Found::Keys { items, next }))
    });
    let keys = within(bucket.keys("key").collect()).await.unwrap();
    assert_eq!(keys.len(), all.len());
    assert_eq!(keys.into_iter().collect::<BTreeSet<_>>(), all);
}

fn elements_script(
    elements: Vec<Bytes>,
    broken_after: Option<Bytes>,
) -> impl Fn(NodeId, &Request) -> Option<Say> {
    move |node, request| {
        let Request::Read(read) = request else {
            return None;
        };
        let Query::Elements(page) = &read.query else {
            panic!("{read:?}")
        };
        if broken_after.is_some() && page.after == broken_after {
            return Some(failed(Failure::TooLarge {
                what: dunlin_protocol::Part::Page,
                is: 2,
                max: 1,
            }));
        }
        let (items, next) = two_of(&elements, page);
        Some(found(node, Found::Elements { items, next }))
    }
}

#[tokio::test]
async fn elements_come_in_order_over_pages() {
    let mut cluster = FakeCluster::start(3, 3);
    let bucket = cluster.bucket(Kind::Set, Options::new()).await;
    let all = texts(&["a", "b", "c", "d", "e"]);
    cluster.script(elements_script(all.clone(), None));
    let elements = within(bucket.set("k").unwrap().elements().collect()).await;
    assert_eq!(elements, Ok(all));
}

#[tokio::test]
async fn an_error_ends_a_stream_after_what_came_before_it() {
    let mut cluster = FakeCluster::start(3, 3);
    let bucket = cluster.bucket(Kind::Set, Options::new()).await;
    let all = texts(&["a", "b", "c", "d", "e"]);
    cluster.script(elements_script(all, Some("b".into())));
    let mut elements = bucket.set("k").unwrap().elements();
    assert_eq!(within(elements.next()).await, Some(Ok("a".into())));
    assert_eq!(within(elements.next()).await, Some(Ok("b".into())));
    let error = within(elements.next()).await.unwrap().unwrap_err();
    assert!(matches!(error, Error::Refused { .. }), "{error:?}");
    assert_eq!(within(elements.next()).await, None);
}

#[tokio::test]
async fn nothing_is_fetched_before_it_is_asked_for() {
    let mut cluster = FakeCluster::start(1, 1);
    let bucket = cluster.bucket(Kind::Set, Options::new()).await;
    drop(bucket.set("k").unwrap().elements());
    drop(bucket.keys(""));
    // A round trip, on which anything sent before would have come.
    bucket.set("k").unwrap().count().await.unwrap_err();
    assert_eq!(cluster.rest_seen().len(), 1);
}

#[tokio::test]
async fn counts_are_added_up_over_pages() {
    let mut cluster = FakeCluster::start(3, 3);
    let bucket = cluster.bucket(Kind::Set, Options::new()).await;
    cluster.script(|node, request| {
        let Request::Read(read) = request else {
            return None;
        };
        let Query::Count(page) = &read.query else {
            panic!("{read:?}")
        };
        let (count, next) = match &page.after {
            None => (10_000, Some("m".into())),
            Some(_) => (5, None),
        };
        Some(found(node, Found::Count { count, next }))
    });
    assert_eq!(within(bucket.set("k").unwrap().count()).await, Ok(10_005));
}

#[tokio::test]
async fn rows_of_a_map_are_taken_apart() {
    let mut cluster = FakeCluster::start(3, 3);
    let bucket = cluster.bucket(Kind::Map, Options::new()).await;
    let visits: FieldPath = "stats:map/visits:counter".parse().unwrap();
    let tags: FieldPath = "tags:set".parse().unwrap();
    let items = [
        FieldItem {
            path: visits.subkey(),
            value: Found::Sum(4),
        },
        FieldItem {
            path: tags.element(b"new"),
            value: Found::Present,
        },
    ];
    cluster.script(move |node, request| {
        let Request::Read(read) = request else {
            return None;
        };
        let Query::Fields { prefix, .. } = &read.query else {
            panic!("{read:?}")
        };
        let below = |item: &FieldItem| item.path.starts_with(prefix);
        let items = items.iter().filter(|item| below(item)).cloned().collect();
        Some(found(node, Found::Fields { items, next: None }))
    });
    let map = bucket.map("k").unwrap();
    let rows = within(map.fields().collect()).await.unwrap();
    assert_eq!(rows[0].path, visits);
    assert_eq!(rows[0].value, FieldValue::Counter(4));
    assert_eq!(rows[1].element.as_deref(), Some(&b"new"[..]));
    assert_eq!(rows[1].value, FieldValue::Present);
    assert_eq!(
        within(map.set("tags").elements().collect()).await,
        Ok(texts(&["new"]))
    );
    assert_eq!(within(map.set("tags").count()).await, Ok(1));
    assert_eq!(within(map.map("stats").unwrap().count()).await, Ok(1));
}

#[tokio::test]
async fn a_set_is_deleted_in_as_many_requests_as_it_takes() {
    let mut cluster = FakeCluster::start(3, 3);
    let bucket = cluster.bucket(Kind::Set, Options::new()).await;
    let requests = std::sync::atomic::AtomicU32::new(0);
    cluster.script(move |node, request| {
        let Request::Write(write) = request else {
            return None;
        };
        assert!(matches!(write.op, WriteOp::Delete(_)));
        let rest = match requests.fetch_add(1, std::sync::atomic::Ordering::Relaxed) {
            0 | 1 => Rest::More,
            2 => Rest::Done,
            _ => return Some(failed(Failure::StorageFull)),
        };
        Some(written_with(node, rest))
    });
    within(bucket.set("k").unwrap().delete()).await.unwrap();
    let ids: BTreeSet<_> = cluster
        .rest_seen()
        .into_iter()
        .map(|seen| seen.write().id)
        .collect();
    assert_eq!(ids.len(), 3);
}
