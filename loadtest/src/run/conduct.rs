//! A run from its beginning to its end: cluster, keys, warm-up, steps, results.
//!
//! Ctrl-C, SIGTERM and `q` end it early: no more requests are made, and what was measured is written, marked
//! as such. A second signal ends it at once.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval};

use super::args::{RunArgs, Settings};
use super::board::{Board, Phase};
use super::fleet::Fleet;
use super::live::Live;
use super::logs::Logs;
use super::plain::Plain;
use super::result::{COMMAND, FORMAT, Loaded, RunResult, StepSum, due, rows};
use super::seconds::Slot;
use super::steps::{Went, is_beyond, knee};
use super::target::{create_buckets, drop_buckets, items};
use super::worker::{Order, Said};
use crate::cluster::{Cluster, Node};
use crate::error::LoadError;
use crate::load::{Meter, Pace, Spent, Tally};

/// The file that says what a run was.
const RESULT: &str = "result.json";
/// Between looks at the keyboard, and pictures.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// `dunlin-loadtest run`. Returns what to print.
pub(crate) async fn run(args: &RunArgs, as_json: bool) -> Result<(String, bool), LoadError> {
    let settings = args.settings()?;
    let default_out = || PathBuf::from(format!("dunlin-run-{}", settings.name));
    let out = args.out.clone().unwrap_or_else(default_out);
    let mut watch = Watch::start()?;
    prepare(&out)?;
    let cluster = watch.unless_stopped(Cluster::open(&args.cluster)).await??;
    let nodes = cluster.nodes().unwrap_or_default();
    let node_count = cluster.client().nodes().len();
    watch
        .unless_stopped(create_buckets(cluster.client(), &settings))
        .await??;
    let mut fleet = Fleet::start(&settings, cluster.file(), &out).await?;
    watch.board.title = title(&settings, node_count);
    watch.look(args.plain || as_json);
    let mut conductor = Conductor {
        settings: &settings,
        fleet: &mut fleet,
        watch: &mut watch,
        nodes: &nodes,
    };
    let conducted = conductor.conduct(&out).await;
    drop(watch);
    let (mut result, broken) = conducted?;
    result.nodes = node_count;
    match broken {
        // Whoever was interrupted twice waits for nothing more.
        Some(_) => drop(fleet),
        None => {
            fleet.end().await;
            for status in cluster.statuses().await.unwrap_or_default() {
                result.versions.insert(status.name, status.version);
            }
            if settings.drop {
                drop_buckets(cluster.client(), &settings).await;
            }
        }
    }
    let path = out.join(RESULT);
    let json = serde_json::to_string_pretty(&result).map_err(io::Error::from);
    let json = json.and_then(|json| fs::write(&path, &json).map(|()| json));
    let json = json.map_err(|source| LoadError::File { path, source })?;
    cluster.close().await;
    if let Some(error) = broken {
        return Err(error);
    }
    if result.done() == 0 {
        let first = result
            .steps
            .iter()
            .flat_map(|step| step.errors.values())
            .next();
        let not_found: u64 = result.steps.iter().map(|step| step.not_found).sum();
        let why = match first {
            Some(failed) => failed.first.clone(),
            None if not_found > 0 => format!("{not_found} keys were not found; were they loaded?"),
            None => "it was stopped before".to_owned(),
        };
        return Err(LoadError::NothingDone(why));
    }
    result.complain();
    let text = match as_json {
        true => format!("{json}\n"),
        false => result.report(&out).render(false),
    };
    Ok((text, false))
}

fn title(settings: &Settings, nodes: usize) -> String {
    let workload = settings.workload.name();
    let mut title = format!("{workload}, {nodes} nodes, {} keys", settings.keys);
    if settings.processes > 1 {
        title += &format!(", {} processes", settings.processes);
    }
    if settings.name != workload {
        title = format!("{}: {title}", settings.name);
    }
    title
}

