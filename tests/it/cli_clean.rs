//! `pyro du` and `pyro clean`: what is kept is counted and removed, what is alive is not.

use crate::harness::{World, snapshot, wait_for};
use rustix::process::{Pid, Signal, kill_process};
use std::fs;

const LOUD: &str = "pyro = 1\n[[step]]\nexec = \"yes | head -c 3000000\"\n";
const LONG: &str = "pyro = 1\n[[step]]\nexec = \"echo on; sleep 600\"\n";

/// What appears, without sizes, which differ between file systems.
fn shown(world: &World, args: &[&str]) -> String {
    let text = format!("$ pyro {}\n{}", args.join(" "), world.pyro(args).text());
    let sizes = regex::Regex::new(r" *\b\d+(\.\d)? ([KMG]i)?B\b").expect("a regex");
    sizes.replace_all(&text, " [size]").into_owned()
}

#[test]
fn what_is_kept_is_counted_and_removed() {
    let world = World::with(LOUD);
    let mut text = shown(&world, &["du"]);
    text.push_str(&shown(&world, &["clean"]));
    assert!(!world.state().exists(), "looking makes nothing");
    for _ in 0..2 {
        world.pyro(["apply", "request.pyro.toml"]).ended(0);
    }
    text.push_str(&shown(&world, &["du"]));
    let du = world.pyro(["du", "--json"]).ended(0).json();
    assert_eq!(du["receipts"]["count"], 2);
    assert!(
        du["receipts"]["output_bytes"].as_u64().expect("a number") >= 6_000_000,
        "{du}"
    );
    text.push_str(&shown(&world, &["clean", "--older-than", "1h"]));
    text.push_str(&shown(&world, &["clean", "--dry-run", "-v"]));
    assert_eq!(
        world.pyro(["du", "--json"]).json(),
        du,
        "a dry run removes nothing"
    );
    text.push_str(&shown(&world, &["clean", "--older-than", "soon"]));
    let json = world.pyro(["clean", "--dry-run", "--json"]).ended(0).json();
    assert_eq!(json["removed"].as_array().expect("a list").len(), 2);
    text.push_str(&shown(&world, &["clean"]));
    text.push_str(&shown(&world, &["clean"]));
    assert_eq!(world.pyro(["du", "--json"]).json()["total_bytes"], 0);
    snapshot("clean", &text);
    world.pyro(["apply", "request.pyro.toml"]).ended(0);
    let json = world.pyro(["clean", "--json"]).ended(0).json();
    assert_eq!(
        (&json["ok"], &json["receipts"]["count"]),
        (&true.into(), &1.into())
    );
}

#[test]
fn what_is_alive_is_never_removed() {
    let world = World::with(LONG);
    let child = world
        .command(["apply", "request.pyro.toml", "--events", "events"])
        .spawn()
        .expect("pyro starts");
    let events = world.work().join("events");
    wait_for("the program", || {
        fs::read_to_string(&events).is_ok_and(|text| text.contains("\"on\\n\""))
    });
    let before = world.runs();
    let json = world.pyro(["clean", "--json"]).ended(0).json();
    assert_eq!(json["total_bytes"], 0, "{json}");
    assert_eq!(world.pyro(["du", "--json"]).json()["running"]["count"], 1);
    assert_eq!(world.runs(), before);
    let pid = Pid::from_raw(i32::try_from(child.id()).expect("a pid")).expect("not 0");
    kill_process(pid, Signal::INT).expect("interrupts");
    world
        .ran(child.wait_with_output().expect("ends"))
        .ended(130);
    assert_eq!(
        world.receipt()["outcome"],
        "cancelled",
        "its receipt is there"
    );
}

#[test]
fn what_a_killed_run_left_is_removed_at_any_age() {
    let world = World::with(LONG);
    let mut child = world
        .command(["apply", "request.pyro.toml", "--events", "events"])
        .spawn()
        .expect("pyro starts");
    let events = world.work().join("events");
    wait_for("the program", || {
        fs::read_to_string(&events).is_ok_and(|text| text.contains("\"on\\n\""))
    });
    child.kill().expect("kills");
    child.wait().expect("ends");
    wait_for("the end of the sandbox", || {
        world.pyro(["du", "--json"]).json()["leftovers"]["count"] == 1
    });
    world
        .pyro(["clean", "--older-than", "30d", "--dry-run"])
        .ended(0);
    assert_eq!(world.runs().len(), 1);
    let json = world
        .pyro(["clean", "--older-than", "30d", "--json"])
        .ended(0)
        .json();
    assert_eq!(json["leftovers"]["count"], 1);
    assert_eq!(world.runs().len(), 0);
}
