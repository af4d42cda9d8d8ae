//! The requests themselves, against the kinds of data that a workload has.
//!
//! YCSB's records are registers. An update replaces whatever is there (`overwrite`); a read-modify-write
//! puts with the context that its read returned. YCSB's scans read posts of a thread, of which there are
//! 1 to 100: here a thread is a map and a post one of its fields, since keys have no order across a
//! cluster, and a scan reads a thread from its first post on.

use std::sync::Arc;

use dunlin_client::{Bucket, BucketDefaults, Client, Error, Quorum};
use fastrand::Rng;

use super::args::Settings;
use super::keys::{Inserts, Keys};
use super::permutation::Permutation;
use super::values::Values;
use super::workload::{Mix, Table};
use crate::error::LoadError;
use crate::load::{Class, End, Step, Work, key};

/// Elements that a set may have. It begins with every other one, and as many are added as removed.
const ELEMENTS: u64 = 64;
/// Posts of the longest thread, and the most that a scan reads.
const POSTS_MAX: u64 = 100;
/// Bytes of posts that are loaded in one request.
const BATCH_BYTES: usize = 256 << 10;

/// How many things are loaded into each bucket: keys, or threads whose posts together are as many.
pub(crate) fn items(settings: &Settings) -> u64 {
    match settings.workload.tables() {
        // Threads are half of the longest on average.
        [Table::Threads] => (settings.keys * 2 / (POSTS_MAX + 1)).max(1),
        _ => settings.keys,
    }
}

/// The name of the bucket of a table.
fn bucket_name(settings: &Settings, table: Table) -> String {
    format!("{}-{}", settings.bucket, table.name())
}

/// Creates what buckets are missing.
pub(crate) async fn create_buckets(client: &Client, settings: &Settings) -> Result<(), LoadError> {
    for table in settings.workload.tables() {
        let defaults = BucketDefaults {
            r: Quorum::Majority,
            w: Quorum::Majority,
            dw: None,
            durability: settings.durability,
        };
        let name = bucket_name(settings, *table);
        client
            .create_bucket(&name, table.kind(), defaults)
            .await
            .map_err(LoadError::request("creating a bucket"))?;
    }
    Ok(())
}

/// Drops them.
pub(crate) async fn drop_buckets(client: &Client, settings: &Settings) {
    for table in settings.workload.tables() {
        let name = bucket_name(settings, *table);
        if let Err(error) = client.drop_bucket(&name).await {
            eprintln!("dunlin-loadtest: bucket {name} stays: {error}");
        }
    }
}

/// What one process asks.
#[derive(Debug)]
pub(crate) struct Target {
    tables: Vec<(Table, Bucket)>,
    mix: Mix,
    keys: Keys,
    items: u64,
    posts: Permutation,
    values: Values,
    seed: u64,
}

impl Target {
    /// Opens the buckets, as process `worker`.
    pub(crate) async fn open(
        client: &Client,
        settings: &Settings,
        worker: u16,
    ) -> Result<Arc<Self>, LoadError> {
        let client = client.with_options(settings.options());
        let mut tables = Vec::new();
        for table in settings.workload.tables() {
            let bucket = client.bucket(&bucket_name(settings, *table)).await;
            let bucket = bucket.map_err(LoadError::request("opening a bucket"))?;
            tables.push((*table, bucket));
        }
        let items = items(settings);
        let inserts = Inserts::new(worker.into(), settings.processes.into());
        Ok(Arc::new(Self {
            tables,
            mix: settings.mix,
            keys: Keys::new(settings.distribution, items, inserts),
            items,
            posts: Permutation::of(items),
            values: Values::new(settings.value.clone(), settings.seed),
            seed: settings.seed,
        }))
    }

    /// Writes an item into each bucket.
    pub(crate) async fn load(&self, item: u64) -> Result<(), Error> {
        let mut rng = Rng::with_seed(self.seed.rotate_left(20) ^ item);
        for (table, bucket) in &self.tables {
            match table {
                Table::Threads => self.load_thread(bucket, item, &mut rng).await?,
                Table::Register | Table::Lww | Table::Counter | Table::Set | Table::Map => {
                    self.insert(*table, bucket, item, &mut rng).await?;
                }
            }
        }
        Ok(())
    }

    async fn load_thread(&self, bucket: &Bucket, item: u64, rng: &mut Rng) -> Result<(), Error> {
        let thread = bucket.map(key(item))?;
        let posts = 1 + self.posts.place(item) % POSTS_MAX;
        let at_once =
            (BATCH_BYTES / self.values.largest().max(1)).clamp(1, POSTS_MAX as usize) as u64;
        let mut first = 0;
        while first < posts {
            let end = (first + at_once).min(posts);
            let changes = (first..end).fold(thread.changes(), |changes, post| {
                changes.put(post_name(post), self.values.draw(rng))
            });
            changes.send().await?;
            first = end;
        }
        Ok(())
    }

    async fn ask(&self, class: Class, rng: &mut Rng) -> Result<Found, Error> {
        let at = rng.usize(..self.tables.len().max(1));
        let Some((table, bucket)) = self.tables.get(at) else {
            return Ok(Found::No);
        };
        match class {
            Class::Read => self.read(*table, bucket, rng).await,
            Class::Update => self.update(*table, bucket, rng).await,
            Class::Modify => self.modify(*table, bucket, rng).await,
            Class::Scan => self.scan(bucket, rng).await,
            Class::Insert => {
                let (at, number) = self.keys.next_insert();
                let inserted = match table {
                    Table::Threads => {
                        // Evenly, so that threads that are read often are no longer than others.
                        let thread = key(rng.u64(..self.items));
                        self.post(bucket, thread, number, rng).await
                    }
                    Table::Register | Table::Lww | Table::Counter | Table::Set | Table::Map => {
                        self.insert(*table, bucket, number, rng).await
                    }
                };
                self.keys.insert_ended(at);
                inserted.map(|()| Found::Yes)
            }
        }
    }

