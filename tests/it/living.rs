//! Workspaces that live: every line of a story is a process of its own.

use crate::harness::{Ran, World, wait_for};
use serde_json::Value;
use std::fs;
use std::path::PathBuf;
use std::process::Child;

pub(crate) fn world() -> World {
    let world = World::new();
    world.write("repo/note.txt", "old\n");
    world.write("repo/run.sh", "#!/bin/sh\necho built\n");
    set_mode(&world.work().join("repo/run.sh"), 0o755);
    world.write(
        "fix.patch",
        "--- a/note.txt\n+++ b/note.txt\n@@ -1 +1 @@\n-old\n+new\n",
    );
    world
}

fn set_mode(path: &std::path::Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("sets the mode");
}

/// Makes a workspace from `repo` and says its id.
pub(crate) fn create(world: &World, more: &[&str]) -> String {
    let mut args = vec![
        "workspace",
        "create",
        "host",
        "--seed-path",
        "repo",
        "--id-only",
    ];
    args.extend(more);
    let id = world.pyro(args).ended(0).stdout().trim().to_owned();
    assert_eq!(id.len(), 12, "{id}");
    id
}

pub(crate) fn ws(world: &World, args: &[&str]) -> Ran {
    world.pyro(["workspace"].iter().chain(args))
}

pub(crate) fn json(world: &World, args: &[&str]) -> Value {
    let ran = ws(world, args);
    serde_json::from_slice(&ran.stdout).unwrap_or_else(|_| panic!("JSON: {}", ran.text()))
}

/// The process that keeps a workspace.
pub(crate) fn keeper(id: &str) -> rustix::process::Pid {
    let found = fs::read_dir("/proc")
        .expect("lists")
        .flatten()
        .find_map(|entry| {
            let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
            let line = fs::read(entry.path().join("cmdline")).ok()?;
            let mut words = line.split(|byte| *byte == 0);
            let keeps = words.clone().any(|word| word == b"keeper");
            (keeps && words.any(|word| word == id.as_bytes())).then_some(pid)
        });
    rustix::process::Pid::from_raw(found.expect("a keeper")).expect("a process")
}

pub(crate) fn kill(pid: rustix::process::Pid) {
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("kills");
}

/// Processes that have this word in their command line or among their mounts: keepers and whoever is in a sandbox.
pub(crate) fn inside(word: &str) -> Vec<String> {
    let has = |path: PathBuf| {
        let text = fs::read(path).unwrap_or_default();
        memchr::memmem::find(&text, word.as_bytes()).is_some()
    };
    let all = fs::read_dir("/proc").expect("/proc");
    all.flatten()
        .map(|entry| entry.path())
        .filter(|path| has(path.join("cmdline")) || has(path.join("mountinfo")))
        .map(|path| fs::read_to_string(path.join("comm")).unwrap_or_default())
        .collect()
}

/// A command that runs beside the others.
pub(crate) fn beside(world: &World, args: &[&str]) -> Child {
    let args = ["workspace"].iter().chain(args);
    world.command(args).spawn().expect("starts")
}

/// Whether an entry of the history goes on.
pub(crate) fn is_running(world: &World, id: &str) -> bool {
    let history = json(world, &["history", id, "--json"]);
    let entries = history["entries"].as_array().expect("entries");
    entries.iter().any(|entry| entry["outcome"].is_null())
}