/// Makes the folder of the results, or takes that of an earlier run.
fn prepare(out: &Path) -> Result<(), LoadError> {
    let file = |source| LoadError::File {
        path: out.to_owned(),
        source,
    };
    match fs::read_dir(out) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(file(error)),
        Ok(mut entries) => {
            if entries.next().is_some() && !is_of_a_run(out) {
                return Err(LoadError::NotOurFolder(out.to_owned()));
            }
        }
    }
    fs::create_dir_all(out).map_err(file)?;
    for old in [super::logs::LOG, super::logs::LINES] {
        match fs::remove_file(out.join(old)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(file(error)),
            Ok(()) | Err(_) => {}
        }
    }
    // Whatever becomes of this run, the folder is known as one of a run, and the figures as not of it.
    let begun =
        serde_json::json!({ "command": COMMAND, "format": FORMAT, "ended_early": "not ended" });
    let path = out.join(RESULT);
    let written = fs::write(&path, format!("{begun}\n"));
    written.map_err(|source| LoadError::File { path, source })
}

fn is_of_a_run(out: &Path) -> bool {
    let text = fs::read(out.join(RESULT)).unwrap_or_default();
    let result: serde_json::Value = serde_json::from_slice(&text).unwrap_or_default();
    result.get("command").and_then(|command| command.as_str()) == Some(COMMAND)
}

struct Conductor<'a> {
    settings: &'a Settings,
    fleet: &'a mut Fleet,
    watch: &'a mut Watch,
    nodes: &'a [Node],
}

