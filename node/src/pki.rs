//! The cluster's certificate authority: makes it, keeps it, and issues what nodes and users show.
//!
//! ```text
//! ca.pem          the authority's certificate; every node and user has a copy
//! ca-key.pem      its key, mode 0600; whoever has it can be anybody
//! node-n1.pem     a node's certificate     node-n1-key.pem    its key, mode 0600
//! user-ana.pem    a user's certificate     user-ana-key.pem   its key, mode 0600
//! ```
//!
//! Which names a certificate carries, and how they are checked, is told in [`dunlin_client::tls`].
//! Addresses are in none of them: a node keeps its certificate when it moves. Files appear whole
//! or not at all, and none is ever overwritten: a lost authority key cannot be made again.
//!
//! Nothing is revoked here. A lost key is answered with a new authority.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use dunlin_client::tls::{ClusterName, IdentityFiles, Role, TlsError};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PublicKeyData, SanType,
};
use rustls::pki_types::{CertificateDer, pem::PemObject};
use webpki::EndEntityCert;

/// The authority's certificate, in the directory it is saved in.
pub const AUTHORITY_FILE: &str = "ca.pem";

/// The authority's key, in the same directory.
pub const AUTHORITY_KEY_FILE: &str = "ca-key.pem";

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// How long certificates of nodes and users are valid.
pub const ISSUED_VALIDITY: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// How long the authority is: it must outlive whatever it issues in its first ten years.
pub const AUTHORITY_VALIDITY: Duration = Duration::from_secs(20 * 365 * 24 * 60 * 60);

/// Validity begins this long before the time of issue, so that a machine whose clock is behind
/// does not refuse a fresh certificate.
const BACKDATED: Duration = DAY;

