//! Who somebody says to be: names, and the certificates that carry them.

use std::time::Duration;

use dunlin_client::tls::{ClusterName, Identity, Role, role_of};
use rcgen::KeyPair;
use rustls::pki_types::{CertificateDer, UnixTime};

/// The certificates of the seeds are valid then; `examples/seeds.rs` issues them by the same clock.
pub const NOW_SECONDS: u64 = 1_767_225_600;

/// A name has one spelling, and a certificate's name one reader.
pub fn names(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else {
        return;
    };
    if let Ok((role, cluster)) = Role::from_dns_name(text) {
        assert_eq!(role.dns_name(&cluster), text);
        assert!(ClusterName::from_authority_name(text).is_err());
    }
    if let Ok(cluster) = ClusterName::from_authority_name(text) {
        assert_eq!(cluster.authority_name(), text);
        assert_ne!(cluster.any_node(), text);
    }
    let Ok(cluster) = ClusterName::new(text) else {
        assert!(Role::node(text).is_err() && Role::user(text).is_err());
        return;
    };
    assert_eq!(cluster.as_str(), text);
    for role in [Role::node(text), Role::user(text)] {
        let role = role.expect("clusters, nodes and users are named alike");
        let read = Role::from_dns_name(&role.dns_name(&cluster));
        assert_eq!(read.ok(), Some((role, cluster.clone())));
    }
}

/// Any bytes are a certificate of one role or are refused: as somebody's own, as the other side's, and
/// as the authority's.
pub fn certificates(data: &[u8]) {
    let certificate = CertificateDer::from(data);
    let role = role_of(&certificate);
    if let Ok((role, cluster)) = &role {
        let read = Role::from_dns_name(&role.dns_name(cluster));
        assert_eq!(read.ok().as_ref(), Some(&(role.clone(), cluster.clone())));
    }
    let shown = pem(data);
    let key = KeyPair::generate().expect("a key").serialize_pem();
    let now = UnixTime::since_unix_epoch(Duration::from_secs(NOW_SECONDS));
    // The key belongs to nobody, so that the best of all certificates fails at the last check.
    assert!(Identity::from_pem(&shown, &key, &pem(AUTHORITY), now).is_err());
    assert!(Identity::from_pem(&pem(NODE), &key, &shown, now).is_err());
}

const AUTHORITY: &[u8] = include_bytes!("../seeds/certificates/authority");
const NODE: &[u8] = include_bytes!("../seeds/certificates/node");

/// A certificate as a file holds it.
fn pem(der: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut pem = "-----BEGIN CERTIFICATE-----\n".to_owned();
    for group in der.chunks(3) {
        let bits = group
            .iter()
            .fold(0, |bits, byte| bits << 8 | u32::from(*byte));
        let bits = bits << (8 * (3 - group.len()));
        for at in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * at)) as usize & 63];
            pem.push(if at <= group.len() { digit.into() } else { '=' });
        }
    }
    pem + "\n-----END CERTIFICATE-----\n"
}
