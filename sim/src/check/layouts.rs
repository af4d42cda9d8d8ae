//! Layouts only move forward: at each node the complete one and the newest grow, in all its lives, for
//! as long as it keeps its disk; what it said it follows it still knows when it comes back; and a layout
//! is complete only if every owner had said that it holds all of it.
//!
//! In the end there is one, everywhere, and nobody holds what it does not own.

use std::sync::Arc;

use dunlin_engine::Knowledge;
use dunlin_ring::MemberState;

use super::Checker;
use super::evidence::Evidence;
use super::filling;
use crate::world::World;

/// Checks what a node knows after each thing that its control part has handled.
pub(crate) fn watch(world: &mut World, node: usize) {
    let Some(process) = &world.nodes[node].process else {
        return;
    };
    let (id, knowledge) = (world.nodes[node].id, process.control.knowledge());
    let layouts = knowledge.layouts();
    let (complete, newest) = (layouts.complete().clone(), layouts.target().id);
    let said = knowledge.progress(id);
    let (acked, synced) = (said.and_then(|p| p.acked), said.and_then(|p| p.synced));
    for layout in layouts.all() {
        let known = &mut world.remembered.layouts;
        known.entry(layout.id).or_insert_with(|| Arc::clone(layout));
    }
    world.nodes[node].was_member |= acked.is_some() && {
        let member = complete.layout.member(id);
        member.is_some_and(|member| member.state == MemberState::Active)
    };
    world
        .remembered
        .synced
        .extend(synced.map(|layout| (id, layout)));
    // A node whose disk forgot may hear from others what it once told them.
    if world.nodes[node].losses.is_empty() {
        world.nodes[node].told = world.nodes[node].told.max(acked);
    }
    let before = world.nodes[node].knows.replace((complete.clone(), newest));
    let Some((complete_before, newest_before)) = before else {
        return;
    };
    if complete.id < complete_before.id || newest < newest_before {
        world.complain(
            Checker::Layouts,
            format!(
                "node {node} goes back from layouts {} {newest_before} to {} {newest}",
                complete_before.id, complete.id
            ),
        );
    }
    if complete.id == complete_before.id || !world.remembered.complete.insert(complete.id) {
        return;
    }
    world.count("layouts completed");
    for member in complete.layout.members() {
        if member.state == MemberState::Active
            && !world.remembered.synced.contains(&(member.id, complete.id))
        {
            let (layout, name) = (complete.id, &member.name);
            let sentence =
                format!("layout {layout} is complete for node {node}, and {name} never said so");
            world.complain(Checker::Layouts, sentence);
        }
    }
    filling::check(world, &complete_before, &complete);
}

/// Checks what a node knows as it starts.
pub(crate) fn start(world: &mut World, node: usize, knowledge: &Knowledge) {
    let newest = knowledge.layouts().target().id;
    world.nodes[node].knows = None;
    // A disk that came back older forgets what it told, and hears of it from others before it holds it.
    let is_faithful = world.nodes[node].losses.is_empty();
    if is_faithful && world.nodes[node].told.is_some_and(|told| newest < told) {
        let told = world.nodes[node].told;
        let sentence = format!(
            "node {node} has told others that it follows {told:?}, and knows of {newest} at most"
        );
        world.complain(Checker::Layouts, sentence);
    }
}

pub(super) fn check(evidence: &Evidence<'_>, sentences: &mut Vec<String>) {
    let Some(first) = evidence.nodes.iter().find(|node| node.up) else {
        return;
    };
    for (at, node) in evidence
        .nodes
        .iter()
        .enumerate()
        .filter(|(_, node)| node.up)
    {
        if node.complete != node.newest || node.newest != first.newest {
            sentences.push(format!(
                "node {at} goes by {:?} and {:?}, another one by {:?}",
                node.complete, node.newest, first.newest
            ));
        }
        if node.knowledge != first.knowledge {
            sentences.push(format!("node {at} knows another cluster than the first"));
        }
        if node.to_follow != 0 {
            sentences.push(format!(
                "node {at} has {} partitions to move",
                node.to_follow
            ));
        }
        for partition in evidence.layout.partitions().iter() {
            let owns = evidence.layout.is_owner(node.id, partition);
            if owns != node.partitions.contains_key(&partition) {
                let verb = if owns { "lacks" } else { "still holds" };
                sentences.push(format!("node {at} {verb} partition {partition}"));
            }
        }
    }
    for member in evidence.layout.members() {
        let up = evidence.node(member.id).is_some_and(|node| node.up);
        if member.state == MemberState::Active && !up {
            sentences.push(format!("{} owns partitions and is gone", member.name));
        }
    }
}
