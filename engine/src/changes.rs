//! From what a client asks to the rows that change: checked against the kind and the limits before
//! anything is done.

use bytes::Bytes;
use dunlin_crdt::{Change, Clock, FieldKind, FieldPath, Kind, Replaces, RowKind};
use dunlin_protocol::limits::{
    CHANGES_MAX, CONTEXT_BYTES_MAX, ELEMENT_BYTES_MAX, KEY_BYTES_MAX, SUBKEY_BYTES_MAX,
    VALUE_BYTES_MAX,
};
use dunlin_protocol::request::{FieldChange, Replace, Write, WriteOp};
use dunlin_protocol::{Context, Failure, Part, RowKey};
use dunlin_storage::RowChange;

/// What has to happen for a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Steps {
    /// Change these rows, by what the coordinator has.
    Apply(Vec<RowChange>),
    /// Read these rows at a quorum; what [`Replaces::Seen`] replaces is what it shows.
    ReadThenApply(Vec<RowChange>),
    /// Find the rows under a prefix at a quorum, and remove what it shows of them.
    FindThenRemove {
        /// The prefix of their subkeys.
        prefix: Bytes,
        /// Only these dots, if given.
        only: Option<Clock>,
    },
}

/// Checks a write and breaks it down.
///
/// # Errors
/// The failure to answer; nothing was done.
pub(crate) fn steps(kind: Kind, write: &Write) -> Result<Steps, Failure> {
    check_size(Part::Key, write.key.len(), KEY_BYTES_MAX)?;
    let row = |subkey: Bytes| RowKey {
        bucket: write.bucket,
        key: write.key.clone(),
        subkey,
    };
    let rows = match (&write.op, kind) {
        (WriteOp::Fields(changes), Kind::Map) => {
            check_count(changes.len())?;
            if let [
                FieldChange {
                    path,
                    op: WriteOp::Delete(replace),
                },
            ] = changes.as_slice()
            {
                let field = parse_path(path)?;
                if matches!(field.kind(), FieldKind::Set | FieldKind::Map) {
                    return Ok(Steps::FindThenRemove {
                        prefix: path.clone(),
                        only: only(replace)?,
                    });
                }
            }
            let mut rows = Vec::new();
            for FieldChange { path, op } in changes {
                let field = parse_path(path)?;
                let subkey = |element: &Bytes| match field.kind() {
                    FieldKind::Set => field.element(element),
                    _ => path.clone(),
                };
                rows.extend(field_rows(field.kind(), op, |element| {
                    row(subkey(element))
                })?);
            }
            check_count(rows.len())?;
            rows
        }
        (WriteOp::Fields(_), _) | (_, Kind::Map) if !matches!(write.op, WriteOp::Delete(_)) => {
            return Err(Failure::WrongKind { kind });
        }
        (WriteOp::Delete(replace), Kind::Map | Kind::Set) => {
            return Ok(Steps::FindThenRemove {
                prefix: Bytes::new(),
                only: only(replace)?,
            });
        }
        (op, _) => row_changes(kind, op, |element| row(element.clone()))?,
    };
    let reads = |change: &RowChange| {
        let removes = matches!(change.change, Change::Remove);
        let replaces_value =
            change.kind == RowKind::Register && matches!(change.change, Change::Value(_));
        change.replaces == Replaces::Seen && (removes || replaces_value)
    };
    Ok(if rows.iter().any(reads) {
        Steps::ReadThenApply(rows)
    } else {
        Steps::Apply(rows)
    })
}

fn field_rows(
    kind: FieldKind,
    op: &WriteOp,
    row: impl Fn(&Bytes) -> RowKey,
) -> Result<Vec<RowChange>, Failure> {
    match (kind, op) {
        // Removing a whole set or map takes a search; it can't be one of several changes.
        (FieldKind::Set | FieldKind::Map, WriteOp::Delete(_)) | (_, WriteOp::Fields(_)) => {
            Err(Failure::Invalid { what: Part::Field })
        }
        _ => row_changes(kind.kind(), op, row),
    }
}

