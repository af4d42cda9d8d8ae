//! Data commands on a cluster that is well.

use serde_json::json;

use crate::dunlin::Dev;

pub(crate) fn every_kind_is_written_read_and_deleted(dev: &Dev) {
    for kind in ["register", "lww", "counter", "flag", "max", "min", "set"] {
        dev.bucket(kind, kind);
    }
    dev.bucket("set", "set");
    let show = dev.line("bucket show set --json").ended(0).json();
    assert_eq!(
        (&show["kind"], &show["durability"]),
        (&json!("set"), &json!("synced"))
    );
    let list = dev.line("bucket list --json").ended(0).json();
    assert!(list.as_array().unwrap().len() >= 7, "{list}");

    let receipt = dev.line("put register k value --json").ended(0).json();
    assert!(
        receipt["copies"].as_array().unwrap().len() >= 2,
        "{receipt}"
    );
    assert_eq!(receipt["copies"][0]["synced"], json!(true), "{receipt}");
    assert_eq!(dev.line("get register k").ended(0).text(), "value");
    dev.line("put register k other --overwrite").ended(0);
    assert_eq!(dev.line("get register k --raw").ended(0).out, b"other");

    dev.line("put lww k old").ended(0);
    let written = dev.with_input("put lww k -", b"from\nstdin\n").ended(0);
    assert!(written.text().contains("owner, synced"), "{written:?}");
    assert_eq!(dev.line("get lww k").ended(0).text(), "from\nstdin\n");

    dev.line("incr counter k 7").ended(0);
    let added = dev.line("incr counter k -9 --json").ended(0).json();
    assert_eq!(
        (&added["done"], &added["amount"]),
        (&json!("added"), &json!(-9))
    );
    dev.line("incr counter k").ended(0);
    assert_eq!(dev.line("get counter k --r all").ended(0).text(), "-1");

    dev.line("flag flag k").ended(1);
    dev.line("flag flag k on").ended(0);
    assert_eq!(dev.line("flag flag k").ended(0).text(), "on");
    dev.line("flag flag k off").ended(0);
    assert_eq!(dev.line("get flag k").ended(1).text(), "off");
    dev.line("flag flag k on").ended(0);

    for number in ["4", "-6", "1"] {
        dev.line(&format!("put max k {number}")).ended(0);
        dev.line(&format!("put min k {number}")).ended(0);
    }
    assert_eq!(dev.line("get max k").ended(0).text(), "4");
    assert_eq!(
        dev.line("get min k --json").ended(0).json()["value"],
        json!(-6)
    );

    dev.line("set add set k pear apple fig").ended(0);
    dev.line("set remove set k fig").ended(0);
    assert_eq!(dev.line("set list set k").ended(0).text(), "apple\npear");
    assert_eq!(
        dev.line("set list set k --limit 1").ended(0).text(),
        "apple"
    );
    assert_eq!(dev.line("set count set k").ended(0).text(), "2");
    dev.line("set has set k apple pear").ended(0);
    assert_eq!(
        dev.line("set has set k apple fig").ended(1).text(),
        "yes apple\nno fig"
    );
    let elements = dev.line("get set k --json").ended(0).json();
    assert_eq!(elements["elements"], json!(["apple", "pear"]));

    for kind in ["register", "lww", "flag", "max", "min", "set"] {
        assert_eq!(dev.line(&format!("keys {kind}")).ended(0).text(), "k");
        dev.line(&format!("delete {kind} k")).ended(0);
        let gone = dev.line(&format!("get {kind} k")).ended(1);
        assert!(kind == "flag" || gone.err.contains("not found"), "{gone:?}");
    }
    dev.line("delete counter k").ended(0);
    assert_eq!(dev.line("get counter k").ended(0).text(), "0");
    assert_eq!(dev.line("keys counter --count").ended(0).text(), "0");
}

pub(crate) fn siblings_are_shown_and_settled_by_the_command_that_is_shown(dev: &Dev) {
    dev.bucket("siblings", "register");
    dev.words(["put", "siblings", "a key", "milk"]).ended(0);
    dev.words(["put", "siblings", "a key", "bread"]).ended(0);
    let shown = dev.words(["get", "siblings", "a key"]).ended(0).text();
    for part in ["2 siblings", ": milk", ": bread"] {
        assert!(shown.contains(part), "{shown}");
    }
    let command = shown.split("to settle them: ").nth(1).unwrap();
    let context = command
        .strip_prefix("dunlin put siblings 'a key' VALUE --context ")
        .unwrap();
    dev.words(["put", "siblings", "a key", "both", "--context", context])
        .ended(0);
    let settled = dev
        .words(["get", "siblings", "a key", "--json"])
        .ended(0)
        .json();
    assert_eq!(settled["values"], json!(["both"]));
    // The context has not seen what it was settled to.
    dev.words(["delete", "siblings", "a key", "--context", context])
        .ended(0);
    dev.words(["get", "siblings", "a key"]).ended(0);
    let raw = dev.line("put siblings x 1").code + dev.line("put siblings x 2").code;
    assert_eq!(raw, 0);
    dev.line("get siblings x --raw").ended(3);
}

