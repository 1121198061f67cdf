//! How many workspaces a host lets in, however many ask at the same time.

use crate::harness::{Ran, World};
use crate::living::{json, world, ws};
use serde_json::Value;
use std::process::{Command, Stdio};

/// Room for three of a gibibyte each.
fn bounded(world: &World, args: &[&str]) -> Command {
    let mut command = world.command(["workspace"].iter().chain(args));
    command
        .env("PYRO_MAX_MEMORY", "3GiB")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn ran(world: &World, args: &[&str]) -> Ran {
    world.ran(bounded(world, args).output().expect("runs"))
}

const CREATE: [&str; 7] = [
    "create",
    "host",
    "--seed-path",
    "repo",
    "--memory",
    "1GiB",
    "--json",
];

fn states(world: &World, state: &str) -> usize {
    let list = json(world, &["list", "--json"]);
    let all = list["workspaces"].as_array().expect("a list").clone();
    all.iter().filter(|one| one["state"] == state).count()
}

fn is_refused(ran: &Ran) {
    assert_eq!(ran.code, Some(1), "{}", ran.text());
    let said: Value = serde_json::from_slice(&ran.stdout).expect("JSON");
    assert_eq!(said["error"]["code"], "no-space", "{said}");
    let message = said["error"]["message"].as_str().expect("text");
    for number in ["3 workspaces", "3072 MiB", "1024 MiB"] {
        assert!(message.contains(number), "{message}");
    }
    let help = said["error"]["help"].as_str().expect("help");
    assert!(help.contains("workspace stop"), "{help}");
}

#[test]
fn of_ten_at_once_three_are_let_in_and_what_is_stopped_does_not_count() {
    let world = world();
    let started: Vec<_> = (0..10)
        .map(|_| bounded(&world, &CREATE).spawn().expect("starts"))
        .collect();
    let ended = started
        .into_iter()
        .map(|child| world.ran(child.wait_with_output().expect("ends")));
    let (made, refused): (Vec<Ran>, Vec<Ran>) = ended.partition(|ran| ran.code == Some(0));
    assert_eq!((made.len(), refused.len()), (3, 7));
    refused.iter().for_each(is_refused);
    assert_eq!(states(&world, "started"), 3);
    let homes = std::fs::read_dir(world.state().join("workspaces")).expect("there");
    assert_eq!(
        homes.count(),
        3,
        "nothing is left of those that were refused"
    );
    let ids: Vec<String> = (made.iter())
        .map(|ran| {
            let said: Value = serde_json::from_slice(&ran.stdout).expect("JSON");
            said["workspace_id"].as_str().expect("an id").to_owned()
        })
        .collect();
    is_refused(&ran(&world, &["fork", &ids[0], "--json"]));
    ws(&world, &["stop", &ids[0]]).ended(0);
    let next = ran(&world, &CREATE);
    assert_eq!(next.code, Some(0), "{}", next.text());
    // Ten at once want the room of one that was stopped.
    is_refused(&ran(&world, &["start", &ids[0], "--json"]));
    assert_eq!(states(&world, "stopped"), 1);
    for id in &ids[1..] {
        ws(&world, &["stop", id]).ended(0);
    }
    let starts: Vec<_> = (0..10)
        .map(|number| {
            let args = ["start", &ids[number % 3], "--json"];
            bounded(&world, &args).spawn().expect("starts")
        })
        .collect();
    for child in starts {
        let ran = world.ran(child.wait_with_output().expect("ends"));
        if ran.code != Some(0) {
            is_refused(&ran);
        }
    }
    assert_eq!(
        (states(&world, "started"), states(&world, "stopped")),
        (3, 1)
    );
}

#[test]
fn a_machine_that_only_seems_to_run_takes_no_room() {
    let world = world();
    let ids: Vec<String> = (0..3)
        .map(|_| {
            let ran = ran(&world, &CREATE).ended(0);
            let said: Value = serde_json::from_slice(&ran.stdout).expect("JSON");
            said["workspace_id"].as_str().expect("an id").to_owned()
        })
        .collect();
    crate::living::kill(crate::living::keeper(&ids[1]));
    crate::harness::wait_for("it has ended", || crate::living::inside(&ids[1]).is_empty());
    // The registry says that three run, until somebody looks.
    let next = ran(&world, &CREATE);
    assert_eq!(next.code, Some(0), "{}", next.text());
    assert_eq!(
        (states(&world, "started"), states(&world, "stopped")),
        (3, 1)
    );
}

#[test]
fn a_bound_that_is_no_size_is_refused() {
    let world = world();
    let mut command = bounded(&world, &CREATE);
    let ran = world.ran(
        command
            .env("PYRO_MAX_MEMORY", "3 gigs")
            .output()
            .expect("runs"),
    );
    assert_eq!(ran.code, Some(1), "{}", ran.text());
    assert!(
        ran.text().contains("3 gigs") && ran.text().contains("8GiB"),
        "{}",
        ran.text()
    );
}
