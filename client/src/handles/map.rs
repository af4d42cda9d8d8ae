//! Named fields, each of a kind of its own; maps in maps included.

use bytes::Bytes;
use dunlin_crdt::{FieldKind, FieldPath, PathError};

use super::set::count_rows;
use super::{Changes, Counter, Field, Flag, Lww, Register, Set, Target};
use crate::error::Error;
use crate::pages::Fields;
use crate::receipt::Receipt;

/// A map. The same name may stand for several fields of different kinds: the kind is a part of the
/// path.
///
/// ```no_run
/// # async fn example(bucket: dunlin_client::Bucket) -> Result<(), Box<dyn std::error::Error>> {
/// let user = bucket.map("ana")?;
/// user.counter("visits").increment(1).await?;
/// user.map("address")?.lww("city").put("Bern").await?;
/// user.changes()
///     .increment("visits", 1)
///     .enable("active")
///     .add("tags", ["new"])
///     .send()
///     .await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Map {
    target: Target,
}

common!(Map);

impl Map {
    /// The field that a path from the outermost map leads to.
    pub fn field(&self, path: FieldPath) -> Field {
        Field::new(self.target.clone(), path)
    }

    /// A register in this map.
    pub fn register(&self, name: impl AsRef<[u8]>) -> Register {
        Register::new(self.leaf(name, FieldKind::Register))
    }

    /// An lww in this map.
    pub fn lww(&self, name: impl AsRef<[u8]>) -> Lww {
        Lww::new(self.leaf(name, FieldKind::Lww))
    }

    /// A counter in this map.
    pub fn counter(&self, name: impl AsRef<[u8]>) -> Counter {
        Counter::new(self.leaf(name, FieldKind::Counter))
    }

    /// A flag in this map.
    pub fn flag(&self, name: impl AsRef<[u8]>) -> Flag {
        Flag::new(self.leaf(name, FieldKind::Flag))
    }

    /// A set in this map.
    pub fn set(&self, name: impl AsRef<[u8]>) -> Set {
        Set::new(self.leaf(name, FieldKind::Set))
    }

    /// A map in this map.
    ///
    /// # Errors
    /// [`PathError::TooDeep`] if maps are nested too deep for it to have fields.
    pub fn map(&self, name: impl AsRef<[u8]>) -> Result<Map, PathError> {
        let path = self.below(name, FieldKind::Map);
        // What is in it lies one deeper.
        step(Some(&path), Bytes::new(), FieldKind::Lww)?;
        Ok(Map::new(Target {
            path: Some(path),
            ..self.target.clone()
        }))
    }

    /// All fields, below maps in it too, in the order of their paths.
    pub fn fields(&self) -> Fields {
        Fields::of(self.target.clone())
    }

    /// How many rows it has: fields, with a set counting as many as it has elements.
    ///
    /// # Errors
    /// [`Error`] if no quorum answers.
    pub async fn count(&self) -> Result<u64, Error> {
        if self.target.path.is_some() {
            // Nodes count whole keys only.
            let (mut count, mut fields) = (0, self.fields());
            while let Some(field) = fields.next().await {
                field?;
                count += 1;
            }
            return Ok(count);
        }
        count_rows(&self.target).await
    }

    /// Several changes of fields, to be sent together.
    pub fn changes(&self) -> Changes {
        Changes::of(self.clone())
    }

    /// Removes all fields, as far as a quorum shows them, in as many requests as it takes.
    ///
    /// # Errors
    /// [`Error`], whose [`effect`](Error::effect) says what it means for the data;
    /// [`Error::Incomplete`] if it failed after some were removed.
    pub async fn delete(&self) -> Result<Receipt, Error> {
        self.target.delete_rows().await
    }

    pub(super) fn target(&self) -> &Target {
        &self.target
    }

    /// The path of a field in this map.
    pub(super) fn below(&self, name: impl AsRef<[u8]>, kind: FieldKind) -> FieldPath {
        let name = Bytes::copy_from_slice(name.as_ref());
        // Invariant of `Map`: there is room for one step more below its path.
        step(self.target.path.as_ref(), name.clone(), kind)
            .unwrap_or_else(|_| FieldPath::field(name, kind))
    }

    fn leaf(&self, name: impl AsRef<[u8]>, kind: FieldKind) -> Target {
        Target {
            path: Some(self.below(name, kind)),
            ..self.target.clone()
        }
    }
}

/// One step further down.
fn step(path: Option<&FieldPath>, name: Bytes, kind: FieldKind) -> Result<FieldPath, PathError> {
    let mut steps = path.map_or_else(Vec::new, |path| path.steps().to_vec());
    steps.push((name, kind));
    FieldPath::new(steps)
}
