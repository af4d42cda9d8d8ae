//! What a run is doing, as whoever watches sees it.

use std::collections::VecDeque;
use std::time::Duration;

use super::seconds::Slot;
use crate::load::Tally;

/// Seconds of throughput that are remembered.
const RATES_MAX: usize = 240;

/// What is going on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Phase {
    /// Nodes and processes of load are started.
    Starting,
    /// Keys are written.
    Loading { done: u64, of: u64 },
    /// Requests that are not counted.
    WarmUp,
    /// Requests that are.
    Step {
        number: usize,
        of: usize,
        due_per_second: Option<f64>,
    },
    /// No more requests are made.
    Ending,
}

/// What is seen.
#[derive(Clone, Debug)]
pub(super) struct Board {
    /// What the run is, in a line.
    pub(super) title: String,
    pub(super) phase: Phase,
    /// How much of the phase is over, from 0 to 1.
    pub(super) part: f64,
    pub(super) elapsed: Duration,
    /// Requests done in each second, the newest last.
    pub(super) rates: VecDeque<u64>,
    /// What came of the phase so far.
    pub(super) sum: Tally,
    /// Of its last whole second.
    pub(super) last: Tally,
}

impl Board {
    pub(super) fn new(title: String) -> Self {
        Self {
            title,
            phase: Phase::Starting,
            part: 0.0,
            elapsed: Duration::ZERO,
            rates: VecDeque::new(),
            sum: Tally::default(),
            last: Tally::default(),
        }
    }

    /// Another phase begins, with figures of its own.
    pub(super) fn begin(&mut self, phase: Phase) {
        self.phase = phase;
        self.part = 0.0;
        self.sum = Tally::default();
        self.last = Tally::default();
    }

    /// A second is over.
    pub(super) fn add(&mut self, slot: Slot, tally: &Tally) {
        self.sum.merge(tally);
        if slot.drain || slot.ms == 0 {
            return;
        }
        self.rates.push_back(tally.done() * 1_000 / slot.ms);
        while self.rates.len() > RATES_MAX {
            self.rates.pop_front();
        }
        self.last = tally.clone();
    }

    /// What is going on, in words.
    pub(super) fn doing(&self) -> String {
        match self.phase {
            Phase::Starting => "starting".to_owned(),
            Phase::Loading { done, of } => format!("loading keys: {done} of {of}"),
            Phase::WarmUp => "warm-up".to_owned(),
            Phase::Step {
                number,
                of,
                due_per_second,
            } => {
                let due = due_per_second.map(|due| format!(", {due:.0} due a second"));
                let step = match of {
                    1 => "measuring".to_owned(),
                    of => format!("step {} of {of}", number + 1),
                };
                step + &due.unwrap_or_default()
            }
            Phase::Ending => "waiting for what is under way".to_owned(),
        }
    }
}

/// A time as it is read at a glance.
pub(super) fn shown(time: Duration) -> String {
    match time.as_secs_f64() {
        s if s >= 1.0 => format!("{s:.2} s"),
        s if s >= 0.001 => format!("{:.2} ms", s * 1e3),
        s => format!("{:.0} µs", s * 1e6),
    }
}
