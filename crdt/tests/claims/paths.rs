//! Field paths sort as they should, come back whole, and keep fields apart.

use bytes::Bytes;
use dunlin_crdt::{FieldKind, FieldPath, PathError, RowKind};
use proptest::collection::vec;
use proptest::prelude::{Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest};
use proptest::sample::select;

/// Names made of the bytes that escaping must get right, so that prefixes and collisions are common.
fn names() -> impl Strategy<Value = Bytes> {
    let byte = prop_oneof![
        select(vec![0x00u8, 0x01, 0x02, 0xfe, 0xff, b'a']),
        any::<u8>()
    ];
    vec(byte, 0..4).prop_map(Bytes::from)
}

fn paths() -> impl Strategy<Value = FieldPath> {
    (vec(names(), 0..3), names(), select(FieldKind::ALL.to_vec())).prop_map(|(maps, name, kind)| {
        let mut steps: Vec<_> = maps.into_iter().map(|m| (m, FieldKind::Map)).collect();
        steps.push((name, kind));
        FieldPath::new(steps).unwrap()
    })
}

/// The subkey of a row of this field, if it can have rows of its own.
fn row_of(path: &FieldPath, element: &[u8]) -> Option<Bytes> {
    match path.kind() {
        FieldKind::Map => None,
        FieldKind::Set => Some(path.element(element)),
        _ => Some(path.subkey()),
    }
}

proptest! {
    #[test]
    fn subkeys_sort_as_their_paths(left in paths(), right in paths()) {
        prop_assert_eq!(left.cmp(&right), left.subkey().cmp(&right.subkey()));
    }

    #[test]
    fn a_subkey_is_taken_apart_into_what_it_was_made_of(path in paths(), element in vec(any::<u8>(), 0..5)) {
        let Some(subkey) = row_of(&path, &element) else {
            prop_assert_eq!(FieldPath::parse(&path.subkey()), Err(PathError::Malformed));
            return Ok(());
        };
        let (parsed, of_set, row) = FieldPath::parse(&subkey).unwrap();
        prop_assert_eq!(&parsed, &path);
        let is_set = path.kind() == FieldKind::Set;
        prop_assert_eq!(of_set, is_set.then(|| Bytes::from(element)));
        let expected = if is_set { RowKind::Element } else { path.kind().kind().single_row().unwrap() };
        prop_assert_eq!(row, expected);
    }

    #[test]
    fn the_rows_under_a_fields_prefix_are_those_of_the_field(
        field in paths(), other in paths(), element in vec(any::<u8>(), 0..5)
    ) {
        let inside = other.steps().starts_with(field.steps());
        if let Some(row) = row_of(&other, &element) {
            prop_assert_eq!(row.starts_with(&field.subkey()), inside);
        }
    }

    #[test]
    fn a_nested_fields_rows_lie_under_every_map_above_it(
        path in paths(), element in vec(any::<u8>(), 0..5)
    ) {
        for depth in 1..path.steps().len() {
            let map = FieldPath::new(path.steps()[..depth].to_vec()).unwrap();
            if let Some(row) = row_of(&path, &element) {
                prop_assert!(row.starts_with(&map.subkey()));
            }
        }
    }

    #[test]
    fn whatever_parses_has_that_one_subkey(
        bytes in vec(prop_oneof![4 => select(vec![0u8, 1, 2, 3, 4, 5, 6, 7, 0xff]), 1 => any::<u8>()], 0..24)
    ) {
        let bytes = Bytes::from(bytes);
        if let Ok((path, element, _)) = FieldPath::parse(&bytes) {
            let again = element.map_or_else(|| path.subkey(), |element| path.element(&element));
            prop_assert_eq!(again, bytes);
        }
    }

    #[test]
    fn text_comes_back_whole(names in vec("[a-z0-9:_.-]{0,6}", 1..4), kind in select(FieldKind::ALL.to_vec())) {
        let (last, maps) = names.split_last().unwrap();
        let mut steps: Vec<_> = maps.iter().map(|m| (Bytes::from(m.clone()), FieldKind::Map)).collect();
        steps.push((Bytes::from(last.clone()), kind));
        let path = FieldPath::new(steps).unwrap();
        prop_assert_eq!(path.to_string().parse(), Ok(path));
    }
}

#[test]
fn the_subkey_of_a_field_is_spelled_out() {
    let path: FieldPath = "a:map/b:set".parse().unwrap();
    assert_eq!(
        &path.element(b"\0x")[..],
        b"a\x00\x01\x06b\x00\x01\x05\x00x"
    );
    let zero = FieldPath::field(&b"\0"[..], FieldKind::Counter);
    assert_eq!(&zero.subkey()[..], b"\x00\xff\x00\x01\x03");
}

#[test]
fn a_path_that_is_none_says_why() {
    let parse = |text: &str| text.parse::<FieldPath>().unwrap_err();
    assert_eq!(FieldPath::new(Vec::new()), Err(PathError::Empty));
    assert_eq!(parse(""), PathError::NoKind(String::new()));
    assert_eq!(parse("visits"), PathError::NoKind("visits".to_owned()));
    assert_eq!(parse("a:set/b:counter"), PathError::NotAMap("a".to_owned()));
    let unknown = parse("a:max");
    assert!(matches!(&unknown, PathError::UnknownKind(why) if why.contains("register, lww")));
    let deep = vec!["m:map"; 17].join("/");
    assert_eq!(parse(&deep), PathError::TooDeep);
}

#[test]
fn the_deepest_path_is_also_the_deepest_subkey() {
    let mut names = vec!["m:map"; 15];
    names.push("v:register");
    let path: FieldPath = names.join("/").parse().unwrap();
    assert_eq!(
        FieldPath::parse(&path.subkey()),
        Ok((path, None, RowKind::Register))
    );
    let mut bytes = b"m\x00\x01\x06".repeat(16);
    bytes.extend_from_slice(b"v\x00\x01\x01");
    assert_eq!(
        FieldPath::parse(&Bytes::from(bytes)),
        Err(PathError::Malformed)
    );
}
