//! New events: those minted here for clients, and those that come from other nodes.

use std::collections::BTreeMap;

use bytes::Bytes;
use dunlin_crdt::{
    Body, Cell, Change, ChangeError, Clock, Event, Hlc, Millis, OpId, Replaces, Row, RowKind,
};
use dunlin_protocol::RowKey;
use dunlin_protocol::limits::ROW_BYTES_MAX;
use dunlin_protocol::peer::RowEvent;
use dunlin_ring::PartitionId;

use super::partition::Actor;
use super::rows::Loaded;
use super::{Replica, StoreError, WriteError};
use crate::key;

/// What a cell says beside its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CellMeta {
    /// When it is written. Cells that expired before are replaced, whatever the change.
    pub stamp: Hlc,
    /// For which request.
    pub op: OpId,
    /// Until when it is shown.
    pub expires_at: Option<Millis>,
}

/// One change of one row, as a client asks for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowChange {
    /// Which row.
    pub key: RowKey,
    /// What it is.
    pub kind: RowKind,
    /// What to do.
    pub change: Change,
    /// What that replaces, where the kind leaves the choice.
    pub replaces: Replaces,
}

/// What became of an event that came from elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It was applied, and staged.
    New,
    /// Its effect was held already; nothing was staged.
    Known,
}

impl Replica {
    /// Applies a change of a client to an owned row, under a new dot. The event is what the other
    /// owners must get.
    ///
    /// # Errors
    /// [`WriteError`]; nothing was staged.
    pub fn write(
        &mut self,
        key: &RowKey,
        kind: RowKind,
        change: &Change,
        replaces: &Replaces,
        meta: CellMeta,
    ) -> Result<Event, WriteError> {
        let events = self.write_rows([(key, kind, change, replaces)].into_iter(), meta)?;
        match events.into_iter().next() {
            Some(event) => Ok(event.event),
            // One change makes one event.
            None => Err(WriteError::Store(StoreError::NotOwned(
                self.partition_of(key),
            ))),
        }
    }

    /// Applies several changes, in their order: all, or none.
    ///
    /// # Errors
    /// [`WriteError`] of the first that was refused; nothing was staged.
    pub fn write_all(
        &mut self,
        changes: &[RowChange],
        meta: CellMeta,
    ) -> Result<Vec<RowEvent>, WriteError> {
        let changes = changes
            .iter()
            .map(|row| (&row.key, row.kind, &row.change, &row.replaces));
        self.write_rows(changes, meta)
    }

    fn write_rows<'a>(
        &mut self,
        changes: impl Iterator<Item = (&'a RowKey, RowKind, &'a Change, &'a Replaces)>,
        meta: CellMeta,
    ) -> Result<Vec<RowEvent>, WriteError> {
        let mut actors: BTreeMap<PartitionId, Actor> = BTreeMap::new();
        let mut touched: BTreeMap<Bytes, (PartitionId, Loaded)> = BTreeMap::new();
        let mut events = Vec::new();
        for (key, kind, change, replaces) in changes {
            let partition = self.partition_of(key);
            let part = self
                .partitions
                .get(&partition)
                .ok_or(StoreError::NotOwned(partition))?;
            let actor = match actors.get_mut(&partition) {
                Some(actor) => actor,
                None => {
                    let drawn = part
                        .actor
                        .unwrap_or_else(|| Actor::draw(&mut self.rng, part.clock()));
                    actors.entry(partition).or_insert(drawn)
                }
            };
            let stored_key = key::row(part.rows_at, key);
            if !touched.contains_key(&stored_key) {
                let loaded = self.load(partition, part, &stored_key)?;
                touched.insert(stored_key.clone(), (partition, loaded));
            }
            let Some((_, loaded)) = touched.get_mut(&stored_key) else {
                continue;
            };
            let event = mint(&loaded.row, kind, change, replaces, meta, actor)?;
            let grows = loaded.stored.as_ref().map_or(0, Bytes::len) + body_bytes(&event);
            loaded.row.take(part.clock(), &event);
            if grows > ROW_BYTES_MAX {
                let bytes = loaded.row.encode().len();
                if bytes > ROW_BYTES_MAX && event.cell.is_some() && loaded.row.cells().len() > 1 {
                    return Err(WriteError::TooManySiblings { bytes });
                }
            }
            events.push((
                partition,
                stored_key,
                RowEvent {
                    key: key.clone(),
                    event,
                },
            ));
        }
        // Nothing below can fail.
        for (partition, actor) in actors {
            if let Some(part) = self.partitions.get_mut(&partition) {
                part.actor = Some(actor);
            }
        }
        for (partition, stored_key, event) in &events {
            assert!(
                !self.clock(*partition).contains(&event.event.dot),
                "a dot must be minted only once"
            );
            self.claim_and_log(*partition, event.event.dot, stored_key);
        }
        for (stored_key, (partition, loaded)) in touched {
            self.store(partition, &stored_key, loaded);
        }
        Ok(events.into_iter().map(|(_, _, event)| event).collect())
    }

