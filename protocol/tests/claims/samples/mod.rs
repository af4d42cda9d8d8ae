//! One message of every variant of everything that travels.

mod client;
mod cluster;
mod peer;
mod pieces;
mod variants;

use std::collections::BTreeSet;
use std::fmt::Debug;

use dunlin_crdt::Kind;
use dunlin_protocol::codec::{CodecError, CodecLimits, decode, encode};
use dunlin_protocol::peer::{PeerBody, PeerMessage, RepairMessage};
use dunlin_protocol::request::Request;
use dunlin_protocol::response::{Answer, Response};
use dunlin_ring::LayoutNumber;
use serde::Serialize;
use serde::de::DeserializeOwned;

pub(crate) use client::failures;
use client::{answers, requests};
use peer::{controls, operations, peer_bodies, repairs};
use pieces::{PARTS, QUORUMS, REFUSALS};
use variants::{
    ALL_ANSWERS, ALL_BODIES, ALL_CONTROLS, ALL_FAILURES, ALL_FOUND, ALL_HANDOFFS, ALL_OPERATIONS,
    ALL_PARTS, ALL_QUERIES, ALL_QUORUMS, ALL_REFUSALS, ALL_REPAIRS, ALL_REQUESTS, ALL_STARTS,
    ALL_STATES, ALL_WANTS, ALL_WRITES, answer_name, body_name, control_name, failure_name,
    found_name, handoff_name, operation_name, part_name, query_name, quorum_name, refusal_name,
    repair_name, request_name, start_name, state_name, want_name, write_name,
};

/// A message, forgotten but for its name, its bytes and how to read it back.
pub(crate) struct Sample {
    /// `kind/what`; the kind says which type it is.
    pub(crate) name: String,
    pub(crate) bytes: Vec<u8>,
    /// Whether bytes are this message.
    pub(crate) is_read_from: Box<Reads>,
}

/// Reads bytes as some type, and says whether they are some value of it.
type Reads = dyn Fn(&[u8]) -> Result<bool, CodecError>;

/// Every sample, in the order of the files that define the messages.
pub(crate) fn all() -> Vec<Sample> {
    let mut all = Vec::new();
    for (name, request) in requests() {
        all.push(sample("request", name, request));
    }
    for (name, request) in cluster::requests() {
        all.push(sample("request", name, Request::Cluster(request)));
    }
    for (name, answer) in answers() {
        let layout = LayoutNumber(3);
        all.push(sample("response", name, Response { layout, answer }));
    }
    for (name, failure) in failures() {
        let (layout, answer) = (LayoutNumber(3), Answer::Failed(failure));
        all.push(sample(
            "response",
            &format!("Failed.{name}"),
            Response { layout, answer },
        ));
    }
    for (name, body) in peer_bodies() {
        let layout = LayoutNumber(3);
        all.push(sample("peer", &name, PeerMessage { layout, body }));
    }
    all.extend(Kind::ALL.map(|kind| sample("kind", kind.name(), kind)));
    all.extend(PARTS.map(|part| sample("part", part_name(&part), part)));
    all.extend(REFUSALS.map(|refusal| sample("refusal", refusal_name(&refusal), refusal)));
    all.extend(QUORUMS.map(|quorum| sample("quorum", quorum_name(&quorum), quorum)));
    all
}

fn sample<T>(kind: &str, name: &str, message: T) -> Sample
where
    T: Serialize + DeserializeOwned + PartialEq + Debug + 'static,
{
    Sample {
        name: format!("{kind}/{name}"),
        bytes: encode(&message).unwrap(),
        is_read_from: Box::new(move |bytes| {
            Ok(decode::<T>(bytes, CodecLimits::default())? == message)
        }),
    }
}

/// Asserts that the values show every variant of their enum.
fn assert_all<'a>(names: impl Iterator<Item = &'a str>, all: &[&str]) {
    let shown: BTreeSet<&str> = names.collect();
    let missing: Vec<_> = all.iter().filter(|name| !shown.contains(**name)).collect();
    assert!(missing.is_empty(), "no sample of {missing:?}");
}

#[test]
fn every_variant_has_a_sample() {
    let requests: Vec<Request> = requests().into_iter().map(|(_, request)| request).collect();
    assert_all(requests.iter().map(request_name), ALL_REQUESTS);
    let writes = requests.iter().filter_map(|request| match request {
        Request::Write(write) => Some(write_name(&write.op)),
        _ => None,
    });
    assert_all(writes, ALL_WRITES);
    let queries = requests.iter().filter_map(|request| match request {
        Request::Read(read) => Some(query_name(&read.query)),
        _ => None,
    });
    assert_all(queries, ALL_QUERIES);

    let failed = failures()
        .into_iter()
        .map(|(name, failure)| (name, Answer::Failed(failure)));
    let answers: Vec<Answer> = answers()
        .into_iter()
        .chain(failed)
        .map(|(_, answer)| answer)
        .collect();
    assert_all(answers.iter().map(answer_name), ALL_ANSWERS);
    let found = answers.iter().filter_map(|answer| match answer {
        Answer::Read(read) => Some(found_name(&read.found)),
        _ => None,
    });
    assert_all(found, ALL_FOUND);
    let failures = answers.iter().filter_map(|answer| match answer {
        Answer::Failed(failure) => Some(failure_name(failure)),
        _ => None,
    });
    assert_all(failures, ALL_FAILURES);
    let statuses = || {
        answers.iter().filter_map(|answer| match answer {
            Answer::Status(status) => Some(status),
            _ => None,
        })
    };
    assert_all(
        statuses().map(|status| start_name(&status.start)),
        ALL_STARTS,
    );
    assert_all(
        statuses().map(|status| state_name(&status.storage)),
        ALL_STATES,
    );

    let bodies: Vec<PeerBody> = peer_bodies().into_iter().map(|(_, body)| body).collect();
    assert_all(bodies.iter().map(body_name), ALL_BODIES);
    assert_all(operations().iter().map(operation_name), ALL_OPERATIONS);
    assert_all(repairs().iter().map(repair_name), ALL_REPAIRS);
    let wants = bodies.iter().filter_map(|body| match body {
        PeerBody::Repair {
            message: RepairMessage::Pull { want, .. },
            ..
        } => Some(want_name(want)),
        _ => None,
    });
    assert_all(wants, ALL_WANTS);
    let handoffs = bodies.iter().filter_map(|body| match body {
        PeerBody::Handoff { message, .. } => Some(handoff_name(message)),
        _ => None,
    });
    assert_all(handoffs, ALL_HANDOFFS);
    assert_all(controls().iter().map(control_name), ALL_CONTROLS);
    assert_all(PARTS.iter().map(part_name), ALL_PARTS);
    assert_all(REFUSALS.iter().map(refusal_name), ALL_REFUSALS);
    assert_all(QUORUMS.iter().map(quorum_name), ALL_QUORUMS);
}

#[test]
fn no_two_samples_share_a_name() {
    let samples = all();
    let names: BTreeSet<&str> = samples.iter().map(|sample| &sample.name[..]).collect();
    assert_eq!(names.len(), samples.len());
}
