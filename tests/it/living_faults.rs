//! Commands, keepers and agents that are killed at any moment: every workspace is as it was, as it should be, gone, or
//! stopped with its files; the next command puts it right and says so; nothing is left lying about.
//!
//! How long a command takes is measured, and the kills are spread over that time.

use crate::harness::{World, wait_for};
use crate::living::{beside, create, inside, json, keeper, kill, world, ws};
use pyro::workspace::StateDir;
use rustix::process::Pid;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Kills of each command; `PYRO_TEST_KILLS` asks for others.
fn kills() -> u32 {
    let asked = std::env::var("PYRO_TEST_KILLS").ok();
    asked.and_then(|count| count.parse().ok()).unwrap_or(12)
}

/// A workspace that something happens to, and one beside it.
struct Story {
    world: World,
    id: String,
    other: String,
    /// How long the command takes that is killed.
    usual: Cell<Duration>,
}

impl Story {
    fn new() -> Self {
        let world = world();
        let (id, other) = (create(&world, &[]), create(&world, &[]));
        let story = Self {
            world,
            id,
            other,
            usual: Cell::default(),
        };
        story.sh("mkdir many; for n in $(seq 200); do echo $n > many/$n; done; echo kept > kept");
        story
    }

    fn sh(&self, script: &str) -> String {
        let args = ["exec", &self.id, "--", "sh", "-c", script];
        ws(&self.world, &args).ended(0).stdout()
    }

    fn state(&self) -> String {
        let status = json(&self.world, &["status", &self.id, "--json"]);
        status["state"].as_str().expect("a state").to_owned()
    }

    /// Runs a command and kills it at the `number`-th moment of its time; the first one runs to its end, for the clock.
    fn killed(&self, number: u32, args: &[&str]) {
        let args = ["workspace"].iter().chain(args);
        let mut command = self.world.command(args);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let started = Instant::now();
        let mut child = command.spawn().expect("starts");
        if number == 0 {
            assert!(child.wait().expect("ends").success());
            self.usual.set(started.elapsed());
            return;
        }
        sleep(self.usual.get() * (number - 1) / (kills() - 1).max(1));
        child.kill().expect("kills");
        child.wait().expect("ends");
    }

    /// The next command repairs and says so; after that all is well. Says what was told.
    fn is_whole(&self) -> String {
        let mut told = ws(&self.world, &["list"]).ended(0).stderr();
        let other = ws(&self.world, &["exec", &self.other, "--", "cat", "note.txt"]).ended(0);
        assert_eq!(other.stdout(), "old\n");
        assert_eq!(self.world.runs(), Vec::<std::path::PathBuf>::new());
        for home in folder(&self.world.state().join("workspaces")) {
            assert!(home.len() == 12, "{home} was left: {told}");
            for name in folder(&self.world.state().join("workspaces").join(&home)) {
                assert!(!name.contains(".pyro-"), "{name} was left");
            }
        }
        if !self.is_there() {
            return told;
        }
        let looked = ws(&self.world, &["history", &self.id, "--json"]).ended(0);
        told += &looked.stderr();
        let history: serde_json::Value = serde_json::from_slice(&looked.stdout).expect("JSON");
        let entries = history["entries"].as_array().expect("entries");
        for (entry, number) in entries.iter().zip(1..) {
            assert_eq!(entry["sequence"], number, "{history:#}");
            assert!(entry["outcome"].is_string(), "{entry:#}");
        }
        told
    }

    fn is_there(&self) -> bool {
        let list = json(&self.world, &["list", "--json"]);
        let all = list["workspaces"].as_array().expect("workspaces");
        all.iter().any(|one| one["workspace_id"] == *self.id)
    }

    /// Started, whatever it was.
    fn start(&self) {
        ws(&self.world, &["start", &self.id]).ended(0);
        assert_eq!(self.sh("cat kept"), "kept\n");
    }

    /// How many interrupted entries the history has.
    fn interrupted(&self) -> usize {
        let history = json(&self.world, &["history", &self.id, "--json"]);
        let entries = history["entries"].as_array().expect("entries");
        let is_cut = |entry: &&serde_json::Value| entry["outcome"] == "interrupted";
        entries.iter().filter(is_cut).count()
    }

