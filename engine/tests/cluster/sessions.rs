//! Reads in a session: what it has seen is shown, whoever answers, or an error.

use bytes::Bytes;
use dunlin_crdt::{Clock, Kind};
use dunlin_protocol::request::{Query, Read, ReadOptions, Request, WriteOp, WriteOptions};
use dunlin_protocol::response::{Answer, Found, ReadAnswer};
use dunlin_protocol::{Bucket, Context, Failure, Part};
use dunlin_ring::{Fallbacks, NodeId, Quorum};

use crate::harness::{Cluster, blind, elements, page, put};

/// A session at the least demands, and what it has seen of the one partition that it asks about.
struct Session {
    seen: Context,
    fallbacks: Fallbacks,
    r: Quorum,
}

impl Session {
    fn new() -> Self {
        Self {
            seen: Context::default(),
            fallbacks: Fallbacks::Allowed,
            r: Quorum::One,
        }
    }

    fn has_seen(&mut self, context: &Context) {
        let mut clock = self.seen.clock().unwrap();
        clock.join(&context.clock().unwrap());
        self.seen = Context::of(&clock);
    }

    fn write(
        &mut self,
        cluster: &mut Cluster,
        (node, bucket, key): (NodeId, &Bucket, &str),
        op: WriteOp,
    ) {
        let one = WriteOptions {
            w: Some(Quorum::One),
            dw: Some(Quorum::One),
            ..WriteOptions::default()
        };
        let receipt = cluster.write_with(node, bucket, key, op, one).unwrap();
        self.has_seen(&receipt.context);
    }

    fn ask(
        &mut self,
        cluster: &mut Cluster,
        (node, bucket, key): (NodeId, &Bucket, &str),
        query: Query,
    ) -> Result<ReadAnswer, Failure> {
        let read = Read {
            bucket: bucket.id,
            key: Bytes::copy_from_slice(key.as_bytes()),
            query,
            options: ReadOptions {
                r: Some(self.r),
                pr: None,
                fallbacks: self.fallbacks,
            },
            seen: Some(self.seen.clone()),
        };
        match cluster.ask(node, Request::Read(read)) {
            Answer::Read(answer) => {
                self.seen = answer.seen.clone().unwrap();
                Ok(answer)
            }
            Answer::Failed(failure) => Err(failure),
            other => panic!("{other:?}"),
        }
    }

    fn values(
        &mut self,
        cluster: &mut Cluster,
        at: (NodeId, &Bucket, &str),
    ) -> Result<Vec<Bytes>, Failure> {
        Ok(match self.ask(cluster, at, Query::Value)?.found {
            Found::Siblings { values, .. } => values,
            Found::Nothing => Vec::new(),
            other => panic!("{other:?}"),
        })
    }
}

fn is_behind(failure: &Result<Vec<Bytes>, Failure>) -> bool {
    matches!(failure, Err(Failure::BehindSession { .. }))
}

#[test]
fn an_owner_that_missed_the_write_asks_one_that_has_it() {
    let mut cluster = Cluster::of(3);
    let bucket = cluster.bucket("b", Kind::Register);
    let (stale, at) = (cluster.id(3), cluster.id(1));
    let mut session = Session::new();
    cluster.cut_off_unnoticed(stale);
    session.write(&mut cluster, (at, &bucket, "k"), blind("v"));
    cluster.join(stale);
    // Without a session the owner shows what it has.
    let mut nobody = Session::new();
    assert_eq!(
        nobody.values(&mut cluster, (stale, &bucket, "k")),
        Ok(vec![])
    );
    assert_eq!(
        session.values(&mut cluster, (stale, &bucket, "k")),
        Ok(elements(&["v"]))
    );
}

#[test]
fn what_a_read_saw_at_one_owner_alone_is_asked_of_the_next() {
    let mut cluster = Cluster::of(3);
    let bucket = cluster.bucket("b", Kind::Register);
    let (reader, stale, at) = (cluster.id(1), cluster.id(2), cluster.id(3));
    cluster.cut_off_unnoticed(at);
    Session::new().write(&mut cluster, (at, &bucket, "k"), blind("v"));
    cluster.join(at);
    let mut session = Session::new();
    session.r = Quorum::All;
    let seen = session.values(&mut cluster, (reader, &bucket, "k"));
    assert_eq!(seen, Ok(elements(&["v"])));
    session.r = Quorum::One;
    cluster.cut_off_unnoticed(reader);
    cluster.cut_off_unnoticed(at);
    let again = session.values(&mut cluster, (stale, &bucket, "k"));
    assert!(is_behind(&again), "{again:?}");
}

#[test]
fn nothing_older_is_shown_while_those_that_have_it_are_away() {
    let mut cluster = Cluster::of(3);
    let bucket = cluster.bucket("b", Kind::Register);
    let (stale, at) = (cluster.id(3), cluster.id(1));
    let mut session = Session::new();
    cluster.cut_off_unnoticed(stale);
    session.write(&mut cluster, (at, &bucket, "k"), blind("v"));
    cluster.cut_off(cluster.id(1));
    cluster.cut_off(cluster.id(2));
    cluster.join(stale);
    let read = session.values(&mut cluster, (stale, &bucket, "k"));
    assert!(is_behind(&read), "{read:?}");
    cluster.join(cluster.id(1));
    cluster.join(cluster.id(2));
    cluster.pass_ms(3_000);
    assert_eq!(
        session.values(&mut cluster, (stale, &bucket, "k")),
        Ok(elements(&["v"]))
    );
}

