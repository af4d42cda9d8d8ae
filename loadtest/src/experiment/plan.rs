//! A plan: the cluster, the load, and phase by phase what goes wrong.
//!
//! ```toml
//! name = "majority-minority"
//!
//! [cluster]
//! nodes = 5
//!
//! [[clients]]
//! name = "left"
//!
//! [[phase]]
//! name = "split"
//! seconds = 10
//! split = [["n1", "n2", "n3", "left"], ["n4", "n5", "right"]]
//! ```
//!
//! What a phase does to the network ends with it; nodes that it stops are started again at its end. Unknown
//! words are refused.

mod check;
mod ways;

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use dunlin_relay::Place;

pub(crate) use self::ways::WayChange;

/// An experiment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Plan {
    /// What it is called.
    pub(crate) name: String,
    /// What it shows, in a sentence or two.
    #[serde(default)]
    pub(crate) about: String,
    #[serde(default)]
    pub(crate) cluster: ClusterPlan,
    #[serde(default)]
    pub(crate) load: LoadPlan,
    /// Groups of clients; one group called `clients` if there are none.
    #[serde(default)]
    pub(crate) clients: Vec<ClientsPlan>,
    #[serde(rename = "phase")]
    pub(crate) phases: Vec<Phase>,
}

/// The cluster that is started.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ClusterPlan {
    /// Nodes that it is born with.
    pub(crate) nodes: usize,
    /// Nodes that run and own nothing until a phase lets them join.
    pub(crate) spares: usize,
    pub(crate) replicas: u8,
    pub(crate) partitions: u16,
    /// The zone of each node, in order; each has its own if there are none.
    pub(crate) zones: Vec<String>,
    /// Clocks that are off, by node, in milliseconds. Needs libfaketime.
    pub(crate) clocks_ms: std::collections::BTreeMap<String, i64>,
}

impl Default for ClusterPlan {
    fn default() -> Self {
        Self {
            nodes: 3,
            spares: 0,
            replicas: 3,
            partitions: 32,
            zones: Vec::new(),
            clocks_ms: std::collections::BTreeMap::new(),
        }
    }
}

/// The load, from the first phase to the last.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct LoadPlan {
    /// Requests a second that are due, of all clients together.
    pub(crate) rate: u32,
    /// How often each kind is asked for, beside the others.
    pub(crate) mix: Mix,
    /// The share of requests that read, of one.
    pub(crate) reads: f64,
    /// Keys of each kind.
    pub(crate) keys: u64,
    pub(crate) value_bytes: usize,
    /// Quorums: `one`, `majority`, `all` or a number.
    pub(crate) r: Quorum,
    pub(crate) w: Quorum,
    /// Whether fallbacks may stand in for owners.
    pub(crate) sloppy: bool,
    pub(crate) timeout_ms: u64,
    pub(crate) seed: u64,
}

impl Default for LoadPlan {
    fn default() -> Self {
        Self {
            rate: 300,
            mix: Mix::default(),
            reads: 0.5,
            keys: 60,
            value_bytes: 64,
            r: Quorum::Word(Word::Majority),
            w: Quorum::Word(Word::Majority),
            sloppy: true,
            timeout_ms: 2_000,
            seed: 1,
        }
    }
}

/// Shares of the kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Mix {
    /// Registers that are read and then written with what was read.
    pub(crate) register: u32,
    /// Registers that are written without having been read: each write is one more sibling.
    pub(crate) blind: u32,
    pub(crate) lww: u32,
    pub(crate) counter: u32,
    pub(crate) set: u32,
    /// Numbers that only grow: what is read of them tells how stale reads are.
    pub(crate) max: u32,
    /// Fields of maps: a register, a counter and a set in each.
    pub(crate) map: u32,
}

impl Mix {
    /// The share of each kind, in the order of its fields.
    pub(crate) fn shares(self) -> [u32; 7] {
        let Self {
            register,
            blind,
            lww,
            counter,
            set,
            max,
            map,
        } = self;
        [register, blind, lww, counter, set, max, map]
    }
}

impl Default for Mix {
    fn default() -> Self {
        Self {
            register: 3,
            blind: 0,
            lww: 1,
            counter: 2,
            set: 2,
            max: 2,
            map: 2,
        }
    }
}

/// How many owners have to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Quorum {
    Number(u8),
    Word(Word),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Word {
    One,
    Majority,
    All,
}