/// The row changes of an operation that knows its rows; `row` names the row of an element, or the only
/// row for the empty element.
fn row_changes(
    kind: Kind,
    op: &WriteOp,
    row: impl Fn(&Bytes) -> RowKey,
) -> Result<Vec<RowChange>, Failure> {
    let single = |kind: RowKind, change: Change, replaces: Replaces| {
        Ok(vec![RowChange {
            key: row(&Bytes::new()),
            kind,
            change,
            replaces,
        }])
    };
    let elements = |elements: &[Bytes], change: Change| {
        check_count(elements.len())?;
        let one = |element: &Bytes| {
            check_size(Part::Element, element.len(), ELEMENT_BYTES_MAX)?;
            Ok(RowChange {
                key: row(element),
                kind: RowKind::Element,
                change: change.clone(),
                replaces: Replaces::Seen,
            })
        };
        let mut sorted: Vec<&Bytes> = elements.iter().collect();
        sorted.sort_unstable();
        sorted.dedup();
        sorted.into_iter().map(one).collect()
    };
    match (op, kind) {
        (WriteOp::Put { value, replaces }, Kind::Register) => {
            check_size(Part::Value, value.len(), VALUE_BYTES_MAX)?;
            single(
                RowKind::Register,
                Change::Value(value.clone()),
                replaced(replaces)?,
            )
        }
        (WriteOp::Put { value, .. }, Kind::Lww) => {
            check_size(Part::Value, value.len(), VALUE_BYTES_MAX)?;
            single(RowKind::Lww, Change::Value(value.clone()), Replaces::Seen)
        }
        (WriteOp::Increment(by), Kind::Counter) => {
            single(RowKind::Counter, Change::Increment(*by), Replaces::Seen)
        }
        (WriteOp::Enable, Kind::Flag) => single(RowKind::Flag, Change::Mark, Replaces::Seen),
        (WriteOp::Disable, Kind::Flag) => single(RowKind::Flag, Change::Remove, Replaces::Seen),
        (WriteOp::Observe(value), Kind::Max) => {
            single(RowKind::Max, Change::Observe(*value), Replaces::Seen)
        }
        (WriteOp::Observe(value), Kind::Min) => {
            single(RowKind::Min, Change::Observe(*value), Replaces::Seen)
        }
        (WriteOp::Add(added), Kind::Set) => elements(added, Change::Mark),
        (WriteOp::Remove(removed), Kind::Set) => elements(removed, Change::Remove),
        (WriteOp::Delete(replaces), _) => match kind.single_row() {
            Some(kind) => single(kind, Change::Remove, replaced(replaces)?),
            None => Err(Failure::WrongKind { kind }),
        },
        _ => Err(Failure::WrongKind { kind }),
    }
}

fn replaced(replace: &Replace) -> Result<Replaces, Failure> {
    match replace {
        Replace::Seen => Ok(Replaces::Seen),
        Replace::Context(context) => parse_context(context).map(Replaces::Context),
    }
}

fn only(replace: &Replace) -> Result<Option<Clock>, Failure> {
    match replace {
        Replace::Seen => Ok(None),
        Replace::Context(context) => parse_context(context).map(Some),
    }
}

fn parse_context(context: &Context) -> Result<Clock, Failure> {
    check_size(Part::Context, context.as_bytes().len(), CONTEXT_BYTES_MAX)?;
    context.clock().map_err(|_| Failure::Invalid {
        what: Part::Context,
    })
}

/// The field that an encoded path names: exactly, with no element after it.
fn parse_path(path: &Bytes) -> Result<FieldPath, Failure> {
    check_size(Part::Field, path.len(), SUBKEY_BYTES_MAX)?;
    FieldPath::parse_exact(path).map_err(|_| Failure::Invalid { what: Part::Field })
}

pub(crate) fn check_size(what: Part, is: usize, max: usize) -> Result<(), Failure> {
    if is <= max {
        return Ok(());
    }
    Err(Failure::TooLarge {
        what,
        is: is as u64,
        max: max as u64,
    })
}

fn check_count(count: usize) -> Result<(), Failure> {
    if count == 0 {
        return Err(Failure::Invalid {
            what: Part::Changes,
        });
    }
    check_size(Part::Changes, count, CHANGES_MAX)
}
