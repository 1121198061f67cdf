//! `pyro receipt`: what was kept can be looked at again, and a damaged receipt stops nobody.

use crate::harness::{World, snapshot};
use serde_json::Value;
use std::fs;

const REQUEST: &str = r#"pyro = 1
name = "counting"
vars.last = "3"

[[step]]
id = "count"
exec = "seq ${vars.last} | tee numbers; echo done >&2"

[[step]]
write."hello.txt" = "hello ${vars.last}\n"
interpolate = true

[[step]]
id = "check"
exec = ["grep", "-q", "3", "numbers"]
"#;

/// What appears, without what differs from run to run.
fn shown(world: &World, args: &[&str], code: i32) -> String {
    let text = world.pyro(args).ended(code).text();
    let mut text = format!("$ pyro {}\n{text}", args.join(" "));
    for (pattern, word) in [
        (r"\b\d+ (s|min) ago", "[ago]"),
        // Root and others are kept apart in different ways.
        (r"(?m)^isolation .*\n", ""),
        (r"\b[0-9a-f]{12}\b", "[12 hex digits]"),
    ] {
        let regex = regex::Regex::new(pattern).expect("a regex");
        text = regex.replace_all(&text, word).into_owned();
    }
    text
}

fn world() -> World {
    let world = World::with(REQUEST);
    world.pyro(["apply", "request.pyro.toml"]).ended(0);
    world
        .pyro(["apply", "request.pyro.toml", "--var", "last=2"])
        .ended(4);
    world
}

/// Run ids, newest first.
fn runs(world: &World) -> Vec<String> {
    let list = world.pyro(["receipt", "list", "--json"]).ended(0).json();
    let list = list["receipts"].as_array().expect("a list").iter();
    list.map(|one| one["run"].as_str().expect("an id").to_owned())
        .collect()
}

#[test]
fn receipts_are_shown_listed_and_compared() {
    let world = World::new();
    let mut text = shown(&world, &["receipt", "list"], 0);
    text.push_str(&shown(&world, &["receipt", "show"], 2));
    assert!(!world.state().exists(), "looking makes nothing");
    drop(world);
    let world = self::world();
    for args in [
        &["receipt", "list"][..],
        &["receipt", "list", "--limit", "1"],
        &["receipt", "show"],
        &["receipt", "show", "last~1", "-v"],
        &["receipt", "diff", "last~1", "last"],
        &["receipt", "diff", "last", "last"],
    ] {
        text.push_str(&shown(&world, args, 0));
    }
    for args in [
        &["receipt", "show", "last~2"][..],
        &["receipt", "show", "nobody"],
        &["receipt", "show", "0000"],
        &["receipt", "show", "nobody", "--json"],
        &["receipt", "show", "request.pyro.toml"],
    ] {
        text.push_str(&shown(&world, args, 2));
    }
    snapshot("receipt", &text);
    for (args, code) in [(["last", "last"], 0), (["last~1", "last"], 1)] {
        let ran = world.pyro(["receipt", "diff", "--exit-code", args[0], args[1]]);
        ran.ended(code);
    }
}

#[test]
fn a_receipt_is_found_by_id_and_path() {
    let world = world();
    let ids = runs(&world);
    assert_eq!(ids.len(), 2);
    let newest = world.receipt();
    for what in ["last", &ids[0], &ids[0][..8]] {
        let shown = world.pyro(["receipt", "show", what, "--json"]).ended(0);
        assert_eq!(shown.json(), newest, "{what}");
    }
    let list = world.pyro(["receipt", "list", "--json"]).ended(0).json();
    let path = list["receipts"][1]["path"].as_str().expect("a path");
    let folder = path.strip_suffix("/receipt.json").expect("a folder");
    for what in [path, folder, &ids[1]] {
        let shown = world.pyro(["receipt", "show", what, "--json"]).ended(0);
        assert_eq!(shown.json()["run"], *ids[1], "{what}");
        assert_eq!(shown.stdout, fs::read(path).expect("a receipt"));
    }
    assert_eq!(list["receipts"][0]["outcome"], "failed");
    assert_eq!(list["receipts"][0]["steps_passed"], 2);
    // One that names several.
    for name in [
        "20200101T000000.000Z-abcd00000001",
        "20200101T000000.000Z-abcd00000002",
    ] {
        let folder = world.state().join("receipts").join(name);
        fs::create_dir(&folder).expect("a new folder");
        fs::copy(path, folder.join("receipt.json")).expect("a new file");
    }
    let ran = world.pyro(["receipt", "show", "abcd", "--json"]).ended(2);
    assert_eq!(ran.json()["error"]["code"], "receipt-ambiguous");
    let all = world.pyro(["apply", ".", "--json"]).ended(0);
    world.write("all.json", &all.stdout);
    let ran = world.pyro(["receipt", "show", "all.json"]).ended(2);
    assert!(ran.stderr().contains("several runs"), "{}", ran.text());
}