impl Quorum {
    /// As the client library has it.
    pub(crate) fn of_client(self) -> dunlin_client::Quorum {
        match self {
            Self::Number(number) => dunlin_client::Quorum::Exactly(number),
            Self::Word(Word::One) => dunlin_client::Quorum::One,
            Self::Word(Word::Majority) => dunlin_client::Quorum::Majority,
            Self::Word(Word::All) => dunlin_client::Quorum::All,
        }
    }

    /// How many of so many owners.
    pub(crate) fn of(self, owners: usize) -> usize {
        match self {
            Self::Number(number) => usize::from(number),
            Self::Word(Word::One) => 1,
            Self::Word(Word::Majority) => owners / 2 + 1,
            Self::Word(Word::All) => owners,
        }
    }
}

/// A group of clients, in one place of the network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ClientsPlan {
    pub(crate) name: String,
    /// How much of the load it makes, beside the others.
    #[serde(default = "one")]
    pub(crate) share: u32,
    /// So many sessions make its requests; with none, each request is by itself.
    #[serde(default)]
    pub(crate) sessions: u32,
}

fn one() -> u32 {
    1
}

/// A stretch of the run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Phase {
    pub(crate) name: String,
    pub(crate) seconds: f64,
    /// Groups that hear nothing of each other. A place in two of them hears both: a bridge. A place in none
    /// hears everybody.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) split: Vec<Vec<String>>,
    /// Ways that are cut, from these to those and not back.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) cut: Vec<Ways>,
    /// Ways that are bad.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) bad: Vec<Bad>,
    /// Split and cuts come and go, each for so long.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) flap_ms: Option<u64>,
    /// Nodes that stand still (SIGSTOP).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) pause: Vec<String>,
    /// Nodes that are killed (SIGKILL), and started at the end of the phase.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) kill: Vec<String>,
    /// Nodes that are killed and lose all that is on their disk; started at the end of the phase.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) wipe: Vec<String>,
    /// Nodes that are stopped in order and started again, one after the other, evenly over the phase.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) restart: Vec<String>,
    /// Nodes that join.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) join: Vec<String>,
    /// Nodes that leave.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) leave: Vec<String>,
}

/// Ways in the network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Ways {
    pub(crate) from: Vec<String>,
    pub(crate) to: Vec<String>,
}

/// Ways in the network that are bad, in both directions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Bad {
    pub(crate) between: Vec<String>,
    /// All other places, if it is not given.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) and: Vec<String>,
    #[serde(default)]
    pub(crate) delay_ms: u64,
    #[serde(default)]
    pub(crate) jitter_ms: u64,
    /// Shares, of one.
    #[serde(default)]
    pub(crate) loss: f64,
    #[serde(default)]
    pub(crate) duplicate: f64,
    #[serde(default)]
    pub(crate) reorder: f64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) kilobytes_per_second: Option<u64>,
}

/// Why a plan is refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PlanError {
    #[error("{0}")]
    Toml(#[from] toml::de::Error),
    #[error("{0}")]
    Wrong(String),
}

fn wrong(sentence: impl Into<String>) -> PlanError {
    PlanError::Wrong(sentence.into())
}

impl Plan {
    /// Reads and checks a plan.
    pub(crate) fn parse(text: &str) -> Result<Self, PlanError> {
        let mut plan: Self = toml::from_str(text)?;
        if plan.clients.is_empty() {
            plan.clients.push(ClientsPlan {
                name: "clients".to_owned(),
                share: 1,
                sessions: 0,
            });
        }
        plan.check()?;
        Ok(plan)
    }

    /// How long the phases take together.
    pub(crate) fn length(&self) -> Duration {
        Duration::from_secs_f64(self.phases.iter().map(|phase| phase.seconds).sum())
    }

    /// The nodes, spares too, then the groups of clients.
    pub(crate) fn place_names(&self) -> Vec<String> {
        let nodes = (1..=self.nodes()).map(|number| format!("n{number}"));
        nodes
            .chain(self.clients.iter().map(|clients| clients.name.clone()))
            .collect()
    }

    /// Nodes that run, spares too.
    pub(crate) fn nodes(&self) -> usize {
        self.cluster.nodes + self.cluster.spares
    }

