//! How workspaces that live end: by the death of a process, by their time, damaged, deleted.

use crate::harness::wait_for;
use crate::living::{beside, create, is_running, json, keeper, kill, world, ws};
use serde_json::Value;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

#[test]
fn a_killed_keeper_loses_the_machine_and_no_file() {
    let world = world();
    let id = create(&world, &[]);
    ws(
        &world,
        &[
            "exec",
            &id,
            "--",
            "sh",
            "-c",
            "echo kept > kept; sleep 600 &",
        ],
    )
    .ended(0);
    kill(keeper(&id));
    wait_for("the keeper is gone", || {
        let listed = ws(&world, &["status", &id, "--json"]);
        serde_json::from_slice::<Value>(&listed.stdout).expect("JSON")["state"] == "stopped"
    });
    let status = ws(&world, &["status", &id]).ended(0);
    assert!(
        status.stdout().contains("its keeper was killed"),
        "{}",
        status.text()
    );
    ws(&world, &["start", &id]).ended(0);
    let kept = ws(&world, &["file", "read", &id, "kept", "--content-only"]).ended(0);
    assert_eq!(kept.stdout(), "kept\n");
    assert!(json(&world, &["status", &id, "--json"])["last_error"].is_null());
}

#[test]
fn a_plan_only_looks() {
    let world = world();
    world.write(
        "use.pyro.toml",
        "pyro = 1\nworkspace = \"w\"\n[[step]]\nexec = \"true\"\n",
    );
    let refused = world.pyro(["plan", "use.pyro.toml"]).ended(3);
    assert!(
        refused.stderr().contains("workspace-missing"),
        "{}",
        refused.text()
    );
    assert!(!world.state().exists(), "nothing was made");
    let id = create(&world, &["--name", "w"]);
    world.pyro(["plan", "use.pyro.toml"]).ended(0);
    let pid = keeper(&id);
    kill(pid);
    let path = PathBuf::from(format!("/proc/{}", pid.as_raw_nonzero()));
    wait_for("the keeper is gone", || !path.exists());
    let refused = world.pyro(["plan", "use.pyro.toml"]).ended(3);
    assert!(
        refused.stderr().contains("workspace-stopped"),
        "{}",
        refused.text()
    );
    // It is the first command that does something who puts it right, and says so.
    let refused = ws(&world, &["exec", "w", "--", "true"]).ended(125);
    assert!(
        refused.stderr().contains("lost its machine"),
        "{}",
        refused.text()
    );
}

#[test]
fn a_killed_command_leaves_a_history_that_says_so() {
    let world = world();
    let id = create(&world, &[]);
    let mut long = beside(
        &world,
        &["exec", &id, "--timeout", "10m", "--", "sleep", "600"],
    );
    wait_for("it runs", || is_running(&world, &id));
    long.kill().expect("kills");
    long.wait().expect("ends");
    let ran = ws(&world, &["exec", &id, "--", "true"]).ended(0);
    assert!(
        ran.stderr().contains("interrupted") && ran.stderr().contains("#1"),
        "{}",
        ran.text()
    );
    let history = json(&world, &["history", &id, "--json"]);
    assert_eq!(history["entries"][0]["outcome"], "interrupted");
    // The program went with the one who waited for it.
    wait_for("nothing runs", || {
        let ran = ws(
            &world,
            &["exec", &id, "--", "sh", "-c", "cat /proc/[0-9]*/comm"],
        );
        !ran.stdout().contains("sleep")
    });
}

#[test]
fn a_workspace_that_nobody_uses_is_stopped_and_keeps_its_files() {
    let world = world();
    let id = create(&world, &["--ttl-seconds", "1"]);
    ws(&world, &["file", "write", &id, "mine", "--text", "mine\n"]).ended(0);
    let expired = || {
        let ran = ws(&world, &["status", &id]).ended(0);
        ran.stderr().contains("nobody used it")
    };
    wait_for("it expires", || {
        // Looking is no use.
        std::thread::sleep(Duration::from_millis(200));
        expired()
    });
    let mine = ws(&world, &["disk", "read", &id, "mine", "--content-only"]).ended(0);
    assert_eq!(mine.stdout(), "mine\n");
    ws(&world, &["update", &id, "--ttl", "1h"]).ended(0);
    ws(&world, &["start", &id]).ended(0);
    ws(&world, &["exec", &id, "--", "true"]).ended(0);
}

#[test]
fn one_damaged_workspace_holds_no_other_up() {
    let world = world();
    let (damaged, sound) = (create(&world, &[]), create(&world, &[]));
    let folder = world.state().join("workspaces").join(&damaged);
    fs::write(folder.join("made.json"), "{").expect("writes");
    let refused = ws(&world, &["exec", &damaged, "--", "true"]).ended(125);
    assert!(refused.stderr().contains("made.json"), "{}", refused.text());
    assert_eq!(json(&world, &["list", "--json"])["count"], 2);
    ws(&world, &["exec", &sound, "--", "true"]).ended(0);
    ws(&world, &["delete", &damaged]).ended(0);
    assert_eq!(json(&world, &["list", "--json"])["count"], 1);
}

#[test]
fn nothing_is_left_of_workspaces_that_were_deleted() {
    let world = world();
    for _ in 0..3 {
        let id = create(&world, &[]);
        ws(&world, &["exec", &id, "--", "sh", "-c", "sleep 600 & true"]).ended(0);
        let pid = keeper(&id);
        ws(&world, &["delete", &id]).ended(0);
        let path = PathBuf::from(format!("/proc/{}", pid.as_raw_nonzero()));
        wait_for("the keeper is gone", || !path.exists());
    }
    assert!(world.runs().is_empty());
}
