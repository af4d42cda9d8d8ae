//! Who is who: certificates, and the TLS settings made of them.
//!
//! Every connection is mutual TLS 1.3 under the cluster's own authority. A certificate says what
//! its holder is by one DNS name:
//!
//! ```text
//! n1.node.shop.dunlin     node n1 of the cluster shop
//! ana.user.shop.dunlin    user ana of the cluster shop
//! ```
//!
//! The name is checked inside the handshake, on both sides, so a certificate of another cluster
//! never gets as far as a connection, even if the same authority signed it. What the handshake
//! cannot see, that the protocol chosen fits the role, [`peer_role`] checks right after it: only
//! nodes may speak `dunlin-peer/1`. Nothing is resumed and nothing is sent early: a connection is
//! always a whole handshake with both certificates.
//!
//! Names of hosts and addresses play no part. Issuing certificates is the node's business.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use quinn::crypto::rustls::{HandshakeData, QuicClientConfig, QuicServerConfig};
use rustls::{
    RootCertStore,
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, UnixTime, pem::PemObject},
    sign::CertifiedKey,
};
use webpki::EndEntityCert;

use verifier::{ClientVerifier, ServerVerifier};

pub use name::{ClusterName, Role};

mod name;
#[cfg(test)]
pub(crate) mod test_authority;
#[cfg(test)]
mod tests;
mod verifier;

/// What a connection is for; chosen by the dialing side, by ALPN.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WireProtocol {
    /// Requests of applications, and of nodes acting for them.
    Client,
    /// What nodes say to each other.
    Peer,
}

impl WireProtocol {
    /// The ALPN identifier.
    pub const fn alpn(self) -> &'static [u8] {
        match self {
            Self::Client => b"dunlin/1",
            Self::Peer => b"dunlin-peer/1",
        }
    }
}

/// Why a certificate, a key or a connection is not accepted. Nothing was sent or changed; trying
/// again does not help before the files or the other side have changed.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {file}: {source}")]
    Read {
        /// Which file.
        file: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A file is not PEM, or holds nothing of what it should hold.
    #[error("{file} holds no {what}: {source}")]
    Pem {
        /// Which file.
        file: PathBuf,
        /// What it should hold.
        what: &'static str,
        /// What is wrong with it.
        source: rustls::pki_types::pem::Error,
    },
    /// The private key does not belong to the certificate, or is of a kind not supported.
    #[error("the private key does not fit the certificate: {0}")]
    Key(rustls::Error),
    /// The authority's certificate is not one.
    #[error("the certificate of the authority is not usable: {0}")]
    Authority(rustls::Error),
    /// A certificate was not issued by the cluster's authority, or has expired.
    #[error("the certificate was not issued by this cluster's authority, or has expired: {0}")]
    NotIssuedHere(webpki::Error),
    /// A certificate is not of this scheme.
    #[error("the certificate does not name one node or user of one cluster")]
    NoName,
    /// A cluster, node or user name that cannot be a label of a DNS name.
    #[error("the name {0:?} is not 1 to 63 of a-z, 0-9 and inner hyphens")]
    BadName(String),
    /// The connection's other side showed no certificate, or chose no known protocol.
    #[error("the peer has not authenticated itself")]
    Unauthenticated,
    /// A user's certificate on a connection between nodes.
    #[error("user {user} may not speak the peer protocol")]
    NotANode {
        /// Who tried.
        user: String,
    },
    /// The settings were refused by the TLS library.
    #[error("TLS settings: {0}")]
    Settings(rustls::Error),
}

/// Where the files of an [`Identity`] are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct IdentityFiles {
    /// The holder's certificate, and any between it and the authority's.
    pub certificate: PathBuf,
    /// The holder's private key.
    pub key: PathBuf,
    /// The authority's certificate.
    pub authority: PathBuf,
}

/// A certificate with its key and the authority to trust: everything one end needs.
///
/// Invariant: the key fits the certificate, the authority issued it, and it names one role of one
/// cluster.
pub struct Identity {
    cert_chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    roots: Arc<RootCertStore>,
    role: Role,
    cluster: ClusterName,
}