#[test]
fn a_workspace_lives_through_many_commands() {
    let world = world();
    let id = create(&world, &["--name", "repro-fix", "--label", "issue=123"]);
    let list = ws(&world, &["list"]).ended(0);
    assert!(list.stdout().contains("repro-fix") && list.stdout().contains("issue=123"));
    let note = ws(&world, &["file", "read", &id, "note.txt", "--content-only"]).ended(0);
    assert_eq!(note.stdout(), "old\n");
    ws(
        &world,
        &["patch", "apply", &id, "--patch-file", "fix.patch"],
    )
    .ended(0);
    let ran = ws(&world, &["exec", "repro-fix", "--", "./run.sh"]).ended(0);
    assert_eq!(ran.stdout(), "built\n");
    ws(&world, &["snapshot", "create", &id, "checkpoint"]).ended(0);
    ws(
        &world,
        &[
            "exec",
            &id,
            "--",
            "sh",
            "-c",
            "echo 2 > note.txt; mkdir d; echo x > d/y; rm run.sh",
        ],
    )
    .ended(0);
    let diff = ws(&world, &["diff", &id]).ended(0);
    assert!(
        diff.stdout()
            .starts_with("1 added, 1 modified, 1 deleted\n"),
        "{}",
        diff.text()
    );
    let reset = json(
        &world,
        &["reset", &id, "--snapshot", "checkpoint", "--json"],
    );
    // `note.txt` and `run.sh` came, `d` and `d/y` went.
    let put_back = reset["workspace_reset"]["entry_count"].as_u64();
    assert!(put_back.is_some_and(|entries| entries >= 3), "{reset}");
    ws(&world, &["export", &id, "note.txt", "--output", "out"]).ended(0);
    assert_eq!(
        fs::read_to_string(world.work().join("out")).expect("exported"),
        "new\n"
    );
    let used = world.pyro(["du", "--json"]).json();
    assert_eq!(used["workspaces"]["count"], 1, "{used}");
    assert!(used["workspaces"]["bytes"].as_u64() > Some(0), "{used}");
    world.pyro(["clean"]).ended(0);
    ws(&world, &["stop", &id]).ended(0);
    let disk = ws(&world, &["disk", "list", &id]).ended(0);
    assert!(disk.stdout().contains("0755  file"), "{}", disk.text());
    let refused = ws(&world, &["exec", &id, "--", "true"]).ended(125);
    assert!(
        refused
            .stderr()
            .contains(&format!("pyro workspace start {id}")),
        "{}",
        refused.text()
    );
    ws(&world, &["start", &id]).ended(0);
    // What was kept before the stop is still there.
    ws(&world, &["reset", &id]).ended(0);
    let note = ws(&world, &["file", "read", &id, "note.txt", "--content-only"]).ended(0);
    assert_eq!(note.stdout(), "old\n");
    ws(&world, &["delete", &id]).ended(0);
    assert_eq!(json(&world, &["list", "--json"])["count"], 0);
    assert!(
        fs::read_dir(world.state().join("workspaces"))
            .expect("lists")
            .next()
            .is_none()
    );
}

#[test]
fn a_patch_of_a_diff_makes_the_same_tree_again() {
    let world = world();
    let (one, two) = (create(&world, &[]), create(&world, &[]));
    let change = "printf no-newline > note.txt; chmod 644 run.sh; mkdir -p a/b; echo c > a/b/c; printf '\\0\\1' > bin";
    ws(&world, &["exec", &one, "--", "sh", "-c", change]).ended(0);
    let patch = ws(&world, &["diff", &one, "--patch", "--exclude", "bin"]).ended(0);
    let applied = world.pyro_with_input(
        ["workspace", "patch", "apply", &two, "--patch-file", "-"],
        &patch.stdout,
    );
    applied.ended(0);
    let again = ws(&world, &["diff", &two, "--patch"]).ended(0);
    assert_eq!(again.stdout(), patch.stdout());
}