pub(crate) fn maps_hold_fields_of_every_kind(dev: &Dev) {
    dev.bucket("maps", "map");
    dev.line("map set maps u name:register Ana").ended(0);
    dev.line("map set maps u address:map/city:lww Bern")
        .ended(0);
    dev.line("map set maps u active:flag on").ended(0);
    dev.line("map incr maps u visits:counter 3").ended(0);
    dev.line("map incr maps u visits:counter -5").ended(0);
    dev.line("map add maps u tags:set x y z").ended(0);
    dev.line("map remove maps u tags:set z").ended(0);
    assert_eq!(
        dev.line("map get maps u").ended(0).text(),
        "active:flag  on\naddress:map\n  city:lww  Bern\nname:register  Ana\ntags:set\n  - x\n  - y\n\
         visits:counter  -2"
    );
    assert_eq!(
        dev.line("get maps u --json").ended(0).json()["fields"],
        json!({
            "active:flag": true,
            "address:map": {"city:lww": "Bern"},
            "name:register": "Ana",
            "tags:set": ["x", "y"],
            "visits:counter": -2,
        })
    );
    assert_eq!(
        dev.line("map get maps u visits:counter").ended(0).text(),
        "-2"
    );
    assert_eq!(dev.line("map get maps u tags:set").ended(0).text(), "x\ny");
    dev.line("map remove maps u address:map").ended(0);
    dev.line("map get maps u address:map/city:lww").ended(1);
    dev.line("map set maps u visits:counter 1").ended(2);
    dev.line("map set maps u visits 1").ended(2);
    dev.line("delete maps u").ended(0);
    dev.line("map get maps u").ended(1);
}

pub(crate) fn bytes_that_are_no_text_come_back(dev: &Dev) {
    dev.bucket("binary", "register");
    let value = [0xff, 0, b'"', b'\\'];
    dev.with_input("put binary ff00 - --hex", &value).ended(0);
    assert_eq!(
        dev.line("get binary ff00 --hex").ended(0).text(),
        "ff00225c"
    );
    assert_eq!(dev.line("keys binary").ended(0).text(), r#"b"\xff\x00""#);
    assert_eq!(dev.line("keys binary --hex").ended(0).text(), "ff00");
    assert_eq!(
        dev.line("keys binary --json").ended(0).json(),
        json!({"hex": "ff00"})
    );
    let found = dev.line("get binary ff00 --hex --json").ended(0).json();
    assert_eq!(found["values"], json!([{"hex": "ff00225c"}]));
}

pub(crate) fn what_is_wrong_is_refused_with_its_exit_code(dev: &Dev) {
    dev.bucket("refusals", "counter");
    let kind = dev.line("put refusals k v").ended(3);
    assert!(
        kind.err.contains("counter") && kind.err.contains("dunlin incr"),
        "{kind:?}"
    );
    let missing = dev.line("put nowhere k v").ended(3);
    assert!(missing.err.contains("nothing was written"), "{missing:?}");
    assert!(
        missing.err.contains("dunlin bucket create nowhere"),
        "{missing:?}"
    );
    dev.line("bucket show nowhere").ended(1);
    dev.line("bucket drop nowhere").ended(1);
    let other = dev.line("bucket create refusals --kind set").ended(3);
    assert!(other.err.contains("exists already"), "{other:?}");
    let quorum = dev.line("incr refusals k --w 4").ended(3);
    assert!(quorum.err.contains("3 owners"), "{quorum:?}");
    dev.bucket("sizes", "register");
    let large = vec![b'x'; (1 << 20) + 1];
    let refused = dev.with_input("put sizes k -", &large).ended(3);
    assert!(refused.err.contains("1048576"), "{refused:?}");
    dev.with_input("put sizes k -", &large[1..]).ended(0);
    assert_eq!(dev.line("get sizes k --raw").ended(0).out.len(), 1 << 20);
    dev.line("bucket drop sizes").ended(0);
    dev.line("bucket show sizes").ended(1);
}
