//! Garage's K2V: leaderless and causal, as Dunlin is, over HTTP.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{
    PayloadChecksumKind, SignableBody, SignableRequest, SigningSettings, sign,
};
use aws_sigv4::sign::v4;
use dunlin_loadtest::contest::{Bytes, Contender, Reply, Store, Survives};
use reqwest::header::HeaderValue;
use reqwest::{Client, Method, Response, StatusCode};

use crate::server::{NODES, Servers, StartError, free_ports, until_ready};

const REGION: &str = "garage";
const BUCKET: &str = "contest";
const TOKEN: &str = "x-garage-causality-token";
/// Keys are spread over partition keys, which is what Garage places.
const PARTITION_KEYS: u32 = 256;

/// Starts it, with `consistency_mode = "consistent"`: two of three for reads and for writes.
pub(crate) async fn start(program: &Path, survives: Survives) -> Result<Contender, StartError> {
    let mut servers = Servers::new(program)?;
    let (rpc, s3, k2v) = (
        free_ports::<NODES>()?,
        free_ports::<NODES>()?,
        free_ports::<NODES>()?,
    );
    let fsync = survives == Survives::PowerLoss;
    let secret = "5a".repeat(32);
    let mut configs = Vec::new();
    for (at, ((rpc, s3), k2v)) in rpc.iter().zip(s3).zip(k2v).enumerate() {
        let dir = servers.dir(at + 1)?;
        let shown = dir.display();
        let config = format!(
            "metadata_dir = \"{shown}/meta\"\ndata_dir = \"{shown}/data\"\ndb_engine = \"lmdb\"\n\
             metadata_fsync = {fsync}\nreplication_factor = 3\nconsistency_mode = \"consistent\"\n\
             rpc_bind_addr = \"127.0.0.1:{rpc}\"\nrpc_public_addr = \"127.0.0.1:{rpc}\"\n\
             rpc_secret = \"{secret}\"\n[s3_api]\ns3_region = \"{REGION}\"\n\
             api_bind_addr = \"127.0.0.1:{s3}\"\n[k2v_api]\napi_bind_addr = \"127.0.0.1:{k2v}\"\n"
        );
        let file = dir.join("garage.toml");
        std::fs::write(&file, config).map_err(StartError::at("garage.toml"))?;
        let file = file.display().to_string();
        servers.start(
            at + 1,
            &["-c".to_owned(), file.clone(), "server".to_owned()],
        )?;
        configs.push(file);
    }
    let Some(first) = configs.first() else {
        return Err(StartError::Failed("no node".to_owned()));
    };
    let mut ids = Vec::new();
    for config in &configs {
        let id = until_ready("garage node id", || async {
            let said = servers.command(&["-c", config, "node", "id", "-q"]);
            said.map_err(|error| error.to_string())
        });
        ids.push(id.await?.trim().to_owned());
    }
    let garage = |words: &[&str]| {
        let words: Vec<&str> = ["-c", first].iter().chain(words).copied().collect();
        servers.command(&words)
    };
    for id in ids.iter().skip(1) {
        let connect = || async { garage(&["node", "connect", id]).map_err(|e| e.to_string()) };
        until_ready("garage node connect", connect).await?;
    }
    for id in &ids {
        let name = id.split('@').next().unwrap_or_default();
        garage(&["layout", "assign", "-z", "dc1", "-c", "1G", name])?;
    }
    garage(&["layout", "apply", "--version", "1"])?;
    let key = until_ready("garage key create", || async {
        garage(&["key", "create", BUCKET]).map_err(|error| error.to_string())
    });
    let said = key.await?;
    let (id, secret) = (field(&said, "Key ID")?, field(&said, "Secret key")?);
    garage(&["bucket", "create", BUCKET])?;
    garage(&[
        "bucket", "allow", "--read", "--write", BUCKET, "--key", BUCKET,
    ])?;
    let store = Arc::new(Garage {
        http: Client::new(),
        credentials: Credentials::new(id, secret, None, None, "garage"),
        nodes: k2v
            .iter()
            .map(|port| format!("http://127.0.0.1:{port}"))
            .collect(),
        next: AtomicUsize::new(0),
    });
    until_ready("garage", || async {
        store
            .put("ready".to_owned(), Bytes::from_static(b"yes"))
            .await
    })
    .await?;
    Ok(Contender {
        name: "garage",
        store,
        processes: servers.processes(),
        promises: format!(
            "2 of 3, {}; R=2 of 3; any node takes writes; a put is a read for its token, and a write",
            match survives {
                Survives::PowerLoss => "metadata synced",
                Survives::ProcessDeath => "not synced",
            }
        ),
        servers: Box::new(servers),
    })
}

