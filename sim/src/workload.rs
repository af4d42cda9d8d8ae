//! What clients ask for: every operation of every kind, on a few keys, so that they meet.

use std::collections::VecDeque;

use bytes::Bytes;
use dunlin_crdt::{FieldKind, FieldPath, Kind, OpId};
use dunlin_protocol::Context;
use dunlin_protocol::request::{
    FieldChange, Page, Query, ReadOptions, Replace, WriteOp, WriteOptions,
};
use dunlin_ring::{BucketId, Fallbacks, PartitionId, Quorum};

use crate::history::Action;
use crate::options::{chance, pick, up_to};
use crate::world::World;

/// Contexts that a client keeps, stale ones too.
const CONTEXTS_MAX: usize = 64;

/// Where a context was read: a row, or a whole key (the empty path).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) bucket: BucketId,
    pub(crate) key: Bytes,
    pub(crate) path: Bytes,
}

/// The contexts that a client has come by, newest last.
#[derive(Clone, Debug, Default)]
pub(crate) struct Contexts(VecDeque<(Place, Context)>);

impl Contexts {
    pub(crate) fn learn(&mut self, place: Place, context: Context) {
        if self.0.len() == CONTEXTS_MAX {
            self.0.pop_front();
        }
        self.0.push_back((place, context));
    }

    /// The newest of a place, or any other one.
    fn any(&self, rng: &mut fastrand::Rng, place: &Place) -> Option<Context> {
        let of_place: Vec<&Context> = self
            .0
            .iter()
            .filter(|(at, _)| at == place)
            .map(|(_, context)| context)
            .collect();
        match of_place.last() {
            Some(_) if chance(rng, 200) => Some((*pick(rng, &of_place)).clone()),
            newest => newest.map(|context| (*context).clone()),
        }
    }
}

impl World {
    /// The next request of a client.
    pub(crate) fn draw_action(&mut self, client: usize) -> Action {
        if chance(&mut self.rng, 8) {
            let name = format!("x{}", self.rng.u64(..3));
            return if chance(&mut self.rng, 600) {
                Action::Create(name)
            } else {
                Action::Drop(name)
            };
        }
        let known: Vec<BucketId> = self.history.buckets.keys().copied().collect();
        let mut bucket = *pick(&mut self.rng, &known);
        if self.history.is_gone(bucket) && chance(&mut self.rng, 980) {
            // Mostly one of those that are never dropped.
            bucket = *pick(&mut self.rng, &self.history.lasting);
        }
        let kind = self.history.kind(bucket).unwrap_or(Kind::Register);
        let number = self.rng.u64(..self.options.keys);
        let key = name(number, b'k');
        if chance(&mut self.rng, 15) {
            return self.draw_keys(bucket);
        }
        if chance(&mut self.rng, 350) {
            let query = self.draw_query(kind);
            let options = self.draw_read_options();
            return Action::Read {
                bucket,
                key,
                query,
                options,
            };
        }
        let op = self.draw_write(client, bucket, &key, kind);
        let id = OpId(self.rng.u64(..), self.rng.u64(..));
        let options = self.draw_write_options();
        Action::Write {
            bucket,
            key,
            op,
            id,
            options,
        }
    }

    fn draw_keys(&mut self, bucket: BucketId) -> Action {
        let partition = PartitionId(self.rng.u16(..self.layout.partitions().get()));
        let limit = self.rng.u32(1..=20);
        let from = self.rng.u64(..self.options.keys);
        let after = chance(&mut self.rng, 300).then(|| name(from, b'k'));
        Action::Keys {
            bucket,
            partition,
            after,
            limit,
        }
    }

    fn draw_query(&mut self, kind: Kind) -> Query {
        if kind.single_row().is_some() {
            return Query::Value;
        }
        let page = Page {
            after: chance(&mut self.rng, 200).then(|| self.draw_element()),
            limit: self.rng.u32(1..=30),
        };
        match (kind, self.rng.u64(..4)) {
            (_, 0) => Query::Count(page),
            (Kind::Set, 1) => Query::Elements(page),
            (Kind::Set, _) => Query::Has(self.draw_element()),
            (_, 1) => {
                let prefix = if self.rng.bool() {
                    Bytes::new()
                } else {
                    self.draw_field(None).subkey()
                };
                Query::Fields {
                    prefix,
                    page: Page {
                        after: None,
                        ..page
                    },
                }
            }
            _ => {
                let kinds = [
                    FieldKind::Register,
                    FieldKind::Lww,
                    FieldKind::Counter,
                    FieldKind::Flag,
                ];
                let kind = *pick(&mut self.rng, &kinds);
                Query::Field(self.draw_field(Some(kind)).subkey())
            }
        }
    }

    fn draw_element(&mut self) -> Bytes {
        let number = self.rng.u64(..self.options.elements);
        name(number, b'e')
    }

    /// A field, of any kind or of this one, sometimes in a map in the map.
    fn draw_field(&mut self, kind: Option<FieldKind>) -> FieldPath {
        let number = self.rng.u64(..self.options.elements.min(3));
        let name = name(number, b'f');
        let kind = kind.unwrap_or_else(|| *pick(&mut self.rng, &FieldKind::ALL));
        let nested = vec![
            (Bytes::from_static(b"in"), FieldKind::Map),
            (name.clone(), kind),
        ];
        match chance(&mut self.rng, 300) {
            true => FieldPath::new(nested).unwrap_or_else(|_| FieldPath::field(name, kind)),
            false => FieldPath::field(name, kind),
        }
    }

