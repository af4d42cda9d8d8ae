//! Bytes from anybody: whatever they are, decoding ends with a message or an error.

use dunlin_protocol::codec::{CodecError, CodecLimits, decode, encode};
use dunlin_protocol::peer::PeerMessage;
use dunlin_protocol::request::Request;
use dunlin_protocol::response::Response;
use proptest::prelude::*;
use proptest::sample::Index;

use super::samples;

/// Decodes as each of the three messages there are. Whatever is accepted has an encoding that is read
/// back as the same.
fn read_as_everything(bytes: &[u8]) -> Result<(), TestCaseError> {
    let limits = CodecLimits::default();
    if let Ok(request) = decode::<Request>(bytes, limits) {
        let again = decode::<Request>(&encode(&request).unwrap(), limits);
        prop_assert_eq!(again.unwrap(), request);
    }
    if let Ok(response) = decode::<Response>(bytes, limits) {
        let again = decode::<Response>(&encode(&response).unwrap(), limits);
        prop_assert_eq!(again.unwrap(), response);
    }
    if let Ok(message) = decode::<PeerMessage>(bytes, limits) {
        let again = decode::<PeerMessage>(&encode(&message).unwrap(), limits);
        prop_assert_eq!(again.unwrap(), message);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        read_as_everything(&bytes)?;
    }

    #[test]
    fn mutated_messages_never_panic(
        which in any::<Index>(),
        flips in prop::collection::vec((any::<Index>(), any::<u8>()), 1..4),
        cut in prop::option::of(any::<Index>()),
    ) {
        let mut bytes = which.get(&samples::all()).bytes.clone();
        for (at, byte) in flips {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        read_as_everything(&bytes)?;
    }

    #[test]
    fn parts_of_two_messages_never_panic(
        which in any::<(Index, Index)>(),
        cuts in any::<(Index, Index)>(),
    ) {
        let samples = samples::all();
        let (head, tail) = (&which.0.get(&samples).bytes, &which.1.get(&samples).bytes);
        let bytes = [&head[..cuts.0.index(head.len())], &tail[cuts.1.index(tail.len())..]].concat();
        read_as_everything(&bytes)?;
    }
}

/// A write whose fields hold fields that hold fields: `levels` of them, the innermost left open.
fn nested_write(levels: usize) -> Vec<u8> {
    let mut bomb = b"\x81\xa1w\x81\xa1o".to_vec();
    for _ in 0..levels {
        bomb.extend(b"\x81\xa1f\x91\x81\xa1o");
    }
    bomb.extend(b"\xa6Enable");
    bomb
}

#[test]
fn fields_nested_in_fields_are_refused_on_a_small_stack() {
    for levels in [16, 200_000] {
        let bomb = nested_write(levels);
        let refused = std::thread::Builder::new()
            .stack_size(64 << 10)
            .spawn(move || decode::<Request>(&bomb, CodecLimits::default()).map(drop))
            .unwrap()
            .join()
            .unwrap();
        assert!(
            matches!(refused, Err(CodecError::TooDeep { .. })),
            "{levels}: {refused:?}"
        );
    }
}

#[test]
fn our_deepest_message_is_far_from_the_limit() {
    for sample in samples::all() {
        let limits = CodecLimits {
            depth_max: 18,
            ..CodecLimits::default()
        };
        let scanned = dunlin_protocol::codec::scan(&sample.bytes, limits);
        assert!(scanned.is_ok(), "{}: {scanned:?}", sample.name);
    }
}

#[test]
fn a_clock_of_more_dots_than_there_are_bytes_is_only_a_few_ranges() {
    // A context that names 2^63 dots in 20 bytes: accepted as a context, at no cost.
    let mut huge = dunlin_crdt::Clock::new();
    huge.add_range(dunlin_crdt::ActorId(1), 1, u64::MAX / 2);
    let context = dunlin_protocol::Context::of(&huge);
    assert!(context.as_bytes().len() <= 20);
    assert_eq!(context.clock(), Ok(huge));
}
