//! Buckets, their ids and kinds.

use dunlin_client::{BucketDefaults, BucketId, Error, Failure, Kind, Options};
use dunlin_protocol::request::Request;
use dunlin_protocol::response::Answer;

use crate::fake::{FakeCluster, Say, bucket_info, failed, op_of, within, written};

#[tokio::test]
async fn a_handle_follows_a_bucket_that_was_made_again() {
    let mut cluster = FakeCluster::start(2, 2);
    let bucket = cluster.bucket(Kind::Lww, Options::new()).await;
    cluster.set_bucket(Kind::Lww, 2);
    cluster.script(|node, request| match request {
        Request::Write(write) if write.bucket == BucketId(1) => Some(failed(Failure::NoSuchBucket)),
        Request::Write(_) => Some(written(node)),
        _ => None,
    });
    within(bucket.lww("k").unwrap().put("v")).await.unwrap();
    assert_eq!(bucket.info().id, BucketId(2));
    let ids: Vec<_> = cluster
        .rest_seen()
        .into_iter()
        .map(|seen| seen.write())
        .map(|write| (write.bucket.0, write.id))
        .collect();
    assert_eq!(ids.len(), 2);
    assert_eq!((ids[0].0, ids[1].0), (1, 2));
}

#[tokio::test]
async fn a_handle_does_not_follow_to_another_kind() {
    let mut cluster = FakeCluster::start(1, 1);
    let bucket = cluster.bucket(Kind::Lww, Options::new()).await;
    cluster.set_bucket(Kind::Counter, 2);
    cluster.script(|_, request| op_of(request).map(|_| failed(Failure::NoSuchBucket)));
    let error = within(bucket.lww("k").unwrap().put("v")).await.unwrap_err();
    let expected = Error::WrongKind {
        bucket: "things".parse().unwrap(),
        is: Kind::Counter,
        asked: Kind::Lww,
    };
    assert_eq!(error, expected);
}

#[tokio::test]
async fn a_node_that_has_not_heard_of_a_new_bucket_does_not_fail_a_write() {
    let mut cluster = FakeCluster::start(3, 3);
    let bucket = cluster.bucket(Kind::Lww, Options::new()).await;
    let informed = cluster.owners("k")[0];
    cluster.script(move |node, request| {
        op_of(request)?;
        match node == informed {
            true => Some(written(node)),
            false => Some(failed(Failure::NoSuchBucket)),
        }
    });
    for _ in 0..4 {
        let receipt = within(bucket.lww("k").unwrap().put("v")).await.unwrap();
        assert_eq!(receipt.coordinator.id, informed);
    }
}

#[tokio::test]
async fn a_bucket_that_is_gone_is_named() {
    let mut cluster = FakeCluster::start(2, 2);
    let client = cluster.client(Options::new()).await;
    let expected = Err(Error::NoSuchBucket {
        bucket: "things".parse().unwrap(),
    });
    assert_eq!(within(client.bucket("things")).await.map(|_| ()), expected);
    let opened = |request: &Request| matches!(request, Request::OpenBucket(_));
    let mut asked = 0;
    while let Ok(seen) = cluster.seen.try_recv() {
        asked += usize::from(opened(&seen.request));
    }
    assert_eq!(asked, 2);
}

#[tokio::test]
async fn the_wrong_kind_is_refused_before_anything_is_sent() {
    let mut cluster = FakeCluster::start(1, 1);
    let bucket = cluster.bucket(Kind::Register, Options::new()).await;
    let error = bucket.counter("k").unwrap_err();
    assert_eq!(
        error.to_string(),
        "bucket things holds keys of kind register, not counter"
    );
    assert!(cluster.rest_seen().is_empty());
    assert!(bucket.register("k").is_ok());
}

#[tokio::test]
async fn a_created_bucket_tells_who_knows_it_and_a_dropped_one_is_told() {
    let mut cluster = FakeCluster::start(2, 2);
    let client = cluster.client(Options::new()).await;
    cluster.script(|node, request| {
        let bucket = bucket_info(Kind::Set, 5);
        Some(Say::Answer(match request {
            Request::CreateBucket { .. } => Answer::Created {
                bucket,
                known_by: vec![node],
            },
            Request::DropBucket(_) => Answer::Bucket(bucket),
            Request::ListBuckets => Answer::Buckets(vec![bucket]),
            _ => return None,
        }))
    });
    let defaults = BucketDefaults::default();
    let created = client
        .create_bucket("things", Kind::Set, defaults)
        .await
        .unwrap();
    assert_eq!(created.bucket, bucket_info(Kind::Set, 5));
    assert!(created.known_by[0].to_string().starts_with('n'));
    assert_eq!(client.buckets().await.unwrap(), [bucket_info(Kind::Set, 5)]);
    assert_eq!(client.drop_bucket("things").await.unwrap().id, BucketId(5));
    let bad = client.bucket("no spaces").await.unwrap_err();
    assert!(matches!(bad, Error::BadBucketName { .. }), "{bad:?}");
}
