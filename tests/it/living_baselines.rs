//! What workspaces were when they were made is kept once for all that were made from the same files.

use crate::harness::{World, wait_for};
use crate::living::{beside, create, json, world, ws};
use pyro::workspace::Baselines;
use std::fs;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::PathBuf;
use std::process::Stdio;

fn kept(world: &World) -> Vec<(PathBuf, fs::Metadata)> {
    Baselines::of(&world.state()).all().expect("lists")
}

/// Baselines of one link are nobody's.
fn links(world: &World) -> Vec<u64> {
    kept(world).iter().map(|(_, kept)| kept.nlink()).collect()
}

/// A seed of more than a moment.
fn large(world: &World) {
    for number in 0..40 {
        let text = format!("{number} of many\n").repeat(30_000);
        world.write(&format!("repo/large/{number}"), text);
    }
}

fn du(world: &World) -> (u64, u64, u64) {
    let du = world.pyro(["du", "--json"]).ended(0).json();
    let number = |path: &str| du.pointer(path).and_then(serde_json::Value::as_u64);
    let number = |path| number(path).expect("a number");
    (
        number("/baselines/count"),
        number("/baselines/bytes"),
        number("/workspaces/bytes"),
    )
}

#[test]
fn two_workspaces_share_what_they_were_and_each_goes_back_to_it() {
    let world = world();
    large(&world);
    let size = |world: &World| {
        let folder = world.work().join("repo/large");
        let files = fs::read_dir(folder).expect("there").flatten();
        files
            .map(|file| file.metadata().expect("there").len())
            .sum::<u64>()
    };
    let size = size(&world);
    let (one, other) = (create(&world, &[]), create(&world, &[]));
    assert_eq!(links(&world), [3]);
    let (count, bytes, workspaces) = du(&world);
    assert_eq!(count, 1);
    assert!((size..size * 2).contains(&bytes), "{bytes} of {size}");
    // Two trees, and not four.
    assert!(
        (size * 2..size * 3).contains(&workspaces),
        "{workspaces} of {size}"
    );
    let text = world.pyro(["du"]).ended(0).stdout();
    assert!(text.contains("baselines"), "{text}");
    let spoil = "echo changed > large/7; rm note.txt large/8";
    for id in [&one, &other] {
        ws(&world, &["exec", id, "--", "sh", "-c", spoil]).ended(0);
    }
    let patch = ws(&world, &["diff", &other, "--patch"]).ended(0).stdout();
    assert!(patch.contains("-7 of many\n"), "{}", patch.len());
    ws(&world, &["delete", &one]).ended(0);
    assert_eq!(links(&world), [2]);
    ws(&world, &["reset", &other]).ended(0);
    let diff = json(&world, &["diff", &other, "--json"]);
    assert_eq!(diff["entries"].as_array().map(Vec::len), Some(0), "{diff}");
    // A fork needs no copy of it, and outlives its origin.
    let fork = ws(&world, &["fork", &other, "--id-only"]).ended(0).stdout();
    let fork = fork.trim();
    assert_eq!(links(&world), [3]);
    ws(&world, &["delete", &other]).ended(0);
    ws(&world, &["exec", fork, "--", "sh", "-c", spoil]).ended(0);
    ws(&world, &["reset", fork]).ended(0);
    ws(
        &world,
        &["exec", fork, "--", "grep", "-c", "7 of many", "large/7"],
    )
    .ended(0);
    ws(&world, &["delete", fork]).ended(0);
    assert_eq!(links(&world), [0; 0], "the last one takes it along");
}

#[test]
fn ten_creators_at_once_keep_one() {
    let world = world();
    let started: Vec<_> = (0..10)
        .map(|_| {
            let args = ["create", "host", "--seed-path", "repo", "--id-only"];
            let mut command = world.command(["workspace"].iter().chain(&args));
            command.stdout(Stdio::piped()).stderr(Stdio::piped());
            command.spawn().expect("starts")
        })
        .collect();
    let ids: Vec<String> = (started.into_iter())
        .map(|child| {
            let ran = world.ran(child.wait_with_output().expect("ends")).ended(0);
            ran.stdout().trim().to_owned()
        })
        .collect();
    assert_eq!(links(&world), [11]);
    let children: Vec<_> = (ids.iter())
        .map(|id| beside(&world, &["delete", id]))
        .collect();
    for mut child in children {
        assert!(child.wait().expect("ends").success());
    }
    assert_eq!(links(&world), [0; 0]);
}

