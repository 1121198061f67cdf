//! `pyro apply` with several requests: planned together, run one after the other, told together.

use crate::harness::{World, shown, snapshot, wait_for};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::fs;

fn passes(name: &str) -> String {
    format!(
        "pyro = 1\nname = \"{name}\"\nvars.word = \"hi\"\n[[step]]\nexec = [\"echo\", \"${{vars.word}}\"]\n"
    )
}

const FAILS: &str =
    "pyro = 1\n[[step]]\nid = \"no\"\nexec = [\"false\"]\n[[step]]\nexec = [\"true\"]\n";

fn world() -> World {
    let world = World::new();
    world.write("smoke/b.pyro.toml", passes("second"));
    world.write(
        "smoke/deep/a.pyro.json",
        r#"{"pyro": 1, "step": [{"list": "."}]}"#,
    );
    world.write("smoke/.git/c.pyro.toml", "not a request\n");
    world.write("fails.pyro.toml", FAILS);
    fs::create_dir(world.work().join("empty")).expect("a new folder");
    world
}

#[test]
fn several_requests_run_one_after_the_other() {
    let world = world();
    let mut text = String::new();
    for (code, args) in [
        (0, &["apply", "smoke"][..]),
        (
            4,
            &["apply", "fails.pyro.toml", "smoke", "smoke/b.pyro.toml"],
        ),
        (4, &["apply", "-q", "fails.pyro.toml", "smoke"]),
        (0, &["apply", "-q", "smoke"]),
        (0, &["apply", "smoke", "--var", "word=ho", "-v"]),
        (2, &["apply", "smoke", "--var", "nobody=1"]),
        (2, &["apply", "empty"]),
        (2, &["apply", "empty", "--json"]),
        (2, &["apply", "smoke", "nowhere.pyro.toml"]),
    ] {
        let ran = world.pyro(args);
        assert_eq!(ran.code, Some(code), "{args:?}: {}", ran.text());
        text.push_str(&shown(&world, args));
    }
    snapshot("several", &text);
}

#[test]
fn nothing_runs_unless_everything_can() {
    let world = world();
    world.write("smoke/x.pyro.toml", "pyro = 1\n[[step]]\nexce = \"ls\"\n");
    world.write(
        "smoke/y.pyro.toml",
        "pyro = 1\n[[step]]\nread = \"nothing\"\n",
    );
    let args = ["apply", "smoke"];
    world.pyro(args).ended(3);
    snapshot("several_refused", &shown(&world, &args));
    let json = world.pyro(["apply", "smoke", "--json"]).ended(3).json();
    let codes = json["findings"].as_array().expect("a list").iter();
    let codes: Vec<_> = codes.map(|finding| finding["code"].as_str()).collect();
    assert_eq!(codes, [Some("unknown-key"), Some("path-missing")]);
    assert_eq!(json["error"]["code"], "unknown-key");
    assert!(!world.state().exists(), "nothing was made");
}

#[test]
fn several_receipts_are_one_document() {
    let world = world();
    let args = [
        "apply",
        "smoke",
        "fails.pyro.toml",
        "--json",
        "--receipt",
        "all.json",
    ];
    let ran = world.pyro(args).ended(4);
    let kept = fs::read(world.work().join("all.json")).expect("a document");
    assert_eq!(kept, ran.stdout);
    let all = ran.json();
    let mut again = serde_json::to_string_pretty(&all).expect("JSON");
    again.push('\n');
    assert_eq!(ran.stdout(), again, "two spaces, sorted keys");
    assert_eq!(all["outcome"], "failed");
    let outcomes: Vec<_> = runs(&all)
        .iter()
        .map(|run| run["outcome"].clone())
        .collect();
    assert_eq!(outcomes, ["passed", "passed", "failed"]);
    for run in runs(&all) {
        let path = run["path"].as_str().expect("a path");
        let one: Value = serde_json::from_slice(&fs::read(path).expect("a receipt")).expect("JSON");
        assert_eq!(run["receipt"], one);
    }
    // A directory with one request in it is still a directory.
    let one = world
        .pyro(["apply", "smoke/deep", "--json"])
        .ended(0)
        .json();
    assert_eq!(runs(&one).len(), 1);
}

fn runs(document: &Value) -> &[Value] {
    document["runs"].as_array().expect("a list")
}

#[test]
fn an_interrupt_keeps_the_others_from_running() {
    let world = World::new();
    world.write(
        "a.pyro.toml",
        "pyro = 1\n[[step]]\nexec = \"echo on; sleep 600\"\n",
    );
    world.write("b.pyro.toml", passes("b"));
    let child = world
        .command(["apply", ".", "--json"])
        .spawn()
        .expect("pyro starts");
    wait_for("the run", || !world.runs().is_empty());
    let pid = Pid::from_raw(i32::try_from(child.id()).expect("a pid")).expect("not 0");
    kill_process(pid, Signal::INT).expect("interrupts");
    let ran = world
        .ran(child.wait_with_output().expect("ends"))
        .ended(130);
    let all = ran.json();
    assert_eq!(all["outcome"], "cancelled");
    assert_eq!(runs(&all)[0]["outcome"], "cancelled");
    assert_eq!(runs(&all)[1]["outcome"], "not_run");
    assert_eq!(runs(&all)[1]["receipt"], Value::Null);
}
