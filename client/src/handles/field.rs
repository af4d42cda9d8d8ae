//! A field of a map whose kind is known only when the program runs, and what fields hold.

use bytes::Bytes;
use dunlin_crdt::{FieldKind, FieldPath};
use dunlin_protocol::response::{FieldItem, Found};

use super::{Counter, Flag, Lww, Map, Register, Set, Target};
use crate::error::Error;
use crate::receipt::{Latest, Read, Siblings};

/// A field, as its path leads to it. The path says the kind, so each of the typed handles is
/// available for one kind of path only.
#[derive(Clone, Debug)]
pub struct Field {
    target: Target,
    path: FieldPath,
}

impl Field {
    pub(crate) fn new(mut target: Target, path: FieldPath) -> Self {
        target.path = Some(path.clone());
        Self { target, path }
    }

    /// The path, from the outermost map.
    pub fn path(&self) -> &FieldPath {
        &self.path
    }

    /// The field, if it is a register.
    ///
    /// # Errors
    /// [`Error::WrongFieldKind`]. So with the others below.
    pub fn register(self) -> Result<Register, Error> {
        self.of_kind(FieldKind::Register).map(Register::new)
    }

    /// The field, if it is an lww.
    ///
    /// # Errors
    /// [`Error::WrongFieldKind`].
    pub fn lww(self) -> Result<Lww, Error> {
        self.of_kind(FieldKind::Lww).map(Lww::new)
    }

    /// The field, if it is a counter.
    ///
    /// # Errors
    /// [`Error::WrongFieldKind`].
    pub fn counter(self) -> Result<Counter, Error> {
        self.of_kind(FieldKind::Counter).map(Counter::new)
    }

    /// The field, if it is a flag.
    ///
    /// # Errors
    /// [`Error::WrongFieldKind`].
    pub fn flag(self) -> Result<Flag, Error> {
        self.of_kind(FieldKind::Flag).map(Flag::new)
    }

    /// The field, if it is a set.
    ///
    /// # Errors
    /// [`Error::WrongFieldKind`].
    pub fn set(self) -> Result<Set, Error> {
        self.of_kind(FieldKind::Set).map(Set::new)
    }

    /// The field, if it is a map.
    ///
    /// # Errors
    /// [`Error::WrongFieldKind`].
    pub fn map(self) -> Result<Map, Error> {
        self.of_kind(FieldKind::Map).map(Map::new)
    }

    /// What a field of one row holds, whatever its kind, or nothing.
    ///
    /// # Errors
    /// [`Error`] if no quorum answers. A set or map has many rows: see [`set`](Self::set) and
    /// [`map`](Self::map).
    pub async fn read(&self) -> Result<Read<Option<FieldValue>>, Error> {
        self.target
            .read_value()
            .await?
            .fold("read of a field", |found| match found {
                Found::Nothing => Some(None),
                found => FieldValue::of(found).map(Some),
            })
    }

    fn of_kind(self, asked: FieldKind) -> Result<Target, Error> {
        match self.path.kind() == asked {
            true => Ok(self.target),
            false => Err(Error::WrongFieldKind {
                path: self.path,
                asked: asked.kind(),
            }),
        }
    }
}

/// One row of a map: a field, or one element of a set in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldEntry {
    /// The field, from the outermost map.
    pub path: FieldPath,
    /// The element, if the field is a set.
    pub element: Option<Bytes>,
    /// What it holds.
    pub value: FieldValue,
}

impl FieldEntry {
    /// None if it is no row of a map.
    pub(crate) fn of(item: FieldItem) -> Option<Self> {
        let (path, element, _) = FieldPath::parse(&item.path).ok()?;
        Some(Self {
            path,
            element,
            value: FieldValue::of(item.value)?,
        })
    }
}

/// What a row of a map holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FieldValue {
    /// A register.
    Register(Siblings),
    /// An lww.
    Lww(Latest),
    /// A counter.
    Counter(i64),
    /// A flag that is on.
    On,
    /// A set has the element.
    Present,
}

impl FieldValue {
    /// None if it is nothing that one row can hold.
    fn of(found: Found) -> Option<Self> {
        match found {
            Found::Siblings { values, context } => {
                Some(Self::Register(Siblings { values, context }))
            }
            Found::Latest { value, stamp } => Some(Self::Lww(Latest { value, stamp })),
            Found::Sum(sum) => Some(Self::Counter(sum)),
            Found::On => Some(Self::On),
            Found::Present => Some(Self::Present),
            Found::Nothing
            | Found::Extreme(_)
            | Found::Elements { .. }
            | Found::Fields { .. }
            | Found::Count { .. }
            | Found::Keys { .. } => None,
        }
    }
}
