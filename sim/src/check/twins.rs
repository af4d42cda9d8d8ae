//! Of two processes of one node one is left in the end: the one that started later, unless that was taken for dead.

use super::Checker;
use crate::world::World;

pub(crate) fn check(world: &mut World) {
    if let Some(node) = world.haunted() {
        let sentence = format!("two processes of node {node} go on");
        world.complain(Checker::Twins, sentence);
    }
}
