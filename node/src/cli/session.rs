//! From the command line to a client of the cluster.

use std::path::{Path, PathBuf};

use dunlin_client::{Bucket, BucketName, Client, Options};

use super::args::{Asking, Global};
use super::fault::Fault;

/// Where a cluster for development has its file.
const CLUSTER_FILE_DEFAULT: &str = "./dunlin-dev/cluster.toml";

/// Which cluster.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    cluster_file: PathBuf,
    /// Set if it was named, so that commands to be pasted name it too.
    named: bool,
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
        Ok(builder.connect().await?)
    }

    /// Connects and opens a bucket.
    pub(crate) async fn bucket(
        &self,
        name: &BucketName,
        asking: &Asking,
    ) -> Result<(Client, Bucket), Fault> {
        let client = self.connect(asking.options()).await?;
        let bucket = client.bucket(name.as_str()).await.map_err(Fault::Read)?;
        Ok((client, bucket))
    }
}
