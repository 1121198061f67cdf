//! What other tools have got wrong with workspaces that live: one test for each way, through the commands.

use crate::harness::{Ran, World, wait_for};
use crate::living::{create, inside, json, world, ws};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;

fn sh(world: &World, id: &str, script: &str) -> Ran {
    ws(world, &["exec", id, "--", "sh", "-c", script]).ended(0)
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).expect("is there").mode() & 0o7777
}

/// Paths and what happened to them.
fn changes(world: &World, id: &str) -> Vec<(String, String)> {
    let diff = json(world, &["diff", id, "--json"]);
    let text = |entry: &Value, key: &str| entry[key].as_str().expect("text").to_owned();
    let entries = diff["entries"].as_array().expect("entries");
    entries
        .iter()
        .map(|entry| (text(entry, "path"), text(entry, "status")))
        .collect()
}

#[test]
fn a_script_that_is_patched_or_written_stays_executable() {
    let world = world();
    let id = create(&world, &[]);
    let patch =
        "--- a/run.sh\n+++ b/run.sh\n@@ -1,2 +1,2 @@\n #!/bin/sh\n-echo built\n+echo patched\n";
    ws(&world, &["patch", "apply", &id, "--patch", patch]).ended(0);
    assert_eq!(sh(&world, &id, "./run.sh").stdout(), "patched\n");
    let text = "#!/bin/sh\necho written\n";
    ws(&world, &["file", "write", &id, "run.sh", "--text", text]).ended(0);
    assert_eq!(sh(&world, &id, "./run.sh").stdout(), "written\n");
}

#[test]
fn what_a_step_changed_is_told_beside_other_steps() {
    let world = world();
    let id = create(&world, &["--name", "w"]);
    let request = |exec: &str, none: bool| {
        format!(
            "pyro = 1\nworkspace = \"w\"\n[[step]]\nexec = '{exec}'\nexpect.changed.none = {none}\n"
        )
    };
    let slow = "touch made; while ! [ -e /tmp/go ]; do sleep 0.01; done";
    world.write("slow.pyro.toml", request(slow, false));
    world.write("quick.pyro.toml", request("true", true));
    let long = world
        .command(["apply", "slow.pyro.toml"])
        .spawn()
        .expect("starts");
    wait_for("it has made its file", || {
        ws(&world, &["file", "list", &id]).stdout().contains("made")
    });
    // Its own beginning is noted after the other's file was made.
    world.pyro(["apply", "quick.pyro.toml"]).ended(0);
    sh(&world, &id, "touch /tmp/go");
    let ran = world.ran(long.wait_with_output().expect("ends")).ended(0);
    assert!(
        !ran.stdout().contains("changed"),
        "nobody asked: {}",
        ran.text()
    );
    assert!(
        ran.stdout().contains(&format!("in {id} (w), host")),
        "{}",
        ran.text()
    );
}

#[test]
fn what_a_killed_step_was_held_against_goes_with_the_next_command() {
    let world = world();
    let id = create(&world, &["--name", "w"]);
    let marks = world.state().join("workspaces").join(&id).join("run/marks");
    let steps = || {
        let mut names: Vec<String> = fs::read_dir(&marks)
            .into_iter()
            .flatten()
            .map(|entry| {
                entry
                    .expect("an entry")
                    .file_name()
                    .to_string_lossy()
                    .into_owned()
            })
            .filter(|name| name.starts_with("Step-") && name.ends_with(".work"))
            .collect();
        names.sort();
        names
    };
    let request = "pyro = 1\nworkspace = \"w\"\n[[step]]\nexec = 'while ! [ -e /tmp/go ]; do sleep 0.01; done'\n\
                   expect.changed.none = true\n";
    world.write("held.pyro.toml", request);
    let begin = || {
        world
            .command(["apply", "held.pyro.toml"])
            .spawn()
            .expect("starts")
    };
    let mut killed = begin();
    wait_for("it is noted what the step is held against", || {
        !steps().is_empty()
    });
    let of_the_killed = steps();
    let lives = begin();
    wait_for("the same for another command", || {
        steps().len() > of_the_killed.len()
    });
    killed.kill().expect("kills");
    killed.wait().expect("ends");
    assert!(of_the_killed.iter().all(|name| steps().contains(name)));
    sh(&world, &id, "true");
    // That of the command that lives stays, and holds.
    let left = steps();
    assert!(!left.is_empty());
    assert!(
        of_the_killed.iter().all(|name| !left.contains(name)),
        "{left:?}"
    );
    sh(&world, &id, "touch /tmp/go");
    world.ran(lives.wait_with_output().expect("ends")).ended(0);
    assert_eq!(steps(), Vec::<String>::new());
}

