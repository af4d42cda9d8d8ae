//! `dunlin cert`: the certificates that a cluster on real machines needs. Nothing is asked of a cluster, and
//! no file that is there is ever overwritten.

use std::path::Path;
use std::time::SystemTime;

use dunlin_client::tls::{ClusterName, IdentityFiles};
use dunlin_node::pki::{AUTHORITY_FILE, AUTHORITY_KEY_FILE, ClusterAuthority, PkiError};
use serde_json::json;

use super::args::{CertCommand, CertPlace};
use super::ended::Ended;
use super::fault::Fault;
use super::output::Output;

/// Runs `dunlin cert …`.
pub(crate) fn run(out: &mut Output, command: CertCommand) -> Result<Ended, Fault> {
    match command {
        CertCommand::Create { name, place } => create(out, &name, &place.dir),
        CertCommand::Node { name, place } => issue(out, &place, |authority, now| {
            authority.issue_node(&name, now)?.save(&place.dir)
        }),
        CertCommand::User { name, place } => issue(out, &place, |authority, now| {
            authority.issue_user(&name, now)?.save(&place.dir)
        }),
    }
}

fn create(out: &mut Output, name: &str, dir: &Path) -> Result<Ended, Fault> {
    let cluster = ClusterName::new(name).map_err(PkiError::from)?;
    let authority = ClusterAuthority::create(cluster, SystemTime::now())?;
    authority.save(dir)?;
    show(
        out,
        &dir.join(AUTHORITY_FILE),
        &dir.join(AUTHORITY_KEY_FILE),
    )
}

fn issue(
    out: &mut Output,
    place: &CertPlace,
    issue: impl Fn(&ClusterAuthority, SystemTime) -> Result<IdentityFiles, PkiError>,
) -> Result<Ended, Fault> {
    let authority = ClusterAuthority::load(&place.dir)?;
    let files = issue(&authority, SystemTime::now())?;
    show(out, &files.certificate, &files.key)
}

fn show(out: &mut Output, certificate: &Path, key: &Path) -> Result<Ended, Fault> {
    if out.is_json() {
        out.json_line(&json!({ "certificate": certificate, "key": key }))?;
    } else {
        out.line(&format!("certificate: {}", certificate.display()))?;
        out.line(&format!("key, a secret: {}", key.display()))?;
    }
    Ok(Ended::Done)
}
