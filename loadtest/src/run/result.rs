//! What a run was and what came of it: `result.json`, and the report that is printed.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use super::args::Settings;
use super::seconds::Slot;
use super::steps::{Knee, Went};
use crate::histogram::Histogram;
use crate::load::{Failed, Pace, Spent, Tally};
use crate::report::{Cell, Report, Table};

/// The version of the form.
pub(super) const FORMAT: u32 = 1;
/// What `result.json` says that it is of.
pub(super) const COMMAND: &str = "run";

/// A run.
#[derive(Debug, Serialize)]
pub(super) struct RunResult {
    pub(super) command: &'static str,
    pub(super) format: u32,
    /// Why it ended before its time, if it did.
    pub(super) ended_early: Option<String>,
    pub(super) settings: Settings,
    /// Of this program, and of each node.
    pub(super) versions: BTreeMap<String, String>,
    /// Processors of the machine that made the load.
    pub(super) processors: usize,
    pub(super) nodes: usize,
    /// Seconds since 1970, of the start of the first step.
    pub(super) began_at: f64,
    pub(super) loaded: Option<Loaded>,
    pub(super) steps: Vec<StepResult>,
    /// Of several steps, the last that was kept up with.
    pub(super) knee: Option<Knee>,
    pub(super) seconds: Vec<Row>,
}

/// How the keys were written.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Loaded {
    pub(super) keys: u64,
    pub(super) seconds: f64,
}

/// A rate, or the one that a closed loop came to.
#[derive(Debug, Serialize)]
pub(super) struct StepResult {
    /// None in a closed loop.
    pub(super) due_per_second: Option<f64>,
    /// For how long requests were made.
    pub(super) seconds: f64,
    /// Requests that ended as they should, those too that ended after the last was made.
    pub(super) done: u64,
    /// Those that ended before, a second.
    pub(super) done_per_second: f64,
    pub(super) failed: u64,
    pub(super) not_found: u64,
    pub(super) not_sent: u64,
    pub(super) kept_up: Option<bool>,
    pub(super) all: Figures,
    pub(super) kinds: BTreeMap<&'static str, Figures>,
    /// Requests that failed, by a word for why.
    pub(super) errors: BTreeMap<String, Failed>,
    pub(super) cost: Cost,
}

/// Latencies in microseconds, from when requests were due.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(super) struct Figures {
    pub(super) done: u64,
    pub(super) mean_us: u64,
    pub(super) p50_us: u64,
    pub(super) p90_us: u64,
    pub(super) p99_us: u64,
    pub(super) p999_us: u64,
    pub(super) max_us: u64,
}

impl Figures {
    pub(super) fn of(latencies: &Histogram) -> Self {
        let us = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        Self {
            done: latencies.count(),
            mean_us: us(latencies.mean()),
            p50_us: us(latencies.per_mille(500)),
            p90_us: us(latencies.per_mille(900)),
            p99_us: us(latencies.per_mille(990)),
            p999_us: us(latencies.per_mille(999)),
            max_us: us(latencies.max()),
        }
    }
}

/// What was spent while requests were made. Nothing is known of nodes on other machines.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct Cost {
    /// CPU time of all nodes for each request that was answered.
    pub(super) servers_us_per_op: Option<f64>,
    /// Of the processes of load.
    pub(super) clients_us_per_op: Option<f64>,
    /// Bytes that nodes made the disk write for each.
    pub(super) written_bytes_per_op: Option<f64>,
    /// Processors busy with anything else on this machine.
    pub(super) others_cores: Option<f64>,
}

impl Cost {
    fn of(spent: &Spent, done: u64) -> Self {
        let us = |time: Duration| time.as_secs_f64() * 1e6 / done.max(1) as f64;
        Self {
            servers_us_per_op: spent.servers.map(us),
            clients_us_per_op: spent.client.map(us),
            written_bytes_per_op: spent.written_bytes.map(|n| n as f64 / done.max(1) as f64),
            others_cores: spent
                .others
                .map(|time| time.as_secs_f64() / spent.elapsed.as_secs_f64().max(1e-9)),
        }
    }
}

/// What one kind of request did in a stretch of time: a line of the CSV.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Row {
    /// From 0.
    pub(super) step: usize,
    /// Nothing in a closed loop.
    pub(super) due_per_second: Option<f64>,
    /// From the start of the first step.
    pub(super) at_ms: u64,
    pub(super) ms: u64,
    /// No more requests were made: it counts for latency, and not for throughput.
    pub(super) drain: bool,
    /// Read, update, insert, scan, rmw, or `not_sent`: due, but too many were under way.
    pub(super) kind: &'static str,
    pub(super) done: u64,
    pub(super) failed: u64,
    pub(super) not_found: u64,
    pub(super) not_sent: u64,
    pub(super) mean_us: u64,
    pub(super) p50_us: u64,
    pub(super) p90_us: u64,
    pub(super) p99_us: u64,
    pub(super) p999_us: u64,
    pub(super) max_us: u64,
}