    fn draw_write(&mut self, client: usize, bucket: BucketId, key: &Bytes, kind: Kind) -> WriteOp {
        let place = Place {
            bucket,
            key: key.clone(),
            path: Bytes::new(),
        };
        if kind == Kind::Map {
            if chance(&mut self.rng, 30) {
                return WriteOp::Delete(self.draw_replace(client, &place));
            }
            let mut changes: Vec<FieldChange> = Vec::new();
            for _ in 0..self.rng.u64(1..=3) {
                let field = self.draw_field(None);
                let path = field.subkey();
                if changes.iter().any(|change| change.path == path) {
                    continue;
                }
                let kind = match field.kind() {
                    // Only what is in it can be changed.
                    FieldKind::Map => continue,
                    kind => kind.kind(),
                };
                let place = Place {
                    path: path.clone(),
                    ..place.clone()
                };
                let op = self.draw_plain(client, &place, kind, changes.is_empty());
                changes.push(FieldChange { path, op });
            }
            if changes.is_empty() {
                let field = self.draw_field(Some(FieldKind::Map));
                let op = WriteOp::Delete(self.draw_replace(client, &place));
                changes.push(FieldChange {
                    path: field.subkey(),
                    op,
                });
            } else if changes.len() > 1
                && let Some(first) = changes.first()
                && matches!(first.op, WriteOp::Delete(_))
            {
                // A field that takes a search is deleted alone.
                changes.truncate(1);
            }
            return WriteOp::Fields(changes);
        }
        self.draw_plain(client, &place, kind, true)
    }

    /// A change of something that is no map.
    fn draw_plain(
        &mut self,
        client: usize,
        place: &Place,
        kind: Kind,
        may_delete: bool,
    ) -> WriteOp {
        if may_delete && chance(&mut self.rng, 60) {
            return WriteOp::Delete(self.draw_replace(client, place));
        }
        match kind {
            Kind::Register | Kind::Lww => {
                let value = self.draw_value(client);
                let replaces = match kind {
                    Kind::Register => self.draw_replace(client, place),
                    _ => Replace::Seen,
                };
                WriteOp::Put { value, replaces }
            }
            Kind::Counter => WriteOp::Increment(self.rng.i64(-5..=9)),
            Kind::Flag => {
                if self.rng.bool() {
                    WriteOp::Enable
                } else {
                    WriteOp::Disable
                }
            }
            Kind::Max | Kind::Min => WriteOp::Observe(self.rng.i64(-1000..=1000)),
            Kind::Set | Kind::Map => {
                let count = if chance(&mut self.rng, 700) {
                    1
                } else {
                    self.rng.u64(1..=12)
                };
                let elements = (0..count).map(|_| self.draw_element()).collect();
                match chance(&mut self.rng, 600) {
                    true => WriteOp::Add(elements),
                    false => WriteOp::Remove(elements),
                }
            }
        }
    }

    fn draw_replace(&mut self, client: usize, place: &Place) -> Replace {
        match self.rng.u64(..10) {
            0..4 => Replace::Seen,
            4 => Replace::Context(Context::default()),
            _ => {
                let known = self.clients[client].contexts.any(&mut self.rng, place);
                Replace::Context(known.unwrap_or_default())
            }
        }
    }

    /// A value that no other write has.
    fn draw_value(&mut self, client: usize) -> Bytes {
        self.clients[client].values += 1;
        let mut value = format!("c{client}v{}", self.clients[client].values).into_bytes();
        let length = up_to(&mut self.rng, self.options.value_bytes_max);
        value.resize(length.max(value.len()), b'.');
        value.into()
    }

    fn draw_quorum(&mut self) -> Option<Quorum> {
        let most = self.options.replicas.min(self.options.nodes as u8);
        let exact = Quorum::Exactly(self.rng.u8(1..=most));
        Some(*pick(
            &mut self.rng,
            &[
                Quorum::One,
                Quorum::Majority,
                Quorum::Majority,
                Quorum::All,
                exact,
            ],
        ))
    }

    fn draw_fallbacks(&mut self) -> Fallbacks {
        if chance(&mut self.rng, 250) {
            Fallbacks::Forbidden
        } else {
            Fallbacks::Allowed
        }
    }

    fn draw_write_options(&mut self) -> WriteOptions {
        if chance(&mut self.rng, 600) {
            return WriteOptions::default();
        }
        let mut some = |permille| match chance(&mut self.rng, permille) {
            true => self.draw_quorum(),
            false => None,
        };
        let (w, pw, dw) = (some(800), some(300), some(300));
        WriteOptions {
            w,
            pw,
            dw,
            fallbacks: self.draw_fallbacks(),
        }
    }

    fn draw_read_options(&mut self) -> ReadOptions {
        if chance(&mut self.rng, 600) {
            return ReadOptions::default();
        }
        let r = self.draw_quorum();
        let pr = if chance(&mut self.rng, 300) {
            self.draw_quorum()
        } else {
            None
        };
        ReadOptions {
            r,
            pr,
            fallbacks: self.draw_fallbacks(),
        }
    }
}

/// A short name; the first two are the ones that encodings stumble over.
fn name(number: u64, letter: u8) -> Bytes {
    match number {
        0 => Bytes::new(),
        1 => Bytes::from_static(&[0, 1, 0]),
        _ => format!("{}{number}", char::from(letter)).into(),
    }
}
