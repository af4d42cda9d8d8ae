//! Carrying out a phase: what it does to the network and to the nodes, and undoing it at its end.

use std::time::{Duration, Instant};

use dunlin_client::{Client, NodeId};
use dunlin_protocol::cluster::{Change, ClusterRequest};
use dunlin_ring::{Member, MemberState};
use tokio::sync::watch;
use tokio::time::sleep;

use super::nodes::Nodes;
use super::plan::{Phase, Plan, PlanError, WayChange};
use crate::error::LoadError;
use dunlin_relay::Relay;

/// The cluster while it is worked on.
pub(crate) struct Stage<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) relay: &'a Relay,
    pub(crate) nodes: Nodes,
    pub(crate) admin: Client,
    pub(crate) pids: watch::Sender<Vec<Option<u32>>>,
}

impl Stage<'_> {
    /// Carries out a phase, from its beginning to its end.
    pub(crate) async fn play(&mut self, phase: &Phase) -> Result<(), LoadError> {
        let ends = Instant::now() + Duration::from_secs_f64(phase.seconds);
        let rules = self.plan.rules_of(phase)?;
        self.set(&rules);
        for name in &phase.kill {
            self.nodes.kill(self.plan.node(name)?.0)?;
        }
        for name in &phase.wipe {
            self.nodes.wipe(self.plan.node(name)?.0)?;
        }
        for name in &phase.pause {
            self.nodes.pause(self.plan.node(name)?.0, true)?;
        }
        self.tell_pids();
        self.reshape(phase).await?;
        match (phase.flap_ms, phase.restart.as_slice()) {
            (Some(every), _) => self.flap(&rules, Duration::from_millis(every), ends).await,
            (None, []) => sleep(left(ends)).await,
            (None, restart) => self.restart(restart, ends).await?,
        }
        self.relay.rules().heal();
        for name in &phase.pause {
            self.nodes.pause(self.plan.node(name)?.0, false)?;
        }
        for name in phase.kill.iter().chain(&phase.wipe) {
            self.nodes.start(self.plan.node(name)?.0)?;
        }
        self.tell_pids();
        match self.nodes.ended().as_slice() {
            [] => Ok(()),
            ended => Err(LoadError::Ended(ended.join(", "))),
        }
    }

    /// Tells the observer which processes the nodes are now.
    pub(crate) fn tell_pids(&self) {
        let pids = (0..self.plan.nodes())
            .map(|at| self.nodes.pid(at))
            .collect();
        self.pids.send_replace(pids);
    }

    fn set(&self, rules: &[WayChange]) {
        for change in rules {
            let WayChange { from, to, rule } = *change;
            self.relay.rules().set(from, to, rule);
        }
    }

    async fn flap(&self, rules: &[WayChange], every: Duration, ends: Instant) {
        loop {
            sleep(every.min(left(ends))).await;
            self.relay.rules().heal();
            sleep(every.min(left(ends))).await;
            if left(ends).is_zero() {
                return;
            }
            self.set(rules);
        }
    }

    async fn restart(&mut self, names: &[String], ends: Instant) -> Result<(), LoadError> {
        let each = left(ends) / u32::try_from(names.len()).unwrap_or(u32::MAX).max(1);
        for name in names {
            let next = Instant::now() + each;
            let at = self.plan.node(name)?.0;
            self.nodes.stop(at).await?;
            self.nodes.start(at)?;
            self.tell_pids();
            sleep(left(next)).await;
        }
        Ok(())
    }

    /// Has nodes join and leave.
    async fn reshape(&self, phase: &Phase) -> Result<(), LoadError> {
        let mut changes = Vec::new();
        for name in &phase.join {
            let at = self.plan.node(name)?.0;
            let address = self.relay.addresses().get(at);
            let zone = self.plan.cluster.zones.get(at).unwrap_or(name);
            changes.push(Change::Join(Member {
                id: NodeId::from_name(name),
                name: name.clone(),
                zone: zone.clone(),
                address: address.map(ToString::to_string).unwrap_or_default(),
                capacity: 1,
                state: MemberState::Active,
            }));
        }
        let leaves = phase
            .leave
            .iter()
            .map(|name| Change::Leave(NodeId::from_name(name)));
        changes.extend(leaves);
        let failed = LoadError::request;
        let mut based_on = None;
        for change in changes {
            let staged = self.admin.shape(None, ClusterRequest::Stage(change)).await;
            let state = staged.map_err(failed("staging a change"))?;
            based_on = state.layouts.first().map(|layout| layout.id);
        }
        if let Some(based_on) = based_on {
            let applied = self
                .admin
                .shape(None, ClusterRequest::Apply { based_on })
                .await;
            applied.map_err(failed("applying a layout"))?;
        }
        Ok(())
    }
}

fn left(ends: Instant) -> Duration {
    ends.saturating_duration_since(Instant::now())
}

impl From<PlanError> for LoadError {
    fn from(error: PlanError) -> Self {
        Self::Plan(error.to_string())
    }
}
