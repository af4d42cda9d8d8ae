//! A receipt names only nodes that hold the write, as they are said to, and as many as were asked for, in every
//! layout by which its coordinator decided and that it does not take for retired when it answers. None of them
//! took it with a stamp that is too far ahead.
//!
//! This is checked at the moment at which the receipt leaves its node.

use std::collections::BTreeSet;

use dunlin_protocol::cluster::AppliedLayout;
use dunlin_protocol::request::WriteOptions;
use dunlin_protocol::response::{HeldBy, Receipt};
use dunlin_protocol::{BucketDefaults, Durability};
use dunlin_ring::Needed;

use super::{Checker, enough};
use crate::history::Action;
use crate::ledger::{Held, Minted, Name};
use crate::world::World;
use crate::writer::Part;

/// Checks the receipt that answers a request.
pub(crate) fn check(world: &mut World, number: usize, receipt: &Receipt) {
    let dots = receipt.context.clock().unwrap_or_default();
    let mut sentences = Vec::new();
    for dot in dots.dots() {
        let Some(minted) = world.ledger.event(Name::of(&dot)) else {
            continue;
        };
        for copy in &receipt.copies {
            if !holds(world, minted, copy) {
                sentences.push(format!(
                    "request #{number}: {} is said to be held as {copy:?} and is not",
                    Name::of(&dot)
                ));
            }
            if let Some(ahead_ms) = ahead_ms(world, minted, copy) {
                sentences.push(format!(
                    "request #{number}: {} took {} with a stamp {ahead_ms} ms ahead of its clock",
                    copy.node,
                    Name::of(&dot)
                ));
            }
        }
    }
    if dots.is_empty() && !receipt.copies.is_empty() {
        sentences.push(format!(
            "request #{number}: {receipt:?} names no event that is held"
        ));
    }
    if !dots.is_empty() {
        sentences.extend(missing(world, number, receipt));
    }
    for sentence in sentences {
        world.complain(Checker::Receipts, sentence);
    }
}

/// How far an event's stamp is ahead of the clock of a node that took it from another, if that is further than
/// a node may accept. Nothing is said of clocks that were set since, or of a node that may have had a ghost.
fn ahead_ms(world: &World, minted: &Minted, copy: &HeldBy) -> Option<u64> {
    let at = world.nodes.iter().position(|node| node.id == copy.node)?;
    let node = &world.nodes[at];
    let stamp = minted.event.cell.as_ref()?.stamp.millis();
    let ahead_ms = stamp.0.saturating_sub(world.clock(at).wall.0);
    let is_judged =
        copy.node != minted.by && node.clock_set_at < minted.at && node.losses.is_empty();
    (is_judged && ahead_ms > world.options.engine.clock_skew_max_ms).then_some(ahead_ms)
}

fn holds(world: &World, minted: &Minted, copy: &HeldBy) -> bool {
    // A ghost has the name of another.
    let named = |at: &usize| world.nodes[*at].id == copy.node;
    let mut places = (0..world.nodes.len()).filter(named);
    places.any(|at| holds_at(world, minted, copy, at))
}

fn holds_at(world: &World, minted: &Minted, copy: &HeldBy, at: usize) -> bool {
    let wanted = if copy.synced {
        Held::Synced
    } else {
        Held::Written
    };
    if minted
        .copies
        .get(&(at, copy.hint_for))
        .is_some_and(|held| *held >= wanted)
    {
        return true;
    }
    // A whole transfer brings events that no log entry or hint tells of.
    let partition = minted.row.partition(world.layout.partitions());
    let node = &world.nodes[at];
    let dot = &minted.event.dot;
    let replicas = || {
        let shards = node.process.iter().flat_map(|process| &process.shards);
        shards
            .map(|shard| shard.replica())
            .filter(|replica| replica.owns(partition))
    };
    let filling = node.process.is_none() || replicas().any(|replica| !replica.is_whole(partition));
    let in_memory = || replicas().any(|replica| replica.clock(partition).contains(dot));
    let on_disk = node.durable.claims(partition, dot);
    copy.hint_for.is_none() && (filling || on_disk || (!copy.synced && in_memory()))
}

/// Whether fewer nodes are named than were asked for.
fn missing(world: &World, number: usize, receipt: &Receipt) -> Option<String> {
    let Some(Action::Write {
        bucket,
        key,
        options,
        ..
    }) = world.history.ops.get(number).map(|op| &op.action)
    else {
        return None;
    };
    let defaults = world.history.buckets.get(bucket)?.bucket.defaults;
    let partition = world.layout.partitions().partition_of(*bucket, key);
    let dots = receipt.context.clock().unwrap_or_default();
    let minted = dots
        .dots()
        .find_map(|dot| world.ledger.event(Name::of(&dot)))?;
    let short = |layout: &AppliedLayout| {
        let owners = layout.layout.owners(partition);
        let needs = needs(options, &defaults, owners.len());
        let of_set = |copy: &&HeldBy| owners.contains(&copy.hint_for.unwrap_or(copy.node));
        let copies: Vec<&HeldBy> = receipt.copies.iter().filter(of_set).collect();
        let distinct: BTreeSet<_> = copies.iter().map(|copy| copy.node).collect();
        let of_owners = copies.iter().filter(|copy| copy.hint_for.is_none()).count();
        let synced = copies.iter().filter(|copy| copy.synced).count();
        let falls_short =
            distinct.len() < needs.nodes || of_owners < needs.owners || synced < needs.synced;
        falls_short.then(|| {
            format!(
                "request #{number}: {receipt:?} falls short of {needs:?} in layout {}",
                layout.id
            )
        })
    };
    let Part::Shard(shard) = world.shard_of(partition) else {
        return None;
    };
    let view = world.nodes[minted.node].views.get(shard)?;
    let oldest = view.layouts.oldest().id;
    let mut counting = minted.layouts.all().filter(|layout| layout.id >= oldest);
    counting.find_map(short)
}

/// What must hold a write in a set of so many owners.
fn needs(options: &WriteOptions, defaults: &BucketDefaults, owners: usize) -> Needed {
    let w = enough(options.w.unwrap_or(defaults.w), owners);
    let synced = match (options.dw.or(defaults.dw), defaults.durability) {
        (Some(dw), _) => enough(dw, owners),
        (None, Durability::Synced) => w,
        (None, Durability::Periodic) => 0,
    };
    Needed {
        nodes: w,
        owners: options.pw.map_or(0, |pw| enough(pw, owners)),
        synced,
    }
}