/// Why nothing was issued, saved or loaded.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// A name that a certificate cannot carry, or a certificate that is not an authority's.
    #[error(transparent)]
    Name(#[from] TlsError),
    /// The certificate or key could not be made or signed.
    #[error("cannot make the certificate: {0}")]
    Issue(#[from] rcgen::Error),
    /// A file of this name is there already. Nothing was written.
    #[error("{file} exists already and is not overwritten")]
    Exists {
        /// Which file.
        file: PathBuf,
    },
    /// A file cannot be read or written.
    #[error("{file}: {source}")]
    File {
        /// Which file.
        file: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A file does not hold what it should.
    #[error("{file} holds no {what}")]
    Content {
        /// Which file.
        file: PathBuf,
        /// What it should hold.
        what: &'static str,
    },
    /// The authority's key is not the one its certificate was made with.
    #[error("the key in {file} does not fit the authority's certificate")]
    KeyMismatch {
        /// The key's file.
        file: PathBuf,
    },
}

/// A certificate with its private key, both as PEM text.
#[derive(Clone, PartialEq, Eq)]
pub struct Issued {
    role: Role,
    certificate_pem: String,
    key_pem: String,
}

impl Issued {
    /// The certificate.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// The private key. A secret.
    pub fn key_pem(&self) -> &str {
        &self.key_pem
    }

    /// Writes both into `dir`, the key readable by its owner only, and says where; the authority
    /// is expected beside them.
    pub fn save(&self, dir: &Path) -> Result<IdentityFiles, PkiError> {
        let stem = match &self.role {
            Role::Node(name) => format!("node-{name}"),
            Role::User(name) => format!("user-{name}"),
        };
        let certificate = dir.join(format!("{stem}.pem"));
        let key = dir.join(format!("{stem}-key.pem"));
        write_pair((&certificate, &self.certificate_pem), (&key, &self.key_pem))?;
        Ok(IdentityFiles {
            certificate,
            key,
            authority: dir.join(AUTHORITY_FILE),
        })
    }
}

/// The authority of one cluster.
pub struct ClusterAuthority {
    cluster: ClusterName,
    certificate_pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl ClusterAuthority {
    /// Makes a new authority, valid for [`AUTHORITY_VALIDITY`] from `now`.
    pub fn create(cluster: ClusterName, now: SystemTime) -> Result<Self, PkiError> {
        let key = KeyPair::generate()?;
        let mut params = authority_params(&cluster)?;
        set_validity(&mut params, now, AUTHORITY_VALIDITY);
        let certificate_pem = params.self_signed(&key)?.pem();
        Ok(Self {
            cluster,
            certificate_pem,
            issuer: Issuer::new(params, key),
        })
    }

    /// Loads what [`ClusterAuthority::save`] wrote.
    pub fn load(dir: &Path) -> Result<Self, PkiError> {
        let certificate_file = dir.join(AUTHORITY_FILE);
        let key_file = dir.join(AUTHORITY_KEY_FILE);
        let certificate_pem = read(&certificate_file)?;
        let key = KeyPair::from_pem(&read(&key_file)?).map_err(|_| PkiError::Content {
            file: key_file.clone(),
            what: "private key",
        })?;
        let der = CertificateDer::from_pem_slice(certificate_pem.as_bytes()).map_err(|_| {
            PkiError::Content {
                file: certificate_file.clone(),
                what: "certificate",
            }
        })?;
        let parsed = EndEntityCert::try_from(&der).map_err(|_| PkiError::Content {
            file: certificate_file,
            what: "certificate",
        })?;
        let own_name = parsed.valid_dns_names().next().ok_or(TlsError::NoName)?;
        let cluster = ClusterName::from_authority_name(own_name)?;
        if parsed.subject_public_key_info().as_ref() != key.subject_public_key_info() {
            return Err(PkiError::KeyMismatch { file: key_file });
        }
        let issuer = Issuer::new(authority_params(&cluster)?, key);
        Ok(Self {
            cluster,
            certificate_pem,
            issuer,
        })
    }

    /// Writes certificate and key into `dir`, which must exist.
    pub fn save(&self, dir: &Path) -> Result<(), PkiError> {
        write_pair(
            (&dir.join(AUTHORITY_FILE), &self.certificate_pem),
            (
                &dir.join(AUTHORITY_KEY_FILE),
                &self.issuer.key().serialize_pem(),
            ),
        )
    }

    /// The cluster this is the authority of.
    pub fn cluster(&self) -> &ClusterName {
        &self.cluster
    }

    /// The authority's certificate, for whoever shall trust it.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// Issues a node's certificate, valid for [`ISSUED_VALIDITY`] from `now`. It serves and dials.
    pub fn issue_node(&self, name: &str, now: SystemTime) -> Result<Issued, PkiError> {
        let usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        self.issue(Role::node(name)?, usages, now)
    }

    /// Issues a user's certificate, valid for [`ISSUED_VALIDITY`] from `now`. It only dials.
    pub fn issue_user(&self, name: &str, now: SystemTime) -> Result<Issued, PkiError> {
        self.issue(
            Role::user(name)?,
            vec![ExtendedKeyUsagePurpose::ClientAuth],
            now,
        )
    }

    fn issue(
        &self,
        role: Role,
        usages: Vec<ExtendedKeyUsagePurpose>,
        now: SystemTime,
    ) -> Result<Issued, PkiError> {
        let mut params = named(role.dns_name(&self.cluster), &role.to_string())?;
        set_validity(&mut params, now, ISSUED_VALIDITY);
        params.is_ca = IsCa::ExplicitNoCa;
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = usages;
        let key = KeyPair::generate()?;
        let certificate_pem = params.signed_by(&key, &self.issuer)?.pem();
        Ok(Issued {
            role,
            certificate_pem,
            key_pem: key.serialize_pem(),
        })
    }
}

/// What an authority's certificate says, but for its validity. Depends on the cluster's name only,
/// so that a loaded authority signs exactly as the one that was saved.
fn authority_params(cluster: &ClusterName) -> Result<CertificateParams, PkiError> {
    let mut params = named(
        cluster.authority_name(),
        &format!("authority of cluster {cluster}"),
    )?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

fn named(dns_name: String, common_name: &str) -> Result<CertificateParams, PkiError> {
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![SanType::DnsName(dns_name.try_into()?)];
    params
        .distinguished_name
        .push(DnType::CommonName, common_name);
    Ok(params)
}

fn set_validity(params: &mut CertificateParams, now: SystemTime, validity: Duration) {
    params.not_before = (now - BACKDATED).into();
    params.not_after = (now + validity).into();
}

fn read(file: &Path) -> Result<String, PkiError> {
    fs::read_to_string(file).map_err(|source| PkiError::File {
        file: file.to_owned(),
        source,
    })
}

/// Writes a certificate and its key, or neither if one of them is there already.
fn write_pair(
    (certificate_file, certificate): (&Path, &str),
    (key_file, key): (&Path, &str),
) -> Result<(), PkiError> {
    for file in [certificate_file, key_file] {
        if file.exists() {
            return Err(PkiError::Exists {
                file: file.to_owned(),
            });
        }
    }
    // Ordering: the certificate last, so that where there is one its key is there too.
    write_new(key_file, key, 0o600)?;
    write_new(certificate_file, certificate, 0o644)
}

/// Makes a file appear whole, synced, with `mode` from the start, if there is none of its name.
fn write_new(file: &Path, text: &str, mode: u32) -> Result<(), PkiError> {
    let mut unfinished = file.as_os_str().to_owned();
    unfinished.push(".unfinished");
    let unfinished = PathBuf::from(unfinished);
    let written = (|| {
        // One that a crash has left behind.
        match fs::remove_file(&unfinished) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let mut out = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(&unfinished)?;
        out.write_all(text.as_bytes())?;
        out.sync_all()?;
        // Unlike a rename, a link does not replace what is there.
        let linked = fs::hard_link(&unfinished, file);
        fs::remove_file(&unfinished)?;
        linked?;
        match file.parent() {
            Some(dir) if !dir.as_os_str().is_empty() => File::open(dir)?.sync_all(),
            Some(_) | None => Ok(()),
        }
    })();
    written.map_err(|source| match source.kind() {
        io::ErrorKind::AlreadyExists => PkiError::Exists {
            file: file.to_owned(),
        },
        _ => PkiError::File {
            file: file.to_owned(),
            source,
        },
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use dunlin_client::tls::Identity;
    use rustls::pki_types::UnixTime;

    use super::*;

    /// Some day in 2033.
    fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(2_000_000_000)
    }

    fn at(time: SystemTime) -> UnixTime {
        UnixTime::since_unix_epoch(time.duration_since(SystemTime::UNIX_EPOCH).unwrap())
    }

    fn authority(cluster: &str) -> ClusterAuthority {
        ClusterAuthority::create(ClusterName::new(cluster).unwrap(), now()).unwrap()
    }

    fn identity(
        issued: &Issued,
        authority: &ClusterAuthority,
        time: SystemTime,
    ) -> Result<Identity, TlsError> {
        let authority_pem = authority.certificate_pem();
        Identity::from_pem(
            issued.certificate_pem(),
            issued.key_pem(),
            authority_pem,
            at(time),
        )
    }

    #[test]
    fn a_loaded_authority_issues_what_the_saved_one_vouches_for() {
        let dir = tempfile::tempdir().unwrap();
        let saved = authority("shop");
        saved.save(dir.path()).unwrap();
        let loaded = ClusterAuthority::load(dir.path()).unwrap();
        assert_eq!(loaded.cluster().as_str(), "shop");
        let node = identity(&loaded.issue_node("n1", now()).unwrap(), &saved, now()).unwrap();
        assert_eq!(node.role(), &Role::Node("n1".into()));
        let user = identity(&loaded.issue_user("ana", now()).unwrap(), &saved, now()).unwrap();
        assert_eq!(user.role(), &Role::User("ana".into()));
        assert_eq!(user.cluster().as_str(), "shop");
    }

    #[test]
    fn an_identity_is_loaded_from_the_files_that_were_saved() {
        let dir = tempfile::tempdir().unwrap();
        let authority = authority("shop");
        authority.save(dir.path()).unwrap();
        let files = authority
            .issue_user("ana", now())
            .unwrap()
            .save(dir.path())
            .unwrap();
        let identity = Identity::load(&files, at(now())).unwrap();
        assert_eq!(identity.role(), &Role::User("ana".into()));
    }

    #[test]
    fn keys_are_readable_by_their_owner_only_and_nothing_unfinished_stays() {
        let dir = tempfile::tempdir().unwrap();
        let authority = authority("shop");
        authority.save(dir.path()).unwrap();
        let files = authority
            .issue_node("n1", now())
            .unwrap()
            .save(dir.path())
            .unwrap();
        for key in [dir.path().join(AUTHORITY_KEY_FILE), files.key] {
            let mode = fs::metadata(&key).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{}", key.display());
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 4);
    }

    #[test]
    fn no_file_is_ever_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        authority("shop").save(dir.path()).unwrap();
        let before = fs::read(dir.path().join(AUTHORITY_KEY_FILE)).unwrap();
        fs::remove_file(dir.path().join(AUTHORITY_FILE)).unwrap();
        let again = authority("shop").save(dir.path());
        assert!(matches!(again, Err(PkiError::Exists { .. })), "{again:?}");
        assert_eq!(
            fs::read(dir.path().join(AUTHORITY_KEY_FILE)).unwrap(),
            before
        );
        assert!(!dir.path().join(AUTHORITY_FILE).exists());
    }

    #[test]
    fn a_key_of_another_authority_is_noticed_when_it_is_loaded() {
        let dir = tempfile::tempdir().unwrap();
        authority("shop").save(dir.path()).unwrap();
        fs::write(
            dir.path().join(AUTHORITY_KEY_FILE),
            KeyPair::generate().unwrap().serialize_pem(),
        )
        .unwrap();
        let loaded = ClusterAuthority::load(dir.path()).map(|_| ());
        assert!(
            matches!(loaded, Err(PkiError::KeyMismatch { .. })),
            "{loaded:?}"
        );
    }

    #[test]
    fn another_authority_of_the_same_name_does_not_vouch_for_it() {
        let issued = authority("shop").issue_node("n1", now()).unwrap();
        let refused = identity(&issued, &authority("shop"), now());
        assert!(
            matches!(refused, Err(TlsError::NotIssuedHere(_))),
            "{refused:?}"
        );
    }

    #[test]
    fn certificates_are_valid_for_ten_years_and_a_day_before() {
        let authority = authority("shop");
        let issued = authority.issue_user("ana", now()).unwrap();
        for (time, valid) in [
            (now() - BACKDATED, true),
            (now() - BACKDATED - Duration::from_secs(1), false),
            (now() + ISSUED_VALIDITY, true),
            (now() + ISSUED_VALIDITY + Duration::from_secs(1), false),
        ] {
            assert_eq!(
                identity(&issued, &authority, time).is_ok(),
                valid,
                "{time:?}"
            );
        }
    }

    #[test]
    fn names_that_are_no_dns_label_are_refused() {
        let authority = authority("shop");
        for name in [
            "",
            "N1",
            "a.b",
            "-a",
            "a-",
            "a_b",
            "../etc",
            &"x".repeat(64),
        ] {
            assert!(
                matches!(authority.issue_user(name, now()), Err(PkiError::Name(_))),
                "{name}"
            );
        }
    }
}
