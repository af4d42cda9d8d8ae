//! Figures by the second, on disk as they come: an HdrHistogram log and a CSV.
//!
//! The log is version 2 of HdrHistogram's interval log, in nanoseconds, tagged by kind of request; its own
//! tools draw it. Whatever ends the run, what is there is whole but for its last line.

use std::fs::File;
use std::io::{self, LineWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime};

use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{
    IntervalLogWriterBuilder, IntervalLogWriterError, Tag,
};

use super::result::Row;
use super::seconds::Slot;
use crate::error::LoadError;
use crate::load::Tally;

/// The file of the log.
pub(super) const LOG: &str = "latency.hlog";
/// The file of the lines.
pub(super) const LINES: &str = "seconds.csv";
/// Nanoseconds to the milliseconds in which HdrHistogram's tools want the largest.
const NANOS_IN_MS: f64 = 1e6;

/// Both files.
#[derive(Debug)]
pub(super) struct Logs {
    lines: csv::Writer<File>,
    lines_path: PathBuf,
    slots: Sender<(u64, Slot, Tally)>,
    log: JoinHandle<Result<(), LoadError>>,
}

impl Logs {
    /// Begins both.
    pub(super) fn start(out: &Path, name: &str, began: SystemTime) -> Result<Self, LoadError> {
        let lines_path = out.join(LINES);
        let lines = File::create(&lines_path).map_err(file(&lines_path))?;
        let path = out.join(LOG);
        let log = LineWriter::new(File::create(&path).map_err(file(&path))?);
        let (slots, taken) = channel();
        let about =
            format!("dunlin-loadtest run {name}: latencies in ns, from when requests were due");
        // The library's writer borrows where it writes to, so both live on the stack of a thread.
        let log = thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || write_log(log, &taken, &about, began).map_err(file(&path)))
            .map_err(LoadError::Runtime)?;
        Ok(Self {
            lines: csv::Writer::from_writer(lines),
            lines_path,
            slots,
            log,
        })
    }

    /// What came of a stretch of time, which began so long after the first.
    pub(super) fn write(
        &mut self,
        at_ms: u64,
        slot: Slot,
        tally: &Tally,
        rows: &[Row],
    ) -> Result<(), LoadError> {
        for row in rows {
            let written = self.lines.serialize(row).map_err(io::Error::from);
            written.map_err(file(&self.lines_path))?;
        }
        self.lines.flush().map_err(file(&self.lines_path))?;
        // A log that failed says why in the end.
        let _ = self.slots.send((at_ms, slot, tally.clone()));
        Ok(())
    }

    /// Waits until everything is written.
    pub(super) fn finish(self) -> Result<(), LoadError> {
        drop(self.slots);
        match self.log.join() {
            Ok(written) => written,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

fn write_log(
    mut out: impl Write,
    slots: &Receiver<(u64, Slot, Tally)>,
    about: &str,
    began: SystemTime,
) -> io::Result<()> {
    let mut serializer = V2DeflateSerializer::new();
    let mut log = IntervalLogWriterBuilder::new()
        .add_comment("[Histogram log format version 1.3]")
        .add_comment(about)
        .with_start_time(began)
        .with_base_time(began)
        .with_max_value_divisor(NANOS_IN_MS)
        .begin_log_with(&mut out, &mut serializer)?;
    for (at_ms, slot, tally) in slots {
        for (class, counts) in &tally.classes {
            let written = log.write_histogram(
                counts.latencies.counts(),
                Duration::from_millis(at_ms),
                Duration::from_millis(slot.ms),
                Tag::new(class.tag()),
            );
            written.map_err(|error| match error {
                IntervalLogWriterError::IoError(error) => error,
                IntervalLogWriterError::SerializeError(error) => io::Error::other(error),
            })?;
        }
    }
    Ok(())
}

fn file(path: &Path) -> impl FnOnce(io::Error) -> LoadError {
    let path = path.to_owned();
    |source| LoadError::File { path, source }
}

#[cfg(test)]
mod tests {
    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};

    use super::*;
    use crate::load::{Class, End, Step};

    #[test]
    fn what_is_logged_is_read_back_by_hdrhistogram() {
        let mut tally = Tally::default();
        for (what, ms) in [(Class::Read, 2), (Class::Read, 4), (Class::Modify, 9)] {
            let end = End::Done;
            tally.add(Step { what, end }, Duration::from_millis(ms));
        }
        let slot = Slot {
            from_ms: 0,
            ms: 500,
            drain: false,
        };
        let (slots, taken) = channel();
        slots.send((12_000, slot, tally)).unwrap();
        drop(slots);
        let mut log = Vec::new();
        let began = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        write_log(&mut log, &taken, "a test", began).unwrap();

        let mut read = Vec::new();
        for entry in IntervalLogIterator::new(&log) {
            match entry.unwrap() {
                LogEntry::StartTime(at) | LogEntry::BaseTime(at) => {
                    assert_eq!(at, Duration::from_secs(1_700_000_000));
                }
                LogEntry::Interval(interval) => {
                    assert_eq!(interval.start_timestamp(), Duration::from_secs(12));
                    assert_eq!(interval.duration(), Duration::from_millis(500));
                    read.push((interval.tag().unwrap().as_str().to_owned(), interval.max()));
                }
            }
        }
        let tags: Vec<&str> = read.iter().map(|(tag, _)| tag.as_str()).collect();
        assert_eq!(tags, ["read", "rmw"]);
        assert!((read[0].1 - 4.0).abs() < 0.01, "milliseconds: {read:?}");
    }
}