impl Identity {
    /// Loads and checks the three files. `now` is what the certificate's validity is judged by.
    pub fn load(files: &IdentityFiles, now: UnixTime) -> Result<Self, TlsError> {
        let certificates = read(&files.certificate)?;
        let key = read(&files.key)?;
        let authority = read(&files.authority)?;
        let named = |file: &Path, what| {
            let file = file.to_owned();
            move |source| TlsError::Pem { file, what, source }
        };
        Self::new(
            certificates_of(&certificates).map_err(named(&files.certificate, "certificate"))?,
            PrivateKeyDer::from_pem_slice(&key).map_err(named(&files.key, "private key"))?,
            certificates_of(&authority).map_err(named(&files.authority, "certificate"))?,
            now,
        )
    }

    /// As [`Identity::load`], from PEM text already in memory.
    pub fn from_pem(
        certificates: &str,
        key: &str,
        authority: &str,
        now: UnixTime,
    ) -> Result<Self, TlsError> {
        let named = |what: &'static str| {
            move |source| TlsError::Pem {
                file: "the PEM text given".into(),
                what,
                source,
            }
        };
        Self::new(
            certificates_of(certificates.as_bytes()).map_err(named("certificate"))?,
            PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(named("private key"))?,
            certificates_of(authority.as_bytes()).map_err(named("certificate"))?,
            now,
        )
    }

    fn new(
        cert_chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
        authority: Vec<CertificateDer<'static>>,
        now: UnixTime,
    ) -> Result<Self, TlsError> {
        let mut roots = RootCertStore::empty();
        for certificate in authority {
            roots.add(certificate).map_err(TlsError::Authority)?;
        }
        let (end_entity, intermediates) = cert_chain.split_first().ok_or(TlsError::NoName)?;
        let (role, cluster) = verify_issued(end_entity, intermediates, &roots, now)?;
        CertifiedKey::from_der(
            cert_chain.clone(),
            key.clone_key(),
            &ring::default_provider(),
        )
        .and_then(|certified| certified.keys_match())
        .map_err(TlsError::Key)?;
        Ok(Self {
            cert_chain,
            key,
            roots: Arc::new(roots),
            role,
            cluster,
        })
    }

    /// Who this is.
    pub fn role(&self) -> &Role {
        &self.role
    }

    /// The cluster it belongs to.
    pub fn cluster(&self) -> &ClusterName {
        &self.cluster
    }

    /// Settings to dial with, without transport settings; see
    /// [`TransportSettings::client_config`](crate::transport::TransportSettings::client_config).
    pub fn quic_client(&self, protocol: WireProtocol) -> Result<QuicClientConfig, TlsError> {
        let verifier = ServerVerifier::new(self.roots.clone(), self.cluster.clone());
        // The name in the certificate is not that of a host, so the stock verifier does not fit;
        // ours checks the same chain and then the name.
        let mut config = rustls::ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(TlsError::Settings)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_client_auth_cert(self.cert_chain.clone(), self.key.clone_key())
            .map_err(TlsError::Key)?;
        config.alpn_protocols = vec![protocol.alpn().to_vec()];
        config.resumption = rustls::client::Resumption::disabled();
        config.enable_early_data = false;
        QuicClientConfig::try_from(config).map_err(no_initial_suite)
    }

    /// Settings to accept both protocols with, without transport settings; see
    /// [`TransportSettings::server_config`](crate::transport::TransportSettings::server_config).
    pub fn quic_server(&self) -> Result<QuicServerConfig, TlsError> {
        let verifier = ClientVerifier::new(self.roots.clone(), self.cluster.clone())?;
        let mut config = rustls::ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(TlsError::Settings)?
            .with_client_cert_verifier(Arc::new(verifier))
            .with_single_cert(self.cert_chain.clone(), self.key.clone_key())
            .map_err(TlsError::Key)?;
        config.alpn_protocols = vec![
            WireProtocol::Client.alpn().to_vec(),
            WireProtocol::Peer.alpn().to_vec(),
        ];
        config.send_tls13_tickets = 0;
        config.max_early_data_size = 0;
        QuicServerConfig::try_from(config).map_err(no_initial_suite)
    }
}

