//! Who holds a write, and who answered a read.

use bytes::Bytes;
use dunlin_crdt::Hlc;
use dunlin_protocol::Context;
use dunlin_protocol::response::Rest;

use crate::error::Error;
use crate::node_ref::NodeRef;

/// A write is held: by whom, and the context that has seen it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The nodes that held it before the answer; others may by now.
    pub copies: Vec<Copy>,
    /// The context of this write and nothing else: a write with it replaces this one.
    pub context: Context,
    /// The node that coordinated it.
    pub coordinator: NodeRef,
    /// Only for a removal of the rows of a set or map: whether there are more.
    pub rest: Rest,
    /// The attempts that may have been applied: the one that succeeded, and each before it of which nothing
    /// is known. Above 1 the write may be done once more after the request has returned; what that
    /// means for each kind of request is in [`decide::retry`](crate::decide::retry).
    pub attempts: u32,
}

impl Receipt {
    /// The owners among the copies.
    pub fn owners(&self) -> impl Iterator<Item = &NodeRef> {
        self.copies
            .iter()
            .filter(|copy| copy.hint_for.is_none())
            .map(|copy| &copy.node)
    }

    /// How many copies were synced.
    pub fn synced(&self) -> usize {
        self.copies.iter().filter(|copy| copy.synced).count()
    }
}

/// One copy of a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copy {
    /// The node that holds it.
    pub node: NodeRef,
    /// Nothing if it is an owner; else the owner for which it keeps a hint.
    pub hint_for: Option<NodeRef>,
    /// Whether it has synced it.
    pub synced: bool,
}

/// What was read, and who said so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read<T> {
    /// What was read.
    pub value: T,
    /// Who said so.
    pub info: ReadInfo,
}

impl<T> Read<T> {
    /// The same answerers, another form of the value.
    pub fn map<U>(self, form: impl FnOnce(T) -> U) -> Read<U> {
        Read {
            value: form(self.value),
            info: self.info,
        }
    }

    /// Takes what was found for what it must be; the error names the question if it is not.
    pub(crate) fn fold<U>(
        self,
        question: &'static str,
        form: impl FnOnce(T) -> Option<U>,
    ) -> Result<Read<U>, Error> {
        match form(self.value) {
            Some(value) => Ok(Read {
                value,
                info: self.info,
            }),
            None => Err(Error::Unexpected {
                node: self.info.coordinator,
                question,
            }),
        }
    }
}

/// Who answered a read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadInfo {
    /// The owners that answered.
    pub owners: Vec<NodeRef>,
    /// The fallbacks whose hints were joined in. If there are any, owners did not suffice: the answer
    /// shows acknowledged writes but may miss others.
    pub fallbacks: Vec<NodeRef>,
    /// The node that was asked.
    pub coordinator: NodeRef,
}

/// The concurrent values of a register, and the context to settle them with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Siblings {
    /// One value for each concurrent write; at least one.
    pub values: Vec<Bytes>,
    /// To be given with the write that replaces them.
    pub context: Context,
}

impl Siblings {
    /// The value, if there is only one.
    pub fn single(&self) -> Option<&Bytes> {
        match self.values.as_slice() {
            [value] => Some(value),
            _ => None,
        }
    }

    /// Whether there are values to settle.
    pub fn is_conflict(&self) -> bool {
        self.values.len() > 1
    }
}

/// The value of an lww, and when it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Latest {
    /// The value.
    pub value: Bytes,
    /// When it was written.
    pub stamp: Hlc,
}