#[test]
fn a_patch_with_a_file_below_a_file_leaves_nothing() {
    let world = world();
    let id = create(&world, &[]);
    let add = |path: &str| format!("--- /dev/null\n+++ b/{path}\n@@ -0,0 +1 @@\n+x\n");
    let patch = add("node") + &add("node/child");
    ws(&world, &["patch", "apply", &id, "--patch", &patch]).ended(1);
    assert_eq!(sh(&world, &id, "ls").stdout(), "note.txt\nrun.sh\n");
    assert_eq!(changes(&world, &id), []);
}

#[test]
fn a_diff_of_lines_without_an_end_is_a_patch_and_sees_modes() {
    let world = world();
    world.write("repo/plain", "old");
    let (one, two) = (create(&world, &[]), create(&world, &[]));
    sh(&world, &one, "printf new > plain; chmod 755 note.txt");
    let expected = [("note.txt", "modified"), ("plain", "modified")];
    let seen = changes(&world, &one);
    let seen: Vec<_> = seen.iter().map(|(path, what)| (&**path, &**what)).collect();
    assert_eq!(seen, expected);
    let patch = ws(&world, &["diff", &one, "--patch"]).ended(0);
    let apply = ["workspace", "patch", "apply", &two, "--patch-file", "-"];
    world.pyro_with_input(apply, &patch.stdout).ended(0);
    assert_eq!(
        sh(&world, &two, "cat plain; stat -c %a note.txt").stdout(),
        "new755\n"
    );
}

#[test]
fn what_is_answered_is_bounded() {
    let world = world();
    let id = create(&world, &[]);
    // 13 MB in 100 files of lines that differ.
    let many = "for n in $(seq 100); do head -c 100000 /dev/urandom | base64 > big$n; done";
    sh(&world, &id, many);
    let diff = ws(&world, &["diff", &id, "--json"]).ended(0);
    assert!(diff.stdout.len() < 2 << 20, "{} bytes", diff.stdout.len());
    assert_eq!(changes(&world, &id).len(), 100);
    let loud = ["exec", &id, "--json", "--", "sh", "-c", "seq 1000000"];
    let loud = ws(&world, &loud).ended(0);
    assert!(loud.stdout.len() < 2 << 20, "{} bytes", loud.stdout.len());
    let loud: Value = serde_json::from_slice(&loud.stdout).expect("JSON");
    assert_eq!(loud["stdout_truncated"], true);
    assert_eq!(loud["stdout_bytes"], 6_888_896);
    let logs = ws(&world, &["logs", &id, "--json"]).ended(0);
    assert!(logs.stdout.len() < 1 << 20, "{} bytes", logs.stdout.len());
}

#[test]
fn names_that_are_no_text_hide_no_others() {
    let world = world();
    let id = create(&world, &[]);
    sh(
        &world,
        &id,
        "mkdir names; cd names; touch plain \"$(printf 'odd\\377')\"",
    );
    let list = json(&world, &["file", "list", &id, "names", "--json"]);
    let entries = list["entries"].as_array().expect("entries");
    assert_eq!(entries.len(), 2, "{list}");
    // `names/odd` and the byte.
    let odd = |entry: &Value| entry["path_base64"] == "bmFtZXMvb2Rk/w==";
    assert!(entries.iter().any(odd), "{list}");
    ws(&world, &["diff", &id]).ended(0);
    ws(&world, &["snapshot", "create", &id, "odd"]).ended(0);
}

