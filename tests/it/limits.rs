//! Limits that a request asks for: how they are kept on this machine, and what is told when one is hit.

use crate::harness::{World, wait_for};
use pyro::preflight::{GroupFacts, Surroundings, gather};
use pyro::request::Request;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

/// Control groups that this machine offers to whoever runs the tests.
fn groups(world: &World) -> GroupFacts {
    let around = Surroundings {
        base_dir: world.work(),
        state_dir: world.state(),
        home: None,
    };
    gather(&Request::default(), &around).host.groups
}

fn enforcement(receipt: &Value, name: &str) -> String {
    let limits = receipt["limits"].as_array().expect("limits");
    let limit = limits.iter().find(|limit| limit["name"] == name);
    let kept = &limit.expect("the limit is told")["enforcement"];
    kept.as_str().expect("text").to_owned()
}

// proves: W20
#[test]
fn a_memory_limit_that_was_hit_is_told_whoever_hit_it() {
    // Each of them is far below the limit, and none is the step's own program.
    let world = World::with(
        "pyro = 1\nworkspace.memory = \"64MiB\"\n\n[[step]]\nid = \"crowd\"\n\
         exec = \"for i in 1 2 3 4 5; do head -c 40000000 /dev/zero | tail -c 39000000 | sleep 3 & done; wait; exit 0\"\n",
    );
    let ran = world.pyro(["apply", "request.pyro.toml"]).ended(0);
    let receipt = world.receipt();
    let notes = receipt["steps"][0]["notes"].to_string();
    assert!(notes.contains("memory limit"), "{notes}\n{}", ran.text());
    let kept = match groups(&world).memory {
        Some(_) => "enforced",
        None => "watched",
    };
    assert_eq!(enforcement(&receipt, "memory"), kept);
    assert!(ran.text().contains("memory limit"), "{}", ran.text());
}

#[test]
fn a_share_of_the_processors_is_kept_or_it_is_said_that_it_is_not() {
    let world = World::with("pyro = 1\nworkspace.cpus = 1\n\n[[step]]\nexec = [\"nproc\"]\n");
    world.pyro(["apply", "request.pyro.toml"]).ended(0);
    let receipt = world.receipt();
    assert_eq!(enforcement(&receipt, "cpu"), "enforced");
    let plan = world.pyro(["plan", "request.pyro.toml"]).ended(0).stdout();
    if groups(&world).cpu.is_none() {
        assert_eq!(
            receipt["steps"][0]["stdout"]["head"]["text"], "1\n",
            "{receipt:#}"
        );
        assert!(plan.contains("kept on 1 processor instead"), "{plan}");
    } else {
        assert!(plan.contains("cpu 1 core"), "{plan}");
    }
}

#[expect(clippy::print_stdout, reason = "a skipped test says why")]
#[test]
fn control_groups_hold_the_programs_and_nothing_of_them_is_left() {
    let world = World::with(
        "pyro = 1\nworkspace.cpus = \"0.5\"\nworkspace.memory = \"200MiB\"\nworkspace.processes = 50\n\n\
         [[step]]\nexec = [\"sleep\", \"60\"]\n",
    );
    let facts = groups(&world);
    let parents: Vec<PathBuf> = [&facts.memory, &facts.cpu, &facts.processes]
        .into_iter()
        .flatten()
        .cloned()
        .collect();
    if parents.is_empty() {
        println!("skipped: this user can make no control groups here");
        return;
    }
    let mut pyro = world
        .command(["apply", "request.pyro.toml"])
        .spawn()
        .expect("pyro starts");
    let mine = |parent: &Path| {
        let run = world.runs().pop()?;
        let id = run
            .file_name()?
            .to_str()?
            .trim_start_matches(".dead-")
            .to_owned();
        Some(parent.join(format!("pyro-{id}")))
    };
    let full = |group: &Path| {
        fs::read_to_string(group.join("cgroup.procs")).is_ok_and(|list| !list.is_empty())
    };
    wait_for("the program in its groups", || {
        parents
            .iter()
            .all(|parent| mine(parent).is_some_and(|group| full(&group)))
    });
    let groups: Vec<PathBuf> = parents.iter().filter_map(|parent| mine(parent)).collect();
    let holds = |file: &str, value: &str| {
        let read = |group: &PathBuf| fs::read_to_string(group.join(file)).ok();
        groups
            .iter()
            .filter_map(read)
            .any(|text| text.trim() == value)
    };
    let memory = (200 << 20).to_string();
    assert!(holds("memory.limit_in_bytes", &memory) || holds("memory.max", &memory));
    if facts.cpu.is_some() {
        assert!(holds("cpu.cfs_quota_us", "50000") || holds("cpu.max", "50000 100000"));
    }
    if facts.processes.is_some() {
        assert!(holds("pids.max", "50"));
    }
    // Killed without a chance to clean up: the next command does.
    pyro.kill().expect("kills");
    pyro.wait().expect("reaps");
    let swept = world.pyro(["run", "host", "--", "true"]).ended(0);
    assert!(
        swept
            .stderr()
            .contains("cleaned up after 1 interrupted run"),
        "{}",
        swept.text()
    );
    assert!(groups.iter().all(|group| !group.exists()), "{groups:?}");
    assert_eq!(world.runs(), Vec::<PathBuf>::new());
}
