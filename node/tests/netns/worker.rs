//! The clients themselves, in a process of their own inside a namespace: they do a bit of everything and write
//! down what they asked and were told.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use dunlin_client::{Bucket, Client, DataEffect, Error, NodeRef, Options, Receipt};
use dunlin_history::{Action, Found, Header, Kind, Op, Outcome, Replaces, Writer};
use tokio::io::{AsyncBufReadExt, BufReader};

/// Keys of each bucket.
pub(crate) const KEYS: u32 = 6;
/// Clients of a process.
const CLIENTS: u32 = 6;
/// Elements that a set may have.
const ELEMENTS: u32 = 24;
/// What a client waits for one operation: less than a fault lasts.
const TIMEOUT: Duration = Duration::from_millis(1500);
/// Between two operations of a client: so that six processes share two cores.
const PAUSE: Duration = Duration::from_millis(8);
/// R and W of the buckets, which have majorities of three owners.
const QUORUM: u8 = 2;
/// How long a new bucket may be unknown to some node.
const OPENED_MAX: Duration = Duration::from_secs(20);

/// The buckets, one for each kind.
pub(crate) const BUCKETS: [(&str, Kind); 7] = [
    ("register", Kind::Register),
    ("lww", Kind::Lww),
    ("counter", Kind::Counter),
    ("flag", Kind::Flag),
    ("set", Kind::Set),
    ("max", Kind::Max),
    ("min", Kind::Min),
];

pub(crate) fn header() -> Header {
    Header {
        format: dunlin_history::FORMAT,
        owners: 3,
        buckets: BUCKETS.map(|(name, kind)| (name.to_owned(), kind)).into(),
        clock_skew_us: None,
    }
}

/// `worker CLUSTER-FILE HISTORY FIRST-CLIENT`, until its input ends; a line of it names what is going on.
pub(crate) fn run(arguments: &[String]) {
    let [cluster, history, first] = arguments else {
        panic!("worker CLUSTER-FILE HISTORY FIRST-CLIENT");
    };
    let first: u32 = first.parse().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.unwrap().block_on(async {
        let shared = Arc::new(Mutex::new(Shared {
            writer: Writer::new(File::create(history).unwrap(), &header()).unwrap(),
            acknowledged: 0,
            phase: String::new(),
            is_over: false,
        }));
        let clients = (first..first + CLIENTS).map(|number| {
            let (cluster, shared) = (PathBuf::from(cluster), Arc::clone(&shared));
            tokio::spawn(async move { Worker::connect(cluster, number, shared).await.work().await })
        });
        let clients: Vec<_> = clients.collect();
        let mut lines = BufReader::new(tokio::io::stdin()).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            shared.lock().unwrap().phase = line;
        }
        shared.lock().unwrap().is_over = true;
        for client in clients {
            client.await.unwrap();
        }
        shared.lock().unwrap().writer.flush().unwrap();
    });
}

/// What the clients of a process have in common; held for no longer than a line takes.
struct Shared {
    writer: Writer<File>,
    acknowledged: u64,
    phase: String,
    is_over: bool,
}

/// One client.
struct Worker {
    number: u32,
    buckets: Vec<Bucket>,
    /// Whether only owners count for it.
    strict: bool,
    /// Whether all that it does is one session.
    in_session: bool,
    shared: Arc<Mutex<Shared>>,
    rng: fastrand::Rng,
    sequence: u32,
}

/// What became of a request, apart from its times.
struct Told {
    outcome: Outcome,
    sent: u32,
    node: Option<NodeRef>,
}