    /// Kills a command at each moment; `check` looks at what came of it.
    fn throughout(
        &self,
        before: impl Fn(u32),
        args: impl Fn(u32) -> Vec<String>,
        check: impl Fn(u32),
    ) {
        for number in 0..=kills() {
            before(number);
            let known = self.interrupted();
            let args = args(number);
            let args: Vec<&str> = args.iter().map(String::as_str).collect();
            self.killed(number, &args);
            let told = self.is_whole();
            let more = self.interrupted() - known;
            let said = told
                .matches("was interrupted and its outcome is not known")
                .count();
            assert_eq!(more, said, "{told}");
            check(number);
        }
    }
}

impl Drop for Story {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        for id in [&self.id, &self.other] {
            if self.world.state().join("workspaces").join(id).exists() {
                ws(&self.world, &["delete", id]).ended(0);
            }
        }
        nothing_is_left(&self.world);
    }
}

/// Of no workspace of this world anything is there: process, mount, folder, control group.
pub(crate) fn nothing_is_left(world: &World) {
    let state = world.state();
    let word = state.to_str().expect("text");
    wait_for("every process to end", || inside(word).is_empty());
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("mounts");
    assert!(!mounts.contains(word), "a mount was left");
    assert_eq!(world.runs(), Vec::<std::path::PathBuf>::new());
    for shared in ["workspaces", "baselines"] {
        assert_eq!(
            folder(&state.join(shared)),
            Vec::<String>::new(),
            "{shared}"
        );
    }
    for name in folder(&state) {
        let known =
            ["baselines", "lock", "receipts", "runs", "workspaces"].contains(&name.as_str());
        assert!(
            known || name.starts_with("registry.sqlite"),
            "{name} was left"
        );
    }
}

