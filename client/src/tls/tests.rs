//! What identities and names are accepted; handshakes are tested with the transport.

use super::{test_authority::TestAuthority, *};

fn identity_named(authority: &TestAuthority, names: &[&str]) -> Result<Identity, TlsError> {
    let (certificate, key) = authority.issue(names).unwrap();
    Identity::from_pem(
        &certificate,
        &key,
        authority.certificate_pem(),
        UnixTime::now(),
    )
}

#[test]
fn roles_are_read_from_the_name_that_they_make() {
    let cluster = ClusterName::new("shop-1").unwrap();
    for role in [Role::node("n1").unwrap(), Role::user("ana").unwrap()] {
        assert_eq!(
            Role::from_dns_name(&role.dns_name(&cluster)).unwrap(),
            (role, cluster.clone())
        );
    }
    assert_eq!(
        Role::node("n1").unwrap().dns_name(&cluster),
        "n1.node.shop-1.dunlin"
    );
    assert_eq!(
        Role::user("ana").unwrap().dns_name(&cluster),
        "ana.user.shop-1.dunlin"
    );
    assert_eq!(
        ClusterName::from_authority_name(&cluster.authority_name()).unwrap(),
        cluster
    );
}

#[test]
fn names_outside_the_scheme_have_no_role() {
    for name in [
        "",
        "n1",
        "n1.node.shop",
        "n1.node.shop.other",
        "n1.nodes.shop.dunlin",
        "a.n1.node.shop.dunlin",
        "N1.node.shop.dunlin",
        ".node.shop.dunlin",
        "*.node.shop.dunlin",
        "node.shop.dunlin",
        "authority.shop.dunlin",
    ] {
        assert!(Role::from_dns_name(name).is_err(), "{name}");
    }
}

#[test]
fn an_identity_knows_who_it_is() {
    let identity =
        identity_named(&TestAuthority::new().unwrap(), &["n1.node.shop.dunlin"]).unwrap();
    assert_eq!(identity.role(), &Role::Node("n1".into()));
    assert_eq!(identity.cluster().as_str(), "shop");
}

#[test]
fn a_certificate_with_two_names_or_none_of_the_scheme_is_no_identity() {
    let authority = TestAuthority::new().unwrap();
    for names in [
        &["n1.node.shop.dunlin", "ana.user.shop.dunlin"][..],
        &["localhost"],
        &[],
    ] {
        let refused = identity_named(&authority, names);
        assert!(
            matches!(refused, Err(TlsError::NoName)),
            "{names:?}: {refused:?}"
        );
    }
}

#[test]
fn a_key_of_another_certificate_is_refused() {
    let authority = TestAuthority::new().unwrap();
    let (certificate, _) = authority.issue(&["n1.node.shop.dunlin"]).unwrap();
    let (_, key) = authority.issue(&["n1.node.shop.dunlin"]).unwrap();
    let refused = Identity::from_pem(
        &certificate,
        &key,
        authority.certificate_pem(),
        UnixTime::now(),
    );
    assert!(matches!(refused, Err(TlsError::Key(_))), "{refused:?}");
}

#[test]
fn a_certificate_of_another_authority_is_refused() {
    let (certificate, key) = TestAuthority::new()
        .unwrap()
        .issue(&["n1.node.shop.dunlin"])
        .unwrap();
    let other = TestAuthority::new().unwrap();
    let refused = Identity::from_pem(&certificate, &key, other.certificate_pem(), UnixTime::now());
    assert!(
        matches!(refused, Err(TlsError::NotIssuedHere(_))),
        "{refused:?}"
    );
}

#[test]
fn errors_name_the_file_and_what_it_lacks() {
    let missing = IdentityFiles {
        certificate: "/nonexistent/n1.pem".into(),
        key: "/nonexistent/n1-key.pem".into(),
        authority: "/nonexistent/ca.pem".into(),
    };
    let error = Identity::load(&missing, UnixTime::now()).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("cannot read /nonexistent/n1.pem"),
        "{error}"
    );

    let authority = TestAuthority::new().unwrap();
    let (certificate, _) = authority.issue(&["n1.node.shop.dunlin"]).unwrap();
    let error = Identity::from_pem(&certificate, "not PEM", &certificate, UnixTime::now())
        .unwrap_err()
        .to_string();
    assert!(error.contains("holds no private key"), "{error}");
}
