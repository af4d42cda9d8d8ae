//! What people type and read: names of buckets, the hex of contexts, durabilities.

use dunlin_crdt::{ActorId, Clock, Dot};
use dunlin_protocol::codec::{CodecLimits, decode, encode};
use dunlin_protocol::limits::BUCKET_NAME_MAX;
use dunlin_protocol::{BucketName, Context, Durability, NotHex};

#[test]
fn bucket_names_are_1_to_64_of_letters_digits_and_three_marks() {
    let longest = "x".repeat(BUCKET_NAME_MAX);
    for name in ["a", "carts", "Carts_2.old-1", "-", "..", &longest] {
        let parsed: BucketName = name.parse().unwrap();
        assert_eq!(
            (parsed.as_str(), parsed.to_string()),
            (name, name.to_owned())
        );
    }
    let too_long = "x".repeat(BUCKET_NAME_MAX + 1);
    for name in ["", &too_long, "a b", "a/b", "a\0", "größe", "a:b", "a\n"] {
        let refused = name.parse::<BucketName>().unwrap_err();
        assert!(refused.contains("no bucket name"), "{refused}");
    }
}

#[test]
fn a_name_from_the_wire_is_held_to_the_same_rules() {
    let bytes = encode("a/b").unwrap();
    assert!(decode::<BucketName>(&bytes, CodecLimits::default()).is_err());
}

#[test]
fn a_context_is_shown_as_hex_and_read_back() {
    let clock = Clock::from_iter([Dot::new(ActorId(0xab), 1)]);
    let context = Context::of(&clock);
    assert_eq!(context.to_string(), "0100000000000000ab0100");
    for text in ["0100000000000000ab0100", "0100000000000000AB0100"] {
        assert_eq!(text.parse(), Ok(context.clone()));
    }
    assert_eq!(context.clock(), Ok(clock));
}

#[test]
fn the_empty_context_is_no_bytes_and_no_dots() {
    let empty = Context::of(&Clock::new());
    assert_eq!(
        (empty.to_string(), empty.as_bytes().len()),
        (String::new(), 0)
    );
    assert_eq!("".parse(), Ok(empty.clone()));
    assert_eq!(empty.clock(), Ok(Clock::new()));
}

#[test]
fn what_is_not_hex_is_no_context() {
    for text in ["0", "0g", "00 1", " 00", "é"] {
        assert_eq!(text.parse::<Context>(), Err(NotHex), "{text:?}");
    }
}

#[test]
fn bytes_that_never_were_a_context_have_no_clock() {
    // An actor with counter 0; a clock that ends early; a clock and one byte more.
    for text in ["0100000000000000ab0000", "0100", "000000"] {
        let context: Context = text.parse().unwrap();
        assert!(context.clock().is_err(), "{text}");
    }
}

#[test]
fn durabilities_are_read_by_their_names() {
    for durability in [Durability::Synced, Durability::Periodic] {
        assert_eq!(durability.name().parse(), Ok(durability));
    }
    assert!("never".parse::<Durability>().is_err());
}