#[test]
fn a_path_moves_and_history_and_diff_know_it() {
    let world = world();
    let id = create(&world, &["--name", "mover"]);
    sh(
        &world,
        &id,
        "mkdir -p d/in; echo x > d/in/x; cp d/in/x \"d/$(printf 'odd \\377')\"; ln -s in d/link",
    );
    let moved = json(&world, &["file", "move", &id, "d", "a b/ü", "--json"]);
    assert_eq!(moved["from"], "/workspace/d", "{moved:#}");
    assert_eq!(moved["path"], "/workspace/a b/ü");
    assert_eq!(moved["artifact_type"], "directory");
    assert_eq!(moved["workspace_id"], id.as_str());
    let told = ws(&world, &["file", "move", &id, "note.txt", "a b/note"]).ended(0);
    assert_eq!(told.stdout(), "moved note.txt to a b/note\n");
    let seen = sh(
        &world,
        &id,
        "find 'a b' | LC_ALL=C sort | od -c | grep -c 377; cat 'a b/ü/in/x'; test ! -e d",
    );
    assert_eq!(seen.stdout(), "1\nx\n");
    // Nothing is moved over anything, through a link, into itself or from nowhere; nothing is changed then.
    sh(&world, &id, "ln -s 'a b' way");
    for (from, to, code) in [
        ("run.sh", "a b/note", "exists"),
        ("run.sh", "a b", "exists"),
        ("run.sh", "way", "exists"),
        ("run.sh", "way/run.sh", "symlink"),
        ("way/note", "note", "symlink"),
        ("nothing", "note", "not-found"),
        ("a b", "a b/ü/deeper", "path-kind"),
        ("run.sh", "run.sh", "path-taken"),
    ] {
        let refused = ws(&world, &["file", "move", &id, from, to, "--json"]).ended(1);
        assert_eq!(refused.json()["error"]["code"], code, "{}", refused.text());
    }
    let diff = ws(&world, &["diff", &id, "--patch"]).ended(0).stdout();
    assert!(
        diff.contains("rename from note.txt\nrename to a b/note\n"),
        "{diff}"
    );
    let emitted = ws(&world, &["file", "move", &id, "x", "y", "--emit", "toml"]).ended(0);
    assert!(
        emitted.stdout().contains("move = \"x\"\nto = \"y\"\n"),
        "{}",
        emitted.text()
    );
    let history = json(&world, &["history", &id, "--json"]);
    let kinds: Vec<_> = (history["entries"].as_array().expect("entries").iter())
        .filter(|entry| entry["outcome"] == "passed")
        .map(|entry| entry["kind"].as_str().expect("a verb"))
        .collect();
    assert_eq!(
        kinds.iter().filter(|kind| **kind == "move").count(),
        2,
        "{kinds:?}"
    );
    let request = ws(&world, &["history", &id, "--request"]).ended(0);
    world.write("again.pyro.toml", request.stdout());
    let again = world
        .pyro(["apply", "again.pyro.toml", "--json"])
        .ended(0)
        .json();
    let paths = |changes: &Value| -> Vec<String> {
        let changes = changes.as_array().expect("changes").iter();
        changes.map(|change| change["path"].to_string()).collect()
    };
    let again: Vec<_> = (again["changes"].as_array().expect("changes").iter())
        .filter(|change| change["after"]["kind"] != "directory")
        .map(|change| change["path"]["text"].to_string())
        .collect();
    let first = json(&world, &["diff", &id, "--json"]);
    assert_eq!(again, paths(&first["entries"]));
}

#[test]
fn executable_bits_stay_through_seed_snapshot_reset_and_export() {
    let world = world();
    let id = create(&world, &[]);
    ws(&world, &["snapshot", "create", &id, "first"]).ended(0);
    sh(&world, &id, "rm run.sh; chmod 600 note.txt");
    ws(&world, &["reset", &id, "--snapshot", "first"]).ended(0);
    assert_eq!(
        sh(&world, &id, "./run.sh; stat -c %a note.txt").stdout(),
        "built\n644\n"
    );
    ws(&world, &["export", &id, "run.sh", "--output", "out.sh"]).ended(0);
    assert_eq!(mode(&world.work().join("out.sh")), 0o755);
    ws(&world, &["stop", &id]).ended(0);
    let disk = json(&world, &["disk", "list", &id, "--json"]);
    assert!(disk.to_string().contains("0755"), "{disk}");
}

