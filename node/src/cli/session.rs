//! From the command line to a client of the cluster.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::time::Duration;

use dunlin_client::{Bucket, BucketName, Client, Options, Session as ClientSession};

use super::args::{Asking, Global};
use super::fault::Fault;
use super::token_file::TokenFile;

/// Where a cluster for development has its file.
const CLUSTER_FILE_DEFAULT: &str = "./dunlin-dev/cluster.toml";

/// How long it may take to say goodbye.
const FAREWELL: Duration = Duration::from_millis(10);

/// Which cluster, and the connection to it.
#[derive(Debug)]
pub(crate) struct Session {
    cluster_file: PathBuf,
    /// Set if it was named, so that commands to be pasted name it too.
    named: bool,
    /// Kept to be closed at the end, whichever way the command takes there.
    client: RefCell<Option<Client>>,
    /// The session that requests are made in, and where its token is kept.
    token: RefCell<Option<(TokenFile, ClientSession)>>,
}

impl Session {
    /// The cluster that the command line names.
    pub(crate) fn new(global: &Global) -> Self {
        Self {
            cluster_file: global
                .cluster
                .clone()
                .unwrap_or_else(|| CLUSTER_FILE_DEFAULT.into()),
            named: global.cluster.is_some(),
            client: RefCell::new(None),
            token: RefCell::new(None),
        }
    }

    /// The cluster file.
    pub(crate) fn cluster_file(&self) -> &Path {
        &self.cluster_file
    }

    /// The cluster file, if it was named.
    pub(crate) fn named_file(&self) -> Option<&Path> {
        self.named.then_some(self.cluster_file.as_path())
    }

    /// Connects.
    pub(crate) async fn connect(&self, options: Options) -> Result<Client, Fault> {
        let builder = Client::builder()
            .cluster_file(&self.cluster_file)
            .options(options);
        let client = builder.connect().await?;
        self.client.replace(Some(client.clone()));
        Ok(client)
    }

    /// Tells the nodes that the connection ends.
    pub(crate) async fn close(&self) {
        let client = self.client.take();
        if let Some(client) = client {
            // The word is out at once; whether it arrived need not be waited for.
            let _ = tokio::time::timeout(FAREWELL, client.close()).await;
        }
    }

    /// Keeps the token of the session that the command was part of, whatever has become of the command: what it
    /// wrote and showed before it failed belongs to the session, too.
    pub(crate) fn keep_token(&self) -> Result<(), Fault> {
        match self.token.take() {
            Some((file, session)) => file.keep(&session.token()),
            None => Ok(()),
        }
    }

    /// Connects and opens a bucket.
    pub(crate) async fn bucket(&self, name: &BucketName, asking: &Asking) -> Result<Bucket, Fault> {
        // Before anything is sent: what is in the file may be no token.
        let file = asking.session.as_deref().map(TokenFile::open).transpose()?;
        let client = self.connect(asking.options()).await?;
        let Some(file) = file else {
            return client.bucket(name.as_str()).await.map_err(Fault::Bucket);
        };
        let session = file.session(&client)?;
        self.token.replace(Some((file, session.clone())));
        session.bucket(name.as_str()).await.map_err(Fault::Bucket)
    }
}