#[test]
fn errors_are_data_that_says_what_to_do() {
    let world = world();
    let id = create(&world, &["--name", "twin"]);
    let error = |args: &[&str], code: i32| {
        let ran = ws(&world, args).ended(code);
        let value: Value = serde_json::from_slice(&ran.stdout).expect("JSON");
        assert_eq!(value["ok"], false, "{}", ran.text());
        assert!(
            value["error"]["message"].is_string() && ran.stderr().is_empty(),
            "{}",
            ran.text()
        );
        value["error"].clone()
    };
    let missing = error(&["status", "twim", "--json"], 1);
    assert_eq!(missing["code"], "workspace-missing");
    assert_eq!(missing["help"], "did you mean `twin`?");
    for bad in ["../../etc", "/etc", "..", "", "feedfeedfeed"] {
        assert_eq!(
            error(&["delete", bad, "--json"], 1)["code"],
            "workspace-missing",
            "{bad}"
        );
    }
    let other = create(&world, &["--name", "twin"]);
    let twins = error(&["exec", "twin", "--json", "--", "true"], 125);
    assert_eq!(twins["code"], "workspace-ambiguous");
    for id in [&id, &other] {
        assert!(twins["help"].as_str().expect("help").contains(id.as_str()));
    }
    assert_eq!(
        error(&["update", &id, "--name", "twin", "--json"], 1)["code"],
        "no-change"
    );
    assert_eq!(
        error(&["update", &id, "--name", "two\nlines", "--json"], 1)["code"],
        "bad-name"
    );
    assert_eq!(
        error(&["disk", "list", &id, "--json"], 1)["code"],
        "workspace-started"
    );
    let patch = "--- a/note.txt\n+++ b/note.txt\n@@ -1 +1 @@\n-other\n+new\n";
    let refused = error(&["patch", "apply", &id, "--patch", patch, "--json"], 1);
    let reason = &refused["reasons"][0];
    assert_eq!(reason["file"]["text"], "note.txt", "{refused}");
    // Nothing of a create that is refused is left.
    world
        .pyro(["workspace", "create", "host", "--name", "bad\nname"])
        .ended(2);
    world
        .pyro(["workspace", "create", "host", "--seed-path", "nowhere"])
        .ended(1);
    assert_eq!(json(&world, &["list", "--json"])["count"], 2);
    assert_eq!(
        fs::read_dir(world.state().join("workspaces"))
            .expect("lists")
            .count(),
        2
    );
}

#[test]
fn programs_end_as_they_end_and_lose_nothing() {
    let world = world();
    let id = create(&world, &[]);
    let exec = |args: &[&str], code: i32| {
        let args = [&["exec", &id, "--json"], args].concat();
        let ran = ws(&world, &args).ended(code);
        serde_json::from_slice::<Value>(&ran.stdout)
            .unwrap_or_else(|_| panic!("JSON: {}", ran.text()))
    };
    assert_eq!(exec(&["--", "sh", "-c", "exit 3"], 3)["exit_code"], 3);
    // Output that is no text: the result is whole, and the effect happened once.
    let odd = exec(&["--", "sh", "-c", "echo . >> effect; printf 'ok\\377'"], 0);
    assert_eq!(odd["stdout_base64"], "b2v/");
    let effect = ws(&world, &["file", "read", &id, "effect", "--content-only"]).ended(0);
    assert_eq!(effect.stdout(), ".\n");
    // Its time is over: what it wrote is there, and nothing lives on.
    let late = "echo early; (sleep 3; echo late > late) & wait";
    let timed = exec(&["--timeout", "1s", "--", "sh", "-c", late], 124);
    assert_eq!(
        (&timed["stdout"], &timed["timed_out"]),
        (&"early\n".into(), &true.into())
    );
    // A child that holds the output holds nobody up.
    let left = exec(&["--", "sh", "-c", "sleep 600 & echo started"], 0);
    assert_eq!(
        (&left["stdout"], &left["left_running"]),
        (&"started\n".into(), &1.into())
    );
    let missing = exec(&["--", "no-such-program"], 127);
    assert!(missing["not_started"].is_string());
    let count = json(&world, &["status", &id, "--json"])["command_count"].clone();
    assert_eq!(count, 5);
    let logs = json(&world, &["logs", &id, "--json"]);
    let codes: Vec<_> = logs["entries"]
        .as_array()
        .expect("entries")
        .iter()
        .map(|entry| entry["exit_code"].clone())
        .collect();
    assert_eq!(codes, [3, 0, 124, 0, 127]);
    let input = world.pyro_with_input(
        ["workspace", "exec", &id, "--stdin", "-", "--", "cat"],
        b"in\xff",
    );
    assert_eq!(input.ended(0).stdout, b"in\xff");
}

#[test]
fn a_long_command_holds_nobody_up_and_a_reset_ends_it() {
    let world = world();
    let id = create(&world, &[]);
    let mut long = beside(
        &world,
        &["exec", &id, "--timeout", "10m", "--", "sleep", "600"],
    );
    wait_for("it runs", || is_running(&world, &id));
    let ran = ws(&world, &["exec", &id, "--", "echo", "meanwhile"]).ended(0);
    assert_eq!(ran.stdout(), "meanwhile\n");
    ws(&world, &["reset", &id]).ended(0);
    assert_ne!(long.wait().expect("ends").code(), Some(0));
    let status = json(&world, &["status", &id, "--json"]);
    // It began before the reset, and belongs there.
    assert_eq!(
        (&status["command_count"], &status["reset_count"]),
        (&0.into(), &1.into())
    );
    assert!(status["last_command"].is_null());
    let history = json(&world, &["history", &id, "--json"]);
    assert_eq!(history["count"], 3);
    assert_eq!(json(&world, &["logs", &id, "--json"])["count"], 0);
}