#[test]
fn links_and_odd_files_and_names_hold_nothing_up() {
    let world = world();
    let repo = world.work().join("repo");
    fs::create_dir_all(repo.join("docs")).expect("makes");
    symlink("../note.txt", repo.join("docs/readme")).expect("links");
    symlink("/usr/bin/env", repo.join("tool")).expect("links");
    fs::hard_link(repo.join("note.txt"), repo.join("twin")).expect("links");
    world.write("repo/ lead", "1\n");
    world.write("repo/trail ", "2\n");
    let id = create(&world, &[]);
    let seen = sh(
        &world,
        &id,
        "cat docs/readme twin ' lead' 'trail '; readlink tool docs/readme",
    );
    assert_eq!(seen.stdout(), "old\nold\n1\n2\n/usr/bin/env\n../note.txt\n");
    sh(
        &world,
        &id,
        "mkfifo pipe; ln -s /etc/hosts abs; echo more > new",
    );
    let paths: Vec<_> = changes(&world, &id)
        .into_iter()
        .map(|(path, _)| path)
        .collect();
    assert!(paths.contains(&"new".to_owned()), "{paths:?}");
    assert!(paths.contains(&"abs".to_owned()), "{paths:?}");
    ws(&world, &["snapshot", "create", &id, "first"]).ended(0);
    sh(&world, &id, "rm new abs tool");
    ws(&world, &["reset", &id, "--snapshot", "first"]).ended(0);
    assert_eq!(
        sh(&world, &id, "readlink abs tool; cat new").stdout(),
        "/etc/hosts\n/usr/bin/env\nmore\n"
    );
    ws(&world, &["export", &id, "docs", "--output", "docs-out"]).ended(0);
    let link = fs::read_link(world.work().join("docs-out/readme")).expect("a link");
    assert_eq!(link, Path::new("../note.txt"));
}

#[test]
fn no_path_leads_out_through_a_link() {
    let world = world();
    world.write("outside/secret.txt", "secret\n");
    fs::set_permissions(world.base(), fs::Permissions::from_mode(0o755)).expect("opens");
    let outside = world.work().join("outside");
    let id = create(&world, &[]);
    sh(&world, &id, &format!("ln -s {} door", outside.display()));
    let gone = "--- a/door/secret.txt\n+++ /dev/null\n@@ -1 +0,0 @@\n-secret\n";
    for args in [
        &["file", "read", &id, "door/secret.txt"][..],
        &["file", "list", &id, "door/."],
        &["file", "write", &id, "door/secret.txt", "--text", "x"],
        &["file", "delete", &id, "door/secret.txt"],
        &["export", &id, "door/secret.txt", "--output", "stolen"],
        &["patch", "apply", &id, "--patch", gone],
    ] {
        let ran = ws(&world, args);
        assert_ne!(ran.code, Some(0), "{args:?}");
        assert!(!ran.stdout().contains("secret\n"), "{}", ran.text());
    }
    ws(&world, &["stop", &id]).ended(0);
    let read = ws(&world, &["disk", "read", &id, "door/secret.txt"]);
    assert_ne!(read.code, Some(0), "{}", read.text());
    assert_eq!(
        fs::read_to_string(outside.join("secret.txt")).expect("stays"),
        "secret\n"
    );
    assert!(!world.work().join("stolen").exists());
}

#[test]
fn a_snapshot_whose_data_is_gone_costs_nothing_else() {
    let world = world();
    let id = create(&world, &[]);
    ws(&world, &["snapshot", "create", &id, "first"]).ended(0);
    sh(&world, &id, "echo mine > mine");
    let marks = world.state().join("workspaces").join(&id).join("run/marks");
    fs::remove_dir_all(&marks).expect("somebody removes it");
    let reset = ws(&world, &["reset", &id, "--snapshot", "first"]);
    assert_ne!(reset.code, Some(0), "{}", reset.text());
    assert_eq!(sh(&world, &id, "cat mine").stdout(), "mine\n");
    ws(&world, &["stop", &id]).ended(0);
    ws(&world, &["start", &id]).ended(0);
    assert_eq!(sh(&world, &id, "cat mine").stdout(), "mine\n");
}

#[test]
fn the_disk_shows_names_with_blanks() {
    let world = world();
    let id = create(&world, &[]);
    sh(
        &world,
        &id,
        "mkdir 'dir one'; echo in > 'dir one/in.txt'; echo my > 'my file.txt'",
    );
    ws(&world, &["stop", &id]).ended(0);
    let list = ws(&world, &["disk", "list", &id, "--recursive"]).ended(0);
    assert!(list.stdout().contains("dir one/in.txt"), "{}", list.text());
    for (path, text) in [("my file.txt", "my\n"), ("dir one/in.txt", "in\n")] {
        let read = ws(&world, &["disk", "read", &id, path, "--content-only"]).ended(0);
        assert_eq!(read.stdout(), text);
    }
}