    /// The place of a node, by its name.
    pub(crate) fn node(&self, name: &str) -> Result<Place, PlanError> {
        match self.place(name) {
            Ok(place) if place.0 < self.nodes() => Ok(place),
            _ => Err(wrong(format!("there is no node {name:?}"))),
        }
    }

    fn place(&self, name: &str) -> Result<Place, PlanError> {
        let names = self.place_names();
        match names.iter().position(|known| known == name) {
            Some(place) => Ok(Place(place)),
            None => Err(wrong(format!(
                "there is no place {name:?}; there are {}",
                names.join(", ")
            ))),
        }
    }

    fn places(&self, names: &[String]) -> Result<BTreeSet<Place>, PlanError> {
        names.iter().map(|name| self.place(name)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(phase: &str) -> Result<Plan, PlanError> {
        Plan::parse(&format!(
            "name = \"p\"\n[[clients]]\nname = \"left\"\n[[clients]]\nname = \"right\"\n[[phase]]\n\
             name = \"one\"\nseconds = 1\n{phase}"
        ))
    }

    fn cuts(phase: &str) -> Vec<(usize, usize)> {
        let plan = plan(phase).unwrap();
        let rules = plan.rules_of(&plan.phases[0]).unwrap();
        let cut = rules.iter().filter(|change| change.rule.cut);
        cut.map(|change| (change.from.0, change.to.0)).collect()
    }

    #[test]
    fn a_split_cuts_both_ways_between_groups_and_a_bridge_hears_both() {
        assert_eq!(
            cuts("split = [[\"n1\", \"left\"], [\"n2\"]]"),
            [(0, 1), (1, 0), (1, 3), (3, 1)]
        );
        assert_eq!(
            cuts("split = [[\"n1\", \"n3\"], [\"n2\", \"n3\"]]"),
            [(0, 1), (1, 0)]
        );
    }

    #[test]
    fn a_cut_is_one_way() {
        assert_eq!(
            cuts("cut = [{ from = [\"n1\"], to = [\"n2\", \"n3\"] }]"),
            [(0, 1), (0, 2)]
        );
    }

    #[test]
    fn a_bad_node_is_bad_towards_everybody_in_both_directions() {
        let plan = plan("bad = [{ between = [\"n2\"], delay_ms = 50, loss = 0.1 }]").unwrap();
        let rules = plan.rules_of(&plan.phases[0]).unwrap();
        assert_eq!(rules.len(), 8);
        assert!(rules.iter().all(|change| change.rule.loss == 0.1));
    }

    #[test]
    fn on_a_cluster_that_runs_only_clients_are_cut_off_and_nodes_stand_still() {
        let on_five = |phase: &str| plan(phase).unwrap().on_running(5, 3, 64);
        let taken = on_five("split = [[\"left\"], [\"n1\"]]\npause = [\"n2\"]").unwrap();
        assert_eq!(taken.nodes(), 5);
        for (phase, part) in [
            ("kill = [\"n1\"]", "killed"),
            ("join = [\"n3\"]", "join"),
            ("split = [[\"n1\", \"left\"], [\"n2\"]]", "relay"),
            ("bad = [{ between = [\"n1\"], loss = 0.5 }]", "relay"),
        ] {
            let error = on_five(phase).unwrap_err().to_string();
            assert!(error.contains(part), "{part} is not in {error}");
        }
        let error = plan("pause = [\"n3\"]").unwrap().on_running(2, 2, 64);
        assert!(error.unwrap_err().to_string().contains("n3"));
    }

    #[test]
    fn shares_that_cannot_be_added_are_refused() {
        let huge = "name = \"p\"\n[load.mix]\nlww = 4000000000\nset = 4000000000\n\
                    [[phase]]\nname = \"x\"\nseconds = 1.0\n";
        let error = Plan::parse(huge).unwrap_err().to_string();
        assert!(error.contains("shares of mix"), "{error}");
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_name() {
        for (phase, part) in [
            ("split = [[\"n9\"]]", "n9"),
            ("kill = [\"left\"]", "left"),
            ("pause = [\"n4\"]", "n4"),
            ("kil = [\"n1\"]", "kil"),
            ("bad = [{ between = [\"n1\"], loss = 1.5 }]", "loss"),
        ] {
            let error = plan(phase).unwrap_err().to_string();
            assert!(error.contains(part), "{part} is not in {error}");
        }
    }
}
