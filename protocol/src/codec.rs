//! MessagePack for messages, safe on bytes from anybody.
//!
//! Structs travel as maps with their field names, so that a node of another version skips what it
//! does not know. Decoding is two passes: [`scan`] walks the bytes with a counter for a stack and
//! bounds nesting, item count and every length by what is really there; only then serde sees them.
//! The deserializer's own depth limit does not count the levels of enums, and a message of 1.2 MB
//! can make it overflow the stack, which no `catch` can undo.
//!
//! Cost: the scan reads one marker per item and jumps over strings and bytes, so a message that is
//! mostly value costs almost nothing.

use serde::{Deserialize, Serialize};

/// How complicated a message may be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CodecLimits {
    /// Levels of arrays and maps inside each other.
    pub depth_max: usize,
    /// Values of any type in the message, map keys included.
    pub items_max: usize,
}

impl Default for CodecLimits {
    /// Far above any message of ours: messages nest some ten levels, and a page of results holds
    /// some ten thousand items.
    fn default() -> Self {
        Self {
            depth_max: 32,
            items_max: 1_000_000,
        }
    }
}

/// Why bytes are not a message, or a message could not be made bytes. Nothing was delivered.
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    /// The bytes end inside a value, or a length says more than is there.
    #[error("the message ends inside a value")]
    Truncated,
    /// More bytes follow the message.
    #[error("{bytes} bytes follow the message")]
    Trailing {
        /// How many.
        bytes: usize,
    },
    /// Arrays or maps are nested too deeply.
    #[error("values are nested more than {depth_max} deep")]
    TooDeep {
        /// The limit.
        depth_max: usize,
    },
    /// There are too many values.
    #[error("more than {items_max} values")]
    TooManyItems {
        /// The limit.
        items_max: usize,
    },
    /// A byte that begins no MessagePack value.
    #[error("the reserved marker 0xc1")]
    Reserved,
    /// Sound MessagePack, but not the message expected.
    #[error("not the message expected: {0}")]
    Shape(#[from] rmp_serde::decode::Error),
    /// The value has no encoding; a mistake of the sender's own code.
    #[error("cannot be encoded: {0}")]
    Encode(#[from] rmp_serde::encode::Error),
}

/// Encodes a message, structs as maps with field names.
pub fn encode<T: Serialize + ?Sized>(message: &T) -> Result<Vec<u8>, CodecError> {
    let mut out = Vec::with_capacity(128);
    encode_into(message, &mut out)?;
    Ok(out)
}

/// Appends the encoding of a message. After an error, what was appended is to be thrown away.
pub fn encode_into<T: Serialize + ?Sized>(
    message: &T,
    out: &mut Vec<u8>,
) -> Result<(), CodecError> {
    let mut serializer = rmp_serde::Serializer::new(out).with_struct_map();
    message.serialize(&mut serializer)?;
    Ok(())
}

/// Decodes a message; strings and bytes may borrow from `bytes`.
pub fn decode<'a, T: Deserialize<'a>>(
    bytes: &'a [u8],
    limits: CodecLimits,
) -> Result<T, CodecError> {
    scan(bytes, limits)?;
    let mut deserializer = rmp_serde::Deserializer::from_read_ref(bytes);
    // The scan bounds the nesting, and its bound is the tighter one; the deserializer's must only
    // not be hit first, as it counts otherwise.
    deserializer.set_max_depth(1024.max(limits.depth_max * 8));
    Ok(T::deserialize(&mut deserializer)?)
}

/// Checks that `bytes` are exactly one MessagePack value within the limits, without recursion.
///
/// The memory it takes is `depth_max` counters.
pub fn scan(bytes: &[u8], limits: CodecLimits) -> Result<(), CodecError> {
    let mut input = Input { rest: bytes };
    // How many values are still to come on each level that is open.
    let mut open: Vec<u64> = Vec::with_capacity(limits.depth_max.min(64));
    let mut items = 0;
    loop {
        items += 1;
        if items > limits.items_max {
            return Err(CodecError::TooManyItems {
                items_max: limits.items_max,
            });
        }
        let children = input.value()?;
        // Each value takes a byte at least, so a count beyond the rest can't be true; serde
        // allocates by these counts.
        if children > input.rest.len() as u64 {
            return Err(CodecError::Truncated);
        }
        if children > 0 {
            if open.len() >= limits.depth_max {
                return Err(CodecError::TooDeep {
                    depth_max: limits.depth_max,
                });
            }
            open.push(children);
            continue;
        }
        // A value is complete, and with it each level of which it was the last.
        loop {
            match open.last_mut() {
                None if input.rest.is_empty() => return Ok(()),
                None => {
                    return Err(CodecError::Trailing {
                        bytes: input.rest.len(),
                    });
                }
                Some(1) => open.truncate(open.len() - 1),
                Some(left) => {
                    *left -= 1;
                    break;
                }
            }
        }
    }
}

struct Input<'a> {
    rest: &'a [u8],
}

