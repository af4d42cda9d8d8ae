//! What is accepted, what is refused, and that refusals are exit code 2.

use clap::CommandFactory;
use clap::error::ErrorKind;
use dunlin_client::{Durability, Kind, Quorum};

use super::*;

fn parse(line: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(std::iter::once("dunlin").chain(line.split_whitespace()))
}

fn command(line: &str) -> Command {
    match parse(line) {
        Ok(cli) => cli.command,
        Err(error) => panic!("{line}: {error}"),
    }
}

fn check_refused(line: &str, kind: ErrorKind) {
    match parse(line) {
        Ok(cli) => panic!("{line} was taken for {cli:?}"),
        Err(error) => {
            assert_eq!(error.kind(), kind, "{line}: {error}");
            assert_eq!(error.exit_code(), 2, "{line}");
        }
    }
}

#[test]
fn the_definitions_are_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn wrong_usage_is_refused_with_exit_code_2() {
    use ErrorKind::{
        ArgumentConflict, InvalidSubcommand, InvalidValue, MissingRequiredArgument,
        UnknownArgument, ValueValidation,
    };
    check_refused("frobnicate", InvalidSubcommand);
    check_refused("get carts", MissingRequiredArgument);
    check_refused("get carts ana --colour", UnknownArgument);
    check_refused("get ca/rts ana", ValueValidation);
    check_refused("put b k v --w three", ValueValidation);
    check_refused("put b k v --timeout 0s", ValueValidation);
    check_refused("put b k v --context 00 --overwrite", ArgumentConflict);
    check_refused("incr b k 1.5", ValueValidation);
    check_refused("incr b k 9223372036854775808", ValueValidation);
    check_refused("flag b k maybe", InvalidValue);
    check_refused("set add b k", MissingRequiredArgument);
    check_refused("bucket create b", MissingRequiredArgument);
    check_refused("bucket create b --kind heap", ValueValidation);
    check_refused("dev --nodes 0", ValueValidation);
    check_refused("dev kill", MissingRequiredArgument);
    check_refused("dev kill 0", ValueValidation);
    check_refused("server", MissingRequiredArgument);
    check_refused("import b f --value x --amount y", ArgumentConflict);
    check_refused("import b f --concurrency 0", ValueValidation);
    check_refused("import b f --format xml", InvalidValue);
    check_refused("explain b", MissingRequiredArgument);
    check_refused(
        "cluster",
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand,
    );
    check_refused("cluster join", MissingRequiredArgument);
    check_refused("cluster join N4", ValueValidation);
    check_refused("cluster join n4 --address localhost", ValueValidation);
    check_refused("cluster join n4 --capacity 0", ValueValidation);
    check_refused("cluster replace n1", MissingRequiredArgument);
    check_refused("cluster capacity n1 much", ValueValidation);
    check_refused("cluster n 17", ValueValidation);
    check_refused("cluster plan --rate fast", ValueValidation);
    check_refused("cluster cancel --staged --running", ArgumentConflict);
}

#[test]
fn negative_numbers_are_numbers_and_not_options() {
    let Command::Incr(incr) = command("incr b k -5") else {
        panic!("not an incr");
    };
    assert_eq!(incr.amount, -5);
    let Command::Put(put) = command("put b -1 -7 --w all") else {
        panic!("not a put");
    };
    assert_eq!((put.at.key, put.value), ("-1".into(), "-7".into()));
    assert_eq!(put.asking.w, Some(Quorum::All));
    let Command::Map(MapCommand::Incr(incr)) = command("map incr b k n:counter -5") else {
        panic!("not a map incr");
    };
    assert_eq!(incr.amount, -5);
}

#[test]
fn what_is_left_out_has_its_default() {
    let Command::Incr(incr) = command("incr b k") else {
        panic!("not an incr");
    };
    assert_eq!(incr.amount, 1);
    let Command::Dev(dev) = command("dev") else {
        panic!("not a dev");
    };
    assert_eq!((dev.nodes, dev.detach), (3, false));
    assert_eq!(dev.place.dir, PathBuf::from("./dunlin-dev"));
    let Command::Bucket(BucketCommand::Create(create)) = command("bucket create b --kind set")
    else {
        panic!("not a bucket create");
    };
    assert_eq!(
        (create.kind, create.durability),
        (Kind::Set, Durability::Synced)
    );
}

#[test]
fn a_newcomer_is_placed_by_what_is_said_of_it() {
    let line = "cluster replace n1 n4 --zone rack-4 --capacity 3 --address [::1]:7104";
    let Command::Cluster(ClusterCommand::Change(ChangeCommand::Replace { old, new, place })) =
        command(line)
    else {
        panic!("not a replace");
    };
    assert_eq!((&old[..], &new[..]), ("n1", "n4"));
    assert_eq!(place.zone.as_deref(), Some("rack-4"));
    assert_eq!(place.capacity, Some(3));
    assert_eq!(place.address.as_deref(), Some("[::1]:7104"));
}

#[test]
fn rates_are_bytes_in_units_of_1024() {
    let rate = |line: &str| match command(line) {
        Command::Cluster(ClusterCommand::Plan(rate)) => rate.rate,
        other => panic!("{other:?}"),
    };
    assert_eq!(rate("cluster plan"), 64 << 20);
    assert_eq!(rate("cluster plan --rate 1GiB"), 1 << 30);
    assert_eq!(rate("cluster plan --rate 512"), 512);
}

#[test]
fn global_options_stand_anywhere() {
    for line in [
        "--json --hex --cluster c.toml set count b k",
        "set --json --hex --cluster c.toml count b k",
        "set count b k --json --hex --cluster c.toml",
    ] {
        let global = parse(line).unwrap().global;
        assert!(global.json && global.hex, "{line}");
        assert_eq!(global.cluster, Some(PathBuf::from("c.toml")), "{line}");
    }
}

#[test]
fn a_dash_is_a_value() {
    let Command::Put(put) = command("put b k -") else {
        panic!("not a put");
    };
    assert_eq!(put.value, "-");
}

#[test]
fn times_need_no_unit_but_must_be_sane() {
    assert_eq!(duration("500ms"), Ok(std::time::Duration::from_millis(500)));
    assert_eq!(duration("2"), Ok(std::time::Duration::from_secs(2)));
    assert_eq!(duration("2m"), Ok(std::time::Duration::from_secs(120)));
    for text in [
        "",
        "s",
        "-1s",
        "0",
        "1.5s",
        "2 s",
        "99999999999999999999s",
        "25000m",
    ] {
        assert!(duration(text).is_err(), "{text}");
    }
}

#[test]
fn dev_subcommands_take_the_folder_after_them() {
    let Command::Dev(dev) = command("dev restart 2 --dir x") else {
        panic!("not a dev");
    };
    let Some(DevCommand::Restart { node: 2, place }) = dev.command else {
        panic!("not a restart of 2: {dev:?}");
    };
    assert_eq!(place.dir, PathBuf::from("x"));
}