/// The lines of one stretch of time.
pub(super) fn rows(
    step: usize,
    due: Option<f64>,
    at_ms: u64,
    slot: Slot,
    tally: &Tally,
) -> Vec<Row> {
    let row = |kind, figures: Figures, failed, not_found, not_sent| Row {
        step,
        due_per_second: due,
        at_ms,
        ms: slot.ms,
        drain: slot.drain,
        kind,
        done: figures.done,
        failed,
        not_found,
        not_sent,
        mean_us: figures.mean_us,
        p50_us: figures.p50_us,
        p90_us: figures.p90_us,
        p99_us: figures.p99_us,
        p999_us: figures.p999_us,
        max_us: figures.max_us,
    };
    let mut rows = Vec::new();
    for (class, counts) in &tally.classes {
        let figures = Figures::of(&counts.latencies);
        rows.push(row(
            class.tag(),
            figures,
            counts.failed,
            counts.not_found,
            0,
        ));
    }
    if tally.not_sent > 0 {
        rows.push(row("not_sent", Figures::default(), 0, 0, tally.not_sent));
    }
    rows
}

/// What came of a step, as it is added up.
#[derive(Clone, Debug, Default)]
pub(super) struct StepSum {
    /// While requests were made.
    pub(super) made: Tally,
    /// With what ended afterwards.
    pub(super) all: Tally,
    pub(super) made_ms: u64,
}

impl StepSum {
    pub(super) fn add(&mut self, slot: Slot, tally: &Tally) {
        self.all.merge(tally);
        if !slot.drain {
            self.made.merge(tally);
            self.made_ms = self.made_ms.max(slot.from_ms + slot.ms);
        }
    }

    fn done_per_second(&self) -> f64 {
        self.made.done() as f64 * 1e3 / self.made_ms.max(1) as f64
    }

    /// How its rate went; nothing of a closed loop.
    pub(super) fn went(&self, pace: &Pace) -> Option<Went> {
        let due_per_second = due(pace)?;
        let all = &self.all;
        let came = all.done() + all.failures() + all.not_found() + all.not_sent;
        Some(Went {
            due_per_second,
            came_per_second: came as f64 * 1e3 / self.made_ms.max(1) as f64,
            done_per_second: self.done_per_second(),
            p99: self.all.all().per_mille(990),
        })
    }

    pub(super) fn result(&self, pace: &Pace, p99_max: Duration, spent: &Spent) -> StepResult {
        let kinds = self.all.classes.iter();
        StepResult {
            due_per_second: due(pace),
            seconds: self.made_ms as f64 / 1e3,
            done: self.all.done(),
            done_per_second: self.done_per_second(),
            failed: self.all.failures(),
            not_found: self.all.not_found(),
            not_sent: self.all.not_sent,
            kept_up: self.went(pace).map(|went| went.kept_up(p99_max)),
            all: Figures::of(&self.all.all()),
            kinds: kinds
                .map(|(class, counts)| (class.tag(), Figures::of(&counts.latencies)))
                .collect(),
            errors: self.all.failed.clone(),
            cost: Cost::of(spent, self.made.done() + self.made.not_found()),
        }
    }
}

/// What an open loop is to make a second.
pub(super) fn due(pace: &Pace) -> Option<f64> {
    match pace {
        Pace::Open { per_second, .. } => Some(*per_second),
        Pace::Closed { .. } => None,
    }
}

impl RunResult {
    /// Requests that ended as they should, of all steps.
    pub(super) fn done(&self) -> u64 {
        self.steps.iter().map(|step| step.done).sum()
    }

