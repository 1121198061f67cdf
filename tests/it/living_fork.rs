//! A second workspace from what the first one is, and those that nobody uses any more.

use crate::harness::{Ran, World, wait_for};
use crate::living::{json, ws};
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

const DAY: i64 = 86_400;
/// Everything that a tree is, one path a line.
const LOOK: &str = "find . -printf '%p %y %m %n %T@ %l\\n' | sort; find . -type f -perm -400 -exec sha256sum {} + | sort";

fn made(world: &World, args: &[&str]) -> String {
    let id = ws(world, args).ended(0).stdout().trim().to_owned();
    assert_eq!(id.len(), 12, "{id}");
    id
}

fn create(world: &World, more: &[&str]) -> String {
    world.write("repo/note.txt", "old\n");
    world.write("repo/kept/deep.txt", "deep\n");
    let args = ["create", "host", "--seed-path", "repo", "--id-only"];
    made(world, &[&args, more].concat())
}

fn sh(world: &World, id: &str, script: &str) -> Ran {
    ws(world, &["exec", id, "--", "sh", "-c", script])
}

fn look(world: &World, id: &str) -> String {
    let seen = sh(world, id, LOOK).ended(0).stdout();
    assert!(seen.contains("./note.txt"), "{seen}");
    seen
}

fn folders(world: &World) -> Vec<PathBuf> {
    let folder = world.state().join("workspaces");
    let mut all: Vec<_> = fs::read_dir(folder)
        .expect("lists")
        .map(|entry| entry.expect("lists").path())
        .collect();
    all.sort();
    all
}

const CHANGES: &str = "echo new > note.txt; rm -r kept; mkdir -p d/e; echo a > d/a; ln d/a d/twin; ln -s ../note.txt d/link; \
    echo closed > d/closed; chmod 000 d/closed; printf x > d/run; chmod 750 d/run; touch -d @1000.5 d/a; chmod 700 d/e; mkfifo d/fifo";

#[test]
fn a_fork_is_what_its_origin_is_and_goes_its_own_way() {
    let world = World::new();
    let origin = create(&world, &["--name", "origin", "--label", "a=b"]);
    sh(&world, &origin, "echo 1 > step").ended(0);
    ws(&world, &["snapshot", "create", &origin, "checkpoint"]).ended(0);
    sh(&world, &origin, CHANGES).ended(0);
    let fork = ws(&world, &["fork", "origin", "--name", "second", "--json"]).ended(0);
    let fork: Value = serde_json::from_slice(&fork.stdout).expect("JSON");
    assert_eq!(fork["left_out"], serde_json::json!(["d/fifo"]));
    assert_eq!(
        (&fork["forked_from"], &fork["state"], &fork["name"]),
        (&origin.as_str().into(), &"started".into(), &"second".into())
    );
    assert!(fork["labels"].as_object().expect("labels").is_empty());
    let fork = fork["workspace_id"].as_str().expect("an id");
    sh(&world, &origin, "rm d/fifo; touch -d @2000 d").ended(0);
    sh(&world, fork, "touch -d @2000 d").ended(0);
    let then = look(&world, &origin);
    assert!(
        then.contains("./d/closed f 0 1 ") && then.contains("./d/twin f 644 2 1000.5"),
        "{then}"
    );
    assert_eq!(look(&world, fork), then);
    let open = "chmod 400 d/closed; cat d/closed; chmod 000 d/closed";
    assert_eq!(sh(&world, fork, open).ended(0).stdout(), "closed\n");
    // Both speak of the same beginning.
    let patch = |id: &str| ws(&world, &["diff", id, "--patch"]).ended(0).stdout();
    assert_eq!(patch(fork), patch(&origin));
    let history = json(&world, &["history", fork, "--json"]);
    assert_eq!(history["entries"][0]["kind"], "fork");
    let shown = ws(&world, &["history", fork]).ended(0).stdout();
    assert!(
        shown.contains(&format!("fork of {origin} (origin)")),
        "{shown}"
    );
    // What was done to the one is nothing to the other.
    sh(&world, fork, "echo 2 > step; rm -r d").ended(0);
    assert_eq!(look(&world, &origin), then);
    ws(&world, &["reset", fork, "--snapshot", "checkpoint"]).ended(0);
    let step = sh(&world, fork, "cat step note.txt kept/deep.txt").ended(0);
    assert_eq!(step.stdout(), "1\nold\ndeep\n");
    let snapshots = json(&world, &["snapshot", "list", &origin, "--json"]);
    assert_eq!(snapshots["count"], 2, "{snapshots}");
    let left = fs::read_dir(world.state().join(format!("workspaces/{origin}/run/marks")));
    let left = left.expect("lists").flatten();
    assert!(
        !left
            .map(|e| e.file_name())
            .any(|name| name.to_string_lossy().starts_with("fork-"))
    );
    // The one lives on without the other, also after its machine is another one.
    ws(&world, &["delete", &origin]).ended(0);
    ws(&world, &["stop", fork]).ended(0);
    ws(&world, &["start", fork]).ended(0);
    ws(&world, &["reset", fork]).ended(0);
    assert!(
        ws(&world, &["diff", fork])
            .ended(0)
            .stdout()
            .contains("no changes")
    );
    // Its history makes it again, from the beginning.
    let again = ws(&world, &["history", fork, "--request"])
        .ended(0)
        .stdout();
    assert!(
        again.contains("echo 1 > step") && again.contains("snapshot"),
        "{again}"
    );
}

