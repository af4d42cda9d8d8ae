use super::*;
use std::fs;

const CLUSTER: &str = "cluster = \"shop\"\nca = \"ca.pem\"\n\
                       [[node]]\nname = \"n1\"\naddress = \"127.0.0.1:7101\"\n\
                       [[node]]\nname = \"n2\"\naddress = \"127.0.0.1:7102\"\nzone = \"b\"\n";
const HEAD: &str = "name = \"n1\"\ncluster_file = \"cluster.toml\"\ndata_dir = \"data\"\n";
const TLS: &str = "[tls]\ncertificate = \"a.pem\"\nkey = \"/keys/a.pem\"\n";

fn parse(text: &str) -> (tempfile::TempDir, Result<ServerConfig, ConfigError>) {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("cluster.toml"), CLUSTER).unwrap();
    let config = ServerConfig::parse(text, &dir.path().join("config.toml"));
    (dir, config)
}

/// The line and the words of a refusal.
fn check(text: &str, line: usize, says: &str) {
    let (_dir, config) = parse(text);
    let error = config.unwrap_err();
    let shown = error.to_string();
    assert!(shown.contains(&format!("config.toml:{line}: ")), "{shown}");
    assert!(shown.contains(says), "{shown}");
}

#[test]
fn little_has_to_be_said_and_paths_are_relative_to_the_file() {
    let (dir, config) = parse(&format!("{HEAD}{TLS}"));
    let config = config.unwrap();
    assert_eq!(
        config.listen.to_string(),
        "127.0.0.1:7101",
        "its own address"
    );
    assert_eq!(config.data_dir, dir.path().join("data"));
    assert_eq!(config.identity.certificate, dir.path().join("a.pem"));
    assert_eq!(config.identity.key, Path::new("/keys/a.pem"));
    assert_eq!(config.identity.authority, dir.path().join("ca.pem"));
    assert_eq!(config.engine, EngineOptions::default());
    assert_eq!(config.storage, FjallOptions::default());
    assert_eq!(config.connections_max, 20_000);
    let layout = config.founding_layout().unwrap().unwrap();
    assert_eq!(layout.members().len(), 2);
    assert_eq!(layout.partitions().get(), 256);
}

#[test]
fn everything_can_be_said() {
    let (_dir, config) = parse(&format!(
        "{HEAD}listen = \"0.0.0.0:9\"\nshards = 7\nsync_interval_ms = 50\ninbox_max = 10\n\
         {TLS}authority = \"other.pem\"\n\
         [engine]\nping_every_ms = 100\n[storage]\ncache_bytes = 1\n\
         [log]\nlevel = \"debug\"\nformat = \"json\"\n"
    ));
    let config = config.unwrap();
    assert_eq!(config.listen.to_string(), "0.0.0.0:9");
    assert_eq!((config.shards, config.inbox_max), (7, 10));
    assert_eq!(config.sync_interval, Duration::from_millis(50));
    assert_eq!(config.engine.ping_every_ms, 100);
    assert_eq!(config.storage.cache_bytes, 1);
    assert!(config.identity.authority.ends_with("other.pem"));
    assert_eq!(config.log_level, LogLevel::Debug);
    assert_eq!(config.log_format, LogFormat::Json);
}

#[test]
fn a_refusal_names_the_line_and_the_option() {
    check(&format!("{HEAD}nmae = \"x\"\n{TLS}"), 4, "nmae");
    check(&format!("{HEAD}{TLS}[engine]\nping = 1\n"), 8, "ping");
    check(
        &format!("{HEAD}shards = 0\n{TLS}"),
        4,
        "shards must be 1 to 256",
    );
    check(
        &format!("{HEAD}inbox_max = 0\n{TLS}"),
        4,
        "inbox_max must not be 0",
    );
    check(
        &format!("{HEAD}sync_interval_ms = 0\n{TLS}"),
        4,
        "sync_interval_ms",
    );
    check(&format!("{HEAD}shards = \"two\"\n{TLS}"), 4, "");
    check(
        &format!("{HEAD}{TLS}[engine]\noperations_max = 0\n"),
        8,
        "operations_max must not be 0",
    );
    check(
        &format!("{HEAD}{TLS}[engine]\nunreachable_after_ms = 100\n"),
        8,
        "must be above ping_every_ms",
    );
    check(&format!("{HEAD}{TLS}[log]\nlevel = \"loud\"\n"), 8, "loud");
    check(HEAD, 1, "tls");
}

#[test]
fn a_node_that_the_cluster_file_does_not_list_is_told_whom_it_lists() {
    let (_dir, config) = parse(&format!("{}{TLS}", HEAD.replace("n1", "n9")));
    let shown = config.unwrap_err().to_string();
    assert!(
        shown.contains("not list node n9") && shown.contains("n1, n2") && shown.contains("[node]"),
        "{shown}"
    );
}

#[test]
fn a_newcomer_says_itself_what_it_is_and_founds_nothing() {
    let head = HEAD.replace("n1", "n9");
    let (_dir, config) = parse(&format!(
        "{head}{TLS}[node]\naddress = \"127.0.0.1:7109\"\nzone = \"c\"\ncapacity = 3\n"
    ));
    let config = config.unwrap();
    assert_eq!(config.address, "127.0.0.1:7109");
    assert_eq!(config.listen.to_string(), config.address);
    assert_eq!((&*config.zone, config.capacity), ("c", 3));
    assert_eq!(config.founding_layout().unwrap(), None);
    check(
        &format!("{HEAD}{TLS}[node]\ncapacity = 0\n"),
        8,
        "capacity must not be 0",
    );
    check(
        &format!("{HEAD}{TLS}[node]\naddress = \"here\"\n"),
        8,
        "host:port",
    );
}

#[test]
fn a_cluster_file_that_makes_no_layout_is_refused_at_once() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(
        dir.path().join("cluster.toml"),
        format!("partitions = 100\n{CLUSTER}"),
    )
    .unwrap();
    let path = dir.path().join("config.toml");
    let error = ServerConfig::parse(&format!("{HEAD}{TLS}"), &path).unwrap_err();
    assert!(matches!(error, ConfigError::Layout { .. }), "{error}");
    assert!(error.to_string().contains("cluster.toml"), "{error}");
}

#[test]
fn every_option_is_in_the_documentation() {
    let docs = include_str!("../../../docs/configuration.md");
    let sources = [
        include_str!("../config.rs"),
        include_str!("engine.rs"),
        include_str!("storage.rs"),
        include_str!("log.rs"),
    ];
    let mut options = 0;
    for source in sources {
        // The structs that are read from the file are the ones that refuse what they don't know.
        for text in source.split("deny_unknown_fields)]").skip(1) {
            let fields = text.split_once('{').unwrap().1.split_once("\n}").unwrap().0;
            for line in fields.lines() {
                let name = line.trim().trim_start_matches("pub(super) ");
                let Some((name, _)) = name.split_once(": ") else {
                    continue;
                };
                options += 1;
                assert!(
                    docs.contains(&format!("`{name}`")),
                    "{name} is not documented"
                );
            }
        }
    }
    assert!(options > 30, "the options were found");
}