    /// Takes an event that was minted elsewhere, or here before this start.
    ///
    /// # Errors
    /// [`StoreError`]; nothing was staged.
    pub fn take(&mut self, key: &RowKey, event: &Event) -> Result<Taken, StoreError> {
        let partition = self.partition_of(key);
        let part = self.owned_part(partition)?;
        let stored_key = key::row(part.rows_at, key);
        // A dot that is held came with all that it replaces, whichever way it came.
        if part.clock().contains(&event.dot) {
            return Ok(Taken::Known);
        }
        let mut loaded = self.load(partition, part, &stored_key)?;
        loaded.row.take(part.clock(), event);
        self.claim_and_log(partition, event.dot, &stored_key);
        self.store(partition, &stored_key, loaded);
        Ok(Taken::New)
    }
}

/// The event that a change of `row` makes, under the actor's next dot.
pub(super) fn mint(
    row: &Row,
    kind: RowKind,
    change: &Change,
    replaces: &Replaces,
    meta: CellMeta,
    actor: &mut Actor,
) -> Result<Event, ChangeError> {
    let now = meta.stamp.millis();
    let expired: Clock = row
        .cells()
        .iter()
        .filter(|(_, cell)| cell.is_expired(now))
        .map(|(dot, _)| *dot)
        .collect();
    let trimmed = match replaces {
        Replaces::Context(context) => minted_only(context, actor).map(Replaces::Context),
        Replaces::Seen => None,
    };
    let replaces = trimmed.as_ref().unwrap_or(replaces);
    let mut effect = if expired.is_empty() {
        change.apply(kind, row, actor.id, replaces)?
    } else {
        // Nobody sees them any more, so a sum or an extreme must not go on from them.
        let mut live = row.clone();
        live.drop_expired(now);
        change.apply(kind, &live, actor.id, replaces)?
    };
    effect.replaces.join(&expired);
    let cell = effect.body.map(|body| Cell {
        stamp: meta.stamp,
        op: meta.op,
        expires_at: meta.expires_at,
        body,
    });
    Ok(Event {
        dot: actor.mint(),
        cell,
        replaces: effect.replaces,
    })
}

/// A context without the dots that this actor has not minted yet, if it has any. It was made up, and
/// would suppress our own later writes.
fn minted_only(context: &Clock, actor: &Actor) -> Option<Clock> {
    if context.highest(actor.id) <= actor.last {
        return None;
    }
    let mut kept = Clock::new();
    for (id, start, end) in context.ranges_by_actor() {
        let end = if id == actor.id {
            end.min(actor.last)
        } else {
            end
        };
        kept.add_range(id, start, end);
    }
    Some(kept)
}

fn body_bytes(event: &Event) -> usize {
    match event.cell.as_ref().map(|cell| &cell.body) {
        Some(Body::Value(value)) => value.len(),
        Some(Body::Count { .. } | Body::Mark | Body::Extreme(_)) | None => 0,
    }
}
