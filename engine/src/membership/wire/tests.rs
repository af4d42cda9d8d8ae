//! The bytes, which nodes of other builds must understand.

use foca::Codec as _;

use super::*;

fn life(node: u64, name: &str, address: &str) -> Life {
    Life {
        who: Identity {
            id: NodeId(node),
            name: name.to_owned(),
            address: address.to_owned(),
            incarnation: 2,
            instance: 3,
        }
        .into(),
        renewal: 4,
    }
}

fn longest(node: u64) -> Life {
    let text = "x".repeat(TEXT_BYTES_MAX);
    life(node, &text, &text)
}

fn packet(src: Life, message: Message<Life>, members: &[Member<Life>]) -> Vec<u8> {
    let header = Header {
        src,
        src_incarnation: 5,
        dst: life(6, "", ""),
        message,
    };
    let mut out = Vec::new();
    Codec.encode_header(&header, &mut out).unwrap();
    if !members.is_empty() {
        out.put_u16(members.len() as u16);
    }
    for member in members {
        Codec.encode_member(member, &mut out).unwrap();
    }
    out
}

const LIFE_1: &[u8] = b"\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\x03\0\0\0\x04";
const LIFE_6: &[u8] = b"\0\0\0\0\0\0\0\x06\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\x03\0\0\0\x04";
const TEXTS: &[u8] = b"\0\x01n\0\x03a:1";

#[test]
fn bytes_of_every_kind_are_these() {
    let me = || life(1, "n", "a:1");
    let card = [LIFE_1, TEXTS].concat();
    let own = |kind: &[u8], last: &[u8]| [kind, &card, last].concat();
    assert_eq!(Datagram::hello(&me(), 7), own(b"\x01\x20", b"\x07"));
    assert_eq!(Datagram::introduced(&me(), 7), own(b"\x01\x21", b"\x07"));
    let superseded = Datagram::superseded(&me(), State::Down);
    assert_eq!(superseded, own(b"\x01\x22", b"\x02"));

    let head = |kind: u8| [&[1, kind], &card[..], b"\0\x05", LIFE_6].concat();
    let third = || life(1, "", "");
    let probe_number = 9;
    let plain = [
        (6, Message::Announce),
        (7, Message::Feed),
        (8, Message::Gossip),
        (9, Message::TurnUndead),
    ];
    for (kind, message) in plain {
        assert_eq!(packet(me(), message, &[]), head(kind));
    }
    for (kind, message) in [(0, Message::Ping(9)), (1, Message::Ack(9))] {
        assert_eq!(
            packet(me(), message, &[]),
            [&head(kind)[..], b"\x09"].concat()
        );
    }
    let (target, origin) = (third(), third());
    let indirect = [
        (
            2,
            Message::PingReq {
                target: target.clone(),
                probe_number,
            },
        ),
        (
            3,
            Message::IndirectPing {
                origin: origin.clone(),
                probe_number,
            },
        ),
        (
            4,
            Message::IndirectAck {
                target,
                probe_number,
            },
        ),
        (
            5,
            Message::ForwardedAck {
                origin,
                probe_number,
            },
        ),
    ];
    for (kind, message) in indirect {
        let golden = [&head(kind)[..], b"\x09", LIFE_1].concat();
        assert_eq!(packet(me(), message, &[]), golden);
    }
    let member = Member::new(me(), 0x0102, State::Suspect);
    let golden = [&head(8)[..], b"\0\x01", &card, b"\x01\x02\x01"].concat();
    assert_eq!(packet(me(), Message::Gossip, &[member]), golden);
}

#[test]
fn what_is_written_is_read() {
    let members = vec![
        Member::new(life(8, "m", "b:2"), 1, State::Down),
        Member::new(longest(9), 0, State::Alive),
    ];
    let bytes = packet(life(1, "n", "a:1"), Message::Feed, &members);
    match Datagram::parse(&bytes).unwrap() {
        Datagram::Swim {
            header,
            members: read,
        } => {
            assert_eq!(header.src.who, life(1, "n", "a:1").who);
            assert_eq!(header.dst, life(6, "", ""));
            assert_eq!(read, members);
            assert_eq!(read[1].id().who, longest(9).who);
        }
        other => panic!("{other:?}"),
    }
    let hello = Datagram::hello(&longest(1), 3);
    let read = Datagram::parse(&hello).unwrap();
    assert_eq!(
        read,
        Datagram::Hello {
            from: longest(1),
            asked: 3
        }
    );
}

#[test]
fn longest_member_fits_in_every_packet_of_the_longest_sender() {
    let member = Member::new(longest(9), 0, State::Alive);
    let message = Message::PingReq {
        target: longest(7),
        probe_number: 1,
    };
    let largest = packet(longest(1), message, std::slice::from_ref(&member));
    assert!(largest.len() <= DATAGRAM_BYTES_MAX);
    // The longest texts that are not left out.
    let inline = life(1, &"x".repeat(INLINE_TEXT_BYTES_MAX - 3), "a:1");
    let message = Message::PingReq {
        target: longest(7),
        probe_number: 1,
    };
    let largest = packet(inline, message, &[member]);
    assert_eq!(largest.len(), HEADER_BYTES_MAX + 2 + MEMBER_BYTES_MAX);
    assert!(packet(longest(1), Message::Announce, &[]).len() <= DATAGRAM_BYTES_MAX);
}

#[test]
fn item_that_does_not_fit_leaves_the_buffer_as_it_was() {
    let mut out = Vec::new();
    let mut room = (&mut out).limit(40);
    let member = Member::alive(life(1, "a name", "an address"));
    assert_eq!(
        Codec.encode_member(&member, &mut room),
        Err(WireError::Full)
    );
    assert!(out.is_empty());
}

#[test]
fn no_prefix_of_a_datagram_is_a_datagram_and_nothing_may_follow() {
    let member = Member::alive(life(8, "m", "b:2"));
    let bytes = packet(life(1, "n", "a:1"), Message::Ping(1), &[member]);
    let without_members = packet(life(1, "n", "a:1"), Message::Ping(1), &[]).len();
    for end in 0..bytes.len() {
        let read = Datagram::parse(&bytes[..end]);
        assert_eq!(read.is_ok(), end == without_members, "{end}");
    }
    let longer = [&bytes[..], b"\0"].concat();
    assert_eq!(Datagram::parse(&longer), Err(WireError::Trailing));
}

#[test]
fn what_makes_no_sense_is_refused() {
    let sound = Datagram::hello(&life(1, "n", "a:1"), 0);
    let changed = |at: usize, byte: u8| {
        let mut bytes = sound.clone();
        bytes[at] = byte;
        Datagram::parse(&bytes)
    };
    assert_eq!(changed(0, 2), Err(WireError::Version));
    assert_eq!(changed(1, 35), Err(WireError::Kind));
    assert_eq!(changed(32, 0xff), Err(WireError::Text));
    assert_eq!(changed(30, 0xff), Err(WireError::Text));
    let nowhere = Datagram::hello(&life(1, "n", ""), 0);
    assert_eq!(Datagram::parse(&nowhere), Err(WireError::NoAddress));
}