    /// What is printed at the end.
    pub(super) fn report(&self, out: &Path) -> Report {
        let mut report = Report::new("run");
        let settings = &self.settings;
        report.fact("workload", Cell::text(settings.workload.name()));
        report.fact("nodes", Cell::Count(self.nodes as u64));
        report.fact("keys", Cell::Count(settings.keys));
        report.fact("processes of load", Cell::Count(settings.processes.into()));
        if let Some(loaded) = self.loaded {
            report.fact("loading them took", Cell::Seconds(loaded.seconds));
        }
        if let Some(Pace::Closed { in_flight }) = settings.paces.first() {
            report.fact("in flight", Cell::Count(*in_flight as u64));
        }
        if let Some(knee) = &self.knee {
            report.fact("knee", Cell::PerSecond(knee.due_per_second));
        }
        report.fact("results", Cell::text(out.display().to_string()));
        report.table("throughput and cost", self.throughput());
        report.table("latency", self.latency());
        let errors = self.errors();
        if let Some(errors) = errors {
            report.table("what failed", errors);
        }
        match self.steps.iter().any(|step| step.due_per_second.is_some()) {
            true => report.note("Latency counts from when a request was due."),
            false => report.note(
                "A closed loop: latency counts from when a request was made, and a stall is felt once for each in \
                 flight. --rate shows what users wait.",
            ),
        }
        if self.settings.paces.len() > 1 {
            report.note(match &self.knee {
                Some(knee) if knee.is_last => {
                    "The knee is the last rate that was tried, so it may lie higher."
                }
                Some(_) => {
                    "The knee is the last rate of which 97 % were done while it lasted, with a p99 up to --p99-max."
                }
                None => "No rate was kept up with: the knee lies below the first.",
            });
        }
        if let Some(why) = &self.ended_early {
            report.fact("ended early", Cell::text(why.clone()));
        }
        report
    }

    /// Says on standard error what the first failure of each kind was.
    pub(super) fn complain(&self) {
        for step in &self.steps {
            if step.not_found > 0 {
                let (what, count) = (Self::name(step), step.not_found);
                eprintln!(
                    "dunlin-loadtest: {what}: {count} keys were not found; were they loaded?"
                );
            }
            for (word, failed) in &step.errors {
                let (what, count, first) = (Self::name(step), failed.count, &failed.first);
                eprintln!("dunlin-loadtest: {what}: {count} failed: {word}, such as: {first}");
            }
        }
    }

    fn name(step: &StepResult) -> String {
        match step.due_per_second {
            Some(due) => format!("{due:.0}/s due"),
            None => "closed loop".to_owned(),
        }
    }

    fn throughput(&self) -> Table {
        let mut table = Table::new([
            "what",
            "done",
            "failed",
            "not found",
            "not sent",
            "kept up",
            "server CPU",
            "client CPU",
            "written to disk",
            "cores busy otherwise",
        ]);
        for step in &self.steps {
            let cell =
                |figure: Option<f64>, unit: fn(f64) -> Cell| figure.map_or(Cell::Absent, unit);
            table.row([
                Cell::Text(Self::name(step)),
                Cell::PerSecond(step.done_per_second),
                Cell::Count(step.failed),
                Cell::Count(step.not_found),
                Cell::Count(step.not_sent),
                match step.kept_up {
                    Some(true) => Cell::text("yes"),
                    Some(false) => Cell::text("no"),
                    None => Cell::Absent,
                },
                cell(step.cost.servers_us_per_op, Cell::Micros),
                cell(step.cost.clients_us_per_op, Cell::Micros),
                cell(step.cost.written_bytes_per_op, Cell::Bytes),
                cell(step.cost.others_cores, Cell::Ratio),
            ]);
        }
        table
    }

    fn latency(&self) -> Table {
        let mut table = Table::new(["what", "done", "p50", "p90", "p99", "p99.9", "max"]);
        for step in &self.steps {
            let name = Self::name(step);
            let kinds = step.kinds.iter().filter(|(_, figures)| figures.done > 0);
            let kinds: Vec<_> = kinds.collect();
            let parts = kinds.iter().filter(|_| kinds.len() > 1);
            let parts = parts.map(|(kind, figures)| (format!("{name}: {kind}"), **figures));
            for (name, figures) in [(name.clone(), step.all)].into_iter().chain(parts) {
                let us = |us: u64| Cell::Micros(us as f64);
                table.row([
                    Cell::Text(name),
                    Cell::Count(figures.done),
                    us(figures.p50_us),
                    us(figures.p90_us),
                    us(figures.p99_us),
                    us(figures.p999_us),
                    us(figures.max_us),
                ]);
            }
        }
        table
    }

    fn errors(&self) -> Option<Table> {
        let mut table = Table::new(["why", "how often"]);
        let mut is_empty = true;
        for step in &self.steps {
            for (word, failed) in &step.errors {
                is_empty = false;
                table.row([
                    Cell::Text(format!("{}: {word}", Self::name(step))),
                    Cell::Count(failed.count),
                ]);
            }
        }
        (!is_empty).then_some(table)
    }
}