impl Worker {
    async fn connect(cluster: PathBuf, number: u32, shared: Arc<Mutex<Shared>>) -> Self {
        let strict = number.is_multiple_of(2);
        let in_session = number.is_multiple_of(3);
        let options = Options::new().timeout(TIMEOUT);
        let options = if strict { options.strict() } else { options };
        let builder = Client::builder().cluster_file(cluster).options(options);
        let client = builder.connect().await.unwrap();
        let session = in_session.then(|| client.session());
        let mut buckets = Vec::new();
        for (name, _) in BUCKETS {
            let until = SystemTime::now() + OPENED_MAX;
            buckets.push(loop {
                let opened = match &session {
                    Some(session) => session.bucket(name).await,
                    None => client.bucket(name).await,
                };
                match opened {
                    Ok(bucket) => break bucket,
                    Err(error) => assert!(SystemTime::now() < until, "{name}: {error}"),
                }
            });
        }
        Self {
            number,
            buckets,
            strict,
            in_session,
            shared,
            rng: fastrand::Rng::with_seed(u64::from(number)),
            sequence: 0,
        }
    }

    async fn work(mut self) {
        while !self.shared.lock().unwrap().is_over {
            let at = self.rng.usize(..BUCKETS.len());
            let key = format!("k{}", self.rng.u32(..KEYS));
            let start_us = now_us();
            let is_read = self.rng.u32(..4) == 0;
            if BUCKETS[at].1 == Kind::Register {
                self.register(at, &key).await;
            } else if is_read {
                let told = self.read(at, &key).await;
                self.note(at, &key, Action::Read, start_us, told);
            } else {
                let (action, told) = self.write(at, &key).await;
                self.note(at, &key, action, start_us, told);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Reads a register, and writes with what was read: or without looking, now and then.
    async fn register(&mut self, at: usize, key: &str) {
        let register = self.buckets[at].register(key).unwrap();
        let start_us = now_us();
        let read = register.read().await;
        let (values, context) = match &read {
            Ok(read) => match &read.value {
                Some(siblings) => (texts(&siblings.values), siblings.context.clone()),
                None => (Vec::new(), dunlin_client::Context::default()),
            },
            Err(_) => (Vec::new(), dunlin_client::Context::default()),
        };
        let node = read.as_ref().ok().map(|read| read.info.coordinator.clone());
        let found = read.map(|_| Found::Values(values.clone()));
        self.note(at, key, Action::Read, start_us, told_of(found, node));
        let start_us = now_us();
        let value = self.value();
        let (action, done) = match self.rng.u32(..10) {
            0 => {
                let done = register.put_new(value.clone()).await;
                let replaces = Replaces::Read(Vec::new());
                (Action::Put { value, replaces }, done)
            }
            1 => {
                let done = register.overwrite(value.clone()).await;
                let replaces = Replaces::Seen;
                (Action::Put { value, replaces }, done)
            }
            2 if !values.is_empty() => {
                let done = register.delete_read(&context).await;
                let replaces = Replaces::Read(values);
                (Action::Delete { replaces }, done)
            }
            _ => {
                let done = register.put(value.clone(), &context).await;
                let replaces = Replaces::Read(values);
                (Action::Put { value, replaces }, done)
            }
        };
        self.note(at, key, action, start_us, told(done));
    }

    async fn write(&mut self, at: usize, key: &str) -> (Action, Told) {
        let bucket = self.buckets[at].clone();
        let number = i64::from(self.rng.i32(-1000..1000));
        match BUCKETS[at].1 {
            Kind::Register => unreachable!("it has a way of its own"),
            Kind::Lww => {
                let value = self.value();
                let done = bucket.lww(key).unwrap().put(value.clone()).await;
                let replaces = Replaces::Seen;
                (Action::Put { value, replaces }, told(done))
            }
            Kind::Counter => {
                let by = number % 10;
                let done = bucket.counter(key).unwrap().increment(by).await;
                (Action::Increment(by), told(done))
            }
            Kind::Flag if number > 0 => (
                Action::Enable,
                told(bucket.flag(key).unwrap().enable().await),
            ),
            Kind::Flag => (
                Action::Disable,
                told(bucket.flag(key).unwrap().disable().await),
            ),
            Kind::Set => {
                let element = format!("e{}", self.rng.u32(..ELEMENTS));
                let set = bucket.set(key).unwrap();
                match self.rng.u32(..3) {
                    0 => {
                        let done = set.remove([&element]).await;
                        (Action::Remove(vec![element]), told(done))
                    }
                    _ => {
                        let done = set.add([&element]).await;
                        (Action::Add(vec![element]), told(done))
                    }
                }
            }
            Kind::Max => {
                let done = bucket.max(key).unwrap().observe(number).await;
                (Action::Observe(number), told(done))
            }
            Kind::Min => {
                let done = bucket.min(key).unwrap().observe(number).await;
                (Action::Observe(number), told(done))
            }
        }
    }

    async fn read(&self, at: usize, key: &str) -> Told {
        let bucket = self.buckets[at].clone();
        macro_rules! read {
            ($handle:ident, $found:expr) => {{
                let read = bucket.$handle(key).unwrap().read().await;
                let node = read.as_ref().ok().map(|read| read.info.coordinator.clone());
                told_of(read.map(|read| $found(read.value)), node)
            }};
        }
        match BUCKETS[at].1 {
            Kind::Register => unreachable!("it has a way of its own"),
            Kind::Lww => read!(lww, |found: Option<dunlin_client::Latest>| {
                Found::Values(texts(found.map(|latest| latest.value).as_slice()))
            }),
            Kind::Counter => read!(counter, Found::Sum),
            Kind::Flag => read!(flag, Found::Flag),
            Kind::Max => read!(max, Found::Number),
            Kind::Min => read!(min, Found::Number),
            Kind::Set => {
                let found = bucket.set(key).unwrap().elements().collect().await;
                told_of(found.map(|found| Found::Elements(texts(&found))), None)
            }
        }
    }

    /// A value that no other write of the history has.
    fn value(&mut self) -> String {
        self.sequence += 1;
        format!("{}-{}", self.number, self.sequence)
    }

    fn note(&self, at: usize, key: &str, action: Action, start_us: u64, told: Told) {
        let mut shared = self.shared.lock().unwrap();
        let is_write = action != Action::Read;
        let is_done = told.outcome == Outcome::Done;
        let op = Op {
            client: self.number,
            session: self.in_session.then_some(0),
            bucket: BUCKETS[at].0.into(),
            key: key.into(),
            action,
            start_us,
            end_us: now_us(),
            outcome: told.outcome,
            sent: told.sent,
            node: told.node.map(|node| node.to_string()),
            w: is_write.then_some(QUORUM),
            r: Some(QUORUM),
            strict: self.strict,
            settled: false,
            phase: Some(shared.phase.clone()).filter(|phase| !phase.is_empty()),
        };
        shared.writer.write(&op).unwrap();
        if is_done {
            shared.acknowledged += 1;
            let mut out = std::io::stdout().lock();
            writeln!(out, "{}", shared.acknowledged).unwrap();
        }
    }
}

fn told(done: Result<Receipt, Error>) -> Told {
    match done {
        Ok(receipt) => Told {
            outcome: Outcome::Done,
            sent: receipt.attempts,
            node: Some(receipt.coordinator),
        },
        Err(error) => Told {
            outcome: match error.effect() {
                DataEffect::NotApplied => Outcome::NotApplied,
                DataEffect::Unknown => Outcome::Unknown,
            },
            sent: u32::try_from(error.asked().len()).unwrap().max(1),
            node: None,
        },
    }
}

fn told_of(found: Result<Found, Error>, node: Option<NodeRef>) -> Told {
    Told {
        outcome: found.map_or(Outcome::NotApplied, Outcome::Read),
        sent: 1,
        node,
    }
}

pub(crate) fn texts(values: &[dunlin_client::Bytes]) -> Vec<String> {
    let text = |value: &dunlin_client::Bytes| String::from_utf8_lossy(value).into_owned();
    values.iter().map(text).collect()
}

/// All processes are on one machine, and its clock is not the one that is faked.
pub(crate) fn now_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    u64::try_from(since.as_micros()).unwrap()
}