#[test]
fn many_commands_at_once_are_all_there() {
    let world = world();
    let id = create(&world, &[]);
    let run = |half: usize| {
        for number in 0..12 {
            let file = format!("f{half}-{number}");
            ws(&world, &["exec", &id, "--", "touch", &file]).ended(0);
        }
    };
    std::thread::scope(|scope| {
        for half in 0..3 {
            scope.spawn(move || run(half));
        }
    });
    let logs = json(&world, &["logs", &id, "--json"]);
    let mut sequences: Vec<_> = logs["entries"]
        .as_array()
        .expect("entries")
        .iter()
        .map(|entry| entry["sequence"].as_u64().expect("a number"))
        .collect();
    sequences.sort_unstable();
    assert_eq!(sequences, (1..=36).collect::<Vec<_>>());
    let files = json(&world, &["file", "list", &id, "--json"]);
    assert_eq!(files["entries"].as_array().expect("entries").len(), 38);
}

#[test]
fn the_history_is_a_request_that_does_it_again() {
    let world = world();
    let id = create(&world, &["--name", "source"]);
    ws(
        &world,
        &["patch", "apply", &id, "--patch-file", "fix.patch"],
    )
    .ended(0);
    ws(
        &world,
        &[
            "file", "write", &id, "a b/ü", "--text", "deep\n", "--mode", "0600",
        ],
    )
    .ended(0);
    ws(
        &world,
        &["exec", &id, "--", "sh", "-c", "cat note.txt >> log; exit 7"],
    )
    .ended(7);
    ws(&world, &["file", "read", &id, "log"]).ended(0);
    ws(
        &world,
        &["patch", "apply", &id, "--patch-file", "fix.patch"],
    )
    .ended(1);
    let request = ws(&world, &["history", &id, "--request"]).ended(0);
    world.write("again.pyro.toml", request.stdout());
    let ran = world.pyro(["apply", "again.pyro.toml", "--json"]).ended(0);
    let receipt: Value = serde_json::from_slice(&ran.stdout).expect("JSON");
    let changes: Vec<_> = receipt["changes"]
        .as_array()
        .expect("changes")
        .iter()
        .map(|change| change["path"]["text"].as_str().expect("a path").to_owned())
        .collect();
    let diff = json(&world, &["diff", &id, "--json"]);
    assert!(changes.contains(&"a b/ü".to_owned()) && changes.contains(&"log".to_owned()));
    assert_eq!(diff["entries"].as_array().expect("entries").len(), 3);
}

#[test]
fn the_history_means_the_same_anywhere() {
    let world = world();
    let id = create(&world, &["--name", "w"]);
    // What the command line means literally is no reference, now or later.
    let word = "${vars.x} $${HOME} ${step.a.b}";
    let said = ws(&world, &["exec", &id, "--", "printf", "%s", word]).ended(0);
    assert_eq!(said.stdout(), word);
    ws(&world, &["sync", "push", &id, "repo", "--dest", "again"]).ended(0);
    world.write(
        "sub/the.patch",
        "--- a/note.txt\n+++ b/note.txt\n@@ -1 +1 @@\n-old\n+new\n",
    );
    let steps = "pyro = 1\nworkspace = \"w\"\nvars.name = \"the\"\n[[step]]\npatch = { from = \"${vars.name}.patch\" }\n[[step]]\n\
                 exec = \"cat note.txt\"\nexpect.stdout.golden = \"golden\"\n";
    world.write("sub/use.pyro.toml", steps);
    world.write("sub/golden", "new\n");
    world.pyro(["apply", "sub/use.pyro.toml"]).ended(0);
    let request = ws(&world, &["history", &id, "--request"]).ended(0);
    world.write("elsewhere/again.pyro.toml", request.stdout());
    world.pyro(["check", "elsewhere/again.pyro.toml"]).ended(0);
    let ran = world
        .pyro(["apply", "elsewhere/again.pyro.toml", "--json"])
        .ended(0);
    assert_eq!(ran.json()["steps"][0]["stdout"]["head"]["text"], word);
}

