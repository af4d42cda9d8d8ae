//! Several changes of a map's fields in one request.

use bytes::Bytes;
use dunlin_crdt::FieldKind;
use dunlin_protocol::Context;
use dunlin_protocol::request::{FieldChange, Replace, WriteOp};

use super::Map;
use crate::error::Error;
use crate::receipt::Receipt;

/// Changes of fields of one map that each owner takes all or none of. Between owners, and to readers,
/// they are still separate rows.
#[derive(Clone, Debug)]
#[must_use = "nothing is sent before `send`"]
pub struct Changes {
    map: Map,
    changes: Vec<FieldChange>,
}

impl Changes {
    pub(super) fn of(map: Map) -> Self {
        Self {
            map,
            changes: Vec::new(),
        }
    }

    /// Writes an lww.
    pub fn put(self, name: impl AsRef<[u8]>, value: impl Into<Bytes>) -> Self {
        let (value, replaces) = (value.into(), Replace::Seen);
        self.change(name, FieldKind::Lww, WriteOp::Put { value, replaces })
    }

    /// Writes a register, replacing what a read with this context has shown.
    pub fn put_read(
        self,
        name: impl AsRef<[u8]>,
        value: impl Into<Bytes>,
        context: &Context,
    ) -> Self {
        let replaces = Replace::Context(context.clone());
        let value = value.into();
        self.change(name, FieldKind::Register, WriteOp::Put { value, replaces })
    }

    /// Writes a register, replacing whatever a quorum shows.
    pub fn overwrite(self, name: impl AsRef<[u8]>, value: impl Into<Bytes>) -> Self {
        let (value, replaces) = (value.into(), Replace::Seen);
        self.change(name, FieldKind::Register, WriteOp::Put { value, replaces })
    }

    /// Adds to a counter. With it, the request is not repeated when its outcome is unknown.
    pub fn increment(self, name: impl AsRef<[u8]>, by: i64) -> Self {
        self.change(name, FieldKind::Counter, WriteOp::Increment(by))
    }

    /// Turns a flag on.
    pub fn enable(self, name: impl AsRef<[u8]>) -> Self {
        self.change(name, FieldKind::Flag, WriteOp::Enable)
    }

    /// Turns a flag off. With it, the request is not repeated when its outcome is unknown.
    pub fn disable(self, name: impl AsRef<[u8]>) -> Self {
        self.change(name, FieldKind::Flag, WriteOp::Disable)
    }

    /// Adds elements to a set.
    pub fn add(
        self,
        name: impl AsRef<[u8]>,
        elements: impl IntoIterator<Item = impl AsRef<[u8]>>,
    ) -> Self {
        let op = WriteOp::Add(super::set::owned(elements));
        self.change(name, FieldKind::Set, op)
    }

    /// Removes elements from a set. With it, the request is not repeated when its outcome is
    /// unknown.
    pub fn remove(
        self,
        name: impl AsRef<[u8]>,
        elements: impl IntoIterator<Item = impl AsRef<[u8]>>,
    ) -> Self {
        let op = WriteOp::Remove(super::set::owned(elements));
        self.change(name, FieldKind::Set, op)
    }

    /// Removes a field. With it, the request is not repeated when its outcome is unknown.
    pub fn delete(self, name: impl AsRef<[u8]>, kind: FieldKind) -> Self {
        self.change(name, kind, WriteOp::Delete(Replace::Seen))
    }

    /// Sends them.
    ///
    /// # Errors
    /// [`Error`], whose [`effect`](Error::effect) says what it means for the data.
    pub async fn send(self) -> Result<Receipt, Error> {
        let target = self.map.target();
        let op = WriteOp::Fields(self.changes);
        target.bucket.write(&target.key, op).await
    }

    fn change(mut self, name: impl AsRef<[u8]>, kind: FieldKind, op: WriteOp) -> Self {
        let path = self.map.below(name, kind).subkey();
        self.changes.push(FieldChange { path, op });
        self
    }
}