#[test]
fn a_damaged_receipt_stops_nobody() {
    let world = world();
    let receipts = world.state().join("receipts");
    for (name, text) in [
        (
            "20990101T000000.000Z-000000000001",
            "{\"format_version\": 1, \"run\"",
        ),
        (
            "20990101T000000.000Z-000000000002",
            "{\"format_version\": 7}",
        ),
        ("20990101T000000.000Z-000000000003", "\u{0}"),
        ("odd \u{1b}[31m name", "[]"),
    ] {
        fs::create_dir(receipts.join(name)).expect("a new folder");
        fs::write(receipts.join(name).join("receipt.json"), text).expect("a new file");
    }
    // Still going: no receipt yet.
    fs::create_dir(receipts.join("20990101T000000.000Z-000000000004")).expect("a new folder");
    let ran = world.pyro(["receipt", "list"]).ended(0);
    assert_eq!(ran.stdout().matches("damaged").count(), 4, "{}", ran.text());
    assert_eq!(
        ran.stdout().matches("counting").count(),
        2,
        "{}",
        ran.text()
    );
    assert!(!ran.stdout.contains(&0x1b), "nothing that a terminal obeys");
    let list = world.pyro(["receipt", "list", "--json"]).ended(0).json();
    assert_eq!(list["total"], 6);
    let ran = world
        .pyro(["receipt", "show", "000000000001", "--json"])
        .ended(2);
    assert_eq!(ran.json()["error"]["code"], "receipt-damaged");
    let ran = world.pyro(["receipt", "show", "000000000002"]).ended(2);
    assert!(ran.stderr().contains("format version 7"), "{}", ran.text());
    let good = &runs(&world)[4];
    world.pyro(["receipt", "show", good]).ended(0);
}

#[test]
fn differences_are_data() {
    let world = world();
    let json = world
        .pyro(["receipt", "diff", "last~1", "last", "--json"])
        .ended(0)
        .json();
    assert_eq!(json["same"], false);
    let all = json["differences"].as_array().expect("a list");
    let find = |step: Value, field: &[&str]| {
        let mut all = all.iter();
        all.find(|one| one["step"] == step && one["field"] == serde_json::json!(field))
            .unwrap_or_else(|| panic!("{step} {field:?}: {json:#}"))
            .clone()
    };
    let outcome = find(Value::Null, &["outcome"]);
    assert_eq!(
        (&outcome["before"], &outcome["after"]),
        (&"passed".into(), &"failed".into())
    );
    let code = find("check".into(), &["exec", "exit_code"]);
    assert_eq!((&code["before"], &code["after"]), (&0.into(), &1.into()));
    let output = find("count".into(), &["stdout", "bytes"]);
    assert!(
        output["diff"].as_str().expect("a diff").contains("\n-3\n"),
        "{output}"
    );
    find(Value::Null, &["changes", "numbers", "after", "size"]);
    let fields = all.iter().map(|one| one["field"].to_string());
    let times: Vec<_> = fields
        .filter(|field| field.contains("_ms") || field.contains("_at"))
        .collect();
    assert!(times.is_empty(), "{times:?}");
}