impl Conductor<'_> {
    /// What was measured, and what broke while it was.
    async fn conduct(&mut self, out: &Path) -> Result<(RunResult, Option<LoadError>), LoadError> {
        self.until_all(|said| matches!(said, Said::Ready), |_, _| Ok(()))
            .await?;
        if self.watch.is_stopping {
            return Err(LoadError::Interrupted);
        }
        let loaded = match self.settings.skip_load {
            true => None,
            false => Some(self.load().await?),
        };
        let settings = self.settings;
        if settings.warm_up_ms > 0
            && !self.watch.is_stopping
            && let Some(pace) = settings.paces.first()
        {
            self.watch.board.begin(Phase::WarmUp);
            self.put(*pace, settings.warm_up_ms, !settings.seed, |_, _| Ok(()))
                .await?;
        }
        let began = SystemTime::now();
        let mut logs = Logs::start(out, &settings.name, began)?;
        let mut result = RunResult {
            command: COMMAND,
            format: FORMAT,
            ended_early: None,
            settings: settings.clone(),
            versions: [(
                "dunlin-loadtest".to_owned(),
                env!("CARGO_PKG_VERSION").to_owned(),
            )]
            .into(),
            processors: std::thread::available_parallelism().map_or(0, Into::into),
            nodes: 0,
            began_at: began
                .duration_since(SystemTime::UNIX_EPOCH)
                .map_or(0.0, |since| since.as_secs_f64()),
            loaded,
            steps: Vec::new(),
            knee: None,
            seconds: Vec::new(),
        };
        let broken = self.steps(&mut logs, &mut result).await.err();
        logs.finish()?;
        result.ended_early = match &broken {
            Some(error) => Some(error.to_string()),
            None => self.watch.why_early.clone(),
        };
        Ok((result, broken))
    }

    async fn steps(&mut self, logs: &mut Logs, result: &mut RunResult) -> Result<(), LoadError> {
        let settings = self.settings;
        let p99_max = Duration::from_millis(settings.p99_max_ms);
        let start = Instant::now();
        let mut went: Vec<Went> = Vec::new();
        for (number, pace) in settings.paces.iter().enumerate() {
            if self.watch.is_stopping || is_beyond(&went, p99_max) {
                break;
            }
            self.watch.board.begin(Phase::Step {
                number,
                of: settings.paces.len(),
                due_per_second: due(pace),
            });
            let offset_ms = start.elapsed().as_millis() as u64;
            let mut sum = StepSum::default();
            let seed = settings.seed.wrapping_add(number as u64 * 7_919);
            let took = |slot: Slot, tally: &Tally| {
                sum.add(slot, tally);
                let at_ms = offset_ms + slot.from_ms;
                let rows = rows(number, due(pace), at_ms, slot, tally);
                logs.write(at_ms, slot, tally, &rows)?;
                result.seconds.extend(rows);
                Ok(())
            };
            let put = self.put(*pace, settings.step_ms, seed, took).await;
            // What was measured until something broke is worth no less.
            let (spent, broken) = match put {
                Ok(spent) => (spent, None),
                Err(error) => (Spent::default(), Some(error)),
            };
            if self.watch.why_early.is_some() && sum.made_ms == 0 {
                break;
            }
            went.extend(sum.went(pace));
            result.steps.push(sum.result(pace, p99_max, &spent));
            if let Some(error) = broken {
                return Err(error);
            }
        }
        if settings.paces.len() > 1 {
            result.knee = knee(&went, p99_max);
        }
        Ok(())
    }

    /// Writes the keys.
    async fn load(&mut self) -> Result<Loaded, LoadError> {
        let of = items(self.settings);
        let from = self.settings.load_from.min(of);
        self.watch.board.begin(Phase::Loading { done: from, of });
        self.fleet.order(|_| Order::Load).await?;
        let start = Instant::now();
        let mut written = vec![0; self.fleet.len()];
        let mut next = of;
        let is_over = |said: &Said| matches!(said, Said::Over { .. });
        self.until_all(is_over, |watch, heard| {
            match heard {
                Some((worker, Said::Loaded { keys })) => {
                    if let Some(written) = written.get_mut(worker) {
                        *written = keys;
                    }
                    let done = from + written.iter().sum::<u64>();
                    watch.board.phase = Phase::Loading { done, of };
                    watch.board.part = done as f64 / of.max(1) as f64;
                }
                Some((_, Said::Over { next: own })) => next = next.min(own),
                Some((_, Said::Ready | Said::Slot(..) | Said::Failed(_))) | None => {}
            }
            Ok(())
        })
        .await?;
        if self.watch.is_stopping && next < of {
            return Err(LoadError::LoadStopped { next, of });
        }
        Ok(Loaded {
            keys: of - from,
            seconds: start.elapsed().as_secs_f64(),
        })
    }

    /// Makes requests, and takes what came of each stretch of time as soon as all have told theirs.
    async fn put(
        &mut self,
        pace: Pace,
        ms: u64,
        seed: u64,
        mut take: impl FnMut(Slot, &Tally) -> Result<(), LoadError>,
    ) -> Result<Spent, LoadError> {
        let settings = self.settings;
        let workers = self.fleet.len();
        let meter = Meter::of(self.nodes, self.fleet.pids());
        let order = |worker| Order::Put {
            pace: settings.part(pace, worker),
            ms,
            seed,
        };
        self.fleet.order(order).await?;
        let (start, span) = (Instant::now(), Duration::from_millis(ms));
        let until_end = meter.clone();
        let metered = tokio::spawn(async move {
            tokio::time::sleep(span).await;
            until_end.read()
        });
        let mut until_stop: Option<Spent> = None;
        let mut slots: BTreeMap<Slot, (usize, Tally)> = BTreeMap::new();
        let is_over = |said: &Said| matches!(said, Said::Over { .. });
        let heard = |watch: &mut Watch, heard: Option<(usize, Said)>| {
            watch.board.part = start.elapsed().as_secs_f64() / span.as_secs_f64();
            if watch.is_stopping && until_stop.is_none() && start.elapsed() < span {
                until_stop = Some(meter.read());
            }
            let Some((_, Said::Slot(slot, tally))) = heard else {
                return Ok(());
            };
            if slot.drain {
                watch.board.phase = Phase::Ending;
            }
            let (told, sum) = slots.entry(slot).or_default();
            *told += 1;
            sum.merge(&tally);
            if *told == workers
                && let Some((_, sum)) = slots.remove(&slot)
            {
                watch.board.add(slot, &sum);
                take(slot, &sum)?;
            }
            Ok(())
        };
        self.until_all(is_over, heard).await?;
        // Not all processes have as much to wait for in the end, or were stopped at one moment.
        for (slot, (_, sum)) in slots {
            self.watch.board.add(slot, &sum);
            take(slot, &sum)?;
        }
        Ok(match until_stop {
            Some(spent) => {
                metered.abort();
                spent
            }
            None => metered.await.unwrap_or_else(|_| meter.read()),
        })
    }

    /// Listens until each process has said something of this kind. What they say is handed on, and nothing
    /// when only time has passed.
    async fn until_all(
        &mut self,
        is_last: impl Fn(&Said) -> bool,
        mut heard: impl FnMut(&mut Watch, Option<(usize, Said)>) -> Result<(), LoadError>,
    ) -> Result<(), LoadError> {
        let mut waited_for: BTreeSet<usize> = (0..self.fleet.len()).collect();
        let mut stopped = self.watch.is_stopping;
        while !waited_for.is_empty() {
            let said = tokio::select! {
                biased;
                stop = self.watch.next() => {
                    stop?;
                    None
                }
                (worker, said) = self.fleet.hear() => Some((worker, said)),
            };
            if self.watch.is_stopping && !stopped {
                stopped = true;
                self.fleet.stop();
            }
            let Some((worker, said)) = said else {
                heard(self.watch, None)?;
                continue;
            };
            match said {
                // It was told to end; whatever it had to say it has said.
                Said::Failed(_) if stopped => {
                    waited_for.remove(&worker);
                }
                Said::Failed(why) => {
                    return Err(LoadError::Worker(format!(
                        "process {worker} of the load: {why}"
                    )));
                }
                said => {
                    if is_last(&said) {
                        waited_for.remove(&worker);
                    }
                    heard(self.watch, Some((worker, said)))?;
                }
            }
        }
        Ok(())
    }
}