/// What follows a name in what the command line says.
fn field(said: &str, name: &str) -> Result<String, StartError> {
    let mut lines = said.lines();
    let value = lines.find_map(|line| line.trim().strip_prefix(name)?.trim().strip_prefix(':'));
    let value = value.map(|value| value.trim().to_owned());
    value.ok_or_else(|| StartError::Failed(format!("there is no {name} in: {said}")))
}

struct Garage {
    http: Client,
    credentials: Credentials,
    nodes: Vec<String>,
    next: AtomicUsize,
}

impl Garage {
    /// `token` names what a write has seen, and so replaces.
    async fn ask(
        &self,
        method: Method,
        key: &str,
        token: Option<&HeaderValue>,
        body: Bytes,
    ) -> Result<Response, String> {
        let at = self.next.fetch_add(1, Relaxed) % self.nodes.len().max(1);
        let node = self.nodes.get(at).ok_or_else(|| "no node".to_owned())?;
        let spread = key.bytes().fold(0_u32, |sum, byte| {
            sum.wrapping_mul(31).wrapping_add(byte.into())
        });
        let place = spread % PARTITION_KEYS;
        let url = format!("{node}/{BUCKET}/p{place}?sort_key={key}");
        let mut settings = SigningSettings::default();
        settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
        let identity = self.credentials.clone().into();
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(REGION)
            .name("k2v")
            .time(SystemTime::now())
            .settings(settings)
            .build()
            .map_err(|error| error.to_string())?
            .into();
        let signable = SignableRequest::new(
            method.as_str(),
            &url,
            std::iter::empty(),
            SignableBody::Bytes(&body),
        );
        let signed = signable.and_then(|request| sign(request, &params));
        let (instructions, _) = signed.map_err(|error| error.to_string())?.into_parts();
        let mut request = self.http.request(method, &url);
        for (name, value) in instructions.headers() {
            request = request.header(name, value);
        }
        if let Some(token) = token {
            request = request.header(TOKEN, token);
        }
        let request = request.header("accept", "application/octet-stream");
        request
            .body(body)
            .send()
            .await
            .map_err(|error| error.to_string())
    }
}

impl Store for Garage {
    fn put(&self, key: String, value: Bytes) -> Reply<'_, ()> {
        Box::pin(async move {
            // Without a token the value would stand beside all earlier ones.
            let seen = self.ask(Method::GET, &key, None, Bytes::new()).await?;
            let token = seen.headers().get(TOKEN).cloned();
            // Read to its end, so that the connection can be used again.
            seen.bytes().await.map_err(|error| error.to_string())?;
            let response = self.ask(Method::PUT, &key, token.as_ref(), value).await?;
            match response.status().is_success() {
                true => Ok(()),
                false => Err(told(response).await),
            }
        })
    }

    fn get(&self, key: String) -> Reply<'_, bool> {
        Box::pin(async move {
            let response = self.ask(Method::GET, &key, None, Bytes::new()).await?;
            match response.status() {
                StatusCode::NOT_FOUND => Ok(false),
                // Several values at once, of writes that did not see each other.
                StatusCode::CONFLICT => Ok(true),
                status if status.is_success() => {
                    let value = response.bytes().await.map_err(|error| error.to_string())?;
                    Ok(!value.is_empty())
                }
                _ => Err(told(response).await),
            }
        })
    }
}

async fn told(response: Response) -> String {
    let status = response.status();
    let text = response.text().await.unwrap_or_default();
    format!("{status}: {text}")
}
