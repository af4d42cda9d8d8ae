//! Sessions: what is said of them, and what is believed.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use dunlin_client::{
    AttemptEnd, Client, Context, Error, Failure, Kind, NodeId, Options, Session, TokenError,
};
use dunlin_crdt::{ActorId, Clock};
use dunlin_protocol::request::{Read, Request};
use dunlin_protocol::response::{Answer, Found, ReadAnswer, Receipt};

use crate::fake::{FakeCluster, Say, found, within};

fn dots(from: u64, to: u64) -> Context {
    let mut clock = Clock::new();
    clock.add_range(ActorId(9), from, to);
    Context::of(&clock)
}

fn written(context: Context) -> Say {
    Say::Answer(Answer::Written(Receipt {
        context,
        ..Receipt::default()
    }))
}

fn sum(node: NodeId, seen: Context) -> Say {
    Say::Answer(Answer::Read(ReadAnswer {
        found: Found::Sum(7),
        owners: vec![node],
        fallbacks: vec![],
        seen: Some(seen),
    }))
}

fn said(request: &Request) -> Option<&Context> {
    match request {
        Request::Read(Read { seen, .. }) => seen.as_ref(),
        _ => None,
    }
}

async fn client(cluster: &mut FakeCluster, options: Options) -> Client {
    cluster.set_bucket(Kind::Counter, 1);
    cluster.client(options).await
}

#[tokio::test]
async fn reads_say_what_was_written_and_what_earlier_answers_said() {
    let mut cluster = FakeCluster::start(3, 3);
    let client = client(&mut cluster, Options::new()).await;
    cluster.script(|node, request| match request {
        Request::Write(_) => Some(written(dots(4, 4))),
        Request::Read(_) => Some(sum(node, dots(6, 8))),
        _ => None,
    });
    let session = client.session();
    let counter = session.bucket("things").await.unwrap();
    let counter = counter.counter("k").unwrap();
    counter.increment(1).await.unwrap();
    counter.get().await.unwrap();
    // Another handle of the session, as another process has it.
    let elsewhere = Session::from_token(&client, &session.token()).unwrap();
    let bucket = elsewhere.bucket("things").await.unwrap();
    bucket.counter("k").unwrap().get().await.unwrap();
    let all = cluster.rest_seen();
    let all: Vec<_> = all.iter().filter_map(|seen| said(&seen.request)).collect();
    assert_eq!(all, [&dots(4, 4), &dots(6, 8)]);
}

#[tokio::test]
async fn reads_without_a_session_say_nothing() {
    let mut cluster = FakeCluster::start(1, 1);
    let client = client(&mut cluster, Options::new()).await;
    cluster.script(|node, request| {
        matches!(request, Request::Read(_)).then(|| found(node, Found::Sum(7)))
    });
    let bucket = client.bucket("things").await.unwrap();
    bucket.counter("k").unwrap().get().await.unwrap();
    assert_eq!(said(&cluster.next_seen().await.request), None);
}

#[tokio::test]
async fn a_node_that_is_behind_is_not_the_last_word() {
    let mut cluster = FakeCluster::start(3, 3);
    let client = client(&mut cluster, Options::new()).await;
    let was_asked = AtomicBool::new(false);
    cluster.script(move |node, request| {
        said(request)?;
        Some(match was_asked.swap(true, Ordering::Relaxed) {
            false => Say::Answer(Answer::Failed(Failure::BehindSession {
                missing: 1,
                answered: vec![node],
            })),
            true => sum(node, dots(1, 1)),
        })
    });
    let bucket = client.session().bucket("things").await.unwrap();
    assert_eq!(within(bucket.counter("k").unwrap().get()).await, Ok(7));
    let asked = cluster.rest_seen();
    assert_ne!(asked[0].node, asked[1].node);
}

#[tokio::test]
async fn if_all_stay_behind_the_read_fails_and_says_so() {
    let mut cluster = FakeCluster::start(2, 2);
    let options = Options::new().timeout(Duration::from_millis(200));
    let client = client(&mut cluster, options).await;
    cluster.script(|node, request| {
        said(request)?;
        Some(Say::Answer(Answer::Failed(Failure::BehindSession {
            missing: 1,
            answered: vec![node],
        })))
    });
    let bucket = client.session().bucket("things").await.unwrap();
    let read = within(bucket.counter("k").unwrap().get()).await;
    let Err(Error::Refused { failure, .. }) = &read else {
        panic!("{read:?}")
    };
    assert!(matches!(failure, Failure::BehindSession { .. }));
}

#[tokio::test]
async fn an_answer_that_does_not_say_what_is_seen_is_not_believed() {
    let mut cluster = FakeCluster::start(2, 2);
    let options = Options::new().timeout(Duration::from_millis(200));
    let client = client(&mut cluster, options).await;
    cluster.script(|node, request| {
        said(request)?;
        Some(found(node, Found::Sum(7)))
    });
    let bucket = client.session().bucket("things").await.unwrap();
    let read = within(bucket.counter("k").unwrap().get()).await;
    let Err(error) = read else {
        panic!("an old node's answer was shown")
    };
    let garbled = |end: &AttemptEnd| matches!(end, AttemptEnd::Garbled(_));
    assert!(error.asked().iter().all(|attempt| garbled(&attempt.end)));
}

#[tokio::test]
async fn a_session_that_only_writes_reads_before_it_is_full() {
    let mut cluster = FakeCluster::start(1, 1);
    let client = client(&mut cluster, Options::new()).await;
    let next = std::sync::atomic::AtomicU64::new(1);
    cluster.script(move |node, request| match request {
        Request::Write(_) => {
            // Others write between.
            let number = next.fetch_add(1, Ordering::Relaxed) * 1_000;
            Some(written(dots(number, number)))
        }
        Request::Read(_) => Some(sum(node, Context::default())),
        _ => None,
    });
    let session = client.session();
    let bucket = session.bucket("things").await.unwrap();
    for _ in 0..1_000 {
        let counter = bucket.counter("k").unwrap();
        within(counter.increment(1)).await.unwrap();
    }
    assert!(session.token().len() < 4_096, "{}", session.token().len());
    let reads = cluster.rest_seen();
    let reads = reads.iter().filter_map(|seen| said(&seen.request)).count();
    assert!((1..20).contains(&reads), "{reads}");
}

#[tokio::test]
async fn a_token_of_another_cluster_is_refused() {
    let mut cluster = FakeCluster::start(1, 1);
    let client = client(&mut cluster, Options::new()).await;
    let refused = Session::from_token(&client, b"something else").map(|_| ());
    assert_eq!(refused, Err(TokenError::NoToken));
}