/// Signals, the keyboard, and what is shown.
struct Watch {
    board: Board,
    view: View,
    began: Instant,
    tick: tokio::time::Interval,
    interrupt: Signal,
    terminate: Signal,
    /// No more requests are to be made.
    is_stopping: bool,
    why_early: Option<String>,
}

enum View {
    Live(Box<Live>),
    Plain(Plain),
}

impl Watch {
    fn start() -> Result<Self, LoadError> {
        let mut tick = interval(LOOK_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Ok(Self {
            board: Board::new(String::new()),
            view: View::Plain(Plain::default()),
            began: Instant::now(),
            tick,
            interrupt: signal(SignalKind::interrupt()).map_err(LoadError::Runtime)?,
            terminate: signal(SignalKind::terminate()).map_err(LoadError::Runtime)?,
            is_stopping: false,
            why_early: None,
        })
    }

    /// Draws on the terminal, if there is one and it may be.
    fn look(&mut self, plain: bool) {
        if !plain
            && io::stdout().is_terminal()
            && io::stdin().is_terminal()
            && let Ok(live) = Live::start()
        {
            self.view = View::Live(Box::new(live));
        }
    }

    /// For what can be given up without a trace.
    async fn unless_stopped<T>(&mut self, doing: impl Future<Output = T>) -> Result<T, LoadError> {
        tokio::select! {
            biased;
            _ = self.interrupt.recv() => Err(LoadError::Interrupted),
            _ = self.terminate.recv() => Err(LoadError::Interrupted),
            done = doing => Ok(done),
        }
    }

    /// Waits for a signal, a key, or the next picture.
    async fn next(&mut self) -> Result<(), LoadError> {
        let why = tokio::select! {
            biased;
            _ = self.interrupt.recv() => Some("interrupted"),
            _ = self.terminate.recv() => Some("terminated"),
            _ = self.tick.tick() => None,
        };
        let why = match why {
            Some(why) => Some(why),
            None => self.show(),
        };
        match why {
            Some(_) if self.is_stopping => Err(LoadError::Interrupted),
            Some(why) => {
                self.is_stopping = true;
                self.why_early = Some(why.to_owned());
                self.board.phase = Phase::Ending;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn show(&mut self) -> Option<&'static str> {
        self.board.elapsed = self.began.elapsed();
        match &mut self.view {
            View::Plain(plain) => {
                if let Some(line) = plain.line(&self.board, Instant::now()) {
                    eprintln!("{line}");
                }
                None
            }
            View::Live(live) => {
                let wanted = live.show(&self.board).and_then(|()| live.is_stop_wanted());
                match wanted {
                    Ok(true) => Some("stopped with q"),
                    Ok(false) => None,
                    Err(_) => {
                        // The terminal is gone; the run is not.
                        self.view = View::Plain(Plain::default());
                        None
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_of_something_else_is_left_alone_and_one_of_a_run_is_taken() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("out");
        prepare(&out).unwrap();
        prepare(&out).unwrap();
        let other = dir.path().join("other");
        fs::create_dir(&other).unwrap();
        prepare(&other).unwrap();
        fs::remove_file(other.join(RESULT)).unwrap();
        fs::write(other.join("thesis.tex"), "years of work").unwrap();
        let error = prepare(&other).unwrap_err().to_string();
        assert!(error.contains("not the folder of a run"), "{error}");
        assert_eq!(fs::read_dir(&other).unwrap().count(), 1);
        assert!(prepare(Path::new("/dev/null/out")).is_err());
    }
}