#[test]
fn of_a_request_that_failed_its_effects_are_done_again() {
    let world = world();
    let id = create(&world, &["--name", "w"]);
    let steps = "pyro = 1\nworkspace = \"w\"\n[[step]]\nwrite.first = \"1\\n\"\n[[step]]\nexec = \"echo 2 > second; exit 3\"\nexpect.exit = 4\n\
                 [[step]]\nwrite.never = \"3\\n\"\n[[step]]\nalways = true\ndelete = [\"no-such-file\"]\n";
    world.write("use.pyro.toml", steps);
    world.pyro(["apply", "use.pyro.toml"]).ended(4);
    world
        .pyro(["apply", "use.pyro.toml", "--only", "#1"])
        .ended(0);
    let request = ws(&world, &["history", &id, "--request"]).ended(0);
    world.write("again.pyro.toml", request.stdout());
    let ran = world.pyro(["apply", "again.pyro.toml", "--json"]).ended(0);
    let receipt: Value = serde_json::from_slice(&ran.stdout).expect("JSON");
    let changes: Vec<_> = (receipt["changes"].as_array().expect("changes").iter())
        .map(|change| change["path"]["text"].as_str().expect("a path").to_owned())
        .collect();
    assert_eq!(changes, ["first", "second"], "{}", request.stdout());
    assert_eq!(receipt["steps"].as_array().expect("steps").len(), 3);
}

#[test]
fn a_request_file_runs_in_a_workspace_that_lives() {
    let world = world();
    let id = create(&world, &["--name", "repro-fix"]);
    let request = "pyro = 1\nworkspace = \"repro-fix\"\n[[step]]\nexec = \"echo hi > made\"\n[[step]]\nread = \"made\"\nexpect.content.equals = \"hi\\n\"\n";
    world.write("use.pyro.toml", request);
    world.pyro(["plan", "use.pyro.toml"]).ended(0);
    let ran = world.pyro(["apply", "use.pyro.toml", "--json"]).ended(0);
    let receipt: Value = serde_json::from_slice(&ran.stdout).expect("JSON");
    assert_eq!(receipt["workspace"]["id"], id.as_str());
    let history = json(&world, &["history", &id, "--json"]);
    assert_eq!(history["entries"][0]["kind"], "apply");
    ws(&world, &["stop", &id]).ended(0);
    let refused = world.pyro(["apply", "use.pyro.toml"]).ended(3);
    assert!(
        refused.stderr().contains("workspace-stopped"),
        "{}",
        refused.text()
    );
}

#[test]
fn a_push_lays_files_over_it_or_changes_nothing() {
    let world = world();
    let id = create(&world, &[]);
    world.write("more/note.txt", "pushed\n");
    world.write("more/sub/tool", "#!/bin/sh\necho tool\n");
    set_mode(&world.work().join("more/sub/tool"), 0o755);
    world.write("more/skip.o", "x");
    let pushed = json(
        &world,
        &["sync", "push", &id, "more", "--exclude", "*.o", "--json"],
    );
    assert_eq!(pushed["workspace_sync"]["entry_count"], 3, "{pushed}");
    let ran = ws(&world, &["exec", &id, "--", "./sub/tool"]).ended(0);
    assert_eq!(ran.stdout(), "tool\n");
    // A file where the workspace has a directory: nothing of it lands.
    world.write("bad/aaa", "first\n");
    world.write("bad/sub", "a file\n");
    let refused = ws(&world, &["sync", "push", &id, "bad"]).ended(1);
    assert!(refused.stderr().contains("sub"), "{}", refused.text());
    let files = json(&world, &["file", "list", &id, "--json"]);
    let names: Vec<_> = (files["entries"].as_array().expect("entries").iter())
        .map(|entry| entry["path"].as_str().expect("a path").to_owned())
        .collect();
    assert_eq!(
        names,
        ["/workspace/note.txt", "/workspace/run.sh", "/workspace/sub"]
    );
    let history = json(&world, &["history", &id, "--json"]);
    assert_eq!(history["entries"][0]["kind"], "sync");
}