#[test]
fn a_removal_that_was_seen_stays_seen() {
    let mut cluster = Cluster::of(3);
    let bucket = cluster.bucket("b", Kind::Register);
    let (stale, at) = (cluster.id(3), cluster.id(1));
    let (_, context) = {
        cluster.write(at, &bucket, "k", blind("v")).unwrap();
        cluster.siblings(at, &bucket, "k")
    };
    cluster.cut_off_unnoticed(stale);
    let delete = WriteOp::Delete(dunlin_protocol::request::Replace::Context(context));
    cluster.write(at, &bucket, "k", delete).unwrap();
    // It was told of nothing but that there is nothing.
    let mut session = Session::new();
    assert_eq!(session.values(&mut cluster, (at, &bucket, "k")), Ok(vec![]));
    cluster.join(stale);
    let mut nobody = Session::new();
    assert_eq!(
        nobody.values(&mut cluster, (stale, &bucket, "k")),
        Ok(elements(&["v"]))
    );
    assert_eq!(
        session.values(&mut cluster, (stale, &bucket, "k")),
        Ok(vec![])
    );
}

#[test]
fn a_write_that_only_fallbacks_hold_is_shown_by_owners_that_missed_it() {
    let mut cluster = Cluster::of(5);
    cluster.no_handoff = true;
    let bucket = cluster.bucket("b", Kind::Register);
    let owners = cluster.owners(&bucket, "k");
    let fallbacks = cluster.others(&bucket, "k");
    for owner in &owners {
        cluster.cut_off(*owner);
    }
    let mut session = Session::new();
    session.write(&mut cluster, (fallbacks[0], &bucket, "k"), blind("v"));
    owners.iter().for_each(|owner| cluster.join(*owner));
    cluster.pass_ms(1_000);
    for fallback in &fallbacks {
        cluster.cut_off_unnoticed(*fallback);
    }
    let at = (owners[0], &bucket, "k");
    let mut strict = Session {
        seen: session.seen.clone(),
        fallbacks: Fallbacks::Forbidden,
        ..Session::new()
    };
    let read = session.values(&mut cluster, at);
    assert!(is_behind(&read), "{read:?}");
    fallbacks
        .iter()
        .for_each(|fallback| cluster.join(*fallback));
    cluster.pass_ms(1_000);
    let read = strict.values(&mut cluster, at);
    assert!(is_behind(&read), "{read:?}");
    assert_eq!(session.values(&mut cluster, at), Ok(elements(&["v"])));
}

#[test]
fn what_the_owners_hold_is_not_hidden_by_a_hint_while_they_are_away() {
    let mut cluster = Cluster::of(5);
    cluster.no_handoff = true;
    let bucket = cluster.bucket("b", Kind::Lww);
    let owners = cluster.owners(&bucket, "k");
    let fallback = cluster.others(&bucket, "k")[0];
    let at = (owners[0], &bucket, "k");
    cluster.write(at.0, at.1, at.2, blind("v")).unwrap();
    cluster.pass_ms(5_000);
    let mut session = Session::new();
    session.ask(&mut cluster, at, Query::Value).unwrap();
    assert_eq!(session.seen, Context::default(), "every owner holds it");
    for owner in &owners {
        cluster.cut_off(*owner);
    }
    cluster
        .write(fallback, &bucket, "k", blind("elsewhere"))
        .unwrap();
    let at = (fallback, &bucket, "k");
    let read = session.ask(&mut cluster, at, Query::Value);
    assert!(
        matches!(read, Err(Failure::Unavailable { needed: 1, .. })),
        "{read:?}"
    );
}

#[test]
fn hints_of_another_key_do_not_keep_a_read_waiting() {
    let mut cluster = Cluster::of(5);
    cluster.no_handoff = true;
    let bucket = cluster.bucket("b", Kind::Register);
    let owners = cluster.owners(&bucket, "k");
    let partition = cluster.partition(&bucket, "k");
    let other = (0..)
        .map(|n| format!("other{n}"))
        .find(|key| cluster.partition(&bucket, key) == partition)
        .unwrap();
    cluster.write(owners[0], &bucket, "k", blind("v")).unwrap();
    let fallback = cluster.others(&bucket, "k")[0];
    owners.iter().for_each(|owner| cluster.cut_off(*owner));
    let mut session = Session::new();
    session.write(&mut cluster, (fallback, &bucket, &other), blind("w"));
    owners.iter().for_each(|owner| cluster.join(*owner));
    cluster.pass_ms(1_000);
    assert_eq!(
        session.values(&mut cluster, (owners[0], &bucket, "k")),
        Ok(elements(&["v"]))
    );
}