#[test]
fn a_stopped_workspace_is_forked_and_stays_stopped() {
    let world = World::new();
    let origin = create(&world, &[]);
    sh(&world, &origin, CHANGES).ended(0);
    ws(&world, &["stop", &origin]).ended(0);
    let fork = made(&world, &["fork", &origin, "--id-only"]);
    for id in [&origin, &fork] {
        assert_eq!(json(&world, &["status", id, "--json"])["state"], "stopped");
        let note = ws(&world, &["disk", "read", id, "note.txt", "--content-only"]).ended(0);
        assert_eq!(note.stdout(), "new\n");
        ws(&world, &["start", id]).ended(0);
    }
    sh(&world, &origin, "rm d/fifo; touch -d @2000 d").ended(0);
    sh(&world, &fork, "touch -d @2000 d").ended(0);
    assert_eq!(look(&world, &fork), look(&world, &origin));
}

#[test]
fn a_fork_is_of_one_moment_and_its_origin_goes_on() {
    let world = World::new();
    let origin = create(&world, &[]);
    let writer = "while :; do echo x >> one; echo x >> two; done > log 2>&1 &";
    sh(&world, &origin, writer).ended(0);
    let number = |id: &str, name: &str| {
        let read = ws(
            &world,
            &["file", "read", id, name, "--max-bytes", "1", "--json"],
        );
        let read: Value = serde_json::from_slice(&read.stdout).expect("JSON");
        read["size_bytes"].as_u64()
    };
    wait_for("it writes", || number(&origin, "two").is_some());
    for _ in 0..3 {
        let fork = made(&world, &["fork", &origin, "--id-only"]);
        let (one, two) = (number(&fork, "one"), number(&fork, "two"));
        let (one, two) = (one.expect("a number"), two.expect("a number"));
        assert!(one == two || one == two + 2, "{one} {two}");
        // No program came along, and none was ended.
        assert_eq!(number(&fork, "one"), Some(one));
        wait_for("the origin goes on", || number(&origin, "two") > Some(one));
        ws(&world, &["delete", &fork]).ended(0);
    }
}

#[test]
fn nothing_is_left_of_a_fork_that_was_killed() {
    let world = World::new();
    for stopped in [false, true] {
        let origin = create(&world, &[]);
        sh(&world, &origin, "seq 1 200000 > big").ended(0);
        if stopped {
            ws(&world, &["stop", &origin]).ended(0);
        }
        for delay in [5, 20, 40, 60, 90, 130] {
            let args = ["workspace", "fork", &origin, "--id-only"];
            let mut fork = world.command(args).spawn().expect("starts");
            std::thread::sleep(Duration::from_millis(delay));
            fork.kill().expect("kills");
            let through = fork.wait().expect("ends").success();
            wait_for("it is gone", || {
                let list = json(&world, &["prune", "--json"]);
                assert!(list["stopped"].as_array().expect("ids").is_empty());
                folders(&world).len() == 1 + usize::from(through)
            });
            let list = json(&world, &["list", "--json"]);
            assert_eq!(list["count"], 1 + u64::from(through), "{list}");
            for listed in list["workspaces"].as_array().expect("workspaces") {
                let id = listed["workspace_id"].as_str().expect("an id");
                if id != origin {
                    ws(&world, &["delete", id]).ended(0);
                }
            }
        }
        // The next one forgets what the others have marked.
        let fork = made(&world, &["fork", &origin, "--id-only"]);
        let marks = |id: &str| {
            let marks = fs::read_dir(world.state().join(format!("workspaces/{id}/run/marks")));
            let names = marks
                .expect("lists")
                .flatten()
                .map(|entry| entry.file_name());
            names
                .filter(|name| name.to_string_lossy().starts_with("fork-"))
                .count()
        };
        assert_eq!((marks(&origin), marks(&fork)), (0, 0));
        ws(&world, &["start", &origin]).ended(0);
        ws(&world, &["start", &fork]).ended(0);
        assert_eq!(look(&world, &fork), look(&world, &origin));
        ws(&world, &["delete", &fork]).ended(0);
        ws(&world, &["delete", &origin]).ended(0);
    }
}

#[test]
fn what_is_not_there_is_not_forked() {
    let world = World::new();
    let refused = ws(&world, &["fork", "nothing", "--json"]).ended(1);
    let refused: Value = serde_json::from_slice(&refused.stdout).expect("JSON");
    assert_eq!(refused["error"]["code"], "workspace-missing");
    let origin = create(&world, &[]);
    ws(&world, &["fork", &origin, "--name", "two\nlines"]).ended(1);
    assert_eq!(folders(&world).len(), 1);
}