#[test]
fn a_creator_that_is_killed_takes_nothing_along_and_leaves_nothing() {
    let world = world();
    large(&world);
    let pack = |world: &World| {
        let homes = fs::read_dir(world.state().join("workspaces"));
        let mut homes = homes.into_iter().flatten().flatten();
        homes.any(|home| home.path().join("run/pack").exists())
    };
    let killed = |world: &World, when: &dyn Fn() -> bool| {
        let mut child = beside(world, &["create", "host", "--seed-path", "repo"]);
        wait_for("the moment", || {
            when() || child.try_wait().expect("asks").is_some()
        });
        let _gone = child.kill();
        child.wait().expect("ends");
    };
    let is_empty = |world: &World| {
        // Its keeper ends by itself, when it sees that its creator is gone.
        wait_for("all is gone", || {
            ws(world, &["list"]).ended(0);
            let homes = fs::read_dir(world.state().join("workspaces")).expect("there");
            homes.count() == 0 && links(world).is_empty()
        });
    };
    // One that was through before it was killed is a workspace like any other.
    let delete_all_but = |world: &World, id: &str| {
        let list = json(world, &["list", "--json"]);
        for workspace in list["workspaces"].as_array().expect("a list") {
            let other = workspace["workspace_id"].as_str().expect("an id");
            if other != id {
                ws(world, &["delete", other]).ended(0);
            }
        }
    };
    // While the contents are written, and just after they are shared.
    killed(&world, &|| pack(&world));
    delete_all_but(&world, "");
    is_empty(&world);
    killed(&world, &|| !links(&world).is_empty());
    delete_all_but(&world, "");
    is_empty(&world);
    // Beside one that lives, whose baseline stays.
    let id = create(&world, &[]);
    killed(&world, &|| links(&world) == [3]);
    delete_all_but(&world, &id);
    wait_for("only one uses it", || {
        ws(&world, &["list"]).ended(0);
        links(&world) == [2]
    });
    ws(&world, &["exec", &id, "--", "rm", "-r", "large"]).ended(0);
    ws(&world, &["reset", &id]).ended(0);
    ws(&world, &["exec", &id, "--", "test", "-e", "large/39"]).ended(0);
}

#[test]
fn a_damaged_baseline_is_refused_and_not_given_to_the_next() {
    let world = world();
    large(&world);
    let victim = create(&world, &[]);
    let [(path, before)] = &kept(&world)[..] else {
        panic!("one");
    };
    let file = fs::OpenOptions::new()
        .write(true)
        .open(path)
        .expect("opens");
    let middle = before.len() / 2;
    file.write_all_at(b"damaged", middle).expect("writes");
    let next = create(&world, &[]);
    assert_eq!(links(&world), [2], "the damaged one has lost its place");
    let spoil = ["--", "sh", "-c", "rm -r large"];
    for id in [&victim, &next] {
        ws(&world, &[&["exec", id.as_str()], &spoil[..]].concat()).ended(0);
    }
    ws(&world, &["reset", &next]).ended(0);
    let refused = ws(&world, &["reset", &victim]);
    assert_ne!(refused.code, Some(0));
    assert!(refused.text().contains("damaged"), "{}", refused.text());
    let refused = ws(&world, &["diff", &victim, "--patch"]);
    assert_ne!(refused.code, Some(0));
    assert!(refused.text().contains("damaged"), "{}", refused.text());
    // What it is now is whole.
    ws(&world, &["exec", &victim, "--", "cat", "note.txt"]).ended(0);
}

#[test]
fn runs_share_with_workspaces() {
    let world = world();
    let id = create(&world, &[]);
    let request = "pyro = 1\nworkspace = { environment = \"host\", seed = \"repo\" }\n\
        [[step]]\nexec = \"while [ ! -e go ]; do sleep 0.01; done\"\ntimeout = \"60s\"\n\
        [[step]]\ndiff = \"baseline\"\n";
    world.write("run.pyro.toml", request);
    let mut run = world.command(["apply", "run.pyro.toml"]);
    let mut run = run.stdout(Stdio::null()).spawn().expect("starts");
    wait_for("it shares", || links(&world) == [3]);
    let [folder] = &world.runs()[..] else {
        panic!("one run");
    };
    fs::write(folder.join("tree/go"), "").expect("writes");
    assert!(run.wait().expect("ends").success());
    assert_eq!(links(&world), [2]);
    ws(&world, &["delete", &id]).ended(0);
    assert_eq!(links(&world), [0; 0]);
}