#[test]
fn a_wiped_owner_shows_nothing_older() {
    let mut cluster = Cluster::of(3);
    let bucket = cluster.bucket("b", Kind::Register);
    let (wiped, at) = (cluster.id(3), cluster.id(1));
    let mut session = Session::new();
    session.write(&mut cluster, (at, &bucket, "k"), blind("v"));
    cluster.boot(
        wiped,
        dunlin_storage::MemoryKv::new(),
        dunlin_storage::Start::Blank,
    );
    for _ in 0..20 {
        let read = session.values(&mut cluster, (wiped, &bucket, "k"));
        match read {
            Ok(values) => assert_eq!(values, elements(&["v"])),
            Err(failure) => assert_eq!(failure.retry(), dunlin_protocol::Retry::Safe),
        }
        cluster.pass_ms(200);
    }
    assert_eq!(
        session.values(&mut cluster, (wiped, &bucket, "k")),
        Ok(elements(&["v"]))
    );
}

#[test]
fn pages_show_what_the_session_has_seen() {
    let mut cluster = Cluster::of(3);
    let bucket = cluster.bucket("b", Kind::Set);
    let (stale, at) = (cluster.id(3), cluster.id(1));
    let mut session = Session::new();
    cluster.cut_off_unnoticed(stale);
    let add = WriteOp::Add(elements(&["a", "b"]));
    session.write(&mut cluster, (at, &bucket, "k"), add);
    cluster.join(stale);
    let listed = session
        .ask(
            &mut cluster,
            (stale, &bucket, "k"),
            Query::Elements(page(10)),
        )
        .unwrap();
    let (items, next) = (elements(&["a", "b"]), None);
    assert_eq!(listed.found, Found::Elements { items, next });
}

#[test]
fn what_every_owner_holds_is_forgotten_and_other_keys_are_not_remembered() {
    let mut cluster = Cluster::of(3);
    let bucket = cluster.bucket("b", Kind::Register);
    let at = cluster.id(1);
    let mut session = Session::new();
    session.write(&mut cluster, (at, &bucket, "k"), blind("v"));
    let partition = cluster.partition(&bucket, "k");
    let other = (0..)
        .map(|n| format!("other{n}"))
        .find(|key| cluster.partition(&bucket, key) == partition)
        .unwrap();
    cluster.write(at, &bucket, &other, blind("w")).unwrap();
    session.values(&mut cluster, (at, &bucket, "k")).unwrap();
    assert_eq!(session.seen.clock().unwrap().len(), 1, "its own write");
    cluster.pass_ms(5_000);
    session.values(&mut cluster, (at, &bucket, "k")).unwrap();
    assert_eq!(session.seen, Context::default());
}

#[test]
fn many_unsettled_writes_are_said_as_a_clock_without_gaps() {
    let mut cluster = Cluster::of(3);
    let bucket = cluster.bucket("b", Kind::Register);
    let at = cluster.id(1);
    let partition = cluster.partition(&bucket, "k");
    let other = (0..)
        .map(|n| format!("other{n}"))
        .find(|key| cluster.partition(&bucket, key) == partition)
        .unwrap();
    cluster.cut_off(cluster.id(3));
    let mut session = Session::new();
    let mut seen = Context::default();
    for _ in 0..800 {
        let receipt = cluster.write(at, &bucket, "k", put("v", &seen)).unwrap();
        seen = receipt.context;
        session.has_seen(&seen);
        cluster
            .write(at, &bucket, &other, put("w", &Context::default()))
            .ok();
    }
    let exact = session.seen.as_bytes().len();
    session.values(&mut cluster, (at, &bucket, "k")).unwrap();
    let coarse = session.seen.as_bytes().len();
    assert!(exact > 1_024 && coarse < 64, "{exact} {coarse}");
}

#[test]
fn a_read_without_a_session_says_nothing_of_one() {
    let mut cluster = Cluster::of(3);
    let bucket = cluster.bucket("b", Kind::Register);
    let at = cluster.id(1);
    let options = ReadOptions::default();
    let read = cluster.read_with(at, &bucket, "k", Query::Value, options);
    assert_eq!(read.unwrap().seen, None);
}

#[test]
fn what_is_no_clock_is_refused() {
    let mut cluster = Cluster::of(3);
    let bucket = cluster.bucket("b", Kind::Register);
    let mut session = Session::new();
    session.seen = Context::from_bytes(&b"\xff\xff"[..]);
    let at = cluster.id(1);
    let read = session.values(&mut cluster, (at, &bucket, "k"));
    let what = Part::Context;
    assert_eq!(read, Err(Failure::Invalid { what }));
}

#[test]
fn dots_that_nobody_holds_are_never_taken_for_seen() {
    let mut cluster = Cluster::of(3);
    let bucket = cluster.bucket("b", Kind::Register);
    let mut session = Session::new();
    let mut clock = Clock::new();
    clock.add_range(dunlin_crdt::ActorId(7), 1, u64::MAX);
    session.seen = Context::of(&clock);
    let at = cluster.id(1);
    let read = session.values(&mut cluster, (at, &bucket, "k"));
    assert!(is_behind(&read), "{read:?}");
}
