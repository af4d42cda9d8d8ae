//! What a handshake accepts: the cluster's authority, and a name of this cluster.
//!
//! The chain, its validity and the signatures are checked by the TLS library; what is added here is
//! the certificate's name. A node must be a node, of this cluster, and the one asked for if one
//! was; whoever connects must be a node or a user of this cluster.

use std::sync::Arc;

use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore,
    SignatureScheme,
    client::{
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_cert_signed_by_trust_anchor,
    },
    crypto::{WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::{
        ParsedCertificate, WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};

use super::{ClusterName, Role, TlsError, provider, role_of};

/// The dialing side's check of the node it reached.
#[derive(Debug)]
pub(super) struct ServerVerifier {
    roots: Arc<RootCertStore>,
    cluster: ClusterName,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerVerifier {
    pub(super) fn new(roots: Arc<RootCertStore>, cluster: ClusterName) -> Self {
        let algorithms = ring::default_provider().signature_verification_algorithms;
        Self {
            roots,
            cluster,
            algorithms,
        }
    }
}

impl ServerCertVerifier for ServerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        verify_server_cert_signed_by_trust_anchor(
            &ParsedCertificate::try_from(end_entity)?,
            &self.roots,
            intermediates,
            now,
            self.algorithms.all,
        )?;
        let role = role_in(&self.cluster, end_entity)?;
        let named = role.dns_name(&self.cluster);
        let asked_for = server_name.to_str();
        let reached = asked_for == named || asked_for == self.cluster.any_node();
        match role {
            Role::Node(_) if reached => Ok(ServerCertVerified::assertion()),
            Role::Node(_) | Role::User(_) => Err(CertificateError::NotValidForNameContext {
                expected: server_name.to_owned(),
                presented: vec![named],
            }
            .into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// The accepting side's check of whoever connects.
#[derive(Debug)]
pub(super) struct ClientVerifier {
    issued: Arc<dyn ClientCertVerifier>,
    cluster: ClusterName,
}

impl ClientVerifier {
    pub(super) fn new(roots: Arc<RootCertStore>, cluster: ClusterName) -> Result<Self, TlsError> {
        let issued = WebPkiClientVerifier::builder_with_provider(roots, provider())
            .build()
            .map_err(|error| TlsError::Settings(Error::General(error.to_string())))?;
        Ok(Self { issued, cluster })
    }
}

impl ClientCertVerifier for ClientVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.issued.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self
            .issued
            .verify_client_cert(end_entity, intermediates, now)?;
        role_in(&self.cluster, end_entity)?;
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.issued.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.issued.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.issued.supported_verify_schemes()
    }
}

/// The role a certificate names in `cluster`; any other cluster is refused.
fn role_in(cluster: &ClusterName, certificate: &CertificateDer<'_>) -> Result<Role, Error> {
    match role_of(certificate) {
        Ok((role, named)) if named == *cluster => Ok(role),
        Ok(_) | Err(_) => Err(CertificateError::NotValidForName.into()),
    }
}