impl fmt::Debug for Identity {
    /// Leaves the key out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("role", &self.role)
            .field("cluster", &self.cluster)
            .finish_non_exhaustive()
    }
}

/// Who is at the other end of a connection, and what it came for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PeerIdentity {
    /// Node or user, with its name.
    pub role: Role,
    /// Always our own; the handshake refuses others.
    pub cluster: ClusterName,
    /// The protocol that the dialing side chose.
    pub protocol: WireProtocol,
}

/// Reads who is at the other end of a connection whose handshake is complete.
///
/// Refuses a user on the peer protocol: an error means that the caller closes the connection.
pub fn peer_role(connection: &quinn::Connection) -> Result<PeerIdentity, TlsError> {
    let protocol = connection
        .handshake_data()
        .and_then(|data| data.downcast::<HandshakeData>().ok())
        .and_then(|data| data.protocol)
        .and_then(|alpn| {
            [WireProtocol::Client, WireProtocol::Peer]
                .into_iter()
                .find(|p| p.alpn() == alpn)
        })
        .ok_or(TlsError::Unauthenticated)?;
    let chain = connection
        .peer_identity()
        .and_then(|identity| identity.downcast::<Vec<CertificateDer<'static>>>().ok())
        .ok_or(TlsError::Unauthenticated)?;
    let (role, cluster) = role_of(chain.first().ok_or(TlsError::Unauthenticated)?)?;
    match (role, protocol) {
        (Role::User(user), WireProtocol::Peer) => Err(TlsError::NotANode { user }),
        (role @ (Role::Node(_) | Role::User(_)), protocol) => Ok(PeerIdentity {
            role,
            cluster,
            protocol,
        }),
    }
}

/// The role that a certificate names. Says nothing about who issued it.
pub fn role_of(certificate: &CertificateDer<'_>) -> Result<(Role, ClusterName), TlsError> {
    let certificate = EndEntityCert::try_from(certificate).map_err(TlsError::NotIssuedHere)?;
    let mut names = certificate.valid_dns_names();
    match (names.next(), names.next()) {
        (Some(name), None) => Role::from_dns_name(name),
        // With two names it would depend on the reader who somebody is.
        (None, _) | (Some(_), Some(_)) => Err(TlsError::NoName),
    }
}

fn verify_issued(
    certificate: &CertificateDer<'_>,
    intermediates: &[CertificateDer<'_>],
    roots: &RootCertStore,
    now: UnixTime,
) -> Result<(Role, ClusterName), TlsError> {
    EndEntityCert::try_from(certificate)
        .and_then(|parsed| {
            parsed
                .verify_for_usage(
                    ring::default_provider()
                        .signature_verification_algorithms
                        .all,
                    &roots.roots,
                    intermediates,
                    now,
                    webpki::KeyUsage::client_auth(),
                    None,
                    None,
                )
                .map(|_| ())
        })
        .map_err(TlsError::NotIssuedHere)?;
    role_of(certificate)
}

/// The one provider, named explicitly: a process-wide default could be another.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn no_initial_suite(_: quinn::crypto::rustls::NoInitialCipherSuite) -> TlsError {
    TlsError::Settings(rustls::Error::General(
        "no cipher suite for initial packets".into(),
    ))
}

fn read(file: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(file).map_err(|source| TlsError::Read {
        file: file.to_owned(),
        source,
    })
}

fn certificates_of(
    pem: &[u8],
) -> Result<Vec<CertificateDer<'static>>, rustls::pki_types::pem::Error> {
    let certificates = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>()?;
    match certificates.is_empty() {
        true => Err(rustls::pki_types::pem::Error::NoItemsFound),
        false => Ok(certificates),
    }
}
