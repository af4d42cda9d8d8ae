//! In the end no row is damaged any more, or can't be read: reads and the scrub found each, and a co-owner's
//! copy took its place. That nobody took it for absent meanwhile is what the other checkers see.

use super::Checker;
use crate::world::World;

pub(crate) fn check(world: &mut World) {
    for node in 0..world.nodes.len() {
        if world.has_rotten_rows(node) {
            let sentence = format!("node {node} has a damaged row still");
            world.complain(Checker::Damage, sentence);
        }
        if world.has_lost_blocks(node) {
            let sentence = format!("node {node} has rows that can't be read still");
            world.complain(Checker::Damage, sentence);
        }
    }
}
