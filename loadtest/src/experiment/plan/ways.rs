//! What the phases of a plan do to the ways between nodes and clients.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use dunlin_relay::{LinkRule, Place};

use super::{Phase, Plan, PlanError};

/// A change of one way's rule.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct WayChange {
    pub(crate) from: Place,
    pub(crate) to: Place,
    pub(crate) rule: LinkRule,
}

impl Plan {
    /// The rules that a phase sets; all other ways are as they should be.
    pub(crate) fn rules_of(&self, phase: &Phase) -> Result<Vec<WayChange>, PlanError> {
        let all: BTreeSet<Place> = (0..self.place_names().len()).map(Place).collect();
        let mut rules = BTreeMap::<(Place, Place), LinkRule>::new();
        for bad in &phase.bad {
            let between = self.places(&bad.between)?;
            let and = match bad.and.is_empty() {
                true => all.difference(&between).copied().collect(),
                false => self.places(&bad.and)?,
            };
            let ways = between
                .iter()
                .flat_map(|a| and.iter().map(move |b| (*a, *b)));
            for (a, b) in ways.filter(|(a, b)| a != b) {
                for way in [(a, b), (b, a)] {
                    let rule = rules.entry(way).or_default();
                    rule.delay += Duration::from_millis(bad.delay_ms);
                    rule.jitter += Duration::from_millis(bad.jitter_ms);
                    rule.loss = rule.loss.max(bad.loss);
                    rule.duplicate = rule.duplicate.max(bad.duplicate);
                    rule.reorder = rule.reorder.max(bad.reorder);
                    let rate = bad.kilobytes_per_second.map(|rate| rate * 1000);
                    rule.bytes_per_second = rule.bytes_per_second.or(rate);
                }
            }
        }
        for ways in &phase.cut {
            for from in self.places(&ways.from)? {
                for to in self.places(&ways.to)? {
                    rules.entry((from, to)).or_default().cut = true;
                }
            }
        }
        let groups: Vec<BTreeSet<Place>> = phase
            .split
            .iter()
            .map(|group| self.places(group))
            .collect::<Result<_, _>>()?;
        let split: BTreeSet<Place> = groups.iter().flatten().copied().collect();
        for from in &split {
            for to in split.iter().filter(|to| *to != from) {
                let together = groups.iter().any(|g| g.contains(from) && g.contains(to));
                if !together {
                    rules.entry((*from, *to)).or_default().cut = true;
                }
            }
        }
        let change = |((from, to), rule)| WayChange { from, to, rule };
        Ok(rules.into_iter().map(change).collect())
    }
}