    async fn post(
        &self,
        bucket: &Bucket,
        thread: String,
        number: u64,
        rng: &mut Rng,
    ) -> Result<(), Error> {
        let post = bucket.map(thread)?.lww(post_name(number));
        post.put(self.values.draw(rng)).await.map(|_| ())
    }

    async fn read(&self, table: Table, bucket: &Bucket, rng: &mut Rng) -> Result<Found, Error> {
        let key = key(self.keys.draw(rng));
        let found = match table {
            Table::Register => bucket.register(key)?.get().await?.is_some(),
            Table::Lww => bucket.lww(key)?.get().await?.is_some(),
            Table::Counter => bucket.counter(key)?.get().await? > 0,
            Table::Set => {
                // Either answer is right.
                bucket.set(key)?.has(element(rng.u64(..ELEMENTS))).await?;
                true
            }
            Table::Map => bucket.map(key)?.lww(NAME).get().await?.is_some(),
            Table::Threads => bucket.map(key)?.lww(post_name(0)).get().await?.is_some(),
        };
        Ok(Found::of(found))
    }

    async fn update(&self, table: Table, bucket: &Bucket, rng: &mut Rng) -> Result<Found, Error> {
        let key = key(self.keys.draw(rng));
        match table {
            Table::Register => {
                let value = self.values.draw(rng);
                bucket.register(key)?.overwrite(value).await?;
            }
            Table::Lww => {
                bucket.lww(key)?.put(self.values.draw(rng)).await?;
            }
            Table::Counter => {
                bucket.counter(key)?.increment(1).await?;
            }
            Table::Set => {
                let (set, element) = (bucket.set(key)?, element(rng.u64(..ELEMENTS)));
                match rng.bool() {
                    true => set.add([element]).await?,
                    false => set.remove([element]).await?,
                };
            }
            Table::Map => {
                let changes = bucket.map(key)?.changes();
                let changes = changes.put(NAME, self.values.draw(rng));
                changes.increment(VISITS, 1).send().await?;
            }
            Table::Threads => {
                let post = bucket.map(key)?.lww(post_name(0));
                post.put(self.values.draw(rng)).await?;
            }
        }
        Ok(Found::Yes)
    }

    /// Reads, and writes what rests on it: only the register tells what it has read.
    async fn modify(&self, table: Table, bucket: &Bucket, rng: &mut Rng) -> Result<Found, Error> {
        if table != Table::Register {
            self.read(table, bucket, rng).await?;
            return self.update(table, bucket, rng).await;
        }
        let register = bucket.register(key(self.keys.draw(rng)))?;
        let value = self.values.draw(rng);
        match register.get().await? {
            Some(read) => {
                register.put(value, &read.context).await?;
                Ok(Found::Yes)
            }
            None => Ok(Found::No),
        }
    }

    async fn scan(&self, bucket: &Bucket, rng: &mut Rng) -> Result<Found, Error> {
        let thread = bucket.map(key(self.keys.draw(rng)))?;
        let (mut posts, mut seen) = (thread.fields(), 0);
        while seen < POSTS_MAX
            && let Some(post) = posts.next().await
        {
            post?;
            seen += 1;
        }
        Ok(Found::of(seen > 0))
    }

    async fn insert(
        &self,
        table: Table,
        bucket: &Bucket,
        number: u64,
        rng: &mut Rng,
    ) -> Result<(), Error> {
        let key = key(number);
        match table {
            // Not as new: whoever loads twice would make siblings.
            Table::Register => {
                bucket
                    .register(key)?
                    .overwrite(self.values.draw(rng))
                    .await?
            }
            Table::Lww => bucket.lww(key)?.put(self.values.draw(rng)).await?,
            Table::Counter => bucket.counter(key)?.increment(1).await?,
            Table::Set => {
                let elements = (0..ELEMENTS).step_by(2).map(element);
                bucket.set(key)?.add(elements).await?
            }
            Table::Map | Table::Threads => {
                let changes = bucket.map(key)?.changes();
                let changes = changes.put(NAME, self.values.draw(rng));
                changes.increment(VISITS, 1).send().await?
            }
        };
        Ok(())
    }
}

impl Work for Target {
    async fn step(&self, _worker: usize, draw: u64) -> Step {
        let mut rng = Rng::with_seed(draw);
        let what = self.mix.draw(&mut rng);
        let end = match self.ask(what, &mut rng).await {
            Ok(Found::Yes) => End::Done,
            Ok(Found::No) => End::NotFound,
            Err(error) => End::Failed((&error).into()),
        };
        Step { what, end }
    }
}

/// Whether what was asked for was there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    Yes,
    No,
}

impl Found {
    fn of(found: bool) -> Self {
        match found {
            true => Self::Yes,
            false => Self::No,
        }
    }
}

/// The fields of a map that are written together.
const NAME: &str = "name";
const VISITS: &str = "visits";

fn element(number: u64) -> String {
    format!("element-{number:04}")
}

fn post_name(number: u64) -> String {
    format!("post-{number:012}")
}