#[test]
fn a_refused_command_leaves_no_temporary_file() {
    let world = world();
    let id = create(&world, &[]);
    let tmp = world.base().join("tmp");
    fs::create_dir(&tmp).expect("makes");
    let refused = |args: &[&str]| {
        let mut command = world.command(["workspace"].iter().chain(args));
        let output = command.env("TMPDIR", &tmp).output().expect("starts");
        assert!(!output.status.success(), "{args:?}");
    };
    refused(&["create", "host", "--seed-path", "nowhere"]);
    refused(&["create", "dir:/nowhere", "--seed-path", "repo"]);
    refused(&["export", &id, "missing", "--output", "out"]);
    refused(&["file", "write", &id, "../out", "--text", "x"]);
    assert_eq!(fs::read_dir(&tmp).expect("lists").count(), 0);
    assert_eq!(world.runs(), Vec::<std::path::PathBuf>::new());
    assert_eq!(json(&world, &["list", "--json"])["count"], 1);
    let mut work: Vec<_> = fs::read_dir(world.work())
        .expect("lists")
        .map(|entry| entry.expect("an entry").file_name())
        .collect();
    work.sort();
    assert_eq!(work, ["fix.patch", "repo"]);
}

#[test]
fn the_state_is_closed_to_others() {
    let world = world();
    let id = create(&world, &[]);
    sh(&world, &id, "seq 200000");
    assert_eq!(mode(&world.state()), 0o700);
    let home = world.state().join("workspaces").join(&id);
    assert_eq!(mode(&home), 0o700);
    assert_eq!(mode(&world.state().join("registry.sqlite")), 0o600);
    assert_eq!(mode(&home.join("history")), 0o700);
}

#[test]
fn looking_changes_nothing_and_using_does() {
    let world = world();
    let (first, second) = (create(&world, &[]), create(&world, &[]));
    let order = || {
        let list = json(&world, &["list", "--json"]);
        let all = list["workspaces"].as_array().expect("workspaces");
        all.iter()
            .map(|one| one["workspace_id"].as_str().expect("an id").to_owned())
            .collect::<Vec<_>>()
    };
    let about = world
        .state()
        .join("workspaces")
        .join(&first)
        .join("about.json");
    let look = || {
        let found = fs::metadata(&about).expect("is there");
        let status = json(&world, &["status", &first, "--json"]);
        let active = status["last_activity_at"].clone();
        assert!(active.is_number(), "{status}");
        (found.ino(), found.mtime_nsec(), active)
    };
    let before = look();
    ws(&world, &["file", "read", &first, "note.txt"]).ended(0);
    ws(&world, &["file", "list", &first]).ended(0);
    ws(&world, &["diff", &first]).ended(0);
    assert_eq!(look(), before);
    assert_eq!(order(), [second.clone(), first.clone()]);
    ws(&world, &["file", "write", &first, "a", "--text", "x"]).ended(0);
    assert_eq!(order(), [first, second]);
}

#[test]
fn with_its_time_go_its_programs_and_its_files_stay() {
    let world = world();
    let id = create(&world, &["--ttl-seconds", "2"]);
    sh(&world, &id, "echo mine > mine; sleep 600 & true");
    wait_for("it expires", || inside(&id).is_empty());
    assert_eq!(json(&world, &["status", &id, "--json"])["state"], "stopped");
    ws(&world, &["update", &id, "--ttl", "1h"]).ended(0);
    ws(&world, &["start", &id]).ended(0);
    assert_eq!(
        sh(
            &world,
            &id,
            "cat mine; cat /proc/[0-9]*/comm | grep -c sleep || true"
        )
        .stdout(),
        "mine\n0\n"
    );
}

#[test]
fn nothing_of_the_hosts_environment_is_seen() {
    let world = world();
    let id = create(&world, &[]);
    let mut command = world.command(["workspace", "exec", &id, "--", "env"]);
    let seen = command.env("ONLY_OUTSIDE", "1").output().expect("starts");
    let seen = String::from_utf8_lossy(&seen.stdout).into_owned();
    assert!(
        seen.contains("PATH=") && !seen.contains("ONLY_OUTSIDE"),
        "{seen}"
    );
}

#[test]
fn ten_creators_at_once_make_ten() {
    let world = world();
    std::thread::scope(|scope| {
        for _ in 0..10 {
            scope.spawn(|| create(&world, &[]));
        }
    });
    let list = json(&world, &["list", "--json"]);
    assert_eq!(list["count"], 10);
    assert!(!list.to_string().contains("creating"), "{list}");
}