#[test]
fn programs_that_start_others_all_the_time_stand_still_for_a_snapshot() {
    let world = world();
    let id = create(&world, &[]);
    // Each shell waits in vfork for most of its time.
    let busy = "for n in 1 2 3; do (while :; do /bin/true; done) & done";
    ws(&world, &["exec", &id, "--", "sh", "-c", busy]).ended(0);
    for number in 0..12 {
        ws(&world, &["snapshot", "create", &id, &format!("s{number}")]).ended(0);
    }
}

#[test]
fn each_command_can_print_the_request_that_it_is() {
    let world = world();
    world.write("archive/x", "x");
    let commands: [&[&str]; 9] = [
        &[
            "exec",
            "w",
            "--emit",
            "toml",
            "--",
            "echo",
            "${HOME} $$ \"q\"",
        ],
        &["file", "list", "w", "--emit", "toml"],
        &["file", "read", "w", "a", "--emit", "toml", "--offset", "3"],
        &[
            "file", "write", "w", "a", "--text", "t\n", "--mode", "0755", "--emit", "toml",
        ],
        &["file", "delete", "w", "a", "b", "--emit", "toml"],
        &[
            "patch",
            "apply",
            "w",
            "--patch-file",
            "fix.patch",
            "--emit",
            "toml",
        ],
        &["diff", "w", "--emit", "toml"],
        &["snapshot", "create", "w", "s", "--emit", "toml"],
        &["reset", "w", "--emit", "toml"],
    ];
    for command in commands {
        let printed = ws(&world, command).ended(0);
        assert!(
            printed.stdout().contains("workspace = \"w\""),
            "{}",
            printed.text()
        );
        world.write("printed.pyro.toml", printed.stdout());
        world.pyro(["check", "printed.pyro.toml"]).ended(0);
    }
    let made = world
        .pyro([
            "workspace",
            "create",
            "host",
            "--name",
            "w",
            "--emit",
            "json",
        ])
        .ended(0);
    world.write("made.pyro.json", made.stdout());
    world.pyro(["check", "made.pyro.json"]).ended(0);
    assert!(
        !world.state().join("workspaces").exists(),
        "nothing was made"
    );
}

#[test]
fn files_of_any_size_are_read_by_range_and_never_altered() {
    let world = world();
    let id = create(&world, &[]);
    ws(&world, &["exec", &id, "--", "sh", "-c", "seq 1 500000 > big; printf 'aaaa\\303\\251' > cut; ln -s note.txt link; printf '\\0x' > bin"]).ended(0);
    let middle = ws(
        &world,
        &[
            "file",
            "read",
            &id,
            "big",
            "--offset",
            "3000000",
            "--max-bytes",
            "9",
            "--json",
        ],
    )
    .ended(0);
    let middle: Value = serde_json::from_slice(&middle.stdout).expect("JSON");
    assert_eq!(
        (&middle["truncated"], &middle["offset"]),
        (&true.into(), &3_000_000.into())
    );
    let tail = ws(
        &world,
        &[
            "exec",
            &id,
            "--",
            "sh",
            "-c",
            "tail -c +3000001 big | head -c 9",
        ],
    )
    .ended(0);
    assert_eq!(middle["content"].as_str().expect("text"), tail.stdout());
    // Half a character is told as what it is.
    let cut = json(
        &world,
        &["file", "read", &id, "cut", "--max-bytes", "5", "--json"],
    );
    assert_eq!(
        (&cut["binary"], &cut["content_base64"]),
        (&true.into(), &"YWFhYcM=".into())
    );
    let refused = ws(&world, &["file", "write", &id, "link", "--text", "x"]).ended(1);
    assert!(refused.stderr().contains("link"), "{}", refused.text());
    let written = world.pyro_with_input(
        ["workspace", "file", "write", &id, "bin", "--text-file", "-"],
        b"\0\xff\n",
    );
    written.ended(0);
    let back = ws(&world, &["file", "read", &id, "bin", "--content-only"]).ended(0);
    assert_eq!(back.stdout, b"\0\xff\n");
    let mode = json(&world, &["file", "read", &id, "run.sh", "--json"])["mode"].clone();
    assert_eq!(mode, "0755");
}
