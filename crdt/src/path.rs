//! Where in a key a row lies: the subkey.
//!
//! The one row of a register, counter and so on has the empty subkey. The row of a set's element has
//! the element itself. A map's row has its field path: for each step the escaped name and the tag of
//! its kind; below a `set` field the element follows. The bytes sort as the paths do, and all rows of a
//! field lie together, under its prefix.
//!
//! ```text
//! step   = name with 00 -> 00 ff, then 00 01, then the tag of the kind
//! subkey = step* (then the element, below a set)
//! ```

use std::fmt;
use std::str::FromStr;

use bytes::Bytes;
use thiserror::Error;

use crate::kind::{FieldKind, RowKind};

/// The deepest nesting of maps.
const DEPTH_MAX: usize = 16;

/// Why a field path was refused. Nothing was read or written.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PathError {
    /// It has no step.
    #[error("a field path needs at least one name:kind")]
    Empty,
    /// It nests maps too deep.
    #[error("a field path nests at most {DEPTH_MAX} deep")]
    TooDeep,
    /// A step that is not the last is not a map.
    #[error("only a map has fields below it: {0} is no map")]
    NotAMap(String),
    /// A step is not of the form `name:kind`.
    #[error("field {0:?} is not of the form name:kind, such as visits:counter")]
    NoKind(String),
    /// The kind of a step does not exist.
    #[error("{0}")]
    UnknownKind(String),
    /// Bytes that are no subkey of a map.
    #[error("the bytes are not a field path")]
    Malformed,
}

/// The path of a field in a map, typed at every step: `address:map/city:register`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FieldPath {
    /// Invariant: not empty, at most `DEPTH_MAX`, all but the last are maps.
    steps: Vec<(Bytes, FieldKind)>,
}

impl FieldPath {
    /// A path of these steps, outermost first.
    ///
    /// # Errors
    /// [`PathError`] if there are none or too many, or one that is not the last is no map.
    pub fn new(steps: Vec<(Bytes, FieldKind)>) -> Result<Self, PathError> {
        if steps.len() > DEPTH_MAX {
            return Err(PathError::TooDeep);
        }
        let (_, outer) = steps.split_last().ok_or(PathError::Empty)?;
        match outer.iter().find(|(_, kind)| *kind != FieldKind::Map) {
            Some((name, _)) => Err(PathError::NotAMap(
                String::from_utf8_lossy(name).into_owned(),
            )),
            None => Ok(Self { steps }),
        }
    }

    /// A field of the outermost map.
    pub fn field(name: impl Into<Bytes>, kind: FieldKind) -> Self {
        Self {
            steps: vec![(name.into(), kind)],
        }
    }

    /// The steps, outermost first.
    pub fn steps(&self) -> &[(Bytes, FieldKind)] {
        &self.steps
    }

    /// The kind of the field that the path leads to.
    pub fn kind(&self) -> FieldKind {
        self.steps.last().map_or(FieldKind::Map, |(_, kind)| *kind)
    }

    /// The subkey of the field's row, or the prefix of its rows if it is a set or a map.
    pub fn subkey(&self) -> Bytes {
        let mut out = Vec::new();
        for (name, kind) in &self.steps {
            for byte in name {
                out.push(*byte);
                if *byte == 0 {
                    out.push(0xff);
                }
            }
            out.extend_from_slice(&[0, 1, tag(*kind)]);
        }
        Bytes::from(out)
    }

    /// The subkey of one element of the set that the path leads to.
    pub fn element(&self, element: &[u8]) -> Bytes {
        let mut out = self.subkey().to_vec();
        out.extend_from_slice(element);
        Bytes::from(out)
    }

    /// Reads back the encoded path of a field, a set or a map in the map, with nothing after it.
    ///
    /// # Errors
    /// [`PathError`] for anything that [`subkey`](Self::subkey) does not produce.
    pub fn parse_exact(path: &Bytes) -> Result<Self, PathError> {
        let mut steps = Vec::new();
        let mut at = 0;
        while at < path.len() {
            let (step, end) = read_step(path, at)?;
            steps.push(step);
            at = end;
        }
        Self::new(steps)
    }

    /// Takes the subkey of a map's row apart: its field, the element if the field is a set, and what
    /// the row is.
    ///
    /// # Errors
    /// [`PathError::Malformed`] for anything that [`subkey`](Self::subkey) does not produce.
    pub fn parse(subkey: &Bytes) -> Result<(Self, Option<Bytes>, RowKind), PathError> {
        let mut steps = Vec::new();
        let mut at = 0;
        loop {
            let ((name, kind), end) = read_step(subkey, at)?;
            at = end;
            steps.push((name, kind));
            let row = match kind {
                FieldKind::Map if steps.len() < DEPTH_MAX => continue,
                FieldKind::Map => return Err(PathError::Malformed),
                FieldKind::Set => RowKind::Element,
                FieldKind::Register => RowKind::Register,
                FieldKind::Lww => RowKind::Lww,
                FieldKind::Counter => RowKind::Counter,
                FieldKind::Flag => RowKind::Flag,
            };
            let rest = subkey.slice(at..);
            let element = match (row, rest.is_empty()) {
                (RowKind::Element, _) => Some(rest),
                (_, true) => None,
                (_, false) => return Err(PathError::Malformed),
            };
            return Ok((Self { steps }, element, row));
        }
    }
}

/// One step and where it ends.
fn read_step(bytes: &[u8], mut at: usize) -> Result<((Bytes, FieldKind), usize), PathError> {
    let mut name = Vec::new();
    loop {
        match (bytes.get(at), bytes.get(at + 1)) {
            (Some(0), Some(0xff)) => {
                name.push(0);
                at += 2;
            }
            (Some(0), Some(1)) => {
                let kind = bytes.get(at + 2).and_then(|tag| untag(*tag));
                return Ok((
                    (Bytes::from(name), kind.ok_or(PathError::Malformed)?),
                    at + 3,
                ));
            }
            (Some(byte), _) if *byte != 0 => {
                name.push(*byte);
                at += 1;
            }
            _ => return Err(PathError::Malformed),
        }
    }
}

/// Tags are part of the stored format: 1 upwards in the order of [`FieldKind::ALL`].
fn tag(kind: FieldKind) -> u8 {
    match kind {
        FieldKind::Register => 1,
        FieldKind::Lww => 2,
        FieldKind::Counter => 3,
        FieldKind::Flag => 4,
        FieldKind::Set => 5,
        FieldKind::Map => 6,
    }
}

fn untag(byte: u8) -> Option<FieldKind> {
    FieldKind::ALL.into_iter().find(|kind| tag(*kind) == byte)
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (name, kind)) in self.steps.iter().enumerate() {
            let slash = if at == 0 { "" } else { "/" };
            write!(f, "{slash}{}:{kind}", String::from_utf8_lossy(name))?;
        }
        Ok(())
    }
}

impl FromStr for FieldPath {
    type Err = PathError;

    /// Parses `name:kind` steps separated by `/`; a name that holds `/` or no UTF-8 needs
    /// [`new`](Self::new).
    fn from_str(text: &str) -> Result<Self, PathError> {
        let step = |part: &str| {
            let (name, kind) = part
                .rsplit_once(':')
                .ok_or_else(|| PathError::NoKind(part.to_owned()))?;
            let kind = kind.parse().map_err(PathError::UnknownKind)?;
            Ok((Bytes::copy_from_slice(name.as_bytes()), kind))
        };
        Self::new(text.split('/').map(step).collect::<Result<_, _>>()?)
    }
}
