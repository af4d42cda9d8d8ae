//! The bytes of every message, which no later version may change.
//!
//! `golden.txt` holds one line a message, `name hex`. **Lines are added, never edited**: nodes and
//! clients of this version are out there and say exactly this. If a message has to look different from
//! now on, give its sample a new name; the old line stays, and must be read for ever.

use std::collections::BTreeMap;

use dunlin_protocol::Part;
use dunlin_protocol::codec::{CodecError, CodecLimits, decode};
use dunlin_protocol::peer::{PeerMessage, Refusal};
use dunlin_protocol::request::Request;
use dunlin_protocol::response::Response;
use dunlin_ring::Quorum;

use super::samples;

/// The lines of the file, by name.
pub(crate) fn lines() -> BTreeMap<&'static str, Vec<u8>> {
    let mut lines = BTreeMap::new();
    for line in include_str!("golden.txt").lines() {
        let (name, hex) = line.split_once(' ').expect("name hex");
        let digits: Vec<u32> = hex.chars().map(|c| c.to_digit(16).expect("hex")).collect();
        let bytes = digits.chunks(2).map(|pair| (pair[0] * 16 + pair[1]) as u8);
        assert!(
            lines.insert(name, bytes.collect()).is_none(),
            "{name} is there twice"
        );
    }
    lines
}

#[test]
fn messages_are_the_bytes_that_they_have_always_been() {
    let lines = lines();
    let mut differing = String::new();
    for sample in samples::all() {
        if lines.get(&sample.name[..]) != Some(&sample.bytes) {
            differing.push_str(&sample.name);
            differing.push(' ');
            sample
                .bytes
                .iter()
                .for_each(|byte| differing.push_str(&format!("{byte:02x}")));
            differing.push('\n');
        }
    }
    assert!(
        differing.is_empty(),
        "these are missing from golden.txt, or differ there. Add lines, never edit them: what is there \
         under such a name is already spoken. A message that must change gets a new name.\n{differing}"
    );
}

#[test]
fn every_line_is_read_as_the_message_that_it_was() {
    let lines = lines();
    for sample in samples::all() {
        if let Some(bytes) = lines.get(&sample.name[..]) {
            let read = (sample.is_read_from)(bytes);
            assert!(matches!(read, Ok(true)), "{}: {read:?}", sample.name);
        }
    }
}

#[test]
fn every_line_is_read_also_when_no_sample_writes_it_any_more() {
    let decoded = |kind: &str, bytes: &[u8]| -> Result<(), CodecError> {
        let limits = CodecLimits::default();
        match kind {
            "request" => decode::<Request>(bytes, limits).map(drop),
            "response" => decode::<Response>(bytes, limits).map(drop),
            "peer" => decode::<PeerMessage>(bytes, limits).map(drop),
            "kind" => decode::<dunlin_crdt::Kind>(bytes, limits).map(drop),
            "part" => decode::<Part>(bytes, limits).map(drop),
            "refusal" => decode::<Refusal>(bytes, limits).map(drop),
            "quorum" => decode::<Quorum>(bytes, limits).map(drop),
            other => panic!("a line of an unknown kind: {other}"),
        }
    };
    for (name, bytes) in lines() {
        let kind = name.split_once('/').map_or(name, |(kind, _)| kind);
        let read = decoded(kind, &bytes);
        assert!(read.is_ok(), "{name}: {read:?}");
    }
}
