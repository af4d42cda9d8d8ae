//! Everything that clients asked and were told: to the history on disk, and into the timeline.
//!
//! One thread writes; clients hand over what has ended and never wait for the disk.

use std::fs::File;
use std::io::{self, BufWriter};
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use dunlin_history::{Header, Op, Writer};

use super::staleness::Staleness;
use super::timeline::Timeline;

/// An operation that has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) op: Op,
    /// Which group of clients asked.
    pub(crate) group: usize,
    /// From when it was due to its end.
    pub(crate) latency: Duration,
    /// Why it failed, in a word.
    pub(crate) error: Option<&'static str>,
}

/// Takes what has ended.
#[derive(Clone, Debug)]
pub(crate) struct Recorder(Sender<Ended>);

/// What a run left behind.
#[derive(Debug)]
pub(crate) struct Recorded {
    pub(crate) timeline: Timeline,
    pub(crate) staleness: Staleness,
    pub(crate) operations: u64,
}

/// The thread that writes.
#[derive(Debug)]
pub(crate) struct Recording(JoinHandle<io::Result<Recorded>>);

impl Recorder {
    /// Begins a history.
    pub(crate) fn start(
        path: &Path,
        header: &Header,
        groups: usize,
    ) -> io::Result<(Self, Recording)> {
        let writer = Writer::new(BufWriter::new(File::create_new(path)?), header)?;
        let (sender, receiver) = channel();
        let thread = std::thread::Builder::new().name("recorder".to_owned());
        let recording = thread.spawn(move || record(writer, &receiver, groups))?;
        Ok((Self(sender), Recording(recording)))
    }

    /// An operation has ended.
    pub(crate) fn ended(&self, ended: Ended) {
        // Only a recorder whose disk failed is gone, and its error is told at the end.
        let _ = self.0.send(ended);
    }
}

impl Recording {
    /// Waits until everything is written: every recorder must be gone.
    pub(crate) fn finish(self) -> io::Result<Recorded> {
        match self.0.join() {
            Ok(recorded) => recorded,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

fn record(
    mut writer: Writer<BufWriter<File>>,
    ended: &Receiver<Ended>,
    groups: usize,
) -> io::Result<Recorded> {
    let mut recorded = Recorded {
        timeline: Timeline::new(groups),
        staleness: Staleness::default(),
        operations: 0,
    };
    for ended in ended {
        writer.write(&ended.op)?;
        recorded.operations += 1;
        recorded.timeline.add(&ended);
        recorded.staleness.add(&ended.op);
    }
    writer.flush()?;
    Ok(recorded)
}