/// The names in a folder; none where there is no folder.
fn folder(path: &Path) -> Vec<String> {
    let all = fs::read_dir(path).into_iter().flatten().flatten();
    all.map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

#[test]
fn of_a_killed_create_nothing_or_all_is_there() {
    let story = Story::new();
    for number in 0..=kills() {
        story.killed(
            number,
            &["create", "host", "--seed-path", "repo", "--name", "third"],
        );
        // One that has no name yet is removed without a word.
        let names = folder(&story.world.state().join("workspaces"));
        let before = names.iter().filter(|name| name.len() == 12).count();
        let told = story.is_whole();
        let list = json(&story.world, &["list", "--json"]);
        let count = list["count"].as_u64().expect("a count");
        let removed = told.matches("making the workspace").count();
        assert_eq!(count, (before - removed) as u64, "{told}");
        if count == 3 {
            let ran = ws(&story.world, &["exec", "third", "--", "./run.sh"]).ended(0);
            assert_eq!(ran.stdout(), "built\n");
            ws(&story.world, &["delete", "third"]).ended(0);
        }
    }
}

#[test]
fn a_killed_exec_is_interrupted_and_the_next_one_works() {
    let story = Story::new();
    let run = words(&[
        "exec",
        &story.id,
        "--",
        "sh",
        "-c",
        "echo line >> count; sleep 0.1",
    ]);
    story.throughout(
        |_| {},
        |_| run.clone(),
        |number| {
            let count = story.sh("cat count");
            assert!(count.lines().all(|line| line == "line"), "{count}");
            assert!(count.lines().count() <= number as usize + 1);
        },
    );
    wait_for("nothing runs", || {
        !story.sh("cat /proc/[0-9]*/comm").contains("sleep")
    });
}

#[test]
fn a_killed_snapshot_is_there_or_can_be_made() {
    let story = Story::new();
    let name = |number| format!("s{number}");
    story.throughout(
        |number| drop(story.sh(&format!("echo {number} > version"))),
        |number| words(&["snapshot", "create", &story.id, &name(number)]),
        |number| {
            let list = json(&story.world, &["snapshot", "list", &story.id, "--json"]);
            let name = name(number);
            if !list.to_string().contains(&format!("\"{name}\"")) {
                ws(&story.world, &["snapshot", "create", &story.id, &name]).ended(0);
            }
            story.sh("echo other > version; rm -r many/1*");
            ws(&story.world, &["reset", &story.id, "--snapshot", &name]).ended(0);
            assert_eq!(
                story.sh("cat version; ls many | wc -l"),
                format!("{number}\n200\n")
            );
        },
    );
}

#[test]
fn a_killed_reset_leaves_the_old_tree_or_the_snapshot() {
    let story = Story::new();
    ws(&story.world, &["snapshot", "create", &story.id, "first"]).ended(0);
    let count = || {
        let status = json(&story.world, &["status", &story.id, "--json"]);
        status["reset_count"].as_u64().expect("a count")
    };
    let resets = Cell::new(0);
    let look = "ls many | wc -l; cat extra || echo none";
    story.throughout(
        |_| drop(story.sh("echo x > extra; rm -f many/2*; echo changed > note.txt")),
        |_| words(&["reset", &story.id, "--snapshot", "first"]),
        |_| {
            let seen = story.sh(look) + &story.sh("cat note.txt");
            let known = ["188\nx\nchanged\n", "200\nnone\nold\n"];
            assert!(known.contains(&seen.as_str()), "{seen}");
            // What has happened counts, whoever heard of it.
            let more = u64::from(seen == known[1]);
            assert_eq!(count(), resets.get() + more, "{seen}");
            ws(&story.world, &["reset", &story.id, "--snapshot", "first"]).ended(0);
            assert_eq!(story.sh(look), "200\nnone\n");
            resets.set(count());
            let logs = json(&story.world, &["logs", &story.id, "--json"]);
            assert_eq!(logs["count"], 1, "{logs:#}");
        },
    );
}

/// Changes `note.txt` and makes 40 files.
fn patch(world: &World) {
    let mut text = "--- a/note.txt\n+++ b/note.txt\n@@ -1 +1 @@\n-old\n+new\n".to_owned();
    for number in 0..40 {
        text += &format!("--- /dev/null\n+++ b/made/{number}\n@@ -0,0 +1 @@\n+made\n");
    }
    world.write("many.patch", text);
}

/// All of the patch is there, or nothing.
fn all_or_nothing(story: &Story) {
    let seen = story.sh("cat note.txt; ls made 2>/dev/null | wc -l");
    assert!(["old\n0\n", "new\n40\n"].contains(&seen.as_str()), "{seen}");
}

#[test]
fn a_killed_patch_is_applied_or_not() {
    let story = Story::new();
    patch(&story.world);
    story.throughout(
        |_| drop(story.sh("rm -rf made; echo old > note.txt")),
        |_| words(&["patch", "apply", &story.id, "--patch-file", "many.patch"]),
        |_| all_or_nothing(&story),
    );
}

/// The directory has the one name or the other, with all that is in it.
fn one_name(story: &Story) {
    let seen = story.sh(
        "ls -d many to/be/many 2>/dev/null; ls many to/be/many 2>/dev/null | grep -cE '^[0-9]+$'",
    );
    assert!(
        seen.starts_with("many\n") || seen.starts_with("to/be/many\n"),
        "{seen}"
    );
    assert!(seen.ends_with("\n200\n"), "{seen}");
}

const BACK: &str = "test -d many || mv to/be/many many; rm -rf to";

#[test]
fn a_killed_move_has_the_old_name_or_the_new_one() {
    let story = Story::new();
    story.throughout(
        |_| drop(story.sh(BACK)),
        |_| words(&["file", "move", &story.id, "many", "to/be/many"]),
        |_| one_name(&story),
    );
}

#[test]
fn a_machine_that_dies_in_a_move_leaves_one_name() {
    machine_dies(
        BACK,
        &["file", "move", "ID", "many", "to/be/many"],
        one_name,
    );
}

#[test]
fn a_killed_start_or_stop_leaves_a_workspace_to_start() {
    let story = Story::new();
    for (from, command) in [("stop", "start"), ("start", "stop")] {
        story.throughout(
            |_| drop(ws(&story.world, &[from, &story.id]).ended(0)),
            |_| words(&[command, &story.id]),
            |_| {
                assert!(["started", "stopped"].contains(&story.state().as_str()));
                story.start();
            },
        );
    }
}

#[test]
fn a_killed_delete_deletes_or_leaves_the_workspace() {
    let mut story = Story::new();
    for number in 0..=kills() {
        if !story.is_there() {
            story.id = create(&story.world, &[]);
            story.sh("echo kept > kept");
        }
        story.killed(number, &["delete", &story.id]);
        let homes = story.world.state().join("workspaces");
        let half = homes.join(format!(".dead-{}", story.id)).exists();
        let told = story.is_whole();
        if story.is_there() {
            story.start();
        } else if half {
            let said = format!("removing the workspace {} had been interrupted", story.id);
            assert!(told.contains(&said), "{told}");
        }
    }
}

/// What a directory holds, by name.
fn held(path: &Path) -> BTreeMap<String, String> {
    let all = folder(path).into_iter();
    all.map(|name| {
        let text = fs::read_to_string(path.join(&name)).unwrap_or_default();
        (name, text)
    })
    .collect()
}

/// A directory to lay over a workspace: a file that is there, and 200 that are not.
fn overlay(world: &World) {
    world.write("over/note.txt", "laid\n");
    for number in 0..200 {
        world.write(&format!("over/laid/{number}"), format!("{number}\n"));
    }
}

fn laid_or_not(story: &Story) {
    let seen = story.sh(
        "cat note.txt; ls laid 2>/dev/null | wc -l; cat laid/* 2>/dev/null | sort -n | tail -1",
    );
    let known = ["old\n0\n", "laid\n200\n199\n"];
    assert!(known.contains(&seen.as_str()), "{seen}");
}

#[test]
fn a_killed_sync_is_laid_or_not() {
    let story = Story::new();
    overlay(&story.world);
    story.throughout(
        |_| drop(story.sh("rm -rf laid; echo old > note.txt")),
        |_| words(&["sync", "push", &story.id, "over"]),
        |_| laid_or_not(&story),
    );
}

#[test]
fn a_killed_export_is_there_whole_or_not_at_all() {
    let story = Story::new();
    let out = story.world.work().join("out");
    let whole = |path: &Path| {
        let held = held(path);
        let right = held.iter().all(|(name, text)| *text == format!("{name}\n"));
        assert!(held.len() == 200 && right, "{} files", held.len());
    };
    story.throughout(
        |_| {
            if out.exists() {
                fs::remove_dir_all(&out).expect("removes");
            }
        },
        |_| words(&["export", &story.id, "many", "--output", "out"]),
        |_| {
            if out.exists() {
                whole(&out);
            }
            let left = folder(&story.world.work());
            assert!(
                !left.iter().any(|name| name.starts_with(".pyro-")),
                "{left:?}"
            );
        },
    );
    // Over something that is there: the old or the new.
    let text = |text: &str| story.world.write("file", text);
    story.sh("head -c 2000000 /dev/zero > big");
    story.throughout(
        |_| text("old"),
        |_| {
            let output = ["--output", "file", "--overwrite"];
            words(&[&["export", &story.id, "big"][..], &output].concat())
        },
        |_| {
            let size = fs::metadata(story.world.work().join("file"))
                .expect("there")
                .len();
            assert!([3, 2_000_000].contains(&size), "{size}");
            let left = folder(&story.world.work());
            assert!(
                !left.iter().any(|name| name.starts_with(".pyro-")),
                "{left:?}"
            );
        },
    );
}

#[test]
fn a_killed_pull_leaves_the_old_directory_or_the_new_one() {
    let story = Story::new();
    let repo = story.world.work().join("repo");
    let done = Cell::new(0);
    // What lies there now, as the last pull left it; each round brings another version of everything.
    let version = Cell::new(0);
    let all = |number: u32| -> BTreeMap<String, String> {
        let mut all: BTreeMap<_, _> = (0..60)
            .map(|n| (format!("f{n}"), format!("{number}\n")))
            .collect();
        let extra = format!("only-{number}");
        all.insert(extra, format!("{number}\n"));
        all
    };
    let found = || {
        let mut found = held(&repo.join("pulled"));
        found.retain(|name, _| !name.starts_with(".pyro"));
        found
    };
    story.throughout(
        |number| {
            let script = format!(
                "mkdir -p pulled; rm -f pulled/*; for n in $(seq 0 59); do echo {0} > pulled/f$n; done; \
                 echo {0} > pulled/only-{0}",
                number + 1
            );
            story.sh(&script);
        },
        |_| words(&["pull", &story.id]),
        |number| {
            let seen = found();
            let (old, new) = (all(version.get()), all(number + 1));
            let is_first = version.get() == 0 && seen.is_empty();
            assert!(seen == new || seen == old || is_first, "{seen:?}");
            assert!(!folder(&repo).iter().any(|name| name.starts_with(".pyro")));
            assert!(!story.world.state().join("pulls").exists());
            if seen == new {
                done.set(done.get() + 1);
                version.set(number + 1);
            }
            // Whatever became of it, the next pull knows what is there.
            ws(&story.world, &["pull", &story.id]).ended(0);
            assert_eq!(found(), new);
            version.set(number + 1);
        },
    );
    assert!(done.get() > 0);
}

/// The agent of a workspace.
fn agent(story: &Story) -> Pid {
    let state = StateDir::open(Some(&story.world.state())).expect("opens");
    let home = state.home(&story.id).expect("is there");
    let status = pyro::keeper::status(&home).expect("answers");
    Pid::from_raw(status.agent_pid).expect("a process")
}

/// Kills the keeper or the agent in the middle of a command.
fn machine_dies(before: &str, args: &[&str], check: impl Fn(&Story)) {
    let story = Story::new();
    patch(&story.world);
    overlay(&story.world);
    ws(&story.world, &["snapshot", "create", &story.id, "first"]).ended(0);
    for number in 0..=kills() / 2 {
        story.sh(before);
        let args: Vec<_> = args
            .iter()
            .map(|&word| match word {
                "ID" => story.id.clone(),
                "NAME" => format!("s{number}"),
                word => word.to_owned(),
            })
            .collect();
        let args: Vec<_> = args.iter().map(String::as_str).collect();
        if number == 0 {
            story.killed(0, &args);
            check(&story);
            continue;
        }
        let victim = match number % 2 {
            0 => keeper(&story.id),
            _ => agent(&story),
        };
        let keeping = format!("/proc/{}", keeper(&story.id).as_raw_nonzero());
        let keeping = Path::new(&keeping);
        let mut command = beside(&story.world, &args);
        sleep(story.usual.get() * number / (kills() / 2));
        kill(victim);
        command.wait().expect("ends");
        // Whoever came when it was gone may have started another.
        wait_for("the keeper is gone", || !keeping.exists());
        story.is_whole();
        story.start();
        check(&story);
    }
}

#[test]
fn a_machine_that_dies_in_a_patch_leaves_all_of_it_or_nothing() {
    machine_dies(
        "rm -rf made; echo old > note.txt",
        &["patch", "apply", "ID", "--patch-file", "many.patch"],
        all_or_nothing,
    );
}

#[test]
fn a_machine_that_dies_in_a_reset_leaves_the_old_tree_or_the_snapshot() {
    machine_dies(
        "echo x > extra; rm -f many/2*",
        &["reset", "ID", "--snapshot", "first"],
        |story| {
            let seen = story.sh("ls many | wc -l; cat extra || echo none");
            assert!(
                ["188\nx\n", "200\nnone\n"].contains(&seen.as_str()),
                "{seen}"
            );
        },
    );
}

#[test]
fn a_machine_that_dies_in_a_snapshot_keeps_the_earlier_ones() {
    machine_dies(
        "echo x > extra",
        &["snapshot", "create", "ID", "NAME"],
        |story| {
            story.sh("rm -r many");
            ws(&story.world, &["reset", &story.id, "--snapshot", "first"]).ended(0);
            assert_eq!(
                story.sh("ls many | wc -l; cat extra || echo none"),
                "200\nnone\n"
            );
        },
    );
}

#[test]
fn a_machine_that_dies_in_a_sync_leaves_all_of_it_or_nothing() {
    let before = "rm -rf laid; echo old > note.txt";
    machine_dies(before, &["sync", "push", "ID", "over"], laid_or_not);
}

#[test]
fn a_machine_that_dies_in_a_pull_or_an_export_leaves_the_host_as_it_was_or_all_of_it() {
    machine_dies(
        "rm -rf made; mkdir made; for n in $(seq 40); do cat /proc/sys/kernel/random/uuid > made/$n; done",
        &["pull", "ID"],
        |story| {
            // All of one version, of this round or of one before: no file is missing, and none half there.
            let made = held(&story.world.work().join("repo/made"));
            assert!([0, 40].contains(&made.len()), "{}", made.len());
            assert!(made.values().all(|text| text.len() == 37), "{made:?}");
            assert!(!story.world.state().join("pulls").exists());
            ws(&story.world, &["pull", &story.id]).ended(0);
            let made = held(&story.world.work().join("repo/made"));
            let inside: BTreeMap<_, _> = (1..=40)
                .map(|n| (n.to_string(), story.sh(&format!("cat made/{n}"))))
                .take(3)
                .collect();
            for (name, text) in inside {
                assert_eq!(made.get(&name), Some(&text));
            }
        },
    );
    machine_dies(
        "rm -rf x",
        &["export", "ID", "many", "--output", "out"],
        |story| {
            let out = story.world.work().join("out");
            if out.exists() {
                assert_eq!(held(&out).len(), 200);
                fs::remove_dir_all(out).expect("removes");
            }
        },
    );
}