impl Input<'_> {
    /// Steps over one marker and its own bytes, and says how many values belong to it.
    fn value(&mut self) -> Result<u64, CodecError> {
        let marker = self.number(1)? as u8;
        let (skip, children) = match marker {
            // Small integers, nil, booleans.
            0x00..=0x7f | 0xc0 | 0xc2 | 0xc3 | 0xe0..=0xff => (0, 0),
            0x80..=0x8f => (0, 2 * u64::from(marker & 0x0f)),
            0x90..=0x9f => (0, u64::from(marker & 0x0f)),
            0xa0..=0xbf => (u64::from(marker & 0x1f), 0),
            0xc1 => return Err(CodecError::Reserved),
            // Bytes and strings of 8-, 16- and 32-bit length.
            0xc4 | 0xd9 => (self.number(1)?, 0),
            0xc5 | 0xda => (self.number(2)?, 0),
            0xc6 | 0xdb => (self.number(4)?, 0),
            // Extensions: a length, and a byte for the type.
            0xc7 => (self.number(1)? + 1, 0),
            0xc8 => (self.number(2)? + 1, 0),
            0xc9 => (self.number(4)? + 1, 0),
            // Integers and floats of 1, 2, 4, 8 bytes.
            0xcc | 0xd0 => (1, 0),
            0xcd | 0xd1 => (2, 0),
            0xca | 0xce | 0xd2 => (4, 0),
            0xcb | 0xcf | 0xd3 => (8, 0),
            // Extensions of a fixed 1, 2, 4, 8, 16 bytes, and a byte for the type.
            0xd4..=0xd8 => ((1 << (marker - 0xd4)) + 1, 0),
            0xdc => (0, self.number(2)?),
            0xdd => (0, self.number(4)?),
            0xde => (0, 2 * self.number(2)?),
            0xdf => (0, 2 * self.number(4)?),
        };
        self.skip(skip)?;
        Ok(children)
    }

    /// A big-endian number of `bytes` bytes, four at most.
    fn number(&mut self, bytes: usize) -> Result<u64, CodecError> {
        let (head, rest) = self
            .rest
            .split_at_checked(bytes)
            .ok_or(CodecError::Truncated)?;
        self.rest = rest;
        Ok(head
            .iter()
            .fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    fn skip(&mut self, bytes: u64) -> Result<(), CodecError> {
        let bytes = usize::try_from(bytes).map_err(|_| CodecError::Truncated)?;
        self.rest = self.rest.get(bytes..).ok_or(CodecError::Truncated)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, PartialEq, Debug, Serialize, serde::Deserialize)]
    enum Tree {
        Leaf,
        Number(i64),
        Text { text: String, floats: Vec<f64> },
        Fork(Box<Tree>, Box<Tree>),
        Named(BTreeMap<String, Tree>),
    }

    #[derive(PartialEq, Debug, Serialize, serde::Deserialize)]
    struct Message {
        n: u32,
        name: String,
    }

    fn tree() -> impl Strategy<Value = Tree> {
        let leaf = prop_oneof![
            Just(Tree::Leaf),
            any::<i64>().prop_map(Tree::Number),
            (".{0,40}", prop::collection::vec(-1e9f64..1e9, 0..5))
                .prop_map(|(text, floats)| Tree::Text { text, floats }),
        ];
        leaf.prop_recursive(5, 40, 4, |inner| {
            prop_oneof![
                (inner.clone(), inner.clone()).prop_map(|(a, b)| Tree::Fork(a.into(), b.into())),
                prop::collection::btree_map(".{0,8}", inner, 0..4).prop_map(Tree::Named),
            ]
        })
    }

    fn scanned(bytes: &[u8]) -> Result<(), CodecError> {
        scan(bytes, CodecLimits::default())
    }

    #[test]
    fn structs_travel_as_maps_with_field_names() {
        let message = Message {
            n: 7,
            name: "a".into(),
        };
        let golden = b"\x82\xa1n\x07\xa4name\xa1a";
        assert_eq!(encode(&message).unwrap(), golden);
        assert_eq!(
            decode::<Message>(golden, CodecLimits::default()).unwrap(),
            message
        );
    }

    #[test]
    fn fields_that_are_not_known_are_skipped() {
        let newer = b"\x83\xa1n\x07\xa4name\xa1a\xa3new\x91\xc0";
        let message: Message = decode(newer, CodecLimits::default()).unwrap();
        assert_eq!(
            message,
            Message {
                n: 7,
                name: "a".into()
            }
        );
    }

    #[test]
    fn text_may_borrow_from_the_message() {
        let bytes = encode("borrowed").unwrap();
        let text: &str = decode(&bytes, CodecLimits::default()).unwrap();
        assert_eq!(text, "borrowed");
    }

    #[test]
    fn a_bomb_of_nested_values_is_refused_on_a_small_stack() {
        let fork = b"\x81\xa4Fork\x92";
        for unit in [&b"\x91"[..], b"\x81\xc0", b"\xdc\x00\x01", fork] {
            let bomb = unit.repeat(1_200_000 / unit.len());
            let refused = std::thread::Builder::new()
                .stack_size(64 * 1024)
                .spawn(move || decode::<Tree>(&bomb, CodecLimits::default()))
                .unwrap()
                .join()
                .unwrap();
            assert!(
                matches!(refused, Err(CodecError::TooDeep { depth_max: 32 })),
                "{refused:?}"
            );
        }
    }

    #[test]
    fn a_message_as_deep_as_allowed_is_read_and_one_level_more_is_not() {
        let mut nested = vec![0x91; 32];
        nested.push(0xc0);
        assert!(scanned(&nested).is_ok());
        nested.insert(0, 0x91);
        assert!(matches!(scanned(&nested), Err(CodecError::TooDeep { .. })));
    }

    #[test]
    fn lengths_beyond_the_message_are_refused_for_every_kind_of_value() {
        let announced: &[&[u8]] = &[
            b"\xdd\xff\xff\xff\xff",
            b"\xdf\xff\xff\xff\xff",
            b"\xdc\xff\xff",
            b"\xde\x00\x01\xc0",
            b"\xc6\xff\xff\xff\xff",
            b"\xdb\x00\x00\x00\x02a",
            b"\xc9\xff\xff\xff\xff\x00",
            b"\xd8\x00",
            b"\xcf\x00",
            b"\xa2a",
            b"\x92\xc0",
            b"\xcd\x00",
            b"",
        ];
        for bytes in announced {
            assert!(
                matches!(scanned(bytes), Err(CodecError::Truncated)),
                "{bytes:x?}"
            );
        }
    }

    #[test]
    fn trailing_bytes_are_refused() {
        let mut bytes = encode(&Message {
            n: 7,
            name: "a".into(),
        })
        .unwrap();
        bytes.push(0xc0);
        let refused = decode::<Message>(&bytes, CodecLimits::default());
        assert!(
            matches!(refused, Err(CodecError::Trailing { bytes: 1 })),
            "{refused:?}"
        );
    }

    #[test]
    fn more_values_than_allowed_are_refused() {
        let limits = CodecLimits {
            depth_max: 4,
            items_max: 3,
        };
        assert!(decode::<Vec<u8>>(&[0x92, 1, 2], limits).is_ok());
        let refused = decode::<Vec<u8>>(&[0x93, 1, 2, 3], limits);
        assert!(
            matches!(refused, Err(CodecError::TooManyItems { items_max: 3 })),
            "{refused:?}"
        );
    }

    #[test]
    fn the_reserved_marker_is_refused() {
        assert!(matches!(scanned(&[0xc1]), Err(CodecError::Reserved)));
    }

    #[test]
    fn a_sound_value_of_another_shape_is_refused() {
        let refused = decode::<Message>(&[0x01], CodecLimits::default());
        assert!(matches!(refused, Err(CodecError::Shape(_))), "{refused:?}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn what_is_encoded_is_decoded(tree in tree()) {
            let bytes = encode(&tree).unwrap();
            prop_assert_eq!(decode::<Tree>(&bytes, CodecLimits::default()).unwrap(), tree);
        }

        #[test]
        fn no_prefix_of_a_message_is_a_message(tree in tree(), cut in any::<prop::sample::Index>()) {
            let bytes = encode(&tree).unwrap();
            let prefix = &bytes[..cut.index(bytes.len())];
            prop_assert!(matches!(scanned(prefix), Err(CodecError::Truncated)));
        }

        /// What the scan lets pass, the deserializer reads to its end: they agree on the format.
        #[test]
        fn scan_and_deserializer_agree_on_arbitrary_bytes(
            bytes in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            let skipped: Result<serde::de::IgnoredAny, _> = decode(&bytes, CodecLimits::default());
            if scanned(&bytes).is_ok() {
                prop_assert!(skipped.is_ok(), "{:?}", skipped.err());
            }
        }

        #[test]
        fn mutated_messages_never_panic(
            tree in tree(),
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        ) {
            let mut bytes = encode(&tree).unwrap();
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            if let Ok(other) = decode::<Tree>(&bytes, CodecLimits::default()) {
                prop_assert!(encode(&other).is_ok());
            }
        }
    }
}