/// As if nothing had happened in a workspace for so long.
fn age(world: &World, id: &str, days: i64) {
    let db = rusqlite::Connection::open(world.state().join("registry.sqlite")).expect("opens");
    let sql = "UPDATE workspace SET last_activity_at = last_activity_at - ?2 WHERE id = ?1";
    let changed = db.execute(sql, rusqlite::params![id, days * DAY * 1000]);
    assert_eq!(changed.expect("updates"), 1);
    drop(db);
    age_folder(&world.state().join("workspaces").join(id), days);
}

fn age_folder(folder: &Path, days: i64) {
    let file = folder.join("activity");
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    let then = Timespec {
        tv_sec: now.tv_sec - days * DAY,
        tv_nsec: 0,
    };
    let times = Timestamps {
        last_access: then,
        last_modification: then,
    };
    rustix::fs::utimensat(CWD, &file, &times, AtFlags::empty()).expect("sets");
}

#[test]
fn what_nobody_uses_any_more_is_pruned_and_nothing_else() {
    let world = World::new();
    let expired = create(&world, &["--name", "old", "--ttl-seconds", "1"]);
    let fresh = create(&world, &["--name", "fresh", "--ttl-seconds", "1"]);
    let stopped = create(&world, &["--name", "mine"]);
    let used = create(&world, &["--name", "used"]);
    let taken = create(&world, &["--name", "taken"]);
    for id in [&expired, &fresh] {
        wait_for("it expires", || {
            std::thread::sleep(Duration::from_millis(100));
            json(&world, &["status", id, "--json"])["state"] == "stopped"
        });
    }
    for id in [&stopped, &taken] {
        ws(&world, &["stop", id]).ended(0);
    }
    for id in [&expired, &stopped, &taken] {
        age(&world, id, 8);
    }
    age(&world, &fresh, 6);
    let homes = world.state().join("workspaces");
    fs::remove_dir_all(homes.join(&taken)).expect("removes");
    // Half made, never known, known to somebody else a short while ago.
    for (id, is_made, days) in [
        ("feedfeedfee0", false, 0),
        ("feedfeedfee1", true, 8),
        ("feedfeedfee2", true, 6),
    ] {
        let home = homes.join(id);
        fs::create_dir_all(home.join("run/tree")).expect("makes");
        fs::write(home.join("activity"), "").expect("writes");
        if !is_made {
            fs::write(home.join("making"), "").expect("writes");
        }
        age_folder(&home, days);
    }
    let command = [
        "workspace",
        "exec",
        &used,
        "--timeout",
        "10m",
        "--",
        "sleep",
        "600",
    ];
    let mut long = world.command(command).spawn().expect("starts");
    let runs = || {
        let history = json(&world, &["history", &used, "--json"]);
        history["count"] == 1
    };
    wait_for("it runs", runs);
    age(&world, &used, 8);
    let before = folders(&world);
    let dry = json(&world, &["prune", "--dry-run", "--json"]);
    assert_eq!(folders(&world), before);
    let done = json(&world, &["prune", "--json"]);
    let reasons = |pruned: &Value, deleted: bool| {
        let deleted_each = pruned["deleted"].as_array().expect("deleted");
        assert_eq!(pruned["count"], deleted_each.len());
        let mut all: Vec<_> = deleted_each
            .iter()
            .map(|one| {
                assert_eq!(one["deleted"], deleted);
                let text = |key: &str| one[key].as_str().expect("text").to_owned();
                (text("workspace_id"), text("reason"))
            })
            .collect();
        all.sort();
        all
    };
    let mut expected = vec![
        (expired.clone(), "expired".to_owned()),
        (taken.clone(), "no_folder".to_owned()),
        ("feedfeedfee0".to_owned(), "interrupted".to_owned()),
        ("feedfeedfee1".to_owned(), "unknown".to_owned()),
    ];
    expected.sort();
    assert_eq!(reasons(&dry, false), expected);
    assert_eq!(reasons(&done, true), expected);
    assert_eq!(
        (&dry["dry_run"], &done["dry_run"]),
        (&true.into(), &false.into())
    );
    let mut left: Vec<_> = [&fresh, &stopped, &used].map(|id| homes.join(id)).into();
    left.push(homes.join("feedfeedfee2"));
    left.sort();
    assert_eq!(folders(&world), left);
    assert_eq!(json(&world, &["list", "--json"])["count"], 3);
    sh(&world, &used, "true").ended(0);
    let nothing = ws(&world, &["prune"]).ended(0);
    assert_eq!(nothing.stdout(), "nothing to prune\n");
    fs::remove_dir_all(homes.join("feedfeedfee2")).expect("removes");
    long.kill().expect("kills");
    long.wait().expect("ends");
}
